"""The callbacks of a training: told in their order of what happens, and part of its checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnfast.callbacks import Callback, LearningRate


class Listeners:
    """Callbacks of a training.

    Parameters
    ----------
    callbacks : sequence of Callback
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._all = callbacks
        kept = [each for each in callbacks if type(each).get_state is not Callback.get_state]
        self._kept = {f"{place} {type(each).__name__}": each for place, each in enumerate(kept)}

    @property
    def names(self) -> str:
        """Those that have a state, in their order."""
        return ", ".join(type(each).__name__ for each in self._kept.values())

    @contextlib.contextmanager
    def training(
        self, params: Mapping[str, Any], rate: LearningRate | None = None
    ) -> Iterator[None]:
        """Begin, and tell all of the end, in whichever way it comes."""
        for each in self._all:
            each.params, each.rate, each.stop_training = params, rate, False
        with contextlib.ExitStack() as ends:
            for each in reversed(self._all):
                ends.callback(each.on_train_end)
            for each in self._all:
                each.on_train_begin()
            yield

    def begin_epoch(self, epoch: int) -> None:
        """Tell them."""
        for each in self._all:
            each.on_epoch_begin(epoch)

    def progress(self, step: int, logs: dict[str, float]) -> None:
        """Tell them."""
        for each in self._all:
            each.on_progress(step, logs)

    def end_epoch(self, epoch: int, logs: dict[str, float]) -> bool:
        """Tell them; return whether one of them ends training."""
        for each in self._all:
            each.on_epoch_end(epoch, logs)
        return any(each.stop_training for each in self._all)

    def get_state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of them, by name."""
        return {name: each.get_state() for name, each in self._kept.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` returned."""
        for name, each in self._kept.items():
            each.set_state(state[name])
