"""One step of an optimizer on a slice of theta, in place; the rules are in nnfast.optimizers."""

from __future__ import annotations

import numpy as np

from nnfast.optimizers import Optimizer
from nnfast.plan import Array


def update(
    optimizer: Optimizer, theta: Array, gradient: Array, state: Array, rate: float, epsilon: float
) -> None:
    """Update theta (n,) and state (n_slots, n), both in place."""
    if optimizer.name == "sgd":
        momentum, nesterov, weight_decay, _ = optimizer.constants
        g = gradient + weight_decay * theta
        if momentum:
            velocity = state[0]
            velocity[:] = momentum * velocity + g
            g = g + momentum * velocity if nesterov else velocity
        theta -= rate * g
    elif optimizer.name == "adam":
        beta1, beta2, weight_decay, _ = optimizer.constants
        g = gradient + weight_decay * theta
        m, v = state
        m[:] = beta1 * m + (1 - beta1) * g
        v[:] = beta2 * v + (1 - beta2) * g * g
        theta -= rate * m / (np.sqrt(v) + epsilon)
    else:
        raise ValueError(f"optimizer {optimizer.name!r} has no kernel in the reference backend")
