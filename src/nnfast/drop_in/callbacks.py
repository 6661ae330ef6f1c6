"""Callbacks and validation data in a fit, which scikit-learn does not have."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast.callbacks import LearningRate
from nnfast.drop_in.estimator import extras_of, net_of, readable
from nnfast.drop_in.loss import Goal
from nnfast.drop_in.network import copy_layers
from nnfast.drop_in.objective import Objective
from nnfast.drop_in.optimizer import OptimizerState
from nnfast.drop_in.scikit_learn import theirs
from nnfast.drop_in.trainer import Data
from nnfast.optimizers import SGD
from nnfast.plan import Array


class CallbackList:
    """Tells the callbacks of a fit where it is; adds to `validation_loss_curve_`.

    Attributes
    ----------
    to_stop : bool
        Whether a callback wants training to end.
    """

    def __init__(self, est: Any, optimizer: OptimizerState) -> None:
        self._est, self._optimizer = est, optimizer
        extras = extras_of(est)
        self._callbacks, self._validation = extras.callbacks, extras.validation
        self._rate: LearningRate | None = None
        self.to_stop = False

    @property
    def watch(self) -> bool:
        """Whether there is anything to do at an epoch's end."""
        return bool(self._callbacks) or self._validation is not None

    def on_train_begin(self) -> None:
        """Training begins."""
        est = self._est
        if self._validation is not None:
            est.validation_loss_curve_ = []
        if not self._callbacks:
            return
        self._rate = LearningRate(SGD(lr=est.learning_rate_init))
        params = {"epochs": est.max_iter, "initial_epoch": 0, "steps": None}
        for callback in self._callbacks:
            callback.params, callback.rate, callback.model = params, self._rate, Numbers(est)
            callback.stop_training = False
        for callback in self._callbacks:
            callback.on_train_begin()

    def on_epoch_begin(self) -> None:
        """An epoch begins; callbacks may have set its learning rate."""
        if self._rate is None:
            return
        for callback in self._callbacks:
            callback.on_epoch_begin(self._est.n_iter_)
        if self._rate.chosen is not None:
            theirs_ = self._est._optimizer
            theirs_.learning_rate = theirs_.learning_rate_init = self._rate.chosen
            self._optimizer.forget_rates()
            self._rate = LearningRate(SGD(lr=self._rate.chosen))
            for callback in self._callbacks:
                callback.rate = self._rate

    def on_epoch_end(self) -> None:
        """An epoch has ended."""
        est, given = self._est, self._validation
        if given is not None:
            est.validation_loss_curve_.append(loss_of(est, *given))
        if not self._callbacks:
            return
        logs = {"loss": float(est.loss_)}
        if given is not None:
            logs["val_loss"] = est.validation_loss_curve_[-1]
        if est.early_stopping:
            score = "val_accuracy" if theirs.is_classifier(est) else "val_r2"
            logs[score] = float(est.validation_scores_[-1])
        for callback in self._callbacks:
            callback.on_epoch_end(est.n_iter_ - 1, logs)
        self.to_stop = any(callback.stop_training for callback in self._callbacks)

    def on_train_end(self) -> None:
        """Training has ended, in whichever way."""
        for callback in self._callbacks:
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
        est, net = self.estimator, net_of(self.estimator)
        theta = np.empty(net.n_theta, est.coefs_[0].dtype)
        net.gather(theta, est.coefs_, est.intercepts_)
        return theta

    @theta.setter
    def theta(self, values: Array) -> None:
        est = self.estimator
        arrays = list(zip(est.coefs_, est.intercepts_, strict=True))
        net = net_of(est)
        copy_layers(arrays, net.coefs(values), net.intercepts(values))


def loss_of(est: Any, X: Any, y: Any, weight: Any) -> float:
    """Return the mean loss of data, without penalties; y as `fit` takes it."""
    extras, dtype = extras_of(est), est.coefs_[0].dtype
    if theirs.is_classifier(est):
        y = est._label_binarizer.transform(y).astype(bool)
    net = net_of(est, extras)
    goal = Goal(net, extras.loss or est.loss, y.reshape(len(y), -1), dtype)
    data = Data(net, readable(X, dtype), goal, weight, 0.0, extras.threads)
    objective = Objective(data, dtype)
    net.gather(objective.theta, est.coefs_, est.intercepts_)
    return objective()
