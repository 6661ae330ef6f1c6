"""Micro benchmarks of the drop-in functions and of `fit`: ``pytest bench/``.

Each also checks its result loosely, so that a fast wrong kernel does not pass. "gflops" stands in
the extra info of the report (``--benchmark-json``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast.compat.nielsen import network

SHAPES = [(1, 16, 64), (32, 32, 32), (32, 784, 128), (128, 512, 512)]
DTYPES = ["float32", "float64"]


def _normal(*shape: int, dtype: str = "float32") -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def _report(benchmark: Any, flops: int) -> None:
    if benchmark.stats is not None:  # None with --benchmark-disable
        benchmark.extra_info["gflops"] = flops / benchmark.stats.stats.median / 1e9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_forward(benchmark: Any, shape: tuple[int, int, int], dtype: str) -> None:
    m, k, n = shape
    x, w, b = _normal(m, k, dtype=dtype), _normal(k, n, dtype=dtype), _normal(n, dtype=dtype)
    y = benchmark(nn.ops.dense_forward, x, w, b, "relu")
    np.testing.assert_allclose(y, np.maximum(x @ w + b, 0), rtol=1e-3, atol=1e-3)
    _report(benchmark, 2 * m * k * n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_backward(benchmark: Any, shape: tuple[int, int, int], dtype: str) -> None:
    m, k, n = shape
    x, w, dy = (_normal(*s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
    y = np.maximum(x @ w, 0)
    dx, dw, db = benchmark(nn.ops.dense_backward, x, w, y, dy, "relu")
    dz = dy * (y > 0)
    for got, expected in ((dx, dz @ w.T), (dw, x.T @ dz), (db, dz.sum(axis=0))):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)
    _report(benchmark, 4 * m * k * n)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "softmax"])
def test_activation(benchmark: Any, name: str) -> None:
    z = _normal(256, 1024)
    y = benchmark(nn.ops.activation, z, name)
    assert y.shape == z.shape
    assert np.isfinite(y).all()


@pytest.mark.parametrize("n", [1 << 10, 1 << 20])
def test_sgd_update(benchmark: Any, n: int) -> None:
    theta, gradient = np.zeros(n, np.float32), np.ones(n, np.float32)
    benchmark(nn.ops.sgd_update, theta, gradient, lr=0.125)
    assert theta[0] < 0
    assert (theta == theta[0]).all()


def test_softmax_cross_entropy(benchmark: Any) -> None:
    z, labels = _normal(128, 10), np.arange(128) % 10
    loss, dz = benchmark(nn.ops.softmax_cross_entropy, z, labels)
    assert loss > 0
    np.testing.assert_allclose(dz.sum(axis=1), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("hidden", "batch_size", "rows"),
    [((30,), 10, 6_000), ((128,), 32, 6_400), ((512, 512), 128, 1_280)],
    ids=str,
)
def test_fit(benchmark: Any, hidden: tuple[int, ...], batch_size: int, rows: int) -> None:
    x = np.random.default_rng(0).random((rows, 784), np.float32)
    y = (x @ _normal(784, 10)).argmax(axis=1)
    net = nn.Sequential([*(nn.Dense(n, "relu") for n in hidden), nn.Dense(10)], seed=0)
    net.build(784)
    before = net.evaluate(x, y, loss="cross_entropy")
    settings = {"optimizer": nn.SGD(lr=0.01), "batch_size": batch_size, "verbose": 0, "threads": 1}
    benchmark(net.fit, x, y, loss="cross_entropy", **settings)
    assert net.evaluate(x, y, loss="cross_entropy") != before
    sizes = (784, *hidden, 10)
    products = [n_in * n_out for n_in, n_out in pairwise(sizes)]
    _report(benchmark, rows * (6 * sum(products) - 2 * products[0]))


def test_nielsen(benchmark: Any) -> None:
    """An epoch of the book's network, with its evaluation."""
    rng = np.random.default_rng(0)
    x, labels = rng.random((2_000, 784, 1)), rng.integers(0, 10, 2_000)
    train = [(column, np.eye(10)[:, [label]]) for column, label in zip(x, labels, strict=True)]
    test = list(zip(x[:400], labels.tolist(), strict=False))
    net = network.Network([784, 30, 10])
    before = net.weights[0]
    benchmark(net.SGD, train, 1, 10, 3.0, test)
    assert not np.array_equal(net.weights[0], before)


def test_predictor(benchmark: Any) -> None:
    layers = [nn.Dense(64, "tanh"), nn.Dense(64, "tanh"), nn.Dense(4)]
    net = nn.Sequential(layers, seed=0)
    net.build(16)
    x = _normal(16)
    y = benchmark(net.predictor(), x)
    np.testing.assert_allclose(y, net.predict(x[None])[0], rtol=1e-5, atol=1e-6)
