"""It learns: XOR, digits; one seed, one result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast.datasets import load_digits


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_xor(current: Any, activation: str) -> None:
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
    net = nn.Sequential([nn.Dense(16, activation), nn.Dense(1, "sigmoid")], seed=1)
    net.fit(X, y, optimizer=nn.Adam(lr=0.05), epochs=400, batch_size=4)
    assert np.array_equal(net.predict(X)[:, 0] > 0.5, y == 1)


def test_digits(use: Callable[[str], Any]) -> None:
    """The mean over seeds and splits, so that no one of them was chosen for its score."""
    use("reference")
    X, y = load_digits()
    try:
        use("avx512")
    except pytest.skip.Exception:
        nn.backend._Chosen.backend = None
    scores = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = order[:-450], order[-450:]
        net = nn.Sequential([nn.Dense(64, "relu"), nn.Dense(10)], seed=seed)
        history = net.fit(
            X[train], y[train], optimizer=nn.Adam(lr=0.003), epochs=40, metrics="accuracy"
        )
        loss = history.history["loss"]
        assert loss[-1] < 0.1 * loss[0]
        scores.append(net.evaluate(X[test], y[test], metrics="accuracy")["accuracy"])
    assert np.mean(scores) > 0.97


def test_one_seed_one_result(current: Any) -> None:
    X, y = load_digits()

    def train(seed: int) -> bytes:
        net = nn.Sequential([nn.Dense(16, "relu"), nn.Dense(10)], seed=seed)
        net.fit(X[:300], y[:300], epochs=2)
        return net.theta.tobytes()

    assert train(3) == train(3)
    assert train(3) != train(4)


def test_backends_draw_the_same_weights_and_orders(use: Callable[[str], Any], isa: str) -> None:
    native, reference = use(isa), use("reference")
    for n in (1, 2, 3, 4, 5, 1000):
        for epoch in (0, 1, 2**40):
            order = native.permutation(n, 2**63 + 5, epoch)
            assert np.array_equal(order, reference.permutation(n, 2**63 + 5, epoch))
            assert np.array_equal(np.sort(order), np.arange(n))
