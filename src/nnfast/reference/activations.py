"""Activations a(z) and their derivatives: dz from a and da, for gelu and silu from z and da.

NaN propagates through all of them. softmax goes over the last axis:
``dz = a * (da - sum(da * a))``; gelu is ``z P(Z < z)``, Z normal (arXiv 1606.08415).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnfast.activations import NEEDS_Z
from nnfast.plan import Array, Row
from nnfast.reference.step import Step

LEAK = 0.01


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
    if name == "leaky_relu":
        return np.where(z < 0, z.dtype.type(LEAK) * z, z)
    if name == "elu":
        return np.where(z < 0, np.expm1(np.minimum(z, 0)), z)
    if name == "gelu":
        return z * _normal_cdf(z)
    if name == "silu":
        return z * activation(z, "sigmoid")
    if name == "softplus":
        return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))
    if name == "arctan":
        return np.arctan(z)
    raise ValueError(f"activation {name!r} has no kernel in the reference backend")


def activation_grad(a: Array, da: Array, name: str) -> Array:
    """Return dz, of the shape and dtype of the output `a`; gelu and silu take z for `a`."""
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
    if name == "leaky_relu":
        return np.where(a <= 0, a.dtype.type(LEAK) * da, da)
    if name == "elu":
        return np.where(a <= 0, da * (a + 1), da)
    if name == "gelu":
        density = np.exp(-a * a / 2) / math.sqrt(2 * math.pi)
        return np.asarray(da * (_normal_cdf(a) + a * density), a.dtype)
    if name == "silu":
        s = activation(a, "sigmoid")
        return np.asarray(da * (s + a * s * (1 - s)))
    if name == "softplus":
        return np.asarray(da * -np.expm1(-a))
    if name == "arctan":
        return np.asarray(da * np.square(np.cos(np.clip(a, -np.pi / 2, np.pi / 2))))
    raise ValueError(f"activation {name!r} has no kernel in the reference backend")


def _normal_cdf(z: Array) -> Array:
    tails = [math.erfc(-value / math.sqrt(2)) / 2 for value in z.ravel().tolist()]
    return np.array(tails, z.dtype).reshape(z.shape)


def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
    """Return the output of an activation row, shape (rows, n)."""
    return activation(inputs[0], str(row.attributes["activation"]))


def backward(
    row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
) -> tuple[Array]:
    """Return dx of an activation row, shape (rows, n)."""
    name = str(row.attributes["activation"])
    return (activation_grad(inputs[0] if name in NEEDS_Z else y, dy, name),)
