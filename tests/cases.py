"""The configurations that all numeric tests run over: one line each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from nnfast import (
    SGD,
    Activation,
    Adagrad,
    Adam,
    AdamW,
    Dense,
    Flatten,
    RMSprop,
    Rprop,
    Sequential,
    activations,
    losses,
    schedules,
)
from nnfast.layers import Layer
from nnfast.plan import Job

DTYPES = ("float32", "float64")
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}


_SGD = SGD(lr=0.05)


@dataclass(frozen=True)
class Case:
    """A network and how it is trained.

    targets: "values" (normal), "labels" (classes), "soft" (rows that sum to 1), "binary" (0 and 1),
    "signs" (-1 and 1), "counts".
    rows: of the data; with `batch_size` it fixes the blocks of 256 of a step.
    """

    name: str
    layers: tuple[Layer, ...]
    input_shape: int | tuple[int, ...] = 5
    loss: str = "mse"
    targets: str = "values"
    optimizer: Any = _SGD
    batch_size: int = 32
    rows: int = 70
    weighted: bool = False

    def net(self, dtype: str, seed: int = 0) -> Sequential:
        """Return the network, built; biases are drawn too, so that no sum starts at zero."""
        net = Sequential(self.layers, seed, dtype).build(self.input_shape)
        noise = np.random.default_rng(seed)
        for name, view in net.parameters().items():
            if name.endswith("bias"):
                view[:] = noise.uniform(-0.5, 0.5, view.shape)
        return net

    def data(self, dtype: str) -> tuple[Any, Any, Any]:
        """Return X, y and the weights (or None), the same numbers in both dtypes."""
        rng = np.random.default_rng(len(self.name))
        shape = self.input_shape if isinstance(self.input_shape, tuple) else (self.input_shape,)
        x = rng.normal(size=(self.rows, *shape)).astype(np.float32).astype(dtype)
        n_out = self.net(dtype).plan.n_out
        y: Any = rng.normal(size=(self.rows, n_out))
        if self.targets == "labels":
            return x, rng.integers(0, n_out, self.rows), self._weight(rng, dtype)
        if self.targets == "soft":
            y = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
        elif self.targets == "binary":
            y = y > 0
        elif self.targets == "signs":
            y = np.where(y > 0, 1, -1)
        elif self.targets == "counts":
            y = rng.poisson(np.exp(y / 2))
        return x, y.astype(np.float32).astype(dtype), self._weight(rng, dtype)

    def _weight(self, rng: np.random.Generator, dtype: str) -> Any:
        return rng.integers(0, 9, self.rows).astype(dtype) / 4 if self.weighted else None

    def job(self, dtype: str, steps: int = 3, threads: int = 1, **changes: Any) -> Job:
        """Return the training of `steps` steps, the last one short if it can be, as one job."""
        net, (x, y, weight) = self.net(dtype), self.data(dtype)
        rule, n = self.optimizer, steps * self.batch_size - self.batch_size // 3
        job = Job(
            plan=net.plan.without_link(losses.get(self.loss).link),
            theta=net.theta,
            x=x.reshape(self.rows, -1),
            y=y,
            sample_weight=weight,
            order=np.resize(np.random.default_rng(1).permutation(self.rows), n).astype(np.int64),
            batch_size=self.batch_size,
            loss=losses.get(self.loss),
            optimizer=rule,
            state=np.repeat(np.array(rule.first_slots, dtype)[:, None], net.theta.size, axis=1),
            rates=rule.rates(0, steps),
            threads=threads,
            serial_below=0.0,
        )
        return replace(job, **changes)


def finish(run: Any, seconds: float = 1.0) -> int:
    """Run a job to its end in calls of so many seconds; return how many calls it took."""
    calls = 1
    while run.advance(seconds):
        calls += 1
    return calls


def _of_activation(name: str) -> Case:
    return Case(name, (Dense(9, name), Dense(3)))


def _link(name: str, loss: str, targets: str, last: str, **more: Any) -> Case:
    return Case(name, (Dense(9, "tanh"), Dense(4, last)), loss=loss, targets=targets, **more)


def _rule(optimizer: Any, name: str = "") -> Case:
    name = name or repr(optimizer)
    return Case(name, (Dense(11, "tanh"), Dense(3)), optimizer=optimizer)


def _sizes(name: str, *units: int, **more: Any) -> Case:
    hidden = tuple(Dense(n, "tanh" if i % 2 else "relu") for i, n in enumerate(units[1:-1]))
    return Case(name, (*hidden, Dense(units[-1])), units[0], **more)


_ELEMENTWISE = {
    "mse": "values",
    "mae": "values",
    "huber": "values",
    "binary_cross_entropy": "binary",
    "poisson": "counts",
    "hinge": "signs",
    "perceptron": "signs",
}


def _losses(loss: str, targets: str) -> Iterator[Case]:
    """Few outputs, which come in columns, and more than fit in 16 lanes, weighted."""
    for n, weighted in ((1, False), (4, True), (21, True)):
        layers = (Dense(9, "tanh"), Dense(n))
        yield Case(f"{loss}, {n}", layers, loss=loss, targets=targets, weighted=weighted)


_CE, _BCE = "cross_entropy", "binary_cross_entropy"
_BIG = {"batch_size": 600, "rows": 650}
_LINEAR = Dense(6, use_bias=False)
_FROZEN = Dense(9, "tanh", trainable=False)

CASES = (
    *map(_of_activation, (name for name in activations.NAMES if name != "step")),
    *(
        Case(
            f"{name} everywhere",
            (Activation(name), Dense(4, name), Dense(20, name), Dense(2, name)),
        )
        for name in ("elu", "gelu", "silu", "softplus")
    ),
    *itertools.chain(*map(_losses, _ELEMENTWISE, _ELEMENTWISE.values())),
    _link("perceptron, batch of 1", "perceptron", "signs", "identity", batch_size=1),
    Case("one layer", (Dense(3),)),
    Case("activation layers", (Activation("tanh"), Dense(9), Activation("relu"), Dense(3))),
    Case("two activations", (Dense(9, "tanh"), Activation("sigmoid"), Dense(3, "relu"))),
    Case("activation last", (Dense(9, "relu"), Dense(3), Activation("tanh"))),
    Case("softmax layer last", (Dense(9, "relu"), Dense(3), Activation("softmax"))),
    Case("flatten", (Flatten(), Dense(7, "tanh"), Dense(2)), (2, 3, 2)),
    Case("flatten twice", (Activation("tanh"), Flatten(), Dense(3), Flatten()), (3, 2)),
    *(
        _link(f"mse, {last}", "mse", "soft", last)
        for last in ("softmax", "sigmoid", "tanh", "relu")
    ),
    *(_link(f"labels, {last}", _CE, "labels", last) for last in ("identity", "softmax", "sigmoid")),
    *(_link(f"soft targets, {last}", _CE, "soft", last) for last in ("identity", "softmax")),
    *(_link(f"binary, {last}", _BCE, "binary", last) for last in ("identity", "sigmoid", "tanh")),
    _link("weighted mse", "mse", "values", "identity", weighted=True),
    _link("weighted labels", _CE, "labels", "identity", weighted=True),
    _link("weighted soft targets", _CE, "soft", "identity", weighted=True),
    _link("weighted binary", _BCE, "binary", "identity", weighted=True),
    Case("fused activation layer", (Dense(3), Activation("softmax")), loss=_CE, targets="labels"),
    _rule(SGD(lr=0.1, momentum=0.9)),
    _rule(SGD(lr=0.1, momentum=0.8, nesterov=True)),
    _rule(SGD(lr=0.1, weight_decay=0.01)),
    _rule(SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    _rule(Adam(lr=0.01)),
    _rule(Adam(lr=0.01, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.01)),
    _rule(Adam(lr=0.001, eps=0.0), "adam without epsilon"),
    _rule(AdamW(lr=0.01, weight_decay=0.3)),
    _rule(Adagrad(lr=0.1, lr_decay=0.01)),
    _rule(Adagrad(lr=0.1, weight_decay=0.01, initial_accumulator_value=0.1)),
    _rule(RMSprop(lr=0.01)),
    _rule(RMSprop(lr=0.01, alpha=0.9, weight_decay=0.01, momentum=0.8)),
    _rule(RMSprop(lr=0.003, eps=0.01, momentum=0.8, centered=True)),
    _rule(Rprop(lr=0.001)),
    _rule(Rprop(lr=0.001, etas=(0.4, 1.3), step_sizes=(1e-5, 0.01))),
    _rule(SGD(lr=schedules.CosineDecay(0.2, 60), momentum=0.5)),
    _rule(AdamW(lr=schedules.WarmUp(schedules.ExponentialDecay(0.01, 50), 10))),
    Case("narrow, RMSprop", (Dense(9), Dense(2)), optimizer=RMSprop(0.01, momentum=0.5)),
    Case("no bias", (Dense(9, "tanh", use_bias=False), _LINEAR, Dense(2, use_bias=False))),
    Case("some bias", (Dense(9, "tanh"), _LINEAR, Dense(2, "sigmoid"))),
    Case("first frozen", (_FROZEN, Dense(7, "relu"), Dense(3))),
    Case("middle frozen", (Dense(9, "tanh"), _FROZEN, Dense(3)), optimizer=Adam(lr=0.01)),
    Case("last frozen", (Dense(9, "tanh"), Dense(3, trainable=False)), optimizer=SGD(0.1, 0.9)),
    _sizes("one everywhere", 1, 1, 1),
    _sizes("one output", 6, 20, 1),
    Case("one output, binary", (Dense(20, "relu"), Dense(1)), loss=_BCE, targets="binary"),
    Case("logistic regression", (Dense(1),), 35, loss=_BCE, targets="binary"),
    Case("one narrow layer", (Dense(7, "gelu"),), 300, batch_size=40),
    *(_sizes(f"{n} outputs", 6, 70, n, batch_size=300, rows=310) for n in range(1, 10)),
    Case(
        "narrow and frozen", (Dense(9, "tanh"), Dense(5, trainable=False)), optimizer=SGD(0.1, 0.9)
    ),
    Case(
        "narrow without bias", (Dense(19, "tanh"), Dense(5, use_bias=False)), optimizer=Adam(0.01)
    ),
    _sizes("odd sizes", 19, 17, 33, 13),
    _sizes("just over a vector", 17, 9, 65, 5),
    _sizes("whole vectors", 64, 32, 16, 8),
    _sizes("wide", 37, 131, 83, 3, optimizer=SGD(lr=0.05, momentum=0.9)),
    _sizes("K over 256", 300, 5, 260, 2),
    _sizes("K over 512", 700, 3, 530, 4, batch_size=9, rows=30, optimizer=Adam(lr=0.003)),
    Case("a thousand classes", (Dense(1001),), 3, loss=_CE, targets="labels", batch_size=8),
    _sizes("batch of 1", 6, 20, 9, 3, batch_size=1),
    _sizes("batch of 4", 6, 40, 3, batch_size=4),
    _sizes("batch of 10", 30, 30, 10, batch_size=10),
    _sizes("batch of 20", 30, 30, 10, batch_size=20),
    _sizes("batch of 256", 6, 20, 3, batch_size=256, rows=300),
    _sizes("batch of 257", 6, 20, 3, batch_size=257, rows=300, optimizer=Adam(lr=0.01)),
    _sizes("three blocks", 6, 20, 3, **_BIG, optimizer=SGD(lr=0.05, momentum=0.9, nesterov=True)),
    _sizes("three blocks, large net", 300, 120, 40, 3, **_BIG),
    _link("three blocks, labels", _CE, "labels", "softmax", weighted=True, **_BIG),
)
BY_NAME = {case.name: case for case in CASES}
assert len(BY_NAME) == len(CASES)

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def some_cases(*names: str) -> Callable[[Any], Any]:
    """Parametrise by the cases of these names."""
    return pytest.mark.parametrize("case", [BY_NAME[name] for name in names], ids=names)
