"""scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import joblib
import numpy as np
import sklearn
from sklearn import neural_network
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from bench.data import Array, Data
from bench.peers import estimators
from bench.peers.contestant import Contestant, best_threads
from bench.work import Work


def fit(data: Data) -> Contestant:
    work = data.work
    *hidden, n_out = work.sizes[1:]
    x, y = data.x, data.y.ravel() if n_out == 1 else data.y
    kind, first = MLPClassifier, {"classes": np.arange(n_out)}
    steeper = 1.0
    if work.loss == "mse":
        # half the square, summed over the outputs where others take the mean: scaling lr, or
        # Adam's epsilon, by that makes the same step of it
        kind, first, steeper = MLPRegressor, {}, n_out / 2
    adam = work.optimizer == "adam"
    model = kind(
        hidden_layer_sizes=hidden,
        activation=work.activation,
        solver="adam" if adam else "sgd",
        alpha=0.0,
        batch_size=work.batch_size,
        learning_rate_init=work.lr if adam else work.lr / steeper,
        momentum=work.momentum,
        nesterovs_momentum=False,
        epsilon=1e-8 * steeper,
        random_state=np.random.RandomState(0),
    )
    model.partial_fit(x[: work.batch_size], y[: work.batch_size], **first)
    layers = data.layers(data.theta)
    model.coefs_, model.intercepts_ = (
        [p.copy() for p in part] for part in zip(*layers, strict=True)
    )
    del model._optimizer  # it holds the parameters of before; partial_fit makes another

    def theta() -> Array:
        layers = zip(model.coefs_, model.intercepts_, strict=True)
        return np.concatenate([part.ravel() for layer in layers for part in layer])

    return Contestant(
        lambda: model.partial_fit(x, y),
        theta=theta,
        threads=work.threads,
        version=sklearn.__version__,
    )


_TABLE = """
import sys
import joblib
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

source, target, batch_size = sys.argv[1:]
table = pd.read_csv(source, engine="pyarrow", dtype={f"x{i}": "float32" for i in range(9)})
numbers, texts = make_column_selector("^x"), ["kind"]
net = MLPClassifier((64, 64), max_iter=1, batch_size=int(batch_size), early_stopping=True,
                    validation_fraction=0.2, random_state=0)
model = make_pipeline(
    make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(), texts)), net)
model.fit(table.drop(columns="answer"), table["answer"])
joblib.dump(model, target)
"""


def table(data: Data) -> Contestant:
    folder = data.folder
    model = folder / "table.joblib"

    def score() -> dict[str, float]:
        return {"accuracy": float(joblib.load(model)[-1].best_validation_score_)}

    def run() -> None:
        arguments = [folder / "table.csv", model, str(data.work.batch_size)]
        command = [sys.executable, "-W", "ignore", "-c", _TABLE, *arguments]
        subprocess.run(command, check=True)

    return Contestant(run, score=score)


def estimator(data: Data) -> Contestant:
    work, (x, y) = data.work, estimators.rows(data)
    trial = estimators.new(neural_network, work, max_iter=5)
    threads = _threads(work, lambda: trial.fit(x, y))

    def score() -> dict[str, float]:
        return estimators.score(neural_network, data)[1]

    return Contestant(
        lambda: estimators.new(neural_network, work).fit(x, y),
        score=score,
        threads=threads,
        version=sklearn.__version__,
    )


def answers(data: Data) -> Contestant:
    run, score = estimators.answers(neural_network, data)
    threads = _threads(data.work, run)
    return Contestant(run, score=score, threads=threads, version=sklearn.__version__)


def _threads(work: Work, run: Callable[[], object]) -> int:
    """So many as the work says, or those with which `run` is fastest."""
    return work.threads or best_threads(threadpool_limits, run)
