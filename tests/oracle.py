"""An independent oracle of R1: training of dense nets, written from the rule alone, in NumPy.

A product sum runs in blocks of 256 of k, each a chain of FMAs in ascending k from +0, the first
from the bias; block sums are added in ascending order; sums over the rows of a step likewise. Sums
over features run in 16 lanes, folded 8-4-2-1. tanh, exp and log are passed in: their values are
tested in test_functions.py.

`fma` is exact. For float64: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums:
proved algorithms using rounding to odd", IEEE Trans. Computers 57 (2008), fig. 4 and theorem 5. For
float32: the product is exact in float64, the sum is rounded to odd there, and rounding an
odd-rounded number of at least 2 more bits is rounding the exact one (section 3 of the same paper).
Both hold while nothing over- or underflows; test_oracle.py compares with libm's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfast.plan import Job

BLOCK = 256


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return fl(a + b) and what the rounding lost (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return fl(a * b) and what the rounding lost (Dekker, with Veltkamp's split)."""
    p = a * b
    (ah, al), (bh, bl) = split(a), split(b)
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


def split(a: Any) -> tuple[Any, Any]:
    """Return the upper 26 bits of a, and the rest."""
    c = a * (2.0**27 + 1)
    high = c - (c - a)
    return high, a - high


def odd_sum(a: Any, b: Any) -> Any:
    """Return a + b rounded to odd: if inexact, the neighbour whose last bit is 1."""
    s, e = two_sum(a, b)
    even = (s.view(np.int64) & 1) == 0
    return np.where(even & (e != 0), np.nextafter(s, np.copysign(np.inf, e)), s)


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c rounded once, of c's dtype."""
    wide = [np.asarray(v, np.float64) for v in np.broadcast_arrays(a, b, c)]
    if np.asarray(c).dtype == np.float32:
        return odd_sum(wide[0] * wide[1], wide[2]).astype(np.float32)
    high, low = two_product(wide[0], wide[1])
    t, t_low = two_sum(wide[2], low)
    v, v_low = two_sum(high, t)
    return v + odd_sum(t_low, v_low)


def product(x: Any, w: Any, start: Any = 0) -> Any:
    """Return start + x @ w by the rule; x (m, K), w (K, n)."""
    total = None
    for first in range(0, x.shape[1], BLOCK):
        sums = np.zeros((len(x), w.shape[1]), x.dtype)
        if total is None:
            sums += start
        for k in range(first, min(first + BLOCK, x.shape[1])):
            sums = fma(x[:, k : k + 1], w[k], sums)
        total = sums if total is None else total + sums
    return total


def lane_sum(terms: Any) -> Any:
    """Return the sum of columns: column j in lane j % 16, ascending; lanes folded 8-4-2-1."""
    lanes = np.zeros((len(terms), 16), terms.dtype)
    for j in range(terms.shape[1]):
        lanes[:, j % 16] += terms[:, j]
    return fold(lanes)


def fold(lanes: Any) -> Any:
    """Return the sum of 16 lanes."""
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    return lanes[:, 0]


def loss(job: Job, z: Any, rows: Any, exp: Any, log: Any) -> tuple[Any, Any]:
    """Return each row's value in float64 and dJ/dz of a step of len(z) rows."""
    real, n = z.dtype.type, z.shape[1]
    weight = np.ones(len(z)) if job.sample_weight is None else job.sample_weight[rows]
    scale = ((1 / len(z)) * weight.astype(np.float64)).astype(real)[:, None]
    assert job.y is not None
    y = job.y[rows]
    if job.loss.name == "mse":
        error = z - y
        values = lane_sum(error * error).astype(np.float64) / n
        return values * weight, (error + error) * (scale / real(n))
    assert job.loss.name == "cross_entropy"
    assert y.ndim == 1
    top = z.max(axis=1)
    powers = exp(z - top[:, None])
    total = lane_sum(powers)
    dz = powers * (scale / total[:, None])
    at = np.arange(len(z)), y
    dz[at] -= scale[:, 0]
    values = top.astype(np.float64) - z[at].astype(np.float64) + log(total).astype(np.float64)
    return values * weight, dz


def train(
    job: Job, tanh: Callable[[Any], Any], exp: Callable[[Any], Any], log: Callable[[Any], Any]
) -> tuple[Any, Any, float]:
    """Return theta, the optimizer's state and the loss after the job; the job is left alone."""
    assert job.optimizer is not None
    assert job.state is not None
    assert job.rates is not None
    theta, state, total = job.theta.copy(), job.state.copy(), 0.0
    for step in range(len(job.rates)):
        rows = job.order[step * job.batch_size : (step + 1) * job.batch_size]
        layers, a = [], [job.x[rows]]
        for row in job.plan.rows:
            n_in, n_out = row.attributes["n_in"], row.attributes["n_out"]
            at = slice(row.theta, row.theta + n_in * n_out), slice(0, 0)
            if row.attributes["use_bias"]:
                at = at[0], slice(at[0].stop, at[0].stop + n_out)
            layers.append((row.attributes["activation"], at, theta[at[0]].reshape(n_in, n_out)))
            z = product(a[-1], layers[-1][2], theta[at[1]] if row.attributes["use_bias"] else 0)
            name = layers[-1][0]
            a.append(tanh(z) if name == "tanh" else np.where(z < 0, 0, z) if name == "relu" else z)
        values, dy = loss(job, a[-1], rows, exp, log)
        for value in values.tolist():
            total += value
        gradient = np.zeros_like(theta)
        for i in range(len(layers) - 1, -1, -1):
            name, (weights, bias), w = layers[i]
            dz = dy
            if name == "tanh":
                dz = dy * fma(-a[i + 1], a[i + 1], np.ones_like(dy))
            elif name == "relu":
                dz = np.where(a[i + 1] > 0, dy, 0)
            gradient[weights] = product(a[i].T, dz).ravel()
            gradient[bias] = product(np.ones((1, len(dz)), dz.dtype), dz)[
                0, : bias.stop - bias.start
            ]
            dy = product(dz, w.T)
        update(job, theta, gradient, state, *job.rates[step, :2])
    return theta, state, total


def update(job: Job, theta: Any, gradient: Any, state: Any, rate: float, epsilon: float) -> None:
    """Make one step of the optimizer in place."""
    real = theta.dtype.type
    rule = job.optimizer
    assert rule is not None
    decay = rule.constants[2]
    g = fma(real(decay), theta, gradient) if decay else gradient
    if rule.name == "adam":
        beta1, beta2 = rule.constants[:2]
        mean, square = state
        mean[:] = fma(real(beta1), mean, real(1 - beta1) * g)
        square[:] = fma(real(beta2), square, real(1 - beta2) * g * g)
        g = mean / (np.sqrt(square) + real(epsilon))
    elif rule.constants[0]:
        momentum = real(rule.constants[0])
        state[0] = fma(momentum, state[0], g)
        g = fma(momentum, state[0], g) if rule.constants[1] else state[0]
    theta[:] = fma(-real(rate), g, theta)
