"""Counter-based random words: a function of (seed, purpose, step, index) and nothing else.

Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), in the order
in which ``numpy.random.Philox.random_raw`` returns its words.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from nnfast import checks

WEIGHTS, SHUFFLE, DROPOUT, WINDOWS = range(4)


def words(seed: int, purpose: int, step: int, n: int, part: int = 0) -> NDArray[np.uint64]:
    """Return the first `n` 64-bit words of the stream (seed, purpose, step, part)."""
    key = np.array([seed, purpose], dtype=np.uint64)
    counter = np.array([0, part, step, 0], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(n)


def checked_seed(seed: int | None) -> int:
    """Return `seed`, or 63 bits drawn from the operating system for None."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") >> 1
    number = checks.integer("seed", seed, 0)
    if number >= 2**64:
        raise ValueError(f"seed: expected an integer below 2**64, got {number}")
    return number
