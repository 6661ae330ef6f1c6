"""The order of the rows in an epoch, and the words of noise."""

from __future__ import annotations

from typing import Any

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


def philox_4x32(a: Any, b: Any, c: Any, d: Any, key: int) -> NDArray[np.uint32]:
    """Return the words of Philox4x32-10 for the counters (a, b, c, d), shape (..., 4).

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    x = [np.asarray(word, np.uint64) for word in np.broadcast_arrays(a, b, c, d)]
    first, second = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    for _ in range(10):
        left, right = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [
            (right >> half) ^ x[1] ^ np.uint64(first),
            right & low,
            (left >> half) ^ x[3] ^ np.uint64(second),
            left & low,
        ]
        first, second = first + 0x9E3779B9 & 0xFFFFFFFF, second + 0xBB67AE85 & 0xFFFFFFFF
    return np.stack(x, axis=-1).astype(np.uint32)
