"""Lists of (x, y) pairs, and the matrices that the engine reads in their place."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast.plan import Array

Pair = tuple[Any, Any]


class Samples(list[Pair]):
    """A list of (x, y) that is copied to matrices at its first use by the engine.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        Rows of the matrices in which the pairs of the list lie.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        super().__init__(pairs)
        self.order: NDArray[np.int64] = np.arange(len(self), dtype=np.int64)
        self._given = pairs if isinstance(pairs, list) else None
        self._x: Array | None = None
        self._y: Array | None = None

    def shuffle(self) -> None:
        """Do as ``random.shuffle``, with the list that was given too: same numbers, same order."""
        places = list(range(len(self)))
        random.shuffle(places)
        self[:] = [self[place] for place in places]
        self.order = self.order[places]
        if self._given is not None:
            self._given[:] = self

    def inputs(self, n_in: int) -> Array:
        """Return the x, shape (n, n_in), by rows of `order`."""
        if self._x is None:
            self._x = self._matrix("x", 0)
        if self._x.shape[1:] != (n_in, 1):
            raise ValueError(
                f"x: expected shape ({n_in}, 1), a number for each input of the network, got "
                f"{self._x.shape[1:]}; use x.reshape(-1, 1)"
            )
        return self._x.reshape(len(self), n_in)

    def targets(self, n_out: int) -> Array:
        """Return the y, shape (n, n_out), by rows of `order`."""
        y = self._answers()
        if y.shape[1:] != (n_out, 1) and not n_out == y[:1].size == 1:
            raise ValueError(
                f"y: expected shape ({n_out}, 1), a number for each output of the network, got "
                f"{y.shape[1:]}; a class becomes one by network2.vectorized_result(y)"
            )
        return y.reshape(len(self), n_out)

    def labels(self) -> Array:
        """Return the y, one class for each pair, shape (n,), as the list lies."""
        y = self._answers()
        if y.size != len(self):
            raise ValueError(
                f"y: expected one number, the class, got shape {y.shape[1:]}; pass np.argmax(y), "
                "or convert=True to the accuracy of network2"
            )
        return y.reshape(len(self))[self.order]

    def _answers(self) -> Array:
        if self._y is None:
            self._y = self._matrix("y", 1)
        return self._y

    def _matrix(self, name: str, part: int) -> Array:
        """Return x or y of all pairs, of their own type, each in its row of `order`."""
        if not self:
            raise ValueError("data: expected at least one sample (x, y), got none")
        arrays: list[Array] = [np.empty(0)] * len(self)
        for row, pair in zip(self.order.tolist(), self, strict=True):
            arrays[row] = np.asarray(pair[part])
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise ValueError(
                f"{name}: expected one shape for all samples, got "
                f"{' and '.join(sorted(map(str, shapes)))}; look for the odd one"
            )
        kinds = {array.dtype for array in arrays}
        if not all(kind.kind in "fiub" for kind in kinds):
            raise TypeError(
                f"{name}: expected real numbers, got {', '.join(sorted(map(str, kinds)))}; "
                "convert them with .astype(float)"
            )
        common = np.result_type(*kinds)
        if common.char not in "?bhilqBHILQfd":  # float16, long double: not the engine's
            common = np.dtype(np.float64)
        return np.array(arrays, common)


def samples(pairs: Iterable[Pair]) -> Samples:
    """Return `pairs` if they are `Samples` already, else new ones."""
    return pairs if isinstance(pairs, Samples) else Samples(pairs)
