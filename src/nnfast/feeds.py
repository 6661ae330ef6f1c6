"""Iterables of batches: what `fit` takes where X is no array. A thread draws the next batches."""

from __future__ import annotations

import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

import numpy as np

from nnfast import checks, inputs
from nnfast.inputs import Samples

AHEAD = 2
"""Batches drawn ahead of the one in use."""

Check = Callable[[Any, Any, Any], Samples]

_T = TypeVar("_T")
_END: Any = object()


def yields_batches(X: Any, y: Any) -> bool:
    """Return whether X is an iterable of batches: no array nor what becomes one, and no y."""
    array = hasattr(X, "shape") or hasattr(X, "__array__") or isinstance(X, str | bytes)
    return y is None and not array and hasattr(X, "__iter__")


class Batches:
    """The batches of an iterable, epoch after epoch.

    Without `steps_per_epoch` an epoch is one pass, ``iter(source)``; with it so many batches, and
    passes follow each other.

    Parameters
    ----------
    source : iterable
        Of (X, y) or (X, y, sample_weight).
    steps_per_epoch : int or None

    Attributes
    ----------
    steps : int or None
        Of an epoch; None if only the end of a pass will tell.
    checksum : int
        Of the batches used so far: a CRC-32 of their shapes and their first and last rows.
    """

    def __init__(self, source: Iterable[Any], steps_per_epoch: int | None = None) -> None:
        if steps_per_epoch is not None:
            checks.integer("steps_per_epoch", steps_per_epoch, 1)
        self.source = source
        self.steps_per_epoch = steps_per_epoch
        length = len(source) if isinstance(source, Sized) else None
        self.steps = steps_per_epoch or length
        self.checksum = 0
        self._pass: Iterator[Any] | None = None
        self._begun: tuple[Iterator[Any], int] | None = None
        self._kind = ""

    def first(self, check: Callable[[Any, Any, Any], _T]) -> _T:
        """Return ``check(X, y, sample_weight)`` of the first batch, which is used all the same."""
        if self._pass is None:
            self._pass = iter(self.source)
        item = next(self._pass, _END)
        if item is _END:
            raise ValueError("X: expected at least one batch, got an iterable that yields none")
        self._pass = itertools.chain([item], self._pass)
        try:
            x, y, weight = _parts(item)
            x = inputs.features(x)
            self._kind = x.dtype.kind
            return check(x, y, weight)
        except (TypeError, ValueError) as error:
            raise _of_batch(error, 1, 0) from error

    def samples(self, epoch: int, check: Check) -> Iterator[Samples]:
        """Yield the batches of an epoch, or what `replay` left of it, drawn ahead by a thread.

        Parameters
        ----------
        epoch : int
            Counted from 0, for messages.
        check : callable
            ``check(X, y, sample_weight)`` returns what is used.

        Raises
        ------
        TypeError, ValueError
            A batch that does not fit, or too few of them; the message tells where.
        """
        items, used = self._begun or (self._epoch(epoch), 0)
        self._begun = None
        for data, checksum in _ahead(self._checked(items, epoch, used, check)):
            self.checksum = checksum
            yield data

    def replay(self, epochs: int, batches: int) -> None:
        """Draw so many epochs and batches and pass them over: they were used before."""
        for epoch in range(epochs):
            for item in self._epoch(epoch):
                self.checksum = _checksum(item, self.checksum)
        items = self._epoch(epochs)
        for item in itertools.islice(items, batches):
            self.checksum = _checksum(item, self.checksum)
        self._begun = items, batches

    def _checked(
        self, items: Iterator[Any], epoch: int, used: int, check: Check
    ) -> Iterator[tuple[Samples, int]]:
        checksum = self.checksum
        for number, item in enumerate(items, used + 1):
            try:
                x, y, weight = _parts(item)
                x = inputs.features(x)
                if x.dtype.kind != self._kind:
                    raise TypeError(
                        f"X: expected a dtype of the kind {self._kind!r} as in the first batch, "
                        f"got {x.dtype}; convert all batches alike"
                    )
                data = check(x, y, weight)
                checksum = _checksum(item, checksum)
            except (TypeError, ValueError) as error:
                raise _of_batch(error, number, epoch) from error
            yield data, checksum

    def _epoch(self, epoch: int) -> Iterator[Any]:
        """Yield what the iterable yields in an epoch."""
        used = 0
        while self.steps_per_epoch is None or used < self.steps_per_epoch:
            begun, self._pass = self._pass, self._pass or iter(self.source)
            item = next(self._pass, _END)
            if item is not _END:
                used += 1
                yield item
                continue
            self._pass = None
            if begun is None:
                raise ValueError(
                    f"X: expected {self.steps_per_epoch or 'some'} batches in epoch {epoch + 1}, "
                    f"got {used}: the iterable has ended and yields no more; pass one that can "
                    "begin anew (a list, an object with __iter__), not a generator, or ask for "
                    "fewer epochs or steps_per_epoch"
                )
            if self.steps_per_epoch is None:
                return


def _parts(item: Any) -> tuple[Any, Any, Any]:
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise TypeError(
            "expected (X, y) or (X, y, sample_weight), got an object of type "
            f"{type(item).__name__}; yield a tuple of two or three arrays"
        )
    return item[0], item[1], item[2] if len(item) == 3 else None


def _of_batch(error: TypeError | ValueError, number: int, epoch: int) -> TypeError | ValueError:
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"batch {number} of epoch {epoch + 1}: {error}")


def _checksum(item: Any, before: int) -> int:
    """Return the CRC-32 that goes on with the first and last rows of a batch."""
    for part in _parts(item):
        if part is None:
            continue
        rows = part if hasattr(part, "toarray") else np.asarray(part)
        before = zlib.crc32(str(rows.shape).encode(), before)
        if hasattr(rows, "toarray"):
            rows = rows[np.array([0, rows.shape[0] - 1])].toarray()
        if rows.ndim and rows.dtype.kind in "biuf":
            before = zlib.crc32(rows[[0, -1]].tobytes(), before)
    return before


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yield the items, drawn by a thread that ends with this iterator; errors keep their place."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1, "nnfast-batches")
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
