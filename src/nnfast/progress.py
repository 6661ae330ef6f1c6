"""What `verbose` shows of a training: a bar on a terminal or in a notebook, or lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nnfast.callbacks import Callback

_SECONDS_OF_A_LINE = 0.1


class ProgressBar(Callback):
    """A bar on stderr, one line an epoch; silent where stderr is no terminal and no notebook."""

    WIDTH = 24

    def __init__(self) -> None:
        self._shown = _redraws(sys.stderr)
        self._epoch = 0
        self._began = 0.0
        self._step = 0
        self._line = ""

    def on_epoch_begin(self, epoch: int) -> None:
        """Start the clock."""
        self._epoch, self._began, self._step = epoch, time.perf_counter(), 0

    def on_progress(self, step: int, logs: Mapping[str, float]) -> None:
        """Draw the bar over itself."""
        self._step = step
        self._draw(step, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Draw the full bar and begin a new line."""
        self._draw(self.params["steps"] or self._step, logs)
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
        bar = "" if steps is None else ("=" * (self.WIDTH * step // steps)).ljust(self.WIDTH, ".")
        seconds = time.perf_counter() - self._began
        line = f"{_epoch_of(self)} [{bar}] {self._place(step, seconds)}{_numbers(logs)}"
        print("\r" + line.ljust(len(self._line)), end="", file=sys.stderr, flush=True)
        self._line = line

    def _place(self, step: int, seconds: float) -> str:
        return f"{step}/{self.params['steps'] or '?'} {seconds:.1f} s"


class WordBar(ProgressBar):
    """A bar whose steps are words: how many a second, and how long all epochs will still take."""

    def __init__(self) -> None:
        super().__init__()
        self._first: int | None = None

    def on_epoch_begin(self, epoch: int) -> None:
        """Start the clock."""
        super().on_epoch_begin(epoch)
        self._first = None

    def on_progress(self, step: int, logs: Mapping[str, float]) -> None:
        """Draw the bar over itself; the first time tells where the epoch goes on."""
        if self._first is None:
            self._first = step
        super().on_progress(step, logs)

    def _place(self, step: int, seconds: float) -> str:
        words = self.params["steps"]
        done = step - (self._first or 0)
        share = f"{step / words:4.0%}"
        if not done:
            return share
        left = (words * (self.params["epochs"] - self._epoch) - step) * seconds / done
        return f"{share} {done / seconds:,.0f} words/s, {_clock(left)} left"


class EpochLines(Callback):
    """A line an epoch on stdout, wherever it goes."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Start the clock."""
        self._epoch, self._began = epoch, time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Print the numbers."""
        seconds = time.perf_counter() - self._began
        print(f"{_epoch_of(self)} {seconds:.1f} s{_numbers(logs)}", flush=True)


def listener(verbose: object, bar: type[ProgressBar] = ProgressBar) -> Callback | None:
    """Return what shows a training for `verbose` (0, 1, 2 or "auto"); `bar` is what 1 shows."""
    if isinstance(verbose, str) and verbose == "auto":
        return bar()
    if not isinstance(verbose, int) or verbose not in (0, 1, 2):
        raise ValueError(
            f"verbose: expected 0, 1, 2 or 'auto', got {verbose!r}; "
            "leave it out for a bar on terminals only"
        )
    return (None, bar(), EpochLines())[verbose]


@contextlib.contextmanager
def reading(verbose: object) -> Iterator[Callable[[int, int | None, int], None]]:
    """Show a line where `verbose` shows a bar; it is wiped at the end.

    Yields the function ``progress(done, total, words)`` that `nnfast.corpus` calls.
    """
    shown = verbose in (1, "auto") and _redraws(sys.stderr)
    told, line = time.perf_counter(), ""

    def progress(done: int, total: int | None, words: int) -> None:
        nonlocal told, line
        if not shown or time.perf_counter() - told < _SECONDS_OF_A_LINE:
            return
        share = "" if total is None else f" {done / total:.0%},"
        told, last, line = time.perf_counter(), line, f"Reading{share} {words:,} words"
        print("\r" + line.ljust(len(last)), end="", file=sys.stderr, flush=True)

    try:
        yield progress
    finally:
        if line:
            print("\r" + " " * len(line) + "\r", end="", file=sys.stderr, flush=True)


def _redraws(stream: Any) -> bool:
    """Return whether a line can be drawn over: on a terminal, or in a notebook's output."""
    if stream is None:
        return False
    return stream.isatty() or type(stream).__module__.startswith("ipykernel")


def _epoch_of(shown: Any) -> str:
    return f"Epoch {shown._epoch + 1}/{shown.params['epochs']}"


def _numbers(logs: Mapping[str, float]) -> str:
    return "".join(f"  {name} {_number(value)}" for name, value in logs.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
