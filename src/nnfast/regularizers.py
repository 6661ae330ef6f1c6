"""Penalties and bounds of a layer's weights; the names are Keras'."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnfast import checks


@dataclass(frozen=True)
class L1L2:
    """A penalty that J gets: ``l1 * sum(abs(w)) + l2 * sum(w * w)``.

    Parameters
    ----------
    l1, l2 : float
        >= 0.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            checks.number(name, getattr(self, name), "a number >= 0", lambda v: 0 <= v < math.inf)


def L1(l1: float = 0.01) -> L1L2:
    """Return the penalty ``l1 * sum(abs(w))``."""
    return L1L2(l1=l1)


def L2(l2: float = 0.01) -> L1L2:
    """Return the penalty ``l2 * sum(w * w)``, whose gradient is ``2 * l2 * w``."""
    return L1L2(l2=l2)


@dataclass(frozen=True)
class MaxNorm:
    """A bound: after each step, the weights into one unit are scaled to this norm if it is larger.

    Parameters
    ----------
    max_value : float
        > 0 (Srivastava et al., JMLR 15, 2014, section 5.1).
    """

    max_value: float = 2.0

    def __post_init__(self) -> None:
        checks.number("max_value", self.max_value, "a number > 0", lambda v: 0 < v < math.inf)
