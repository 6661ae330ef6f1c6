"""Scaling, early stopping and cross validation with scikit-learn; it knows nothing of nnfast."""

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_digits(return_X_y=True)
net = MLPClassifier((64, 64), early_stopping=True, n_iter_no_change=20, random_state=0)
model = make_pipeline(StandardScaler(), net)
print(cross_val_score(model, X, y, cv=10).round(4))
