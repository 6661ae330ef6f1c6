"""Dense: ``a = activation(x @ w + b)`` and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast.activations import NEEDS_Z
from nnfast.plan import Array, Row
from nnfast.reference.activations import activation, activation_grad
from nnfast.reference.step import Step


def dense_forward(x: Array, w: Array, b: Array | None, name: str = "identity") -> Array:
    """Return y (m, n_out) of x (m, n_in), w (n_in, n_out) and b (n_out,)."""
    z = x @ w
    return activation(z if b is None else z + b, name)


def dense_backward(
    x: Array, w: Array, y: Array, dy: Array, name: str = "identity", need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Return dx (m, n_in) or None, dw (n_in, n_out) and db (n_out,), summed over the rows.

    y is z where `activation_grad` takes that.
    """
    dz = activation_grad(y, dy, name)
    return dz @ w.T if need_dx else None, x.T @ dz, dz.sum(axis=0)


def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
    """Return the output of a dense row, shape (rows, n_out)."""
    w, b = views(row, step.theta)
    return dense_forward(inputs[0], w, b, str(row.attributes["activation"]))


def backward(
    row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
) -> tuple[Array | None]:
    """Add the row's dw and db to `gradient`, unless frozen, and return dx."""
    w, b = views(row, step.theta)
    x, name = inputs[0], str(row.attributes["activation"])
    if name in NEEDS_Z:
        y = dense_forward(x, w, b)
    dx, dw, db = dense_backward(x, w, y, dy, name, row.inputs[0] != 0)
    if row.attributes["trainable"]:
        gradient_w, gradient_b = views(row, gradient)
        gradient_w += dw
        if gradient_b is not None:
            gradient_b += db
    return (dx,)


def penalty(row: Row, theta: Array, factor: float, gradient: Array | None = None) -> float:
    """Return `factor` times the penalty of the row's weights, and add its slope to `gradient`.

    A frozen row has none.
    """
    l1, l2 = factor * float(row.attributes["l1"]), factor * float(row.attributes["l2"])
    if not (l1 or l2) or not row.attributes["trainable"]:
        return 0.0
    w, _ = views(row, theta)
    if gradient is not None:
        dw, _ = views(row, gradient)
        dw += (l1 * np.sign(w) + 2 * l2 * w).astype(w.dtype)
    return float(l1 * np.abs(w).sum(dtype=np.float64) + l2 * np.square(w, dtype=np.float64).sum())


def constrain(row: Row, theta: Array) -> None:
    """Scale the weights into each unit to the largest norm that the row allows, in place."""
    most = float(row.attributes["max_norm"])
    if most and row.attributes["trainable"]:
        w, _ = views(row, theta)
        norms = np.sqrt(np.square(w).sum(axis=0))
        w *= np.where(norms > most, most / np.where(norms > 0, norms, 1), 1).astype(w.dtype)


def views(row: Row, theta: Array) -> tuple[Array, Array | None]:
    """Return the weight (n_in, n_out) and the bias (n_out,) or None, views into `theta`."""
    n_in, n_out = int(row.attributes["n_in"]), int(row.attributes["n_out"])
    bias = row.theta + n_in * n_out
    w = theta[row.theta : bias].reshape(n_in, n_out)
    return w, theta[bias : bias + n_out] if row.attributes["use_bias"] else None
