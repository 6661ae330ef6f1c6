"""Dropout and gaussian_noise; the draws are those of the kernels (csrc/noise.c)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnfast.plan import Array, Row
from nnfast.reference.rng import philox_4x32
from nnfast.reference.step import Step

_CHUNK, _COUNTERS = 32, 8


def draws(step: Step, stream: int, rows: int, n: int) -> NDArray[np.uint32]:
    """Return words of 32 bits, shape (rows, n).

    For columns 32 i to 32 i + 31 the counters (8 i + 0..7, row, step, stream) give four words
    each: the first two of all eight, two by two, then the others.
    """
    chunks = -(-n // _CHUNK)
    counters = np.arange(_COUNTERS * chunks), np.arange(rows)[:, None], step.number & 0xFFFFFFFF
    words = philox_4x32(*counters, stream ^ (step.number >> 32 << 16), step.seed)
    pairs = words.reshape(rows, chunks, _COUNTERS, 2, 2).swapaxes(2, 3)
    return pairs.reshape(rows, chunks * _CHUNK)[:, :n]


class Dropout:
    """The op "dropout": ``y = x * f``, f either 0 or ``1 / (1 - rate)``."""

    @staticmethod
    def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Return x * f in training, else x."""
        x = inputs[0]
        if not step.training:
            return x
        rate, stream = float(row.attributes["rate"]), int(row.attributes["stream"])
        dropped = draws(step, 2 * stream, *x.shape) < int(rate * 2**32)
        step.kept[row.output] = np.where(dropped, 0, 1 / (1 - rate)).astype(x.dtype)
        return np.asarray(x * step.kept[row.output])

    @staticmethod
    def backward(
        row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> tuple[Array]:
        """Return dy * f."""
        return (dy * step.kept[row.output] if step.training else dy,)


class GaussianNoise:
    """The op "gaussian_noise": ``y = x + stddev * g``, g by Box and Muller (1958)."""

    @staticmethod
    def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Return x + stddev * g in training, else x."""
        x = inputs[0]
        if not step.training:
            return x
        stddev, stream = x.dtype.type(row.attributes["stddev"]), int(row.attributes["stream"])
        size, angle = (draws(step, 2 * stream + which, *x.shape) for which in (0, 1))
        u = (size.astype(x.dtype) + x.dtype.type(0.5)) * x.dtype.type(2.0**-32)
        turn = 0.25 - (angle >> 1) * 2.0**-32
        normal = np.sqrt(-2 * np.log(u)) * np.sin(2 * np.pi * turn)
        return np.asarray(x + stddev * normal.astype(x.dtype))

    @staticmethod
    def backward(
        row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> tuple[Array]:
        """Return dy."""
        return (dy,)
