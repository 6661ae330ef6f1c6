"""Learning rates that change: functions of the step, counted from 0 over all fits of a network.

Any callable of the step will do in their place; these can be compared, printed and pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnfast import checks

LearningRate = float | Callable[[int], float]
"""A number > 0, or a function of the step."""


@dataclass(frozen=True)
class StepDecay:
    """``lr * factor ** (step // every)``."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check(self.lr)
        checks.integer("every", self.every, 1)
        checks.number("factor", self.factor, "a number in (0, 1]", lambda v: 0 < v <= 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step."""
        return float(self.lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class ExponentialDecay:
    """``lr * rate ** (step / steps)``: by `rate` every `steps` steps, smoothly."""

    lr: float
    steps: int
    rate: float = 0.5

    def __post_init__(self) -> None:
        _check(self.lr)
        checks.integer("steps", self.steps, 1)
        checks.number("rate", self.rate, "a number in (0, 1]", lambda v: 0 < v <= 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step."""
        return float(self.lr * self.rate ** (step / self.steps))


@dataclass(frozen=True)
class CosineDecay:
    """Half a cosine from `lr` down to ``lr * end`` in `steps` steps (arXiv 1608.03983, eq. 5)."""

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _check(self.lr)
        checks.integer("steps", self.steps, 1)
        checks.number("end", self.end, "a number in [0, 1]", lambda v: 0 <= v <= 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step."""
        share = (1 + math.cos(math.pi * min(step / self.steps, 1))) / 2
        return self.lr * (self.end + (1 - self.end) * share)


@dataclass(frozen=True)
class InverseScaling:
    """``lr / (1 + step / steps) ** power``.

    For 1/2 < power <= 1 the steps sum to infinity and their squares do not: stochastic descent
    converges (Robbins and Monro, 1951).
    """

    lr: float
    power: float = 0.5
    steps: int = 1

    def __post_init__(self) -> None:
        _check(self.lr)
        checks.number("power", self.power, "a number >= 0", lambda v: 0 <= v < math.inf)
        checks.integer("steps", self.steps, 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step."""
        return float(self.lr / (1 + step / self.steps) ** self.power)


@dataclass(frozen=True)
class WarmUp:
    """A straight line from ``1 / steps`` of `lr` to all of it in `steps` steps, then `lr`.

    `lr` is a number or another schedule, whose own count begins with the first step.
    """

    lr: LearningRate
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.lr):
            _check(self.lr)
        checks.integer("steps", self.steps, 1)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step."""
        lr = self.lr(step) if callable(self.lr) else self.lr
        return lr * min((step + 1) / self.steps, 1)


def checked(lr: object) -> None:
    """Raise unless `lr` is a learning rate: TypeError or ValueError."""
    if not callable(lr) or isinstance(lr, type):
        _check(lr)


def steps_of(lr: LearningRate, first: int, n: int) -> NDArray[np.float64]:
    """Return the learning rates of `n` steps from `first` on, shape (n,).

    Raises
    ------
    TypeError, ValueError
        A schedule has returned something else than a finite number >= 0.
    """
    if not callable(lr):
        return np.full(n, lr, np.float64)
    rates = np.empty(n)
    for i in range(n):
        rate = lr(first + i)
        expected = "a schedule that returns finite numbers >= 0"
        checks.number(f"lr at step {first + i}", rate, expected, lambda v: 0 <= v < math.inf)
        rates[i] = rate
    return rates


def _check(lr: object) -> None:
    checks.number("lr", lr, "a finite number > 0, or a schedule", lambda v: 0 < v < math.inf)
