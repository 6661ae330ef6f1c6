"""Let scikit-learn's own perceptrons run on nnfast, in this process.

`patch_sklearn` replaces a few methods of scikit-learn's classes, not the classes. So it does not
matter what was imported or made before, isinstance and pickles stay what they are, and a model can
be fitted with the patch and used without. No file of scikit-learn's is changed.
"""

from __future__ import annotations

import importlib
from typing import Any

from nnfast import drop_in
from nnfast.drop_in.fallback import logger


def patch_sklearn() -> None:
    """Let MLPClassifier and MLPRegressor of `sklearn.neural_network` run on nnfast.

    It holds for all objects of these classes, made before or after, until `unpatch_sklearn`; and
    for the processes that scikit-learn's ``n_jobs`` starts. What nnfast cannot compute as
    scikit-learn does falls back to it; with NNFAST_VERBOSE=INFO the log says so, and why.

    Raises
    ------
    ImportError
        scikit-learn is not installed, or of a version whose private parts are unknown.
    """
    if sklearn_is_patched():
        return
    _put(drop_in.METHODS)
    _jobs().__reduce__ = _reduce_job
    logger.info("MLPClassifier and MLPRegressor of scikit-learn run on nnfast")


def unpatch_sklearn() -> None:
    """Give scikit-learn its own methods back."""
    _put(drop_in.ORIGINALS)
    if "__reduce__" in vars(_jobs()):
        del _jobs().__reduce__


def sklearn_is_patched() -> bool:
    """Return whether scikit-learn's perceptrons run on nnfast now."""
    return all(vars(cls)[name] is method for (cls, name), method in drop_in.METHODS.items())


def _put(methods: drop_in.Methods) -> None:
    for (cls, name), method in methods.items():
        setattr(cls, name, method)


def _jobs() -> Any:
    """Return the class of what scikit-learn sends to the processes of ``n_jobs``."""
    return importlib.import_module("sklearn.utils.parallel")._FuncWrapper


def _reduce_job(job: Any) -> tuple[Any, ...]:
    return _job_in_a_worker, (), vars(job)


def _job_in_a_worker() -> Any:
    """Patch the process that a job arrives in, and return the job without its state."""
    patch_sklearn()
    return object.__new__(_jobs())
