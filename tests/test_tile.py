"""The tile itself, both forms, every width, start and end (csrc/tile.h), called directly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from cases import EPS, each_dtype

ZERO, BIAS, OUTPUT = range(3)
STORE, RELU, GATE, ADD, ADD_RELU, ADD_GATE, UPDATE, ADD_UPDATE = range(8)
PANEL_ENDS = (STORE, RELU, GATE, ADD, ADD_RELU, ADD_GATE)
OUTER_ENDS = (STORE, GATE, ADD, ADD_GATE, UPDATE, ADD_UPDATE)
ROWS = (*range(1, 66), 97, 127)
SUMS = ((1, 1), (1, 2), (1, 7), (1, 13), (1, 65), (1, 256), (5, 5), (3, 11), (7, 1))
"""Segments and their length: dense has one segment, a convolution a segment a row of its kernel."""
RATE, GUARD = 0.5, 77.0

each_form = pytest.mark.parametrize("outer", [False, True], ids=["panel", "outer"])


class Tile:
    """One call of the tile: its operands, what it made, and the sums in float64.

    x_strides are those of (segment, k, row), w_strides those of (segment, k), in elements. Columns
    beyond the width hold GUARD, in y and in the bias or the parameters.
    """

    def __init__(
        self,
        isa: str,
        dtype: str,
        outer: bool,
        width: int,
        rows: int,
        sums: tuple[int, int],
        numbers: Callable[[int], Any],
        start: int = ZERO,
        end: int = STORE,
        x_strides: tuple[int, int, int] | None = None,
        w_strides: tuple[int, int] | None = None,
    ) -> None:
        from nnfast import _native

        segs, seg = sums
        x_seg, x_k, x_row = x_strides or (
            (seg * rows, rows, 1) if outer else (seg + 2, 1, segs * (seg + 2))
        )
        w_seg, w_k = w_strides or (seg * width, width)
        s, j = np.ogrid[:segs, :seg]
        x_at = (s * x_seg + j * x_k)[..., None] + np.arange(rows) * x_row
        w_at = (s * w_seg + j * w_k)[..., None] + np.arange(width)
        x, w = (numbers(int(at.max()) + 1).astype(dtype) for at in (x_at, w_at))
        y_row = width + 3
        self.y, self.other = np.full((2, rows, y_row), GUARD, dtype)
        self.before = numbers(2 * rows * width).astype(dtype).reshape(2, rows, width)
        self.y[:, :width], self.other[:, :width] = self.before
        strides = (y_row, x_row, x_k, x_seg, w_k, w_seg, segs, seg, start, end)
        is_double = dtype == "float64"
        _native.tile(isa, is_double, outer, width, rows, self.y, x, w, self.other, strides, RATE)

        xs, ws = (
            a.astype(np.float64)[at].reshape(segs * seg, -1) for a, at in ((x, x_at), (w, w_at))
        )
        self.expected = xs.T @ ws
        self.magnitude = np.abs(xs).T @ np.abs(ws)
        adds = end in (ADD, ADD_RELU, ADD_GATE, ADD_UPDATE)
        self.expected += self.before[0] * ((start == OUTPUT) + adds)
        if start == BIAS:
            self.expected += self.before[1, :1]
        if end in (RELU, ADD_RELU):
            self.expected = np.maximum(self.expected, 0)
        if end in (GATE, ADD_GATE):
            self.expected = np.where(self.before[1] > 0, self.expected, 0)
        if end in (UPDATE, ADD_UPDATE):
            self.expected = self.before[1] - RATE * self.expected
        self.updates, self.width = end in (UPDATE, ADD_UPDATE), width

    @property
    def found(self) -> Any:
        return (self.other if self.updates else self.y)[:, : self.width]

    def check_exact(self) -> None:
        assert np.array_equal(self.found, self.expected)
        assert np.all(self.y[:, self.width :] == GUARD)
        assert np.all(self.other[:, self.width :] == GUARD)
        kept = self.y if self.updates else self.other
        assert np.array_equal(kept[:, : self.width], self.before[int(not self.updates)])


def widths(isa: str, dtype: str) -> list[int]:
    """Return the widths that the tile has: 1, 2 and 4 vectors; on avx512 half a vector too."""
    from nnfast import _native

    lanes: int = _native.lanes(isa, dtype == "float64")
    return [lanes // 2] * (isa == "avx512") + [lanes, 2 * lanes, 4 * lanes]


def integers(seed: int) -> Callable[[int], Any]:
    """Return a source of small integers: every sum of their products is exact."""
    rng = np.random.default_rng(seed)
    return lambda n: rng.integers(-4, 5, n)


@each_dtype
@each_form
def test_rows_and_sums(isa: str, outer: bool, dtype: str) -> None:
    """Shapes 1 to 65 and primes, on small integers: exact."""
    for width, (i, rows) in product(widths(isa, dtype), enumerate(ROWS)):
        for sums in (SUMS[i % len(SUMS)], SUMS[(i * 5 + 3) % len(SUMS)]):
            Tile(isa, dtype, outer, width, rows, sums, integers(i)).check_exact()


@each_dtype
@each_form
def test_starts_and_ends(isa: str, outer: bool, dtype: str) -> None:
    starts, ends = ((ZERO,), OUTER_ENDS) if outer else ((ZERO, BIAS, OUTPUT), PANEL_ENDS)
    shapes = product(widths(isa, dtype), (1, 4, 7, 12, 13, 26), SUMS)
    for width, rows, sums in shapes:
        for start, end in product(starts, ends):
            if start == BIAS and end in (GATE, ADD_GATE):  # both are read from `other`
                continue
            Tile(isa, dtype, outer, width, rows, sums, integers(1), start, end).check_exact()


@each_dtype
def test_five_segments_of_five(isa: str, dtype: str) -> None:
    """A 5x5 convolution of one row of an image 32 wide, 3 channels apart, with padded weights."""
    for width, rows in product(widths(isa, dtype), (1, 6, 28)):
        w_strides = (7 * width, width)
        convolution = Tile(
            isa, dtype, False, width, rows, (5, 5), integers(2), BIAS, RELU, (32, 1, 1), w_strides
        )
        convolution.check_exact()


@each_dtype
def test_outer_product_over_strided_pixels(isa: str, dtype: str) -> None:
    """dW of a convolution: sums over 5 rows of 28 pixels, 2 apart, of an image 64 wide."""
    for width, rows in product(widths(isa, dtype), (1, 5, 25)):
        for end in OUTER_ENDS:
            strides = (64, 2, 1), (30 * width + 1, width + 1)
            Tile(
                isa, dtype, True, width, rows, (5, 28), integers(3), ZERO, end, *strides
            ).check_exact()


@each_dtype
@each_form
def test_rounding(isa: str, outer: bool, dtype: str) -> None:
    """Random numbers: within K unit roundoffs of the sum of magnitudes."""
    rng = np.random.default_rng(0)
    for width, rows, sums in product(widths(isa, dtype), (1, 5, 12, 31), SUMS):
        tile = Tile(isa, dtype, outer, width, rows, sums, lambda n: rng.normal(size=n))
        bound = (sums[0] * sums[1] + 1) * EPS[dtype] / 2 * tile.magnitude
        assert np.all(np.abs(tile.found - tile.expected) <= bound)


@each_dtype
@each_form
def test_zeros_keep_their_sign(isa: str, outer: bool, dtype: str) -> None:
    """A chain starts from an FMA with +0, never from a product: 0 * -1 summed is +0."""
    for width in widths(isa, dtype):
        tile = Tile(isa, dtype, outer, width, 13, (1, 3), lambda n: np.full(n, -0.0))
        assert not np.signbit(tile.found).any()
        numbers = iter((np.zeros(10**4), np.full(10**4, -1.0), np.zeros(10**5)))
        tile = Tile(isa, dtype, outer, width, 13, (1, 3), lambda n, i=numbers: next(i)[:n])
        assert not np.signbit(tile.found).any()


@each_dtype
def test_panel_keeps_nan(isa: str, dtype: str) -> None:
    """relu of a NaN sum is NaN: max(0, x) in the order that keeps it."""
    for width in widths(isa, dtype):
        tile = Tile(isa, dtype, False, width, 5, (1, 3), lambda n: np.full(n, np.nan), end=RELU)
        assert np.isnan(tile.found).all()
