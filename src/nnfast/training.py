"""Training: passes over data, and a network's numbers. Knows plans, theta, data and the backend.

The epochs of `fit` are in `nnfast.fitting`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, backend, inputs, optimizers
from nnfast import metrics as metrics_
from nnfast.inputs import Samples
from nnfast.losses import AnyLoss
from nnfast.metrics import Metric, Sums
from nnfast.optimizers import Optimizer
from nnfast.plan import Array, Job, Plan

if TYPE_CHECKING:
    from nnfast.backend import Run

SECONDS_OF_A_CALL = 0.05
"""How long a backend works before Python looks at signals, progress and callbacks."""

ROWS_OF_OUTPUTS, NUMBERS_OF_OUTPUTS = 4096, 1 << 20
"""Rows, or numbers if they are more rows, whose outputs are kept for the metrics at a time."""

ROWS_OF_METRICS = 16_384
"""Rows that metrics look at at a time, while they are in the cache."""


class NonFiniteLossWarning(RuntimeWarning):
    """The loss became NaN or infinite; training has stopped and lost nothing."""


@dataclass(slots=True)
class State:
    """What training leaves with a network: the optimizer's state and the counts of its work.

    Attributes
    ----------
    step : int
        Steps of this optimizer, which its schedule and corrections count.
    epoch, noise : int
        Epochs and steps of all optimizers: keys of the shuffles and of the noise.
    started : (str, str) or None
        Of the last `fit`, if it kept checkpoints: their folder, and a digest of the numbers that it
        started from.
    """

    optimizer: Optimizer | None = None
    slots: Array | None = None
    step: int = 0
    epoch: int = 0
    noise: int = 0
    started: tuple[str, str] | None = None

    def prepare(self, optimizer: Optimizer, theta: Array) -> Array:
        """Return the slots (n_slots, n_theta): as they are for equal settings, else new."""
        first = np.array(optimizer.first_slots, theta.dtype)
        shape = (first.size, theta.size)
        if self.optimizer != optimizer or self.slots is None or self.slots.shape != shape:
            self.optimizer, self.step = optimizer, 0
            self.slots = np.repeat(first[:, None], theta.size, axis=1)
        return self.slots


@dataclass(slots=True)
class Network:
    """A plan with its numbers: what training works on, whatever kind of network it belongs to."""

    plan: Plan
    theta: Array
    buffers: Array
    seed: int = 0
    state: State = field(default_factory=State)


def train_on_batch(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: AnyLoss | None = None,
    optimizer: Any = None,
    sample_weight: Any = None,
    threads: int | None = None,
) -> float:
    """Make one step with all of X and return the loss before it."""
    plan, state = network.plan, network.state
    data = inputs.samples(X, y, plan, network.theta.dtype, loss, sample_weight)
    rule = optimizers.get(optimizer)
    refuse_untrainable(plan)
    job = training_job(network, data, rule, len(data), threads)
    total = Totals()
    drive([replace(job, rates=rule.rates(state.step, 1))], total, {}, state)
    if not total.finite:
        warn_not_finite(f"step {state.step + 1}", rule, stacklevel=4)
    return total.means({})["loss"]


def evaluate(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: AnyLoss | None = None,
    metrics: Any = (),
    sample_weight: Any = None,
    threads: int | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics by name."""
    data = inputs.samples(X, y, network.plan, network.theta.dtype, loss, sample_weight)
    watched = metrics_.get(metrics, data.loss, network.plan.n_out, data.y)
    return evaluate_samples(network, data, watched, threads)


def predict(network: Network, X: Any, threads: int | None = None) -> Array:
    """Return the outputs, shape (n, *output_shape)."""
    plan, theta = network.plan, network.theta
    x = inputs.matrix(X, plan, theta.dtype)
    outputs = np.empty((len(x), plan.n_out), theta.dtype)
    job = Job(
        plan=plan,
        theta=theta,
        buffers=network.buffers,
        x=x,
        order=np.arange(len(x), dtype=np.int64),
        batch_size=ROWS_OF_OUTPUTS,
        outputs=outputs,
        threads=backend.resolve_threads(threads),
    )
    run = backend.current().run(job)
    while run.advance(SECONDS_OF_A_CALL):
        pass
    return outputs.reshape(len(x), *plan.output_shape)


def loss_and_grad(
    network: Network, data: Samples, training: bool = False, threads: int | None = None
) -> tuple[float, Array]:
    """Return J and its gradient, shape (n_theta,), over all of `data`; NaN where J is."""
    refuse_untrainable(network.plan)
    gradient = np.empty_like(network.theta)
    job = _job(network, data, threads, batch_size=len(data), gradient=gradient)
    total = Totals()
    drive([replace(job, training=training, first_step=network.state.noise)], total, {})
    if not total.finite:
        gradient.fill(np.nan)
    return total.means({})["loss"], gradient


@dataclass(slots=True)
class Totals:
    """Sums over the rows of a pass through the data."""

    loss: float = 0.0
    rows: int = 0
    steps: int = 0
    finite: bool = True
    metrics: dict[str, Sums] = field(default_factory=dict)

    def add(self, run: Run) -> None:
        """Add a run that began at `loss`."""
        self.loss = run.loss
        self.rows += run.rows
        self.steps += run.steps
        self.finite = run.finite

    def means(self, watched: Mapping[str, Metric]) -> dict[str, float]:
        """Return the mean loss, and the metrics of the rows that they have seen."""
        means = {"loss": self.loss / max(1, self.rows) if self.finite else float("nan")}
        for name, sums in self.metrics.items():
            means[name] = watched[name].value(sums, self.rows)
        return means


class Snapshot:
    """A network's numbers as they were at the start of an epoch."""

    def __init__(self, network: Network) -> None:
        self._state = network.state
        self._live = [network.theta, network.buffers]
        if self._state.slots is not None:
            self._live.append(self._state.slots)
        self._kept = [np.empty_like(array) for array in self._live]
        self._step = self._state.step

    def take(self) -> None:
        """Keep the numbers of now."""
        self._step = self._state.step
        for kept, live in zip(self._kept, self._live, strict=True):
            kept[...] = live

    def restore(self) -> None:
        """Make the network what it was."""
        self._state.step = self._step
        for kept, live in zip(self._kept, self._live, strict=True):
            live[...] = kept

    def get_state(self) -> dict[str, Any]:
        """Return what is kept."""
        return {"step": self._step, "arrays": self._kept}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Keep this."""
        self._step = state["step"]
        for kept, array in zip(self._kept, state["arrays"], strict=True):
            kept[...] = array


def training_job(
    network: Network, data: Samples, rule: Optimizer, batch_size: int, threads: int | None
) -> Job:
    """Return the training of all rows in their order, still without rates."""
    return _job(
        network,
        data,
        threads,
        batch_size=batch_size,
        optimizer=rule,
        state=network.state.prepare(rule, network.theta),
        training=True,
        first_step=network.state.noise,
    )


def _job(network: Network, data: Samples, threads: int | None, **more: Any) -> Job:
    return Job(
        plan=network.plan.without_link(data.loss.link),
        theta=network.theta,
        buffers=network.buffers,
        seed=network.seed,
        x=data.x,
        order=np.arange(len(data), dtype=np.int64),
        y=data.y,
        sample_weight=data.weight,
        loss=data.loss,
        threads=backend.resolve_threads(threads),
        **more,
    )


def windows(
    job: Job,
    total: Totals,
    watched: Mapping[str, Metric],
    until_stop: Callable[[], int | None] = lambda: None,
    rates: NDArray[np.float64] | None = None,
    first_step: int = 0,
) -> Generator[Job]:
    """Cut what is left of a job, after the rows of `total`, into windows of whole steps.

    They end where metrics want to see outputs, after so many rows, and where `until_stop` says,
    after so many steps; the bits of the loss and of training do not depend on it. `rates` and
    `first_step` are those of the whole job.
    """
    n, batch = len(job.order), job.batch_size
    kept = max(ROWS_OF_OUTPUTS, NUMBERS_OF_OUTPUTS // job.plan.n_out)
    size = batch * max(1, kept // batch) if watched else n
    outputs = np.empty((min(size, n), job.plan.n_out), job.theta.dtype) if watched else None
    while total.rows < n:
        first = total.rows
        end = min(n, first + size)
        steps = until_stop()
        if steps is not None:
            end = min(end, first + steps * batch)
        step = first // batch
        yield replace(
            job,
            order=job.order[first:end],
            first_step=first_step + step,
            rates=None if rates is None else rates[step : -(-end // batch)],
            outputs=None if outputs is None else outputs[: end - first],
            loss_before=total.loss,
        )


def drive(
    jobs: Iterable[Job],
    total: Totals,
    watched: Mapping[str, Metric],
    state: State | None = None,
    on_time: Callable[[int, dict[str, float]], None] | None = None,
    on_window: Callable[[], None] | None = None,
) -> None:
    """Run the jobs and add to `total`, and their steps to `state`; stop where one is not finite.

    `on_time` is called about every `SECONDS_OF_A_CALL`, `on_window` after each job.
    """
    told = time.perf_counter()
    for job in jobs:
        run = backend.current().run(job)
        more = True
        try:
            while more:
                more = run.advance(SECONDS_OF_A_CALL)
                if on_time is not None and time.perf_counter() - told >= SECONDS_OF_A_CALL:
                    seen = {"loss": run.loss / max(1, total.rows + run.rows)}
                    on_time(total.steps + run.steps, total.means(watched) | seen)
                    told = time.perf_counter()
        finally:
            total.add(run)
            if state is not None:
                state.step += run.steps
                state.noise += run.steps
        if not run.finite:
            return
        if job.outputs is not None and job.y is not None and job.loss is not None:
            for first in range(0, len(job.order), ROWS_OF_METRICS):
                rows = slice(first, first + ROWS_OF_METRICS)
                outputs, y = job.outputs[rows], job.y[job.order[rows]]
                for name, metric in watched.items():
                    sums = np.asarray(metric.sums(job.loss, outputs, y), np.float64)
                    total.metrics[name] = total.metrics.get(name, 0.0) + sums
        if on_window is not None:
            on_window()


def evaluate_samples(
    network: Network, data: Samples, watched: Mapping[str, Metric], threads: int | None
) -> dict[str, float]:
    """Return the loss and the metrics of checked data."""
    total = Totals()
    job = _job(network, data, threads, batch_size=ROWS_OF_OUTPUTS)
    drive(windows(job, total, watched), total, watched)
    return total.means(watched)


def refuse_untrainable(plan: Plan) -> None:
    """Raise ValueError for a network that no gradient can train."""
    for row in plan.rows:
        name = row.attributes.get("activation")
        if name in activations.WITHOUT_SLOPE:
            raise ValueError(
                f"activation {name!r}: expected one with a slope for training, but its derivative "
                "is zero, so no gradient passes; train with 'sigmoid' and copy theta over"
            )
    if plan.n_theta == 0:
        raise ValueError("training: expected a network with parameters, got none; add Dense(units)")


def warn_not_finite(where: str, optimizer: Optimizer, stacklevel: int) -> None:
    """Warn that training has stopped at a loss that is not finite."""
    warnings.warn(
        f"the loss is no longer finite in {where}; training has stopped and theta is as it was "
        f"before. Try a smaller learning rate than in {optimizer}, scale X, and look for NaN in X",
        NonFiniteLossWarning,
        stacklevel=stacklevel,
    )
