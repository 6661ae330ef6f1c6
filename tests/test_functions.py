"""The functions of the kernels: within 2 ULP in float32, 3 in float64; activations built on them (R2).

float32 against NumPy's float64, float64 against NumPy's longdouble. 2**22 of the 2**32 floats,
spread over all bit patterns; all of them with NNFAST_EXHAUSTIVE=1.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import each_dtype

BOUND = {"float32": 2.0, "float64": 3.0}
WIDER = {"float32": np.float64, "float64": np.longdouble}
FUNCTIONS = ("exp", "log", "log1p")
NAMES = (*FUNCTIONS, "tanh", "sigmoid", "arctan")
BUILT = ("elu", "gelu", "silu", "softplus")
"""Activations of several functions: within 4 ULP, or so far off absolutely, in a decaying tail."""
TAIL = {"float32": 1e-7, "float64": 1e-15}
EXHAUSTIVE = os.environ.get("NNFAST_EXHAUSTIVE", "") not in ("", "0")
each_name = pytest.mark.parametrize("name", NAMES)


def call(machine: Any, name: str, x: Any) -> Any:
    """Return the kernel's values at x, contiguous."""
    y = np.empty_like(x)
    if name in FUNCTIONS:
        from nnfast import _native

        _native.function(machine.isa, x.dtype == np.float64, FUNCTIONS.index(name), y, x)
    else:
        machine.activation(x, name, y, 1)
    return y


def flushed(x: Any) -> Any:
    """Return x with subnormals as zeros of their sign, as the kernels see it."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def exact(name: str, x: Any) -> Any:
    """Return the values in the next wider type."""
    with np.errstate(all="ignore"):
        wide = flushed(x).astype(WIDER[x.dtype.name])
        small = np.exp(-np.abs(wide))
        sigmoid = np.where(wide < 0, small, 1) / (1 + small)
        if name == "elu":
            return np.where(wide < 0, np.expm1(np.minimum(wide, 0)), wide)
        if name == "gelu":
            cdf = (1 + erf(wide * np.sqrt(wide.dtype.type(0.5)))) / 2
            return wide * np.where(wide < -10, 0, cdf)
        if name == "silu":
            return wide * sigmoid
        if name == "softplus":
            return np.maximum(wide, 0) + np.log1p(small)
        return sigmoid if name == "sigmoid" else getattr(np, name)(wide)


def erf(x: Any) -> Any:
    """2 / sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!, all of one sign (Abramowitz and Stegun, 7.1.6)."""
    size = np.minimum(np.abs(x), 7)
    term = 2 / np.sqrt(np.arccos(x.dtype.type(-1))) * size
    total = term.copy()
    for n in range(1, 260):
        term = term * (2 * size * size / (2 * n + 1))
        total += term
    return np.copysign(np.minimum(np.exp(-size * size) * total, 1), x)


def ulps(y: Any, truth: Any) -> Any:
    """Return the errors of y in units of its last place; zero will do for a subnormal."""
    limits = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        rounded = truth.astype(y.dtype)
        _, exponent = np.frexp(np.maximum(np.abs(truth), truth.dtype.type(limits.tiny)))
        error = np.abs(y - truth) / np.ldexp(truth.dtype.type(limits.eps), exponent - 1)
    same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
    subnormal = (y == 0) & (np.abs(truth) < limits.tiny)
    return np.where(same | subnormal, 0, np.where(np.isfinite(y), error, np.inf))


def floats() -> Iterator[Any]:
    """Yield float32 numbers in pieces of 2**22, each spread over all bit patterns."""
    step = 2**10
    for first in range(step) if EXHAUSTIVE else (577,):
        yield (np.arange(2**22, dtype=np.uint32) * np.uint32(step) + np.uint32(first)).view("f4")


@functools.cache
def doubles() -> Any:
    """Return 10**6 float64 numbers: over all bit patterns, and dense where functions live."""
    rng = np.random.default_rng(0)
    spread = rng.integers(0, 2**64, 300_000, dtype=np.uint64).view("f8")
    sizes = rng.choice([1e-9, 1e-3, 0.5, 3, 40, 800], 600_000)
    near_one = 1 + rng.normal(size=100_000) * rng.choice([1e-12, 1e-4, 0.3], 100_000)
    return np.concatenate([spread, rng.normal(size=600_000) * sizes, near_one])


@functools.cache
def truth_of(name: str, dtype: str) -> Any:
    return exact(name, next(floats()) if dtype == "float32" else doubles())


def pieces(name: str, dtype: str) -> Iterator[tuple[Any, Any]]:
    """Yield numbers and the values there."""
    for i, x in enumerate(floats() if dtype == "float32" else [doubles()]):
        yield x, exact(name, x) if i or EXHAUSTIVE else truth_of(name, dtype)


@each_dtype
@each_name
def test_units_in_the_last_place(machine: Any, name: str, dtype: str) -> None:
    for x, truth in pieces(name, dtype):
        error = ulps(call(machine, name, x), truth)
        worst = int(error.argmax())
        assert error[worst] <= BOUND[dtype], f"{error[worst]} at {x[worst]!r}"


@each_dtype
@pytest.mark.parametrize("name", BUILT)
def test_built_activations(machine: Any, name: str, dtype: str) -> None:
    for x, truth in pieces(name, dtype):
        y, near = call(machine, name, x), np.abs(x) < 1e30
        y, truth, x = y[near], truth[near], x[near]
        wrong = (ulps(y, truth) > 4) & (np.abs(y - truth) > TAIL[dtype])
        assert not wrong.any(), f"{ulps(y, truth)[wrong][:5]} at {x[wrong][:5]!r}"


@each_dtype
@each_name
def test_same_bits(fma_machines: list[Any], name: str, dtype: str) -> None:
    """On each FMA instruction set, and wherever in a vector a number stands."""
    for x in floats() if dtype == "float32" else [doubles()]:
        expected = call(fma_machines[0], name, x)
        for machine in fma_machines[1:]:
            found = call(machine, name, x)
            bits = "u4" if dtype == "float32" else "u8"
            same = (found.view(bits) == expected.view(bits)) | (
                np.isnan(found) & np.isnan(expected)
            )
            assert same.all()
    x = np.random.default_rng(0).normal(size=100).astype(dtype)
    for machine in fma_machines:
        whole = call(machine, name, x)
        for n in range(1, 40):
            part = call(machine, name, x[n : 2 * n].copy())
            assert part.tobytes() == whole[n : 2 * n].tobytes()


INF, NAN = np.inf, np.nan
SPECIAL = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (-1e30, 0), (1e30, INF), (NAN, NAN)],
    "log": [(1, 0), (0, -INF), (-0.0, -INF), (-1, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)],
    "log1p": [(0, 0), (-0.0, -0.0), (-1, -INF), (-2, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)],
    "arctan": [(0, 0), (-0.0, -0.0), (INF, np.pi / 2), (-INF, -np.pi / 2), (NAN, NAN)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1), (NAN, NAN)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (1e30, 1), (-1e30, 0), (NAN, NAN)],
}


@each_dtype
@each_name
def test_special_numbers(machine: Any, name: str, dtype: str) -> None:
    x, expected = np.array(SPECIAL[name]).T.astype(dtype)
    found = call(machine, name, x.copy())
    np.testing.assert_array_equal(found, expected)
    zero = expected == 0
    assert np.array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


@each_dtype
@each_name
def test_subnormal_numbers_are_zeros(machine: Any, name: str, dtype: str) -> None:
    limits = np.finfo(dtype)
    x = np.array([limits.smallest_subnormal, limits.tiny / 2, limits.tiny / 4], dtype)
    x = np.concatenate([x, -x])
    assert np.array_equal(call(machine, name, x), call(machine, name, flushed(x)))


@each_dtype
def test_tanh_is_odd(machine: Any, dtype: str) -> None:
    x = next(floats()) if dtype == "float32" else doubles()
    np.testing.assert_array_equal(call(machine, "tanh", -x), -call(machine, "tanh", x))


@each_dtype
@each_name
def test_tails_are_monotone(machine: Any, name: str, dtype: str) -> None:
    """Where a function runs into a limit it does not overshoot, turn back or leave its range."""
    ends = {"exp": (-110, 90), "tanh": (4, 30), "sigmoid": (-110, 40), "log": (1, 1e30)}
    scale = 8 if dtype == "float64" and name in ("exp", "sigmoid") else 1
    low, high = ends.get(name, (1, 1e30))
    x = np.linspace(low * scale, high * scale, 200_001).astype(dtype)
    y = call(machine, name, x)
    assert (y[1:] >= y[:-1] * (1 - BOUND[dtype] * np.finfo(dtype).eps)).all()
    assert (y[100::100] >= y[:-100:100]).all() or name == "tanh"
    if name in ("tanh", "sigmoid"):
        assert (np.abs(y) <= 1).all()
