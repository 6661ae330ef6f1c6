"""exp, log, log1p, tanh and sigmoid: their errors in ULP, their special values, the same bits everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

EXHAUSTIVE = os.environ.get("NNFAST_EXHAUSTIVE", "0") not in ("", "0")
CHUNK = 1 << 20

Function = Callable[[Any], Any]


def sigmoid(x: Any) -> Any:
    """Without cancellation or overflow on either side."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


# name -> (exact function, code for the kernels: of native.function, or an activation's name)
FUNCTIONS: dict[str, tuple[Function, int | str]] = {
    "exp": (np.exp, 0),
    "log": (np.log, 1),
    "log1p": (np.log1p, 2),
    "tanh": (np.tanh, "tanh"),
    "sigmoid": (sigmoid, "sigmoid"),
}
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    1e30,
    -1e30,
    88.7,
    88.8,
    -87.3,
    -87.4,
    1e-40,
    -1e-40,
]


def compute(machine: Any, name: str, x: Any) -> Any:
    code = FUNCTIONS[name][1]
    y = np.empty_like(x)
    if isinstance(code, str):
        machine.activation(x, code, y, 1)
    else:
        machine._native.function(machine.isa, x.dtype == np.float64, code, y, x)
    return y


def ulps(got: Any, exact: Any) -> float:
    """Largest error in units of the last place of the exact value, where that is a normal number."""
    kind = np.finfo(got.dtype)
    with np.errstate(over="ignore"):
        rounded = exact.astype(got.dtype)
    normal = np.isfinite(rounded) & (np.abs(rounded) >= kind.smallest_normal)
    unit = np.spacing(np.abs(rounded[normal])).astype(exact.dtype)
    # np.spacing looks up from a power of two; the exact value may lie just below it
    below = np.abs(exact[normal]) < np.abs(rounded[normal]).astype(exact.dtype)
    power = np.frexp(np.abs(rounded[normal]))[0] == 0.5
    unit = np.where(below & power, unit / 2, unit)
    return float(np.max(np.abs(got[normal].astype(exact.dtype) - exact[normal]) / unit, initial=0))


def patterns() -> Iterator[Any]:
    """float32 values: every bit pattern, or 2^22 of them spread over all."""
    step = 1 if EXHAUSTIVE else 1021
    for first in range(0, 1 << 32, CHUNK * step):
        bits = np.arange(first, min(first + CHUNK * step, 1 << 32), step, dtype=np.uint64)
        yield bits.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_in_float32(machine: Any, name: str) -> None:
    exact, _ = FUNCTIONS[name]
    worst = 0.0
    with np.errstate(all="ignore"):
        for x in patterns():
            got = compute(machine, name, x)
            normal = (np.abs(x) >= np.finfo(np.float32).smallest_normal) | (x == 0) | np.isnan(x)
            want = exact(x.astype(np.float64))
            worst = max(worst, ulps(got[normal], want[normal]))
            rounded = want.astype(np.float32)
            odd = normal & ~np.isfinite(rounded)
            assert np.array_equal(got[odd], rounded[odd], equal_nan=True)
            tiny = normal & (np.abs(want) < np.finfo(np.float32).smallest_normal)
            assert np.all(np.abs(got[tiny]) <= np.finfo(np.float32).smallest_normal)
    assert worst <= 2.0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_in_float64(machine: Any, name: str) -> None:
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("long double is no wider than double here")
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.normal(size=300_000),
            rng.uniform(-40, 40, 400_000),
            rng.uniform(-800, 800, 300_000),
            rng.choice([-1, 1], 50_000) * 2.0 ** rng.uniform(-1000, 1000, 50_000),
        ]
    )
    exact, _ = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        want = exact(x.astype(np.longdouble))
        got = compute(machine, name, x)
    finite = ~np.isnan(want)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert ulps(got[finite], want[finite]) <= 3.0


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(machine: Any, name: str, dtype: str) -> None:
    x = np.array([v for v in SPECIAL if dtype == "float32" or abs(v) != 1e-40], dtype)
    flushed = np.where(np.abs(x) < np.finfo(dtype).smallest_normal, np.copysign(0, x), x)
    exact, _ = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        want = exact(flushed.astype(np.float64)).astype(dtype)
    got = compute(machine, name, x)
    np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-15, atol=1.2e-38)
    zero = x == 0
    if name in ("tanh", "log1p"):
        assert np.array_equal(np.signbit(got[zero]), np.signbit(x[zero]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tanh_is_odd_and_both_are_bounded(machine: Any, dtype: str) -> None:
    x = np.linspace(0, 25, 100_001).astype(dtype)
    y = compute(machine, "tanh", x)
    assert np.array_equal(compute(machine, "tanh", -x), -y)
    assert y.max() == 1
    s = compute(machine, "sigmoid", np.concatenate([-x, x]))
    assert s.min() >= 0
    assert s.max() <= 1


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_on_every_isa(fma_machines: list[Any], name: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=10_007), rng.uniform(-100, 100, 10_000), SPECIAL]).astype(
        dtype
    )
    results = {compute(machine, name, x).tobytes() for machine in fma_machines}
    assert len(results) == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tails_are_the_full_vectors_bits(machine: Any, name: str) -> None:
    x = np.random.default_rng(2).normal(size=67).astype(np.float32)
    whole = compute(machine, name, x)
    for n in range(1, 67):
        assert np.array_equal(compute(machine, name, x[:n].copy()), whole[:n], equal_nan=True)
