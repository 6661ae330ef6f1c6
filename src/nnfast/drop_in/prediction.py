"""The outputs of a fitted network: `predict`, `predict_proba`, and the pass below them."""

from __future__ import annotations

import functools
import math
from typing import Any, cast

import numpy as np

from nnfast.drop_in.estimator import Extras, extras_of, net_of, readable
from nnfast.drop_in.fallback import falls_back, runs_on_nnfast, why_not
from nnfast.drop_in.outputs import outputs
from nnfast.drop_in.scikit_learn import BASE, CLASSIFIER, REGRESSOR, theirs
from nnfast.plan import Array

_their_forward_pass_fast = BASE._forward_pass_fast
_their_predict_classes = CLASSIFIER.predict
_their_predict_proba = CLASSIFIER.predict_proba
_their_predict_numbers = REGRESSOR.predict


def _outputs(est: Any, X: Any, call: str | None) -> Array:
    """Return the outputs for a checked X, (n, n_out)."""
    extras = extras_of(est)
    reason = why_not(est)
    if reason is None and (dtype := _dtype(est, X, extras)).char not in "fd":
        reason = f"X is {X.dtype}"
    if reason is not None:
        falls_back(est, call, reason)
        return cast(Array, _their_forward_pass_fast(est, X, check_input=False))
    runs_on_nnfast(est, call)
    net, x = net_of(est, extras), readable(X, dtype)
    return outputs(net, dtype, x, est.coefs_, est.intercepts_, extras.threads)


def _dtype(est: Any, X: Any, extras: Extras) -> np.dtype[Any]:
    """Return the dtype of the outputs."""
    dtype: np.dtype[Any] = est.coefs_[0].dtype
    return dtype if extras.dtype else np.result_type(X.dtype, dtype)


def forward_pass_fast(self: Any, X: Any, check_input: bool = True) -> Array:
    """Return the outputs of all rows."""
    if check_input:
        X = theirs.validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
    return _outputs(self, X, "predict" if check_input else None)


def _is_plain(est: Any, X: Any) -> bool:
    """Whether a look at X replaces scikit-learn's checks."""
    known = vars(est)
    if (
        type(X) is not np.ndarray
        or X.ndim != 2
        or X.dtype.char not in "fd"
        or X.shape[0] == 0
        or "coefs_" not in known
        or X.shape[1] != known.get("n_features_in_")
        or "feature_names_in_" in known
    ):
        return False
    total = np.add.reduce(X, axis=None)  # a dot product would wake BLAS's threads, which spin then
    return math.isfinite(total)  # too large ones are looked at again


def _checked_outputs(est: Any, X: Any, call: str) -> Array:
    if not _is_plain(est, X):
        theirs.check_is_fitted(est)
        X = theirs.validate_data(est, X, accept_sparse=["csr", "csc"], reset=False)
    return _outputs(est, X, call)


@functools.lru_cache(maxsize=256)
def _has_usual_methods(cls: Any) -> bool:
    kind = CLASSIFIER if issubclass(cls, CLASSIFIER) else REGRESSOR
    usual = {"_predict": kind._predict, "_forward_pass_fast": forward_pass_fast}
    return all(getattr(cls, name) is method for name, method in usual.items())


def predict_classes(self: Any, X: Any) -> Array:
    """Return the classes of the rows."""
    if not _has_usual_methods(self.__class__):
        return cast(Array, _their_predict_classes(self, X))
    outputs = _checked_outputs(self, X, "predict")
    binarizer = self._label_binarizer
    classes = binarizer.classes_
    if not binarizer.sparse_input_ and binarizer.y_type_ == "multiclass":
        return cast(Array, classes[outputs.argmax(axis=1)])
    if not binarizer.sparse_input_ and binarizer.y_type_ == "binary" and len(classes) == 2:
        return cast(Array, classes[(outputs[:, 0] > 0.5).astype(np.intp)])
    column = outputs.ravel() if self.n_outputs_ == 1 else outputs
    return cast(Array, binarizer.inverse_transform(column))


def predict_proba(self: Any, X: Any) -> Array:
    """Return the probabilities of the classes."""
    if not _has_usual_methods(self.__class__):
        return cast(Array, _their_predict_proba(self, X))
    outputs = _checked_outputs(self, X, "predict_proba")
    return outputs if self.n_outputs_ > 1 else np.hstack([1 - outputs, outputs])


def predict_numbers(self: Any, X: Any) -> Array:
    """Return the values of the rows."""
    if not _has_usual_methods(self.__class__):
        return cast(Array, _their_predict_numbers(self, X))
    outputs = _checked_outputs(self, X, "predict")
    return outputs.ravel() if outputs.shape[1] == 1 else outputs
