"""Settings of optimizers and learning rates that change; their arithmetic is in the cases."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast import schedules

X = np.random.default_rng(0).normal(size=(64, 3))
Y = X @ [[1.0], [-2.0], [0.5]]


def net() -> nn.Sequential:
    return nn.Sequential([nn.Dense(1)], seed=0, dtype="float64").build(3)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.StepDecay(1.0, every=2, factor=0.5), [1, 1, 0.5, 0.5, 0.25]),
        (schedules.ExponentialDecay(1.0, steps=2, rate=0.25), [1, 0.5, 0.25, 0.125, 0.0625]),
        (schedules.CosineDecay(1.0, steps=2, end=0.5), [1, 0.75, 0.5, 0.5, 0.5]),
        (schedules.InverseScaling(1.0, power=1.0), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
        (schedules.WarmUp(1.0, steps=4), [0.25, 0.5, 0.75, 1, 1]),
        (schedules.WarmUp(schedules.StepDecay(1.0, 3), 2), [0.5, 1, 1, 0.1, 0.1]),
    ],
    ids=repr,
)
def test_schedules(schedule: Any, expected: list[float]) -> None:
    np.testing.assert_allclose([schedule(step) for step in range(5)], expected, rtol=1e-12)
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule


def test_a_schedule_counts_the_steps_of_all_fits(current: Any) -> None:
    """Plain descent under a schedule is descent with each step's own rate; the count goes on."""
    rule = nn.SGD(lr=schedules.InverseScaling(0.1, power=0.6))
    scheduled, by_hand = net(), net()
    for _ in range(2):
        scheduled.fit(X, Y, "mse", rule, epochs=3, batch_size=16, shuffle=False, verbose=0)
    for step in range(24):
        rows = slice(step % 4 * 16, step % 4 * 16 + 16)
        _, gradient = by_hand.loss_and_grad(X[rows], Y[rows], "mse")
        by_hand.theta = by_hand.theta - rule.lr(step) * gradient
    np.testing.assert_allclose(scheduled.theta, by_hand.theta, rtol=1e-12)


def test_any_callable_is_a_schedule(current: Any) -> None:
    seen: list[int] = []

    def rate(step: int) -> float:
        seen.append(step)
        return 0.1

    one, other = net(), net()
    one.fit(X, Y, "mse", nn.SGD(lr=rate), epochs=2, batch_size=32, verbose=0)
    other.fit(X, Y, "mse", nn.SGD(lr=0.1), epochs=2, batch_size=32, verbose=0)
    assert seen == [0, 1, 2, 3]
    assert np.array_equal(one.theta, other.theta)
    for bad in (float("nan"), -1.0, "0.1"):
        with pytest.raises((ValueError, TypeError), match="lr at step 0: expected a schedule"):
            net().fit(X, Y, "mse", nn.SGD(lr=lambda _, bad=bad: bad), verbose=0)


@pytest.mark.parametrize(
    "rule",
    [nn.AdamW(0.1), nn.Adagrad(0.5), nn.RMSprop(0.05), nn.Rprop()],
    ids=lambda rule: rule.name,
)
def test_each_rule_descends(current: Any, rule: Any) -> None:
    model = net()
    losses = model.fit(X, Y, "mse", rule, epochs=150, batch_size=64, verbose=0).history["loss"]
    assert losses[-1] < 0.02 * losses[0]
    named = net()
    named.fit(X, Y, "mse", rule.name, verbose=0)
    by_default = net()
    by_default.fit(X, Y, "mse", type(rule)(), verbose=0)
    assert np.array_equal(named.theta, by_default.theta)


def test_slots_begin_as_the_rule_says() -> None:
    model = net()
    model.fit(X, Y, "mse", nn.Rprop(lr=0.3), epochs=1, batch_size=64, verbose=0)
    start = net().theta
    np.testing.assert_allclose(np.abs(model.theta - start), 0.3, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Adagrad(lr_decay=-1), "lr_decay: expected a number >= 0, got -1"),
        (lambda: nn.RMSprop(alpha=1), r"alpha: expected a number in \[0, 1\), got 1"),
        (lambda: nn.RMSprop(momentum=-0.1), "momentum: expected"),
        (lambda: nn.Rprop(etas=(1.2, 0.5)), r"etas\[0\]: expected a number in \(0, 1\), got 1.2"),
        (lambda: nn.Rprop(etas=0.5), "etas: expected two numbers, got 0.5"),
        (
            lambda: nn.Rprop(step_sizes=(1, 0.5)),
            r"step_sizes\[1\]: expected a finite number from 1",
        ),
        (lambda: nn.Rprop(lr=schedules.StepDecay(0.1, 3)), "lr: expected a finite number > 0"),
        (
            lambda: nn.AdamW(lr=schedules.StepDecay),
            "lr: expected a finite number > 0, or a schedule",
        ),
        (lambda: schedules.StepDecay(0.1, 0), "every: expected an integer of at least 1, got 0"),
        (lambda: schedules.CosineDecay(-1, 3), "lr: expected a finite number > 0"),
        (lambda: schedules.WarmUp(0.0, 3), "lr: expected a finite number > 0"),
        (
            lambda: schedules.ExponentialDecay(0.1, 3, 2),
            r"rate: expected a number in \(0, 1\], got 2",
        ),
    ],
)
def test_bad_settings_are_named(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()
