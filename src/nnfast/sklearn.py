"""scikit-learn's MLPClassifier and MLPRegressor, computed by nnfast.

They are subclasses of scikit-learn's, with its parameters, checks, attributes and messages;
`nnfast.drop_in` is what nnfast computes. With the same random_state the loss curve is that of
scikit-learn, up to rounding. The parameters that scikit-learn does not have are off by default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np

from nnfast import activations as activations_
from nnfast import drop_in
from nnfast.backups import BackupAndRestore
from nnfast.callbacks import Callback, ModelCheckpoint, checked_callbacks
from nnfast.drop_in.estimator import NO_EXTRAS, Extras
from nnfast.drop_in.scikit_learn import (
    BASE,
    CLASSIFIER,
    REGRESSOR,
    theirs,
    weights_of_classes,
)

__all__ = ["MLPClassifier", "MLPRegressor"]

_UNTRAINED = activations_.WITHOUT_SLOPE | {"softmax"}
_HIDDEN = tuple(name for name in activations_.NAMES if name not in _UNTRAINED)
_STORING = (BackupAndRestore, ModelCheckpoint)
_CONSTRAINTS: dict[str, list[Any]] = {
    "activations": ["array-like", None],
    "dropout": [theirs.Interval(Real, 0, 1, closed="left"), "array-like"],
    "callbacks": [list, tuple, Callback],
    "dtype": [theirs.StrOptions({"float32", "float64"}), None],
    "threads": [theirs.Interval(Integral, 1, 256, closed="both"), None],
}


class _Perceptron(BASE):
    """What both estimators have beyond scikit-learn's."""

    _losses: ClassVar[frozenset[str]]
    """Those that scikit-learn has."""

    _fit_stochastic = drop_in.fit_stochastic
    _fit_lbfgs = drop_in.fit_lbfgs
    _forward_pass_fast = drop_in.forward_pass_fast

    def __init__(
        self,
        *args: Any,
        activations: Any = None,
        dropout: Any = 0.0,
        callbacks: Any = (),
        dtype: Any = None,
        threads: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.activations = activations
        self.dropout = dropout
        self.callbacks = callbacks
        self.dtype = dtype
        self.threads = threads

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> Self:
        """Fit the model to X and y.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, n_features)
        y : array, shape (n,) or (n, n_outputs)
        sample_weight : array or None, shape (n,)
        validation_data : (X, y), (X, y, sample_weight) or None
            Their loss after each epoch is in `validation_loss_curve_`; with early_stopping=True
            the validation scores are theirs, and no part of X is held out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            scikit-learn's, for what scikit-learn knows.
        """
        self._given = validation_data
        try:
            super().fit(X, y, sample_weight)
        finally:
            del self._given
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Self:
        """Fit after the parameters were checked by scikit-learn."""
        extras = self._extras()
        if self.solver == "lbfgs":
            given = {"dropout": any(extras.dropout), "callbacks": bool(extras.callbacks)}
            given["validation_data"] = getattr(self, "_given", None) is not None
            for name in (name for name, is_given in given.items() if is_given):
                raise ValueError(
                    f"{name}: expected solver='sgd' or 'adam', which make epochs, got 'lbfgs'; "
                    "change the solver, or leave it out"
                )
        super()._fit(X, y, sample_weight=sample_weight, incremental=incremental)
        return self

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Check X and y, and the validation data after them."""
        X, y = super()._validate_input(X, y, incremental, reset)
        if self.dtype is not None:
            X = X.astype(self.dtype, copy=False)
        given = getattr(self, "_given", None)
        if given is not None:
            self._given = self._checked_validation(given)
        return X, y

    def _checked_validation(self, given: Any) -> tuple[Any, Any, Any]:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise TypeError(
                "validation_data: expected (X, y) or (X, y, sample_weight), got an object of type "
                f"{type(given).__name__}; pass a tuple of two or three arrays"
            )
        X, y = given[:2]
        X, y = theirs.validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=self.dtype or (np.float64, np.float32),
            reset=False,
        )
        y = theirs.column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y
        if theirs.is_classifier(self):
            unknown = np.setdiff1d(theirs.unique_labels(y), self.classes_)
            if len(unknown):
                raise ValueError(
                    f"validation_data: expected the classes of y, {self.classes_}, got {unknown} "
                    "too; leave these rows out"
                )
        weight = given[2] if len(given) == 3 else None
        return X, y, None if weight is None else theirs._check_sample_weight(weight, X)

    def _extras(self) -> Extras:
        """Return the parameters that scikit-learn does not have, checked."""
        given = getattr(self, "_given", None)
        absent = (self.activations, self.threads, self.dtype, given) == (None,) * 4
        if absent and self.dropout == 0 and self.callbacks == () and self.loss in self._losses:
            return NO_EXTRAS
        own_loss = None if self.loss in self._losses else self.loss
        hidden = self.hidden_layer_sizes
        n_hidden = len(list(hidden)) if np.iterable(hidden) else 1
        callbacks = tuple(checked_callbacks(self.callbacks))
        for callback in callbacks:
            if isinstance(callback, _STORING):
                raise ValueError(
                    f"callbacks: expected callbacks that write no models, got "
                    f"{type(callback).__name__}; pickle the estimator, or train a Sequential"
                )
        return Extras(
            activations=self._checked_activations(n_hidden),
            dropout=self._checked_dropout(n_hidden),
            callbacks=callbacks,
            threads=self.threads,
            validation=given,
            loss=own_loss,
            dtype=self.dtype,
        )

    def _checked_activations(self, n_hidden: int) -> tuple[str, ...] | None:
        if self.activations is None:
            return None
        found = tuple(activations_.canonical(name) for name in self.activations)
        if len(found) != n_hidden or _UNTRAINED & set(found):
            raise ValueError(
                f"activations: expected {n_hidden} of {', '.join(_HIDDEN)}, one for each hidden "
                f"layer, got {self.activations!r}; hidden_layer_sizes says how many there are"
            )
        return found

    def _checked_dropout(self, n_hidden: int) -> tuple[float, ...]:
        if not np.iterable(self.dropout):
            rates = (float(self.dropout),) * n_hidden
        else:
            rates = tuple(float(rate) for rate in self.dropout)
        if len(rates) != n_hidden or not all(0 <= rate < 1 for rate in rates):
            raise ValueError(
                f"dropout: expected a number in [0, 1), or {n_hidden} of them, one for each hidden "
                f"layer, got {self.dropout!r}; hidden_layer_sizes says how many there are"
            )
        return rates if any(rates) else ()


def _with_parameters_of(cls: Any) -> Callable[[Any], Any]:
    """Return a decorator of `__init__`, whose signature becomes scikit-learn's and what is added.

    get_params, clone and help() look at it; ``*args`` and ``**settings`` reach scikit-learn's own.
    """

    def decorate(init: Any) -> Any:
        added = {
            parameter.name: parameter.replace(annotation=parameter.empty)
            for function in (init, _Perceptron.__init__)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        whole = {**inspect.signature(cls.__init__).parameters, **added}
        init.__signature__ = inspect.Signature(list(whole.values()))
        return init

    return decorate


class MLPClassifier(_Perceptron, CLASSIFIER):
    """scikit-learn's MLPClassifier, computed by nnfast.

    Parameters, attributes and methods are those of `sklearn.neural_network.MLPClassifier`; beyond
    them there are, by keyword alone:

    Parameters
    ----------
    loss : {"log_loss", "squared_error"} or callable
        Of probabilities and one-hot targets; a function is ``(y_pred, y_true) -> (value,
        dvalue/dy_pred)``, the mean over the rows and its derivative.
    activations : sequence of str or None
        Of the hidden layers, each one of `nnfast.activations.NAMES`; None: all are `activation`.
    dropout : float or sequence of float
        Rate behind each hidden layer, in training alone. Its noise comes from `random_state`.
    class_weight : dict, "balanced" or None
        Factors of the sample weights by class; "balanced": n / (n_classes * count), not in
        partial_fit.
    callbacks : sequence of nnfast.Callback
        Their `model` has the numbers as `theta`, and the `estimator`.
    dtype : {"float32", "float64"} or None
        Of all arithmetic; None: that of X.
    threads : int or None
        Most threads to use; None: `nnfast.get_num_threads`.

    Attributes
    ----------
    validation_loss_curve_ : list of float
        After `fit` with validation_data.
    """

    _losses = frozenset({"log_loss"})
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CLASSIFIER._parameter_constraints,
        **_CONSTRAINTS,
        "loss": [theirs.StrOptions({"log_loss", "squared_error"}), callable],
        "class_weight": [theirs.StrOptions({"balanced"}), dict, None],
    }
    predict = drop_in.predict_classes
    predict_proba = drop_in.predict_proba

    @_with_parameters_of(CLASSIFIER)
    def __init__(
        self, *args: Any, loss: Any = "log_loss", class_weight: Any = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.loss = loss
        self.class_weight = class_weight

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Self:
        if self.class_weight is not None:
            if incremental and self.class_weight == "balanced":
                raise ValueError(
                    "class_weight: expected a dict with partial_fit, which does not see all of y, "
                    "got 'balanced'; compute the weights from all of y"
                )
            factors = weights_of_classes(self.class_weight, y)
            if sample_weight is not None:
                factors = factors * theirs._check_sample_weight(sample_weight, factors)
            sample_weight = factors
        return super()._fit(X, y, sample_weight=sample_weight, incremental=incremental)


class MLPRegressor(_Perceptron, REGRESSOR):
    """scikit-learn's MLPRegressor, computed by nnfast.

    Parameters, attributes and methods are those of `sklearn.neural_network.MLPRegressor`; beyond
    them there are, by keyword alone (but `loss`, which is the first one there too):

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber"} or callable
        As there, or the mean over the outputs of ``abs(e)``, of ``e**2 / 2`` up to abs(e) = 1 and
        ``abs(e) - 1 / 2`` beyond; a function is ``(y_pred, y_true) -> (value, dvalue/dy_pred)``,
        the mean over the rows and its derivative.
    activations, dropout, callbacks, dtype, threads
        As in `MLPClassifier`.

    Attributes
    ----------
    validation_loss_curve_ : list of float
        After `fit` with validation_data.
    """

    _losses = frozenset({"squared_error", "poisson"})
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **REGRESSOR._parameter_constraints,
        **_CONSTRAINTS,
        "loss": [
            theirs.StrOptions({"squared_error", "poisson", "absolute_error", "huber"}),
            callable,
        ],
    }
    predict = drop_in.predict_numbers

    @_with_parameters_of(REGRESSOR)
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
