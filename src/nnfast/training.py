"""Training: the only epoch loop. Knows plans, theta, data and the backend, no kind of network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast import activations, backend, checks, inputs, optimizers
from nnfast import metrics as metrics_
from nnfast.callbacks import Callback, History, ProgressBar, wants_progress
from nnfast.inputs import Samples
from nnfast.losses import AnyLoss, Loss
from nnfast.metrics import Metric
from nnfast.optimizers import Optimizer
from nnfast.plan import Array, Job, Plan

if TYPE_CHECKING:
    from nnfast.backend import Run

SECONDS_OF_A_CALL = 0.05
"""How long a backend works before Python looks at signals, progress and callbacks."""

ROWS_OF_OUTPUTS = 4096
"""Most rows, beyond one step's, whose outputs are kept for the metrics at a time."""


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
    """

    optimizer: Optimizer | None = None
    slots: Array | None = None
    step: int = 0
    epoch: int = 0
    noise: int = 0

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


def fit(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: AnyLoss | None = None,
    optimizer: Any = None,
    epochs: int = 1,
    batch_size: int = 32,
    shuffle: bool = True,
    validation_data: Sequence[Any] | None = None,
    validation_split: float = 0.0,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    metrics: str | Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    initial_epoch: int = 0,
    verbose: object = "auto",
    threads: int | None = None,
) -> History:
    """Train the network and return the history; the arguments are those of Sequential.fit."""
    plan, theta, state = network.plan, network.theta, network.state
    epochs = checks.integer("epochs", epochs, 1)
    initial_epoch = checks.integer("initial_epoch", initial_epoch, 0)
    batch_size = checks.integer("batch_size", batch_size, 1)
    data = inputs.samples(X, y, plan, theta.dtype, loss, sample_weight, class_weight)
    data, validation = _validation(data, network, validation_data, validation_split)
    rule = optimizers.get(optimizer)
    watched = metrics_.get(metrics, data.loss)
    _refuse_untrainable(plan)
    history = History()
    listeners = [history, *callbacks]
    if wants_progress(verbose):
        listeners.append(ProgressBar())

    job = _training_job(network, data, rule, batch_size, threads)
    steps = -(-len(data) // batch_size)
    saved = _Snapshot(network)
    state.epoch = initial_epoch or state.epoch
    for listener in listeners:
        listener.params = {"epochs": epochs, "initial_epoch": initial_epoch, "steps": steps}
        listener.stop_training = False

    def on_slice(step: int, logs: dict[str, float]) -> None:
        for listener in listeners:
            listener.on_progress(step, logs)

    try:
        for listener in listeners:
            listener.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            for listener in listeners:
                listener.on_epoch_begin(epoch)
            saved.take()
            if shuffle:
                backend.current().permutation(job.order, network.seed, state.epoch)
            job = replace(job, rates=rule.rates(state.step, steps), first_step=state.noise)
            total = _Totals()
            try:
                _drive(job, data.loss, watched, total, on_slice)
            finally:
                state.step += total.steps
                state.noise += total.steps
            if not total.finite or not np.isfinite(theta).all():
                step = min(total.steps + 1, steps)
                saved.restore()
                _warn_not_finite(f"epoch {epoch + 1}, step {step} of {steps}", rule, stacklevel=4)
                break
            state.epoch += 1
            logs = total.means()
            if validation is not None:
                logs |= {
                    f"val_{name}": value
                    for name, value in _evaluate(network, validation, watched, threads).items()
                }
            for listener in listeners:
                listener.on_epoch_end(epoch, logs)
            if any(listener.stop_training for listener in listeners):
                break
    finally:
        for listener in listeners:
            listener.on_train_end()
    return history


def checked_callbacks(callbacks: Callback | Sequence[Callback]) -> list[Callback]:
    """Return the callbacks as a list; TypeError for anything else."""
    listed = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(
                "callbacks: expected objects derived from nnfast.Callback, got an object of type "
                f"{type(callback).__name__}; derive its class from Callback"
            )
    return listed


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
    _refuse_untrainable(plan)
    job = _training_job(network, data, rule, len(data), threads)
    job = replace(job, rates=rule.rates(state.step, 1))
    total = _Totals()
    try:
        _drive(job, data.loss, {}, total)
    finally:
        state.step += total.steps
        state.noise += total.steps
    if not total.finite:
        _warn_not_finite(f"step {state.step + 1}", rule, stacklevel=4)
    return total.means()["loss"]


def evaluate(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: AnyLoss | None = None,
    metrics: str | Sequence[str] = (),
    sample_weight: Any = None,
    threads: int | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics by name."""
    data = inputs.samples(X, y, network.plan, network.theta.dtype, loss, sample_weight)
    return _evaluate(network, data, metrics_.get(metrics, data.loss), threads)


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
    _refuse_untrainable(network.plan)
    gradient = np.empty_like(network.theta)
    job = _job(network, data, threads, batch_size=len(data), gradient=gradient)
    job = replace(job, training=training, first_step=network.state.noise)
    total = _Totals()
    _drive(job, data.loss, {}, total)
    if not total.finite:
        gradient.fill(np.nan)
    return total.means()["loss"], gradient


@dataclass(slots=True)
class _Totals:
    """Sums over the rows of a pass through the data."""

    loss: float = 0.0
    rows: int = 0
    steps: int = 0
    finite: bool = True
    metrics: dict[str, float] = field(default_factory=dict)

    def add(self, run: Run) -> None:
        self.loss = run.loss
        self.rows += run.rows
        self.steps += run.steps
        self.finite = run.finite

    def means(self) -> dict[str, float]:
        loss = self.loss / self.rows if self.finite else float("nan")
        return {"loss": loss} | {name: sum_ / self.rows for name, sum_ in self.metrics.items()}


class _Snapshot:
    """A network's numbers as they were at the start of an epoch."""

    def __init__(self, network: Network) -> None:
        self._state = network.state
        self._live = [network.theta, network.buffers]
        if self._state.slots is not None:
            self._live.append(self._state.slots)
        self._kept = [np.empty_like(array) for array in self._live]
        self._step = self._state.step

    def take(self) -> None:
        self._step = self._state.step
        for kept, live in zip(self._kept, self._live, strict=True):
            kept[...] = live

    def restore(self) -> None:
        self._state.step = self._step
        for kept, live in zip(self._kept, self._live, strict=True):
            live[...] = kept


def _training_job(
    network: Network, data: Samples, rule: Optimizer, batch_size: int, threads: int | None
) -> Job:
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


def _drive(
    job: Job,
    loss: Loss,
    watched: Mapping[str, Metric],
    total: _Totals,
    on_slice: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Run the job and add to `total`: whole, or in windows of whole steps if metrics are asked."""
    n, batch = len(job.order), job.batch_size
    size = batch * max(1, ROWS_OF_OUTPUTS // batch) if watched else n
    outputs = np.empty((min(size, n), job.plan.n_out), job.theta.dtype) if watched else None
    total.metrics = dict.fromkeys(watched, 0.0)
    for first in range(0, n, size):
        order = job.order[first : first + size]
        step = first // batch
        if outputs is not None:
            window = replace(
                job,
                order=order,
                rates=None if job.rates is None else job.rates[step : step - (-size // batch)],
                outputs=outputs[: len(order)],
                first_step=job.first_step + step,
                loss_before=total.loss,
            )
        run = backend.current().run(job if outputs is None else window)
        try:
            while run.advance(SECONDS_OF_A_CALL):
                if on_slice is not None:
                    seen = run.loss / max(1, total.rows + run.rows)
                    on_slice(total.steps + run.steps, {"loss": seen})
        finally:
            total.add(run)
        if not run.finite:
            return
        if outputs is not None and job.y is not None:
            for name, metric in watched.items():
                total.metrics[name] += metric(loss, outputs[: len(order)], job.y[order])


def _evaluate(
    network: Network,
    data: Samples,
    watched: Mapping[str, Metric],
    threads: int | None,
) -> dict[str, float]:
    total = _Totals()
    job = _job(network, data, threads, batch_size=ROWS_OF_OUTPUTS)
    _drive(job, data.loss, watched, total)
    return total.means()


def _validation(
    data: Samples, network: Network, given: Sequence[Any] | None, fraction: float
) -> tuple[Samples, Samples | None]:
    checks.number("validation_split", fraction, "a number in [0, 1)", lambda v: 0 <= v < 1)
    if given is None:
        return inputs.split(data, fraction) if fraction else (data, None)
    if fraction:
        raise ValueError(
            "validation: expected validation_data or validation_split, got both; leave one out"
        )
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise TypeError(
            "validation_data: expected (X, y) or (X, y, sample_weight), got an object of type "
            f"{type(given).__name__}; pass a tuple of two or three arrays"
        )
    weight = given[2] if len(given) == 3 else None
    dtype = network.theta.dtype
    return data, inputs.samples(given[0], given[1], network.plan, dtype, data.loss, weight)


def _refuse_untrainable(plan: Plan) -> None:
    for row in plan.rows:
        name = row.attributes.get("activation")
        if name in activations.WITHOUT_SLOPE:
            raise ValueError(
                f"activation {name!r}: expected one with a slope for training, but its derivative "
                "is zero, so no gradient passes; train with 'sigmoid' and copy theta over"
            )
    if plan.n_theta == 0:
        raise ValueError("training: expected a network with parameters, got none; add Dense(units)")


def _warn_not_finite(where: str, optimizer: Optimizer, stacklevel: int) -> None:
    warnings.warn(
        f"the loss is no longer finite in {where}; training has stopped and theta is as it was "
        f"before. Try a smaller learning rate than in {optimizer}, scale X, and look for NaN in X",
        NonFiniteLossWarning,
        stacklevel=stacklevel,
    )
