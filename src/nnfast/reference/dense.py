"""Dense: ``a = activation(x @ w + b)`` and back."""

from __future__ import annotations

from nnfast.activations import NEEDS_Z
from nnfast.plan import Array, Row
from nnfast.reference.activations import activation, activation_grad


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


def forward(row: Row, x: Array, theta: Array) -> Array:
    """Return the output of a dense row, shape (rows, n_out)."""
    w, b = _views(row, theta)
    return dense_forward(x, w, b, str(row.attributes["activation"]))


def backward(
    row: Row, x: Array, y: Array, dy: Array, theta: Array, gradient: Array, need_dx: bool
) -> Array | None:
    """Add the row's dw and db to `gradient`, unless frozen, and return dx."""
    w, b = _views(row, theta)
    name = str(row.attributes["activation"])
    if name in NEEDS_Z:
        y = dense_forward(x, w, b)
    dx, dw, db = dense_backward(x, w, y, dy, name, need_dx)
    if row.attributes["trainable"]:
        gradient_w, gradient_b = _views(row, gradient)
        gradient_w += dw
        if gradient_b is not None:
            gradient_b += db
    return dx


def _views(row: Row, theta: Array) -> tuple[Array, Array | None]:
    n_in, n_out = int(row.attributes["n_in"]), int(row.attributes["n_out"])
    bias = row.theta + n_in * n_out
    w = theta[row.theta : bias].reshape(n_in, n_out)
    return w, theta[bias : bias + n_out] if row.attributes["use_bias"] else None
