"""Small integers: every product and sum is exact, so every shape must give NumPy's very numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import DTYPES, Case, each_dtype, finish

from nnfast import SGD, Dense, ops

PRIMES = (67, 71, 97, 127, 131, 257, 521)
SIZES = (*range(1, 66), *PRIMES)
AXES = ("rows", "inputs", "outputs")


def integers(shape: tuple[int, ...], seed: int, dtype: str) -> Any:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def shapes(axis: str) -> list[tuple[int, int, int]]:
    """Return (rows, inputs, outputs), one of them going over all sizes."""
    found = np.array([(5, 11, 19), (19, 3, 5), (33, 8, 7)] * len(SIZES))[: len(SIZES)]
    found[:, AXES.index(axis)] = SIZES
    return [(m, k, n) for m, k, n in found.tolist()]


@each_dtype
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("threads", [1, 3])
def test_dense(current: Any, axis: str, threads: int, dtype: str) -> None:
    """Forward and backward."""
    for i, (m, k, n) in enumerate(shapes(axis)):
        x, w, dy = (integers(s, i, dtype) for s in ((m, k), (k, n), (m, n)))
        b = integers((n,), i + 1, dtype)
        y = ops.dense_forward(x, w, b, "relu", threads=threads)
        assert np.array_equal(y, np.maximum(x @ w + b, 0)), (m, k, n)
        assert np.array_equal(ops.dense_forward(x, w, threads=threads), x @ w), (m, k, n)
        dx, dw, db = ops.dense_backward(x, w, y, dy, "relu", threads=threads)
        dz = np.where(y > 0, dy, 0)
        assert dx is not None
        assert np.array_equal(dx, dz @ w.T), (m, k, n)
        assert np.array_equal(dw, x.T @ dz), (m, k, n)
        assert np.array_equal(db, dz.sum(0)), (m, k, n)


NET = Case(
    "integers", (Dense(1, "relu"), Dense(1)), optimizer=SGD(lr=2.0**-3), batch_size=8, rows=8
)


def exact_net(inputs: int, hidden: int, outputs: int, batch: int) -> Case:
    """Return a net whose steps are exact: sizes and rates are powers of 2 where they divide."""
    layers = (Dense(hidden, "relu"), Dense(outputs))
    rule = SGD(lr=batch * outputs * 2.0**-9)
    return replace(
        NET, layers=layers, input_shape=inputs, batch_size=batch, rows=batch, optimizer=rule
    )


NETS = [(i, h, 2 ** (i % 4), 2 ** (h % 6)) for i, h in zip(SIZES, reversed(SIZES), strict=True)]
NETS += [(3, 5, 2, 512), (300, 5, 2, 4), (3, 300, 4, 4), (3, 5, 256, 1), (7, 9, 2, 1024)]


@pytest.mark.parametrize("threads", [1, 3])
def test_nets(machine: Any, threads: int) -> None:
    """A step of training, forward, back and update: exact for all sizes of the layers."""
    for inputs, hidden, outputs, batch in NETS:
        case = exact_net(inputs, hidden, outputs, batch)
        found = {}
        for dtype in DTYPES:
            job = case.job(dtype, steps=1, threads=threads)
            job.theta[:] = integers(job.theta.shape, 1, dtype)
            n = job.plan.n_out
            data = {"x": integers(job.x.shape, 2, dtype), "y": integers((batch, n), 3, dtype)}
            order = np.arange(batch)
            job = replace(job, **data, order=order)
            expected = numpy_step(job, inputs, hidden, outputs)
            finish(machine.run(job))
            found[dtype] = job.theta
            if dtype == "float64":
                assert np.array_equal(job.theta, expected), (inputs, hidden, outputs, batch)
        assert np.abs(found["float32"] - found["float64"]).max() < 2e-5 * np.abs(expected).max()


def numpy_step(job: Any, inputs: int, hidden: int, outputs: int) -> Any:
    """Return theta after one step of SGD on the mean square error, in float64."""
    theta = job.theta.astype(np.float64)
    cut = np.cumsum([inputs * hidden, hidden, hidden * outputs])
    w1, b1, w2, b2 = np.split(theta, cut)
    w1, w2 = w1.reshape(inputs, hidden), w2.reshape(hidden, outputs)
    a = np.maximum(job.x @ w1 + b1, 0)
    dz2 = 2 * (a @ w2 + b2 - job.y) / (outputs * len(a))
    dz1 = np.where(a > 0, dz2 @ w2.T, 0)
    parts = (job.x.T @ dz1, dz1.sum(0), a.T @ dz2, dz2.sum(0))
    return theta - job.rates[0, 0] * np.concatenate([part.ravel() for part in parts])
