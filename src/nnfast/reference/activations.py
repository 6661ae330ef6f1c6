"""Activations a(z) and their derivatives, given by the output: dz from a and da.

NaN propagates through all of them. softmax goes over the last axis:
``dz = a * (da - sum(da * a))``.
"""

from __future__ import annotations

import numpy as np

from nnfast.plan import Array, Row


def activation(z: Array, name: str) -> Array:
    """Return a, of the shape and dtype of `z`."""
    if name == "identity":
        return z.copy()
    if name == "sigmoid":
        small = np.exp(-np.abs(z))
        return np.asarray(np.where(z < 0, small, 1) / (1 + small))
    if name == "tanh":
        return np.tanh(z)
    if name == "relu":
        return np.maximum(z, 0)
    if name == "softmax":
        powers = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    if name == "step":
        return np.where(np.isnan(z), z, z > 0).astype(z.dtype)
    raise ValueError(f"activation {name!r} has no kernel in the reference backend")


def activation_grad(a: Array, da: Array, name: str) -> Array:
    """Return dz, of the shape and dtype of the output `a`."""
    if name == "identity":
        return da.copy()
    if name == "sigmoid":
        return np.asarray(da * (a * (1 - a)))
    if name == "tanh":
        return np.asarray(da * (1 - a * a))
    if name == "relu":
        return np.where(a <= 0, 0, da).astype(a.dtype)
    if name == "softmax":
        return np.asarray(a * (da - (da * a).sum(axis=-1, keepdims=True)))
    if name == "step":
        return np.zeros_like(da)
    raise ValueError(f"activation {name!r} has no kernel in the reference backend")


def forward(row: Row, x: Array, theta: Array) -> Array:
    """Return the output of an activation row, shape (rows, n)."""
    return activation(x, str(row.attributes["activation"]))


def backward(
    row: Row, x: Array, y: Array, dy: Array, theta: Array, gradient: Array, need_dx: bool
) -> Array | None:
    """Return dx of an activation row, shape (rows, n)."""
    return activation_grad(y, dy, str(row.attributes["activation"])) if need_dx else None
