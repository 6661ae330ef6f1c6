"""Optimizers: settings only. Their state belongs to the network, their arithmetic to a backend.

The rules and defaults are PyTorch's. A backend gets, per step, a step size and an epsilon that are
already corrected (`rates`), so schedules and bias corrections are a choice of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nnfast import checks


class Optimizer(Protocol):
    """What training needs of an optimizer."""

    name: ClassVar[str]

    @property
    def n_slots(self) -> int:
        """Vectors of theta's size that the rule keeps."""

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """The numbers of the rule that do not change from step to step."""

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return step size and epsilon of `n` steps, shape (n, 2)."""


NAMES = ("sgd", "adam")
"""In the order of csrc/nnfast.h."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: ``theta -= lr * g``.

    With momentum, ``v = momentum * v + g`` takes the place of g, or, with Nesterov's,
    ``g + momentum * v``.

    Parameters
    ----------
    lr : float
        Learning rate, > 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs momentum > 0.
    weight_decay : float
        >= 0; ``weight_decay * theta`` is added to the gradient.
    """

    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        _check_common(self.lr, self.weight_decay)
        _check_fraction("momentum", self.momentum)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True: expected momentum > 0, got 0; try momentum=0.9")

    @property
    def n_slots(self) -> int:
        """1 with momentum, else 0."""
        return int(self.momentum > 0)

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """momentum, nesterov, weight_decay, 0."""
        return float(self.momentum), float(self.nesterov), float(self.weight_decay), 0.0

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return (lr, 0) for each step, shape (n, 2)."""
        return np.tile([float(self.lr), 0.0], (n, 1))


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1).

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g g``; with both corrected for their start
    from zero, ``theta -= lr * m / (sqrt(v) + eps)``.

    Parameters
    ----------
    lr : float
        Learning rate, > 0.
    betas : tuple of two floats
        b1 and b2, each in [0, 1).
    eps : float
        >= 0.
    weight_decay : float
        >= 0; ``weight_decay * theta`` is added to the gradient.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    name: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        _check_common(self.lr, self.weight_decay)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise TypeError(f"betas: expected two numbers in [0, 1), got {self.betas!r}")
        object.__setattr__(self, "betas", tuple(self.betas))
        for beta in self.betas:
            _check_fraction("betas", beta)
        checks.number("eps", self.eps, "a number >= 0", lambda v: 0 <= v < math.inf)

    @property
    def n_slots(self) -> int:
        """2: m and v."""
        return 2

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """b1, b2, weight_decay, 0."""
        return float(self.betas[0]), float(self.betas[1]), float(self.weight_decay), 0.0

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return lr sqrt(1 - b2**t) / (1 - b1**t) and eps sqrt(1 - b2**t), shape (n, 2)."""
        t = np.arange(first_step + 1, first_step + n + 1)
        root = np.sqrt(1 - _power(self.betas[1], t))
        rates = np.empty((n, 2))
        rates[:, 0] = self.lr * root / (1 - _power(self.betas[0], t))
        rates[:, 1] = self.eps * root
        return rates


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {cls.name: cls for cls in (SGD, Adam)}


def get(optimizer: Any) -> Optimizer:
    """Return an optimizer for None (SGD with its defaults), a name, or an optimizer.

    Raises
    ------
    TypeError, ValueError
        Anything else.
    """
    if optimizer is None:
        return SGD()
    if isinstance(optimizer, SGD | Adam):
        return optimizer
    if isinstance(optimizer, type):
        name = optimizer.__name__
        raise TypeError(f"optimizer: expected an object, got the class {name}; write {name}()")
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise checks.unknown("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[optimizer]()


def _check_common(lr: float, weight_decay: float) -> None:
    checks.number("lr", lr, "a finite number > 0", lambda v: 0 < v < math.inf)
    checks.number("weight_decay", weight_decay, "a number >= 0", lambda v: 0 <= v < math.inf)


def _check_fraction(name: str, value: float) -> None:
    checks.number(name, value, "a number in [0, 1)", lambda v: 0 <= v < 1)


def _power(beta: float, t: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return beta**t for ascending t >= 0, by multiplications alone: no bit depends on a libm."""
    low = np.ones(256)
    low[1:] = beta
    low = np.multiply.accumulate(low)
    high = np.ones(t[-1] // 256 + 1)
    high[1:] = low[-1] * beta
    powers: NDArray[np.float64] = np.multiply.accumulate(high)[t // 256] * low[t % 256]
    return powers
