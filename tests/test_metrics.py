"""Metrics: those of scikit-learn, however the rows are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast import losses, metrics, training
from nnfast.metrics import Metric

RANDOM = np.random.default_rng(0)
N = 500
X = RANDOM.normal(size=(N, 4)).astype("f4")
LABELS = RANDOM.integers(0, 5, N)
Y = RANDOM.normal(size=(N, 3)).astype("f4")


def value(name: Any, loss: str, outputs: Any, y: Any, cut: int = N) -> float:
    """Return the metric of these outputs, summed over parts of the rows."""
    chosen = losses.get(loss)
    (metric,) = metrics.get(name, chosen, outputs.shape[1], y).values()
    parts = [slice(i, i + cut) for i in range(0, len(y), cut)]
    sums = [np.asarray(metric.sums(chosen, outputs[rows], y[rows])) for rows in parts]
    return metric.value(np.sum(sums, axis=0), len(y))


def logits(n_out: int) -> Any:
    return np.round(RANDOM.normal(size=(N, n_out)), 1).astype("f4")  # some are equal


@pytest.mark.parametrize("cut", [N, 70])
@pytest.mark.parametrize("n_out", [2, 5, 16, 17, 40])
def test_classes(n_out: int, cut: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    outputs = logits(n_out)
    y = np.where(RANDOM.random(N) < 0.5, outputs.argmax(axis=1), RANDOM.integers(0, n_out, N))
    y[y == 3] = 1  # a class that is not there
    chosen = outputs.argmax(axis=1)
    average = "binary" if n_out == 2 else "macro"
    for name in ("precision", "recall", "f1"):
        expected = getattr(sklearn, f"{name}_score")(y, chosen, average=average, zero_division=0)
        assert value(name, "cross_entropy", outputs, y, cut) == pytest.approx(expected)
    for targets in (y, np.eye(n_out)[y]):
        accuracy = value("accuracy", "cross_entropy", outputs, targets, cut)
        assert accuracy == sklearn.accuracy_score(y, chosen)
        for k in (1, 2, 3, n_out):
            above = (outputs > np.take_along_axis(outputs, y[:, None], axis=1)).sum(axis=1)
            found = value(f"top_{k}_accuracy", "cross_entropy", outputs, targets, cut)
            assert found == (above < k).mean()
    distinct = outputs + RANDOM.permuted(np.tile(np.linspace(0, 0.01, n_out), (N, 1)), axis=1)
    if n_out > 2:
        expected = sklearn.top_k_accuracy_score(y, distinct, k=2, labels=range(n_out))
        assert value("top_2_accuracy", "cross_entropy", distinct, y, cut) == expected


@pytest.mark.parametrize("n_out", [3, 20])
def test_rows_of_equal_or_undefined_outputs_are_no_hits(n_out: int) -> None:
    y = RANDOM.integers(1, n_out, N)
    equal = np.zeros((N, n_out), "f4")
    assert value("accuracy", "cross_entropy", equal, y) == 0  # argmax is class 0
    assert value("accuracy", "cross_entropy", equal, np.zeros(N, int)) == 1
    undefined = np.full((N, n_out), np.nan, "f4")
    assert value("accuracy", "cross_entropy", undefined, y) == 0
    assert value("top_2_accuracy", "cross_entropy", undefined, y) == 0


@pytest.mark.parametrize(
    ("loss", "threshold", "low", "n_out"),
    [
        ("binary_cross_entropy", 0, 0, 1),
        ("binary_cross_entropy", 0, 0, 3),
        ("mse", 0.5, 0, 1),
        ("hinge", 0, -1, 1),
    ],
)
def test_sides(loss: str, threshold: float, low: int, n_out: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    outputs, true = logits(n_out), RANDOM.integers(0, 2, (N, n_out))
    y = np.where(true == 1, 1, low).astype("f4")
    guess = (outputs > threshold).astype(int)
    assert value("accuracy", loss, outputs, y, 90) == pytest.approx((guess == true).mean())
    average = "binary" if n_out == 1 else "macro"
    for name in ("precision", "recall", "f1"):
        expected = getattr(sklearn, f"{name}_score")(
            true.squeeze(), guess.squeeze(), average=average
        )
        assert value(name, loss, outputs, y, 90) == pytest.approx(expected)


@pytest.mark.parametrize("cut", [N, 70])
@pytest.mark.parametrize("shift", [0, 1e6])
def test_regression(shift: float, cut: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y = Y.astype(float) + shift
    outputs = y + RANDOM.normal(size=y.shape) * [0.1, 0.5, 2]
    expected = {
        "mse": sklearn.mean_squared_error(y, outputs),
        "mae": sklearn.mean_absolute_error(y, outputs),
        "rmse": np.sqrt(np.square(y - outputs).mean()),
        "r2": sklearn.r2_score(y, outputs),
    }
    for name, number in expected.items():
        assert value(name, "mse", outputs, y, cut) == pytest.approx(number, rel=1e-9)
    constant = np.full((N, 1), 0.1)
    for other in (constant, constant + 1):
        assert value("r2", "mse", other, constant) == sklearn.r2_score(constant, other)


def test_functions_and_metrics_of_ones_own() -> None:
    def worst(y_true: Any, y_pred: Any) -> Any:
        return np.abs(y_true - y_pred).max(axis=1)

    def each(y_true: Any, y_pred: Any) -> Any:
        return np.square(y_true - y_pred)

    def number(y_true: Any, y_pred: Any) -> float:
        return float(np.abs(y_true - y_pred).mean())

    net = nn.Sequential([nn.Dense(3)], seed=0).build(4)
    errors = np.abs(net.predict(X) - Y)
    share = Metric("near", lambda loss, outputs, y: [(np.abs(outputs - y) < 0.5).sum() / 3])
    found = net.evaluate(X, Y, metrics=[worst, each, number, "mae", share])
    assert list(found) == ["loss", "worst", "each", "number", "mae", "near"]
    assert found["worst"] == pytest.approx(errors.max(axis=1).mean(), rel=1e-5)
    assert found["each"] == pytest.approx(found["loss"], rel=1e-5)
    assert found["number"] == pytest.approx(found["mae"], rel=1e-5)
    assert found["near"] == pytest.approx((errors < 0.5).mean())
    assert net.evaluate(X, Y, metrics=worst)["worst"] == found["worst"]
    with pytest.raises(ValueError, match=r"metric 'one': expected a number or 500.*shape \(1,\)"):
        net.evaluate(X, Y, metrics=lambda_of_one())


def lambda_of_one() -> Any:
    def one(y_true: Any, y_pred: Any) -> Any:
        return np.zeros(1)

    return one


def test_the_logs_of_training_are_those_of_its_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the epoch is cut into windows, and of the outputs before each step."""
    names = ["accuracy", "top_2_accuracy", "f1"]
    found = []
    for rows in (32, 96, 4096):
        monkeypatch.setattr(training, "ROWS_OF_OUTPUTS", rows)
        monkeypatch.setattr(training, "NUMBERS_OF_OUTPUTS", 0)
        net = nn.Sequential([nn.Dense(9, "tanh"), nn.Dense(5, "softmax")], seed=0)
        history = net.fit(X, LABELS, epochs=2, metrics=names, validation_split=0.1, verbose=0)
        found.append((net.theta.tobytes(), history.history))
    assert found[0] == found[1] == found[2]
    assert set(found[0][1]) == {f"{v}{n}" for n in ["loss", *names] for v in ("", "val_")}
    by_hand = nn.Sequential([nn.Dense(9, "tanh"), nn.Dense(5)], seed=0).build(4)
    right = 0
    for i in range(0, N, 32):
        x, y = X[i : i + 32], LABELS[i : i + 32]
        right += (by_hand.predict(x).argmax(axis=1) == y).sum()
        by_hand.train_on_batch(x, y)
    net = nn.Sequential([nn.Dense(9, "tanh"), nn.Dense(5)], seed=0)
    history = net.fit(X, LABELS, metrics="accuracy", shuffle=False, verbose=0)
    assert history.history["accuracy"] == [right / N]


BAD: dict[str, tuple[Any, Any, str]] = {
    "unknown": ("r3", Y, "metric: expected one of 'accuracy', .*got 'r3'; did you mean 'r2'"),
    "top 0": ("top_0_accuracy", LABELS, "metric: expected one of"),
    "a number": ([3], Y, "metric: expected one of .* got an object of type int"),
    "a class": ([Metric], Y, "metric: expected one of .* got an object of type type"),
    "r2 of labels": ("r2", LABELS, "metric 'r2': expected a loss of plain outputs"),
    "top 5 of one": ("top_5_accuracy", (LABELS > 2)[:, None], "'top_5_accuracy': expected classes, one output each, got 1"),
    "twice": (["mse", "mse"], Y, r"a name of its own for each, other than 'loss', got \['mse', 'mse'\]"),
    "loss": ([Metric("loss", metrics.accuracy)], Y, "other than 'loss'"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_metrics_are_named(what: str) -> None:
    asked, y, words = BAD[what]
    net = nn.Sequential([nn.Dense(y.shape[1] if y.ndim == 2 else 5)], seed=0)
    with pytest.raises((TypeError, ValueError), match=words):
        net.fit(X, y, metrics=asked)
