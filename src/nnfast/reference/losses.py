"""Losses of one minibatch: the value of each row in float64, and its derivative.

Of outputs z and targets y. cross_entropy is ``-sum(y log softmax(z))``; the others are means over
the outputs, with e = z - y and s the sigmoid:

- mse ``e**2``, mae ``abs(e)``, huber ``e**2 / 2`` up to abs(e) = 1, then ``abs(e) - 1 / 2``;
- binary_cross_entropy ``-y log s(z) - (1 - y) log(1 - s(z))``, poisson ``exp(z) - y z``;
- hinge ``max(0, 1 - y z)`` and perceptron ``max(0, -y z)``, whose slope at 0 is Rosenblatt's: -y.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnfast.losses import Loss
from nnfast.plan import Array
from nnfast.reference.activations import activation


def row_losses(loss: Loss, output: Array, y: Array) -> tuple[NDArray[np.float64], Array]:
    """Return the loss of each row, shape (m,), and d loss / d output, shape (m, n_out), float64."""
    z = output.astype(np.float64)
    n_out, name, smoothing = z.shape[1], loss.name, loss.label_smoothing
    if name == "cross_entropy":
        shifted = z - z.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.eye(n_out)[y] if y.ndim == 1 else y.astype(np.float64)
        p = (1 - smoothing) * p + smoothing / n_out
        return -(p * log_p).sum(axis=1), np.exp(log_p) * p.sum(axis=1, keepdims=True) - p
    t = (1 - smoothing) * y.astype(np.float64) + smoothing / 2
    values, slopes = _elements(name, z, t)
    return values.mean(axis=1), slopes / n_out


def _elements(name: str, z: Array, y: Array) -> tuple[Array, Array]:
    e = z - y
    if name == "mse":
        return np.square(e), 2 * e
    if name == "mae":
        return np.abs(e), np.sign(e)
    if name == "huber":
        return np.where(np.abs(e) > 1, np.abs(e) - 0.5, e * e / 2), np.clip(e, -1, 1)
    if name == "binary_cross_entropy":
        values = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        return values, activation(z, "sigmoid") - y
    if name == "poisson":
        return np.exp(z) - y * z, np.exp(z) - y
    if name == "hinge":
        return np.maximum(1 - y * z, 0), np.where(y * z >= 1, 0, -y)
    if name == "perceptron":
        return np.maximum(-y * z, 0), np.where(y * z > 0, 0, -y)
    raise ValueError(f"loss {name!r} has no kernel in the reference backend")
