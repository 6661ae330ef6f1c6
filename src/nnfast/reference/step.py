"""What the ops of one step share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nnfast.plan import Array, Plan, Row


@dataclass(eq=False, slots=True)
class Step:
    """Where a pass through the rows reads, and what it leaves for the pass back.

    Attributes
    ----------
    kept : dict
        By the offset of a row's output: what its derivative is made from.
    statistics : dict
        By the offset of a row's buffers: batch mean and variance, shape (2, n).
    """

    plan: Plan
    theta: Array
    buffers: Array
    training: bool = False
    seed: int = 0
    number: int = 0
    penalty_factor: float = 1.0
    kept: dict[int, Any] = field(default_factory=dict)
    statistics: dict[int, Array] = field(default_factory=dict)


class Op(Protocol):
    """The two directions of one op."""

    def forward(self, row: Row, inputs: Sequence[Array], step: Step) -> Array:
        """Return the output (m, n_out) of the inputs (m, n_in)."""

    def backward(
        self, row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
    ) -> Sequence[Array | None]:
        """Add to `gradient` (n_theta,), unless frozen, and return the inputs' gradients.

        None stands for that of the network's input, which nobody needs.
        """
