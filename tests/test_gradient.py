"""The gradient is the derivative of the loss: central differences in float64, for every case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import Case, each_case

STEP = 1e-5
TOLERANCE = 1e-8
"""Relative to the gradient: truncation is about STEP**2, rounding about 1e-16 / STEP."""
STEP_OPS = {"dropout", "gaussian_noise", "batch_norm"}
"""What does something else in training."""


@each_case
@pytest.mark.parametrize("training", [False, True], ids=["", "training"])
def test_gradient(current: Any, case: Case, training: bool) -> None:
    """Of J as `evaluate` has it, and of a training step: noise drawn, batches normalised."""
    net, (x, y, weight) = case.net("float64"), case.data("float64")
    start = net.theta.copy()

    def loss(theta: Any) -> float:
        net.theta = theta
        return net.loss_and_grad(x, y, case.loss, weight, training)[0]

    J, gradient = net.loss_and_grad(x, y, case.loss, weight, training)
    if not training:
        evaluated = net.evaluate(x, y, case.loss, sample_weight=weight)["loss"]
        assert np.isclose(J, evaluated, rtol=1e-14)
    elif not any(row.op in STEP_OPS for row in net.plan.rows):
        return
    learns = np.zeros(start.size, bool)
    for p in net.plan.parameters:
        learns[p.slice] = p.trainable
    assert not gradient[~learns].any()

    rng = np.random.default_rng(0)
    random = rng.normal(size=(4, start.size)) * learns
    single = np.eye(1, start.size) * np.zeros((8, 1))
    single[np.arange(8), rng.choice(np.flatnonzero(learns), 8)] = 1
    for d in (*random / np.linalg.norm(random, axis=1, keepdims=True), *single):
        slope = (loss(start + STEP * d) - loss(start - STEP * d)) / (2 * STEP)
        np.testing.assert_allclose(d @ gradient, slope, rtol=0, atol=TOLERANCE * (1 + abs(slope)))


@each_case
def test_training_leaves_frozen_layers_alone(current: Any, case: Case) -> None:
    net, (x, y, weight) = case.net("float32"), case.data("float32")
    before = {name: view.copy() for name, view in net.parameters().items()}
    net.fit(x, y, loss=case.loss, optimizer=case.optimizer, sample_weight=weight, verbose=0)
    for p in net.plan.parameters:
        same = np.array_equal(net.parameters()[p.name], before[p.name])
        assert same == (not p.trainable), p.name
