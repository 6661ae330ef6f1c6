"""scikit-learn's losses, and what a backend computes for them.

- the losses of classifiers are sums over the outputs, of probabilities clipped to [eps, 1 - eps];
  the gradient knows nothing of the clipping;
- "squared_error" is half of the mean over the outputs, but the gradient is that of the sum.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from nnfast import losses
from nnfast.drop_in.network import Net
from nnfast.plan import Array

_LINKS = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
_NAMES = {"squared_error": "mse", "absolute_error": "mae", "huber": "huber", "poisson": "poisson"}


class Goal:
    """The loss of the outputs, by scikit-learn's definition, and what a backend computes for it.

    Parameters
    ----------
    net : Net
    kind : str or callable
        "log_loss", "squared_error", "poisson", "absolute_error", "huber", or
        ``(y_pred, y_true) -> (value, dvalue/dy_pred)`` of the outputs, links included.
    y : ndarray, shape (n, n_out)
    dtype : numpy.dtype
        Of theta.

    Attributes
    ----------
    loss : Loss
        Of the backend.
    y : ndarray
        As it takes them.
    factor : float
        Of its loss.
    highest : float
        Loss of a row at most, where that is all that clipping changes.
    """

    def __init__(self, net: Net, kind: Any, y: Array, dtype: np.dtype[Any]) -> None:
        n_out = net.sizes[-1]
        self.factor = 1.0
        self.linked = not isinstance(kind, str) or (kind != "log_loss" and kind != "poisson")
        self.highest = math.inf
        self._clipped_from = math.inf
        self._halves = kind == "squared_error" and n_out > 1
        self._constants: Array | None = None
        self.y = y if y.dtype == dtype else y.astype(dtype)
        if not isinstance(kind, str):
            self.loss = losses.get(kind)
        elif kind == "log_loss":
            self.loss = losses.get(_LINKS[net.output])
            cap = -math.log(np.finfo(dtype).eps)
            if net.output == "softmax":
                self.y, self.highest = y.argmax(axis=1), cap
            else:
                self.factor, self._clipped_from = float(n_out), cap / 2
        else:
            self.loss = losses.get(_NAMES[kind])
            if kind == "squared_error":
                self.factor = n_out / 2
            elif kind == "poisson":
                self.factor = float(n_out)
                positive = np.where(self.y > 0, self.y, 1)
                self._constants = (self.y * np.log(positive) - self.y).sum(axis=1)
        self.y = np.ascontiguousarray(self.y)

    @property
    def needs_outputs(self) -> bool:
        """Whether `correction` looks at the outputs."""
        return self._halves or self._clipped_from < math.inf

    def correction(self, z: Array | None, rows: Array, weight: Array | None) -> float:
        """Return what the sum of weighted losses lacks to scikit-learn's.

        `z` are outputs from before their link, of these rows of y; `weight` those that the
        backend had, of all rows.
        """
        factors = None if weight is None else weight[rows].astype(np.float64)
        missing = 0.0
        if self._constants is not None:
            constants = self._constants[rows]
            missing += float(
                constants.sum() if factors is None else factors @ constants / self.factor
            )
        if z is None:
            return missing
        if self._halves:
            squares = np.square(z - self.y[rows], dtype=np.float64).mean(axis=1)
            missing += float(
                (1 / len(z[0]) - 1) * (squares if factors is None else factors * squares).sum()
            )
        elif np.abs(z).max() > self._clipped_from:
            excess = self._excess(z, rows)
            missing -= float(excess.sum() if factors is None else factors @ excess / self.factor)
        return missing

    def _excess(self, z: Array, rows: Array) -> Array:
        """Return by how much the log losses are larger than those of probabilities, (m,).

        Clipping is seen there, and the rounding of 1 - p.
        """
        from scipy.special import expit, xlogy

        eps = np.finfo(z.dtype).eps
        y, p = self.y[rows], np.clip(expit(z), eps, 1 - eps)
        values = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        found = (values + xlogy(y, p) + xlogy(1 - y, 1 - p)).sum(axis=1, dtype=np.float64)
        return cast(Array, found)
