"""`_fit_lbfgs`: SciPy's solver, called by scikit-learn, on an objective of nnfast's."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from nnfast.drop_in.estimator import extras_of, net_of, readable
from nnfast.drop_in.fallback import falls_back, runs_on_nnfast, why_not
from nnfast.drop_in.loss import Goal
from nnfast.drop_in.objective import Objective
from nnfast.drop_in.scikit_learn import BASE
from nnfast.drop_in.trainer import Data
from nnfast.plan import Array

_their_fit_lbfgs = BASE._fit_lbfgs


def fit_lbfgs(self: Any, X: Any, y: Any, sample_weight: Any, *lists_and_units: Any) -> None:
    """Train by "lbfgs": scikit-learn's method, but for who computes J and its gradient."""
    reason = why_not(self)
    if reason is None and sample_weight is not None and sample_weight.sum() == 0:
        reason = "the weights sum to 0"
    if reason is not None:
        falls_back(self, "fit", reason)
        _their_fit_lbfgs(self, X, y, sample_weight, *lists_and_units)
        return
    runs_on_nnfast(self, "fit")
    extras = extras_of(self)
    net, dtype = net_of(self, extras), np.result_type(self.coefs_[0].dtype, X.dtype)
    goal = Goal(net, extras.loss or self.loss, y, dtype)
    data = Data(net, readable(X, dtype), goal, sample_weight, float(self.alpha), extras.threads)
    objective = Objective(data, dtype)
    gradients = [*net.coefs(objective.gradient), *net.intercepts(objective.gradient)]

    def loss_grad(packed: Array, *arguments: Any) -> tuple[float, Array]:
        self._unpack(packed)
        net.gather(objective.theta, self.coefs_, self.intercepts_)
        loss = objective()
        if not np.isfinite(loss) and not extras.needed:
            falls_back(self, "fit", "J is not finite at a point of the search, for that point")
            their_loss_grad = type(self)._loss_grad_lbfgs
            return cast("tuple[float, Array]", their_loss_grad(self, packed, *arguments))
        return loss, np.hstack([gradient.ravel() for gradient in gradients])

    self._loss_grad_lbfgs = loss_grad
    try:
        _their_fit_lbfgs(self, X, y, sample_weight, *lists_and_units)
    finally:
        del self._loss_grad_lbfgs
