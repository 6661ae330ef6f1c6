"""What training draws at random: of which law, keyed by what, and never where nothing is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import DTYPES, Case, each_dtype, finish

from nnfast import Adam, Custom, Dense, Dropout, GaussianNoise, Sequential, training
from nnfast.layers import Layer
from nnfast.plan import Job
from nnfast.reference.rng import philox_4x32

KNOWN_ANSWERS = (
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
)
"""Counter, key and words: kat_vectors of Random123 (Salmon et al., SC 2011)."""


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox(counter: str, key: str, words: str) -> None:
    low, high = (int(word, 16) for word in key.split())
    made = philox_4x32(*(int(word, 16) for word in counter.split()), low | high << 32)
    assert [f"{word:08x}" for word in made] == words.split()


def outputs(
    machine: Any, *layers: Layer, shape: tuple[int, int], dtype: str = "float32", **more: Any
) -> Any:
    """Return what a training step makes of ones, shape (rows, n)."""
    x = np.ones(shape, dtype)
    job = Job(
        plan=Sequential(layers).build(shape[1]).plan,
        theta=np.empty(0, dtype),
        training=True,
        x=x,
        order=np.arange(len(x)),
        batch_size=len(x),
        outputs=np.empty_like(x),
    )
    job = replace(job, **more)
    finish(machine.run(job))
    return job.outputs


@each_dtype
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_of_zeros(machine: Any, rate: float, dtype: str) -> None:
    """In all, in each row and in each column; what is left grows, so that the mean stays."""
    y = outputs(machine, Dropout(rate), shape=(250, 330), dtype=dtype)
    assert set(np.unique(y)) == {0, np.dtype(dtype).type(1 / (1 - rate))}
    for zeros in ((y == 0).ravel()[:, None], y == 0, (y == 0).T):
        error = zeros.mean(axis=0) - rate
        assert np.abs(error).max() < 5 * math.sqrt(rate * (1 - rate) / len(zeros))


@pytest.mark.parametrize("layer", [Dropout(0.5), GaussianNoise(1.0)], ids=lambda layer: repr(layer))
def test_independence(machine: Any, layer: Layer) -> None:
    """Of layers, steps, seeds, rows and columns: no two draws are correlated."""
    shape = 120, 330
    key = {"seed": 3, "first_step": 5}
    base = outputs(machine, layer, shape=shape, **key)
    draws = [base, outputs(machine, Dropout(0.0), layer, shape=shape, **key)]
    for name in key:
        for more in (1, 2**32):
            other = {**key, name: key[name] + more}
            draws.append(outputs(machine, layer, shape=shape, **other))
    draws += [np.roll(base, 1, axis=0)]
    draws += [np.roll(base, distance, axis=1) for distance in (1, 2, 8, 16, 32)]
    correlation = np.corrcoef([y.ravel() for y in draws]) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / math.sqrt(base.size)


@each_dtype
def test_normal_noise(machine: Any, dtype: str) -> None:
    """Mean, deviation, tails, and the largest distance from the law (Kolmogorov and Smirnov)."""
    y = outputs(machine, GaussianNoise(0.5), shape=(800, 330), dtype=dtype)
    g = np.sort((y.astype("f8").ravel() - 1) / 0.5)
    n = g.size
    assert abs(g.mean()) < 4 / math.sqrt(n)
    assert abs(g.std() - 1) < 4 / math.sqrt(2 * n)
    law = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in g])
    steps = np.arange(n + 1) / n
    distance = max(np.abs(law - steps[1:]).max(), np.abs(law - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(n)  # p = 0.001
    for far in (2, 3, 4):
        for tail in (g > far, g < -far):
            expected = n * math.erfc(far / math.sqrt(2)) / 2
            assert abs(tail.sum() - expected) < 4 * math.sqrt(expected)


@pytest.mark.parametrize("key", [(0, 0), (2**64 - 1, 2**40 + 1)])
def test_both_dtypes_draw_the_same(machine: Any, key: tuple[int, int]) -> None:
    def pair(layer: Layer) -> list[Any]:
        names = {"seed": key[0], "first_step": key[1]}
        return [outputs(machine, layer, shape=(30, 70), dtype=t, **names) for t in DTYPES]

    single, double = pair(Dropout(0.3))
    assert np.array_equal(single == 0, double == 0)
    single, double = pair(GaussianNoise(1.0))
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-6)


@each_dtype
@pytest.mark.parametrize("layer", [Dropout(0.0), GaussianNoise(0.0)], ids=lambda layer: repr(layer))
def test_none_is_the_identity(machine: Any, layer: Layer, dtype: str) -> None:
    """Forward and back: training goes on as without the layer."""

    def trained(*between: Layer) -> Any:
        layers = (Dense(9, "tanh"), *between, Dense(3))
        job = Case("none", layers, optimizer=Adam(0.01)).job(dtype)
        finish(machine.run(job))
        return job.theta

    assert np.array_equal(trained(layer), trained())


def recorder(seen: list[Any]) -> Custom:
    """Return a layer that changes nothing and keeps what it sees."""

    def forward(x: Any) -> Any:
        seen.append(x.copy())
        return x

    return Custom(forward, lambda x, y, dy: dy)


def test_only_training_draws(current: Any) -> None:
    seen: list[Any] = []
    net = Sequential([Dropout(0.5), GaussianNoise(1.0), recorder(seen), Dense(1)], seed=0).build(8)
    x, y = np.ones((70, 8), "f4"), np.full((70, 1), 0.5, "f4")
    net.predict(x)
    net.evaluate(x, y)
    net.loss_and_grad(x, y)
    net.predictor()(x[0])
    assert len(seen) >= 4
    assert all((made == 1).all() for made in seen)
    seen.clear()
    net.fit(x, y, batch_size=70, verbose=0, validation_data=(x, y))
    assert [bool((made == 1).all()) for made in seen] == [False, True]


def test_no_mask_comes_twice(current: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of steps, epochs, fits and optimizers; what only looks changes none of them."""
    monkeypatch.setattr(training, "ROWS_OF_OUTPUTS", 64)
    x, y = np.ones((320, 8), "f4"), np.full((320, 1), 0.5, "f4")

    def masks(looks: bool) -> list[bytes]:
        seen: list[Any] = []
        net = Sequential([Dropout(0.5), recorder(seen), Dense(1)], seed=0).build(8)
        metrics = ("mae",) if looks else ()
        net.fit(x, y, epochs=2, metrics=metrics, verbose=0)
        if looks:
            net.predict(x)
            net.evaluate(x, y)
        net.fit(x, y, optimizer="adam", metrics=metrics, verbose=0)
        for _ in range(2):
            net.train_on_batch(x[:32], y[:32])
        net.fit(x, y, verbose=0)
        return [made.tobytes() for made in seen if not (made == 1).all()]

    drawn = masks(looks=False)
    assert len(set(drawn)) == len(drawn) == 2 * 10 + 10 + 2 + 10
    assert drawn == masks(looks=True)
