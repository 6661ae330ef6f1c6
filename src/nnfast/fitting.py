"""`fit`: the only epoch loop. Knows plans, theta, data and the backend, no kind of network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from nnfast import backend, backups, checks, inputs, optimizers, progress, training
from nnfast import metrics as metrics_
from nnfast.backups import BackupAndRestore
from nnfast.callbacks import Callback, LearningRate
from nnfast.feeds import Batches
from nnfast.history import History
from nnfast.inputs import Samples
from nnfast.listeners import Listeners
from nnfast.losses import AnyLoss
from nnfast.metrics import Metric
from nnfast.optimizers import Optimizer
from nnfast.plan import Job
from nnfast.training import Network, Snapshot, Totals


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
    metrics: Any = (),
    callbacks: Sequence[Callback] = (),
    initial_epoch: int = 0,
    verbose: object = "auto",
    threads: int | None = None,
) -> History:
    """Train the network and return the history; the arguments are those of Sequential.fit.

    X is an array, or `Batches`, which know their steps_per_epoch.
    """
    epochs = checks.integer("epochs", epochs, 1)
    initial_epoch = checks.integer("initial_epoch", initial_epoch, 0)
    batch_size = checks.integer("batch_size", batch_size, 1)
    checks.number("validation_split", validation_split, "a number in [0, 1)", lambda v: 0 <= v < 1)
    rule = optimizers.get(optimizer)
    validation = None
    if isinstance(X, Batches):
        if sample_weight is not None or validation_split:
            raise ValueError(
                "sample_weight, validation_split: expected none of them with an iterable of "
                "batches; yield (X, y, sample_weight), and pass validation_data"
            )
        check = _check_of_batches(network, loss, class_weight)
        data = X.first(check)
    else:
        dtype = network.theta.dtype
        data = inputs.samples(X, y, network.plan, dtype, loss, sample_weight, class_weight)
        if validation_split and validation_data is None:
            data, validation = inputs.split(data, validation_split)
    if validation_data is not None:
        validation = _validation(validation_data, validation_split, data, network)
    watched = metrics_.get(metrics, data.loss, network.plan.n_out, data.y)
    training.refuse_untrainable(network.plan)
    shown = progress.listener(verbose)

    network.state.prepare(rule, network.theta)
    feed: _Feed
    if isinstance(X, Batches):
        feed = _Stream(network, X, check, threads)
    else:
        feed = _Rows(network, data, rule, batch_size, shuffle, threads)
    history, backup = History(), None
    told: list[Callback] = []
    for callback in [*callbacks, history]:
        if not isinstance(callback, BackupAndRestore):
            told.append(callback)
        elif backup is not None:
            raise ValueError("callbacks: expected at most one BackupAndRestore, got two")
        else:
            backup = callback
    listeners = Listeners(told if shown is None else [*told, shown])
    checkpoint = None
    if backup is None:
        network.state.started = None
    else:
        facts = backups.fingerprint_of(
            network,
            rule,
            feed.steps or 1,
            loss=data.loss,
            **feed.facts(),
            validation_data=backups.described(validation),
            metrics=", ".join(watched),
            callbacks=listeners.names,
            initial_epoch=initial_epoch,
        )
        checkpoint = backup.find(network.state, lambda: backups.digest_of(network), facts)
    network.state.epoch = initial_epoch or network.state.epoch
    course = _Course(
        network=network,
        feed=feed,
        rate=LearningRate(rule),
        watched=watched,
        validation=validation,
        listeners=listeners,
        backup=backup,
        saved=Snapshot(network),
        epoch=initial_epoch,
        threads=threads,
    )
    course.run(initial_epoch, epochs, checkpoint)
    if backup is not None:
        backup.finish()
    return history


class _Feed(Protocol):
    """Where the jobs of an epoch come from."""

    @property
    def steps(self) -> int | None:
        """Steps of an epoch, if it is known."""

    def jobs(
        self,
        epoch: int,
        rule: Optimizer,
        total: Totals,
        watched: Mapping[str, Metric],
        until_stop: Callable[[], int | None],
    ) -> Generator[Job]:
        """Yield what is left of an epoch after `total`."""

    def facts(self) -> dict[str, object]:
        """Return what must be equal to go on from a checkpoint."""

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""

    def set_state(self, state: Mapping[str, Any], epochs: int, steps: int) -> None:
        """Go on after so many whole epochs, and steps of the next one."""


class _Rows:
    """All rows of arrays, each epoch in an order of its own."""

    def __init__(
        self,
        network: Network,
        data: Samples,
        rule: Optimizer,
        batch_size: int,
        shuffle: bool,
        threads: int | None,
    ) -> None:
        self.steps = -(-len(data) // batch_size)
        self._network = network
        self._data = data
        self._shuffle = shuffle
        self._job = training.training_job(network, data, rule, batch_size, threads)

    def jobs(
        self,
        epoch: int,
        rule: Optimizer,
        total: Totals,
        watched: Mapping[str, Metric],
        until_stop: Callable[[], int | None],
    ) -> Generator[Job]:
        network, state = self._network, self._network.state
        if self._shuffle:
            backend.current().permutation(self._job.order, network.seed, state.epoch)
        rates = rule.rates(state.step - total.steps, self.steps)
        first = state.noise - total.steps
        return training.windows(self._job, total, watched, until_stop, rates, first)

    def facts(self) -> dict[str, object]:
        shuffled = {"batch_size": self._job.batch_size, "shuffle": self._shuffle}
        return {**shuffled, "data": backups.described(self._data)}

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: Mapping[str, Any], epochs: int, steps: int) -> None:
        """Do nothing: the order of the rows is a function of seed and epoch."""


class _Stream:
    """Batches of an iterable, a job each."""

    def __init__(
        self,
        network: Network,
        batches: Batches,
        check: Callable[[Any, Any, Any], Samples],
        threads: int | None,
    ) -> None:
        self.steps = batches.steps
        self._network = network
        self._batches = batches
        self._check = check
        self._threads = threads

    def jobs(
        self,
        epoch: int,
        rule: Optimizer,
        total: Totals,
        watched: Mapping[str, Metric],
        until_stop: Callable[[], int | None],
    ) -> Generator[Job]:
        network = self._network
        for data in self._batches.samples(epoch, self._check):
            shape = len(data), network.plan.n_out
            yield replace(
                training.training_job(network, data, rule, len(data), self._threads),
                rates=rule.rates(network.state.step, 1),
                outputs=np.empty(shape, network.theta.dtype) if watched else None,
                loss_before=total.loss,
            )

    def facts(self) -> dict[str, object]:
        data = backups.described(self._batches.first(self._check))
        return {"steps_per_epoch": self._batches.steps_per_epoch, "data": f"first batch: {data}"}

    def get_state(self) -> dict[str, Any]:
        return {"checksum": self._batches.checksum}

    def set_state(self, state: Mapping[str, Any], epochs: int, steps: int) -> None:
        self._batches.replay(epochs, steps)
        if self._batches.checksum != state["checksum"]:
            raise ValueError(
                "X: expected the batches that were drawn before the checkpoint, got others; an "
                "iterable must yield the same batches again for a training to go on exactly"
            )


@dataclass
class _Course:
    """A training under way: where it is, and all that a checkpoint must hold.

    Attributes
    ----------
    epoch, before : int
        The epoch under way, and the steps of this `fit` before it.
    total : Totals
        Of that epoch so far.
    stopped : bool
        Whether a callback has ended training.
    saved : Snapshot
        The network at its start.
    """

    network: Network
    feed: _Feed
    rate: LearningRate
    watched: Mapping[str, Metric]
    validation: Samples | None
    listeners: Listeners
    backup: BackupAndRestore | None
    saved: Snapshot
    epoch: int
    threads: int | None
    before: int = 0
    total: Totals = field(default_factory=Totals)
    stopped: bool = False

    def run(self, initial_epoch: int, epochs: int, checkpoint: Mapping[str, Any] | None) -> None:
        """Train up to `epochs`, from the checkpoint on if there is one."""
        if checkpoint is not None:
            done = checkpoint["epoch"] - initial_epoch
            self.feed.set_state(checkpoint["feed"], done, checkpoint["total"]["steps"])
        params = {"epochs": epochs, "initial_epoch": initial_epoch, "steps": self.feed.steps}
        with self.listeners.training(params, self.rate):
            if checkpoint is not None:
                self._go_on(checkpoint)
            while self.epoch < epochs and not self.stopped:
                self.listeners.begin_epoch(self.epoch)
                if checkpoint is not None and self.total.steps:
                    self._go_on(checkpoint)  # it was taken after `on_epoch_begin`
                else:
                    self.saved.take()
                if not self._train():
                    break
                self._end_epoch()

    def _train(self) -> bool:
        """Finish the epoch's steps; False, and the network of its start, if the loss overflows."""
        network, rule = self.network, self.rate.rule()
        jobs = self.feed.jobs(self.epoch, rule, self.total, self.watched, self._until_checkpoint)
        with contextlib.closing(jobs):
            tell = self.listeners.progress
            training.drive(jobs, self.total, self.watched, network.state, tell, self._save_if_due)
        if self.total.finite and np.isfinite(network.theta).all():
            return True
        self.saved.restore()
        step = f"step {self.total.steps + (not self.total.finite)}"
        of = "" if self.feed.steps is None else f" of {self.feed.steps}"
        training.warn_not_finite(f"epoch {self.epoch + 1}, {step}{of}", rule, stacklevel=6)
        return False

    def _end_epoch(self) -> None:
        network = self.network
        network.state.epoch += 1
        logs = self.total.means(self.watched)
        if self.validation is not None:
            found = training.evaluate_samples(network, self.validation, self.watched, self.threads)
            logs |= {f"val_{name}": value for name, value in found.items()}
        self.stopped = self.listeners.end_epoch(self.epoch, logs)
        self.epoch += 1
        self.before += self.total.steps
        self.total = Totals()
        if self.backup is not None and self.backup.is_due(self.before):
            self.backup.save(self._tree())

    def _until_checkpoint(self) -> int | None:
        if self.backup is None or self.backup.steps is None:
            return None
        return self.backup.steps - (self.before + self.total.steps) % self.backup.steps

    def _save_if_due(self) -> None:
        """Save within the epoch; at its end it is for `_end_epoch`."""
        if self._until_checkpoint() is None or self.total.steps == self.feed.steps:
            return
        if self.backup is not None and self.backup.is_due(self.before + self.total.steps):
            self.backup.save(self._tree())

    def _tree(self) -> dict[str, Any]:
        network, state = self.network, self.network.state
        return {
            "epoch": self.epoch,
            "before": self.before,
            "total": asdict(self.total),
            "theta": network.theta,
            "buffers": network.buffers,
            "slots": state.slots,
            "counts": [state.step, state.epoch, state.noise],
            "start": self.saved.get_state() if self.total.steps else None,
            "learning_rate": self.rate.chosen,
            "feed": self.feed.get_state(),
            "stopped": self.stopped,
            "callbacks": self.listeners.get_state(),
        }

    def _go_on(self, tree: Mapping[str, Any]) -> None:
        """Become what `_tree` was made of."""
        network, state = self.network, self.network.state
        self.epoch, self.before = tree["epoch"], tree["before"]
        self.total = Totals(**tree["total"])
        network.theta[...] = tree["theta"]
        network.buffers[...] = tree["buffers"]
        slots = state.prepare(self.rate.optimizer, network.theta)
        slots[...] = tree["slots"]
        state.step, state.epoch, state.noise = tree["counts"]
        if tree["start"] is not None:
            self.saved.set_state(tree["start"])
        self.rate.chosen = tree["learning_rate"]
        self.stopped = tree["stopped"]
        self.listeners.set_state(tree["callbacks"])


def _check_of_batches(
    network: Network, loss: AnyLoss | None, class_weight: Mapping[int, float] | None
) -> Callable[[Any, Any, Any], Samples]:
    """Return the check of a batch; the first one chooses the loss if it is None."""
    chosen = loss

    def check(x: Any, y: Any, weight: Any) -> Samples:
        nonlocal chosen
        dtype = network.theta.dtype
        data = inputs.samples(x, y, network.plan, dtype, chosen, weight, class_weight)
        chosen = data.loss
        return data

    return check


def _validation(given: Sequence[Any], fraction: float, data: Samples, network: Network) -> Samples:
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
    return inputs.samples(given[0], given[1], network.plan, network.theta.dtype, data.loss, weight)
