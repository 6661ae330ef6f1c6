"""What nnfast computes for scikit-learn's perceptrons, in place of their own methods.

Each function of `METHODS` takes the arguments of a method of scikit-learn's classes.
`nnfast.sklearn` has them in its subclasses, `nnfast.patching` puts them into scikit-learn's own.
What cannot be computed as scikit-learn does goes to scikit-learn's method; the log says why.

This module alone imports scikit-learn, and knows its private parts: those of `VERSIONS`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import logging
import math
import os
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import numpy as np

from nnfast import backend, checks, mlp, sparse
from nnfast.callbacks import Callback, LearningRate
from nnfast.mlp import Data, Goal, Net, Rule, Trainer
from nnfast.optimizers import SGD
from nnfast.plan import Array, Csr

VERSIONS = ((1, 8), (1, 9))
"""First and last version of scikit-learn whose private parts are known here."""


def _scikit_learn() -> ModuleType:
    """Return its module of perceptrons; ImportError for other versions than `VERSIONS`."""
    if importlib.util.find_spec("sklearn") is None:
        raise ImportError(
            "expected scikit-learn, which is not installed; pip install 'nnfast[sklearn]'"
        )
    version = str(importlib.import_module("sklearn").__version__)
    first, last = (".".join(map(str, known)) for known in VERSIONS)
    if not VERSIONS[0] <= tuple(map(int, version.split(".")[:2])) <= VERSIONS[1]:
        raise ImportError(
            f"expected scikit-learn {first} to {last}, whose private parts nnfast knows, got "
            f"{version}; install one of these, or use sklearn.neural_network without nnfast"
        )
    return importlib.import_module("sklearn.neural_network._multilayer_perceptron")


theirs = _scikit_learn()
BASE: Any = theirs.BaseMultilayerPerceptron
CLASSIFIER: Any = theirs.MLPClassifier
REGRESSOR: Any = theirs.MLPRegressor
weights_of_classes = importlib.import_module("sklearn.utils.class_weight").compute_sample_weight
_ADAM, _SGD = theirs.AdamOptimizer, theirs.SGDOptimizer
_TABLES = {
    name: dict(getattr(theirs, name)) for name in ("ACTIVATIONS", "DERIVATIVES", "LOSS_FUNCTIONS")
}

# --- the log --------------------------------------------------------------------------------------

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


def _say(est: Any, call: str | None, reason: str | None = None) -> None:
    """Log who computes; call None: a part of a call of which it was said."""
    if call is None or not logger.isEnabledFor(logging.INFO):
        return
    name = f"{type(est).__name__}.{call}"
    if reason is None:
        logger.info("%s: runs on nnfast", name)
    else:
        logger.info("%s: fell back to scikit-learn: %s", name, reason)


# --- what an estimator is, and whether nnfast computes it as scikit-learn does --------------------


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


_NONE = Extras()


def _extras(est: Any) -> Extras:
    return cast(Extras, est._extras()) if hasattr(type(est), "_extras") else _NONE


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


def _why_not(est: Any) -> str | None:
    """Return why scikit-learn must compute, None if nnfast can."""
    cls: Any = type(est)
    own = _own_method(cls)
    if own is not None:
        return f"{cls.__name__} has a method {own} of its own"
    for name, table in _TABLES.items():
        if getattr(theirs, name) != table:
            return f"{name} of sklearn.neural_network has been changed"
    if backend.current().name == "reference" and not hasattr(type(est), "_extras"):
        return "nnfast runs on its reference backend, which is slow"
    dtypes = {getattr(array, "dtype", None) for array in (*est.coefs_, *est.intercepts_)}
    if len(dtypes) > 1 or not dtypes <= {np.dtype("f4"), np.dtype("f8")}:
        names = ", ".join(sorted(map(str, dtypes)))
        return f"coefs_ and intercepts_ have the dtypes {names}, not float32 or float64 alone"
    return None


_OUTPUTS = {"logistic": "sigmoid", "exp": "exponential"}


def _net(est: Any, extras: Extras = _NONE) -> Net:
    sizes = (len(est.coefs_[0]), *(coef.shape[1] for coef in est.coefs_))
    names = extras.activations or (est.activation,) * (len(sizes) - 2)
    output = _OUTPUTS.get(est.out_activation_, est.out_activation_)
    return Net(sizes, tuple(names), output)


def _readable(X: Any, dtype: np.dtype[Any]) -> Array | Csr:
    """Return X, which scikit-learn has checked, as a backend reads it."""
    if not hasattr(X, "tocsr"):
        return cast(Array, X)
    rows = sparse.compressed(X)
    return Csr(np.require(rows.data, dtype, "C"), rows.indices, rows.indptr, rows.shape)


def _fall_back(est: Any, call: str | None, reason: str) -> None:
    """Log that scikit-learn computes; ValueError where only nnfast can."""
    extras = _extras(est)
    if extras.needed:
        raise ValueError(
            f"{type(est).__name__}: expected what nnfast can compute, because of parameters "
            f"that scikit-learn does not have, but {reason}; change this, or leave them out"
        )
    _say(est, call, reason)


# --- sgd and adam ---------------------------------------------------------------------------------


_STEPS_AHEAD = 1000
"""Steps whose rates are computed at a time."""

_COPIED = 1 << 28
"""Bytes of X up to which rows that lie apart are laid together for a fit."""


class _Solver:
    """An optimizer object of scikit-learn's as a rule, a state and rates, and back again."""

    def __init__(self, optimizer: Any, net: Net, dtype: np.dtype[Any], one_epoch: bool) -> None:
        self._optimizer, self._net = optimizer, net
        self._ahead = 1 if one_epoch else _STEPS_AHEAD
        self._adam = isinstance(optimizer, _ADAM)
        if self._adam:
            self.rule = Rule("adam", (optimizer.beta_1, optimizer.beta_2, 0.0, 0.0), 2)
            slots = [optimizer.ms, optimizer.vs]
        else:
            momentum = float(optimizer.momentum)
            nesterov = float(optimizer.nesterov)
            self.rule = Rule("sgd", (momentum, nesterov, 0.0, 0.0), int(momentum > 0))
            slots = [optimizer.velocities] if momentum else []
        self.state = np.zeros((len(slots), net.n_theta), dtype)
        layers = len(net.sizes) - 1
        for slot, arrays in zip(self.state, slots, strict=True):
            net.gather(slot, arrays[:layers], arrays[layers:])
        self._rate = float(optimizer.learning_rate)
        if not self._adam:
            self.state /= -self._rate  # velocities there are steps: minus the learning rate is in
        self._first = -1
        self._table = np.zeros((0, 3))

    @property
    def rests(self) -> bool:
        """Whether the learning rate is zero, of which no velocity can be had."""
        return not self._adam and self._optimizer.learning_rate == 0

    def rates(self, n: int) -> Array:
        """Return the rates (n, 3) of the steps of an epoch, at the learning rate of now."""
        if self._adam:
            return self._adam_rates(int(self._optimizer.t), n)
        rate = float(self._optimizer.learning_rate)
        if rate != self._rate:
            self.state *= self._rate / rate
        if rate != self._rate or len(self._table) != n:
            self._rate = rate
            self._table = np.zeros((n, 3))
            self._table[:, 0] = rate
        return self._table

    def _adam_rates(self, t: int, n: int) -> Array:
        if not self._first <= t <= self._first + len(self._table) - n:
            o, steps = self._optimizer, np.arange(t + 1, t + 1 + max(n, self._ahead))
            self._first, self._table = t, np.zeros((len(steps), 3))
            root = np.sqrt(1 - o.beta_2**steps)
            self._table[:, 0] = o.learning_rate_init * root / (1 - o.beta_1**steps)
            self._table[:, 1] = o.epsilon
        return self._table[t - self._first : t - self._first + n]

    def made(self, steps: int) -> None:
        """Count steps that were made with the last rates."""
        if self._adam and steps:
            o = self._optimizer
            o.t += steps
            o.learning_rate = self._table[o.t - 1 - self._first, 0]

    def forget_rates(self) -> None:
        """Make the next rates anew: the learning rate was set."""
        self._table = np.zeros((0, 3))
        self._first = -1

    def give_back(self) -> None:
        """Let the optimizer object have the state."""
        both = [[*self._net.coefs(slot), *self._net.intercepts(slot)] for slot in self.state]
        if self._adam:
            self._optimizer.ms, self._optimizer.vs = both
        elif both:
            self.state *= -self._rate
            self._optimizer.velocities = both[0]


class _Epochs:
    """Makes the epochs of one fit; those that nnfast cannot make, as scikit-learn does."""

    def __init__(
        self, est: Any, X: Any, y: Any, weight: Any, batch_size: int, lists: list[Any], call: str
    ) -> None:
        extras = _extras(est)
        net = dataclasses.replace(_net(est, extras), dropout=extras.dropout)
        dtype = est.coefs_[0].dtype
        theta = np.empty(net.n_theta, dtype)
        net.gather(theta, est.coefs_, est.intercepts_)
        est.coefs_, est.intercepts_ = net.coefs(theta), net.intercepts(theta)
        self._est, self._lists, self._call = est, lists, call
        self._arrays = X, y, weight
        self._batch_size = batch_size
        self._by_hand = False
        self.solver = _Solver(est._optimizer, net, dtype, call == "partial_fit")
        x = _readable(X, dtype)
        if isinstance(x, np.ndarray) and x.nbytes <= _COPIED:
            x = np.ascontiguousarray(x)
        goal = Goal(net, extras.loss or est.loss, y, dtype)
        weight = None if weight is None else np.ascontiguousarray(weight, dtype)
        data = Data(net, x, goal, weight, float(est.alpha), extras.threads)
        seed = est._random_state.randint(2**31) if any(extras.dropout) else 0
        self._trainer = Trainer(
            data, theta, self.solver.state, self.solver.rule, batch_size, seed=int(seed)
        )

    def make(self, order: Array) -> float:
        """Make an epoch and return the sum over its steps of rows times loss."""
        trainer, first = self._trainer, 0
        if not self._by_hand:
            reason = None
            if self.solver.rests:
                reason = "the learning rate is 0"
            elif trainer.data.weight is not None and not trainer.sums(order).all():
                reason = "the weights of a batch sum to 0"
            else:
                rates = self.solver.rates(trainer.steps_of_epoch)
                try:
                    total = trainer.epoch(order, rates)
                finally:
                    self.solver.made(trainer.made)
                if trainer.finite:
                    return total
                reason, first = "the loss is not finite", trainer.made
            self._take_over(reason)
        return self._epoch_by_hand(order, first)

    def close(self) -> None:
        """Let scikit-learn's objects have the state."""
        if not self._by_hand:
            self.solver.give_back()

    def _take_over(self, reason: str) -> None:
        if _extras(self._est).needed:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        _fall_back(self._est, self._call, f"{reason} in epoch {self._est.n_iter_ + 1}")
        self.close()
        self._by_hand = True

    def _epoch_by_hand(self, order: Array, first: int) -> float:
        """Make the steps of an epoch from `first` on as scikit-learn does."""
        est, (X, y, weight) = self._est, self._arrays
        activations, deltas, coef_grads, intercept_grads = self._lists
        params = est.coefs_ + est.intercepts_
        total = 0.0
        for start in range(first * self._batch_size, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            activations[0] = theirs._safe_indexing(X, rows)
            loss, coef_grads, intercept_grads = est._backprop(
                activations[0],
                y[rows],
                None if weight is None else weight[rows],
                activations,
                deltas,
                coef_grads,
                intercept_grads,
            )
            total += loss * len(rows)
            est._optimizer.update_params(params, coef_grads + intercept_grads)
        return total


def _new_optimizer(est: Any) -> Any:
    params = est.coefs_ + est.intercepts_
    if est.solver == "adam":
        return _ADAM(params, est.learning_rate_init, est.beta_1, est.beta_2, est.epsilon)
    return _SGD(
        params,
        est.learning_rate_init,
        est.learning_rate,
        est.momentum,
        est.nesterovs_momentum,
        est.power_t,
    )


def _fit_stochastic(
    self: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    activations: list[Any],
    deltas: list[Any],
    coef_grads: list[Any],
    intercept_grads: list[Any],
    layer_units: list[int],
    incremental: bool,
) -> None:
    """Train by "sgd" or "adam": scikit-learn's method, but for who makes the steps."""
    call = "partial_fit" if incremental else "fit"
    optimizer = getattr(self, "_optimizer", None) if incremental else None
    reason = _why_not(self)
    if reason is None and self.coefs_[0].dtype != X.dtype:
        reason = f"coefs_ are {self.coefs_[0].dtype} and X is {X.dtype}"
    if reason is None and [len(c) for c in self.coefs_] != [int(n) for n in layer_units[:-1]]:
        reason = "hidden_layer_sizes is not that of coefs_"
    if reason is None and optimizer is not None and type(optimizer) not in (_ADAM, _SGD):
        reason = f"its optimizer is a {type(optimizer).__name__}"
    lists = [activations, deltas, coef_grads, intercept_grads]
    if reason is not None:
        _fall_back(self, call, reason)
        ORIGINALS["BaseMultilayerPerceptron"]["_fit_stochastic"](
            self, X, y, sample_weight, *lists, layer_units, incremental
        )
        return
    _say(self, call)
    if optimizer is None:
        self._optimizer = _new_optimizer(self)
    if self.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    X, y, sample_weight, *held_out = _split(self, X, y, sample_weight)
    n_samples = X.shape[0]
    if self.batch_size == "auto":
        batch_size = min(200, n_samples)
    else:
        if self.batch_size > n_samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=2,
            )
        batch_size = int(np.clip(self.batch_size, 1, n_samples))
    epochs = _Epochs(self, X, y, sample_weight, batch_size, lists, call)
    order = np.arange(n_samples)
    told = _Told(self, epochs.solver)
    try:
        told.begin()
        self.n_iter_ = 0
        for _ in range(self.max_iter):
            told.epoch_begins()
            if self.shuffle:
                shuffled = np.arange(n_samples)
                self._random_state.shuffle(shuffled)
                order = order[shuffled]
            loss = np.float64(epochs.make(order) / n_samples)
            self.n_iter_ += 1
            self.loss_ = loss
            self.t_ += n_samples
            self.loss_curve_.append(loss)
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
            self._update_no_improvement_count(self.early_stopping, *held_out)
            self._optimizer.iteration_ends(self.t_)
            told.epoch_ends()
            if self._no_improvement_count > self.n_iter_no_change:
                if self.early_stopping:
                    what = "Validation score did not improve"
                else:
                    what = "Training loss did not improve"
                message = (
                    f"{what} more than tol={self.tol:f} for {self.n_iter_no_change} "
                    "consecutive epochs."
                )
                if self._optimizer.trigger_stopping(message, self.verbose):
                    break
                self._no_improvement_count = 0
            if incremental or told.to_stop:
                break
            if self.n_iter_ == self.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    theirs.ConvergenceWarning,
                    stacklevel=2,
                )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
    finally:
        epochs.close()
        told.end()
    if self.early_stopping:
        self.coefs_ = self._best_coefs
        self.intercepts_ = self._best_intercepts


def _split(self: Any, X: Any, y: Any, weight: Any) -> list[Any]:
    """Return X, y and weights to train on, and those held out: None without early stopping."""
    given = _extras(self).validation
    if not self.early_stopping or given is not None:
        return [X, y, weight, *(given if self.early_stopping and given else (None, None, None))]
    stratify = y if theirs.is_classifier(self) and self.n_outputs_ == 1 else None
    arrays = [X, y] if weight is None else [X, y, weight]
    parts = theirs.train_test_split(
        *arrays,
        random_state=self._random_state,
        test_size=self.validation_fraction,
        stratify=stratify,
    )
    X, X_val, y, y_val, weight, weight_val = parts if weight is not None else [*parts, None, None]
    if X_val.shape[0] < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    if theirs.is_classifier(self):
        y_val = self._label_binarizer.inverse_transform(y_val)
    return [X, y, weight, X_val, y_val, weight_val]


class _Told:
    """What callbacks are told, and the loss of validation data, epoch by epoch."""

    def __init__(self, est: Any, solver: _Solver) -> None:
        self._est, self._solver = est, solver
        self._extras = _extras(est)
        self._rate: LearningRate | None = None
        self.to_stop = False

    def begin(self) -> None:
        """Training begins."""
        est, callbacks = self._est, self._extras.callbacks
        if self._extras.validation is not None:
            est.validation_loss_curve_ = []
        if not callbacks:
            return
        self._rate = LearningRate(SGD(lr=est.learning_rate_init))
        params = {"epochs": est.max_iter, "initial_epoch": 0, "steps": None}
        for callback in callbacks:
            callback.params, callback.rate, callback.model = params, self._rate, Numbers(est)
            callback.stop_training = False
        for callback in callbacks:
            callback.on_train_begin()

    def epoch_begins(self) -> None:
        """An epoch begins; callbacks may have set its learning rate."""
        if self._rate is None:
            return
        for callback in self._extras.callbacks:
            callback.on_epoch_begin(self._est.n_iter_)
        if self._rate.chosen is not None:
            optimizer = self._est._optimizer
            optimizer.learning_rate = optimizer.learning_rate_init = self._rate.chosen
            self._solver.forget_rates()
            self._rate = LearningRate(SGD(lr=self._rate.chosen))
            for callback in self._extras.callbacks:
                callback.rate = self._rate

    def epoch_ends(self) -> None:
        """An epoch has ended."""
        est, given = self._est, self._extras.validation
        if given is not None:
            est.validation_loss_curve_.append(loss_of(est, *given))
        if not self._extras.callbacks:
            return
        logs = {"loss": float(est.loss_)}
        if given is not None:
            logs["val_loss"] = est.validation_loss_curve_[-1]
        if est.early_stopping:
            score = "val_accuracy" if theirs.is_classifier(est) else "val_r2"
            logs[score] = float(est.validation_scores_[-1])
        for callback in self._extras.callbacks:
            callback.on_epoch_end(est.n_iter_ - 1, logs)
        self.to_stop = any(callback.stop_training for callback in self._extras.callbacks)

    def end(self) -> None:
        """Training has ended, in whichever way."""
        for callback in self._extras.callbacks:
            callback.on_train_end()
            callback.rate = callback.model = None


class Numbers:
    """The numbers of an estimator that is trained, for callbacks: the `model` they see.

    Attributes
    ----------
    estimator
        What is trained.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.buffers = np.empty(0)

    @property
    def theta(self) -> Array:
        """All weights and biases, layer by layer; assigning copies into them."""
        est, net = self.estimator, _net(self.estimator)
        theta = np.empty(net.n_theta, est.coefs_[0].dtype)
        net.gather(theta, est.coefs_, est.intercepts_)
        return theta

    @theta.setter
    def theta(self, values: Array) -> None:
        est, net = self.estimator, _net(self.estimator)
        for to, values_of in zip(est.coefs_, net.coefs(values), strict=True):
            to[...] = values_of
        for to, values_of in zip(est.intercepts_, net.intercepts(values), strict=True):
            to[...] = values_of


def loss_of(est: Any, X: Any, y: Any, weight: Any) -> float:
    """Return the mean loss of data, without penalties; y as `fit` takes it."""
    extras, dtype = _extras(est), est.coefs_[0].dtype
    if theirs.is_classifier(est):
        y = est._label_binarizer.transform(y).astype(bool)
    net = _net(est, extras)
    goal = Goal(net, extras.loss or est.loss, y.reshape(len(y), -1), dtype)
    objective = mlp.Objective(Data(net, _readable(X, dtype), goal, weight, 0.0, None), dtype)
    net.gather(objective.theta, est.coefs_, est.intercepts_)
    return objective()


# --- lbfgs ----------------------------------------------------------------------------------------


def _fit_lbfgs(self: Any, X: Any, y: Any, sample_weight: Any, *lists_and_units: Any) -> None:
    """Let scikit-learn call SciPy, on an objective of nnfast's."""
    reason = _why_not(self)
    if reason is None and sample_weight is not None and sample_weight.sum() == 0:
        reason = "the weights sum to 0"
    original = ORIGINALS["BaseMultilayerPerceptron"]["_fit_lbfgs"]
    if reason is not None:
        _fall_back(self, "fit", reason)
        original(self, X, y, sample_weight, *lists_and_units)
        return
    _say(self, "fit")
    extras = _extras(self)
    net, dtype = _net(self, extras), np.result_type(self.coefs_[0].dtype, X.dtype)
    goal = Goal(net, extras.loss or self.loss, y, dtype)
    data = Data(net, _readable(X, dtype), goal, sample_weight, float(self.alpha), extras.threads)
    objective = mlp.Objective(data, dtype)
    gradients = [*net.coefs(objective.gradient), *net.intercepts(objective.gradient)]

    def loss_grad(packed: Array, *arguments: Any) -> tuple[float, Array]:
        self._unpack(packed)
        net.gather(objective.theta, self.coefs_, self.intercepts_)
        loss = objective()
        if not np.isfinite(loss) and not extras.needed:
            _say(self, "fit", "J is not finite at a point of the search, for that point")
            original_loss_grad = type(self)._loss_grad_lbfgs
            return cast("tuple[float, Array]", original_loss_grad(self, packed, *arguments))
        return loss, np.hstack([gradient.ravel() for gradient in gradients])

    self._loss_grad_lbfgs = loss_grad
    try:
        original(self, X, y, sample_weight, *lists_and_units)
    finally:
        del self._loss_grad_lbfgs


# --- outputs --------------------------------------------------------------------------------------

_FEW_ROWS, _MANY_WEIGHTS = 16, 1 << 17
"""Below so many rows, packing so many weights takes longer than the product."""

_FEW_NUMBERS = 1 << 14
"""Up to so many numbers of X, what a call needs is kept for the next one."""

_KEPT: weakref.WeakKeyDictionary[Any, mlp.Outputs] = weakref.WeakKeyDictionary()


def _outputs(est: Any, X: Any, call: str | None) -> Array:
    """Return the outputs for a checked X, (n, n_out)."""
    extras = _extras(est)
    dtype, reason = None, _why_not(est)
    if reason is None:
        dtype = est.coefs_[0].dtype
        if extras.dtype is None:
            dtype = np.result_type(X.dtype, dtype)
        if dtype.char not in "fd":
            reason = f"X is {X.dtype}"
    few = X.shape[0] < _FEW_ROWS and not extras.needed
    if reason is None and few and sum(coef.size for coef in est.coefs_) > _MANY_WEIGHTS:
        reason = "for few rows of a large network it is as fast"
    if reason is not None or dtype is None:
        _fall_back(est, call, str(reason))
        original = ORIGINALS["BaseMultilayerPerceptron"]["_forward_pass_fast"]
        return cast(Array, original(est, X, check_input=False))
    _say(est, call)
    net = _net(est, extras)
    few = X.size <= _FEW_NUMBERS and type(X) is np.ndarray and type(est).__hash__ is not None
    kept = _KEPT.pop(est, None) if few else None  # away, so that two threads never share it
    threads = backend.resolve_threads(extras.threads)
    if not few:
        all_of_it = mlp.Outputs(net, dtype, _readable(X, dtype), threads)
        return all_of_it(est.coefs_, est.intercepts_)
    if kept is None or not kept.fits(net, dtype, len(X), threads):
        kept = mlp.Outputs(net, dtype, np.empty(X.shape, dtype), threads)
    np.copyto(cast(Array, kept.x), X)
    outputs = kept(est.coefs_, est.intercepts_)
    _KEPT[est] = kept
    return outputs


def _forward_pass_fast(self: Any, X: Any, check_input: bool = True) -> Array:
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
    numbers = X.ravel(order="K")
    return math.isfinite(np.dot(numbers, numbers))  # too large ones are looked at again


def _checked_outputs(est: Any, X: Any, call: str) -> Array:
    if not _is_plain(est, X):
        theirs.check_is_fitted(est)
        X = theirs.validate_data(est, X, accept_sparse=["csr", "csc"], reset=False)
    return _outputs(est, X, call)


def _has_usual_methods(est: Any) -> bool:
    cls: Any = type(est)
    return _usual_methods(cls)


@functools.lru_cache(maxsize=256)
def _usual_methods(cls: Any) -> bool:
    kind = CLASSIFIER if issubclass(cls, CLASSIFIER) else REGRESSOR
    mine = {"_predict": kind._predict, "_forward_pass_fast": _forward_pass_fast}
    return all(getattr(cls, name) is method for name, method in mine.items())


def _predict_classes(self: Any, X: Any) -> Array:
    """Return the classes of the rows."""
    if not _has_usual_methods(self):
        return cast(Array, ORIGINALS["MLPClassifier"]["predict"](self, X))
    outputs = _checked_outputs(self, X, "predict")
    binarizer = self._label_binarizer
    classes = binarizer.classes_
    if not binarizer.sparse_input_ and binarizer.y_type_ == "multiclass":
        return cast(Array, classes[outputs.argmax(axis=1)])
    if not binarizer.sparse_input_ and binarizer.y_type_ == "binary" and len(classes) == 2:
        return cast(Array, classes[(outputs[:, 0] > 0.5).astype(np.intp)])
    column = outputs.ravel() if self.n_outputs_ == 1 else outputs
    return cast(Array, binarizer.inverse_transform(column))


def _predict_proba(self: Any, X: Any) -> Array:
    """Return the probabilities of the classes."""
    if not _has_usual_methods(self):
        return cast(Array, ORIGINALS["MLPClassifier"]["predict_proba"](self, X))
    outputs = _checked_outputs(self, X, "predict_proba")
    return outputs if self.n_outputs_ > 1 else np.hstack([1 - outputs, outputs])


def _predict_numbers(self: Any, X: Any) -> Array:
    """Return the values of the rows."""
    if not _has_usual_methods(self):
        return cast(Array, ORIGINALS["MLPRegressor"]["predict"](self, X))
    outputs = _checked_outputs(self, X, "predict")
    return outputs.ravel() if outputs.shape[1] == 1 else outputs


Methods = dict[str, dict[str, Callable[..., Any]]]

METHODS: Methods = {
    "BaseMultilayerPerceptron": {
        "_fit_stochastic": _fit_stochastic,
        "_fit_lbfgs": _fit_lbfgs,
        "_forward_pass_fast": _forward_pass_fast,
    },
    "MLPClassifier": {"predict": _predict_classes, "predict_proba": _predict_proba},
    "MLPRegressor": {"predict": _predict_numbers},
}
"""What nnfast has in place of scikit-learn's methods, by the class that defines them."""

ORIGINALS: Methods = {
    cls: {name: vars(getattr(theirs, cls))[name] for name in methods}
    for cls, methods in METHODS.items()
}
for _cls, _methods in METHODS.items():
    for _name, _method in _methods.items():
        functools.update_wrapper(_method, ORIGINALS[_cls][_name])
