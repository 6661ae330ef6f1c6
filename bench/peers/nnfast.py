"""nnfast itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import numpy as np

import nnfast as nn
from bench import memory as memory_
from bench.data import Array, Data
from bench.peers import estimators, word_vectors
from bench.peers.contestant import PLAIN, Contestant, batches, calls
from bench.peers.network import run_and_score
from bench.peers.ops import ACTIVATIONS, LR, Function, Operands, deviation, seconds
from bench.work import Work
from nnfast import backend
from nnfast.optimizers import OPTIMIZERS

_CURVE = 20
"""Epochs whose losses are compared with scikit-learn's."""


def _layers(work: Work) -> list[Any]:
    norm = {"batch_norm": nn.BatchNorm, "layer_norm": nn.LayerNorm}.get(work.layer)
    *hidden, n_out = work.sizes[1:]
    layers: list[Any] = [nn.Rescaling(1 / 255)] if work.input == "uint8" else []
    for at, units in enumerate(hidden):
        if norm:
            layers += [nn.Dense(units), norm(), nn.Activation(work.activation)]
        elif work.layer == "residual" and at:
            layers.append(nn.Residual([nn.Dense(units, work.activation)]))
        else:
            layers.append(nn.Dense(units, work.activation))
        if work.layer == "dropout":
            layers.append(nn.Dropout(0.5))
    return [*layers, nn.Dense(n_out)]


def _network(data: Data) -> Any:
    net = nn.Sequential(_layers(data.work), seed=0, dtype=data.work.dtype)
    net.build(data.work.sizes[0])
    dense = (p for name, p in net.parameters().items() if name.endswith(("weight", "bias")))
    start = (part for layer in data.layers(data.theta) for part in layer)
    for mine, first in zip(dense, start, strict=True):
        mine[...] = first
    return net


def _contestant(data: Data, **more: Any) -> Contestant:
    machine: Any = backend.current()
    threads = data.work.threads or nn.get_num_threads()
    if hasattr(machine, "peak_gflops"):
        more["peak"] = lambda: machine.peak_gflops(data.work.dtype, 0.03)
    return Contestant(threads=threads, version=nn.__version__, **more)


def fit(data: Data) -> Contestant:
    net, work = _network(data), data.work
    if work.bar:
        sys.stderr = _terminal()
    score: dict[str, Any] = {"theta": lambda: net.theta}
    if work.layer not in PLAIN:
        score = {"logits": net.predict}
    return _contestant(data, run=lambda: _epoch(net, work, data.x, data.y), **score)


def _epoch(net: Any, work: Work, x: Any, y: Array) -> None:
    if work.optimizer in OPTIMIZERS:
        optimizer = OPTIMIZERS[work.optimizer](work.lr)
    else:
        optimizer = nn.SGD(work.lr, work.momentum, nesterov=work.optimizer == "nesterov")
    net.fit(
        x,
        y,
        loss=work.loss,
        optimizer=optimizer,
        batch_size=work.batch_size,
        epochs=work.epochs,
        metrics=work.metrics,
        threads=work.threads,
        verbose=int(work.bar),
    )


def _terminal() -> Any:
    """A terminal to write to, which somebody reads."""
    reader, writer = os.openpty()

    def read() -> None:
        while os.read(reader, 65_536):
            pass

    threading.Thread(target=read, daemon=True).start()
    return os.fdopen(writer, "w", buffering=1)


def one(data: Data) -> Contestant:
    return _contestant(data, **calls(_network(data).predictor(), data.x[0], data.work.rows))


def batch(data: Data) -> Contestant:
    net = _network(data)
    return _contestant(data, **batches(lambda: net.predict(data.x)))


def memory(data: Data) -> Contestant:
    net, few = _network(data), 2 * data.work.batch_size
    _epoch(net, data.work, data.x[:few], data.y[:few])
    before = memory_.peak()

    def run() -> float:
        _epoch(net, data.work, data.x, data.y)
        return memory_.peak() - before

    return Contestant(run)


def table(data: Data) -> Contestant:
    folder = data.folder
    model = folder / "table.safetensors"
    command = ["train", folder / "table.csv", "--target", "answer", "--epochs", "1", "-o", model]
    command += ["--batch-size", str(data.work.batch_size)]

    def score() -> dict[str, float]:
        from nnfast.tabular import TableModel

        return {"accuracy": TableModel.load(model).facts.score["accuracy"]}

    def run() -> None:
        subprocess.run([sys.executable, "-m", "nnfast", *command], check=True)

    return Contestant(run, score=score)


def estimator(data: Data) -> Contestant:
    import nnfast.sklearn as classes

    work, (x, y) = data.work, estimators.rows(data)
    more = {"dtype": work.dtype}

    def score() -> dict[str, float]:
        from sklearn import neural_network

        model, found = estimators.score(classes, data, **more)
        first = {"max_iter": min(_CURVE, model.n_iter_)}
        theirs, _ = estimators.score(neural_network, data, **first)
        mine = np.array(model.loss_curve_[: theirs.n_iter_])
        difference = np.abs(mine / theirs.loss_curve_ - 1).max()
        return {**found, "curve": float(difference)}

    return _contestant(
        data, run=lambda: estimators.new(classes, work, **more).fit(x, y), score=score
    )


def answers(data: Data) -> Contestant:
    import nnfast.sklearn as classes

    run, score = estimators.answers(classes, data)
    return _contestant(data, run=run, score=score)


def nielsen(data: Data) -> Contestant:
    from nnfast.compat.nielsen.network import Network

    return _contestant(data, **run_and_score(Network, data, dtype=data.work.dtype))


def words(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.train(nn.Word2Vec, data))


def vocabulary(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.read(nn.Word2Vec, data))


def analogies(data: Data) -> Contestant:
    return _contestant(data, **word_vectors.answer(nn.KeyedVectors, data))


def script(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.script(nn.Word2Vec, data))


def quality(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.quality(nn.Word2Vec, data))


def ops(data: Data) -> Contestant:
    from bench.peers import numpy

    function = OPS[data.work.call]
    return Contestant(
        lambda: seconds(function, data.work),
        score=lambda: {"deviation": deviation(function, numpy.OPS[data.work.call], data.work)},
        threads=nn.get_num_threads(),
        version=nn.__version__,
    )


def _sgd_update(o: Operands) -> Array:
    nn.ops.sgd_update(o.w, o.dy, LR)
    return o.w


def _dense_forward(o: Operands, activation: str) -> Array:
    return nn.ops.dense_forward(o.x, o.w, o.b, activation)


def _dense_backward(o: Operands, activation: str) -> Any:
    return nn.ops.dense_backward(o.x, o.w, o.x, o.dy, activation)


OPS: dict[str, Function] = {
    **{f"dense_forward-{a}": partial(_dense_forward, activation=a) for a in ACTIVATIONS},
    **{f"dense_backward-{a}": partial(_dense_backward, activation=a) for a in ACTIVATIONS},
    "relu": lambda o: nn.ops.activation(o.x, "relu"),
    "sigmoid": lambda o: nn.ops.activation(o.x, "sigmoid"),
    "tanh": lambda o: nn.ops.activation(o.x, "tanh"),
    "softmax_cross_entropy": lambda o: nn.ops.softmax_cross_entropy(o.x, o.labels),
    "sgd_update": _sgd_update,
}
