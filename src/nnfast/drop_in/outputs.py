"""The outputs of a perceptron on a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast import backend, ops
from nnfast.drop_in.network import Net, plan_of
from nnfast.plan import Array, Csr, Job
from nnfast.training import SECONDS_OF_A_CALL


def outputs(
    net: Net,
    dtype: np.dtype[Any],
    x: Array | Csr,
    coefs: Sequence[Array],
    intercepts: Sequence[Array],
    threads: int | None,
) -> Array:
    """Return the outputs for x, shape (n, n_out)."""
    if isinstance(x, Csr):
        y = _of_sparse(net, dtype, x, coefs, intercepts, threads)
    else:
        y = np.asarray(x, dtype)
        linked = "identity" if net.output == "exponential" else net.output
        names = (*net.activations, linked)
        for coef, intercept, name in zip(coefs, intercepts, names, strict=True):
            y = ops.dense_forward(y, coef, intercept, name, threads=threads)
    return np.exp(y) if net.output == "exponential" else y


def _of_sparse(
    net: Net,
    dtype: np.dtype[Any],
    x: Csr,
    coefs: Sequence[Array],
    intercepts: Sequence[Array],
    threads: int | None,
) -> Array:
    theta = np.empty(net.n_theta, dtype)
    net.gather(theta, coefs, intercepts)
    y = np.empty((len(x), net.sizes[-1]), dtype)
    run = backend.current().run(
        Job(
            plan=plan_of(net, True),
            theta=theta,
            x=x,
            order=np.arange(len(x)),
            batch_size=len(x),
            outputs=y,
            threads=backend.resolve_threads(threads),
        )
    )
    while run.advance(SECONDS_OF_A_CALL):
        pass
    return y
