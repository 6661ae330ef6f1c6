"""What `diagnose` measures: numbers of a plan's rows, of gradients and of targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nnfast import backend, training
from nnfast.inputs import Samples
from nnfast.plan import Array, Job, Parameter, Plan, Row

FLAT = 0.05
"""An output is saturated where its activation's slope is below this share of the largest slope."""

_DIFFERENCE_ROWS = 128
_DIFFERENCE_STEPS = (1e-5, 1e-6, 1e-4, 1e-7)
_DIFFERENCE_ENOUGH = 1e-7
_DUPLICATE_ROWS = 64
_NAN = float("nan")

_SATURATED: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda a: 4 * a * (1 - a) < FLAT,
    "tanh": lambda a: 1 - a * a < FLAT,
    "arctan": lambda a: np.square(np.cos(a)) < FLAT,
    "relu": lambda a: a <= 0,
    "elu": lambda a: a + 1 < FLAT,
    "softplus": lambda a: -np.expm1(-a) < FLAT,
}
"""Activations that have a flat side, and whether an output `a` lies on it."""


Named = Sequence[tuple[Row, str]]
"""Rows, each with the name of its layer."""


def parameters(plan: Plan, row: Row, name: str) -> list[Parameter]:
    """The row's own: those of its layer, if the row has a place in theta."""
    own = (p for p in plan.parameters if p.name.rpartition(".")[0] == name)
    return list(own) if row.theta >= 0 else []


def trace(network: training.Network, data: Samples) -> backend.Trace:
    """Make the step of all rows on the reference machine, as training would but for the update."""
    return backend.trace(
        Job(
            plan=network.plan.without_link(data.loss.link),
            theta=network.theta,
            buffers=network.buffers.copy(),
            training=True,
            seed=network.seed,
            x=data.x,
            y=data.y,
            loss=data.loss,
            order=np.arange(len(data)),
            batch_size=len(data),
            gradient=np.empty_like(network.theta),
        )
    )


def not_finite(named: Named, network: training.Network, step: backend.Trace) -> str:
    """Return where NaN or an infinity appears first on the way forward and back, or ""."""
    for p in network.plan.parameters:
        if not np.isfinite(network.theta[p.slice]).all():
            return f"parameter {p.name}"
    for row, name in named:
        if not np.isfinite(step.a[row.output]).all():
            return f"the outputs of layer {name} ({row.op})"
    if not step.d:
        return "the loss"
    for row, name in reversed(named):
        if not np.isfinite(step.d[row.output]).all():
            return f"dJ/da of layer {name} ({row.op})"
    return ""


def outputs(row: Row, a: Array) -> dict[str, Any]:
    """What is to say of the outputs a (m, n) of a row."""
    activation = str(row.attributes.get("activation", ""))
    saturated = _SATURATED.get(activation)
    counts, edges = np.histogram(a[np.isfinite(a)], bins=40)
    few = a[:_DUPLICATE_ROWS]
    spread, size = np.ptp(few, axis=0), np.abs(few).max(axis=0)
    varied = few[:, spread > 1e-9 * size]
    digits = np.round(varied / max(1e-300, float(np.abs(varied).max(initial=0))), 10) + 0.0
    facts: dict[str, Any] = {
        "activation": activation,
        "units": a.shape[1],
        "mean": float(a.mean()),
        "std": float(a.std()),
        "saturated": _NAN,
        "dead": 0,
        "constant": int((np.ptp(a, axis=0) <= 1e-9 * np.abs(a).max(axis=0)).sum()),
        "duplicates": digits.shape[1] - len({column.tobytes() for column in digits.T}),
        "counts": counts,
        "edges": edges,
    }
    if saturated is not None:
        flat = saturated(a)
        facts |= {"saturated": float(flat.mean()), "dead": int(flat.all(axis=0).sum())}
    return facts


def signals(named: Named, step: backend.Trace) -> list[float]:
    """Return the norm of dJ/da of each row; NaN where there is none."""
    nothing = np.array(_NAN)
    return [float(np.linalg.norm(step.d.get(row.output, nothing))) for row, _ in named]


def gradients(
    parameters: Sequence[Parameter], theta: Array, exact: Array, rough: Array, moved: Array
) -> dict[str, float]:
    """Return norms of the gradient of these parameters: of its own, its error, and of a step.

    `exact` and `rough` are the gradients in float64 and float32, `moved` a step, all of theta's
    shape.
    """
    places = [np.arange(p.slice.start, p.slice.stop) for p in parameters if p.trainable]
    if not places:
        return dict.fromkeys(("gradient", "relative", "update", "float32_error"), _NAN)
    mine = np.concatenate(places)
    size, gradient = (float(np.linalg.norm(array[mine])) for array in (theta, exact))
    error = float(np.linalg.norm(rough[mine] - exact[mine]))
    return {
        "gradient": gradient,
        "relative": ratio(gradient, size),
        "update": ratio(float(np.linalg.norm(moved[mine])), size),
        "float32_error": ratio(error, gradient) if error else error,
    }


def difference_errors(
    network: training.Network, data: Samples, threads: int | None
) -> dict[str, float]:
    """Compare each parameter's gradient with finite differences; return the errors by name.

    At a point beside theta, as kinks (relu, mae) often lie exactly at the initial zeros; along
    the gradient with something random added, so that no part of it goes unseen. Of several
    steps the best counts: a wrong gradient disagrees with all of them.
    """
    rng, data = np.random.default_rng(0), data[:_DIFFERENCE_ROWS]
    theta = network.theta.copy()
    for p in network.plan.parameters:
        values = theta[p.slice]
        values += 1e-3 * (_rms(values) or 0.1) * rng.normal(size=values.size)

    def value(point: Array) -> float:
        there = replace(network, theta=point, buffers=network.buffers.copy())
        return training.loss_and_grad(there, data, True, threads)[0]

    start = replace(network, theta=theta, buffers=network.buffers.copy())
    J, gradient = training.loss_and_grad(start, data, True, threads)
    least = max(1e-3 * float(np.linalg.norm(gradient)), 1e-6 * abs(J), 1e-300)
    errors = {}
    for p in network.plan.parameters:
        if not p.trainable:
            continue
        mine = gradient[p.slice]
        d = np.zeros_like(theta)
        d[p.slice] = _unit(_unit(mine) + _unit(rng.normal(size=mine.size)))
        size = max(float(np.linalg.norm(theta[p.slice])), 0.1 * mine.size**0.5)
        error = float("inf")
        for step in _DIFFERENCE_STEPS:
            h = step * size
            slope = (value(theta + h * d) - value(theta - h * d)) / (2 * h)
            scale = max(float(np.linalg.norm(mine)), least)
            error = min(error, abs(slope - float(d @ gradient)) / scale)
            if error <= _DIFFERENCE_ENOUGH:
                break
        errors[p.name] = error
    return errors


def answers(data: Samples, n_out: int) -> tuple[float, float, Array]:
    """Return the loss of the best constant answer, that of chance, and the rows of each class.

    NaN, NaN and an empty array where the loss or y have no such thing.
    """
    loss, n = data.loss, len(data)
    y = data.y.astype(np.float64) if data.y.ndim == 2 else np.bincount(data.y, minlength=n_out)
    mean = y.mean(axis=0) if data.y.ndim == 2 else y / n
    smoothed = loss.label_smoothing
    constant = chance = _NAN
    if loss.function is not None:
        return constant, chance, np.empty(0)
    if loss.name == "cross_entropy":
        p = (1 - smoothed) * mean + smoothed / n_out
        constant, chance = float(_entropy(p).sum()), math.log(n_out)
    elif loss.name == "binary_cross_entropy":
        p = (1 - smoothed) * mean + smoothed / 2
        constant, chance = float((_entropy(p) + _entropy(1 - p)).mean()), math.log(2)
    elif loss.name == "mse":
        constant = float(y.var(axis=0).mean())
    elif loss.name == "mae":
        constant = float(np.abs(y - np.median(y, axis=0)).mean())
    elif loss.name == "poisson":
        constant = float((mean + _entropy(mean)).mean())
    counts = y if data.y.ndim == 1 else np.empty(0)
    if data.y.ndim == 2 and (loss.takes_labels or loss.name == "binary_cross_entropy"):
        yes = y > 0
        if n_out == 1 and np.isin(y, (-1, 0, 1)).all():
            counts = np.array([n - yes.sum(), yes.sum()])
        elif loss.takes_labels and (yes.sum(axis=1) == 1).all():
            counts = yes.sum(axis=0)
    return constant, chance, counts


def _entropy(p: Array) -> Array:
    return -p * np.log(np.where(p > 0, p, 1))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _unit(values: Array) -> Array:
    return values / (float(np.linalg.norm(values)) or 1.0)


def ratio(part: float, whole: float) -> float:
    """Return the quotient, NaN where the whole is 0."""
    return part / whole if whole else _NAN
