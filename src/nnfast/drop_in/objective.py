"""J(theta) and its gradient on a backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast import backend
from nnfast.drop_in.trainer import Data
from nnfast.training import SECONDS_OF_A_CALL


class Objective:
    """J(theta) over all rows, and its gradient.

    Parameters
    ----------
    data : Data
    dtype : numpy.dtype
        Of the arithmetic.
    """

    def __init__(self, data: Data, dtype: np.dtype[Any]) -> None:
        n, net = len(data), data.net
        self._data = data
        self.theta, self.gradient = np.zeros(net.n_theta, dtype), np.zeros(net.n_theta, dtype)
        total = float(n) if data.weight is None else float(data.weight.sum(dtype=np.float64))
        self._weight = data.constant_weight(dtype)
        if data.weight is not None:
            self._weight = np.ascontiguousarray(data.weight * (data.goal.factor * n / total), dtype)
        self._job = data.job(
            self.theta,
            np.arange(n),
            n,
            data.alpha / (2 * total),
            sample_weight=self._weight,
            gradient=self.gradient,
        )
        self._run = backend.current().run(self._job)

    def __call__(self) -> float:
        """Return J of `theta` as it is now; its gradient is in `gradient`."""
        run, job = self._run, self._job
        run.restart(0)
        while run.advance(SECONDS_OF_A_CALL):
            pass
        missing = self._data.goal.correction(job.outputs, job.order, self._weight)
        return (run.loss + missing) / len(self._data)
