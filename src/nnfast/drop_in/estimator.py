"""An estimator as nnfast sees it: its network, and what it has beyond scikit-learn's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from nnfast import sparse
from nnfast.callbacks import Callback
from nnfast.drop_in.network import Net
from nnfast.plan import Array, Csr


@dataclass(frozen=True)
class Extras:
    """What nnfast's estimators have beyond scikit-learn's; the defaults are scikit-learn's ways.

    Attributes
    ----------
    activations : sequence of str or None
        Of the hidden layers, in place of `activation`.
    dropout : tuple of float
        Behind the hidden layers.
    callbacks : sequence of Callback
    threads : int or None
    validation : (X, y, sample_weight) or None
        Checked; y as `fit` takes it.
    loss : str, callable or None
        In place of scikit-learn's.
    dtype : str or None
        Of theta and of all arithmetic; None: that of X.
    """

    activations: tuple[str, ...] | None = None
    dropout: tuple[float, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    threads: int | None = None
    validation: tuple[Any, Any, Any] | None = None
    loss: Any = None
    dtype: str | None = None

    @property
    def needed(self) -> bool:
        """Whether scikit-learn could not compute this."""
        return bool(
            self.activations is not None
            or self.dropout
            or self.callbacks
            or self.validation is not None
            or self.loss is not None
        )


NO_EXTRAS = Extras()


def is_ours(est: Any) -> bool:
    """Whether the estimator is one of `nnfast.sklearn`, not scikit-learn's own."""
    return hasattr(type(est), "_extras")


def extras_of(est: Any) -> Extras:
    """Return what an estimator has beyond scikit-learn's."""
    return cast(Extras, est._extras()) if is_ours(est) else NO_EXTRAS


_OUTPUTS = {"logistic": "sigmoid", "exp": "exponential"}


def net_of(est: Any, extras: Extras = NO_EXTRAS) -> Net:
    """Return the network of a fitted estimator, without dropout."""
    sizes = (len(est.coefs_[0]), *(coef.shape[1] for coef in est.coefs_))
    names = extras.activations or (est.activation,) * (len(sizes) - 2)
    output = _OUTPUTS.get(est.out_activation_, est.out_activation_)
    return Net(sizes, tuple(names), output)


def readable(X: Any, dtype: np.dtype[Any]) -> Array | Csr:
    """Return X, which scikit-learn has checked, as a backend reads it."""
    if not hasattr(X, "tocsr"):
        return cast(Array, X)
    rows = sparse.compressed(X)
    return Csr(np.require(rows.data, dtype, "C"), rows.indices, rows.indptr, rows.shape)
