"""JAX: the epoch as one jitted lax.scan over the batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.data import Array, Data
from bench.peers.contestant import Contestant
from bench.work import Work


def fit(data: Data) -> Contestant:
    work = data.work
    steps = work.rows // work.batch_size
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    params = [jnp.asarray(part) for layer in data.layers(data.theta) for part in layer]
    activation = jax.nn.relu if work.activation == "relu" else jnp.tanh
    rule, first_slots = _rule(work)

    def loss(params: Any, x: Any, y: Any) -> Any:
        *hidden, (w, b) = zip(params[::2], params[1::2], strict=True)
        for w_hidden, b_hidden in hidden:
            x = activation(x @ w_hidden + b_hidden)
        z = x @ w + b
        if work.loss == "mse":
            return jnp.mean((z - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    @jax.jit
    def epoch(state: Any, x: Any, y: Any, order: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            params, slots, t = state
            gradient = jax.grad(loss)(params, x[rows], y[rows])
            done = [rule(*of_one, t) for of_one in zip(params, gradient, slots, strict=True)]
            return ([p for p, _ in done], [slots for _, slots in done], t + 1), None

        return jax.lax.scan(step, state, order.reshape(steps, work.batch_size))[0]

    slots = [tuple(jnp.full_like(p, first) for first in first_slots) for p in params]
    state: Any = (params, slots, jnp.ones((), x.dtype))
    rng = np.random.default_rng(0)

    def run() -> None:
        nonlocal state
        order = rng.permutation(work.rows)[: steps * work.batch_size].astype(np.int32)
        state = jax.block_until_ready(epoch(state, x, y, order))

    def theta() -> Array:
        return np.concatenate([np.asarray(part).ravel() for part in state[0]])

    return Contestant(run, theta=theta, threads=work.threads, version=jax.__version__)


def _rule(work: Work) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """``rule(p, g, slots, t) -> (p, slots)``, t from 1, and what the slots hold at first."""
    lr = work.lr

    def sgd(p: Any, g: Any, _: Any, _t: Any) -> Any:
        return p - lr * g, ()

    def momentum(p: Any, g: Any, slots: Any, _t: Any) -> Any:
        m = work.momentum * slots[0] + g
        return p - lr * m, (m,)

    def nesterov(p: Any, g: Any, slots: Any, _t: Any) -> Any:
        m = work.momentum * slots[0] + g
        return p - lr * (g + work.momentum * m), (m,)

    def adagrad(p: Any, g: Any, slots: Any, _t: Any) -> Any:
        v = slots[0] + g * g
        return p - lr * g / (jnp.sqrt(v) + 1e-10), (v,)

    def rmsprop(p: Any, g: Any, slots: Any, _t: Any) -> Any:
        v = 0.99 * slots[0] + 0.01 * g * g
        return p - lr * g / (jnp.sqrt(v) + 1e-8), (v,)

    def adam(p: Any, g: Any, slots: Any, t: Any) -> Any:
        m = 0.9 * slots[0] + 0.1 * g
        v = 0.999 * slots[1] + 0.001 * g * g
        correction = jnp.sqrt(1 - 0.999**t)
        size, epsilon = lr * correction / (1 - 0.9**t), 1e-8 * correction
        return p - size * m / (jnp.sqrt(v) + epsilon), (m, v)

    def adamw(p: Any, g: Any, slots: Any, t: Any) -> Any:
        return adam(p - lr * 0.01 * p, g, slots, t)

    def rprop(p: Any, g: Any, slots: Any, _t: Any) -> Any:
        before, size = slots
        same = jnp.sign(g * before)
        size = jnp.clip(size * jnp.where(same > 0, 1.2, jnp.where(same < 0, 0.5, 1)), 1e-6, 50)
        g = jnp.where(same < 0, 0, g)
        return p - jnp.sign(g) * size, (g, size)

    rules: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
        "sgd": (sgd, ()),
        "momentum": (momentum, (0.0,)),
        "nesterov": (nesterov, (0.0,)),
        "adagrad": (adagrad, (0.0,)),
        "rmsprop": (rmsprop, (0.0,)),
        "adam": (adam, (0.0, 0.0)),
        "adamw": (adamw, (0.0, 0.0)),
        "rprop": (rprop, (0.0, lr)),
    }
    return rules[work.optimizer]
