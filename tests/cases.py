"""The configurations that all numeric tests run over: one line each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from nnfast import (
    L1L2,
    SGD,
    Activation,
    Adagrad,
    Adam,
    AdamW,
    BatchNorm,
    BinaryCrossEntropy,
    CrossEntropy,
    Custom,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    LayerNorm,
    MaxNorm,
    Rescaling,
    Residual,
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
    loss: Any = "mse"
    targets: str = "values"
    optimizer: Any = _SGD
    batch_size: int = 32
    rows: int = 70
    weighted: bool = False
    varying_penalty: bool = False

    def net(self, dtype: str, seed: int = 0) -> Sequential:
        """Return the network, built; biases are drawn too, so that no sum starts at zero."""
        net = Sequential(self.layers, seed, dtype).build(self.input_shape)
        noise = np.random.default_rng(seed)
        for name, view in net.parameters().items():
            if name.endswith(("bias", "beta")):
                view[:] = noise.uniform(-0.5, 0.5, view.shape)
            elif name.endswith("gamma"):
                view[:] = noise.uniform(0.5, 1.5, view.shape)
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
            buffers=net.buffers,
            training=True,
            seed=7,
            first_step=2**32 - 1,
            x=x.reshape(self.rows, -1),
            y=y,
            sample_weight=weight,
            order=np.resize(np.random.default_rng(1).permutation(self.rows), n).astype(np.int64),
            batch_size=self.batch_size,
            loss=losses.get(self.loss),
            optimizer=rule,
            state=np.repeat(np.array(rule.first_slots, dtype)[:, None], net.theta.size, axis=1),
            rates=rule.rates(0, steps),
            penalty_factors=np.linspace(0.3, 1.7, steps) if self.varying_penalty else None,
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


def log_cosh(y_pred: Any, y_true: Any) -> Any:
    """Row losses, and the slopes of each."""
    e = y_pred - y_true
    return np.log(np.cosh(e)).mean(axis=1), np.tanh(e) / e.shape[1]


def mean_fourth_power(y_pred: Any, y_true: Any) -> Any:
    """One number for the minibatch."""
    e = y_pred - y_true
    return (e**4).mean(), 4 * e**3 / e.size


SINES = Custom(
    lambda x, w: np.sin(x) * w,
    lambda x, y, dy, w: (dy * w * np.cos(x), (dy * np.sin(x)).sum(axis=0)),
    parameters=np.linspace(0.5, 1.5, 9),
)
PAIRS = Custom(
    lambda x: np.concatenate([x, x * x], axis=1),
    lambda x, y, dy: dy[:, : x.shape[1]] + 2 * x * dy[:, x.shape[1] :],
    output_shape=14,
)


def _with(name: str, *layers: Layer, **more: Any) -> Case:
    """The layers between a dense one of nine units and the last one."""
    return Case(name, (Dense(9, "tanh"), *layers, Dense(3)), **more)


_HEAVY = {"optimizer": Adam(lr=0.01), **_BIG}
_PENALTY = {"kernel_regularizer": L1L2(0.01, 0.02)}
CASES = (
    *CASES,
    _with("dropout", Dropout(0.5)),
    _with("dropout, many", Dense(70, "gelu"), Dropout(0.3), Dense(37, "relu"), Dropout(0.1)),
    Case("dropout first and last", (Dropout(0.2), Dense(4), Dropout(0.25)), 35),
    _with("dropout, three blocks", Dense(70, "gelu"), Dropout(0.3), **_HEAVY),
    _with("noise", GaussianNoise(0.5)),
    _with("noise, three blocks", Dense(70), GaussianNoise(0.1), Dropout(0.1), **_HEAVY),
    Case("noise first", (GaussianNoise(0.3), Dense(3)), 35, batch_size=7),
    _with("rescaling", Rescaling(0.5, 0.25)),
    Case("rescaling first", (Rescaling(0.5, -0.25), Dense(9, "tanh"), Dense(3))),
    Case("rescaling alone before another", (Rescaling(2.0), Rescaling(0.5, 0.1), Dense(3))),
    _with("batch norm", BatchNorm()),
    _with(
        "batch norm, relu", Dense(70), BatchNorm(0.8, 1e-3), Activation("relu"), Dense(5, "gelu")
    ),
    Case("batch norm first", (BatchNorm(), Dense(9, "tanh"), BatchNorm(), Dense(3)), 35),
    Case("batch norm last", (Dense(9, "tanh"), BatchNorm())),
    _with("batch norm, frozen", BatchNorm(trainable=False), Dense(20), BatchNorm()),
    _with(
        "batch norm, three blocks",
        Dense(70, use_bias=False),  # a gradient of zero, which Adam would make steps of its noise
        BatchNorm(),
        Dense(40, "gelu"),
        **_HEAVY,
    ),
    _with("batch norm, batch of 1", BatchNorm(), batch_size=1),
    _with("layer norm", LayerNorm()),
    _with("layer norm, wide", Dense(70, "gelu"), LayerNorm(1e-3), Dense(33), LayerNorm()),
    Case("layer norm first", (LayerNorm(), Dense(9, "tanh"), Dense(3)), 35),
    Case("layer norm last", (Dense(9, "tanh"), LayerNorm())),
    _with("layer norm, frozen", LayerNorm(trainable=False), Dense(20), LayerNorm()),
    _with("layer norm, three blocks", Dense(70), LayerNorm(), Dense(40, "gelu"), **_HEAVY),
    _with("residual", Residual([Dense(9, "relu")])),
    _with(
        "residual in residual",
        Residual([Dense(20, "relu"), Residual([Dense(20, "tanh")]), Dense(9)]),
        Activation("relu"),
    ),
    _with(
        "residual with norms",
        Residual([LayerNorm(), Dense(20, "gelu"), Dropout(0.1), Dense(9)]),
        Residual([BatchNorm(), Activation("relu"), Dense(9)]),
    ),
    Case("residual first and last", (Residual([Dense(7, "tanh"), Dense(5, "gelu")]),)),
    _with("residual, three blocks", Residual([Dense(70, "gelu"), BatchNorm(), Dense(9)]), **_HEAVY),
    _with("custom", SINES),
    _with("custom without parameters", Dense(7, "relu"), PAIRS, Dense(4)),
    Case("custom first and last", (PAIRS, Dense(9, "tanh"), SINES), 7),
    _with("custom, frozen", replace(SINES, trainable=False)),
    _with("custom, three blocks", SINES, Dense(70, "gelu"), BatchNorm(), **_HEAVY),
    Case("custom alone learns", (Dense(9, trainable=False), SINES)),
    _link("loss in Python", log_cosh, "values", "identity"),
    _link("loss in Python, weighted", log_cosh, "values", "tanh", weighted=True),
    _link("loss in Python, one number", mean_fourth_power, "values", "identity", **_BIG),
    Case("all in Python", (PAIRS, Dense(9), SINES, Dense(8)), 7, loss=log_cosh, **_HEAVY),
    Case("penalty", (Dense(9, "tanh", **_PENALTY), Dense(70, **_PENALTY), Dense(3))),
    Case("penalty of a narrow layer", (Dense(9, "tanh"), Dense(3, **_PENALTY)), 300),
    Case("varying penalty", (Dense(70, **_PENALTY), Dense(3, **_PENALTY)), 9, varying_penalty=True),
    Case("penalty, frozen", (replace(_FROZEN, **_PENALTY), Dense(3, **_PENALTY)), **_HEAVY),
    Case("max norm", (Dense(40, "tanh", kernel_constraint=MaxNorm(0.7)), Dense(3)), 300),
    Case(
        "max norm of a narrow layer",
        (
            Dense(9, "tanh"),
            Dense(20, kernel_constraint=MaxNorm(0.5)),
            Dense(3, kernel_constraint=MaxNorm(0.5)),
        ),
        optimizer=SGD(0.1, 0.9),
    ),
    _rule(SGD(lr=0.1, clip_value=0.01)),
    _rule(SGD(lr=0.5, clip_norm=0.05)),
    _rule(Adam(lr=0.01, clip_norm=0.05, weight_decay=0.01)),
    _sizes(
        "clipping, three blocks", 300, 120, 40, 3, optimizer=SGD(0.1, 0.5, clip_norm=0.1), **_BIG
    ),
    _link("smooth labels", CrossEntropy(0.1), "labels", "identity"),
    _link("smooth soft targets", CrossEntropy(0.2), "soft", "softmax", weighted=True),
    _link("smooth binary", BinaryCrossEntropy(0.2), "binary", "sigmoid"),
    *(
        Case(f"{n} smooth classes", (Dense(n),), loss=CrossEntropy(0.1), targets="labels")
        for n in (9, 40)
    ),
    Case("21 smooth yes or no", (Dense(21),), loss=BinaryCrossEntropy(0.1), targets="binary"),
)
BY_NAME = {case.name: case for case in CASES}
assert len(BY_NAME) == len(CASES)

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def some_cases(*names: str) -> Callable[[Any], Any]:
    """Parametrise by the cases of these names."""
    return pytest.mark.parametrize("case", [BY_NAME[name] for name in names], ids=names)
