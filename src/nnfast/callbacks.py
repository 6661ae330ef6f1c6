"""Callbacks: what is told of training as it goes, and may change it; the names are Keras'."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from nnfast import checks
from nnfast.metrics import LARGER_IS_BETTER
from nnfast.optimizers import Optimizer, Rprop

Mode = Literal["auto", "min", "max"]


class LearningRate:
    """The learning rate of one `fit`: the optimizer's until a callback sets another.

    Attributes
    ----------
    optimizer : Optimizer
        As `fit` got it; it stays as it is.
    chosen : float or None
        What a callback has set.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.chosen: float | None = None

    def get(self) -> float:
        """Return it; ValueError where there is none to set."""
        lr = self.optimizer.lr
        if callable(lr) or isinstance(self.optimizer, Rprop):
            raise ValueError(
                "learning_rate: expected an optimizer whose lr is a number that each step "
                f"multiplies, got {self.optimizer}; leave out the schedule, or the callback that "
                "changes the learning rate"
            )
        return float(lr) if self.chosen is None else self.chosen

    def set(self, value: float) -> None:
        """Set it; ValueError or TypeError for anything but a finite number > 0."""
        self.get()
        checks.number("learning_rate", value, "a finite number > 0", lambda v: 0 < v < math.inf)
        self.chosen = float(value)

    def rule(self) -> Optimizer:
        """Return the optimizer with the learning rate as it is now."""
        if self.chosen is None:
            return self.optimizer
        changed: Optimizer = dataclasses.replace(cast(Any, self.optimizer), lr=self.chosen)
        return changed


class Callback:
    """Base of callbacks; override what you need.

    Attributes
    ----------
    params : dict
        "epochs", "initial_epoch" and "steps" of an epoch, set before `on_train_begin`; "steps" is
        None where an iterable does not tell.
    model
        The network that is trained.
    stop_training : bool
        Set to True to end training after the epoch.
    rate : LearningRate or None
        What `learning_rate` reads and sets, during training.
    """

    params: Mapping[str, Any] = {}
    model: Any = None
    stop_training = False
    rate: LearningRate | None = None

    @property
    def learning_rate(self) -> float:
        """The learning rate; set it, and it holds from the next epoch to the end of this `fit`.

        Set in `on_epoch_begin` it holds for that epoch.

        Raises
        ------
        RuntimeError
            Outside training.
        ValueError
            The optimizer has a schedule, or a step size of its own for each parameter.
        """
        return self._rate().get()

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._rate().set(value)

    def _rate(self) -> LearningRate:
        if self.rate is None:
            raise RuntimeError("learning_rate: expected a training under way; pass it to fit first")
        return self.rate

    def on_train_begin(self) -> None:
        """Training begins."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 0, begins."""

    def on_progress(self, step: int, logs: dict[str, float]) -> None:
        """About every 0.05 s within an epoch, after `step` of its steps."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """The epoch has ended with these numbers, for example "loss" and "val_loss".

        What is added to `logs` is seen by the callbacks that follow and by History.
        """

    def on_train_end(self) -> None:
        """Training has ended, also by an exception."""

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of this object: JSON values and arrays, by name."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned; called after `on_train_begin` when resuming.

        Tuples come back as lists.
        """


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


class _Best:
    """The best value of a number in the logs, and whether larger or smaller is better."""

    def __init__(self, who: str, monitor: str, mode: Mode = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise checks.unknown(f"{who} mode", mode, ("auto", "min", "max"))
        checks.number("min_delta", min_delta, "a number >= 0", lambda v: 0 <= v < math.inf)
        self._who = who
        self._monitor = monitor
        self._min_delta = min_delta
        larger = mode == "max" or (mode == "auto" and monitor.endswith(LARGER_IS_BETTER))
        self._sign = 1 if larger else -1
        self.value = -self._sign * math.inf

    def take(self, logs: Mapping[str, float]) -> float:
        """Return the number from the logs; TypeError or ValueError if it is not there."""
        if self._monitor not in logs:
            words = checks.unknown(f"{self._who} monitor", self._monitor, logs)
            raise type(words)(f"{words}; 'val_' names need validation data")
        return logs[self._monitor]

    def is_better(self, value: float, than: float) -> bool:
        """Return whether `value` is better by more than `min_delta`; NaN never is."""
        return self._sign * (value - than) > self._min_delta

    def improves(self, logs: Mapping[str, float]) -> bool:
        """Take the number from the logs and return whether it is the best."""
        value = self.take(logs)
        if not self.is_better(value, self.value):
            return False
        self.value = value
        return True


class EarlyStopping(Callback):
    """End training when a number no longer improves; arguments and meaning are Keras'.

    Parameters
    ----------
    monitor : str
        A name in the logs.
    min_delta : float
        Improvements below this are none.
    patience : int
        Epochs in a row without an improvement that end training; 0 is like 1.
    restore_best_weights : bool
        Give the network theta and buffers of the best epoch when training ends, in whichever way.
        The optimizer's state stays that of the last epoch.
    mode : {"auto", "min", "max"}
        Whether smaller or larger is better. "auto": larger where the name ends with "accuracy",
        "r2", "precision", "recall" or "f1", else smaller.
    baseline : float or None
        Epochs count as improvements only where they are better than this.
    start_from_epoch : int
        Epochs before this one, counted from 0, are not looked at.

    Attributes
    ----------
    best : float
        The best number, at first infinitely bad.
    best_epoch, stopped_epoch : int
        Counted from 0; `stopped_epoch` is 0 if training ended otherwise.

    Raises
    ------
    TypeError, ValueError
        Another argument; in training, a `monitor` that is not in the logs.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        restore_best_weights: bool = False,
        mode: Mode = "auto",
        baseline: float | None = None,
        start_from_epoch: int = 0,
    ) -> None:
        self.monitor = monitor
        self.min_delta = min_delta
        self.patience = checks.integer("patience", patience, 0)
        self.restore_best_weights = restore_best_weights
        self.mode = mode
        self.baseline = baseline
        self.start_from_epoch = checks.integer("start_from_epoch", start_from_epoch, 0)
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Forget what was."""
        self._best = _Best("EarlyStopping", self.monitor, self.mode, self.min_delta)
        self.best_epoch = self.stopped_epoch = self._wait = 0
        self._numbers: dict[str, Any] = {}

    @property
    def best(self) -> float:
        """The best number so far."""
        return self._best.value

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compare the number with the best one."""
        if epoch < self.start_from_epoch:
            return
        self._wait += 1
        if self._best.improves(logs):
            self.best_epoch = epoch
            if self.restore_best_weights:
                network = self.model
                self._numbers = {"theta": network.theta.copy(), "buffers": network.buffers.copy()}
            if self.baseline is None or self._best.is_better(self.best, self.baseline):
                self._wait = 0
        elif self._wait >= self.patience:
            self.stopped_epoch, self.stop_training = epoch, True

    def on_train_end(self) -> None:
        """Restore the best numbers if asked."""
        if self._numbers:
            self.model.theta = self._numbers["theta"]
            self.model.buffers[:] = self._numbers["buffers"]

    def get_state(self) -> dict[str, Any]:
        """Return the best number, its epoch and numbers, and the epochs since."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "wait": self._wait,
            "numbers": self._numbers,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._best.value, self._wait = state["best"], state["wait"]
        self.best_epoch, self.stopped_epoch = state["best_epoch"], state["stopped_epoch"]
        self._numbers = state["numbers"]


class TerminateOnNaN(Callback):
    """End training when any number of an epoch is NaN or infinite, as a val_loss or a metric.

    A training loss that is not finite ends training anyway, with theta as it was before.

    Parameters
    ----------
    raise_error : bool
        Raise RuntimeError in place of a warning.

    Warns
    -----
    RuntimeWarning
        Such a number has come.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Look at the numbers."""
        bad = [f"{name} is {v}" for name, v in logs.items() if not math.isfinite(v)]
        if bad:
            words = f"TerminateOnNaN: {', '.join(bad)} after epoch {epoch + 1}; training ends"
            if self.raise_error:
                raise RuntimeError(words)
            warnings.warn(words, RuntimeWarning, stacklevel=6)
            self.stop_training = True


class LearningRateScheduler(Callback):
    """Choose the learning rate of each epoch; it is in the logs as "learning_rate".

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, lr)``, the epoch counted from 0 and the learning rate before it, returns
        the learning rate. For one that changes within an epoch see `nnfast.schedules`.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        if not callable(schedule):
            raise TypeError(
                "LearningRateScheduler schedule: expected a function (epoch, lr) -> lr, got an "
                f"object of type {type(schedule).__name__}"
            )
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int) -> None:
        """Set the learning rate."""
        self.learning_rate = self.schedule(epoch, self.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Report it."""
        logs["learning_rate"] = self.learning_rate


class ReduceLROnPlateau(Callback):
    """Lower the learning rate when a number no longer improves; arguments are Keras'.

    The learning rate of each epoch is in the logs as "learning_rate".

    Parameters
    ----------
    monitor : str
        A name in the logs.
    factor : float
        In (0, 1): what the learning rate is multiplied by.
    patience : int
        Epochs in a row without an improvement before that; 0 is like 1.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    min_delta : float
        Improvements below this are none.
    cooldown : int
        Epochs after a reduction, the one before the count begins included.
    min_lr : float
        The learning rate falls no lower.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        checks.number("factor", factor, "a number in (0, 1)", lambda v: 0 < v < 1)
        checks.number("min_lr", min_lr, "a number >= 0", lambda v: 0 <= v < math.inf)
        self.monitor = monitor
        self.factor = factor
        self.patience = checks.integer("patience", patience, 0)
        self.mode = mode
        self.min_delta = min_delta
        self.cooldown = checks.integer("cooldown", cooldown, 0)
        self.min_lr = min_lr
        self._forget()

    def _forget(self) -> None:
        self._best = _Best("ReduceLROnPlateau", self.monitor, self.mode, self.min_delta)
        self._wait = self._rest = 0

    def on_train_begin(self) -> None:
        """Forget what was, and look whether there is a learning rate to lower."""
        self._forget()
        self._rate().get()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compare the number with the best one."""
        lr = logs["learning_rate"] = self.learning_rate
        self._rest, resting = max(0, self._rest - 1), self._rest > 1
        if self._best.improves(logs) or resting:
            self._wait = 0
            return
        self._wait += 1
        if self._wait >= self.patience and lr > self.min_lr:
            self.learning_rate = max(lr * self.factor, self.min_lr)
            self._rest, self._wait = self.cooldown, 0

    def get_state(self) -> dict[str, Any]:
        """Return the best number, and the epochs since it and to rest."""
        return {"best": self._best.value, "wait": self._wait, "rest": self._rest}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._best.value, self._wait, self._rest = state["best"], state["wait"], state["rest"]


class ModelCheckpoint(Callback):
    """Save the network after epochs; the file is replaced in one piece.

    Parameters
    ----------
    path
        Where to; "{epoch}", counted from 1, and names of the logs are filled in, as in
        "net-{epoch:03d}-{val_loss:.3f}.safetensors".
    monitor : str
        A name in the logs.
    save_best_only : bool
        Save only when that number is the best so far.
    mode : {"auto", "min", "max"}
        As in `EarlyStopping`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: Mode = "auto",
    ) -> None:
        self.path = os.fspath(path)
        self.monitor = monitor
        self.save_best_only = save_best_only
        self.mode = mode
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Forget what was."""
        self._best = _Best("ModelCheckpoint", self.monitor, self.mode)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Save, if the number asks for it."""
        if not self.save_best_only or self._best.improves(logs):
            try:
                path = self.path.format(epoch=epoch + 1, **logs)
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"ModelCheckpoint path: expected names in braces out of epoch, "
                    f"{', '.join(logs)}, got {self.path!r} ({error}); change the name"
                ) from None
            self.model.save(path)

    def get_state(self) -> dict[str, Any]:
        """Return the best number."""
        return {"best": self._best.value}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._best.value = state["best"]


class CSVLogger(Callback):
    """Write a line of numbers an epoch to a CSV file, at once.

    Its columns are "epoch", counted from 0, and the numbers of the first epoch; a number that a
    later epoch lacks is "NA". A training that is resumed goes on after the line of its checkpoint.

    Parameters
    ----------
    path
    separator : str
    append : bool
        Go on with a file that is there, in place of beginning anew.
    """

    def __init__(
        self, path: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.path = os.fspath(path)
        self.separator = separator
        self.append = append
        self._size = 0

    def on_train_begin(self) -> None:
        """Look whether the file can be written; it is begun by the first line."""
        with open(self.path, "ab") as file:
            self._size = file.tell() if self.append else 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Write a line, the first time under the names."""
        with open(self.path, "r+b") as file:
            size = min(self._size, file.seek(0, os.SEEK_END))
            file.truncate(size)
            file.seek(0)
            names = file.readline().decode().rstrip("\r\n").split(self.separator)[1:]
            file.seek(size)
            lines: list[list[object]] = [] if size else [["epoch", *logs]]
            lines.append([epoch, *(logs.get(name, "NA") for name in (names if size else logs))])
            text = "".join(f"{self.separator.join(map(str, line))}\n" for line in lines)
            file.write(text.encode())
            self._size = file.tell()

    def get_state(self) -> dict[str, Any]:
        """Return the size of the file in bytes."""
        return {"size": self._size}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after that many bytes."""
        self._size = state["size"]


class LambdaCallback(Callback):
    """Call functions: any of the methods of `Callback` by name.

    Parameters
    ----------
    **functions
        For example ``on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"])``.
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        events = [name for name in dir(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name not in events:
                raise checks.unknown("LambdaCallback", name, events)
            if not callable(function):
                raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
            setattr(self, name, function)
