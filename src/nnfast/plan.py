"""A network as a short table of rows: pure data that a backend runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnfast import checks, initializers
from nnfast.initializers import Initializer

if TYPE_CHECKING:
    from nnfast.losses import Loss
    from nnfast.optimizers import Optimizer

Array = NDArray[Any]

OPS: dict[str, tuple[str, ...]] = {
    "dense": ("n_in", "n_out", "activation", "use_bias", "trainable", "l1", "l2", "max_norm"),
    "activation": ("n", "activation"),
    "rescaling": ("n", "scale", "offset"),
    "dropout": ("n", "rate", "stream"),
    "gaussian_noise": ("n", "stddev", "stream"),
    "batch_norm": ("n", "momentum", "epsilon", "trainable"),
    "layer_norm": ("n", "epsilon", "trainable"),
    "add": ("n",),
    "custom": ("n_in", "n_out", "function", "n_parameters", "trainable"),
}
"""Each op with its attributes, in the order of csrc/nnfast.h."""


@dataclass(frozen=True, eq=False, slots=True)
class Csr:
    """A sparse matrix in compressed rows, canonical: columns ascend within a row.

    Attributes
    ----------
    data : ndarray, shape (m,)
        The elements that may differ from zero, row after row.
    indices : ndarray of int32, shape (m,)
        Their columns.
    indptr : ndarray of int64, shape (n + 1,)
        Row i has the elements ``indptr[i]`` to ``indptr[i + 1]``; the first need not be 0.
    shape : (int, int)
    """

    data: Array
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    shape: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self.data.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Csr:
        """Return some rows: of a slice without steps a view, of their numbers a copy."""
        if isinstance(rows, slice):
            first, end, step = rows.indices(len(self))
            end = max(first, end)
            if step != 1:
                raise ValueError(f"rows: expected a slice of step 1, got {step}; pass numbers")
            indptr = self.indptr[first : end + 1]
            return Csr(self.data, self.indices, indptr, (end - first, self.shape[1]))
        counts = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        picked = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], counts)
        shape = (len(rows), self.shape[1])
        return Csr(self.data[picked], self.indices[picked], indptr, shape)

    def toarray(self) -> Array:
        """Return the dense matrix."""
        dense = np.zeros(self.shape, self.data.dtype)
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        mine = slice(self.indptr[0], self.indptr[-1])
        dense[rows, self.indices[mine]] = self.data[mine]
        return dense


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    op : str
        A key of `OPS`.
    attributes : Mapping
        Exactly the names in ``OPS[op]``; an activation by its name.
    inputs : tuple of int
        Offsets into one sample's vector of activations; the network's input lies at 0.
    output : int
        Offset of the output in the same vector.
    theta, buffer : int
        Offset of the row's slice of theta or of the buffers, -1 for none. A dense row has its
        weight (n_in, n_out) in C order, then its bias (n_out); a normalising row has gamma (n),
        then beta (n), and batch_norm the running mean (n), then variance (n), in the buffers.
    """

    op: str
    attributes: Mapping[str, float | str]
    inputs: tuple[int, ...]
    output: int
    theta: int = -1
    buffer: int = -1


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named slice of theta, for example "0.weight" of layer 0."""

    name: str
    offset: int
    shape: tuple[int, ...]
    initializer: Initializer = field(compare=False)
    fan_in: int
    fan_out: int
    trainable: bool

    @property
    def slice(self) -> slice:
        """Where the parameter lies in theta."""
        return slice(self.offset, self.offset + math.prod(self.shape))


@dataclass(frozen=True, slots=True)
class Buffer:
    """A named slice of the buffers, which training keeps but does not optimise."""

    name: str
    offset: int
    shape: tuple[int, ...]
    start: float

    @property
    def slice(self) -> slice:
        """Where it lies in the buffers."""
        return slice(self.offset, self.offset + math.prod(self.shape))


@dataclass(frozen=True, slots=True)
class Functions:
    """The Python side of a custom row; `nnfast.layers.Custom` says what they take and return."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameter_shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A network: its rows, its parameters and its sizes (shapes are those of one sample)."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: tuple[Parameter, ...]
    n_activations: int
    n_theta: int
    buffers: tuple[Buffer, ...] = ()
    functions: tuple[Functions, ...] = ()

    @property
    def n_buffers(self) -> int:
        """Numbers in the buffers."""
        return sum(math.prod(buffer.shape) for buffer in self.buffers)

    @property
    def n_in(self) -> int:
        """Numbers in one input."""
        return math.prod(self.input_shape)

    @property
    def n_out(self) -> int:
        """Numbers in one output."""
        return math.prod(self.output_shape)

    @property
    def output_activation(self) -> str:
        """Activation of the last row, "identity" if there is none."""
        return (
            str(self.rows[-1].attributes.get("activation", "identity")) if self.rows else "identity"
        )

    def without_link(self, name: str | None) -> Plan:
        """Return the plan with the last activation made the identity if it is `name`.

        Used where a loss is fused with its link function.
        """
        if name is None or self.output_activation != name:
            return self
        last = self.rows[-1]
        last = dataclasses.replace(last, attributes={**last.attributes, "activation": "identity"})
        return dataclasses.replace(self, rows=(*self.rows[:-1], last))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Job:
    """A plan with the arrays of one run; everything is checked before it is made.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
        float32 or float64, C-contiguous; updated in place when there is an optimizer.
    x : ndarray or Csr, shape (n, n_in)
        Real numbers of any strides and byte order (f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 bool); sparse
        ones, which only dense rows may read, C-contiguous and of theta's dtype.
    order : ndarray of int64, shape (m,)
        Rows of `x` in the order of use.
    batch_size : int
        Rows of a step, the last may be short; ignored without gradient and optimizer.
    y : ndarray or None
        int64 class labels (n,), C-contiguous (cross_entropy), or real targets (n, n_out).
    sample_weight : ndarray or None, shape (n,)
        Of theta's dtype, C-contiguous.
    buffers : ndarray, shape (n_buffers,)
        Of theta's dtype; updated in place by training steps.
    training : bool
        Whether noise is made and batch_norm normalises by the minibatch.
    seed, first_step : int
        Key of the noise, with the number of the job's first step.
    loss : Loss or None
        Of outputs from before its link; None: predict.
    highest_loss : float
        What a row's loss counts as at most, before its weight; the gradient does not know.
    optimizer, state, rates
        The rule; its slots (n_slots, n_theta), updated in place; the numbers of each step
        (n_steps, 3) float64, see `nnfast.optimizers`. None: no update.
    penalty_factors : ndarray of float64 or None, shape (n_steps,)
        What the plan's penalties are times in each step; None: 1.
    gradient : ndarray or None, shape (n_theta,)
        Receives the gradient of a single step: batch_size >= m.
    outputs : ndarray or None, shape (m, n_out)
        Receives the network's output for row ``order[i]`` in row i; C-contiguous.
    losses : ndarray of float64 or None, shape (n_steps,)
        Receives what each step adds to the run's loss, which is that of the last step then.
    loss_before : float
        What the sum of the run's losses starts from: a sum over several jobs is one chain.
    threads : int
        Most threads to use.
    serial_below : float
        FLOP a thread below which fewer threads are used.
    """

    plan: Plan
    theta: Array
    x: Array | Csr
    order: NDArray[np.int64]
    batch_size: int
    y: Array | None = None
    sample_weight: Array | None = None
    buffers: Array | None = None
    training: bool = False
    seed: int = 0
    first_step: int = 0
    loss: Loss | None = None
    highest_loss: float = math.inf
    optimizer: Optimizer | None = None
    state: Array | None = None
    rates: NDArray[np.float64] | None = None
    penalty_factors: NDArray[np.float64] | None = None
    gradient: Array | None = None
    outputs: Array | None = None
    losses: NDArray[np.float64] | None = None
    loss_before: float = 0.0
    threads: int = 1
    serial_below: float = 0.5e6


class Emitter(Protocol):
    """What a plan is built of: `nnfast.layers.Layer`."""

    def emit(self, builder: PlanBuilder) -> None:
        """Add rows and parameters."""


class PlanBuilder:
    """Collects rows and parameters while the layers of a network pass by.

    Attributes
    ----------
    shape : tuple of int
        Shape of the current output, which the next row reads.
    offset : int
        Where the current output lies.
    layer : str
        Name of the layer being added, "2" or "2.0" of one inside another; its parameters' prefix.
    """

    def __init__(self, input_shape: int | tuple[int, ...]) -> None:
        axes = input_shape if isinstance(input_shape, tuple | list) else (input_shape,)
        self.input_shape = tuple(checks.integer("input_shape", axis, 1) for axis in axes)
        if not axes:
            raise ValueError(
                "input_shape: expected at least one axis, got (); the axis of the samples is left "
                "out, so features (n,) of one number each are X[:, None] of input shape (1,)"
            )
        self.shape = self.input_shape
        self.layer = ""
        self.offset = 0
        self._n_activations = math.prod(self.shape)
        self._n_theta = 0
        self._n_buffers = 0
        self._rows: list[Row] = []
        self._parameters: list[Parameter] = []
        self._buffers: list[Buffer] = []
        self._functions: list[Functions] = []

    def add_row(
        self,
        op: str,
        attributes: Mapping[str, float | str],
        shape: tuple[int, ...],
        theta: int = -1,
        buffer: int = -1,
        also: tuple[int, ...] = (),
    ) -> None:
        """Add a row that reads the current output, those at `also`, and makes one of `shape`."""
        inputs = (self.offset, *also)
        self._rows.append(Row(op, attributes, inputs, self._n_activations, theta, buffer))
        self.offset = self._n_activations
        self._n_activations += math.prod(shape)
        self.shape = shape

    def add_layers(self, layers: Iterable[Emitter]) -> None:
        """Add layers one after the other, named by their places in the layer being added."""
        prefix = self.layer
        for index, layer in enumerate(layers):
            self.layer = f"{prefix}.{index}" if prefix else str(index)
            layer.emit(self)
        self.layer = prefix

    def add_buffer(self, name: str, shape: tuple[int, ...], start: float) -> int:
        """Add a buffer of numbers `start` and return its offset."""
        offset = self._n_buffers
        self._buffers.append(Buffer(f"{self.layer}.{name}", offset, shape, start))
        self._n_buffers += math.prod(shape)
        return offset

    def add_functions(self, functions: Functions) -> int:
        """Add the Python side of a custom row and return its place."""
        self._functions.append(functions)
        return len(self._functions) - 1

    def next_stream(self) -> int:
        """Return a number that no other row's noise has."""
        return sum("stream" in OPS[row.op] for row in self._rows)

    def add_parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        fan_in: int,
        fan_out: int,
        trainable: bool,
    ) -> int:
        """Add a parameter at the end of theta and return its offset."""
        full_name = f"{self.layer}.{name}"
        offset = self._n_theta
        self._parameters.append(
            Parameter(full_name, offset, shape, initializer, fan_in, fan_out, trainable)
        )
        self._n_theta += math.prod(shape)
        return offset

    def finish(self) -> Plan:
        """Return the plan of everything added. ValueError if no layer computes anything."""
        if not self._rows:
            raise ValueError("layers: expected one that computes, got none; add Dense(units)")
        return Plan(
            self.input_shape,
            self.shape,
            tuple(self._rows),
            tuple(self._parameters),
            self._n_activations,
            self._n_theta,
            tuple(self._buffers),
            tuple(self._functions),
        )


def buffer_views(plan: Plan, buffers: Array) -> dict[str, Array]:
    """Return the buffers by name, each a view into `buffers`."""
    return {b.name: buffers[b.slice].reshape(b.shape) for b in plan.buffers}


def initial_theta(plan: Plan, seed: int, dtype: np.dtype[Any]) -> Array:
    """Return the initial parameters, shape (n_theta,): a function of plan, seed and dtype."""
    theta = np.empty(plan.n_theta, dtype)
    for index, p in enumerate(plan.parameters):
        try:
            values = initializers.draw(p.initializer, p.shape, p.fan_in, p.fan_out, seed, index)
        except ValueError as error:
            raise ValueError(f"parameter {p.name}: {error}") from None
        theta[p.slice] = values.ravel()
    return theta


def initial_buffers(plan: Plan, dtype: np.dtype[Any]) -> Array:
    """Return the buffers at first, shape (n_buffers,)."""
    buffers = np.empty(plan.n_buffers, dtype)
    for buffer in plan.buffers:
        buffers[buffer.slice] = buffer.start
    return buffers


def parameter_views(plan: Plan, theta: Array) -> dict[str, Array]:
    """Return the parameters by name, each a view into `theta`."""
    return {p.name: theta[p.slice].reshape(p.shape) for p in plan.parameters}
