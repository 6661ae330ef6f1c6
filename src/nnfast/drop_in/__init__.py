"""What nnfast computes for scikit-learn's perceptrons, in place of their own methods.

Each function of `METHODS` takes the arguments of a method of scikit-learn's classes.
`nnfast.sklearn` has them in its subclasses, `nnfast.patching` puts them into scikit-learn's own.
What cannot be computed as scikit-learn does goes to scikit-learn's method; the log says why.

This package alone imports scikit-learn, and knows its private parts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from nnfast.drop_in.lbfgs import fit_lbfgs
from nnfast.drop_in.prediction import (
    forward_pass_fast,
    predict_classes,
    predict_numbers,
    predict_proba,
)
from nnfast.drop_in.scikit_learn import BASE, CLASSIFIER, REGRESSOR
from nnfast.drop_in.stochastic import fit_stochastic

__all__ = [
    "METHODS",
    "ORIGINALS",
    "fit_lbfgs",
    "fit_stochastic",
    "forward_pass_fast",
    "predict_classes",
    "predict_numbers",
    "predict_proba",
]

Methods = dict[tuple[Any, str], Callable[..., Any]]

METHODS: Methods = {
    (BASE, "_fit_stochastic"): fit_stochastic,
    (BASE, "_fit_lbfgs"): fit_lbfgs,
    (BASE, "_forward_pass_fast"): forward_pass_fast,
    (CLASSIFIER, "predict"): predict_classes,
    (CLASSIFIER, "predict_proba"): predict_proba,
    (REGRESSOR, "predict"): predict_numbers,
}
"""What nnfast has in place of scikit-learn's methods, by the class that defines them."""

ORIGINALS: Methods = {(cls, name): vars(cls)[name] for cls, name in METHODS}

for _place, _method in METHODS.items():
    functools.update_wrapper(_method, ORIGINALS[_place])
