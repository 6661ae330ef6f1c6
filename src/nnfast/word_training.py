"""The epoch loop of word2vec: jobs, what is told on the way, checkpoints. Knows no face."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from nnfast import backend, backups
from nnfast.backend import Word2VecRun
from nnfast.backups import BackupAndRestore
from nnfast.callbacks import Callback, LearningRateScheduler, ReduceLROnPlateau
from nnfast.listeners import Listeners
from nnfast.training import NonFiniteLossWarning
from nnfast.word_job import Word2VecJob

SECONDS_OF_A_CALL = 0.2
"""As that of `nnfast.training`; longer, since at its end workers wait for each other's chunks."""

SECONDS_OF_A_CHECKPOINT = 60.0
"""How long an epoch goes on between two checkpoints, if writing one takes far less."""

_SHARE_OF_CHECKPOINTS = 0.02
"""Most of the time that writing them may take."""

_ENTRIES_OF_A_DIGEST = 1 << 18

_SETTINGS = (
    "size", "sg", "window", "negative", "shrink_windows", "cbow_mean", "cbow_grad", "sharing",
    "seed", "alpha", "min_alpha", "compute_loss",
)  # fmt: skip

_EVENTS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")


@dataclass
class Totals:
    """Sums over a training, or an epoch of it.

    Attributes
    ----------
    words, effective : int
        Words in the vocabulary that were passed, and those of them that subsampling left.
    pairs : int
    loss : float
        Sum of the pairs' losses, in float64.
    """

    words: int = 0
    effective: int = 0
    pairs: int = 0
    loss: float = 0.0

    def __add__(self, other: Totals | Word2VecRun) -> Totals:
        return Totals(
            self.words + other.words,
            self.effective + other.effective,
            self.pairs + other.pairs,
            self.loss + other.loss,
        )


class CallbackAny2Vec:
    """Base of gensim's callbacks, for scripts that derive from it; an object without will do."""

    def on_train_begin(self, model: Any) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, model: Any) -> None:
        """Before each epoch."""

    def on_epoch_end(self, model: Any) -> None:
        """After each epoch."""

    def on_train_end(self, model: Any) -> None:
        """After the last epoch."""


class GensimCallback(Callback):
    """An object with gensim's callback methods, which take the model, as one of ours."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def on_train_begin(self) -> None:
        """Tell it."""
        self._tell("on_train_begin")

    def on_epoch_begin(self, epoch: int) -> None:
        """Tell it."""
        self._tell("on_epoch_begin")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Tell it."""
        self._tell("on_epoch_end")

    def on_train_end(self) -> None:
        """Tell it."""
        self._tell("on_train_end")

    def _tell(self, event: str) -> None:
        function = getattr(self.wrapped, event, None)
        if function is not None:
            function(self.model)


def checked_callbacks(callbacks: Any) -> list[Callback]:
    """Return callbacks of both kinds as ours; TypeError for anything else."""
    single = isinstance(callbacks, Callback) or not hasattr(callbacks, "__iter__")
    listed: list[Callback] = []
    for callback in [callbacks] if single else callbacks:
        if isinstance(callback, BackupAndRestore | LearningRateScheduler | ReduceLROnPlateau):
            instead = "checkpoint" if isinstance(callback, BackupAndRestore) else "alpha, min_alpha"
            raise TypeError(
                f"callbacks: expected none that changes how word vectors are trained, got "
                f"{type(callback).__name__}; use {instead}"
            )
        if not isinstance(callback, Callback):
            if isinstance(callback, type) or not any(hasattr(callback, each) for each in _EVENTS):
                raise TypeError(
                    f"callbacks: expected objects with some of {', '.join(_EVENTS)}, got "
                    f"{callback!r:.80}; derive their class from nnfast.Callback"
                )
            callback = GensimCallback(callback)
        listed.append(callback)
    return listed


@dataclass
class Course:
    """A training under way: where it is, and all that a checkpoint must hold.

    Attributes
    ----------
    job : Word2VecJob
        Of the first epoch; its `alpha` and `min_alpha` are those of the whole training.
    epochs, n_words : int
        Epochs to train, and words of one.
    listeners : Listeners
    backup : BackupAndRestore or None
    epoch, chunk : int
        The epoch under way, counted from 0, and its first chunk that is still to do.
    total, before : Totals
        Of that epoch so far, and of those before it.
    stopped : bool
        Whether a callback has ended training.
    """

    job: Word2VecJob
    epochs: int
    n_words: int
    listeners: Listeners
    backup: BackupAndRestore | None = None
    epoch: int = 0
    chunk: int = 0
    total: Totals = field(default_factory=Totals)
    before: Totals = field(default_factory=Totals)
    stopped: bool = False

    def run(self, checkpoint: Mapping[str, Any] | None) -> None:
        """Train, from the checkpoint on if there is one."""
        params = {"epochs": self.epochs, "initial_epoch": 0, "steps": self.n_words}
        with self.listeners.training(params):
            if checkpoint is not None:
                self._go_on(checkpoint)
            while self.epoch < self.epochs and not self.stopped:
                self.listeners.begin_epoch(self.epoch)
                if checkpoint is not None and self.chunk:
                    self._go_on(checkpoint)  # it was taken after `on_epoch_begin`
                checkpoint = None
                self._train()
                self._end_epoch()

    @property
    def passed(self) -> Totals:
        """Of the whole training so far."""
        return self.before + self.total

    @property
    def epochs_begun(self) -> int:
        """Epochs of the model so far, also those before this training."""
        return self.job.epoch + self.epoch + (self.chunk > 0)

    def _train(self) -> None:
        """Finish the epoch's chunks."""
        share = self.epoch / self.epochs, (self.epoch + 1) / self.epochs
        job = replace(
            self.job,
            epoch=self.job.epoch + self.epoch,
            first_chunk=self.chunk,
            progress=share,
        )
        run = backend.current().word2vec(job)
        start, written = self.total, time.perf_counter()
        pause = SECONDS_OF_A_CHECKPOINT
        more = True
        self._tell()
        while more:
            try:
                more = run.advance(SECONDS_OF_A_CALL)
            finally:
                self.total, self.chunk = start + run, run.chunk
            self._tell()
            if self.backup is not None and more and time.perf_counter() - written >= pause:
                began = time.perf_counter()
                self.backup.save(self._tree())
                written = time.perf_counter()
                pause = max(SECONDS_OF_A_CHECKPOINT, (written - began) / _SHARE_OF_CHECKPOINTS)

    def _tell(self) -> None:
        self.listeners.progress(self.total.words, self._logs())

    def _logs(self) -> dict[str, float]:
        """Return the mean loss of the epoch's pairs, if it is wanted."""
        if not self.job.compute_loss:
            return {}
        return {"loss": self.total.loss / max(1, self.total.pairs)}

    def _end_epoch(self) -> None:
        job, logs = self.job, self._logs()
        done = (self.epoch + 1) / self.epochs
        logs["alpha"] = job.alpha + (job.min_alpha - job.alpha) * done
        self.stopped = self.listeners.end_epoch(self.epoch, logs)
        self.epoch, self.chunk = self.epoch + 1, 0
        self.before, self.total = self.passed, Totals()
        if not np.isfinite(job.syn0).all():
            warnings.warn(
                f"the vectors are no longer finite after epoch {self.epoch}; training has stopped. "
                f"Build the vocabulary again and train with a smaller alpha than {job.alpha:g}",
                NonFiniteLossWarning,
                stacklevel=5,
            )
            self.stopped = True
        if self.backup is not None and self.epoch < self.epochs:
            self.backup.save(self._tree())

    def _tree(self) -> dict[str, Any]:
        return {
            "first_epoch": self.job.epoch,
            "epoch": self.epoch,
            "chunk": self.chunk,
            "total": asdict(self.total),
            "before": asdict(self.before),
            "stopped": self.stopped,
            "arrays": self.arrays(),
            "callbacks": self.listeners.get_state(),
        }

    def _go_on(self, tree: Mapping[str, Any]) -> None:
        """Become what `_tree` was made of."""
        self.job = replace(self.job, epoch=tree["first_epoch"])
        self.epoch, self.chunk, self.stopped = tree["epoch"], tree["chunk"], tree["stopped"]
        self.total, self.before = Totals(**tree["total"]), Totals(**tree["before"])
        for name, array in self.arrays().items():
            array[...] = tree["arrays"][name]
        self.listeners.set_state(tree["callbacks"])

    def arrays(self) -> dict[str, Any]:
        """Return what is trained, by name."""
        arrays = {"syn0": self.job.syn0, "syn1": self.job.syn1, "syn1hs": self.job.syn1hs}
        return {name: array for name, array in arrays.items() if array is not None}


def fingerprint_of(course: Course, words: Sequence[object]) -> dict[str, str]:
    """Return what must be equal for a training to go on from a checkpoint, as text by name."""
    job = course.job
    found = {name: str(getattr(job, name)) for name in _SETTINGS}
    tables = [job.keep, *(job.noise or ())]
    if job.huffman is not None:
        tables += [job.huffman.codes, job.huffman.points]
    places = np.linspace(0, job.ids.size - 1, min(job.ids.size, _ENTRIES_OF_A_DIGEST))
    corpus = backups.digest(job.ids[np.unique(places.astype(np.int64))])
    vocabulary = backups.digest("\n".join(map(str, words)), *tables)
    return found | {
        "epochs": str(course.epochs),
        "corpus": f"{course.n_words:,} words, {job.ids.size:,} entries ({corpus})",
        "vocabulary": f"{len(words):,} words ({vocabulary})",
        "callbacks": course.listeners.names,
        "backend": backend.current().name,
    }


def digest_of(course: Course) -> str:
    """Return a digest of the numbers that a training begins with."""
    return backups.digest(*course.arrays().values(), np.array([course.job.epoch]))
