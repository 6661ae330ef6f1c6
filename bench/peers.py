"""The contestants. Each runs in a process of its own: ``python -m bench.peers NAME``.

The parent writes JSON lines and reads one for each: {"do": "prepare", ...} readies the work and
warms it up, {"do": "round"} does it once and answers with the seconds, {"do": "score"} says how
good the result is. Peers are written as their own users would to make them fast; a faster way is
welcome.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import memory
from bench.data import Array, Data
from bench.work import Work

_LAYERS = {"batch_norm", "layer_norm", "residual"}
_PLAIN = ("", "dropout")  # layers that leave the forward pass outside training as it was
_ABLE = {
    "jax": {"nesterov", "adagrad", "rmsprop", "adamw", "rprop"},
    "torch": _LAYERS,
    "torch_compile": _LAYERS,
    "sklearn": {"csr"},
}
"""What is written for a peer beside SGD, momentum and Adam of dense layers."""
_MODULES = {"torch_compile": "torch", "sklearn": "sklearn.neural_network"}
"""What is imported before memory is counted, where it has another name than the peer."""


@dataclass
class Contestant:
    """Work that is ready to run.

    `run` does a round; what it returns, if anything, is the measure in place of the wall time.
    `theta` gives the parameters now, where there are more than those of dense layers `logits` the
    outputs of test rows; `outputs` those of the rows that were asked for.
    """

    run: Callable[[], Any]
    theta: Callable[[], Array] | None = None
    logits: Callable[[Array], Array] | None = None
    outputs: Callable[[], Array] | None = None
    peak: Callable[[], float] | None = None
    score: Callable[[], dict[str, float]] | None = None
    held: float | None = None  # MiB
    threads: int = 1
    version: str = ""


# --- nnfast -------------------------------------------------------------------------------------


def _nnfast_layers(work: Work) -> list[Any]:
    import nnfast as nn

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


def _nnfast_network(data: Data) -> Any:
    import nnfast as nn

    net = nn.Sequential(_nnfast_layers(data.work), seed=0, dtype=data.work.dtype)
    net.build(data.work.sizes[0])
    dense = (p for name, p in net.parameters().items() if name.endswith(("weight", "bias")))
    start = (part for layer in data.layers(data.theta) for part in layer)
    for mine, first in zip(dense, start, strict=True):
        mine[...] = first
    return net


def _nnfast(data: Data, **more: Any) -> Contestant:
    import nnfast as nn
    from nnfast import backend

    machine: Any = backend.current()
    if hasattr(machine, "peak_gflops"):
        more["peak"] = lambda: machine.peak_gflops(data.work.dtype, 0.03)
    return Contestant(threads=data.work.threads, version=nn.__version__, **more)


def nnfast_fit(data: Data) -> Contestant:
    net, work = _nnfast_network(data), data.work
    if work.bar:
        sys.stderr = _terminal()
    score: dict[str, Any] = {"theta": lambda: net.theta}
    if work.layer not in _PLAIN:
        score = {"logits": net.predict}
    return _nnfast(data, run=lambda: _nnfast_epoch(net, work, data.x, data.y), **score)


def _nnfast_epoch(net: Any, work: Work, x: Any, y: Array) -> None:
    import nnfast as nn
    from nnfast.optimizers import OPTIMIZERS

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


def nnfast_one(data: Data) -> Contestant:
    one = _nnfast_network(data).predictor()
    return _nnfast(data, **_calls(one, data.x[0], data.work.rows))


def nnfast_batch(data: Data) -> Contestant:
    net = _nnfast_network(data)
    return _nnfast(data, **_batch(lambda: net.predict(data.x)))


def nnfast_memory(data: Data) -> Contestant:
    net, few = _nnfast_network(data), 2 * data.work.batch_size
    _nnfast_epoch(net, data.work, data.x[:few], data.y[:few])
    before = memory.peak()

    def run() -> float:
        _nnfast_epoch(net, data.work, data.x, data.y)
        return memory.peak() - before

    return Contestant(run)


# --- NumPy --------------------------------------------------------------------------------------


def numpy_fit(data: Data) -> Contestant:
    work = data.work
    theta, gradient = data.theta.copy(), np.empty_like(data.theta)
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    layers, gradients = data.layers(theta), data.layers(gradient)
    rng = np.random.default_rng(0)
    steps = 0

    def step(x: Array, y: Array) -> None:
        nonlocal steps
        steps += 1
        outputs = _forward(layers, x, work.activation)
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


def _forward(layers: list[tuple[Array, Array]], x: Array, activation: str) -> list[Array]:
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


def numpy_one(data: Data) -> Contestant:
    layers = data.layers(data.theta)

    def one(x: Array) -> Array:
        for w, b in layers[:-1]:
            x = np.tanh(x @ w + b)
        return x @ layers[-1][0] + layers[-1][1]

    return Contestant(**_calls(one, data.x[0], data.work.rows), version=np.__version__)


def numpy_batch(data: Data) -> Contestant:
    layers = data.layers(data.theta)
    predict = _batch(lambda: _forward(layers, data.x, data.work.activation)[-1])
    return Contestant(**predict, version=np.__version__)


# --- PyTorch ------------------------------------------------------------------------------------


def _torch_model(data: Data) -> Any:
    import torch

    class Residual(torch.nn.Sequential):
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    work = data.work
    torch.set_default_dtype(getattr(torch, work.dtype))
    norm = {"batch_norm": torch.nn.BatchNorm1d, "layer_norm": torch.nn.LayerNorm}.get(work.layer)
    activation = torch.nn.ReLU if work.activation == "relu" else torch.nn.Tanh
    modules: list[Any] = []
    for at, (w, b) in enumerate(data.layers(data.theta)):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        if at == len(work.sizes) - 2:
            modules.append(linear)
        elif norm:
            modules += [linear, norm(len(b)), activation()]
        elif work.layer == "residual" and at:
            modules.append(Residual(linear, activation()))
        else:
            modules += [linear, activation()]
    return torch.nn.Sequential(*modules)


def torch_fit(data: Data) -> Contestant:
    import torch

    work = data.work
    trial = _torch_trainer(data, _torch_model(data))
    threads = _best_torch_threads(lambda: trial(50 * work.batch_size))
    model = _torch_model(data)
    train = _torch_trainer(data, model)

    def theta() -> Array:
        linears = [module for module in model if isinstance(module, torch.nn.Linear)]
        parts = [part for linear in linears for part in (linear.weight.T, linear.bias)]
        return np.concatenate([part.detach().numpy().ravel() for part in parts])

    def logits(x: Array) -> Array:
        with torch.no_grad():
            return np.asarray(model.eval()(torch.from_numpy(x)))

    score: dict[str, Any] = {"theta": theta} if work.layer in _PLAIN else {"logits": logits}
    return Contestant(lambda: train(work.rows), **score, threads=threads, version=torch.__version__)


def _torch_trainer(data: Data, model: Any) -> Callable[[int], None]:
    """``train(rows)`` of the model."""
    import torch

    work = data.work
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    optimizer: Any
    if work.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=work.lr, fused=True)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=work.lr, momentum=work.momentum, fused=True
        )
    loss = torch.nn.functional.cross_entropy if y.ndim == 1 else torch.nn.functional.mse_loss

    def train(n: int) -> None:
        for rows in torch.randperm(work.rows)[:n].split(work.batch_size):
            optimizer.zero_grad()
            loss(model(x.index_select(0, rows)), y.index_select(0, rows)).backward()
            optimizer.step()

    return train


def _best_torch_threads(run: Callable[[], object]) -> int:
    import torch

    seconds = {}
    count = 1
    while count <= len(os.sched_getaffinity(0)):
        torch.set_num_threads(count)
        run()
        seconds[count] = min(_seconds(run) for _ in range(3))
        count *= 2
    best = min(seconds, key=lambda n: seconds[n])
    torch.set_num_threads(best)
    return best


def torch_compile_fit(data: Data) -> Contestant:
    """Gather, forward, backward and optimizer as one graph, which autograd and an optimizer of
    torch.optim, compiled each, do not reach by far."""
    import torch

    work = data.work
    torch.set_num_threads(work.threads)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    params = [torch.from_numpy(p.copy()) for layer in data.layers(data.theta) for p in layer]
    n_dense = len(params)
    normed = work.sizes[1:-1] if work.layer in ("batch_norm", "layer_norm") else ()
    for n in normed:
        params += [torch.ones(n, dtype=x.dtype), torch.zeros(n, dtype=x.dtype)]
    running = [(torch.zeros(n, dtype=x.dtype), torch.ones(n, dtype=x.dtype)) for n in normed]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]
    count = torch.zeros((), dtype=x.dtype)
    activation = torch.relu if work.activation == "relu" else torch.tanh
    criterion = torch.nn.functional.cross_entropy if y.ndim == 1 else torch.nn.functional.mse_loss

    def forward(params: Any, x: Any, statistics: Any) -> tuple[Any, Any]:
        """Logits, and each batch_norm's mean and variance: those given, else the minibatch's."""
        *hidden, (w, b) = zip(params[:n_dense:2], params[1:n_dense:2], strict=True)
        scales = list(zip(params[n_dense::2], params[n_dense + 1 :: 2], strict=True))
        found = []
        for at, (w_hidden, b_hidden) in enumerate(hidden):
            z = torch.addmm(b_hidden, x, w_hidden)
            if work.layer == "batch_norm":
                variance, mean = torch.var_mean(z, 0, correction=0)
                found.append((mean, variance * (len(z) / (len(z) - 1))))
                if statistics:
                    mean, variance = statistics[at]
                z = (z - mean) * torch.rsqrt(variance + 1e-5) * scales[at][0] + scales[at][1]
            elif work.layer == "layer_norm":
                z = torch.nn.functional.layer_norm(z, z.shape[1:], *scales[at])
            a = activation(z)
            x = x + a if work.layer == "residual" and at else a
        return torch.addmm(b, x, w), found

    def loss(params: Any, x: Any, y: Any) -> tuple[Any, Any]:
        z, statistics = forward(params, x, [])
        return criterion(z, y), statistics

    @torch.compile(
        fullgraph=True, dynamic=False, options={"max_autotune": True, "cpp_wrapper": True}
    )
    def step(params: Any, moments: Any, t: Any, x: Any, y: Any, rows: Any) -> None:
        gradients, statistics = torch.func.grad(loss, has_aux=True)(params, x[rows], y[rows])
        t += 1
        for of_all, of_these in zip(running, statistics, strict=False):
            for kept, new in zip(of_all, of_these, strict=True):
                kept.lerp_(new, 0.1)
        for p, g, (m, v) in zip(params, gradients, moments, strict=True):
            if work.optimizer == "sgd":
                p.sub_(g, alpha=work.lr)
            elif work.optimizer == "momentum":
                p.sub_(m.mul_(work.momentum).add_(g), alpha=work.lr)
            else:
                m.lerp_(g, 0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                size = work.lr / (1 - 0.9**t)
                p.sub_(size * m / (torch.sqrt(v / (1 - 0.999**t)) + 1e-8))

    def run() -> None:
        for rows in torch.randperm(work.rows).split(work.batch_size):
            step(params, moments, count, x, y, rows)

    def theta() -> Array:
        return np.concatenate([p.numpy().ravel() for p in params])

    def logits(x: Array) -> Array:
        return np.asarray(forward(params, torch.from_numpy(x), running)[0])

    score: dict[str, Any] = {"theta": theta} if work.layer in _PLAIN else {"logits": logits}
    return Contestant(run, **score, threads=work.threads, version=torch.__version__)


def torch_one(data: Data) -> Contestant:
    return _torch_predict(data, data.x[:1], _calls)


def torch_batch(data: Data) -> Contestant:
    return _torch_predict(data, data.x, lambda model, x, _: _batch(lambda: model(x)))


def _torch_predict(data: Data, x: Array, repeat: Callable[..., dict[str, Any]]) -> Contestant:
    import torch

    torch.set_num_threads(data.work.threads)
    calls = repeat(_torch_model(data), torch.from_numpy(x), data.work.rows)
    quick = {name: torch.inference_mode()(call) for name, call in calls.items()}
    return Contestant(**quick, threads=data.work.threads, version=torch.__version__)


# --- JAX ----------------------------------------------------------------------------------------


def jax_fit(data: Data) -> Contestant:
    import jax
    import jax.numpy as jnp

    work = data.work
    steps = work.rows // work.batch_size
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    params = [jnp.asarray(part) for layer in data.layers(data.theta) for part in layer]
    activation = jax.nn.relu if work.activation == "relu" else jnp.tanh
    rule, first_slots = _jax_rule(work)

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


def _jax_rule(work: Work) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """``rule(p, g, slots, t) -> (p, slots)``, t from 1, and what the slots hold at first."""
    import jax.numpy as jnp

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


# --- scikit-learn -------------------------------------------------------------------------------


def sklearn_fit(data: Data) -> Contestant:
    import sklearn
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    work = data.work
    *hidden, n_out = work.sizes[1:]
    x, y = data.x, data.y.ravel() if n_out == 1 else data.y
    kind, first = MLPClassifier, {"classes": np.arange(n_out)}
    steeper = 1.0
    if work.loss == "mse":
        # half the square, summed over the outputs where others take the mean: scaling lr, or
        # Adam's epsilon, by that makes the same step of it
        kind, first, steeper = MLPRegressor, {}, n_out / 2
    adam = work.optimizer == "adam"
    model = kind(
        hidden_layer_sizes=hidden,
        activation=work.activation,
        solver="adam" if adam else "sgd",
        alpha=0.0,
        batch_size=work.batch_size,
        learning_rate_init=work.lr if adam else work.lr / steeper,
        momentum=work.momentum,
        nesterovs_momentum=False,
        epsilon=1e-8 * steeper,
        random_state=np.random.RandomState(0),
    )
    model.partial_fit(x[: work.batch_size], y[: work.batch_size], **first)
    layers = data.layers(data.theta)
    model.coefs_, model.intercepts_ = (
        [p.copy() for p in part] for part in zip(*layers, strict=True)
    )
    del model._optimizer  # it holds the parameters of before; partial_fit makes another

    def theta() -> Array:
        layers = zip(model.coefs_, model.intercepts_, strict=True)
        return np.concatenate([part.ravel() for layer in layers for part in layer])

    return Contestant(
        lambda: model.partial_fit(x, y),
        theta=theta,
        threads=work.threads,
        version=sklearn.__version__,
    )


# --- ONNX Runtime -------------------------------------------------------------------------------


def onnxruntime_one(data: Data) -> Contestant:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, value = [], [], "x"
    layers = data.layers(data.theta)
    for i, (w, b) in enumerate(layers):
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        value = f"z{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Tanh", [value], [f"a{i}"]))
            value = f"a{i}"
    n_in, n_out = data.work.sizes[0], data.work.sizes[-1]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n_in])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, n_out])
    graph = helper.make_graph(nodes, "network", [x], [y], weights)
    opset = helper.make_opsetid("", 21)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    call = session.run
    calls = _calls(lambda x: call(None, {"x": x})[0], data.x[:1], data.work.rows)
    return Contestant(**calls, version=onnxruntime.__version__)


# --- what all share -----------------------------------------------------------------------------


def _calls(one: Callable[[Any], Any], x: Any, n: int) -> dict[str, Any]:
    """A round of `n` calls with one row, and the outputs for that row."""

    def run() -> None:
        for _ in range(n):
            one(x)

    return {"run": run, "outputs": lambda: np.asarray(one(x)).reshape(1, -1)}


def _batch(predict: Callable[[], Any]) -> dict[str, Any]:
    return {"run": predict, "outputs": lambda: np.asarray(predict())}


def _import(module: str) -> Contestant:
    before = "import numpy\n" if module != "numpy" else ""
    code = (
        f"{before}import time\nbegin = time.perf_counter()\nimport {module}\n"
        "print(time.perf_counter() - begin)"
    )

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def run() -> float:
        command = [sys.executable, "-c", code]
        return float(subprocess.check_output(command, env=environment, text=True))

    return Contestant(run)


# --- from a table to a model --------------------------------------------------------------------


def nnfast_table(folder: Path, work: Work) -> Contestant:
    model = folder / "table.safetensors"
    command = ["train", folder / "table.csv", "--target", "answer", "--epochs", "1", "-o", model]
    command += ["--batch-size", str(work.batch_size)]

    def score() -> dict[str, float]:
        from nnfast.tabular import TableModel

        return {"accuracy": TableModel.load(model).facts.score["accuracy"]}

    def run() -> None:
        subprocess.run([sys.executable, "-m", "nnfast", *command], check=True)

    return Contestant(run, score=score)


_SKLEARN_TABLE = """
import sys
import joblib
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

source, target, batch_size = sys.argv[1:]
table = pd.read_csv(source, engine="pyarrow", dtype={f"x{i}": "float32" for i in range(9)})
numbers, texts = make_column_selector("^x"), ["kind"]
net = MLPClassifier((64, 64), max_iter=1, batch_size=int(batch_size), early_stopping=True,
                    validation_fraction=0.2, random_state=0)
model = make_pipeline(
    make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(), texts)), net)
model.fit(table.drop(columns="answer"), table["answer"])
joblib.dump(model, target)
"""


def sklearn_table(folder: Path, work: Work) -> Contestant:
    model = folder / "table.joblib"

    def score() -> dict[str, float]:
        import joblib

        return {"accuracy": float(joblib.load(model)[-1].best_validation_score_)}

    def run() -> None:
        arguments = [folder / "table.csv", model, str(work.batch_size)]
        command = [sys.executable, "-W", "ignore", "-c", _SKLEARN_TABLE, *arguments]
        subprocess.run(command, check=True)

    return Contestant(run, score=score)


def _score(contestant: Contestant, data: Data) -> dict[str, float]:
    """How good the parameters are on the test rows, or how far the outputs are from NumPy's."""
    if contestant.outputs is not None:
        outputs = contestant.outputs()
        layers = data.layers(data.theta.astype(np.float64))
        x = data.x[: len(outputs)].astype(np.float64)
        expected = _forward(layers, x, data.work.activation)[-1]
        return {"deviation": float(np.abs(outputs - expected).max())}
    x, y = data.test()
    if contestant.logits is not None:
        z = contestant.logits(x.astype(data.work.dtype)).astype(np.float64)
    elif contestant.theta is not None:
        layers = data.layers(contestant.theta().astype(np.float64))
        z = _forward(layers, x, data.work.activation)[-1]
    else:
        return {}
    if y.ndim == 2:
        return {"loss": float(np.mean((z - y) ** 2))}
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(y)), y].mean()
    return {"loss": float(loss), "accuracy": float((z.argmax(axis=1) == y).mean())}


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _prepare(peer: str, request: dict[str, Any]) -> tuple[Contestant, Data | None]:
    work = Work(**request["work"])
    if work.kind == "import":
        return _import(peer), None
    if work.kind == "table":
        table: Contestant = globals()[f"{peer}_table"](Path(request["folder"]), work)
        return table, None
    _refuse(peer, work)
    for module in (_MODULES.get(peer, peer), *(["scipy.sparse"] if work.input == "csr" else [])):
        importlib.import_module(module)
    before = memory.anonymous()
    data = Data(Path(request["folder"]), work)
    contestant: Contestant = globals()[f"{peer}_{work.kind}"](data)
    if work.epochs > 1 and peer != "nnfast":
        one = contestant.run
        contestant.run = lambda: [one() for _ in range(work.epochs)]
    if work.memory:
        contestant.held = memory.most_anonymous(contestant.run) - before
    else:
        contestant.run()
    return contestant, data


def _refuse(peer: str, work: Work) -> None:
    """No peer does another work than it was asked for."""
    asked = {work.optimizer, work.layer, work.input} - {"sgd", "momentum", "adam", ""}
    if peer != "nnfast" and (missing := asked - _ABLE.get(peer, set())):
        raise ValueError(f"no {', '.join(sorted(missing))} is written for {peer}")


def main(peer: str, cores: list[int]) -> None:
    """Answer the parent's requests until it closes the pipe."""
    os.sched_setaffinity(0, cores)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    contestant, data = Contestant(lambda: None), None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if request["do"] == "prepare":
                contestant, data = _prepare(peer, request)
                answer = {"threads": contestant.threads, "version": contestant.version}
            elif request["do"] == "round":
                if data is not None and data.work.kind != "memory":
                    contestant.run()  # idle processes lose pages, caches and clock rate: not timed
                if contestant.peak is not None:
                    answer["peak"] = contestant.peak()
                begin = time.perf_counter()
                measure = contestant.run()
                seconds = time.perf_counter() - begin
                answer["measure"] = measure if isinstance(measure, float) else seconds
            elif contestant.score is not None:
                answer = contestant.score()
            elif data is not None:
                answer = _score(contestant, data)
                if contestant.held is not None:
                    answer["MiB"] = contestant.held
        except Exception as error:
            message = str(error).strip().split("\n")[0]
            answer = {"error": f"{type(error).__name__}: {message}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], [int(core) for core in sys.argv[2].split(",")])
