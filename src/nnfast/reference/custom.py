"""custom: what the plan's functions make of whole minibatches."""

from __future__ import annotations

from collections.abc import Sequence

from nnfast.plan import Array, Row
from nnfast.python_side import call_backward, call_forward
from nnfast.reference.step import Step


def _parameters(row: Row, theta: Array) -> Array:
    return theta[row.theta : row.theta + int(row.attributes["n_parameters"])]


def forward(row: Row, inputs: Sequence[Array], step: Step) -> Array:
    """Return forward(x)."""
    functions = step.plan.functions[int(row.attributes["function"])]
    y = call_forward(functions, inputs[0], _parameters(row, step.theta))
    return y.astype(step.theta.dtype)


def backward(
    row: Row, inputs: Sequence[Array], y: Array, dy: Array, step: Step, gradient: Array
) -> tuple[Array]:
    """Return backward(x, y, dy)."""
    functions = step.plan.functions[int(row.attributes["function"])]
    dx, dw = call_backward(functions, inputs[0], y, dy, _parameters(row, step.theta))
    if row.attributes["trainable"] and row.attributes["n_parameters"]:
        own = _parameters(row, gradient)
        own += dw
    return (dx.astype(step.theta.dtype),)
