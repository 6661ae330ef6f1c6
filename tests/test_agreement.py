"""The native backend against the reference one, and both against PyTorch."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from cases import BY_NAME, Case, each_case, each_dtype, finish, log_cosh

from nnfast.reference import ReferenceBackend
from nnfast.reference.run import OPS
from nnfast.reference.step import Step

AFTER_50_STEPS = {"float32": 2e-4, "float64": 1e-11}
"""Largest difference of any parameter, relative to the largest: what rounding grows to."""
AFTER_100_STEPS_OF_TORCH = 1e-9


def distance(a: Any, b: Any) -> float:
    """Return the largest difference relative to the largest element of b."""
    return float(np.abs(a - b).max() / np.abs(b).max())


@functools.cache
def _reference(name: str, dtype: str, steps: int) -> tuple[Any, float, Any]:
    job = BY_NAME[name].job(dtype, steps)
    run = ReferenceBackend().run(job)
    finish(run)
    return job.theta, run.loss, job.buffers


@each_dtype
@each_case
def test_native_agrees_with_reference(machine: Any, case: Case, dtype: str) -> None:
    """Both dtypes against float64: float32 must be near the truth, not near another float32."""
    job = case.job(dtype, 50)
    run = machine.run(job)
    finish(run)
    theta, loss, buffers = _reference(case.name, "float64", 50)
    assert run.steps == 50
    assert job.buffers is not None
    np.testing.assert_allclose(job.buffers, buffers, rtol=0, atol=2 * AFTER_50_STEPS[dtype])
    assert run.rows == len(job.order)
    assert distance(job.theta, theta) < AFTER_50_STEPS[dtype]
    assert run.loss == pytest.approx(loss, rel=AFTER_50_STEPS[dtype])


@each_case
def test_one_step_in_float32(current: Any, case: Case) -> None:
    """Outputs, loss and gradient of one step are within a few rounding errors of float64's."""
    found = []
    for dtype in ("float32", "float64"):
        net, (x, y, weight) = case.net(dtype), case.data(dtype)
        net.theta = case.net("float32").theta
        found.append((net.predict(x), *net.loss_and_grad(x, y, case.loss, weight)))
    (outputs, J, gradient), (outputs64, J64, gradient64) = found
    assert outputs.dtype == gradient.dtype == np.float32
    assert distance(outputs, outputs64) < 2e-6
    assert distance(gradient, gradient64) < 2e-6
    assert pytest.approx(J64, rel=1e-6) == J


@functools.cache
def _torch(name: str, steps: int) -> tuple[Any, float]:
    """Train the case in PyTorch, float64; return theta and the sum of the rows' losses."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    case = BY_NAME[name]
    job = case.job("float64", steps)
    theta = torch.tensor(job.theta)
    weights = {
        p.offset: theta[p.slice].reshape(p.shape).clone().requires_grad_(p.trainable)
        for p in job.plan.parameters
    }
    rule = case.optimizer
    settings = asdict(rule) | {"lr": 1.0 if callable(rule.lr) else rule.lr}
    clip_value, clip_norm = settings.pop("clip_value"), settings.pop("clip_norm")
    optimizer = getattr(torch.optim, type(rule).__name__)(weights.values(), **settings)
    x, y = torch.tensor(job.x), torch.tensor(job.y)
    factors = torch.ones(len(x)) if job.sample_weight is None else torch.tensor(job.sample_weight)
    total = 0.0
    for step, first in enumerate(range(0, len(job.order), job.batch_size)):
        rows = torch.tensor(job.order[first : first + job.batch_size])
        if callable(rule.lr):
            optimizer.param_groups[0]["lr"] = rule.lr(step)
        optimizer.zero_grad()
        outputs = torch_outputs(torch, job, weights, x[rows], job.first_step + step)
        loss = (torch_losses(torch, job.loss, outputs, y[rows]) * factors[rows]).mean()
        factor = 1 if job.penalty_factors is None else job.penalty_factors[step]
        loss = loss + factor * torch_penalty(job.plan, weights)
        loss.backward()
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_(weights.values(), clip_value)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(weights.values(), clip_norm)
        optimizer.step()
        with torch.no_grad():
            for row in job.plan.rows:
                if most := row.attributes.get("max_norm"):
                    w = weights[row.theta]
                    w *= torch.clamp(most / w.norm(dim=0), max=1)
        total += loss.item() * len(rows)
    for offset, w in weights.items():
        theta[offset : offset + w.numel()] = w.detach().flatten()
    return theta.numpy(), total


def torch_outputs(torch: Any, job: Any, weights: Any, x: Any, number: int) -> Any:
    """Return the outputs of a training step; noise is what nnfast's definition draws."""
    functional = torch.nn.functional
    functions = {
        "identity": lambda z: z,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softmax": lambda z: torch.softmax(z, -1),
        "arctan": torch.arctan,
    }
    noise = Step(job.plan, job.theta, job.buffers, True, job.seed, number)
    a = {0: x}
    for row in job.plan.rows:
        z, attributes, n = a[row.inputs[0]], row.attributes, row.attributes.get("n")
        if row.op == "dense":
            w = weights[row.theta]
            z = z @ w
            if attributes["use_bias"]:
                z = z + weights[row.theta + w.numel()]
        elif row.op == "rescaling":
            z = z * attributes["scale"] + attributes["offset"]
        elif row.op in ("dropout", "gaussian_noise"):
            zeros = np.zeros(z.shape)
            drawn = OPS[row.op].forward(row, [zeros + (row.op == "dropout")], noise)
            z = z * torch.tensor(drawn) if row.op == "dropout" else z + torch.tensor(drawn)
        elif row.op == "batch_norm":
            pair = weights[row.theta], weights[row.theta + n]
            mean, variance = z.mean(0), z.var(0, correction=0)
            z = (z - mean) / torch.sqrt(variance + attributes["epsilon"]) * pair[0] + pair[1]
        elif row.op == "layer_norm":
            pair = weights[row.theta], weights[row.theta + n]
            z = functional.layer_norm(z, (n,), *pair, attributes["epsilon"])
        elif row.op == "add":
            z = z + a[row.inputs[1]]
        elif row.op == "custom":
            w = weights.get(row.theta)
            z = torch.cat([z, z * z], 1) if w is None else torch.sin(z) * w
        name = attributes.get("activation", "identity")
        a[row.output] = (functions.get(name) or getattr(functional, name))(z)
    return a[job.plan.rows[-1].output]


def torch_losses(torch: Any, loss: Any, z: Any, y: Any) -> Any:
    """Return the losses of the rows."""
    functional, smoothing = torch.nn.functional, loss.label_smoothing
    if loss.function is log_cosh:
        return torch.log(torch.cosh(z - y)).mean(1)
    if loss.function is not None:
        return ((z - y) ** 4).mean(1)
    if loss.name == "cross_entropy":
        return functional.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)
    if loss.name in ("hinge", "perceptron"):
        return torch.clamp(int(loss.name == "hinge") - y * z, min=0).mean(1)
    if loss.name == "binary_cross_entropy":
        y = y * (1 - smoothing) + smoothing / 2  # Keras' rule: PyTorch smooths no binary targets
    name = {"mae": "l1_loss", "binary_cross_entropy": "binary_cross_entropy_with_logits"}.get(
        loss.name, f"{loss.name}_loss"
    )
    function = getattr(functional, name.replace("poisson", "poisson_nll"))
    return function(z, y, reduction="none").mean(1)


def torch_penalty(plan: Any, weights: Any) -> Any:
    """Return the penalties of what learns."""
    return sum(
        row.attributes["l1"] * weights[row.theta].abs().sum()
        + row.attributes["l2"] * (weights[row.theta] ** 2).sum()
        for row in plan.rows
        if row.op == "dense" and row.attributes["trainable"]
    )


@each_case
def test_native_agrees_with_torch(machine: Any, case: Case) -> None:
    theta, loss = _torch(case.name, 100)
    job = case.job("float64", 100)
    run = machine.run(job)
    finish(run)
    assert distance(job.theta, theta) < AFTER_100_STEPS_OF_TORCH
    assert run.loss == pytest.approx(loss, rel=AFTER_100_STEPS_OF_TORCH)


@each_case
def test_reference_agrees_with_torch(case: Case) -> None:
    theta, loss = _torch(case.name, 100)
    found, total, _ = _reference(case.name, "float64", 100)
    assert distance(found, theta) < AFTER_100_STEPS_OF_TORCH
    assert total == pytest.approx(loss, rel=AFTER_100_STEPS_OF_TORCH)


@each_dtype
def test_state_goes_on(machine: Any, dtype: str) -> None:
    """Fits of one epoch each are one fit of as many: momentum and Adam's counter are kept."""
    for case in (BY_NAME["three blocks"], BY_NAME["middle frozen"]):
        whole = case.job(dtype, 6)
        finish(machine.run(whole))
        parts = case.job(dtype, 6)
        assert parts.rates is not None
        for step in range(6):
            rows = slice(step * case.batch_size, (step + 1) * case.batch_size)
            rates = parts.rates[step : step + 1]
            finish(machine.run(replace(parts, order=parts.order[rows], rates=rates)))
        assert parts.theta.tobytes() == whole.theta.tobytes()
