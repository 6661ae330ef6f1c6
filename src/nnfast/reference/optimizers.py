"""One step of an optimizer on a slice of theta, in place; the rules are in nnfast.optimizers."""

from __future__ import annotations

import numpy as np

from nnfast.optimizers import Optimizer
from nnfast.plan import Array


def clip(optimizer: Optimizer, gradient: Array) -> None:
    """Clip the whole gradient (n_theta,), in place."""
    if optimizer.clip_value is not None:
        np.clip(gradient, -optimizer.clip_value, optimizer.clip_value, out=gradient)
    if optimizer.clip_norm is not None:
        norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
        factor = optimizer.clip_norm / (norm + 1e-6)
        if factor < 1:
            gradient *= gradient.dtype.type(factor)


def update(
    optimizer: Optimizer,
    theta: Array,
    gradient: Array,
    state: Array,
    rate: float,
    epsilon: float,
    shrinkage: float,
) -> None:
    """Update theta (n,) and state (n_slots, n), both in place."""
    if optimizer.name == "rprop":
        _rprop(optimizer, theta, gradient, state)
        return
    first, second, weight_decay, centered = optimizer.constants
    g = gradient + weight_decay * theta
    theta -= shrinkage * theta
    if optimizer.name == "sgd":
        if first:
            velocity = state[0]
            velocity[:] = first * velocity + g
            g = g + first * velocity if second else velocity
        theta -= rate * g
    elif optimizer.name in ("adam", "adamw"):
        m, v = state
        m[:] = first * m + (1 - first) * g
        v[:] = second * v + (1 - second) * g * g
        theta -= rate * m / (np.sqrt(v) + epsilon)
    elif optimizer.name == "adagrad":
        state[0] += g * g
        theta -= rate * g / (np.sqrt(state[0]) + epsilon)
    elif optimizer.name == "rmsprop":
        v = state[0]
        v[:] = first * v + (1 - first) * g * g
        if centered:
            state[1] = first * state[1] + (1 - first) * g
            v = np.maximum(v - state[1] ** 2, 0)
        u = g / (np.sqrt(v) + epsilon)
        if second:
            state[-1] = u = second * state[-1] + u
        theta -= rate * u
    else:
        raise ValueError(f"optimizer {optimizer.name!r} has no kernel in the reference backend")


def _rprop(optimizer: Optimizer, theta: Array, gradient: Array, state: Array) -> None:
    less, more, smallest, largest = optimizer.constants
    before, size = state
    sign = gradient * before
    size *= np.where(sign > 0, more, np.where(sign < 0, less, 1))
    size[:] = np.clip(size, smallest, largest)
    before[:] = np.where(sign < 0, 0, gradient)
    theta -= np.sign(before) * size
