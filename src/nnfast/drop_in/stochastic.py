"""`_fit_stochastic`: scikit-learn's loop of epochs, their stopping, words and warnings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from nnfast.drop_in.callbacks import CallbackList
from nnfast.drop_in.epochs import Epochs
from nnfast.drop_in.estimator import extras_of
from nnfast.drop_in.fallback import falls_back, runs_on_nnfast, why_not
from nnfast.drop_in.optimizer import is_known, new_optimizer
from nnfast.drop_in.scikit_learn import BASE, theirs
from nnfast.plan import Array

_their_fit_stochastic = BASE._fit_stochastic


def fit_stochastic(
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
    lists = [activations, deltas, coef_grads, intercept_grads]
    optimizer = getattr(self, "_optimizer", None) if incremental else None
    reason = why_not(self) or _why_not_these(self, X, layer_units, optimizer)
    if reason is not None:
        falls_back(self, call, reason)
        _their_fit_stochastic(self, X, y, sample_weight, *lists, layer_units, incremental)
        return
    runs_on_nnfast(self, call)
    if optimizer is None:
        self._optimizer = new_optimizer(self)
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
    epochs = Epochs(self, X, y, sample_weight, batch_size, lists, call)
    order = np.arange(n_samples)

    def next_order() -> Array:
        nonlocal order
        if self.shuffle:
            shuffled = np.arange(n_samples)
            self._random_state.shuffle(shuffled)
            order = order[shuffled]
        return order

    callbacks = CallbackList(self, epochs.optimizer)
    watched = incremental or callbacks.watch or _watches(self)
    try:
        callbacks.on_train_begin()
        self.n_iter_ = 0
        for _ in range(self.max_iter):
            callbacks.on_epoch_begin()
            follow = (
                not watched
                and self._no_improvement_count == 0
                and self.n_iter_ + epochs.at_once <= self.max_iter
            )
            loss = np.float64(epochs.make(next_order, follow) / n_samples)
            self.n_iter_ += 1
            self.loss_ = loss
            self.t_ += n_samples
            self.loss_curve_.append(loss)
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
            self._update_no_improvement_count(self.early_stopping, *held_out)
            self._optimizer.iteration_ends(self.t_)
            callbacks.on_epoch_end()
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
            if incremental or callbacks.to_stop:
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
        callbacks.on_train_end()
    if self.early_stopping:
        self.coefs_ = self._best_coefs
        self.intercepts_ = self._best_intercepts


def _why_not_these(est: Any, X: Any, layer_units: list[int], optimizer: Any) -> str | None:
    """Return why nnfast cannot go on with these weights and this optimizer, None if it can."""
    if est.coefs_[0].dtype != X.dtype:
        return f"coefs_ are {est.coefs_[0].dtype} and X is {X.dtype}"
    if [len(coef) for coef in est.coefs_] != [int(n) for n in layer_units[:-1]]:
        return "hidden_layer_sizes is not that of coefs_"
    if optimizer is not None and not is_known(optimizer):
        return f"its optimizer is a {type(optimizer).__name__}"
    return None


def _watches(est: Any) -> bool:
    """Whether what an epoch does depends on the one before, or is shown at once."""
    return bool(
        est.verbose
        or est.early_stopping
        or est.learning_rate == "invscaling"
        or type(est)._update_no_improvement_count is not BASE._update_no_improvement_count
    )


def _split(est: Any, X: Any, y: Any, weight: Any) -> list[Any]:
    """Return X, y and weights to train on, and those held out: None without early stopping."""
    if not est.early_stopping:
        return [X, y, weight, None, None, None]
    given = extras_of(est).validation
    if given is not None:
        return [X, y, weight, *given]
    classifies = theirs.is_classifier(est)
    arrays = [X, y] if weight is None else [X, y, weight]
    parts = theirs.train_test_split(
        *arrays,
        random_state=est._random_state,
        test_size=est.validation_fraction,
        stratify=y if classifies and est.n_outputs_ == 1 else None,
    )
    X, X_val, y, y_val, weight, weight_val = parts if weight is not None else [*parts, None, None]
    if X_val.shape[0] < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    if classifies:
        y_val = est._label_binarizer.inverse_transform(y_val)
    return [X, y, weight, X_val, y_val, weight_val]
