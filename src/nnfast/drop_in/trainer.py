"""The steps of epochs on a backend, by scikit-learn's arithmetic.

A batch of m rows, or of weights that sum to m, has the loss ``data / m + alpha / (2 m) sum w^2``,
so that the short last batch of an epoch is penalised more than the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import backend
from nnfast.backend import Run
from nnfast.drop_in.loss import Goal
from nnfast.drop_in.network import Net, penalised, plan_of
from nnfast.optimizers import Constants
from nnfast.plan import Array, Csr, Job
from nnfast.training import SECONDS_OF_A_CALL


@dataclass(frozen=True)
class Rule:
    """An update rule for a backend. How large its steps are is said by the rates of each."""

    name: str
    constants: Constants
    n_slots: int
    clip_value: None = None
    clip_norm: None = None


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
            highest_loss=goal.highest,
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
        False: a loss was not finite, and the epoch has ended before that step, or some before it.
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
    _several: _Part | None = None

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
                    self._made = part.first + run.steps
                    more = run.advance(SECONDS_OF_A_CALL)
            finally:
                if run.finite:
                    self._made = part.first + run.steps
            if not run.finite:  # theta is as it was before the call
                self.finite = False
                break
            total += run.loss + self.data.goal.correction(job.outputs, job.order, self._weight)
        self.steps += self._made
        return total

    def epochs(self, orders: Array, rates: NDArray[np.float64]) -> list[float]:
        """Make epochs of one step each in one run, and return what `epoch` does of each.

        Without weights. Where a loss is not finite the list is empty: nothing has been done.

        Parameters
        ----------
        orders : ndarray of int64, shape (k, n)
            k is the same in each call.
        rates : ndarray, shape (k, 3)
        """
        if self._several is None:
            l2 = self.data.alpha / (2 * self.sums(orders[0])[0])
            job = self._job(np.zeros(orders.size, np.int64), float(l2), np.zeros(rates.shape))
            job = replace(job, losses=np.zeros(len(orders)))
            self._several = _Part(0, len(orders), job, backend.current().run(job))
        job, run = self._several.job, self._several.run
        assert job.rates is not None
        assert job.losses is not None
        job.order[:], job.rates[:] = orders.ravel(), rates
        before = self.theta.copy(), self.state.copy()
        self._made, done = 0, False
        run.restart(self.steps)
        try:
            while run.advance(SECONDS_OF_A_CALL):
                pass
            done = run.finite
        finally:
            if not done:
                self.theta[:], self.state[:] = before
        if not done:
            return []
        self._made = run.steps
        self.steps += run.steps
        outputs: Iterable[Array | None] = itertools.repeat(None)
        if job.outputs is not None:
            outputs = job.outputs.reshape(len(orders), len(self.data), -1)
        return [
            loss + self.data.goal.correction(z, order, self._weight)
            for loss, z, order in zip(job.losses.tolist(), outputs, orders, strict=False)
        ]

    def _job(self, order: Array, l2: float, rates: NDArray[np.float64]) -> Job:
        return self.data.job(
            self.theta,
            order,
            self.batch_size,
            l2,
            sample_weight=self._weight,
            optimizer=self.rule,
            state=self.state,
            rates=rates,
            training=True,
            seed=self.seed,
        )

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
            order = self._order[first * self.batch_size : end * self.batch_size]
            job = self._job(order, float(l2[first]), self._rates[first:end])
            yield _Part(first, end, job, backend.current().run(job))
