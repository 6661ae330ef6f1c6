"""Who computes a call, nnfast or scikit-learn, and why: the decision, and the log of it."""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import numpy as np

from nnfast import backend, checks
from nnfast.drop_in.estimator import extras_of, is_ours
from nnfast.drop_in.scikit_learn import BASE, theirs

logger = logging.getLogger("nnfast")


def _show_log() -> None:
    """Print the log on stderr as NNFAST_VERBOSE asks."""
    level = os.environ.get("NNFAST_VERBOSE")
    if not level:
        return
    if level.upper() not in ("INFO", "WARNING"):
        raise checks.unknown("NNFAST_VERBOSE", level, ("INFO", "WARNING"))
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger.addHandler(shown)
    logger.setLevel(level.upper())


_show_log()

_TABLES = {
    name: dict(getattr(theirs, name)) for name in ("ACTIVATIONS", "DERIVATIVES", "LOSS_FUNCTIONS")
}
_COMPUTING = (
    "_backprop",
    "_compute_loss_grad",
    "_forward_pass",
    "_loss_grad_lbfgs",
    "_unpack",
)
"""Methods of scikit-learn's that nnfast does not call: a subclass that has others is theirs."""


@functools.lru_cache(maxsize=256)
def _own_method(cls: Any) -> str | None:
    for name in _COMPUTING:
        if getattr(cls, name) is not getattr(BASE, name):
            return name
    return None


def why_not(est: Any) -> str | None:
    """Return why scikit-learn must compute for a fitted estimator, None if nnfast can."""
    own = _own_method(est.__class__)
    if own is not None:
        return f"{type(est).__name__} has a method {own} of its own"
    for name, table in _TABLES.items():
        if getattr(theirs, name) != table:
            return f"{name} of sklearn.neural_network has been changed"
    if backend.current().name == "reference" and not is_ours(est):
        return "nnfast runs on its reference backend, which is slow"
    dtypes = {getattr(array, "dtype", None) for array in (*est.coefs_, *est.intercepts_)}
    if len(dtypes) > 1 or not dtypes <= {np.dtype("f4"), np.dtype("f8")}:
        names = ", ".join(sorted(map(str, dtypes)))
        return f"coefs_ and intercepts_ have the dtypes {names}, not float32 or float64 alone"
    return None


def runs_on_nnfast(est: Any, call: str | None) -> None:
    """Log that nnfast computes; call None: a part of a call of which it was said."""
    if call is not None:
        logger.info("%s.%s: runs on nnfast", type(est).__name__, call)


def falls_back(est: Any, call: str | None, reason: str) -> None:
    """Log that scikit-learn computes; ValueError where only nnfast can."""
    if extras_of(est).needed:
        raise ValueError(
            f"{type(est).__name__}: expected what nnfast can compute, because of parameters "
            f"that scikit-learn does not have, but {reason}; change this, or leave them out"
        )
    if call is not None:
        logger.info("%s.%s: fell back to scikit-learn: %s", type(est).__name__, call, reason)
