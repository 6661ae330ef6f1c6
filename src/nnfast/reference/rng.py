"""The order of the rows in an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnfast import rng


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation of 0 .. n - 1 (Fisher and Yates, from the top), shape (n,).

    The index of each swap is the high word of a 64-bit random word times the number of choices.
    """
    order = list(range(n))
    words = rng.words(seed, rng.SHUFFLE, epoch, max(n - 1, 0)).tolist()
    for i, word in zip(range(n - 1, 0, -1), words, strict=True):
        j = (word * (i + 1)) >> 64
        order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64)
