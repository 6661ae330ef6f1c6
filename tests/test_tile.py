"""The register tile alone: y[m][n] = start + sum of x[m*x_row + s*x_seg + j*x_k] * w[s*w_seg + j*w_k + n]."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

ZERO, BIAS, OUTPUT = range(3)
STORE, RELU, ADD, ADD_RELU, UPDATE, ADD_UPDATE = range(6)
GUARD = 7.0


def widths(machine: Any, double: bool) -> list[int]:
    lanes = machine._native.lanes(machine.isa, double)
    return ([lanes // 2] if machine.isa == "avx512" else []) + [lanes, 2 * lanes, 4 * lanes]


def integers(rng: np.random.Generator, shape: Any, dtype: str) -> Any:
    """So small that every sum in these tests is exact in any order."""
    return rng.integers(-4, 5, shape).astype(dtype)


def run(
    machine: Any, outer: bool, width: int, rows: int, y: Any, x: Any, w: Any, other: Any, **t: Any
) -> None:
    names = ("y_row", "x_row", "x_k", "x_seg", "w_k", "w_seg", "segs", "seg", "start", "end")
    strides = tuple(int(t.get(name, 1 if name == "segs" else 0)) for name in names)
    double = y.dtype == np.float64
    machine._native.tile(
        machine.isa, double, outer, width, rows, y, x, w, other, strides, t.get("rate", 0.0)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panel_of_all_heights(machine: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for width in widths(machine, dtype == "float64"):
        for rows in (*range(1, 27), 31, 37, 64, 65):
            for k in (1, 2, 3, 31, 64, 65):
                x, w = integers(rng, (rows, k + 3), dtype), integers(rng, (k, width), dtype)
                bias, y = integers(rng, width, dtype), np.full((rows + 1, width + 5), GUARD, dtype)
                run(
                    machine,
                    False,
                    width,
                    rows,
                    y,
                    x,
                    w,
                    bias,
                    y_row=width + 5,
                    x_row=k + 3,
                    x_k=1,
                    w_k=width,
                    seg=k,
                    start=BIAS,
                )
                assert np.array_equal(y[:rows, :width], x[:, :k] @ w + bias)
                assert np.all(y[rows:] == GUARD)
                assert np.all(y[:, width:] == GUARD)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", [ZERO, BIAS, OUTPUT])
@pytest.mark.parametrize("end", [STORE, RELU, ADD, ADD_RELU])
def test_panel_starts_and_ends(machine: Any, dtype: str, start: int, end: int) -> None:
    rng = np.random.default_rng(1)
    for width in widths(machine, dtype == "float64"):
        x, w = integers(rng, (13, 11), dtype), integers(rng, (11, width), dtype)
        bias, before = integers(rng, width, dtype), integers(rng, (13, width), dtype)
        y = before.copy()
        run(
            machine,
            False,
            width,
            13,
            y,
            x,
            w,
            bias,
            y_row=width,
            x_row=11,
            x_k=1,
            w_k=width,
            seg=11,
            start=start,
            end=end,
        )
        want = x @ w + (bias if start == BIAS else before if start == OUTPUT else 0)
        want = want + (before if end in (ADD, ADD_RELU) else 0)
        assert np.array_equal(y, np.maximum(want, 0) if end in (RELU, ADD_RELU) else want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panel_sums_five_segments_of_five(machine: Any, dtype: str) -> None:
    """A 5x5 convolution of one channel: rows of an image a segment apart, neighbouring pixels as rows."""
    rng = np.random.default_rng(2)
    for width in widths(machine, dtype == "float64"):
        image, kernel = integers(rng, (28, 28), dtype), integers(rng, (5, 5, width), dtype)
        bias, y = integers(rng, width, dtype), np.empty((24, width), dtype)
        run(
            machine,
            False,
            width,
            24,
            y,
            image,
            kernel,
            bias,
            y_row=width,
            x_row=1,
            x_k=1,
            x_seg=28,
            w_k=width,
            w_seg=5 * width,
            segs=5,
            seg=5,
            start=BIAS,
        )
        want = bias + sum(
            image[s, j : j + 24, None] * kernel[s, j] for s in range(5) for j in range(5)
        )
        assert np.array_equal(y, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("end", [STORE, ADD, UPDATE, ADD_UPDATE])
def test_outer_products_and_their_ends(machine: Any, dtype: str, end: int) -> None:
    rng = np.random.default_rng(3)
    for width in widths(machine, dtype == "float64"):
        for rows in (*range(1, 27), 49):
            k = 19
            x, w = integers(rng, (k, rows + 2), dtype), integers(rng, (k, width + 3), dtype)
            before, updated = (
                integers(rng, (rows, width), dtype),
                integers(rng, (rows, width), dtype),
            )
            y, other = before.copy(), updated.copy()
            run(
                machine,
                True,
                width,
                rows,
                y,
                x,
                w,
                other,
                y_row=width,
                x_row=1,
                x_k=rows + 2,
                w_k=width + 3,
                seg=k,
                end=end,
                rate=0.5,
            )
            want = x[:, :rows].T @ w[:, :width] + (before if end in (ADD, ADD_UPDATE) else 0)
            if end in (UPDATE, ADD_UPDATE):
                assert np.array_equal(other, updated - want / 2)
                assert np.array_equal(y, before)
            else:
                assert np.array_equal(y, want)
                assert np.array_equal(other, updated)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outer_product_over_strided_pixels(machine: Any, dtype: str) -> None:
    """dW of a convolution with stride 2 and 3 channels: every second pixel of every second image row."""
    rng = np.random.default_rng(4)
    for width in widths(machine, dtype == "float64"):
        image, dz = integers(rng, (16, 16, 3), dtype), integers(rng, (7, 7, width), dtype)
        dw = np.zeros(
            (9, width), dtype
        )  # one row of a 3x3 kernel: 3 pixels of 3 channels are adjacent
        run(
            machine,
            True,
            width,
            9,
            dw,
            image,
            dz,
            np.zeros(1, dtype),
            y_row=width,
            x_row=1,
            x_k=6,
            x_seg=2 * 48,
            w_k=width,
            w_seg=7 * width,
            segs=7,
            seg=7,
        )
        flat = image.reshape(16, 48)
        want = sum(
            np.outer(flat[2 * i, 6 * j : 6 * j + 9], dz[i, j]) for i in range(7) for j in range(7)
        )
        assert np.array_equal(dw, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_keeps_its_bound(machine: Any, dtype: str) -> None:
    rng = np.random.default_rng(5)
    unit = np.finfo(dtype).eps / 2
    for width in widths(machine, dtype == "float64"):
        x, w = rng.normal(size=(29, 256)).astype(dtype), rng.normal(size=(256, width)).astype(dtype)
        y = np.empty((29, width), dtype)
        run(
            machine, False, width, 29, y, x, w, x, y_row=width, x_row=256, x_k=1, w_k=width, seg=256
        )
        exact = x.astype(np.longdouble) @ w.astype(np.longdouble)
        bound = (2 if machine.isa == "baseline" else 1) * 257 * unit * (np.abs(x) @ np.abs(w))
        assert np.all(np.abs(y - exact) <= bound)


def test_relu_keeps_nan(machine: Any) -> None:
    for width in widths(machine, False):
        x, w = np.array([[np.nan], [1.0], [-1.0]], np.float32), np.ones((1, width), np.float32)
        y = np.empty((3, width), np.float32)
        run(
            machine,
            False,
            width,
            3,
            y,
            x,
            w,
            x,
            y_row=width,
            x_row=1,
            x_k=1,
            w_k=width,
            seg=1,
            end=RELU,
        )
        assert np.all(np.isnan(y[0]))
        assert np.all(y[1] == 1)
        assert np.all(y[2] == 0)
