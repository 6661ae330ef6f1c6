"""scikit-learn's losses, and what a backend computes for them.

- the losses of classifiers are sums over the outputs, of probabilities clipped to [eps, 1 - eps];
  the gradient knows nothing of the clipping;
- "squared_error" is half of the mean over the outputs, but the gradient is that of the sum.
"""

from __future__ import annotations

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
    """

    def __init__(self, net: Net, kind: Any, y: Array, dtype: np.dtype[Any]) -> None:
        n_out = net.sizes[-1]
        self.factor = 1.0
        self.linked = not isinstance(kind, str) or (kind != "log_loss" and kind != "poisson")
        self._cap = -np.log(np.finfo(dtype).eps) if kind == "log_loss" else np.inf
        self._halves = kind == "squared_error" and n_out > 1
        self._constants: Array | None = None
        self.y = y if y.dtype == dtype else y.astype(dtype)
        if not isinstance(kind, str):
            self.loss = losses.get(kind)
        elif kind == "log_loss":
            self.loss = losses.get(_LINKS[net.output])
            if net.output == "softmax":
                self.y = y.argmax(axis=1)
            else:
                self.factor = float(n_out)
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
        return bool(np.isfinite(self._cap)) or self._halves

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
        elif self._is_clipped(z):
            excess = self._excess(z, rows)
            missing -= float(excess.sum() if factors is None else factors @ excess / self.factor)
        return missing

    def _is_clipped(self, z: Array) -> bool:
        """Whether clipping, or the rounding of 1 - p, may be seen in the loss."""
        if self.y.ndim == 1:
            return bool(z.max() - z.min() > self._cap - np.log(z.shape[1]))
        return bool(np.abs(z).max() > self._cap / 2)

    def _excess(self, z: Array, rows: Array) -> Array:
        """Return by how much the log losses are larger than those of probabilities, (m,)."""
        if self.y.ndim == 1:
            z = z.astype(np.float64) - z.max(axis=1, keepdims=True)
            own = np.take_along_axis(z, self.y[rows][:, None], axis=1)[:, 0]
            values = np.log(np.exp(z).sum(axis=1)) - own
            return cast(Array, np.maximum(values - self._cap, 0))
        from scipy.special import expit, xlogy

        eps = np.finfo(z.dtype).eps
        y, p = self.y[rows], np.clip(expit(z), eps, 1 - eps)
        values = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        found = (values + xlogy(y, p) + xlogy(1 - y, 1 - p)).sum(axis=1, dtype=np.float64)
        return cast(Array, found)
