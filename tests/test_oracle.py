"""Training agrees bit for bit with an oracle written from the rule (oracle.py), on each FMA ISA."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
import sums
from cases import BY_NAME, CASES, EPS, Case, each_dtype, finish
from hypothesis import given
from hypothesis import strategies as st

from nnfast import L1L2, Dense, MaxNorm, Residual, losses, optimizers
from nnfast.plan import OPS, Job

LONG = (
    Case("long sums, Adam", (Dense(4, "relu"), Dense(515, "tanh"), Dense(3)), 770, rows=30),
    Case("long steps, momentum", (Dense(7, "tanh"), Dense(2)), 3, batch_size=1025, rows=1100),
    Case("gradients meet", (Dense(5, "tanh"), Residual([Dense(515, "gelu"), Dense(5)])), rows=30),
    Case("long columns", (Dense(4, kernel_regularizer=L1L2(0.01, 0.02)), Dense(3)), 520, rows=30),
    Case("long rows", (Dense(515, "relu"), Dense(3, kernel_regularizer=L1L2(0.01, 0.02))), rows=30),
    Case("long bounds", (Dense(4, kernel_constraint=MaxNorm(0.3)), Dense(3)), 520, rows=30),
)
ROW_LOSSES = (
    *(f"{name}, 4" for name in losses.NAMES if f"{name}, 4" in BY_NAME),
    *(f"{kind}, identity" for kind in ("labels", "soft targets")),
    *(f"smooth {kind}" for kind in ("labels", "soft targets", "binary")),
)
FEW = tuple(
    replace(BY_NAME[name], name=f"{name}, batch of {n}", batch_size=n)
    for name in ROW_LOSSES
    for n in (3, 5, 10)
)
"""Fewer rows than some vectors have lanes: a narrow loss goes by rows there, by columns elsewhere."""


class Kernels:
    """The functions of one instruction set."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine

    def activation(self, z: Any, name: str) -> Any:
        y = np.empty(z.shape, z.dtype)
        self.machine.activation(np.ascontiguousarray(z), name, y, 1)
        return y

    def slope(self, a: Any, name: str) -> Any:
        y, a = np.empty(a.shape, a.dtype), np.ascontiguousarray(a)
        self.machine.activation_grad(a, np.ones_like(a), name, y, 1)
        return y

    def exp(self, x: Any) -> Any:
        return self._function(0, x)

    def log(self, x: Any) -> Any:
        return self._function(1, x)

    def log1p(self, x: Any) -> Any:
        return self._function(2, x)

    def _function(self, name: int, x: Any) -> Any:
        from nnfast import _native

        y, x = np.empty(x.shape, x.dtype), np.ascontiguousarray(x)
        _native.function(self.machine.isa, x.dtype == np.float64, name, y, x)
        return y


@each_dtype
@pytest.mark.parametrize("case", [*CASES, *LONG, *FEW], ids=lambda case: case.name)
def test_training(fma_machines: list[Any], case: Case, dtype: str) -> None:
    def job() -> Job:
        return case.job(dtype, steps=2, seed=2**63 + 2**33 + 5)

    theta, buffers, state, loss = oracle.train(job(), Kernels(fma_machines[0]))
    for machine in fma_machines:
        made = job()
        run = machine.run(made)
        finish(run)
        assert run.loss == loss, machine.isa
        for name, expected in (("theta", theta), ("buffers", buffers), ("state", state)):
            assert np.array_equal(getattr(made, name), expected), f"{machine.isa}, {name}"


def test_the_cases_cover_the_rule() -> None:
    """Blocks of k and of rows, and all that a plan can name."""
    jobs = [case.job("float32") for case in CASES]
    assert any(case.batch_size > 512 for case in CASES)
    assert any(job.plan.n_in > 512 for job in jobs)
    assert {row.op for job in jobs for row in job.plan.rows} == set(OPS)
    assert {job.optimizer.name for job in jobs if job.optimizer} == set(optimizers.NAMES)
    assert {job.loss.name for job in jobs if job.loss} >= set(losses.NAMES)


@functools.cache
def libm(dtype: str) -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("m") or pytest.skip("no libm"))
    number, name = {"float32": (ctypes.c_float, "fmaf"), "float64": (ctypes.c_double, "fma")}[dtype]
    function = getattr(library, name)
    function.argtypes, function.restype = [number] * 3, number
    return function


def check_fma(dtype: str, a: Any, b: Any, c: Any) -> None:
    expected = [libm(dtype)(*row) for row in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)]
    assert np.array_equal(sums.fma(a, b, c), np.array(expected, dtype))


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
    right = sums.product(x, w)
    assert not np.array_equal(right, sums.product(x[:, ::-1], w[::-1]))
    assert not np.array_equal(right, x @ w)
    assert not np.array_equal(right[:, :1], sums.lane_sum(x * w[:, 0])[:, None])
