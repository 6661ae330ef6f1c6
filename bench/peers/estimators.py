"""scikit-learn's estimators, from whichever module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.data import Array, Data
from bench.peers.numpy import forward
from bench.work import Work

_AUTO = 200
"""Rows a batch if the estimator chooses."""


def new(classes: Any, work: Work, **more: Any) -> Any:
    """The estimator of the work, unfitted; what the work leaves out is the estimator's default."""
    kind = classes.MLPRegressor if work.loss == "mse" else classes.MLPClassifier
    given = {"max_iter": work.epochs} if work.epochs > 1 else {}
    return kind(
        hidden_layer_sizes=work.sizes[1:-1],
        solver=work.optimizer,
        batch_size="auto" if work.batch_size == _AUTO else work.batch_size,
        random_state=0,
        **{**given, **more},
    )


def rows(data: Data) -> tuple[Array, Array]:
    """X and y as an estimator takes them."""
    return data.x, data.y.ravel() if data.work.loss == "mse" else data.y


def parts(data: Data) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Four rows of five to learn from, and the others."""
    x, y = rows(data)
    test = np.arange(len(x)) % 5 == 0
    return (x[~test], y[~test]), (x[test], y[test])


def score(classes: Any, data: Data, **more: Any) -> tuple[Any, dict[str, float]]:
    """An estimator that learned a part of the rows, and how good it is on the others."""
    train, test = parts(data)
    model = new(classes, data.work, **more).fit(*train)
    name = "R2" if data.work.loss == "mse" else "accuracy"
    return model, {name: float(model.score(*test)), "epochs": model.n_iter_}


def answers(
    classes: Any, data: Data, **more: Any
) -> tuple[Callable[[], None], Callable[[], dict[str, float]]]:
    """A round of calls of a fitted classifier, and how far its probabilities are from NumPy's."""
    work, n_out = data.work, data.work.sizes[-1]
    x = np.random.default_rng(0).random((work.rows, work.sizes[0])).astype(work.dtype)
    model = new(classes, work, max_iter=1, **more)
    some, labels = np.resize(x, (n_out, x.shape[1])), np.arange(n_out)
    model.partial_fit(some, labels, classes=labels)
    layers = data.layers(data.theta)
    model.coefs_, model.intercepts_ = map(list, zip(*layers, strict=True))
    call = getattr(model, work.call)

    def run() -> None:
        for _ in range(work.epochs):
            call(x)

    def score() -> dict[str, float]:
        z = forward(layers, x, "relu")[-1]
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return {"deviation": float(np.abs(model.predict_proba(x) - p).max())}

    return run, score
