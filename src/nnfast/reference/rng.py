"""The order of the rows in an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnfast import rng


def permutation(order: NDArray[np.int64], seed: int, epoch: int) -> None:
    """Write a permutation of 0 .. n - 1 to `order` (n,): Fisher and Yates, from the top.

    The index of each swap is the high word of a 64-bit random word times the number of choices.
    """
    n = len(order)
    places = list(range(n))
    words = rng.words(seed, rng.SHUFFLE, epoch, max(n - 1, 0)).tolist()
    for i, word in zip(range(n - 1, 0, -1), words, strict=True):
        j = (word * (i + 1)) >> 64
        places[i], places[j] = places[j], places[i]
    order[:] = places
