"""batch_norm and layer_norm: ``y = gamma * h + beta``, ``h = (x - mean) / deviation``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast.plan import Array, Row
from nnfast.reference.step import Step


def _parameters(row: Row, theta: Array) -> tuple[Array, Array]:
    n = int(row.attributes["n"])
    return theta[row.theta : row.theta + n], theta[row.theta + n : row.theta + 2 * n]


def _forward(row: Row, x: Array, mean: Array, variance: Array, step: Step) -> Array:
    deviation = np.sqrt(variance + x.dtype.type(row.attributes["epsilon"]))
    h = (x - mean) / deviation
    step.kept[row.output] = h, deviation
    gamma, beta = _parameters(row, step.theta)
    return np.asarray(gamma * h + beta)


def _add_gradients(row: Row, dy: Array, h: Array, gradient: Array) -> tuple[Array, Array]:
    sums = (dy * h).sum(axis=0), dy.sum(axis=0)
    if row.attributes["trainable"]:
        for own, sum_ in zip(_parameters(row, gradient), sums, strict=True):
            own += sum_
    return sums


class BatchNorm:
    """The op "batch_norm": mean and variance of a column."""

    @staticmethod
    def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Normalise by the minibatch in training, else by the running statistics."""
        x, n = inputs[0], int(row.attributes["n"])
        if not step.training:
            running = step.buffers[row.buffer : row.buffer + 2 * n].reshape(2, n)
            return _forward(row, x, running[0], running[1], step)
        mean, variance = x.mean(axis=0), x.var(axis=0)
        step.statistics[row.buffer] = np.stack([mean, variance * (len(x) / max(len(x) - 1, 1))])
        return _forward(row, x, mean, variance, step)

    @staticmethod
    def backward(
        row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> tuple[Array]:
        """Return dx; in training the means over the minibatch are functions of x, too."""
        h, deviation = step.kept[row.output]
        dgamma, dbeta = _add_gradients(row, dy, h, gradient)
        if step.training:
            dy = dy - dbeta / len(dy) - h * (dgamma / len(dy))
        return (dy * _parameters(row, step.theta)[0] / deviation,)

    @staticmethod
    def keep(row: Row, step: Step) -> None:
        """Move the running statistics towards the minibatch's."""
        n, momentum = int(row.attributes["n"]), step.buffers.dtype.type(row.attributes["momentum"])
        running = step.buffers[row.buffer : row.buffer + 2 * n].reshape(2, n)
        running *= momentum
        running += (1 - momentum) * step.statistics[row.buffer]


class LayerNorm:
    """The op "layer_norm": mean and variance of a row."""

    @staticmethod
    def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Normalise each row."""
        x = inputs[0]
        mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        return _forward(row, x, mean, variance, step)

    @staticmethod
    def backward(
        row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> tuple[Array]:
        """Return dx."""
        h, deviation = step.kept[row.output]
        _add_gradients(row, dy, h, gradient)
        g = dy * _parameters(row, step.theta)[0]
        mean, along = g.mean(axis=1, keepdims=True), (g * h).mean(axis=1, keepdims=True)
        return ((g - mean - h * along) / deviation,)
