"""BackupAndRestore, and the fingerprint by which a checkpoint knows its training."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from nnfast import backend, checks
from nnfast.callbacks import Callback
from nnfast.checkpoints import Folder
from nnfast.inputs import Samples
from nnfast.optimizers import Optimizer
from nnfast.training import Network

_FORMAT = 1
_BYTES_OF_ROWS = 1 << 20
_FEWEST_ROWS = 64
_MOST_STEPS_OF_SCHEDULE = 64


class Started(Protocol):
    """What knows the training under way.

    Attributes
    ----------
    started : (str, str) or None
        The folder of its checkpoints, and the digest of the numbers that it began with.
    """

    started: tuple[str, str] | None


class BackupAndRestore(Callback):
    """Write checkpoints, and go on from the newest when the training is started again.

    Killed at any moment and started again with equal arguments, training ends in the same bits as
    if it had never stopped: theta, buffers, the optimizer's state, the callbacks, History. The
    network needs a seed. A folder is for one training at a time.

    Parameters
    ----------
    path
        A folder for the checkpoints alone; the newest two are kept.
    save_freq : "epoch" or int
        At the end of each epoch, or every so many steps.
    delete_checkpoint : bool
        Delete the checkpoints when training has ended; started again, it then trains anew.

    Raises
    ------
    TypeError, ValueError
        Another argument; in training, a checkpoint of another network, other data or other
        settings, which the message names, or damaged checkpoints alone.
    OSError
        A checkpoint could not be written, for example on a full disk. Those before are intact.

    Warns
    -----
    RuntimeWarning
        The newest checkpoint is damaged, and the one before it is used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        self.path = os.path.abspath(path)
        if isinstance(save_freq, str) and save_freq != "epoch":
            raise ValueError(f"save_freq: expected 'epoch' or a number, got {save_freq!r}")
        self.steps = None if save_freq == "epoch" else checks.integer("save_freq", save_freq, 1)
        self.delete_checkpoint = delete_checkpoint
        self._folder = Folder(self.path)
        self._fingerprint: dict[str, str] = {}

    def find(
        self, state: Started, digest: Callable[[], str], fingerprint: dict[str, str]
    ) -> dict[str, Any] | None:
        """Return the newest checkpoint of the training with this fingerprint, None for no files.

        After a training that was interrupted the numbers need not be set back to their start by
        hand: `state` knows what that was, and `digest` tells it of those that are there now.
        """
        self._folder.open()
        found, started = self._folder.newest(), state.started
        if found is None or started is None or started[0] != self.path:
            started = self.path, digest()
        self._fingerprint = fingerprint | {"numbers at the start": started[1]}
        if found is not None:
            self._refuse_another(found)
        state.started = started
        return found

    def is_due(self, step: int) -> bool:
        """Return whether to save after a step, or an epoch, of the whole `fit`."""
        return self.steps is None or step % self.steps == 0

    def save(self, tree: dict[str, Any]) -> None:
        """Write a checkpoint."""
        self._folder.save({"format": _FORMAT, "fingerprint": self._fingerprint} | tree)

    def finish(self) -> None:
        """Training has ended by itself."""
        if self.delete_checkpoint:
            self._folder.clear()

    def _refuse_another(self, found: Mapping[str, Any]) -> None:
        if found.get("format") != _FORMAT:
            raise ValueError(
                f"{self.path}: expected checkpoints of the format {_FORMAT}, got "
                f"{found.get('format')!r}; go on with the nnfast that wrote them"
            )
        saved, mine = found["fingerprint"], self._fingerprint
        others = [
            f"{name}: expected {saved.get(name)}, got {mine.get(name)}"
            for name in saved | mine
            if saved.get(name) != mine.get(name)
        ]
        if others:
            raise ValueError(
                f"the checkpoint in {self.path} is of another training; "
                f"{'; '.join(others)}. Start it as then, or delete the folder to begin anew"
            )


def fingerprint_of(network: Network, rule: Optimizer, steps: int, **more: object) -> dict[str, str]:
    """Return what must be equal for a training to go on from a checkpoint, as text by name.

    A digest stands for what is long; functions count by their names, and a schedule also by the
    learning rates of its first steps, as many as an epoch's `steps`.
    """
    plan = network.plan
    parameters = [(p.name, p.offset, p.shape, p.trainable) for p in plan.parameters]
    table = (plan.input_shape, plan.output_shape, plan.rows, parameters, plan.buffers)
    rates = rule.rates(0, min(steps, _MOST_STEPS_OF_SCHEDULE))
    machine = backend.current()
    found = {
        "network": f"{plan.n_theta:,} parameters ({digest(_text(table))})",
        "dtype": str(network.theta.dtype),
        "seed": str(network.seed),
        "optimizer": f"{_text(rule)} ({digest(rates)})",
        "backend": "baseline" if getattr(machine, "isa", "") == "baseline" else machine.name,
    }
    return found | {name: _text(value) for name, value in more.items()}


def described(data: Samples | None) -> str:
    """Return shapes, dtypes and a digest of some rows, the first and the last among them."""
    if data is None:
        return "none"
    parts = {"X": data.x, "y": data.y, "sample_weight": data.weight}
    there = {name: part for name, part in parts.items() if part is not None}
    words = [f"{n} {p.shape} {getattr(p, 'dtype', 'sparse')}" for n, p in there.items()]
    return f"{', '.join(words)} ({digest(*map(_some_rows, there.values()))})"


def _some_rows(array: Any) -> Any:
    n = len(array)
    width = max(1, array.nbytes // n) if isinstance(array, np.ndarray) else _BYTES_OF_ROWS
    count = min(n, max(_FEWEST_ROWS, _BYTES_OF_ROWS // width))
    rows = array[np.unique(np.linspace(0, n - 1, count).astype(np.int64))]
    return rows.toarray() if hasattr(rows, "toarray") else rows


def digest_of(network: Network) -> str:
    """Digest of a network's numbers and counts."""
    state = network.state
    counts = np.array([state.step, state.epoch, state.noise])
    slots = np.empty(0) if state.slots is None else state.slots
    return digest(network.theta, network.buffers, slots, counts)


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits of a digest of texts and arrays."""
    import hashlib

    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            sha.update(part.encode())
        else:
            sha.update(part.dtype.str.encode())
            sha.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()[:16]


def _text(value: object) -> str:
    """Return the text of a setting, without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))
