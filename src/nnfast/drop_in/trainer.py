"""The steps of epochs on a backend, by scikit-learn's arithmetic.

A batch of m rows, or of weights that sum to m, has the loss ``data / m + alpha / (2 m) sum w^2``,
so that the short last batch of an epoch is penalised more than the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
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
class Trainer:
    """Makes the steps of epochs, on theta and state in place.

    Attributes
    ----------
    state : ndarray, shape (n_slots, n_theta)
    seed : int
        Key of dropout.
    steps : int
        Made so far.
    made : int
        Steps of the last call.
    finite : bool
        False: in the last call a loss was not finite, and it has ended before that step, or some
        before it.
    """

    data: Data
    theta: Array
    state: Array
    rule: Rule
    batch_size: int
    seed: int = 0
    steps: int = 0
    made: int = 0
    finite: bool = True
    _runs: dict[int, tuple[Job, Run]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps_of_epoch = -(-len(self.data) // self.batch_size)
        if self.data.weight is None:
            self._weight = self.data.constant_weight(self.theta.dtype)
        else:
            self._weight = np.empty(len(self.data), self.theta.dtype)

    def sums(self, order: Array) -> Array:
        """Return what each step of an epoch divides by: its rows, or the sum of their weights."""
        weight = self.data.weight
        edges = np.arange(0, len(order), self.batch_size)
        if weight is None:
            return np.diff(edges, append=len(order)).astype(np.float64)
        return np.add.reduceat(weight[order].astype(np.float64), edges)

    def epochs(self, orders: Array, rates: NDArray[np.float64]) -> list[float]:
        """Make epochs and return for each that was made the sum over its steps of rows times loss.

        Parameters
        ----------
        orders : ndarray of int64, shape (k, n)
            Several only if each is a single step, without weights.
        rates : ndarray, shape (k * steps_of_epoch, 3)
            Step size, epsilon and 0.
        """
        if len(orders) not in self._runs:
            self._runs[len(orders)] = self._run(orders)
        job, run = self._runs[len(orders)]
        assert job.rates is not None
        assert job.losses is not None
        job.order[:], job.rates[:] = orders.ravel(), rates
        if self.data.weight is not None:
            self._weigh(job)
        run.restart(self.steps)
        self.made = 0
        try:
            more = True
            while more:
                self.made = run.steps
                more = run.advance(SECONDS_OF_A_CALL)
        finally:
            self.finite = run.finite
            if run.finite:  # else theta is as it was before the call
                self.made = run.steps
            self.steps += self.made
        whole = self.made // self.steps_of_epoch
        outputs: Iterable[Array | None] = itertools.repeat(None)
        if job.outputs is not None:
            outputs = job.outputs.reshape(len(orders), len(self.data), -1)
        losses = job.losses.reshape(len(orders), -1).sum(axis=1)[:whole].tolist()
        return [
            loss + self.data.goal.correction(z, order, self._weight)
            for loss, z, order in zip(losses, outputs, orders, strict=False)
        ]

    def _run(self, orders: Array) -> tuple[Job, Run]:
        steps, alpha = len(orders) * self.steps_of_epoch, self.data.alpha
        job = self.data.job(
            self.theta,
            np.zeros(orders.size, np.int64),
            self.batch_size,
            1.0 if alpha else 0.0,
            penalty_factors=np.tile(alpha / (2 * self.sums(orders[0])), len(orders)),
            sample_weight=self._weight,
            optimizer=self.rule,
            state=self.state,
            rates=np.zeros((steps, 3)),
            losses=np.zeros(steps),
            training=True,
            seed=self.seed,
        )
        return job, backend.current().run(job)

    def _weigh(self, job: Job) -> None:
        """Let the mean of a batch's rows be one of their weights."""
        weight, scaled, sums = self.data.weight, self._weight, self.sums(job.order)
        assert weight is not None
        assert scaled is not None
        assert job.penalty_factors is not None
        rows = np.diff(np.arange(0, len(weight), self.batch_size), append=len(weight))
        factors = np.repeat(self.data.goal.factor * rows / sums, rows)
        scaled[job.order] = weight[job.order] * factors
        job.penalty_factors[:] = self.data.alpha / (2 * sums)
