"""Multilayer perceptrons by scikit-learn's arithmetic: epochs, J(theta) and outputs, on a backend.

Knows arrays, plans and backends, and nothing of scikit-learn. What is particular:

- a batch of m rows, or of weights that sum to m, has the loss ``data / m + alpha / (2 m) sum w^2``,
  so that the short last batch of an epoch is penalised more than the others;
- the losses of classifiers are sums over the outputs, of probabilities clipped to [eps, 1 - eps];
  the gradient knows nothing of the clipping;
- "squared_error" is half of the mean over the outputs, but the gradient is that of the sum.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nnfast import backend, layers, losses, training
from nnfast.backend import Run
from nnfast.optimizers import Constants
from nnfast.plan import Array, Csr, Job, Plan

SECONDS = training.SECONDS_OF_A_CALL
_LINKS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
_NAMES = {"squared_error": "mse", "absolute_error": "mae", "huber": "huber", "poisson": "poisson"}


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


class Outputs:
    """Computes the outputs for x, as often as it is called.

    Attributes
    ----------
    x : ndarray or Csr, shape (n, n_in)
        What it holds at a call counts.
    """

    def __init__(self, net: Net, dtype: np.dtype[Any], x: Array | Csr, threads: int) -> None:
        self.x = x
        self._net, self._threads, self._backend = net, threads, backend.current()
        self._theta = np.empty(net.n_theta, dtype)
        self._layers = list(net.views(self._theta))
        self._outputs = np.empty((len(x), net.sizes[-1]), dtype)
        self._run = self._backend.run(
            Job(
                plan=plan_of(net, True),
                theta=self._theta,
                x=x,
                order=np.arange(len(x)),
                batch_size=len(x),
                outputs=self._outputs,
                threads=threads,
            )
        )

    def fits(self, net: Net, dtype: np.dtype[Any], n: int, threads: int) -> bool:
        """Return whether it is for this net, and so many rows and threads."""
        return (
            len(self.x) == n
            and self._theta.dtype == dtype
            and self._threads == threads
            and self._backend is backend.current()
            and self._net == net
        )

    def __call__(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> Array:
        """Return the outputs, shape (n, n_out)."""
        copy_layers(self._layers, coefs, intercepts)
        self._run.restart(0)
        while self._run.advance(SECONDS):
            pass
        if self._net.output == "exponential":
            return np.exp(self._outputs)
        return self._outputs.copy()


@dataclass(frozen=True)
class Rule:
    """An update rule for a backend. How large its steps are is said by the rates of each."""

    name: str
    constants: Constants
    n_slots: int
    clip_value: None = None
    clip_norm: None = None


class Goal:
    """The loss of the outputs, by scikit-learn's definition, and what a backend computes for it.

    Parameters
    ----------
    net : Net
    kind : str or callable
        "log_loss", "squared_error", "poisson", "absolute_error", "huber", or
        ``(y_pred, y_true) -> (value, dvalue/dy_pred)`` of the outputs, links included.
    y : ndarray, shape (n, n_out)
    dtype : numpy.dtype
        Of theta.
    """

    def __init__(self, net: Net, kind: Any, y: Array, dtype: np.dtype[Any]) -> None:
        n_out = net.sizes[-1]
        self.factor = 1.0
        self.linked = not isinstance(kind, str) or (kind != "log_loss" and kind != "poisson")
        self._cap = -np.log(np.finfo(dtype).eps) if kind == "log_loss" else np.inf
        self._halves = kind == "squared_error" and n_out > 1
        self._constants: Array | None = None
        self.y = y if y.dtype == dtype else y.astype(dtype)
        if not isinstance(kind, str):
            self.loss = losses.get(kind)
        elif kind == "log_loss":
            self.loss = losses.get(_LINKS[net.output])
            if net.output == "softmax":
                self.y = y.argmax(axis=1)
            else:
                self.factor = float(n_out)
        else:
            self.loss = losses.get(_NAMES[kind])
            if kind == "squared_error":
                self.factor = n_out / 2
            elif kind == "poisson":
                self.factor = float(n_out)
                positive = np.where(self.y > 0, self.y, 1)
                self._constants = (self.y * np.log(positive) - self.y).sum(axis=1)
        self.y = np.ascontiguousarray(self.y)

    @property
    def needs_outputs(self) -> bool:
        """Whether `correction` looks at the outputs."""
        return bool(np.isfinite(self._cap)) or self._halves

    def correction(self, z: Array | None, rows: Array, weight: Array | None) -> float:
        """Return what the sum of weighted losses lacks to scikit-learn's.

        `z` are outputs from before their link, of these rows of y; `weight` those that the
        backend had, of all rows.
        """
        factors = None if weight is None else weight[rows].astype(np.float64)
        missing = 0.0
        if self._constants is not None:
            constants = self._constants[rows]
            missing += float(
                constants.sum() if factors is None else factors @ constants / self.factor
            )
        if z is None:
            return missing
        if self._halves:
            squares = np.square(z - self.y[rows], dtype=np.float64).mean(axis=1)
            missing += float(
                (1 / len(z[0]) - 1) * (squares if factors is None else factors * squares).sum()
            )
        elif self._is_clipped(z):
            excess = self._excess(z, rows)
            missing -= float(excess.sum() if factors is None else factors @ excess / self.factor)
        return missing

    def _is_clipped(self, z: Array) -> bool:
        """Whether clipping, or the rounding of 1 - p, may be seen in the loss."""
        if self.y.ndim == 1:
            return bool(z.max() - z.min() > self._cap - np.log(z.shape[1]))
        return bool(np.abs(z).max() > self._cap / 2)

    def _excess(self, z: Array, rows: Array) -> Array:
        """Return by how much the log losses are larger than those of probabilities, (m,)."""
        if self.y.ndim == 1:
            z = z.astype(np.float64) - z.max(axis=1, keepdims=True)
            own = np.take_along_axis(z, self.y[rows][:, None], axis=1)[:, 0]
            values = np.log(np.exp(z).sum(axis=1)) - own
            return cast(Array, np.maximum(values - self._cap, 0))
        from scipy.special import expit, xlogy

        eps = np.finfo(z.dtype).eps
        y, p = self.y[rows], np.clip(expit(z), eps, 1 - eps)
        values = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        found = (values + xlogy(y, p) + xlogy(1 - y, 1 - p)).sum(axis=1, dtype=np.float64)
        return cast(Array, found)


@dataclass
class Data:
    """What is learnt: x (n, n_in) or compressed rows, weights (n,) or None, and the goal."""

    net: Net
    x: Array | Csr
    goal: Goal
    weight: Array | None
    alpha: float
    threads: int | None

    def __len__(self) -> int:
        return len(self.x)

    def job(self, theta: Array, order: Array, batch_size: int, l2: float, **more: Any) -> Job:
        """Return a job whose weights are still to be chosen."""
        goal = self.goal
        outputs = np.empty((len(order), self.net.sizes[-1]), theta.dtype)
        return Job(
            plan=penalised(plan_of(self.net, goal.linked), l2),
            theta=theta,
            x=self.x,
            order=order,
            batch_size=batch_size,
            y=goal.y,
            loss=goal.loss,
            outputs=outputs if goal.needs_outputs else None,
            threads=backend.resolve_threads(self.threads),
            **more,
        )

    def constant_weight(self, dtype: np.dtype[Any]) -> Array | None:
        """Return the goal's factor as weights, None for 1."""
        factor = self.goal.factor
        return None if factor == 1 else np.full(len(self.x), factor, dtype)


@dataclass
class _Part:
    """Steps that one run makes: those of [first, end) of an epoch."""

    first: int
    end: int
    job: Job
    run: Run


@dataclass
class Trainer:
    """Makes the steps of epochs, on theta and state in place.

    Attributes
    ----------
    state : ndarray, shape (n_slots, n_theta)
    seed : int
        Key of dropout.
    steps : int
        Made so far.
    finite : bool
        False: a loss was not finite, and the epoch has ended before that step.
    """

    data: Data
    theta: Array
    state: Array
    rule: Rule
    batch_size: int
    seed: int = 0
    steps: int = 0
    finite: bool = True
    _parts: list[_Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.data)
        self.steps_of_epoch = -(-n // self.batch_size)
        self._order = np.zeros(n, np.int64)
        self._rates = np.zeros((self.steps_of_epoch, 3))
        weighted = self.data.weight is not None
        self._weight = (
            np.empty(n, self.theta.dtype)
            if weighted
            else self.data.constant_weight(self.theta.dtype)
        )
        self._made = 0

    @property
    def made(self) -> int:
        """Steps of the epoch under way, or of the last one."""
        return self._made

    def sums(self, order: Array) -> Array:
        """Return what each step of an epoch divides by: its rows, or the sum of their weights."""
        weight = self.data.weight
        edges = np.arange(0, len(order), self.batch_size)
        if weight is None:
            return np.diff(edges, append=len(order)).astype(np.float64)
        return np.add.reduceat(weight[order].astype(np.float64), edges)

    def epoch(self, order: Array, rates: NDArray[np.float64]) -> float:
        """Make the steps of an epoch and return the sum over them of rows times loss.

        Parameters
        ----------
        order : ndarray of int64, shape (n,)
        rates : ndarray, shape (steps_of_epoch, 3)
            Step size, epsilon and 0.
        """
        self._order[:], self._rates[:] = order, rates
        self._made, total = 0, 0.0
        for part in self._parts_of_epoch():
            run, job = part.run, part.job
            run.restart(self.steps + part.first)
            more = True
            try:
                while more:
                    more = run.advance(SECONDS)
            finally:
                self._made = part.first + run.steps
            if not run.finite:
                self.finite = False
                break
            total += run.loss + self.data.goal.correction(job.outputs, job.order, self._weight)
        self.steps += self._made
        return total

    def _parts_of_epoch(self) -> Iterable[_Part]:
        weight, scaled = self.data.weight, self._weight
        if weight is None or scaled is None:
            self._parts = self._parts or list(self._cut(self.sums(self._order)))
            return self._parts
        sums = self.sums(self._order)
        rows = np.diff(np.arange(0, len(weight), self.batch_size), append=len(weight))
        factors = np.repeat(self.data.goal.factor * rows / sums, rows)
        scaled[self._order] = weight[self._order] * factors  # a mean of rows is one of weights
        if self.data.alpha:
            return self._cut(sums)  # one after the other: each has its own memory
        self._parts = self._parts or list(self._cut(sums))
        return self._parts

    def _cut(self, sums: Array) -> Iterator[_Part]:
        """Cut the epoch where the penalty changes."""
        l2 = self.data.alpha / (2 * sums)
        edges = [0, *(np.flatnonzero(np.diff(l2)) + 1).tolist(), len(l2)]
        for first, end in itertools.pairwise(edges):
            job = self.data.job(
                self.theta,
                self._order[first * self.batch_size : end * self.batch_size],
                self.batch_size,
                float(l2[first]),
                sample_weight=self._weight,
                optimizer=self.rule,
                state=self.state,
                rates=self._rates[first:end],
                training=True,
                seed=self.seed,
            )
            yield _Part(first, end, job, backend.current().run(job))


class Objective:
    """J(theta) over all rows, and its gradient.

    Parameters
    ----------
    data : Data
    dtype : numpy.dtype
        Of the arithmetic.
    """

    def __init__(self, data: Data, dtype: np.dtype[Any]) -> None:
        n, net = len(data), data.net
        self._data = data
        self.theta, self.gradient = np.zeros(net.n_theta, dtype), np.zeros(net.n_theta, dtype)
        total = float(n) if data.weight is None else float(data.weight.sum(dtype=np.float64))
        self._weight = data.constant_weight(dtype)
        if data.weight is not None:
            self._weight = np.ascontiguousarray(data.weight * (data.goal.factor * n / total), dtype)
        self._job = data.job(
            self.theta,
            np.arange(n),
            n,
            data.alpha / (2 * total),
            sample_weight=self._weight,
            gradient=self.gradient,
        )
        self._run = backend.current().run(self._job)

    def __call__(self) -> float:
        """Return J of `theta` as it is now; its gradient is in `gradient`."""
        run, job = self._run, self._job
        run.restart(0)
        while run.advance(SECONDS):
            pass
        missing = self._data.goal.correction(job.outputs, job.order, self._weight)
        return (run.loss + missing) / len(self._data)
