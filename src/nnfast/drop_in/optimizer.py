"""scikit-learn's optimizer objects as update rule, state and step sizes, and back again."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast.drop_in.network import Net
from nnfast.drop_in.scikit_learn import theirs
from nnfast.drop_in.trainer import Rule
from nnfast.plan import Array

_STEPS_AHEAD = 1000
"""Steps whose rates are computed at a time."""


def new_optimizer(est: Any) -> Any:
    """Return scikit-learn's optimizer object for an estimator with its first weights."""
    params = est.coefs_ + est.intercepts_
    if est.solver == "adam":
        return theirs.AdamOptimizer(
            params, est.learning_rate_init, est.beta_1, est.beta_2, est.epsilon
        )
    return theirs.SGDOptimizer(
        params,
        est.learning_rate_init,
        est.learning_rate,
        est.momentum,
        est.nesterovs_momentum,
        est.power_t,
    )


def is_known(optimizer: Any) -> bool:
    """Whether it is of one of scikit-learn's two classes."""
    return type(optimizer) in (theirs.AdamOptimizer, theirs.SGDOptimizer)


class OptimizerState:
    """What a backend needs of an optimizer object, kept apart from it while epochs are made.

    Parameters
    ----------
    optimizer
        scikit-learn's.
    net : Net
    dtype : numpy.dtype
    one_epoch : bool
        Whether no second epoch follows, as in partial_fit.

    Attributes
    ----------
    rule : Rule
    state : ndarray, shape (n_slots, n_theta)
        Of the backend, which changes it in place.
    """

    def __init__(self, optimizer: Any, net: Net, dtype: np.dtype[Any], one_epoch: bool) -> None:
        self._optimizer, self._net = optimizer, net
        self._ahead = 1 if one_epoch else _STEPS_AHEAD
        self._adam = isinstance(optimizer, theirs.AdamOptimizer)
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
        self._first = -1
        self._table = np.zeros((0, 3))

    def give_back(self) -> None:
        """Let the optimizer object have the state."""
        both = [[*self._net.coefs(slot), *self._net.intercepts(slot)] for slot in self.state]
        if self._adam:
            self._optimizer.ms, self._optimizer.vs = both
        elif both:
            self.state *= -self._rate
            self._optimizer.velocities = both[0]
