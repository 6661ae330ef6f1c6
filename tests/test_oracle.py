"""Training agrees bit for bit with an oracle written from the rule (oracle.py), on each FMA ISA."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, EPS, Case, each_dtype, finish
from hypothesis import given
from hypothesis import strategies as st

from nnfast import Dense


def covered(case: Case) -> bool:
    """Whether the oracle knows all that the case has: trainable dense rows, mse or labels."""
    rows = case.job("float32").plan.rows
    return (
        case.optimizer.name in ("sgd", "adam")
        and (case.loss == "mse" or case.targets == "labels")
        and all(
            row.op == "dense"
            and row.attributes["activation"] in ("identity", "relu", "tanh")
            and row.attributes["trainable"]
            for row in rows
        )
    )


COVERED = [case for case in CASES if covered(case)]
LONG = (
    Case("long sums, Adam", (Dense(4, "relu"), Dense(515, "tanh"), Dense(3)), 770, rows=30),
    Case("long steps, momentum", (Dense(7, "tanh"), Dense(2)), 3, batch_size=1025, rows=1100),
)


def functions(machine: Any) -> dict[str, Any]:
    """Return tanh, exp and log of the kernels."""
    from nnfast import _native

    def tanh(x: Any) -> Any:
        y = np.empty_like(x)
        machine.activation(np.ascontiguousarray(x), "tanh", y, 1)
        return y

    def function(name: int) -> Any:
        def f(x: Any) -> Any:
            y = np.empty_like(x)
            x = np.ascontiguousarray(x)
            _native.function(machine.isa, x.dtype == np.float64, name, y, x)
            return y

        return f

    return {"tanh": tanh, "exp": function(0), "log": function(1)}


@each_dtype
@pytest.mark.parametrize("case", [*COVERED, *LONG], ids=lambda case: case.name)
def test_training(fma_machine: Any, case: Case, dtype: str) -> None:
    job = case.job(dtype, steps=2)
    theta, state, loss = oracle.train(job, **functions(fma_machine))
    run = fma_machine.run(job)
    finish(run)
    assert run.loss == loss
    assert job.state is not None
    assert np.array_equal(job.theta, theta)
    assert np.array_equal(job.state, state)


def test_the_cases_cover_the_rule() -> None:
    """Blocks of k and of rows, and every optimizer, are among the cases that the oracle runs."""
    assert len(COVERED) > 25
    assert any(case.batch_size > 512 for case in COVERED)
    assert any(case.net("float32").plan.n_in > 512 for case in COVERED)
    assert {type(case.optimizer).__name__ for case in COVERED} == {"SGD", "Adam"}


@functools.cache
def libm(dtype: str) -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("m") or pytest.skip("no libm"))
    number, name = {"float32": (ctypes.c_float, "fmaf"), "float64": (ctypes.c_double, "fma")}[dtype]
    function = getattr(library, name)
    function.argtypes, function.restype = [number] * 3, number
    return function


def check_fma(dtype: str, a: Any, b: Any, c: Any) -> None:
    expected = [libm(dtype)(*row) for row in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)]
    assert np.array_equal(oracle.fma(a, b, c), np.array(expected, dtype))


@each_dtype
def test_fma_at_random(dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 20000)).astype(dtype)
    check_fma(dtype, a, b, c * np.exp2(rng.integers(-40, 40, 20000)).astype(dtype))


@each_dtype
def test_fma_where_two_roundings_differ(dtype: str) -> None:
    """Products near a half unit of the sum, off it by less than float64 sees; cancellations."""
    rng = np.random.default_rng(0)
    eps = EPS[dtype]
    c = rng.choice([1.0, 1 + eps, 2 - eps, -1.0], 20000).astype(dtype)
    off = rng.integers(-4, 5, 20000) * eps
    half = (eps / 2 * rng.choice([1, -1, 0.5, 2], 20000)).astype(dtype)
    check_fma(dtype, half, (1 + off).astype(dtype), c)
    a = (1 + rng.integers(0, 2**20, 20000) * eps).astype(dtype)
    check_fma(dtype, a, a, -(a * a))


@given(*(st.integers(-(2**24) + 1, 2**24 - 1),) * 3, *(st.integers(-30, 30),) * 3)
def test_fma_of_any_float32(a: int, b: int, c: int, i: int, j: int, k: int) -> None:
    numbers = np.ldexp(np.float64([a, b, c]), [i, j, k]).astype(np.float32)
    check_fma("float32", *numbers[:, None])


def test_the_oracle_sees_the_order_of_sums() -> None:
    """One block more or less, or another order, changes its bits: it can find a wrong kernel."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 520)).astype("f4"), rng.normal(size=(520, 9)).astype("f4")
    right = oracle.product(x, w)
    assert not np.array_equal(right, oracle.product(x[:, ::-1], w[::-1]))
    assert not np.array_equal(right, x @ w)
    assert not np.array_equal(right[:, :1], oracle.lane_sum(x * w[:, 0])[:, None])
