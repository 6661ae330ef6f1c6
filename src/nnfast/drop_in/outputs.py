"""The outputs of a perceptron on a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnfast import backend
from nnfast.drop_in.network import Net, copy_layers, plan_of
from nnfast.plan import Array, Csr, Job
from nnfast.training import SECONDS_OF_A_CALL


class Outputs:
    """Computes the outputs for x, as often as it is called.

    Attributes
    ----------
    x : ndarray or Csr, shape (n, n_in)
        What it holds at a call counts.
    """

    def __init__(self, net: Net, dtype: np.dtype[Any], x: Array | Csr, threads: int) -> None:
        self.x = x
        self._net, self._threads, self._backend = net, threads, backend.current()
        self._theta = np.empty(net.n_theta, dtype)
        self._layers = list(net.views(self._theta))
        self._outputs = np.empty((len(x), net.sizes[-1]), dtype)
        self._run = self._backend.run(
            Job(
                plan=plan_of(net, True),
                theta=self._theta,
                x=x,
                order=np.arange(len(x)),
                batch_size=len(x),
                outputs=self._outputs,
                threads=threads,
            )
        )

    def fits(self, net: Net, dtype: np.dtype[Any], n: int, threads: int) -> bool:
        """Return whether it is for this net, and so many rows and threads."""
        return (
            len(self.x) == n
            and self._theta.dtype == dtype
            and self._threads == threads
            and self._backend is backend.current()
            and self._net == net
        )

    def __call__(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> Array:
        """Return the outputs, shape (n, n_out)."""
        copy_layers(self._layers, coefs, intercepts)
        self._run.restart(0)
        while self._run.advance(SECONDS_OF_A_CALL):
            pass
        if self._net.output == "exponential":
            return np.exp(self._outputs)
        return self._outputs.copy()
