"""A run that stands at the beginning again is a new run of what the arrays hold then."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import nnfast as nn
from nnfast import backend, layers, losses, plan
from nnfast.sparse import compressed


def job(form: str, theta: Any, state: Any, order: Any) -> plan.Job:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 7)) * (rng.uniform(size=(60, 7)) < np.linspace(0.1, 1, 60)[:, None])
    rule = nn.Adam()
    stack = [nn.Dense(9, "tanh", kernel_regularizer=nn.L2(0.1)), nn.Dropout(0.3), nn.Dense(3)]
    return plan.Job(
        plan=layers.build_plan(stack, 7),
        theta=theta,
        x=compressed(sparse.csr_array(x)) if form == "sparse" else x,
        order=order,
        batch_size=16,
        y=rng.integers(0, 3, 60),
        loss=losses.get("cross_entropy"),
        optimizer=rule,
        state=state,
        rates=rule.rates(0, 4),
        training=True,
        seed=5,
    )


def finished(run: backend.Run) -> tuple[float, int, int]:
    while run.advance(1.0):
        pass
    return run.loss, run.rows, run.steps


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_restart(form: str, current: Any) -> None:
    start = np.random.default_rng(1).normal(size=102)
    theta, state = start.copy(), np.zeros((2, 102))
    order = np.arange(60)[:50]  # the rows of many elements come later
    again = backend.current().run(job(form, theta, state, order))
    first = finished(again)
    theta[:], state[:], order[:] = start, 0, np.arange(59, 9, -1)
    again.restart(first_step=4)
    second = finished(again)

    other, other_state = start.copy(), np.zeros((2, 102))
    new = job(form, other, other_state, np.arange(59, 9, -1))
    new = dataclasses.replace(new, first_step=4)
    assert finished(backend.current().run(new)) == second != first
    np.testing.assert_array_equal(theta, other)
    np.testing.assert_array_equal(state, other_state)


def test_restart_in_the_middle_and_after_a_loss_that_is_not_finite(current: Any) -> None:
    start = np.random.default_rng(1).normal(size=102)
    theta, state, order = start.copy(), np.zeros((2, 102)), np.arange(50)
    run = backend.current().run(job("dense", theta, state, order))
    wanted = finished(run)
    theta[:] = np.nan
    run.restart(0)
    finished(run)
    assert not run.finite
    theta[:], state[:] = start, 0
    run.restart(0)
    assert run.finite
    assert finished(run) == wanted


def test_where_a_loss_is_not_finite_the_call_has_changed_nothing(current: Any) -> None:
    start = np.random.default_rng(1).normal(size=102)
    theta, state = start.copy(), np.zeros((2, 102))
    overflows = job("dense", theta, state, np.arange(50))
    overflows.x[45] = np.nan  # in the third step
    run = backend.current().run(overflows)
    assert not run.advance(10.0)
    assert not run.finite
    np.testing.assert_array_equal(theta, start)
    assert not state.any()
