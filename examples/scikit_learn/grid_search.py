"""A grid search over the perceptrons of scikit-learn; it knows nothing of nnfast."""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
parameters = {"hidden_layer_sizes": [(30,), (100,)], "alpha": [1e-4, 1e-2], "batch_size": [10, 100]}
search = GridSearchCV(MLPClassifier(max_iter=1000, random_state=0), parameters, cv=3)
search.fit(X_train, y_train)
print(search.best_params_, round(search.score(X_test, y_test), 4))
