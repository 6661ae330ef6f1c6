"""Optimizers: settings only. Their state belongs to the network, their arithmetic to a backend.

The rules and defaults are PyTorch's. A backend gets, per step, a step size and an epsilon that are
already corrected (`rates`), so schedules and bias corrections are a choice of numbers. `lr` is a
number or a schedule, see `nnfast.schedules`; all take `clip_value` and `clip_norm`, see `Clipping`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nnfast import checks, schedules
from nnfast.schedules import LearningRate

Constants = tuple[float, float, float, float]


class Optimizer(Protocol):
    """What training needs of an optimizer."""

    name: ClassVar[str]

    @property
    def lr(self) -> Any:
        """Learning rate: a number, or a function of the step."""

    @property
    def clip_value(self) -> float | None:
        """Bound of each number of the gradient."""

    @property
    def clip_norm(self) -> float | None:
        """Bound of the gradient's norm."""

    @property
    def constants(self) -> Constants:
        """The numbers of the rule that do not change from step to step."""

    @property
    def first_slots(self) -> tuple[float, ...]:
        """What each slot is filled with at first."""

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return step size, epsilon and shrinkage of `n` steps, shape (n, 3).

        Shrinkage is the share of theta that a step takes away beside the rule.
        """


NAMES = ("sgd", "adam", "adamw", "adagrad", "rmsprop", "rprop")
"""In the order of csrc/nnfast.h."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Clipping:
    """What all optimizers can do to a gradient before their rule sees it.

    Parameters
    ----------
    clip_value : float or None
        Bound of each number: ``g = clip(g, -clip_value, clip_value)``.
    clip_norm : float or None
        Bound of the norm of the whole gradient, all layers': ``g *= min(1, clip_norm / (|g| +
        1e-6))`` (Pascanu et al., arXiv 1211.5063; PyTorch's clip_grad_norm_). One of the two.
    """

    clip_value: float | None = None
    clip_norm: float | None = None

    def __repr__(self) -> str:
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        clipping = {name: settings.pop(name) for name in ("clip_value", "clip_norm")}
        settings |= {name: bound for name, bound in clipping.items() if bound is not None}
        listed = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}({listed})"

    def _check_clipping(self) -> None:
        for name in ("clip_value", "clip_norm"):
            if (bound := getattr(self, name)) is not None:
                checks.number(name, bound, "a finite number > 0", lambda v: 0 < v < math.inf)
        if self.clip_value is not None and self.clip_norm is not None:
            raise ValueError("clipping: expected clip_value or clip_norm, got both; leave one out")


@dataclass(frozen=True, repr=False)
class SGD(Clipping):
    """Stochastic gradient descent: ``theta -= lr * g``.

    With momentum, ``v = momentum * v + g`` takes the place of g, or, with Nesterov's,
    ``g + momentum * v``.

    Parameters
    ----------
    lr : float or callable
        Learning rate, > 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Needs momentum > 0.
    weight_decay : float
        >= 0; ``weight_decay * theta`` is added to the gradient.
    """

    lr: LearningRate = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        self._check_clipping()
        _check_common(self.lr, self.weight_decay)
        _check_fraction("momentum", self.momentum)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True: expected momentum > 0, got 0; try momentum=0.9")

    @property
    def constants(self) -> Constants:
        """momentum, nesterov, weight_decay, 0."""
        return float(self.momentum), float(self.nesterov), float(self.weight_decay), 0.0

    @property
    def first_slots(self) -> tuple[float, ...]:
        """V with momentum."""
        return (0.0,) if self.momentum else ()

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return (lr, 0, 0) for each step, shape (n, 3)."""
        return _rates(schedules.steps_of(self.lr, first_step, n))


@dataclass(frozen=True, repr=False)
class Adam(Clipping):
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1).

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g g``; with both corrected for their start
    from zero, ``theta -= lr * m / (sqrt(v) + eps)``.

    Parameters
    ----------
    lr : float or callable
        Learning rate, > 0.
    betas : tuple of two floats
        b1 and b2, each in [0, 1).
    eps : float
        >= 0.
    weight_decay : float
        >= 0; ``weight_decay * theta`` is added to the gradient.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    name: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        self._check_clipping()
        _check_common(self.lr, self.weight_decay)
        _check_eps(self.eps)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise TypeError(f"betas: expected two numbers in [0, 1), got {self.betas!r}")
        object.__setattr__(self, "betas", tuple(self.betas))
        for beta in self.betas:
            _check_fraction("betas", beta)

    @property
    def constants(self) -> Constants:
        """b1, b2, weight_decay, 0."""
        return float(self.betas[0]), float(self.betas[1]), float(self.weight_decay), 0.0

    @property
    def first_slots(self) -> tuple[float, ...]:
        """M and v."""
        return 0.0, 0.0

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return lr sqrt(1 - b2**t) / (1 - b1**t), eps sqrt(1 - b2**t) and 0, shape (n, 3)."""
        t = np.arange(first_step + 1, first_step + n + 1)
        root = np.sqrt(1 - _power(self.betas[1], t))
        lr = schedules.steps_of(self.lr, first_step, n)
        return _rates(lr * root / (1 - _power(self.betas[0], t)), self.eps * root)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with a decay apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101).

    ``theta -= lr * weight_decay * theta``, then Adam's step. Parameters as in `Adam`.
    """

    weight_decay: float = 0.01
    name: ClassVar[str] = "adamw"

    @property
    def constants(self) -> Constants:
        """b1, b2, 0, 0."""
        return float(self.betas[0]), float(self.betas[1]), 0.0, 0.0

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return Adam's step size and epsilon, and lr weight_decay, shape (n, 3)."""
        rates = super().rates(first_step, n)
        rates[:, 2] = schedules.steps_of(self.lr, first_step, n) * self.weight_decay
        return rates


@dataclass(frozen=True, repr=False)
class Adagrad(Clipping):
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011).

    ``v += g g``, ``theta -= lr / (1 + t lr_decay) * g / (sqrt(v) + eps)``, t from 0.

    Parameters
    ----------
    lr : float or callable
        Learning rate, > 0.
    lr_decay : float
        >= 0.
    weight_decay : float
        >= 0; ``weight_decay * theta`` is added to the gradient.
    initial_accumulator_value : float
        >= 0: v at first.
    eps : float
        >= 0.
    """

    lr: LearningRate = 0.01
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    name: ClassVar[str] = "adagrad"

    def __post_init__(self) -> None:
        self._check_clipping()
        _check_common(self.lr, self.weight_decay)
        _check_eps(self.eps)
        for name in ("lr_decay", "initial_accumulator_value"):
            checks.number(name, getattr(self, name), "a number >= 0", lambda v: 0 <= v < math.inf)

    @property
    def constants(self) -> Constants:
        """0, 0, weight_decay, 0."""
        return 0.0, 0.0, float(self.weight_decay), 0.0

    @property
    def first_slots(self) -> tuple[float, ...]:
        """V."""
        return (float(self.initial_accumulator_value),)

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return lr / (1 + t lr_decay), eps and 0, shape (n, 3)."""
        t = np.arange(first_step, first_step + n)
        return _rates(
            schedules.steps_of(self.lr, first_step, n) / (1 + t * self.lr_decay), self.eps
        )


@dataclass(frozen=True, repr=False)
class RMSprop(Clipping):
    """RMSprop (Tieleman and Hinton, 2012), centred after Graves (arXiv 1308.0850, eq. 38).

    ``v = alpha v + (1 - alpha) g g``, centred less the square of a like mean of g;
    ``u = g / (sqrt(v) + eps)``, with momentum ``u = momentum * u_before + u``; ``theta -= lr * u``.

    Parameters
    ----------
    lr : float or callable
        Learning rate, > 0.
    alpha : float
        In [0, 1).
    eps : float
        >= 0.
    weight_decay : float
        >= 0; ``weight_decay * theta`` is added to the gradient.
    momentum : float
        In [0, 1).
    centered : bool
    """

    lr: LearningRate = 0.01
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    name: ClassVar[str] = "rmsprop"

    def __post_init__(self) -> None:
        self._check_clipping()
        _check_common(self.lr, self.weight_decay)
        _check_eps(self.eps)
        _check_fraction("alpha", self.alpha)
        _check_fraction("momentum", self.momentum)

    @property
    def constants(self) -> Constants:
        """alpha, momentum, weight_decay, centered."""
        decay = float(self.weight_decay)
        return float(self.alpha), float(self.momentum), decay, float(self.centered)

    @property
    def first_slots(self) -> tuple[float, ...]:
        """v; centred the mean of g; with momentum u."""
        return (0.0,) * (1 + bool(self.centered) + (self.momentum > 0))

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return lr, eps and 0, shape (n, 3)."""
        return _rates(schedules.steps_of(self.lr, first_step, n), self.eps)


@dataclass(frozen=True, repr=False)
class Rprop(Clipping):
    """Rprop (Riedmiller and Braun, 1993), for full batches: a step size for each parameter.

    It grows by ``etas[1]`` while the gradient keeps its sign, and shrinks by ``etas[0]`` when it
    changes; then the parameter rests for a step. Of the gradient only the sign counts.

    Parameters
    ----------
    lr : float
        Step size at first, > 0.
    etas : tuple of two floats
        0 < etas[0] < 1 < etas[1].
    step_sizes : tuple of two floats
        Smallest and largest step size.
    """

    lr: float = 0.01
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    name: ClassVar[str] = "rprop"

    def __post_init__(self) -> None:
        self._check_clipping()
        checks.number("lr", self.lr, "a finite number > 0", lambda v: 0 < v < math.inf)
        for name in ("etas", "step_sizes"):
            pair = getattr(self, name)
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(f"{name}: expected two numbers, got {pair!r}")
            object.__setattr__(self, name, tuple(pair))
        less, more = self.etas
        checks.number("etas[0]", less, "a number in (0, 1)", lambda v: 0 < v < 1)
        checks.number("etas[1]", more, "a finite number > 1", lambda v: 1 < v < math.inf)
        low, high = self.step_sizes
        checks.number("step_sizes[0]", low, "a number > 0", lambda v: v > 0)
        expected = f"a finite number from {low} on"
        checks.number("step_sizes[1]", high, expected, lambda v: low <= v < math.inf)

    @property
    def constants(self) -> Constants:
        """etas, step_sizes."""
        less, more = self.etas
        low, high = self.step_sizes
        return float(less), float(more), float(low), float(high)

    @property
    def first_slots(self) -> tuple[float, ...]:
        """The gradient before, and the step sizes."""
        return 0.0, float(self.lr)

    def rates(self, first_step: int, n: int) -> NDArray[np.float64]:
        """Return zeros, shape (n, 3): the rule has its own sizes."""
        return np.zeros((n, 3))


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "rprop": Rprop,
}
_CLASSES = (SGD, Adam, Adagrad, RMSprop, Rprop)


def get(optimizer: Any) -> Optimizer:
    """Return an optimizer for None (SGD with its defaults), a name, or an optimizer.

    Raises
    ------
    TypeError, ValueError
        Anything else.
    """
    if optimizer is None:
        return SGD()
    if isinstance(optimizer, _CLASSES):
        return optimizer
    if isinstance(optimizer, type):
        name = optimizer.__name__
        raise TypeError(f"optimizer: expected an object, got the class {name}; write {name}()")
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise checks.unknown("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[optimizer]()


def _rates(sizes: Any, eps: Any = 0.0, shrinkage: Any = 0.0) -> NDArray[np.float64]:
    return np.stack(np.broadcast_arrays(sizes, eps, shrinkage), axis=1).astype(np.float64)


def _check_common(lr: LearningRate, weight_decay: float) -> None:
    schedules.checked(lr)
    checks.number("weight_decay", weight_decay, "a number >= 0", lambda v: 0 <= v < math.inf)


def _check_eps(eps: float) -> None:
    checks.number("eps", eps, "a number >= 0", lambda v: 0 <= v < math.inf)


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
