"""Layers: frozen dataclasses that know shapes and emit rows of a plan. No mathematics here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from nnfast import activations, checks, initializers
from nnfast.initializers import Initializer
from nnfast.plan import Plan, PlanBuilder


@dataclass(frozen=True, repr=False)
class Layer(ABC):
    """Base of all layers: a frozen dataclass with the one method `emit`."""

    @abstractmethod
    def emit(self, builder: PlanBuilder) -> None:
        """Add the rows and parameters of this layer to a plan."""

    def settings(self) -> dict[str, object]:
        """Return the arguments that differ from their defaults."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: value
            for name, (value, default) in values.items()
            if isinstance(value, np.ndarray) or value != default
        }

    def __repr__(self) -> str:
        shown = (
            f"{name}=array{value.shape}" if isinstance(value, np.ndarray) else f"{name}={value!r}"
            for name, value in self.settings().items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Fully connected layer: ``a = activation(x @ w + b)``.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or None
        One of `nnfast.activations.NAMES`; None is the identity.
    use_bias : bool
        Whether there is a bias b, shape (units,).
    kernel_initializer, bias_initializer : str or array
        A name of `nnfast.initializers.NAMES`, or the values: w is (n_in, units).
    trainable : bool
        False freezes the layer.

    Raises
    ------
    TypeError, ValueError
        An argument of another type or value; at build, an input of more than one axis.
    """

    units: int
    activation: str | None = "identity"
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    trainable: bool = True

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "units", checks.integer("Dense units", self.units, 1))
        set_field(self, "activation", activations.canonical(self.activation))
        for name in ("kernel_initializer", "bias_initializer"):
            set_field(self, name, initializers.checked(getattr(self, name), name))

    def emit(self, builder: PlanBuilder) -> None:
        """Add one dense row, its weight and its bias."""
        if len(builder.shape) != 1:
            raise ValueError(
                f"layer {builder.layer}: Dense expected an input of one axis, got shape "
                f"{builder.shape}; put Flatten() before it"
            )
        n_in, n_out, trainable = builder.shape[0], self.units, bool(self.trainable)
        fans = (n_in, n_out, trainable)
        theta = builder.add_parameter("weight", (n_in, n_out), self.kernel_initializer, *fans)
        if self.use_bias:
            builder.add_parameter("bias", (n_out,), self.bias_initializer, *fans)
        attributes: dict[str, float | str] = {
            "n_in": n_in,
            "n_out": n_out,
            "activation": activations.canonical(self.activation),
            "use_bias": int(self.use_bias),
            "trainable": int(trainable),
            "l1": 0.0,
            "l2": 0.0,
            "max_norm": 0.0,
        }
        builder.add_row("dense", attributes, (n_out,), theta)


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """An activation by itself; softmax goes over all numbers of a sample.

    Parameters
    ----------
    activation : str
        One of `nnfast.activations.NAMES`.
    """

    activation: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activations.canonical(self.activation))

    def emit(self, builder: PlanBuilder) -> None:
        """Add one activation row."""
        n = math.prod(builder.shape)
        builder.add_row("activation", {"n": n, "activation": self.activation}, builder.shape)


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """Make one axis of all axes of a sample, in C order. Costs nothing: samples lie so already."""

    def emit(self, builder: PlanBuilder) -> None:
        """Change the shape; no row."""
        builder.shape = (math.prod(builder.shape),)


LAYERS: dict[str, type[Layer]] = {cls.__name__: cls for cls in (Dense, Activation, Flatten)}
"""The layers that files may name."""


def build_plan(layers: Iterable[Layer], input_shape: int | tuple[int, ...]) -> Plan:
    """Return the plan of `layers` for samples of `input_shape`."""
    builder = PlanBuilder(input_shape)
    builder.add_layers(layers)
    return builder.finish()
