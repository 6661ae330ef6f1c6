"""Metrics: numbers that one looks at but does not minimise.

A metric turns the outputs of some rows into an array of sums, and the sums over all rows into its
value. It sees the outputs that the loss sees: logits where a loss is fused with its link.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import checks
from nnfast.losses import Loss
from nnfast.plan import Array

Sums = NDArray[np.float64]

LARGER_IS_BETTER = ("accuracy", "r2", "precision", "recall", "f1")
"""Ends of the names of metrics that grow as a network gets better; others shrink."""

_ROWS_OF_ORIGIN = 1000
_FEW_CLASSES = 16
_TOP_K = re.compile(r"top_([1-9]\d{0,8})_accuracy")


def _mean(sums: Sums, rows: int) -> float:
    return float(sums[0] / rows)


@dataclass(frozen=True)
class Metric:
    """A number over rows.

    Attributes
    ----------
    name : str
        In the logs.
    sums : callable
        ``sums(loss, outputs, y)``, outputs (m, n_out) and y labels (m,) or targets (m, n_out),
        returns an array whose sum over parts of the rows is that of all rows.
    value : callable
        ``value(sums, rows)`` returns the number; ``sums[0] / rows`` if left out.
    """

    name: str
    sums: Callable[[Loss, Array, Array], Any]
    value: Callable[[Sums, int], float] = _mean


def accuracy(loss: Loss, outputs: Array, y: Array) -> Sums:
    """Count the rows whose largest output is the class; of single outputs, the right side.

    With binary_cross_entropy each row counts by the share of its outputs that are right.
    """
    if outputs.shape[1] == 1 or loss.link == "sigmoid":
        right = _positive(loss, outputs) == (_columns(y) > 0.5)
        return np.array([np.count_nonzero(right) / outputs.shape[1]])
    return np.array([_count_hits(outputs, _classes(y))], np.float64)


def _count_hits(outputs: Array, classes: Array) -> int:
    """Count the rows whose first largest output is the class."""
    if outputs.shape[1] > _FEW_CLASSES:
        return int(np.count_nonzero(outputs.argmax(axis=1) == classes))
    # argmax along a short axis takes three times as long: it is asked where outputs are equal alone
    columns = outputs.T
    largest = columns[0].copy()
    for column in columns[1:]:
        np.maximum(largest, column, out=largest)
    hits = outputs.take(np.arange(0, outputs.size, len(columns)) + classes) == largest
    if sum(np.count_nonzero(column == largest) for column in columns) > len(hits):
        return int(np.count_nonzero(outputs[hits].argmax(axis=1) == classes[hits]))
    return int(np.count_nonzero(hits))


def squared_error(loss: Loss, outputs: Array, y: Array) -> Sums:
    """Sum over the rows of the mean square of the errors."""
    return np.array([np.square(outputs - _columns(y), dtype=np.float64).sum() / outputs.shape[1]])


def absolute_error(loss: Loss, outputs: Array, y: Array) -> Sums:
    """Sum over the rows of the mean absolute error."""
    return np.array([np.abs(outputs - _columns(y)).sum(dtype=np.float64) / outputs.shape[1]])


def _top(k: int) -> Callable[[Loss, Array, Array], Sums]:
    def sums(loss: Loss, outputs: Array, y: Array) -> Sums:
        """Count the rows where fewer than k outputs exceed that of the class; NaN is no hit."""
        own = np.take_along_axis(outputs, _classes(y)[:, None], axis=1)
        return np.array([((~(outputs <= own)).sum(axis=1) < k).sum()], np.float64)

    return sums


def _root(sums: Sums, rows: int) -> float:
    return float(np.sqrt(sums[0] / rows))


def _r2(origin: Array) -> Metric:
    """R squared, the mean over the outputs; `origin`, near y, keeps its squares from cancelling."""

    def sums(loss: Loss, outputs: Array, y: Array) -> Sums:
        centred = _columns(y) - origin
        errors = np.square(outputs - _columns(y), dtype=np.float64)
        return np.stack([errors.sum(axis=0), centred.sum(axis=0), np.square(centred).sum(axis=0)])

    def value(sums: Sums, rows: int) -> float:
        residual, total = sums[0], sums[2] - sums[1] ** 2 / rows
        constant = total <= 0
        shares = residual / np.where(constant, 1, total)
        return float(np.where(constant, residual == 0, 1 - shares).mean())

    return Metric("r2", sums, value)


def _hits(loss: Loss, outputs: Array, y: Array) -> Sums:
    """Count, by class, hits, predictions and truths, shape (3, n_classes)."""
    if outputs.shape[1] == 1 or loss.link == "sigmoid":
        positive, true = _positive(loss, outputs), _columns(y) > 0.5
        return np.stack([a.sum(axis=0) for a in (positive & true, positive, true)]).astype(float)
    n, predicted, true = outputs.shape[1], outputs.argmax(axis=1), _classes(y)
    found = (predicted[predicted == true], predicted, true)
    return np.stack([np.bincount(a, minlength=n) for a in found]).astype(float)


def _of_hits(name: str, loss: Loss, n_out: int) -> Metric:
    """Precision, recall or F1; as scikit-learn's, 0 where a count to divide by is."""

    def value(sums: Sums, rows: int) -> float:
        hit, predicted, true = sums
        parts = {"precision": predicted, "recall": true, "f1": (predicted + true) / 2}[name]
        shares = hit / np.maximum(parts, 0.5)
        if loss.link == "sigmoid" or n_out == 1:
            return float(shares.mean())
        if n_out == 2:
            return float(shares[1])
        return float(shares[predicted + true > 0].mean())

    return Metric(name, _hits, value)


def _positive(loss: Loss, outputs: Array) -> NDArray[np.bool_]:
    return outputs > (0 if loss.link == "sigmoid" or loss.signs else 0.5)


def _classes(y: Array) -> Array:
    return y if y.ndim == 1 else y.argmax(axis=1)


def _columns(y: Array) -> Array:
    return y.reshape(len(y), -1)


def _of_function(function: Callable[[Array, Array], Any]) -> Metric:
    """Make a metric of ``function(y_true, y_pred)`` that returns a number or a value a row."""
    name = getattr(function, "__name__", type(function).__name__)

    def sums(loss: Loss, outputs: Array, y: Array) -> Sums:
        values = np.asarray(function(y, outputs), np.float64)
        if values.ndim and len(values) != len(y):
            raise ValueError(
                f"metric {name!r}: expected a number or {len(y)} of them, one a row, got shape "
                f"{values.shape}; take means over the other axes alone"
            )
        return np.array([values.mean() * len(y)])

    return Metric(name, sums)


_PLAIN = {
    "mse": Metric("mse", squared_error),
    "mae": Metric("mae", absolute_error),
    "rmse": Metric("rmse", squared_error, _root),
}
NAMES = ("accuracy", "top_5_accuracy", *_PLAIN, "r2", "precision", "recall", "f1")
"""For top_5 any other number will do."""


def get(metrics: Any, loss: Loss, n_out: int, y: Array) -> dict[str, Metric]:
    """Return the metrics by their names in the logs.

    Parameters
    ----------
    metrics : str, callable, Metric, or a sequence of them
    loss : Loss
    n_out : int
        Outputs of the network.
    y : ndarray
        Targets as training has them, or some of them.

    Raises
    ------
    TypeError, ValueError
        An unknown or repeated name, or a metric that the loss or the network cannot have.
    """
    one = isinstance(metrics, str | Metric) or callable(metrics)
    asked = [_metric(metric, loss, n_out, y) for metric in ([metrics] if one else metrics)]
    found = {metric.name: metric for metric in asked}
    if len(found) < len(asked) or "loss" in found:
        raise ValueError(
            f"metrics: expected a name of its own for each, other than 'loss', got "
            f"{[metric.name for metric in asked]}; wrap functions as Metric(name, ...) or rename"
        )
    return found


def _metric(metric: Any, loss: Loss, n_out: int, y: Array) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if callable(metric) and not isinstance(metric, type):
        return _of_function(metric)
    top = _TOP_K.fullmatch(metric) if isinstance(metric, str) else None
    if top is None and (not isinstance(metric, str) or metric not in NAMES):
        raise checks.unknown("metric", metric, NAMES)
    if metric == "accuracy":
        return Metric(metric, accuracy)
    if top is not None:
        if n_out == 1 or loss.link == "sigmoid":
            raise ValueError(
                f"metric {metric!r}: expected classes, one output each, got {n_out} outputs and "
                f"the loss {loss.name!r}; use 'accuracy'"
            )
        return Metric(metric, _top(int(top[1])))
    if metric in ("precision", "recall", "f1"):
        return _of_hits(metric, loss, n_out)
    if loss.link is not None or _columns(y).shape[1] != n_out:
        raise ValueError(
            f"metric {metric!r}: expected a loss of plain outputs such as 'mse', got "
            f"{loss.name!r}; use 'accuracy'"
        )
    if metric == "r2":
        return _r2(np.median(_columns(y[:_ROWS_OF_ORIGIN]).astype(np.float64), axis=0))
    return _PLAIN[metric]
