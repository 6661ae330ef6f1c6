"""Names of the losses, the facts about them, and the choice of one by looking at y."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import checks


@dataclass(frozen=True, slots=True)
class Loss:
    """Facts about one loss.

    Attributes
    ----------
    name : str
        As in `NAMES`.
    link : str or None
        The function that the loss contains: it takes outputs from before it, such as logits. A
        last activation of this name is fused with the loss.
    takes_labels : bool
        Whether y may be integer class labels, shape (n,).
    signs : bool
        Whether targets are -1 and 1; labels, and targets of 0 and 1, become them.
    lowest, highest : float
        Bounds of y.
    label_smoothing : float
        Share of each target that is spread over all classes.
    function : callable or None
        ``function(y_pred, y_true) -> (value, dvalue/dy_pred)`` in place of a kernel.
    """

    name: str
    link: str | None = None
    takes_labels: bool = False
    signs: bool = False
    lowest: float = -math.inf
    highest: float = math.inf
    label_smoothing: float = 0.0
    function: Callable[[Any, Any], Any] | None = None


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("mse"),
        Loss("cross_entropy", link="softmax", takes_labels=True, lowest=0.0, highest=1.0),
        Loss("binary_cross_entropy", link="sigmoid", lowest=0.0, highest=1.0),
        Loss("mae"),
        Loss("huber"),
        Loss("poisson", link="exponential", lowest=0.0),
        Loss("hinge", takes_labels=True, signs=True),
        Loss("perceptron", takes_labels=True, signs=True),
    )
}
NAMES = tuple(LOSSES)
"""In the order of csrc/nnfast.h."""


AnyLoss = str | Loss | Callable[[Any, Any], Any]
"""A name, a loss with settings, or ``(y_pred, y_true) -> (value, dvalue/dy_pred)``."""


def CrossEntropy(label_smoothing: float = 0.0) -> Loss:
    """Return "cross_entropy" with smoothed labels (arXiv 1512.00567, section 7).

    Of each target the share `label_smoothing` is spread evenly over all classes.
    """
    return _smoothed("cross_entropy", label_smoothing)


def BinaryCrossEntropy(label_smoothing: float = 0.0) -> Loss:
    """Return "binary_cross_entropy" with targets moved towards 1/2 by the share."""
    return _smoothed("binary_cross_entropy", label_smoothing)


def get(loss: AnyLoss) -> Loss:
    """Return the loss for a name, a loss or a function. ValueError or TypeError otherwise."""
    if isinstance(loss, Loss):
        return loss
    if callable(loss) and not isinstance(loss, type):
        return Loss(getattr(loss, "__name__", "loss"), function=loss)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise checks.unknown("loss", loss, NAMES)
    return LOSSES[loss]


def _smoothed(name: str, share: float) -> Loss:
    checks.number("label_smoothing", share, "a number in [0, 1]", lambda v: 0 <= v <= 1)
    return dataclasses.replace(LOSSES[name], label_smoothing=float(share))


def infer(y: NDArray[Any], n_out: int) -> Loss:
    """Choose the loss that `y` and the number of outputs speak for.

    Integer labels below `n_out` are cross_entropy; one output and y of 0 and 1 only is
    binary_cross_entropy; other floats are mse.

    Raises
    ------
    ValueError
        Anything else; the message names the choices.
    """
    column = y.ndim == 1 or y.shape[1:] == (1,)
    if n_out == 1 and column and bool(np.all((y == 0) | (y == 1))):
        return LOSSES["binary_cross_entropy"]
    if y.dtype.kind in "iu" and n_out > 1 and column and y.min() >= 0 and y.max() < n_out:
        return LOSSES["cross_entropy"]
    if y.dtype.kind == "f":
        return LOSSES["mse"]
    span = f", values {y.min()} to {y.max()}" if y.size and y.dtype.kind in "iub" else ""
    raise ValueError(
        f"loss=None: expected integer labels 0 to {n_out - 1} (cross_entropy), one output and y of "
        "0 and 1 (binary_cross_entropy) or float y (mse), "
        f"got y of dtype {y.dtype} and shape {y.shape}{span} for {n_out} outputs; "
        f"pass loss= one of {', '.join(NAMES)}"
    )
