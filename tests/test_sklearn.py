"""The drop-in against scikit-learn: curves, coefficients, predictions, prints, warnings and errors."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import nnfast as nn
from nnfast.drop_in.scikit_learn import theirs as module_of_theirs
from nnfast.drop_in.trainer import Trainer
from nnfast.sklearn import MLPClassifier, MLPRegressor

PAIRS = {
    "classifier": (neural_network.MLPClassifier, MLPClassifier),
    "regressor": (neural_network.MLPRegressor, MLPRegressor),
}
DIGITS = datasets.load_digits(return_X_y=True)
DIABETES = datasets.load_diabetes(return_X_y=True)
IRIS = datasets.load_iris(return_X_y=True)


def some(task: str, n: int = 430) -> tuple[Any, Any]:
    """Rows whose last batch of 200 is short."""
    X, y = DIGITS if task == "classifier" else DIABETES
    return X[:n] / 16 if task == "classifier" else X[:n], y[:n]


def observed(estimator: Any, *arguments: Any, **named: Any) -> tuple[str, list[tuple[type, str]]]:
    """Fit; return what it prints, and its warnings."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        warnings.catch_warnings(record=True) as w,
    ):
        warnings.simplefilter("always")
        estimator.fit(*arguments, **named)
    return out.getvalue(), [(each.category, str(each.message)) for each in w]


def close(a: Any, b: Any, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-9, np.abs(b).max()))


def assert_alike(mine: Any, theirs: Any, X: Any, rtol: float = 1e-9) -> None:
    """All that scikit-learn shows of a fitted perceptron."""
    exact = ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "t_")
    for name in exact:
        assert getattr(mine, name) == getattr(theirs, name), name
    for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        a, b = getattr(mine, name, "absent"), getattr(theirs, name, "absent")
        if b is None or isinstance(b, str):
            assert a == b, name
        else:
            assert type(a) is type(b), name
            close(a, b, rtol)
    assert type(mine.loss_) is type(theirs.loss_)
    for mine_, theirs_ in zip(
        mine.coefs_ + mine.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert mine_.dtype == theirs_.dtype
        assert mine_.shape == theirs_.shape
        np.testing.assert_allclose(mine_, theirs_, rtol=1e3 * rtol, atol=1e3 * rtol)
    both = mine.predict(X), theirs.predict(X)
    assert both[0].dtype == both[1].dtype
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(*both)
        np.testing.assert_array_equal(mine.classes_, theirs.classes_)
        close(mine.predict_proba(X), theirs.predict_proba(X), 1e3 * rtol)
        with np.errstate(divide="ignore"):  # log 0, as theirs
            close(np.exp(mine.predict_log_proba(X)), theirs.predict_proba(X), 1e3 * rtol)
        assert mine.predict_proba(X).dtype == theirs.predict_proba(X).dtype
    else:
        close(*both, rtol=1e3 * rtol)


def fitted_alike(task: str, X: Any, y: Any, weight: Any = None, **settings: Any) -> Any:
    """Fit both on copies, compare everything, return nnfast's."""
    verbose = X.dtype == np.float64  # eight digits
    settings = {"max_iter": 20, "random_state": 3, "verbose": verbose, **settings}
    theirs, mine = (cls(**settings) for cls in PAIRS[task])
    reports = [
        observed(each, copy.deepcopy(X), copy.deepcopy(y), weight) for each in (mine, theirs)
    ]
    assert reports[0] == reports[1]
    assert_alike(mine, theirs, X, 1e-5 if X.dtype == np.float32 else 1e-9)
    return mine


# --- equality -------------------------------------------------------------------------------------

STOCHASTIC = {
    "adam": {},
    "adam by rows": {"batch_size": 7, "max_iter": 3},
    "sgd": {"solver": "sgd"},
    "momentum 0": {"solver": "sgd", "momentum": 0.0},
    "momentum 1": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    "without Nesterov": {"solver": "sgd", "nesterovs_momentum": False, "batch_size": 32},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 0.05,
        "n_iter_no_change": 1,
        "max_iter": 40,
    },
    "converged": {"tol": 0.1, "n_iter_no_change": 2, "max_iter": 100},
    "early stopping": {"early_stopping": True, "tol": 0.1, "n_iter_no_change": 3},
    "large alpha": {"alpha": 10.0},
    "no alpha": {"alpha": 0.0},
    "no shuffle": {"shuffle": False},
    "two layers": {"hidden_layer_sizes": (20, 10), "activation": "tanh"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "a number of units": {"hidden_layer_sizes": 12},
    "moments": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "batch too large": {"batch_size": 1000},
}


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("settings", STOCHASTIC.values(), ids=STOCHASTIC)
def test_settings(task: str, settings: dict[str, Any]) -> None:
    fitted_alike(task, *some(task), **settings)


ONE_STEP = {
    **STOCHASTIC,
    "soon": {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 100},
    "never": {"n_iter_no_change": np.inf},
    "binary": {"alpha": 1.0, "hidden_layer_sizes": 7},
}


@pytest.fixture
def epochs_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many epochs were wanted of each call, and made."""
    found: list[int] = []
    several = Trainer.epochs

    def epochs(trainer: Trainer, orders: Any, rates: Any) -> list[float]:
        made = several(trainer, orders, rates)
        found.extend((len(orders), len(made)))
        return made

    monkeypatch.setattr(Trainer, "epochs", epochs)
    return found


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("name", ONE_STEP)
def test_epochs_of_one_step(task: str, name: str, epochs_at_once: list[int]) -> None:
    settings: dict[str, Any] = {"verbose": False, **ONE_STEP[name]}
    X, y = some(task, 150)
    if name == "binary" and task == "classifier":
        X, y = X * 1600, y > 4
    fitted_alike(task, X, y, **settings)
    several = name not in ("adam by rows", "without Nesterov", "invscaling", "early stopping")
    assert (max(epochs_at_once) > 1) == several
    assert epochs_at_once[::2] == epochs_at_once[1::2]
    numbers = []
    for cls in PAIRS[task]:
        generator = np.random.RandomState(0)
        observed(cls(**{"max_iter": 20, "random_state": generator, **settings}), X, y)
        numbers.append(generator.randint(2**31))
    assert numbers[0] == numbers[1]  # no more orders were drawn


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_activations(task: str, solver: str, activation: str) -> None:
    if solver == "lbfgs":  # without a curve, and its line search multiplies what differs
        X, y = some(task)
        theirs, mine = (
            cls(solver=solver, activation=activation, max_iter=8, random_state=0)
            for cls in PAIRS[task]
        )
        assert observed(mine, X, y)[1] == observed(theirs, X, y)[1]
        close(mine.loss_, theirs.loss_, 1e-8)
        assert (mine.n_iter_, vars(mine).keys()) == (
            theirs.n_iter_,
            vars(theirs).keys() | own(mine),
        )
    else:
        fitted_alike(task, *some(task), solver=solver, activation=activation)


def own(estimator: Any) -> set[str]:
    return set(estimator.get_params()) - set(type(estimator).__mro__[2]().get_params())


TARGETS: dict[str, Callable[[Any], Any]] = {
    "binary": lambda y: y > 4,
    "text": lambda y: np.array(["odd", "even"])[y % 2 - 1],
    "three": lambda y: y % 3,
    "one class": lambda y: np.zeros_like(y),
    "multilabel": lambda y: np.stack([y > 4, y % 2, y % 3 == 0], axis=1).astype(int),
}


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("target", TARGETS)
def test_targets(target: str, scale: float) -> None:
    X, y = some("classifier")
    fitted_alike("classifier", X * scale * 16, TARGETS[target](y))
    if target != "multilabel":
        fitted_alike("classifier", X * scale * 16, TARGETS[target](y), early_stopping=True)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
def test_losses_of_regression(loss: str, weighted: bool, columns: int) -> None:
    X, y = some("regressor")
    y = y / 100 if columns == 1 else np.stack([y / 100, y % 7, y % 3], axis=1)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    fitted_alike("regressor", X, y, weight, loss=loss)


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.0}, {"early_stopping": True}])
def test_sample_weight(task: str, settings: dict[str, Any]) -> None:
    X, y = some(task)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    fitted_alike(task, X, y, weight, **settings)


@pytest.mark.parametrize("task", PAIRS)
def test_sample_weight_of_lbfgs(task: str) -> None:
    X, y = some(task)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    settings = {"solver": "lbfgs", "max_iter": 8, "random_state": 0, "alpha": 0.1}
    theirs, mine = (cls(**settings) for cls in PAIRS[task])
    assert observed(mine, X, y, weight) == observed(theirs, X, y, weight)
    close(mine.loss_, theirs.loss_, 1e-8)


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("form", ["csr_matrix", "csr_array", "csc_array"])
def test_sparse(task: str, form: str) -> None:
    X, y = some(task)
    X = getattr(sparse, form)(np.where(X > 0.2 if task == "classifier" else X > 0, X, 0))
    for settings in ({}, {"early_stopping": True}, {"batch_size": 50, "shuffle": False}):
        fitted_alike(task, X, y, **settings)


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "early_stopping": True}])
def test_float32(task: str, settings: dict[str, Any]) -> None:
    X, y = some(task)
    mine = fitted_alike(task, X.astype(np.float32), y, max_iter=5, **settings)
    assert mine.coefs_[0].dtype == np.float32
    both = [
        cls(random_state=0, tol=1e9, n_iter_no_change=1).fit(X.astype("f4"), y).predict(X)
        for cls in PAIRS[task]
    ]
    assert both[0].dtype == both[1].dtype  # float32 weights, float64 X


@pytest.mark.parametrize("task", PAIRS)
def test_lbfgs_in_float32(task: str) -> None:
    X, y = some(task)
    theirs, mine = (cls(solver="lbfgs", max_iter=5, random_state=0) for cls in PAIRS[task])
    for each in (theirs, mine):
        observed(each, X.astype(np.float32), y)
    close(mine.loss_, theirs.loss_, 1e-4)
    assert mine.coefs_[0].dtype == theirs.coefs_[0].dtype


@pytest.mark.parametrize("order", ["F", "strided", "read-only"])
def test_layouts_of_X(order: str) -> None:
    X, y = some("classifier")
    if order == "F":
        X = np.asfortranarray(X)
    elif order == "strided":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    else:
        X.flags.writeable = False
    fitted_alike("classifier", X, y, max_iter=3)


@pytest.mark.parametrize("machine", ["reference", "avx512", "avx2", "baseline"])
@pytest.mark.parametrize("task", PAIRS)
def test_machines(machine: str, task: str, use: Callable[[str], Any]) -> None:
    use(machine)
    X, y = some(task, 120)
    fitted_alike(task, X, y, max_iter=3, batch_size=50)
    fitted_alike(task, sparse.csr_array(X), y, np.arange(120), max_iter=3, batch_size=50)


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.parametrize(
    "settings", [{}, {"solver": "sgd"}, {"solver": "sgd", "learning_rate": "invscaling"}]
)
def test_partial_fit(task: str, settings: dict[str, Any]) -> None:
    X, y = some(task)
    more = {"classes": np.unique(y)} if task == "classifier" else {}
    theirs, mine = (cls(random_state=0, batch_size=30, **settings) for cls in PAIRS[task])
    for rows in np.array_split(np.arange(len(y)), 5):
        for each in (theirs, mine):
            each.partial_fit(X[rows], y[rows], **more)
        assert_alike(mine, theirs, X)
        mine = pickle.loads(pickle.dumps(mine))
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        mine.set_params(early_stopping=True).partial_fit(X, y)


@pytest.mark.parametrize("task", PAIRS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start(task: str) -> None:
    X, y = some(task)
    theirs, mine = (cls(random_state=0, warm_start=True, max_iter=4) for cls in PAIRS[task])
    for _ in range(3):
        assert_alike(mine.fit(X, y), theirs.fit(X, y), X)
    for each in (theirs, mine):
        each.set_params(solver="sgd").partial_fit(X, y)  # their optimizer goes on
    assert_alike(mine, theirs, X)


def test_partial_fit_of_lbfgs_is_absent() -> None:
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "settings", [{}, {"early_stopping": True}, {"tol": 1.0, "n_iter_no_change": 1}]
)
def test_random_stream_ends_at_the_same_place(settings: dict[str, Any]) -> None:
    X, y = some("classifier")
    left = []
    for cls in PAIRS["classifier"]:
        stream = np.random.RandomState(5)
        cls(max_iter=5, random_state=stream, **settings).fit(X, y)
        left.append(stream.randint(2**31))
    assert left[0] == left[1]


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = some("classifier")
    theirs, mine = (cls(random_state=0, verbose=True, batch_size=50) for cls in PAIRS["classifier"])

    def shout(words: str) -> None:
        if words.startswith("Iteration 3"):
            raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", shout)
    for each in (theirs, mine):
        with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
            each.fit(X, y)
    assert mine.n_iter_ == 3
    assert_alike(mine, theirs, X)
    assert mine._optimizer.t == theirs._optimizer.t == 3 * 9


# --- what nnfast cannot compute -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_overflow(caplog: pytest.LogCaptureFixture) -> None:
    X, y = some("regressor")
    X, y = X * 1e160, y * 1e150
    reports = []
    for cls in PAIRS["regressor"]:
        estimator = cls(random_state=0, max_iter=4, activation="identity", verbose=True)
        with (
            caplog.at_level("INFO", "nnfast"),
            contextlib.redirect_stdout(io.StringIO()) as out,
            pytest.raises(ValueError, match="Solver produced non-finite parameter weights"),
        ):
            estimator.fit(X, y)
        reports.append((out.getvalue(), estimator.n_iter_))
    assert reports[0] == reports[1]
    assert "the loss is not finite in epoch 1" in caplog.text


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_overflow_in_epochs_of_one_step(
    caplog: pytest.LogCaptureFixture, epochs_at_once: list[int]
) -> None:
    X, y = some("regressor", 150)
    fitted = []
    for cls in PAIRS["regressor"]:
        estimator = cls(
            hidden_layer_sizes=5,
            activation="identity",
            solver="sgd",
            learning_rate_init=1e9,
            random_state=0,
        )
        with (
            caplog.at_level("INFO", "nnfast"),
            pytest.raises(ValueError, match="Solver produced non-finite parameter weights"),
        ):
            estimator.fit(X, y)
        fitted.append(estimator)
    theirs, mine = fitted
    assert epochs_at_once == [11, 0, *[1, 1] * 3, 1, 0]
    assert "the loss is not finite in epoch 4" in caplog.text
    assert mine.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_overflow_of_lbfgs() -> None:
    X, y = some("regressor")
    theirs, mine = (cls(solver="lbfgs", random_state=0, max_iter=4) for cls in PAIRS["regressor"])
    assert observed(mine, X * 1e160, y) == observed(theirs, X * 1e160, y)
    np.testing.assert_array_equal([mine.loss_, theirs.loss_], np.nan)
    assert mine.n_iter_ == theirs.n_iter_


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_overflow_in_the_middle_goes_on_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    X, y = some("classifier")
    X = X.copy()
    X[400:] = 1e308  # in the last batch of the first epoch, and only then
    settings = {
        "random_state": 0,
        "shuffle": False,
        "max_iter": 3,
        "activation": "relu",
        "verbose": True,
    }
    theirs, mine = (cls(**settings) for cls in PAIRS["classifier"])
    errors = []
    for each in (theirs, mine):
        with (
            caplog.at_level("INFO", "nnfast"),
            contextlib.redirect_stdout(io.StringIO()) as out,
            pytest.raises(ValueError, match="non-finite") as caught,
        ):
            each.fit(X, y)
        errors.append((str(caught.value), out.getvalue()))
    assert errors[0] == errors[1]
    assert "fell back to scikit-learn: the loss is not finite in epoch 1" in caplog.text


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_a_loss_overflows_after_some_steps_and_the_weights_do_not() -> None:
    X, y = (array[:200].astype(np.float32) for array in some("regressor"))
    y[150] = 3e19
    theirs, mine = (
        cls(hidden_layer_sizes=8, batch_size=10, max_iter=2, shuffle=False, random_state=0).fit(
            X, y
        )
        for cls in PAIRS["regressor"]
    )
    assert theirs.loss_curve_ == mine.loss_curve_ == [np.inf, np.inf]
    for a, b in zip(theirs.coefs_, mine.coefs_, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_weights_of_a_batch_that_sum_to_zero(caplog: pytest.LogCaptureFixture) -> None:
    X, y = some("classifier")
    weight = np.ones(len(y))
    weight[200:400] = 0
    for cls in PAIRS["classifier"]:
        with (
            caplog.at_level("INFO", "nnfast"),
            pytest.raises(ZeroDivisionError, match="Weights sum to zero"),
        ):
            cls(random_state=0, shuffle=False).fit(X, y, weight)
    assert "the weights of a batch sum to 0" in caplog.text
    with pytest.raises(
        ValueError, match="not have, but the weights of a batch sum to 0 in epoch 1"
    ):
        MLPClassifier(dropout=0.5, shuffle=False).fit(X, y, weight)


class Doubled(MLPClassifier):
    """A subclass with arithmetic of its own."""

    def _backprop(self, *arguments: Any) -> Any:
        loss, *gradients = super()._backprop(*arguments)
        return (2 * loss, *gradients)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_methods_of_subclasses_are_called(caplog: pytest.LogCaptureFixture) -> None:
    X, y = some("classifier")
    plain = MLPClassifier(random_state=0, max_iter=2).fit(X, y)
    with caplog.at_level("INFO", "nnfast"):
        doubled = Doubled(random_state=0, max_iter=2).fit(X, y)
    close(doubled.loss_curve_, 2 * np.array(plain.loss_curve_))
    assert "Doubled.fit: fell back to scikit-learn: Doubled has a method _backprop" in caplog.text
    with pytest.raises(
        ValueError, match=r"parameters that scikit-learn does not have, but Doubled has"
    ):
        Doubled(dropout=0.5).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_changed_tables_are_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = some("classifier")
    plain = MLPClassifier(random_state=0, max_iter=2).fit(X, y)
    table = module_of_theirs.ACTIVATIONS
    monkeypatch.setitem(table, "relu", table["tanh"])
    changed = MLPClassifier(random_state=0, max_iter=2).fit(X, y)
    assert changed.loss_ != plain.loss_
    close(
        changed.loss_curve_,
        PAIRS["classifier"][0](random_state=0, max_iter=2).fit(X, y).loss_curve_,
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_mixed_dtypes_are_theirs() -> None:
    X, y = some("classifier")
    both = []
    for cls in PAIRS["classifier"]:
        each = cls(random_state=0, max_iter=2, warm_start=True).fit(X.astype("f4"), y)
        both.append(each.fit(X, y))
    close(both[1].loss_curve_, both[0].loss_curve_, 1e-5)
    assert both[1].coefs_[0].dtype == both[0].coefs_[0].dtype


# --- outputs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return tuple(cls(random_state=0, max_iter=5).fit(*DIGITS) for cls in PAIRS["classifier"])


def test_outputs_of_any_X(digits: tuple[Any, Any]) -> None:
    theirs, mine = digits
    X = DIGITS[0]
    for x in (
        X[:1],
        X[:100],
        X,
        X.tolist()[:3],
        X.astype(int)[:9],
        X.astype("f4")[:9],
        X[::2, :],
        X.astype("f2")[:4],
    ):
        a, b = mine.predict_proba(x), theirs.predict_proba(x)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(mine.predict(x), theirs.predict(x))
    for bad in (X[0], X[:, :5], X[:0], np.full((2, 64), np.nan), "text", np.full((1, 64), np.inf)):
        for method in ("predict", "predict_proba"):
            errors = []
            for each in digits:
                with pytest.raises((ValueError, TypeError)) as caught:
                    getattr(each, method)(bad)
                errors.append(str(caught.value).replace("MLPClassifier", ""))
            assert errors[0] == errors[1]


def test_outputs_follow_the_coefficients(digits: tuple[Any, Any]) -> None:
    mine = copy.deepcopy(digits[1])
    x = DIGITS[0][:1]
    before = mine.predict_proba(x)
    mine.coefs_[1][:] = 0
    mine.intercepts_[1][:] = 0
    np.testing.assert_array_equal(mine.predict_proba(x), np.full((1, 10), 0.1))
    mine.coefs_ = [coef.copy() for coef in digits[1].coefs_]
    mine.intercepts_ = [each.copy() for each in digits[1].intercepts_]
    np.testing.assert_array_equal(mine.predict_proba(x), before)


def test_outputs_are_the_callers(digits: tuple[Any, Any]) -> None:
    one = digits[1].predict_proba(DIGITS[0][:2])
    two = digits[1].predict_proba(DIGITS[0][2:4])
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, digits[1].predict_proba(DIGITS[0][:2]))


def test_few_rows_of_a_large_network() -> None:
    X, y = some("regressor", 60)
    mine = MLPRegressor(hidden_layer_sizes=(500, 500), random_state=0, max_iter=1)
    observed(mine, X, y)
    close(mine.predict(X[:2]), mine.predict(X)[:2], 1e-9)


def test_prediction_leaves_the_threads_of_blas_asleep(digits: tuple[Any, Any]) -> None:
    mine = copy.deepcopy(digits[1]).set_params(threads=1)
    time.sleep(0.2)  # those that something else woke
    mine.predict(DIGITS[0])
    before = time.process_time()
    time.sleep(0.03)
    assert time.process_time() - before < 0.01  # a thread that spins takes all of it


def test_unfitted_and_named_columns() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = some("classifier", 100)
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    mine = fitted_alike("classifier", frame.to_numpy(), y, max_iter=2)
    observed(mine, frame, y)
    assert list(mine.feature_names_in_) == list(frame.columns)
    mine.predict(frame)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        mine.predict(X)
    with pytest.raises(ValueError, match="This MLPClassifier instance is not fitted yet"):
        MLPClassifier().predict(X)


# --- scikit-learn's tools -------------------------------------------------------------------------


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
@pytest.mark.filterwarnings("ignore")
def test_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_tools() -> None:
    X, y = IRIS
    net = MLPClassifier((8,), random_state=0, max_iter=60, learning_rate_init=0.02)
    assert clone(net).get_params() == net.get_params()
    assert set(neural_network.MLPClassifier().get_params()) < set(net.get_params())
    piped = make_pipeline(StandardScaler(), net).fit(X, y)
    assert pickle.loads(pickle.dumps(piped)).score(X, y) == piped.score(X, y) > 0.8
    grid = GridSearchCV(piped, {"mlpclassifier__alpha": [1e-4, 1e-1]}, n_jobs=2, cv=2).fit(X, y)
    theirs = make_pipeline(
        StandardScaler(),
        PAIRS["classifier"][0]((8,), random_state=0, max_iter=60, learning_rate_init=0.02),
    )
    wanted = GridSearchCV(theirs, {"mlpclassifier__alpha": [1e-4, 1e-1]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(
        grid.cv_results_["mean_test_score"], wanted.cv_results_["mean_test_score"]
    )
    for both in (
        CalibratedClassifierCV(piped, cv=2, n_jobs=2),
        VotingClassifier([("a", piped), ("b", clone(piped))], voting="soft", n_jobs=2),
        BaggingClassifier(piped, n_estimators=4, n_jobs=2, random_state=0),
    ):
        assert both.fit(X, y).score(X, y) > 0.7


def test_positional_arguments_are_theirs() -> None:
    assert MLPClassifier((5,), "tanh").activation == "tanh"
    assert MLPRegressor("poisson", (5,), "tanh").loss == "poisson"
    with pytest.raises(TypeError, match="positional"):
        MLPClassifier((5,), "tanh", "sgd")


@pytest.mark.parametrize(
    "bad", [{"activation": "gelu"}, {"alpha": -1}, {"solver": "rprop"}, {"max_iter": 0}]
)
def test_bad_parameters_have_their_messages(bad: dict[str, Any]) -> None:
    errors = []
    for cls in PAIRS["classifier"]:
        with pytest.raises(ValueError, match="must be") as caught:
            cls(**bad).fit(*IRIS)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


# --- beyond scikit-learn --------------------------------------------------------------------------


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def curve(**settings: Any) -> list[float]:
    X, y = some("classifier")
    fit = {name: settings.pop(name) for name in ("validation_data",) if name in settings}
    net = MLPClassifier(**{"random_state": 0, "max_iter": 10, **settings}).fit(X, y, **fit)
    return [*net.loss_curve_]


@pytest.mark.usefixtures("quiet")
def test_dropout() -> None:
    plain, dropped = curve(), curve(dropout=0.5)
    assert dropped == curve(dropout=[0.5]) != plain
    assert dropped != curve(dropout=0.5, random_state=1)
    assert np.mean(dropped) > np.mean(plain)
    at_rest = curve(dropout=0.5, learning_rate_init=1e-300, shuffle=False)
    assert len(set(at_rest)) == 10  # other masks each epoch
    X, y = some("classifier")
    net = MLPClassifier(dropout=0.5, random_state=0).fit(X, y)
    np.testing.assert_array_equal(net.predict_proba(X), net.predict_proba(X))
    assert net.score(X, y) > 0.95


@pytest.mark.usefixtures("quiet")
def test_activations_by_layer() -> None:
    assert curve(activations=["tanh"]) == curve(activation="tanh") != curve()
    X, y = some("classifier")
    net = MLPClassifier((20, 10), activations=["gelu", "tanh"], random_state=0, max_iter=150).fit(
        X, y
    )
    layers = [nn.Dense(20, "gelu"), nn.Dense(10, "tanh"), nn.Dense(10, "softmax")]
    same = nn.Sequential(layers, dtype="float64").build(64)
    for name, values in zip(
        same.parameters(),
        (
            net.coefs_[0],
            net.intercepts_[0],
            net.coefs_[1],
            net.intercepts_[1],
            net.coefs_[2],
            net.intercepts_[2],
        ),
        strict=True,
    ):
        same.parameters()[name][...] = values
    np.testing.assert_allclose(net.predict_proba(X), same.predict(X), rtol=1e-12)
    assert net.score(X, y) > 0.9


@pytest.mark.usefixtures("quiet")
def test_losses() -> None:
    X, y = some("regressor")
    scaled = (y - y.mean()) / y.std()

    def half_square(y_pred: Any, y_true: Any) -> Any:
        e = y_pred - y_true
        return np.mean(e * e) / 2, e / e.size

    settings = {"random_state": 0, "max_iter": 5}
    by_name = MLPRegressor(**settings).fit(X, scaled)
    by_function = MLPRegressor(half_square, **settings).fit(X, scaled)
    close(by_function.loss_curve_, by_name.loss_curve_, 1e-8)
    for loss, values in (
        ("absolute_error", lambda e: np.abs(e)),
        ("huber", lambda e: np.where(np.abs(e) > 1, np.abs(e) - 0.5, e * e / 2)),
    ):
        net = MLPRegressor(
            loss, random_state=0, max_iter=1, shuffle=False, alpha=0.0, batch_size=430
        )
        start = neural_network.MLPRegressor(
            random_state=0, max_iter=1, learning_rate_init=1e-300
        ).fit(X, scaled)
        close(net.fit(X, scaled).loss_, values(start.predict(X) - scaled[: len(X)]).mean())
        assert curve_falls(MLPRegressor(loss, **settings).fit(X, scaled))
    digits_ = MLPClassifier(loss="squared_error", random_state=0, max_iter=150).fit(
        *some("classifier")
    )
    assert digits_.score(*some("classifier")) > 0.9


def curve_falls(net: Any) -> bool:
    return bool(net.loss_curve_[-1] < net.loss_curve_[0])


@pytest.mark.usefixtures("quiet")
def test_class_weight() -> None:
    X, y = IRIS
    net = MLPClassifier(random_state=0, max_iter=5, class_weight={0: 2.0, 1: 0.5}).fit(X, y)
    weighted = MLPClassifier(random_state=0, max_iter=5).fit(X, y, np.array([2.0, 0.5, 1.0])[y])
    assert net.loss_curve_ == weighted.loss_curve_
    both = MLPClassifier(random_state=0, max_iter=5, class_weight={0: 2.0}).fit(
        X, y, np.arange(150) % 3 + 1
    )
    product = np.where(y == 0, 2.0, 1.0) * (np.arange(150) % 3 + 1)
    assert (
        both.loss_curve_ == MLPClassifier(random_state=0, max_iter=5).fit(X, y, product).loss_curve_
    )
    rows = np.arange(30, 150)
    balanced = MLPClassifier(random_state=0, max_iter=5, class_weight="balanced").fit(
        X[rows], y[rows]
    )
    assert (
        balanced.loss_curve_[0]
        != MLPClassifier(random_state=0, max_iter=5).fit(X[rows], y[rows]).loss_curve_[0]
    )
    with pytest.raises(ValueError, match="partial_fit, which does not see all of y"):
        balanced.partial_fit(X, y)


@pytest.mark.usefixtures("quiet")
def test_dtype_and_threads() -> None:
    X, y = some("classifier")
    single = MLPClassifier(random_state=0, max_iter=3, dtype="float32").fit(X, y)
    cast = MLPClassifier(random_state=0, max_iter=3).fit(X.astype("f4"), y)
    assert single.loss_curve_ == cast.loss_curve_
    assert single.predict_proba(X).dtype == np.float32
    assert curve(threads=1) == curve(threads=2)


class Recorder(nn.Callback):
    def __init__(self, stop_after: int = 99) -> None:
        self.told: list[Any] = []
        self.stop_after = stop_after

    def on_train_begin(self) -> None:
        self.told.append("begin")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.told.append((epoch, dict(logs), self.learning_rate, self.model.theta.sum()))
        self.stop_training = epoch + 1 >= self.stop_after

    def on_train_end(self) -> None:
        self.told.append("end")


@pytest.mark.usefixtures("quiet")
def test_callbacks() -> None:
    X, y = some("classifier")
    recorder = Recorder(stop_after=4)
    net = MLPClassifier(random_state=0, callbacks=[recorder])
    net.fit(X, y, validation_data=(X[:50], y[:50]))
    assert recorder.told[0] == "begin"
    assert recorder.told[-1] == "end"
    assert [each[0] for each in recorder.told[1:-1]] == [0, 1, 2, 3]
    assert [each[1]["loss"] for each in recorder.told[1:-1]] == net.loss_curve_ == curve(max_iter=4)
    assert [each[1]["val_loss"] for each in recorder.told[1:-1]] == net.validation_loss_curve_
    assert recorder.told[-2][3] == pytest.approx(sum(c.sum() for c in net.coefs_ + net.intercepts_))
    assert recorder.model is recorder.rate is None
    pickle.dumps(net)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_learning_rate_of_a_callback(solver: str) -> None:
    slow = nn.LearningRateScheduler(lambda epoch, lr: 1e-3 if epoch < 5 else 1e-12)
    with_it = curve(solver=solver, callbacks=[slow])
    assert with_it[:5] == curve(solver=solver)[:5]
    at_rest = curve(solver=solver, callbacks=[slow], momentum=0.0)[6:]
    assert max(at_rest) - min(at_rest) < 1e-8


@pytest.mark.usefixtures("quiet")
def test_validation_data() -> None:
    X, y = some("classifier")
    net = MLPClassifier(random_state=0, max_iter=5, alpha=0.0)
    net.fit(X, y, validation_data=(X[:60], y[:60], np.arange(60)))
    probabilities = net.predict_proba(X[:60])[np.arange(60), y[:60]]
    close(net.validation_loss_curve_[-1], np.average(-np.log(probabilities), weights=np.arange(60)))
    assert net.loss_curve_ == curve(max_iter=5, alpha=0.0)  # training does not see it
    stopped = MLPClassifier(random_state=0, early_stopping=True, max_iter=8)
    stopped.fit(X, y, validation_data=(X[:60], y[:60]))
    assert stopped.loss_curve_ == curve(max_iter=8)  # no rows are held out
    assert stopped.best_validation_score_ == stopped.score(X[:60], y[:60])
    X, y = some("regressor")
    net = MLPRegressor(random_state=0, max_iter=5).fit(X, y, validation_data=(X[:60], y[:60]))
    close(net.validation_loss_curve_[-1], np.mean((net.predict(X[:60]) - y[:60]) ** 2) / 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dropout": [0.1, 0.2]}, "dropout: expected a number in"),
        ({"dropout": 1.0}, "The 'dropout' parameter"),
        ({"activations": ["relu", "relu"]}, "activations: expected 1 of"),
        ({"activations": ["softmax"]}, "activations: expected 1 of"),
        ({"activations": ["wavelet"]}, "activation: expected one of"),
        ({"loss": "hinge"}, "The 'loss' parameter"),
        ({"class_weight": "heavy"}, "The 'class_weight' parameter"),
        ({"dtype": "int8"}, "The 'dtype' parameter"),
        ({"threads": 0}, "The 'threads' parameter"),
        ({"callbacks": [nn.ModelCheckpoint("a.safetensors")]}, "callbacks that write no models"),
        ({"callbacks": [print]}, "callbacks: expected objects derived from"),
        ({"solver": "lbfgs", "dropout": 0.1}, "dropout: expected solver='sgd' or 'adam'"),
        ({"solver": "lbfgs", "callbacks": [Recorder()]}, "callbacks: expected solver"),
    ],
)
def test_bad_extras(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        MLPClassifier(**settings).fit(*IRIS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 2, 3, 4], "validation_data: expected"),
        ((IRIS[0][:, :2], IRIS[1]), "X has 2 features"),
        ((IRIS[0], IRIS[1][:3]), "inconsistent numbers of samples"),
        ((IRIS[0], IRIS[1] + 1), r"got \[3\] too"),
    ],
)
def test_bad_validation_data(given: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        MLPClassifier().fit(*IRIS, validation_data=given)


# --- the module -----------------------------------------------------------------------------------


def test_nnfast_alone_imports_no_scikit_learn() -> None:
    script = (
        "import sys, nnfast; assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.7.2", r"expected scikit-learn 1\.8 to 1\.9, whose .* got 1\.7\.2"),
        ("2.0.dev0", "got 2.0"),
    ],
)
def test_other_versions_are_refused(version: str, words: str) -> None:
    script = f"import sklearn; sklearn.__version__ = {version!r}; import nnfast.sklearn"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert __import__("re").search(words, done.stderr.splitlines()[-1])
