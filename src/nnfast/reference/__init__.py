"""The reference backend: NumPy, slow and obvious, the oracle of the native one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnfast.losses import LOSSES
from nnfast.plan import Array, Job, Plan
from nnfast.reference import activations, dense, losses
from nnfast.reference.corpus import CorpusReader, remap_corpus
from nnfast.reference.rng import permutation
from nnfast.reference.run import ReferenceRun, forward
from nnfast.reference.step import Step
from nnfast.reference.word2vec import Word2VecRun

__all__ = ["ReferenceBackend"]


class ReferenceBackend:
    """Runs plans in NumPy, on NumPy's own threads; see `nnfast.backend.Backend`."""

    name = "reference"
    plain = None
    permutation = staticmethod(permutation)
    corpus_reader = CorpusReader
    remap_corpus = staticmethod(remap_corpus)
    word2vec = Word2VecRun

    def run(self, job: Job) -> ReferenceRun:
        """Return the job, ready to advance."""
        return ReferenceRun(job)

    def predictor(self, plan: Plan, theta: Array, buffers: Array) -> Callable[..., Array]:
        """Return ``one(x, out=None)`` for single samples, on a copy of `theta`."""
        step = Step(plan, theta.copy(), buffers.copy())

        def one(x: Array, out: Array | None = None) -> Array:
            sample = np.asarray(x, theta.dtype).reshape(1, plan.n_in)
            y = forward(step, sample)[plan.rows[-1].output].reshape(plan.output_shape)
            if out is None:
                return y
            out[...] = y
            return out

        return one

    @np.errstate(all="ignore")
    def dense_forward(
        self, x: Array, w: Array, b: Array | None, activation: str, out: Array, threads: int
    ) -> None:
        """Write activation(x @ w + b) to `out`."""
        out[...] = dense.dense_forward(x, w, b, activation)

    @np.errstate(all="ignore")
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
        """Return the gradients of x (or None), w and b."""
        return dense.dense_backward(x, w, y, dy, activation, need_dx)

    @np.errstate(all="ignore")
    def activation(self, z: Array, name: str, out: Array, threads: int) -> None:
        """Write f(z) to `out`."""
        out[...] = activations.activation(z, name)

    @np.errstate(all="ignore")
    def activation_grad(self, y: Array, dy: Array, name: str, out: Array, threads: int) -> None:
        """Write the gradient of z to `out`."""
        out[...] = activations.activation_grad(y, dy, name)

    @np.errstate(all="ignore")
    def softmax_cross_entropy(
        self, z: Array, labels: NDArray[np.int64], dz: Array, threads: int
    ) -> NDArray[np.float64]:
        """Return the rows' losses and write the gradient of their mean to `dz`."""
        values, gradient = losses.row_losses(LOSSES["cross_entropy"], z, labels)
        dz[...] = gradient / len(z)
        return values

    @np.errstate(all="ignore")
    def sgd_update(self, theta: Array, gradient: Array, lr: float, threads: int) -> None:
        """Theta -= lr * gradient, in place."""
        theta -= theta.dtype.type(lr) * gradient
