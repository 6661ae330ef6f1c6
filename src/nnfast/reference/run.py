"""Runs a job: walks the rows of the plan forward and back, one minibatch after the other."""

from __future__ import annotations

import time
from typing import Protocol, cast

import numpy as np

from nnfast.plan import Array, Job, Plan, Row
from nnfast.reference import activations, dense
from nnfast.reference.losses import row_losses
from nnfast.reference.optimizers import update

ROWS_OF_A_PASS = 256
"""Rows at a time where no step says how many."""


class _Op(Protocol):
    def forward(self, row: Row, x: Array, theta: Array) -> Array: ...

    def backward(
        self, row: Row, x: Array, y: Array, dy: Array, theta: Array, gradient: Array, need_dx: bool
    ) -> Array | None: ...


OPS = {"dense": cast(_Op, dense), "activation": cast(_Op, activations)}


def forward(plan: Plan, theta: Array, x: Array) -> dict[int, Array]:
    """Return the outputs of all rows by their offset; x (m, n_in) lies at 0."""
    a = {0: x}
    for row in plan.rows:
        a[row.output] = OPS[row.op].forward(row, a[row.inputs[0]], theta)
    return a


def backward(
    plan: Plan, theta: Array, a: dict[int, Array], d_output: Array
) -> tuple[Array, dict[int, Array]]:
    """Return d loss / d theta, shape (n_theta,), and d loss / d a by offset, of the last one's."""
    gradient = np.zeros_like(theta)
    d = {plan.rows[-1].output: d_output}
    for row in reversed(plan.rows):
        source = row.inputs[0]
        x, y, dy = a[source], a[row.output], d[row.output]
        dx = OPS[row.op].backward(row, x, y, dy, theta, gradient, source != 0)
        if dx is not None:
            d[source] = d[source] + dx if source in d else dx
    return gradient, d


class ReferenceRun:
    """A job under way; see `nnfast.backend.Run` and `Trace`."""

    def __init__(self, job: Job) -> None:
        self.steps = 0
        self.rows = 0
        self.loss = job.loss_before
        self.finite = True
        self.a: dict[int, Array] = {}
        self.d: dict[int, Array] = {}
        self._job = job
        self._row = 0
        trains = job.optimizer is not None or job.gradient is not None
        self._rows_of_a_step = job.batch_size if trains else ROWS_OF_A_PASS

    def advance(self, seconds: float) -> bool:
        """Work for about `seconds`; True while there is more to do."""
        stop = time.perf_counter() + seconds
        with np.errstate(all="ignore"):
            while self.finite and self._row < len(self._job.order):
                self._step()
                if time.perf_counter() >= stop:
                    break
        return self.finite and self._row < len(self._job.order)

    def _step(self) -> None:
        job, theta = self._job, self._job.theta
        positions = slice(self._row, self._row + self._rows_of_a_step)
        rows = job.order[positions]
        self.a = forward(job.plan, theta, job.x[rows].astype(theta.dtype))
        output = self.a[job.plan.rows[-1].output]
        if job.outputs is not None:
            job.outputs[positions] = output
        if job.loss is not None and job.y is not None:
            values, d_output = row_losses(job.loss.name, output, job.y[rows])
            if job.sample_weight is not None:
                weight = job.sample_weight[rows].astype(np.float64)
                values, d_output = values * weight, d_output * weight[:, None]
            self.loss += float(values.sum())
            self.rows += len(rows)
            trains = job.gradient is not None or job.optimizer is not None
            if trains and not np.isfinite(values.sum()):
                self.finite = False
                return
            if trains:
                self._learn((d_output / len(rows)).astype(theta.dtype))
        self._row += len(rows)
        self.steps += 1

    def _learn(self, d_output: Array) -> None:
        job = self._job
        gradient, self.d = backward(job.plan, job.theta, self.a, d_output)
        if job.gradient is not None:
            job.gradient[:] = gradient
        if job.optimizer is None or job.state is None or job.rates is None:
            return
        rates = job.rates[self.steps].tolist()
        for p in job.plan.parameters:
            if p.trainable:
                mine = (job.theta[p.slice], gradient[p.slice], job.state[:, p.slice])
                update(job.optimizer, *mine, *rates)
