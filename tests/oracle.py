"""An independent oracle of R1: training, written from the rule alone, in NumPy.

Sums are those of sums.py; what the elements become is in the headers of csrc/. Functions (exp, gelu
...) are passed in: their values are tested in test_functions.py.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from sums import column_sum, fma, lane_sum, product

from nnfast.plan import Job, Row
from nnfast.python_side import call_backward, call_forward, call_loss
from nnfast.reference.rng import philox_4x32

NORM_BLOCK = 4096


class Functions(Protocol):
    """What is taken from the kernels: elementwise functions, contiguous arrays in and out."""

    def exp(self, x: Any) -> Any: ...

    def log(self, x: Any) -> Any: ...

    def log1p(self, x: Any) -> Any: ...

    def activation(self, z: Any, name: str) -> Any: ...

    def slope(self, a: Any, name: str) -> Any:
        """f'(z): of gelu and silu from z, of others from f(z)."""


# ---- a step ----


class Step:
    """The way of one minibatch through the rows of the plan and back.

    a and d hold outputs and their gradients by offset, kept what a row leaves for its way back.
    """

    def __init__(self, job: Job, theta: Any, buffers: Any, number: int, f: Functions) -> None:
        self.job, self.theta, self.number, self.f = job, theta, number, f
        self.buffers, self.gradient = buffers, np.zeros_like(theta)
        self.a: dict[int, Any] = {}
        self.d: dict[int, Any] = {}
        self.kept: dict[int, Any] = {}
        factors = job.penalty_factors
        self.penalty_factor = 1.0 if factors is None else factors[number - job.first_step]

    def parameters(self, row: Row, of: Any) -> tuple[Any, Any]:
        """Return weight and bias (or none), or gamma and beta: views into theta or a gradient."""
        n = int(row.attributes.get("n_out", row.attributes.get("n", 0)))
        n_in = int(row.attributes.get("n_in", 1))
        behind = row.theta + n_in * n
        n_bias = n if row.attributes.get("use_bias", 1) else 0
        return of[row.theta : behind].reshape(n_in, n), of[behind : behind + n_bias]

    def give(self, offset: int, dx: Any) -> None:
        """Add dx to the gradient of the output at the offset."""
        self.d[offset] = self.d[offset] + dx if offset in self.d else dx

    def activate(self, name: str, z: Any) -> Any:
        if name == "identity":
            return z
        if name == "relu":
            return np.where(z < 0, 0, z)
        if name == "softmax":
            e = self.f.exp(z - z.max(axis=1, keepdims=True))
            return e * (1 / lane_sum(e))[:, None]
        return self.f.activation(z, name)

    def gate(self, name: str, z: Any, y: Any, dy: Any) -> Any:
        """Return dz."""
        one = np.ones_like(dy)
        if name == "identity":
            return dy
        if name == "softmax":
            return y * (dy - lane_sum(dy, y)[:, None])
        if name == "sigmoid":
            return dy * fma(-y, y, y)
        if name == "tanh":
            return dy * fma(-y, y, one)
        if name == "relu":
            return np.where(y > 0, dy, 0)
        if name == "leaky_relu":
            return np.where(y > 0, dy, dy.dtype.type(0.01) * dy)
        if name == "elu":
            return np.where(y > 0, dy, dy * (y + one))
        return dy * self.f.slope(z if name in ("gelu", "silu") else y, name)

    def forward_dense(self, row: Row, x: Any) -> Any:
        w, b = self.parameters(row, self.theta)
        self.kept[row.output] = product(x, w, b if b.size else 0)
        return self.activate(str(row.attributes["activation"]), self.kept[row.output])

    def backward_dense(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        dz = self.gate(str(row.attributes["activation"]), self.kept[row.output], y, dy)
        w, _ = self.parameters(row, self.theta)
        if row.attributes["trainable"]:
            dw, db = self.parameters(row, self.gradient)
            dw[:] = product(x.T, dz)
            db[:] = column_sum(dz)[: db.size]
            l1, l2 = (self.penalty_factor * row.attributes[name] for name in ("l1", "l2"))
            if l1 or l2:
                real = w.dtype.type
                dw[:] = fma(real(l1), np.sign(w), fma(real(2 * l2), w, dw))
        source = row.inputs[0]
        if source:
            self.d[source] = product(dz, w.T, total=self.d.get(source))

    def forward_activation(self, row: Row, x: Any) -> Any:
        return self.activate(str(row.attributes["activation"]), x)

    def backward_activation(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        self.give(row.inputs[0], self.gate(str(row.attributes["activation"]), x, y, dy))

    def forward_rescaling(self, row: Row, x: Any) -> Any:
        scale, offset = (x.dtype.type(row.attributes[name]) for name in ("scale", "offset"))
        return fma(x, scale, np.full_like(x, offset))

    def backward_rescaling(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        self.give(row.inputs[0], dy * dy.dtype.type(row.attributes["scale"]))

    def forward_add(self, row: Row, x: Any, more: Any) -> Any:
        return x + more

    def backward_add(self, row: Row, x: Any, more: Any, y: Any, dy: Any) -> None:
        for source in row.inputs:
            self.give(source, dy)

    def words(self, row: Row, which: int, shape: tuple[int, int]) -> Any:
        """Return the words of noise: of column j the counter 8 (j // 32) + j % 16 // 2."""
        m, n = shape
        j, r = np.arange(n), np.arange(m)[:, None]
        stream = 2 * int(row.attributes["stream"]) + which ^ self.number >> 32 << 16
        four = philox_4x32(
            8 * (j // 32) + j % 16 // 2, r, self.number % 2**32, stream, self.job.seed
        )
        return four[r, j, j % 32 // 16 * 2 + j % 2]

    def forward_dropout(self, row: Row, x: Any) -> Any:
        rate = float(row.attributes["rate"])
        dropped = self.words(row, 0, x.shape) < int(rate * 2**32)
        factor = np.full_like(x, 1 / (1 - rate))
        factor[dropped] = 0
        self.kept[row.output] = factor
        return x * factor

    def backward_dropout(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        self.give(row.inputs[0], dy * self.kept[row.output])

    def forward_gaussian_noise(self, row: Row, x: Any) -> Any:
        real = x.dtype.type
        size, angle = (self.words(row, which, x.shape) for which in (0, 1))
        u = (size.astype(real) + real(0.5)) * real(2.0**-32)
        t = (real(0.25) - (angle >> 1).astype(real) * real(2.0**-32)) * real(2 * math.pi)
        terms, sine = 7 if real == np.float32 else 11, np.zeros_like(t)
        for i in reversed(range(terms)):
            sine = fma(sine, t * t, np.full_like(t, (-1) ** i / math.factorial(2 * i + 1)))
        normal = np.sqrt(real(-2) * self.f.log(u)) * (t * sine)
        return fma(real(row.attributes["stddev"]), normal, x)

    def backward_gaussian_noise(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        self.give(row.inputs[0], dy)

    def normalise(self, row: Row, off: Any, variance: Any) -> Any:
        """Return gamma h + beta."""
        real = off.dtype.type
        inverse = 1 / np.sqrt(variance + real(row.attributes["epsilon"]))
        h = off * inverse
        self.kept[row.output] = h, inverse
        gamma, beta = self.parameters(row, self.theta)
        return fma(gamma, h, np.broadcast_to(beta, h.shape))

    def sums_of_norm(self, row: Row, h: Any, dy: Any) -> tuple[Any, Any]:
        """Return dgamma and dbeta; they are the gradient unless the layer is frozen."""
        sums = column_sum(dy, h), column_sum(dy)
        if row.attributes["trainable"]:
            for own, value in zip(self.parameters(row, self.gradient), sums, strict=True):
                own[:] = value
        return sums

    def forward_batch_norm(self, row: Row, x: Any) -> Any:
        n, real = x.dtype.type(len(x)), x.dtype.type
        mean = column_sum(x) / n
        off = x - mean
        variance = column_sum(off, off) / n
        momentum, unbiased = float(row.attributes["momentum"]), len(x) / max(len(x) - 1, 1)
        new = np.concatenate([mean, variance * real(unbiased)])
        running = self.buffers[row.buffer : row.buffer + len(new)]
        running[:] = fma(real(momentum), running, real(1 - momentum) * new)
        return self.normalise(row, off, variance)

    def backward_batch_norm(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        h, inverse = self.kept[row.output]
        dgamma, dbeta = self.sums_of_norm(row, h, dy)
        n = x.dtype.type(len(x))
        g = fma(-h, dgamma / n, dy - dbeta / n)
        self.give(row.inputs[0], g * (self.parameters(row, self.theta)[0] * inverse))

    def forward_layer_norm(self, row: Row, x: Any) -> Any:
        n = x.dtype.type(x.shape[1])
        off = x - (lane_sum(x) / n)[:, None]
        return self.normalise(row, off, (lane_sum(off, off) / n)[:, None])

    def backward_layer_norm(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        h, inverse = self.kept[row.output]
        self.sums_of_norm(row, h, dy)
        n, g = x.dtype.type(x.shape[1]), self.parameters(row, self.theta)[0] * dy
        mean, along = (lane_sum(g) / n)[:, None], (lane_sum(g, h) / n)[:, None]
        self.give(row.inputs[0], fma(-h, along, g - mean) * inverse)

    def forward_custom(self, row: Row, x: Any) -> Any:
        functions = self.job.plan.functions[int(row.attributes["function"])]
        w = self.theta[row.theta :][: int(row.attributes["n_parameters"])]
        self.kept[row.output] = functions, w
        return call_forward(functions, x, w).astype(x.dtype)

    def backward_custom(self, row: Row, x: Any, y: Any, dy: Any) -> None:
        functions, w = self.kept[row.output]
        dx, dw = call_backward(functions, x, y, dy, w)
        if row.attributes["trainable"]:
            self.gradient[row.theta :][: w.size] = dw
        self.give(row.inputs[0], dx.astype(x.dtype))

    def penalty(self) -> float:
        """Return that of all rows: the columns', added as float64."""
        total = 0.0
        for row in self.job.plan.rows:
            if row.op == "dense" and row.attributes["trainable"]:
                w, _ = self.parameters(row, self.theta)
                l1, l2 = (
                    w.dtype.type(self.penalty_factor * row.attributes[name])
                    for name in ("l1", "l2")
                )
                for value in fma(l2, column_sum(w, w), l1 * column_sum(np.abs(w))).tolist():
                    total += value
        return total


# ---- loss ----


def elements(name: str, z: Any, y: Any, f: Functions) -> tuple[Any, Any]:
    """Return the losses that are means over outputs, and their slopes, element by element."""
    e, one = z - y, np.ones_like(z)
    if name == "mse":
        return e * e, e + e
    if name == "mae":
        return np.abs(e), np.sign(e)
    if name == "huber":
        return np.where(np.abs(e) > 1, np.abs(e) - one / 2, e / 2 * e), np.clip(e, -1, 1)
    if name == "binary_cross_entropy":
        values = fma(-z, y, np.maximum(z, 0)) + f.log1p(f.exp(-np.abs(z)))
        return values, f.activation(z, "sigmoid") - y
    if name == "poisson":
        return fma(-y, z, f.exp(z)), f.exp(z) - y
    if name == "hinge":
        margin = fma(-y, z, one)
        return np.maximum(margin, 0), np.where(margin > 0, -y, 0)
    assert name == "perceptron"
    return np.maximum(-(y * z), 0), np.where(y * z > 0, 0, -y)


def cross_entropy(job: Job, z: Any, y: Any, scale: Any, f: Functions) -> tuple[Any, Any]:
    """Return the rows' values and dz; of labels the mass is 1 and the other targets are offset."""
    assert job.loss is not None
    real, n, smoothing = z.dtype.type, z.shape[1], job.loss.label_smoothing
    share, offset = real(1 - smoothing), real(smoothing / n)
    powers = f.exp(z - z.max(axis=1, keepdims=True))
    top, total = z.max(axis=1).astype(np.float64), lane_sum(powers)
    if y.ndim == 1:
        at, mass = (np.arange(len(z)), y), np.ones(len(z))
        dz = powers * (scale[:, 0] / total)[:, None] - scale * offset
        dz[at] -= scale[:, 0] * share
        values = top - float(share) * z[at].astype(np.float64)
        if smoothing:
            values = values - float(offset) * lane_sum(z).astype(np.float64)
    else:
        t = fma(share, y, np.full_like(y, offset)) if smoothing else y
        mass = lane_sum(t)
        dz = fma(-scale, t, powers * (scale[:, 0] * mass / total)[:, None])
        values = top * mass - lane_sum(t, z)
    return values + mass.astype(np.float64) * f.log(total), dz


def loss(job: Job, z: Any, rows: Any, f: Functions) -> tuple[Any, Any]:
    """Return each row's value in float64 and dJ/dz of a step of len(z) rows."""
    assert job.loss is not None
    assert job.y is not None
    real, y = z.dtype.type, job.y[rows]
    weight = None if job.sample_weight is None else job.sample_weight[rows]
    if job.loss.function:
        values, slopes = call_loss(job.loss, z.reshape(len(z), *job.plan.output_shape), y, weight)
        return values, slopes.reshape(z.shape).astype(real)
    weight = np.ones(len(z)) if weight is None else weight.astype(np.float64)
    scale = ((1 / len(z)) * weight).astype(real)[:, None]
    if job.loss.name == "cross_entropy":
        values, dz = cross_entropy(job, z, y, scale, f)
    else:
        if smoothing := job.loss.label_smoothing:
            y = fma(real(1 - smoothing), y, np.full_like(y, smoothing / 2))
        parts, slopes = elements(job.loss.name, z, y, f)
        values, dz = (
            lane_sum(parts).astype(np.float64) / z.shape[1],
            slopes * (scale / real(z.shape[1])),
        )
    return values * weight, dz


# ---- training ----


def train(job: Job, f: Functions) -> tuple[Any, Any, Any, float]:
    """Return theta, buffers, the optimizer's state and the loss; the job is left alone."""
    assert job.optimizer is not None
    assert job.buffers is not None
    assert job.state is not None
    assert job.rates is not None
    theta, buffers, state = job.theta.copy(), job.buffers.copy(), job.state.copy()
    total = job.loss_before
    for index, rates in enumerate(job.rates.tolist()):
        rows = job.order[index * job.batch_size :][: job.batch_size]
        step = Step(job, theta, buffers, job.first_step + index, f)
        step.a[0] = job.x[rows].astype(theta.dtype)
        for row in job.plan.rows:
            inputs = [step.a[i] for i in row.inputs]
            step.a[row.output] = getattr(step, f"forward_{row.op}")(row, *inputs)
        last = job.plan.rows[-1].output
        values, step.d[last] = loss(job, step.a[last], rows, f)
        for value in (len(rows) * step.penalty(), *values.tolist()):
            total += value
        for row in reversed(job.plan.rows):
            inputs = [step.a[i] for i in row.inputs]
            d = step.d[row.output]
            getattr(step, f"backward_{row.op}")(row, *inputs, step.a[row.output], d)
        gradient = clip(job, step.gradient)
        for p in job.plan.parameters:
            if p.trainable:
                update(job, theta[p.slice], gradient[p.slice], state[:, p.slice], *rates)
        for row in job.plan.rows:
            most = theta.dtype.type(row.attributes.get("max_norm", 0))
            if most and row.attributes["trainable"]:
                w, _ = step.parameters(row, theta)
                norm = np.sqrt(column_sum(w, w))
                w *= np.where(norm > most, most / norm, np.ones_like(norm))
    return theta, buffers, state, total


def clip(job: Job, gradient: Any) -> Any:
    """Return the gradient, clipped if the optimizer says so."""
    assert job.optimizer is not None
    real, value, norm = gradient.dtype.type, job.optimizer.clip_value, job.optimizer.clip_norm
    if value is not None:
        return np.clip(gradient, -real(value), real(value))
    if norm is None:
        return gradient
    blocks = np.pad(gradient, (0, -gradient.size % NORM_BLOCK)).reshape(-1, NORM_BLOCK)
    square = 0.0
    for part in lane_sum(blocks, blocks).tolist():
        square += part
    return gradient * real(min(norm / (math.sqrt(square) + 1e-6), 1.0))


def update(
    job: Job, theta: Any, g: Any, state: Any, rate: float, epsilon: float, shrinkage: float
) -> None:
    """Make one step of the optimizer on a slice of theta, in place."""
    assert job.optimizer is not None
    name, constants, real = job.optimizer.name, job.optimizer.constants, theta.dtype.type
    first, second, decay, last = map(real, constants)
    rest = [real(1 - constant) for constant in constants]
    if name == "rprop":
        before, size = state
        sign = g * before
        size *= np.where(sign > 0, second, np.where(sign < 0, first, real(1)))
        size[:] = np.clip(size, decay, last)
        before[:] = np.where(sign < 0, 0, g)
        theta -= np.sign(before) * size
        return
    if decay:
        g = fma(decay, theta, g)
    if shrinkage:
        theta[:] = fma(-real(shrinkage), theta, theta)
    if name in ("adam", "adamw"):
        mean, square = state
        mean[:] = fma(first, mean, rest[0] * g)
        square[:] = fma(second, square, rest[1] * g * g)
        g = mean / (np.sqrt(square) + real(epsilon))
    elif name == "adagrad":
        state[0] = fma(g, g, state[0])
        g = g / (np.sqrt(state[0]) + real(epsilon))
    elif name == "rmsprop":
        square = state[0] = fma(first, state[0], rest[0] * g * g)
        if last:
            state[1] = fma(first, state[1], rest[0] * g)
            square = np.maximum(fma(-state[1], state[1], square), 0)
        g = g / (np.sqrt(square) + real(epsilon))
        if second:
            g = state[-1] = fma(second, state[-1], g)
    elif first:
        state[0] = fma(first, state[0], g)
        g = fma(first, state[0], g) if second else state[0]
    theta[:] = fma(-real(rate), g, theta)
