"""NumPy: flat parameters with views, out= where it helps."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.data import Array, Data
from bench.peers.contestant import Contestant, batches, calls
from bench.peers.network import Network, run_and_score
from bench.peers.ops import ACTIVATIONS, LR, Function, Operands, cases, once, seconds


def fit(data: Data) -> Contestant:
    work = data.work
    theta, gradient = data.theta.copy(), np.empty_like(data.theta)
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    layers, gradients = data.layers(theta), data.layers(gradient)
    rng = np.random.default_rng(0)
    steps = 0

    def step(x: Array, y: Array) -> None:
        nonlocal steps
        steps += 1
        outputs = forward(layers, x, work.activation)
        dz = _loss_gradient(outputs.pop(), y)
        for i in reversed(range(len(layers))):
            a = outputs[i]
            np.matmul(a.T, dz, out=gradients[i][0])
            np.sum(dz, axis=0, out=gradients[i][1])
            if i:
                dz = dz @ layers[i][0].T
                dz *= a > 0 if work.activation == "relu" else 1 - a * a
        if work.optimizer == "adam":
            m[...] = 0.9 * m + 0.1 * gradient
            v[...] = 0.999 * v + 0.001 * gradient * gradient
            size = work.lr / (1 - 0.9**steps)
            theta[...] -= size * m / (np.sqrt(v / (1 - 0.999**steps)) + 1e-8)
            return
        if work.optimizer == "momentum":
            np.multiply(m, work.momentum, out=m)
            np.add(m, gradient, out=m)
            np.multiply(m, work.lr, out=gradient)
        else:
            np.multiply(gradient, work.lr, out=gradient)
        np.subtract(theta, gradient, out=theta)

    def run() -> None:
        order = rng.permutation(work.rows)
        for at in range(0, work.rows, work.batch_size):
            rows = order[at : at + work.batch_size]
            step(data.x[rows], data.y[rows])

    return Contestant(run, theta=lambda: theta, version=np.__version__)


def forward(layers: list[tuple[Array, Array]], x: Array, activation: str) -> list[Array]:
    """The input, each layer's output, and last the logits."""
    outputs = [x]
    for w, b in layers[:-1]:
        z = outputs[-1] @ w
        z += b
        outputs.append(np.maximum(z, 0, out=z) if activation == "relu" else np.tanh(z, out=z))
    w, b = layers[-1]
    outputs.append(outputs[-1] @ w + b)
    return outputs


def _loss_gradient(z: Array, y: Array) -> Array:
    if y.ndim == 2:
        return (z - y) * z.dtype.type(2 / z.size)
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    z[np.arange(len(z)), y] -= 1
    z /= len(z)
    return z


def one(data: Data) -> Contestant:
    layers = data.layers(data.theta)

    def one(x: Array) -> Array:
        for w, b in layers[:-1]:
            x = np.tanh(x @ w + b)
        return x @ layers[-1][0] + layers[-1][1]

    return Contestant(**calls(one, data.x[0], data.work.rows), version=np.__version__)


def batch(data: Data) -> Contestant:
    layers = data.layers(data.theta)
    predict = batches(lambda: forward(layers, data.x, data.work.activation)[-1])
    return Contestant(**predict, version=np.__version__)


def nielsen(data: Data) -> Contestant:
    return Contestant(**run_and_score(Network, data), version=np.__version__)


def ops(data: Data) -> Contestant:
    """Each case with as many threads of BLAS as are best."""
    from threadpoolctl import threadpool_limits

    function, best = OPS[data.work.call], {}
    for case, operands in cases(data.work):
        spent = {}
        for count in range(1, len(os.sched_getaffinity(0)) + 1):
            threadpool_limits(count)
            spent[count] = min(once(function, operands) for _ in range(2))
        best[case] = min(spent, key=lambda count: spent[count])
    return Contestant(
        lambda: seconds(function, data.work, lambda case: threadpool_limits(best[case])),
        threads=max(best.values()),
        version=np.__version__,
    )


def _relu(z: Array) -> Array:
    return np.maximum(z, 0, out=z)


def _sigmoid(z: Array, out: Array | None = None) -> Array:
    z = np.negative(z, out=out)
    np.exp(z, out=z)
    z += 1
    return np.reciprocal(z, out=z)


def _tanh(z: Array) -> Array:
    return np.tanh(z, out=z)


_ACTIVATE: dict[str, Callable[[Array], Array]] = {
    "relu": _relu,
    "sigmoid": lambda z: _sigmoid(z, z),
    "tanh": _tanh,
}
_SLOPE: dict[str, Callable[[Array], Array]] = {
    "relu": lambda y: y > 0,
    "sigmoid": lambda y: y * (1 - y),
    "tanh": lambda y: 1 - y * y,
}
"""Of an output."""


def _dense_forward(o: Operands, activation: str) -> Array:
    z = o.x @ o.w
    z += o.b
    return _ACTIVATE[activation](z)


def _dense_backward(o: Operands, activation: str) -> tuple[Array, Array, Array]:
    dz = o.dy * _SLOPE[activation](o.x)
    return dz @ o.w.T, o.x.T @ dz, dz.sum(axis=0)


def _softmax_cross_entropy(o: Operands) -> tuple[float, Array]:
    rows = np.arange(len(o.x))
    z = o.x - o.x.max(axis=1, keepdims=True)
    own = z[rows, o.labels]
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - own)
    z /= total
    z[rows, o.labels] -= 1
    z /= len(z)
    return float(loss), z


def _sgd_update(o: Operands) -> Array:
    o.w -= LR * o.dy
    return o.w


OPS: dict[str, Function] = {
    **{f"dense_forward-{a}": partial(_dense_forward, activation=a) for a in ACTIVATIONS},
    **{f"dense_backward-{a}": partial(_dense_backward, activation=a) for a in ACTIVATIONS},
    "relu": lambda o: np.maximum(o.x, 0),
    "sigmoid": lambda o: _sigmoid(o.x),
    "tanh": lambda o: np.tanh(o.x),
    "softmax_cross_entropy": _softmax_cross_entropy,
    "sgd_update": _sgd_update,
}
"""nnfast.ops as one would write them for speed."""
