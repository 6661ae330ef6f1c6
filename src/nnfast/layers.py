"""Layers: frozen dataclasses that know shapes and emit rows of a plan. No mathematics here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nnfast import activations, checks, initializers
from nnfast.initializers import Initializer
from nnfast.plan import Functions, Plan, PlanBuilder
from nnfast.regularizers import L1L2, MaxNorm


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
    kernel_regularizer : L1L2 or None
        A penalty of w that J gets: `nnfast.L1`, `nnfast.L2` or `nnfast.L1L2`.
    kernel_constraint : MaxNorm or None
        A bound of w after each step.

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
    kernel_regularizer: L1L2 | None = None
    kernel_constraint: MaxNorm | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "units", checks.integer("Dense units", self.units, 1))
        set_field(self, "activation", activations.canonical(self.activation))
        for name in ("kernel_initializer", "bias_initializer"):
            set_field(self, name, initializers.checked(getattr(self, name), name))
        for name, kind in (("kernel_regularizer", L1L2), ("kernel_constraint", MaxNorm)):
            if not isinstance(value := getattr(self, name), kind | None):
                raise TypeError(
                    f"Dense {name}: expected nnfast.{kind.__name__} or None, got {value!r}; write "
                    f"for example nnfast.{'L2(1e-4)' if kind is L1L2 else 'MaxNorm(3.0)'}"
                )

    def emit(self, builder: PlanBuilder) -> None:
        """Add one dense row, its weight and its bias."""
        n_in, n_out, trainable = _one_axis(builder, self), self.units, bool(self.trainable)
        penalty = self.kernel_regularizer or L1L2()
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
            "l1": float(penalty.l1),
            "l2": float(penalty.l2),
            "max_norm": float(self.kernel_constraint.max_value) if self.kernel_constraint else 0.0,
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


@dataclass(frozen=True, repr=False)
class Rescaling(Layer):
    """``y = x * scale + offset``; as the first layer it is done while X is read, uint8 too.

    Parameters
    ----------
    scale, offset : float
        ``Rescaling(1 / 255)`` makes [0, 1] of bytes.
    """

    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "offset"):
            checks.number(
                f"Rescaling {name}", getattr(self, name), "a finite number", math.isfinite
            )

    def emit(self, builder: PlanBuilder) -> None:
        """Add one rescaling row."""
        numbers = {"scale": float(self.scale), "offset": float(self.offset)}
        builder.add_row("rescaling", {"n": math.prod(builder.shape), **numbers}, builder.shape)


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """In training, each number becomes 0 at random, the others grow by ``1 / (1 - rate)``.

    Which ones is a function of the network's seed, the step, the row and the column.

    Parameters
    ----------
    rate : float
        Probability of 0, in [0, 1) (Srivastava et al., JMLR 15, 2014).
    """

    rate: float

    def __post_init__(self) -> None:
        checks.number("Dropout rate", self.rate, "a number in [0, 1)", lambda v: 0 <= v < 1)

    def emit(self, builder: PlanBuilder) -> None:
        """Add one dropout row."""
        stream = builder.next_stream()
        attributes = {"n": math.prod(builder.shape), "rate": float(self.rate), "stream": stream}
        builder.add_row("dropout", attributes, builder.shape)


@dataclass(frozen=True, repr=False)
class GaussianNoise(Layer):
    """In training, a normal number is added to each: of mean 0, keyed as in `Dropout`.

    Parameters
    ----------
    stddev : float
        Its standard deviation, >= 0.
    """

    stddev: float

    def __post_init__(self) -> None:
        expected = "a finite number >= 0"
        checks.number("GaussianNoise stddev", self.stddev, expected, lambda v: 0 <= v < math.inf)

    def emit(self, builder: PlanBuilder) -> None:
        """Add one row of noise."""
        stream = builder.next_stream()
        attributes = {"n": math.prod(builder.shape), "stddev": float(self.stddev), "stream": stream}
        builder.add_row("gaussian_noise", attributes, builder.shape)


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, by columns of the minibatch.

    Outside training the running mean and variance stand for the minibatch's. They are buffers:
    ``running = momentum * running + (1 - momentum) * batch``. (Ioffe and Szegedy, arXiv 1502.03167)

    Parameters
    ----------
    momentum : float
        Share of the running numbers that a step keeps, in [0, 1]. Keras' meaning, PyTorch's
        default, which is called 0.1 there.
    epsilon : float
        > 0.
    trainable : bool
        False freezes gamma and beta; the statistics go on.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    trainable: bool = True

    def __post_init__(self) -> None:
        checks.number("momentum", self.momentum, "a number in [0, 1]", lambda v: 0 <= v <= 1)
        checks.number("epsilon", self.epsilon, "a number > 0", lambda v: 0 < v < math.inf)

    def emit(self, builder: PlanBuilder) -> None:
        """Add one batch_norm row with gamma, beta and the running statistics."""
        n, theta = _gamma_and_beta(builder, self, self.trainable)
        buffer = builder.add_buffer("running_mean", (n,), 0.0)
        builder.add_buffer("running_variance", (n,), 1.0)
        attributes = {
            "n": n,
            "momentum": float(self.momentum),
            "epsilon": float(self.epsilon),
            "trainable": int(self.trainable),
        }
        builder.add_row("batch_norm", attributes, (n,), theta, buffer)


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, over each row's numbers.

    (Ba, Kiros and Hinton, arXiv 1607.06450)

    Parameters
    ----------
    epsilon : float
        > 0.
    trainable : bool
        False freezes gamma and beta.
    """

    epsilon: float = 1e-5
    trainable: bool = True

    def __post_init__(self) -> None:
        checks.number("epsilon", self.epsilon, "a number > 0", lambda v: 0 < v < math.inf)

    def emit(self, builder: PlanBuilder) -> None:
        """Add one layer_norm row with gamma and beta."""
        n, theta = _gamma_and_beta(builder, self, self.trainable)
        attributes = {"n": n, "epsilon": float(self.epsilon), "trainable": int(self.trainable)}
        builder.add_row("layer_norm", attributes, (n,), theta)


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """``y = x + f(x)``, f being some layers that keep the shape (He et al., arXiv 1512.03385).

    Parameters
    ----------
    layers : sequence of Layer
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers, "Residual layers"))

    def emit(self, builder: PlanBuilder) -> None:
        """Add the rows of the layers, and one that adds."""
        shape, offset = builder.shape, builder.offset
        builder.add_layers(self.layers)
        if builder.shape != shape or builder.offset == offset:
            raise ValueError(
                f"layer {builder.layer}: Residual expected layers that make shape {shape} of "
                f"{shape}, got {builder.shape}; end with Dense({shape[-1]})"
            )
        builder.add_row("add", {"n": math.prod(shape)}, shape, also=(offset,))


@dataclass(frozen=True, repr=False, eq=False)
class Custom(Layer):
    """A layer of your own, in NumPy, inside a native network.

    Parameters
    ----------
    forward : callable
        ``forward(x) -> y``, of whole minibatches: x (m, *input shape), y (m, *output_shape); with
        parameters ``forward(x, w)``.
    backward : callable
        ``backward(x, y, dy) -> dx``, of x's shape; with parameters ``backward(x, y, dy, w) ->
        (dx, dw)``, dw summed over the rows.
    output_shape : int, tuple of int or None
        Of one sample; None: the input's.
    parameters : array or None
        The initial values of w.
    trainable : bool
        False freezes w.

    Notes
    -----
    The arrays are the network's own memory for one step: copy what you keep. Files hold no
    functions: `nnfast.load` takes the layers as an argument.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    output_shape: int | tuple[int, ...] | None = None
    parameters: Any = None
    trainable: bool = True

    def __post_init__(self) -> None:
        for name in ("forward", "backward"):
            if not callable(value := getattr(self, name)):
                raise TypeError(f"Custom {name}: expected a function, got {value!r}")
        if self.parameters is not None:
            values = initializers.checked(np.asarray(self.parameters), "parameters")
            object.__setattr__(self, "parameters", values)

    def emit(self, builder: PlanBuilder) -> None:
        """Add one custom row, and its parameters."""
        shape = builder.shape
        to = shape if self.output_shape is None else self.output_shape
        output = tuple(checks.integer("output_shape", n, 1) for n in np.atleast_1d(to).tolist())
        n_in, n_out, w, theta = math.prod(shape), math.prod(output), self.parameters, -1
        if w is not None:
            fans = (n_in, n_out, bool(self.trainable))
            theta = builder.add_parameter("parameters", w.shape, w, *fans)
        place = builder.add_functions(
            Functions(self.forward, self.backward, shape, output, None if w is None else w.shape)
        )
        attributes = {
            "n_in": n_in,
            "n_out": n_out,
            "function": place,
            "n_parameters": 0 if w is None else w.size,
            "trainable": int(self.trainable),
        }
        builder.add_row("custom", attributes, output, theta)


LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Dense,
        Activation,
        Flatten,
        Rescaling,
        Dropout,
        GaussianNoise,
        BatchNorm,
        LayerNorm,
        Residual,
        Custom,
    )
}
"""The layers that files may name."""


def checked_layers(layers: Iterable[Layer], name: str = "layers") -> tuple[Layer, ...]:
    """Return `layers` as a tuple; TypeError or ValueError unless they are some layers."""
    listed = tuple(layers) if isinstance(layers, Iterable) else (layers,)
    for index, layer in enumerate(listed):
        if not isinstance(layer, Layer):
            came = f"the class {layer.__name__}" if isinstance(layer, type) else repr(layer)
            raise TypeError(
                f"{name}[{index}]: expected a layer, got {came}; write for example Dense(10)"
            )
    if not listed:
        raise ValueError(f"{name}: expected at least one, got none; write for example [Dense(10)]")
    return listed


def build_plan(layers: Iterable[Layer], input_shape: int | tuple[int, ...]) -> Plan:
    """Return the plan of `layers` for samples of `input_shape`."""
    builder = PlanBuilder(input_shape)
    builder.add_layers(layers)
    return builder.finish()


def _one_axis(builder: PlanBuilder, layer: Layer) -> int:
    if len(builder.shape) != 1:
        raise ValueError(
            f"layer {builder.layer}: {type(layer).__name__} expected an input of one axis, got "
            f"shape {builder.shape}; put Flatten() before it"
        )
    return builder.shape[0]


def _gamma_and_beta(builder: PlanBuilder, layer: Layer, trainable: bool) -> tuple[int, int]:
    n = _one_axis(builder, layer)
    theta = builder.add_parameter("gamma", (n,), "ones", n, n, bool(trainable))
    builder.add_parameter("beta", (n,), "zeros", n, n, bool(trainable))
    return n, theta
