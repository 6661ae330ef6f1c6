"""Initial weights: the stated stream to the bit, bounds, moments, and the normal quantile."""

from __future__ import annotations

import hashlib
import math
import statistics

import numpy as np
import pytest

import nnfast as nn
from nnfast import initializers, rng

FANS = 300, 200
VARIANCE = {"glorot": 2 / sum(FANS), "he": 2 / FANS[0], "lecun": 1 / FANS[0]}


def draw(name: str, seed: int = 0, index: int = 0) -> np.ndarray:
    return initializers.draw(name, FANS, *FANS, seed, index)


@pytest.mark.parametrize("family", VARIANCE)
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_moments_and_bounds(family: str, distribution: str) -> None:
    w = draw(f"{family}_{distribution}")
    scale, n = math.sqrt(VARIANCE[family]), w.size
    assert w.shape == FANS
    assert abs(w.mean()) < 4 * scale / math.sqrt(n)
    assert w.var() == pytest.approx(scale**2, rel=0.02)
    limit = math.sqrt(3) * scale if distribution == "uniform" else 8.3 * scale
    assert np.abs(w).max() <= limit
    # the largest of the 60,000: near the bound if uniform; if normal, beyond 3.5 sigma
    assert np.abs(w).max() > (0.999 * limit if distribution == "uniform" else 3.5 * scale)
    half = np.sort(w.ravel())[[n // 4, 3 * n // 4]] / scale  # quartiles tell the shapes apart
    expected = math.sqrt(3) / 2 if distribution == "uniform" else 0.67449
    np.testing.assert_allclose(half, [-expected, expected], atol=0.03)


def test_bits_are_those_of_the_stated_stream() -> None:
    seed, index = 7, 3
    stream = np.random.Philox(key=[seed, 0], counter=[0, 0, index, 0]).random_raw(math.prod(FANS))
    unit = [int(word) >> 11 for word in stream]
    limit = math.sqrt(3 * VARIANCE["glorot"])
    expected = [(2 * (k * 2.0**-53) - 1) * limit for k in unit]
    assert draw("glorot_uniform", seed, index).ravel().tolist() == expected
    normal = [math.sqrt(VARIANCE["he"]) * _quantile((k + 0.5) * 2.0**-53) for k in unit[:500]]
    np.testing.assert_allclose(draw("he_normal", seed, index).ravel()[:500], normal, rtol=1e-13)


def _quantile(p: float) -> float:
    return statistics.NormalDist().inv_cdf(p)


def test_bits_are_the_same_everywhere() -> None:
    """A golden hash: whoever changes a bit of the initial weights must mean it."""
    digests = {
        name: hashlib.sha256(draw(name, 1, 2).astype("<f8").tobytes()).hexdigest()[:16]
        for name in ("glorot_uniform", "he_normal")
    }
    assert digests == GOLDEN


GOLDEN = {"glorot_uniform": "aa0dbb82f8133a6c", "he_normal": "b11b660c08a2bcee"}


def test_each_parameter_and_seed_has_a_stream_of_its_own() -> None:
    streams = [draw("he_uniform", seed, index) for seed in (0, 1, 2**63) for index in (0, 1, 2)]
    for i, a in enumerate(streams):
        for b in streams[:i]:
            assert (a != b).mean() > 0.99
    assert (draw("he_uniform") == draw("he_uniform")).all()
    assert (rng.words(0, rng.WEIGHTS, 0, 9) != rng.words(0, rng.SHUFFLE, 0, 9)).any()


def test_constants_and_given_values() -> None:
    assert (draw("zeros") == 0).all()
    assert (draw("ones") == 1).all()
    values = np.arange(6).reshape(2, 3)
    assert initializers.draw(values, (2, 3), 2, 3, 0, 0) is values
    with pytest.raises(ValueError, match=r"expected an array of shape \(3, 2\), got \(2, 3\)"):
        initializers.draw(values, (3, 2), 3, 2, 0, 0)


def test_normal_quantile() -> None:
    """AS 241: within 1e-15 of the truth in the middle, and not far from it in the tails."""
    p = np.concatenate([
        np.linspace(1e-6, 1 - 1e-6, 2001),
        2.0 ** -np.arange(2, 54),
        1 - 2.0 ** -np.arange(2, 53),
        [0.075, 0.925, 0.5, np.exp(-25), 0.5 * 2.0**-53],
    ])  # fmt: skip
    got = initializers.normal_quantile(p)
    np.testing.assert_allclose(got, [_quantile(x) for x in p], rtol=2e-14, atol=1e-15)
    assert initializers.normal_quantile(np.array([0.5]))[0] == 0
    assert (np.diff(initializers.normal_quantile(np.linspace(0.001, 0.999, 9999))) > 0).all()


def test_normal_quantile_against_scipy() -> None:
    special = pytest.importorskip("scipy.special")
    p = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 9999), 2.0 ** -np.arange(2, 54)])
    np.testing.assert_allclose(initializers.normal_quantile(p), special.ndtri(p), rtol=5e-14)


def test_a_network_draws_by_its_seed_in_its_dtype() -> None:
    layers = [nn.Dense(5, kernel_initializer="he_normal"), nn.Dense(2, bias_initializer="ones")]
    wide = nn.Sequential(layers, seed=3, dtype="float64").build(4)
    narrow = nn.Sequential(layers, seed=3).build(4)
    assert (wide.theta.astype(np.float32) == narrow.theta).all()
    first = initializers.draw("he_normal", (4, 5), 4, 5, 3, 0)
    assert (wide.parameters()["0.weight"] == first).all()
    third = initializers.draw("glorot_uniform", (5, 2), 5, 2, 3, 2)
    assert (wide.parameters()["1.weight"] == third).all()
    assert (wide.parameters()["1.bias"] == 1).all()
    before = wide.theta.copy()
    wide.theta = np.zeros_like(before)
    assert (wide.build(4).theta == before).all()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "0", True])
def test_a_bad_seed_is_refused(seed: object) -> None:
    with pytest.raises((TypeError, ValueError), match="seed: expected an integer"):
        nn.Sequential([nn.Dense(1)], seed=seed)


def test_no_seed_draws_one_that_can_be_told() -> None:
    a, b = nn.Sequential([nn.Dense(3)]), nn.Sequential([nn.Dense(3)])
    assert a.seed != b.seed
    again = nn.Sequential([nn.Dense(3)], seed=a.seed)
    assert (a.build(2).theta == again.build(2).theta).all()
