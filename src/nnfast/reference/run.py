"""Runs a job: walks the rows of the plan forward and back, one minibatch after the other."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
from numpy.typing import NDArray

from nnfast.losses import Loss
from nnfast.plan import Array, Csr, Job
from nnfast.python_side import call_loss
from nnfast.reference import activations, custom, dense, losses
from nnfast.reference.elementwise import Add, Rescaling
from nnfast.reference.noise import Dropout, GaussianNoise
from nnfast.reference.norm import BatchNorm, LayerNorm
from nnfast.reference.optimizers import clip, update
from nnfast.reference.step import Op, Step

ROWS_OF_A_PASS = 256
"""Rows at a time where no step says how many."""


OPS: dict[str, Op] = {
    "dense": cast(Op, dense),
    "activation": cast(Op, activations),
    "rescaling": Rescaling(),
    "dropout": Dropout(),
    "gaussian_noise": GaussianNoise(),
    "batch_norm": BatchNorm(),
    "layer_norm": LayerNorm(),
    "add": Add(),
    "custom": cast(Op, custom),
}


def forward(step: Step, x: Array) -> dict[int, Array]:
    """Return the outputs of all rows by their offset; x (m, n_in) lies at 0."""
    a = {0: x}
    for row in step.plan.rows:
        a[row.output] = OPS[row.op].forward(row, [a[i] for i in row.inputs], step)
    return a


def backward(step: Step, a: dict[int, Array], d_output: Array) -> tuple[Array, dict[int, Array]]:
    """Return d loss / d theta (n_theta,), and d loss / d output of all rows by their offset.

    d_output (m, n_out) is that of the last one.
    """
    gradient = np.zeros_like(step.theta)
    d = {step.plan.rows[-1].output: d_output}
    for row in reversed(step.plan.rows):
        inputs = [a[i] for i in row.inputs]
        gradients = OPS[row.op].backward(row, inputs, a[row.output], d[row.output], step, gradient)
        for source, dx in zip(row.inputs, gradients, strict=True):
            if dx is not None and source != 0:
                d[source] = d[source] + dx if source in d else dx
        if row.op == "dense":
            dense.penalty(row, step.theta, step.penalty_factor, gradient)
    return gradient, d


def penalty(step: Step) -> float:
    """Return the sum of the penalties of all rows."""
    rows = (row for row in step.plan.rows if row.op == "dense")
    return sum(dense.penalty(row, step.theta, step.penalty_factor) for row in rows)


def row_losses(
    loss: Loss, output: Array, y: Array, weight: Array | None, highest: float
) -> tuple[NDArray[np.float64], Array]:
    """Return the losses of the rows (m,) and the derivative of their mean, weights included."""
    if loss.function is not None:
        return call_loss(loss, output, y, weight)
    values, slopes = losses.row_losses(loss, output, y)
    factors = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    return np.minimum(values, highest) * factors, slopes * (factors / len(y))[:, None]


class ReferenceRun:
    """A job under way; see `nnfast.backend.Run` and `Trace`."""

    def __init__(self, job: Job) -> None:
        self.a: dict[int, Array] = {}
        self.d: dict[int, Array] = {}
        self._job = job
        self.restart(job.first_step)
        self._trains = job.optimizer is not None or job.gradient is not None
        self._rows_of_a_step = job.batch_size if self._trains else ROWS_OF_A_PASS

    def restart(self, first_step: int) -> None:
        """Stand at the beginning again, with what the job's arrays hold now."""
        self.steps = 0
        self.rows = 0
        self.loss = self._job.loss_before
        self.finite = True
        self._row = 0
        self._first_step = first_step

    def advance(self, seconds: float) -> bool:
        """Work for about `seconds`; True while there is more to do."""
        stop = time.perf_counter() + seconds
        trained = [] if self._job.optimizer is None else [self._job.theta, self._job.state]
        before = [None if array is None else array.copy() for array in trained]
        with np.errstate(all="ignore"):
            while self.finite and self._row < len(self._job.order):
                self._step()
                if time.perf_counter() >= stop:
                    break
        if not self.finite:
            for array, held in zip(trained, before, strict=True):
                if array is not None:
                    array[...] = held
        return self.finite and self._row < len(self._job.order)

    def _step(self) -> None:
        job, theta = self._job, self._job.theta
        positions = slice(self._row, self._row + self._rows_of_a_step)
        rows = job.order[positions]
        x = job.x[rows]
        x = x.toarray() if isinstance(x, Csr) else x
        buffers = np.empty(0, theta.dtype) if job.buffers is None else job.buffers
        number = self._first_step + self.steps
        factor = 1.0 if job.penalty_factors is None else float(job.penalty_factors[self.steps])
        step = Step(job.plan, theta, buffers, job.training, job.seed, number, factor)
        self.a = forward(step, x.astype(theta.dtype))
        output = self.a[job.plan.rows[-1].output]
        if job.outputs is not None:
            job.outputs[positions] = output
        if job.loss is not None and job.y is not None:
            weight = None if job.sample_weight is None else job.sample_weight[rows]
            if job.loss.function:
                output = output.reshape(len(rows), *job.plan.output_shape)
            values, d_output = row_losses(job.loss, output, job.y[rows], weight, job.highest_loss)
            total = float(values.sum()) + len(rows) * penalty(step)
            self.loss += total
            if job.losses is not None:
                self.loss = job.losses[self.steps] = total
            self.rows += len(rows)
            if self._trains and not np.isfinite(total):
                self.finite = False
                return
            if self._trains:
                self._learn(step, d_output.reshape(len(rows), -1).astype(theta.dtype))
        self._row += len(rows)
        self.steps += 1

    def _learn(self, step: Step, d_output: Array) -> None:
        job, rule = self._job, self._job.optimizer
        gradient, self.d = backward(step, self.a, d_output)
        if job.gradient is not None:
            job.gradient[:] = gradient
        if rule is None or job.state is None or job.rates is None:
            return
        clip(rule, gradient)
        rates = job.rates[self.steps].tolist()
        for p in job.plan.parameters:
            if p.trainable:
                mine = (job.theta[p.slice], gradient[p.slice], job.state[:, p.slice])
                update(rule, *mine, *rates)
        for row in job.plan.rows:
            if row.op == "dense":
                dense.constrain(row, job.theta)
            elif row.op == "batch_norm" and job.training:
                BatchNorm.keep(row, step)
