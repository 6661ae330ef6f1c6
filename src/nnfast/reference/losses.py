"""Losses of one minibatch: the value of each row in float64, and its derivative.

mse is the mean of the squares over the outputs. The other two take logits z: cross_entropy is
``-sum(y log softmax(z))``, binary_cross_entropy the mean over the outputs of
``-y log s(z) - (1 - y) log(1 - s(z))``, s the sigmoid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnfast.plan import Array
from nnfast.reference.activations import activation


def row_losses(name: str, output: Array, y: Array) -> tuple[NDArray[np.float64], Array]:
    """Return the loss of each row, shape (m,), and d loss / d output, shape (m, n_out), float64."""
    z = output.astype(np.float64)
    n_out = z.shape[1]
    if name == "cross_entropy":
        shifted = z - z.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.eye(n_out)[y] if y.ndim == 1 else y.astype(np.float64)
        return -(p * log_p).sum(axis=1), np.exp(log_p) * p.sum(axis=1, keepdims=True) - p
    t = y.astype(np.float64)
    if name == "binary_cross_entropy":
        values = np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))
        return values.mean(axis=1), (activation(z, "sigmoid") - t) / n_out
    if name == "mse":
        return np.square(z - t).mean(axis=1), 2 * (z - t) / n_out
    raise ValueError(f"loss {name!r} has no kernel in the reference backend")
