"""A perceptron: sizes, functions, and weights as views into theta."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nnfast import layers
from nnfast.plan import Array, Plan


@dataclass(frozen=True)
class Net:
    """What a perceptron is.

    Attributes
    ----------
    sizes : tuple of int
        Of the input, the hidden layers and the output.
    activations : tuple of str
        Of the hidden layers.
    output : {"identity", "softmax", "sigmoid", "exponential"}
    dropout : tuple of float
        Rates behind the hidden layers; empty for none.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    output: str
    dropout: tuple[float, ...] = ()

    @property
    def n_theta(self) -> int:
        """Numbers in theta."""
        return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(self.sizes))

    def coefs(self, theta: Array) -> list[Array]:
        """Return the weights, (n_in, n_out) each, as views into theta."""
        return [w for w, _ in self.views(theta)]

    def intercepts(self, theta: Array) -> list[Array]:
        """Return the biases, (n_out,) each, as views into theta."""
        return [b for _, b in self.views(theta)]

    def views(self, theta: Array) -> Iterator[tuple[Array, Array]]:
        """Yield weight and bias of each layer as views into theta."""
        at = 0
        for n_in, n_out in itertools.pairwise(self.sizes):
            end = at + n_in * n_out
            yield theta[at:end].reshape(n_in, n_out), theta[end : end + n_out]
            at = end + n_out

    def gather(self, theta: Array, coefs: Sequence[Array], intercepts: Sequence[Array]) -> None:
        """Copy weights and biases into theta."""
        copy_layers(list(self.views(theta)), coefs, intercepts)


def copy_layers(
    to: Sequence[tuple[Array, Array]], coefs: Sequence[Array], intercepts: Sequence[Array]
) -> None:
    """Copy weights and biases to the (weight, bias) of each layer."""
    for (w, b), coef, intercept in zip(to, coefs, intercepts, strict=True):
        w[...] = coef
        b[...] = intercept


@functools.lru_cache(maxsize=64)
def plan_of(net: Net, linked: bool) -> Plan:
    """Return the plan; `linked` is with the function of the output, but for "exponential"."""
    stack: list[layers.Layer] = []
    for place, (units, name) in enumerate(zip(net.sizes[1:-1], net.activations, strict=True)):
        stack.append(layers.Dense(units, name))
        if net.dropout and net.dropout[place]:
            stack.append(layers.Dropout(net.dropout[place]))
    output = net.output if linked and net.output != "exponential" else "identity"
    stack.append(layers.Dense(net.sizes[-1], output))
    return layers.build_plan(stack, net.sizes[0])


def penalised(plan: Plan, l2: float) -> Plan:
    """Return the plan with a penalty of its weights: J gets ``l2 * sum(w * w)``."""
    if l2 == 0:
        return plan
    rows = tuple(
        replace(row, attributes={**row.attributes, "l2": l2}) if row.op == "dense" else row
        for row in plan.rows
    )
    return replace(plan, rows=rows)
