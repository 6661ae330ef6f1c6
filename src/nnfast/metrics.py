"""Metrics: sums over rows of a number that one looks at but does not minimise.

They see the outputs that the loss sees: logits where a loss is fused with its link.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnfast import checks
from nnfast.losses import Loss
from nnfast.plan import Array

Metric = Callable[[Loss, Array, Array], float]


def accuracy(loss: Loss, outputs: Array, y: Array) -> float:
    """Count the rows whose largest output is the class; of single outputs, the right side.

    Outputs (m, n_out); y (m,) labels or (m, n_out). With binary_cross_entropy each row counts
    by the share of its outputs that are right.
    """
    if loss.link == "sigmoid":
        return float(((outputs > 0) == (y > 0.5)).mean(axis=1).sum())
    if outputs.shape[1] == 1:
        return float(((outputs > (0 if loss.signs else 0.5)) == (y > 0.5)).sum())
    classes = y if y.ndim == 1 else y.argmax(axis=1)
    return float((outputs.argmax(axis=1) == classes).sum())


def mse(loss: Loss, outputs: Array, y: Array) -> float:
    """Sum over the rows of the mean square of the errors."""
    return float(np.square(outputs - y, dtype=np.float64).mean(axis=1).sum())


def mae(loss: Loss, outputs: Array, y: Array) -> float:
    """Sum over the rows of the mean absolute error."""
    return float(np.abs(outputs - y, dtype=np.float64).mean(axis=1).sum())


METRICS: dict[str, Metric] = {"accuracy": accuracy, "mse": mse, "mae": mae}


def get(metrics: str | Sequence[Any], loss: Loss) -> dict[str, Metric]:
    """Return the metrics of these names.

    Raises
    ------
    TypeError, ValueError
        An unknown name, or "mse" and "mae" with a loss of logits.
    """
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        if not isinstance(name, str) or name not in METRICS:
            raise checks.unknown("metric", name, METRICS)
        if name != "accuracy" and loss.link is not None:
            raise ValueError(
                f"metric {name!r}: expected a loss of plain outputs such as 'mse', got "
                f"{loss.name!r}; use 'accuracy'"
            )
    return {name: METRICS[name] for name in names}
