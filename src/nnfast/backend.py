"""The machines that run a plan: `native` (C) and `reference` (NumPy). Chosen once, here alone.

NNFAST_BACKEND names one, NNFAST_ISA the instruction set of the native one; a value that cannot be
had is an error. Without either the native backend runs on the best instruction set there is.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import platform
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnfast import activations, checks, losses, optimizers, plan, threads
from nnfast.losses import Loss
from nnfast.plan import Array, Job, Plan, Row
from nnfast.python_side import PythonSide
from nnfast.word_job import Word2VecJob, aligned_rows

if TYPE_CHECKING:
    from nnfast import _native

NAMES = ("native", "reference")


class Run(Protocol):
    """A job under way."""

    @property
    def steps(self) -> int:
        """Finished steps."""

    @property
    def rows(self) -> int:
        """Rows whose loss is in `loss`."""

    @property
    def loss(self) -> float:
        """Sum over those rows of weight times row loss, on top of `Job.loss_before`.

        In float64 and in row order.
        """

    @property
    def finite(self) -> bool:
        """False: a training step's loss was not finite, and the run has stopped before it.

        What is trained is as it was before that `advance`, however many steps it has made.
        """

    def advance(self, seconds: float) -> bool:
        """Work for about so many seconds; True while there is more to do."""

    def restart(self, first_step: int) -> None:
        """Stand at the beginning again, with what the job's arrays hold now.

        Cheaper than a new job; `first_step` is as in `Job`.
        """


class Trace(Run, Protocol):
    """A finished step that has kept what passed through the rows, by their offset.

    Attributes
    ----------
    a : Mapping
        Outputs, shape (m, n); the input lies at 0.
    d : Mapping
        Derivatives of the mean loss with respect to them; empty where the loss is not finite.
    """

    a: dict[int, Array]
    d: dict[int, Array]


class CorpusReader(Protocol):
    """Gives the words of a text ids, in the order in which they are first seen.

    A token stands between bytes of ASCII white space, a sentence ends at a newline or when it is
    full. Any other byte is part of a token. Blocks may cut the text anywhere.
    """

    @property
    def n_raw_words(self) -> int:
        """Tokens so far."""

    @property
    def n_sentences(self) -> int:
        """Sentences that have ended; one without tokens is none."""

    def feed(self, data: memoryview, out: NDArray[np.int32]) -> tuple[int, int, bool]:
        """Read a block; return the bytes read, the entries of `out`, and whether to prune now.

        `out` receives ids, and -1 behind each sentence; it has 4 places more than the block has
        bytes. Reading stops behind a sentence that leaves more words than were asked for.
        """

    def finish(self, out: NDArray[np.int32]) -> tuple[int, bool]:
        """End the last token and sentence; return the entries of `out`, and whether to prune."""

    def prune(self, least: int) -> NDArray[np.int32]:
        """Forget words of lower counts; return the new id of each, or -1."""

    def words(self) -> list[bytes]:
        """Return the words by id."""

    def counts(self) -> NDArray[np.int64]:
        """Return their counts."""


class Word2VecRun(Protocol):
    """An epoch of word2vec under way."""

    @property
    def chunk(self) -> int:
        """The first chunk that is not done."""

    @property
    def words(self) -> int:
        """Tokens passed."""

    @property
    def effective(self) -> int:
        """Those of them that subsampling left."""

    @property
    def pairs(self) -> int:
        """Predictions: pairs of words in skip-gram, windows in CBOW."""

    @property
    def loss(self) -> float:
        """Sum of their negative log likelihoods, in float64 by chunks; 0 if it is not wanted."""

    def advance(self, seconds: float) -> bool:
        """Learn chunks for about so many seconds; True while there is more to do."""


class Backend(Protocol):
    """What both machines offer. Arrays are checked before; all but a job's are C-contiguous."""

    name: str

    @property
    def plain(self) -> _native.Plain | None:
        """`nnfast.ops` of the native machine, without a check in Python.

        Its functions do nothing and return None unless the arrays are contiguous, of one type and
        of shapes that fit.
        """

    def run(self, job: Job) -> Run:
        """Return the job, ready to advance."""

    def predictor(self, plan: Plan, theta: Array, buffers: Array) -> Callable[..., Array]:
        """Return ``one(x, out=None)`` for single samples, on a snapshot of `theta`."""

    def permutation(self, order: NDArray[np.int64], seed: int, epoch: int) -> None:
        """Write the order of the rows in an epoch to `order` (n,)."""

    def dense_forward(
        self, x: Array, w: Array, b: Array | None, activation: str, out: Array, threads: int
    ) -> None:
        """Write activation(x @ w + b) to `out`."""

    def dense_backward(
        self,
        x: Array,
        w: Array,
        y: Array,
        dy: Array,
        activation: str,
        need_dx: bool,
        threads: int,
    ) -> tuple[Array | None, Array, Array]:
        """Return the gradients of x (or None), w and b; gelu and silu take z for y."""

    def activation(self, z: Array, name: str, out: Array, threads: int) -> None:
        """Write f(z) to `out`; a softmax runs over the last axis."""

    def activation_grad(self, y: Array, dy: Array, name: str, out: Array, threads: int) -> None:
        """Write the gradient of z, from y = f(z) (gelu, silu: z) and that of y, to `out`."""

    def softmax_cross_entropy(
        self, z: Array, labels: NDArray[np.int64], dz: Array, threads: int
    ) -> NDArray[np.float64]:
        """Return the rows' losses and write the gradient of their mean to `dz`."""

    def sgd_update(self, theta: Array, gradient: Array, lr: float, threads: int) -> None:
        """Theta -= lr * gradient, in place."""

    def corpus_reader(self, max_sentence_length: int, max_words: int) -> CorpusReader:
        """Return a reader of a text that asks to be pruned when it has seen more words."""

    def remap_corpus(
        self, ids: NDArray[np.int32], places: NDArray[np.int32], is_open: bool
    ) -> tuple[int, int, bool]:
        """Give tokens other ids in place: i becomes places[i], a token with -1 there goes.

        The end of a sentence, -1 in `ids`, goes where nothing is left of it; `is_open` says
        whether one has begun before. Returns what is left of `ids`, sentences ended, `is_open`.
        """

    def word2vec(self, job: Word2VecJob) -> Word2VecRun:
        """Return the epoch, ready to advance."""


class NativeBackend:
    """The C kernels of one instruction set."""

    name = "native"

    def __init__(self, isa: str | None = None) -> None:
        from nnfast import _native

        self._native = _native
        expected = _names()
        if expected != self._native.NAMES:
            raise ImportError(
                "nnfast's Python files and its compiled kernels are of different versions; "
                f"reinstall nnfast (expected {expected!r}, got {self._native.NAMES!r})"
            )
        isas = self._native.isas()
        if isa is not None and isa not in isas:
            raise ValueError(
                f"NNFAST_ISA: expected one of {', '.join(isas)} on this processor, got {isa!r}"
            )
        self.isas: list[str] = isas
        self.isa: str = isa or isas[0]
        aliases = {name: _CODES[full] for name, full in activations.ALIASES.items()}
        self.plain = self._native.Plain(self.isa, _CODES | aliases, get_num_threads)

    def run(self, job: Job) -> Run:
        """Return the job, ready to advance."""
        run = self._run(job)
        run.prepare()
        return run

    def predictor(self, plan: Plan, theta: Array, buffers: Array) -> Callable[..., Array]:
        """Return ``one(x, out=None)`` for single samples, on a snapshot of `theta`."""
        x, y = np.zeros((1, plan.n_in), theta.dtype), np.zeros(plan.output_shape, theta.dtype)
        job = Job(
            plan=plan,
            theta=theta.copy(),
            buffers=buffers.copy(),
            x=x,
            order=np.zeros(1, np.int64),
            batch_size=1,
        )
        if plan.functions:
            return self._python_predictor(job, y)
        one: Callable[..., Array] = self._native.Predictor(self._run(job), x, y)
        return one

    def _python_predictor(self, job: Job, template: Array) -> Callable[..., Array]:
        """Return a predictor for a plan that calls Python, which is slow anyway."""

        def one(x: Array, out: Array | None = None) -> Array:
            y = template.copy() if out is None else out
            outputs = y.reshape(1, -1)
            run = self.run(
                dataclasses.replace(job, x=np.asarray(x).reshape(job.x.shape), outputs=outputs)
            )
            while run.advance(1.0):
                pass
            return y

        return one

    def permutation(self, order: NDArray[np.int64], seed: int, epoch: int) -> None:
        """Write the order of the rows in an epoch to `order` (n,)."""
        self._native.permutation(order, seed, epoch)

    def dense_forward(
        self, x: Array, w: Array, b: Array | None, activation: str, out: Array, threads: int
    ) -> None:
        """Write activation(x @ w + b) to `out`."""
        self.plain.dense_forward(x, w, b, activation, out, threads)

    def dense_backward(
        self,
        x: Array,
        w: Array,
        y: Array,
        dy: Array,
        activation: str,
        need_dx: bool,
        threads: int,
    ) -> tuple[Array | None, Array, Array]:
        """Return the gradients of x (or None), w and b; gelu and silu take z for y."""
        gradients = self.plain.dense_backward(x, w, y, dy, activation, need_dx, threads)
        assert gradients is not None
        return gradients

    def activation(self, z: Array, name: str, out: Array, threads: int) -> None:
        """Write f(z) to `out`; a softmax runs over the last axis."""
        self._native.activation(*self._table(z), _code(name), *_rows(z), out, z, threads)

    def activation_grad(self, y: Array, dy: Array, name: str, out: Array, threads: int) -> None:
        """Write the gradient of z, from y = f(z) and the gradient of y, to `out`."""
        rows = _rows(y)
        self._native.activation_grad(*self._table(y), _code(name), *rows, out, y, dy, threads)

    def softmax_cross_entropy(
        self, z: Array, labels: NDArray[np.int64], dz: Array, threads: int
    ) -> NDArray[np.float64]:
        """Return the rows' losses and write the gradient of their mean to `dz`."""
        values = np.empty(len(z))
        self._native.softmax_cross_entropy(*self._table(z), values, dz, z, labels, threads)
        return values

    def sgd_update(self, theta: Array, gradient: Array, lr: float, threads: int) -> None:
        """Theta -= lr * gradient, in place."""
        self._native.sgd_update(*self._table(theta), theta, gradient, lr, threads)

    def corpus_reader(self, max_sentence_length: int, max_words: int) -> CorpusReader:
        """Return a reader of a text that asks to be pruned when it has seen more words."""
        seed = int.from_bytes(os.urandom(8), "little")
        return self._native.CorpusReader(max_sentence_length, max_words, seed)

    def remap_corpus(
        self, ids: NDArray[np.int32], places: NDArray[np.int32], is_open: bool
    ) -> tuple[int, int, bool]:
        """Give tokens other ids in place; return what is left, sentences ended, `is_open`."""
        return self._native.remap_corpus(ids, places, is_open)

    def word2vec(self, job: Word2VecJob) -> Word2VecRun:
        """Return the epoch, ready to advance."""
        longest = 0 if job.huffman is None else int(np.diff(job.huffman.offsets).max())
        return self._native.Word2VecRun(self.isa, job, longest, aligned_rows)

    def max_threads(self) -> int:
        """Return the threads that OpenMP would use: its environment and its callers' settings."""
        return self._native.max_threads()

    def peak_gflops(self, dtype: str, seconds: float) -> float:
        """Measure the FMA peak of this core for `dtype`, for about so many seconds."""
        return float(self._native.peak(self.isa, dtype == "float64", seconds)) * 1e-9

    def _table(self, array: Array) -> tuple[str, bool]:
        return self.isa, array.dtype == np.float64

    def _run(self, job: Job) -> _native.Run:
        loss, rule = job.loss, job.optimizer
        y = job.y if loss is None or loss.function is None else None
        labels = y is not None and y.ndim == 1
        python = PythonSide(job)
        return self._native.Run(
            self.isa,
            job.theta.dtype == np.float64,
            [_codes(row) for row in job.plan.rows],
            job.plan.n_in,
            job.plan.n_out,
            job.theta,
            job.x,
            None if labels else y,
            y if labels else None,
            job.sample_weight,
            job.order,
            job.batch_size,
            _loss_code(loss),
            loss.label_smoothing if loss else 0.0,
            job.highest_loss,
            optimizers.NAMES.index(rule.name) if rule else -1,
            rule.constants if rule else (),
            (rule.clip_value or 0.0) if rule else 0.0,
            (rule.clip_norm or 0.0) if rule else 0.0,
            job.rates if rule else None,
            job.penalty_factors,
            job.state if rule else None,
            plan.initial_buffers(job.plan, job.theta.dtype) if job.buffers is None else job.buffers,
            job.training,
            job.seed,
            job.first_step,
            job.gradient,
            job.outputs,
            job.losses,
            job.loss_before,
            job.threads,
            job.serial_below,
            python.exchanges,
            python.loss_exchange,
            python,
        )


def _names() -> str:
    """Return the lists that plans are encoded with, as NN_NAMES in csrc/nnfast.h has them."""
    ops = " ".join(f"{op}({', '.join(names)})" for op, names in plan.OPS.items())
    lists = (activations.NAMES, losses.NAMES, optimizers.NAMES)
    acts, loss_names, rules = (" ".join(names) for names in lists)
    return f"ops: {ops}; activations: {acts}; losses: {loss_names}; optimizers: {rules}"


_CODES = {name: code for code, name in enumerate(activations.NAMES)}


def _code(activation: str) -> int:
    return _CODES[activation]


def _loss_code(loss: Loss | None) -> int:
    if loss is None:
        return -1
    return len(losses.NAMES) if loss.function else losses.NAMES.index(loss.name)


def _codes(row: Row) -> tuple[Any, ...]:
    """Return a row as integers: op, attributes, inputs, output, theta, buffer."""
    attributes = [
        _code(value) if isinstance(value, str) else value
        for value in (row.attributes[name] for name in plan.OPS[row.op])
    ]
    op = list(plan.OPS).index(row.op)
    return op, attributes, row.inputs, row.output, row.theta, row.buffer


def _rows(array: Array) -> tuple[int, int]:
    """Return the shape of `array` as rows of its last axis."""
    n = array.shape[-1] if array.ndim else 1
    return array.size // max(n, 1), n


class _Chosen:
    """The choices of this process."""

    backend: Backend | None = None
    threads: int | None = None


def current() -> Backend:
    """Return the backend in use, choosing it at the first call."""
    if _Chosen.backend is None:
        _Chosen.backend = _make(os.environ.get("NNFAST_BACKEND") or None)
    return _Chosen.backend


def trace(job: Job) -> Trace:
    """Run a job of one step on the reference machine, whichever is in use, and return the step."""
    from nnfast.reference import ReferenceBackend

    run = ReferenceBackend().run(job)
    run.advance(0.0)
    return run


def use_backend(name: str) -> None:
    """Run on this backend from now on.

    Parameters
    ----------
    name : {"native", "reference"}

    Raises
    ------
    ValueError
        For another name, or for "native" where nnfast was installed without its kernels.
    """
    _Chosen.backend = _make(name)


def _make(name: str | None) -> Backend:
    if name is not None and name not in NAMES:
        raise checks.unknown("backend", name, NAMES)
    compiled = importlib.util.find_spec("nnfast._native") is not None
    if name == "native" and not compiled:
        raise ValueError(
            "backend: 'native' is not there, nnfast was installed without its compiled kernels; "
            "install it where there is a C compiler, without NNFAST_NO_EXT"
        )
    if name == "reference" or not compiled:
        if name is None:
            warnings.warn(
                "nnfast was installed without its compiled kernels and runs on the slow reference "
                "backend; reinstall it where there is a C compiler, or silence this with "
                "NNFAST_BACKEND=reference",
                RuntimeWarning,
                stacklevel=3,
            )
        reference: Backend = importlib.import_module("nnfast.reference").ReferenceBackend()
        return reference
    return NativeBackend(os.environ.get("NNFAST_ISA") or None)


def resolve_threads(number: int | None) -> int:
    """Return the threads for a call: `number`, or else the default of `get_num_threads`."""
    return get_num_threads() if number is None else threads.checked("threads", number)


def get_num_threads() -> int:
    """Return the number of threads used where a call names none.

    That of `set_num_threads`; else NNFAST_NUM_THREADS; else the physical cores that affinity, a
    cgroup's quota and OpenMP's own limit (OMP_NUM_THREADS, threadpoolctl) leave.
    """
    chosen = _Chosen.threads or threads.from_environment()
    if chosen is not None:
        return chosen
    cores = threads.usable_cores()
    backend = current()
    return min(cores, backend.max_threads()) if isinstance(backend, NativeBackend) else cores


def set_num_threads(number: int | None) -> None:
    """Set the number of threads of calls that name none; None: back to the default.

    Raises
    ------
    TypeError, ValueError
        If `number` is not an integer from 1 to 256.
    """
    _Chosen.threads = None if number is None else threads.checked("threads", number)
    if _Chosen.backend and _Chosen.backend.plain:
        _Chosen.backend.plain.forget()


def info() -> dict[str, Any]:
    """Return what nnfast runs on: backend, instruction sets, threads and versions."""
    backend = current()
    found: dict[str, Any] = {"backend": backend.name}
    if isinstance(backend, NativeBackend):
        found |= {"isa": backend.isa, "isas": backend.isas}
    elif importlib.util.find_spec("nnfast._native") is None:
        found |= {"why": "installed without compiled kernels (no C compiler, or NNFAST_NO_EXT)"}
    return found | {
        "threads": get_num_threads(),
        "cores": threads.usable_cores(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
