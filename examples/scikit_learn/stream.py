"""A stream of data for partial_fit of scikit-learn; it knows nothing of nnfast."""

from sklearn.datasets import make_regression
from sklearn.neural_network import MLPRegressor

X, y = make_regression(120_000, 20, noise=1, random_state=0)
y = (y - y.mean()) / y.std()
model = MLPRegressor(hidden_layer_sizes=(100, 100), random_state=0)
for _ in range(5):
    for start in range(0, 100_000, 1000):
        model.partial_fit(X[start : start + 1000], y[start : start + 1000])
    print(f"{model.loss_:.6f} {model.score(X[100_000:], y[100_000:]):.6f}")
