"""Rescaling: ``y = x * scale + offset``; add: ``y = x0 + x1``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast.plan import Array, Row
from nnfast.reference.step import Step


class Rescaling:
    """The op "rescaling"."""

    @staticmethod
    def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Return x * scale + offset."""
        x = inputs[0]
        scale, offset = (x.dtype.type(row.attributes[name]) for name in ("scale", "offset"))
        return np.asarray(x * scale + offset)

    @staticmethod
    def backward(
        row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> tuple[Array]:
        """Return dy * scale."""
        return (dy * dy.dtype.type(row.attributes["scale"]),)


class Add:
    """The op "add"."""

    @staticmethod
    def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Return the sum of the two inputs."""
        return inputs[0] + inputs[1]

    @staticmethod
    def backward(
        row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> tuple[Array, Array]:
        """Return dy twice."""
        return dy, dy
