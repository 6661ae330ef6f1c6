"""Callbacks: what is told of training as it goes; the names are Keras'."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from nnfast import checks


class Callback:
    """Base of callbacks; override what you need.

    Attributes
    ----------
    params : dict
        "epochs", "initial_epoch" and "steps" of an epoch, set before `on_train_begin`.
    model
        The network that is trained.
    stop_training : bool
        Set to True to end training after the epoch.
    """

    params: Mapping[str, int] = {}
    model: Any = None
    stop_training = False

    def on_train_begin(self) -> None:
        """Training begins."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 0, begins."""

    def on_progress(self, step: int, logs: Mapping[str, float]) -> None:
        """About every 0.05 s within an epoch, after `step` of its steps."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """The epoch has ended with these numbers, for example "loss" and "val_loss"."""

    def on_train_end(self) -> None:
        """Training has ended, also by an exception."""


class History(Callback):
    """The numbers of each epoch.

    Attributes
    ----------
    history : dict of lists
        "loss", the metrics, and both with "val_" before them; one number an epoch.
    epoch : list of int
        The epochs, counted from 0.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Append the numbers."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        ends = (f"{name} {v[0]:.4g} -> {v[-1]:.4g}" for name, v in self.history.items())
        return f"History({len(self.epoch)} epochs: {', '.join(ends)})"


class _Best:
    """The best value of a number in the logs: largest where its name ends with "accuracy"."""

    def __init__(self, who: str, monitor: str, min_delta: float = 0.0) -> None:
        self._who = who
        self._monitor = monitor
        self._min_delta = min_delta
        self._sign = 1 if monitor.endswith("accuracy") else -1
        self.value = -self._sign * math.inf

    def improves(self, logs: Mapping[str, float]) -> bool:
        """Take the number from the logs and return whether it is the best."""
        if self._monitor not in logs:
            words = checks.unknown(f"{self._who} monitor", self._monitor, logs)
            raise type(words)(f"{words}; 'val_' names need validation data")
        value = logs[self._monitor]
        if not self._sign * (value - self.value) > self._min_delta:
            return False
        self.value = value
        return True


class EarlyStopping(Callback):
    """End training when a number no longer improves; arguments and meaning are Keras'.

    Parameters
    ----------
    monitor : str
        A name in the logs; larger is better where it ends with "accuracy", else smaller.
    min_delta : float
        Improvements below this are none.
    patience : int
        Epochs in a row without an improvement that end training; 0 is like 1.
    restore_best_weights : bool
        Give the network theta of the best epoch when training ends, in whichever way. The
        optimizer's state stays that of the last epoch.

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
    ) -> None:
        checks.number("min_delta", min_delta, "a number >= 0", lambda v: 0 <= v < math.inf)
        self.monitor = monitor
        self.min_delta = min_delta
        self.patience = checks.integer("patience", patience, 0)
        self.restore_best_weights = restore_best_weights
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Forget what was."""
        self._best = _Best("EarlyStopping", self.monitor, self.min_delta)
        self.best_epoch = self.stopped_epoch = self._wait = 0
        self._theta: Any = None

    @property
    def best(self) -> float:
        """The best number so far."""
        return self._best.value

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Compare the number with the best one."""
        self._wait += 1
        if self._best.improves(logs):
            self.best_epoch, self._wait = epoch, 0
            if self.restore_best_weights:
                self._theta = self.model.theta.copy()
        elif self._wait >= self.patience:
            self.stopped_epoch, self.stop_training = epoch, True

    def on_train_end(self) -> None:
        """Restore the best weights if asked."""
        if self._theta is not None:
            self.model.theta = self._theta


class ModelCheckpoint(Callback):
    """Save the network after epochs; the file is replaced in one piece.

    Parameters
    ----------
    path
        Where to; "{epoch}", counted from 1, and names of the logs are filled in, as in
        "net-{epoch:03d}-{val_loss:.3f}.safetensors".
    monitor : str
        A name in the logs; larger is better where it ends with "accuracy", else smaller.
    save_best_only : bool
        Save only when that number is the best so far.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.monitor = monitor
        self.save_best_only = save_best_only

    def on_train_begin(self) -> None:
        """Forget what was."""
        self._best = _Best("ModelCheckpoint", self.monitor)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
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


class CSVLogger(Callback):
    """Write a line of numbers an epoch to a CSV file, at once.

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

    def on_train_begin(self) -> None:
        """Begin the file."""
        if not self.append:
            open(self.path, "w", encoding="utf-8").close()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Write a line, the first time under the names."""
        with open(self.path, "a", encoding="utf-8") as file:
            if file.tell() == 0:
                print("epoch", *logs, sep=self.separator, file=file)
            print(epoch, *logs.values(), sep=self.separator, file=file)


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


class ProgressBar(Callback):
    """A bar on stderr, one line an epoch; silent where stderr is no terminal."""

    WIDTH = 24

    def __init__(self) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._epoch = 0
        self._began = 0.0
        self._line = ""

    def on_epoch_begin(self, epoch: int) -> None:
        """Start the clock."""
        self._epoch, self._began = epoch, time.perf_counter()

    def on_progress(self, step: int, logs: Mapping[str, float]) -> None:
        """Draw the bar over itself."""
        self._draw(step, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Draw the full bar and begin a new line."""
        self._draw(self.params["steps"], logs)
        self.on_train_end()

    def on_train_end(self) -> None:
        """End a line that was left open."""
        if self._line:
            print(file=sys.stderr, flush=True)
            self._line = ""

    def _draw(self, step: int, logs: Mapping[str, float]) -> None:
        if not self._shown:
            return
        steps = self.params["steps"]
        bar = ("=" * (self.WIDTH * step // steps)).ljust(self.WIDTH, ".")
        numbers = "".join(f"  {name} {value:.4f}" for name, value in logs.items())
        seconds = time.perf_counter() - self._began
        line = (
            f"Epoch {self._epoch + 1}/{self.params['epochs']} [{bar}] {step}/{steps} "
            f"{seconds:.1f} s{numbers}"
        )
        print("\r" + line.ljust(len(self._line)), end="", file=sys.stderr, flush=True)
        self._line = line


def wants_progress(verbose: object) -> bool:
    """Return whether `verbose` (0, 1 or "auto") asks for a bar, which only terminals get."""
    if isinstance(verbose, str) and verbose == "auto":
        return True
    if not isinstance(verbose, int) or verbose not in (0, 1):
        raise ValueError(
            f"verbose: expected 0, 1 or 'auto', got {verbose!r}; "
            "leave it out for a bar on terminals only"
        )
    return bool(verbose)
