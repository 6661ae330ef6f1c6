"""The epochs of "sgd" and "adam": on nnfast, and from where it cannot go on, by scikit-learn."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from nnfast.drop_in.estimator import extras_of, net_of, readable
from nnfast.drop_in.fallback import falls_back
from nnfast.drop_in.loss import Goal
from nnfast.drop_in.optimizer import OptimizerState
from nnfast.drop_in.scikit_learn import theirs
from nnfast.drop_in.trainer import Data, Trainer
from nnfast.plan import Array

_ROWS_AT_ONCE = 4096
"""Rows of the epochs that one run makes: for so few a run costs more than a step."""
_COPIED = 1 << 28
"""Bytes of X up to which rows that lie apart are laid together for a fit."""


class Epochs:
    """Makes the epochs of one fit.

    Parameters
    ----------
    est
        Whose `coefs_` and `intercepts_` become views into theta.
    X, y, weight : array or sparse matrix, array, array or None
        What scikit-learn has checked.
    batch_size : int
    lists : list
        Activations, deltas and gradients: the buffers of scikit-learn's `_backprop`.
    call : str
        The method, for the log.

    Attributes
    ----------
    optimizer : OptimizerState
    at_once : int
        Epochs that are made in one go where so many follow, whatever their losses are.
    """

    def __init__(
        self, est: Any, X: Any, y: Any, weight: Any, batch_size: int, lists: list[Any], call: str
    ) -> None:
        extras = extras_of(est)
        net = dataclasses.replace(net_of(est, extras), dropout=extras.dropout)
        dtype = est.coefs_[0].dtype
        theta = np.empty(net.n_theta, dtype)
        net.gather(theta, est.coefs_, est.intercepts_)
        est.coefs_, est.intercepts_ = net.coefs(theta), net.intercepts(theta)
        self._est, self._lists, self._call = est, lists, call
        self._arrays = X, y, weight
        self._batch_size = batch_size
        self._by_hand = False
        self._orders: deque[Array] = deque()
        self._totals: deque[float] = deque()
        self.at_once = 1
        if batch_size == X.shape[0] and weight is None:
            most = min(est.max_iter, est.n_iter_no_change + 1, _ROWS_AT_ONCE // batch_size)
            self.at_once = max(1, int(most))
        self.optimizer = OptimizerState(est._optimizer, net, dtype, call == "partial_fit")
        x = readable(X, dtype)
        if isinstance(x, np.ndarray) and x.nbytes <= _COPIED:
            x = np.ascontiguousarray(x)
        goal = Goal(net, extras.loss or est.loss, y, dtype)
        weight = None if weight is None else np.ascontiguousarray(weight, dtype)
        data = Data(net, x, goal, weight, float(est.alpha), extras.threads)
        seed = est._random_state.randint(2**31) if any(extras.dropout) else 0
        state, rule = self.optimizer.state, self.optimizer.rule
        self._trainer = Trainer(data, theta, state, rule, batch_size, seed=int(seed))

    def make(self, next_order: Callable[[], Array], follow: bool) -> float:
        """Make an epoch and return the sum over its steps of rows times loss.

        `next_order` returns the order of the rows in an epoch; `follow` says that `at_once` epochs
        are made from this one on, whatever their losses are.
        """
        if follow and self.at_once > 1 and not (self._by_hand or self._orders):
            self._make_several([next_order() for _ in range(self.at_once)])
        order = self._orders.popleft() if self._orders else next_order()
        return self._totals.popleft() if self._totals else self._make(order)

    def _make_several(self, orders: list[Array]) -> None:
        """Make epochs before they are asked for; where that fails, their orders wait."""
        self._orders.extend(orders)
        if not self.optimizer.rests:
            self._totals.extend(self._trained(orders))

    def _make(self, order: Array) -> float:
        trainer, first = self._trainer, 0
        if not self._by_hand:
            reason = self._why_not(order)
            if reason is None:
                totals = self._trained([order])
                if trainer.finite:
                    return totals[0]
                reason, first = "the loss is not finite", trainer.made
            self._take_over(reason)
        return self._epoch_by_hand(order, first)

    def close(self) -> None:
        """Let scikit-learn's objects have the state."""
        if not self._by_hand:
            self.optimizer.give_back()

    def _why_not(self, order: Array) -> str | None:
        if self.optimizer.rests:
            return "the learning rate is 0"
        if self._trainer.data.weight is not None and not self._trainer.sums(order).all():
            return "the weights of a batch sum to 0"
        return None

    def _trained(self, orders: list[Array]) -> list[float]:
        trainer = self._trainer
        rates = self.optimizer.rates(len(orders) * trainer.steps_of_epoch)
        try:
            return trainer.epochs(np.stack(orders), rates)
        finally:
            self.optimizer.made(trainer.made)

    def _take_over(self, reason: str) -> None:
        if not self._trainer.finite and extras_of(self._est).needed:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        falls_back(self._est, self._call, f"{reason} in epoch {self._est.n_iter_ + 1}")
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
