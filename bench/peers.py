"""The contestants. Each runs in a process of its own: ``python -m bench.peers NAME``.

The parent writes JSON lines and reads one for each: {"do": "prepare", ...} readies the work and
warms it up, {"do": "round"} does it once and answers with the seconds, {"do": "score"} says how
good the result is. Peers are written as their own users would to make them fast; a faster way is
welcome.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.work import Work

Array = np.ndarray[tuple[int, ...]]


@dataclass
class Contestant:
    """Work that is ready to run.

    `run` does a round; what it returns, if anything, is the measure in place of the wall time.
    `theta` gives the parameters now, `outputs` those of the test rows that were asked for.
    """

    run: Callable[[], Any]
    theta: Callable[[], Array] | None = None
    outputs: Callable[[], Array] | None = None
    peak: Callable[[], float] | None = None
    score: Callable[[], dict[str, float]] | None = None
    threads: int = 1
    version: str = ""


@dataclass
class Data:
    """The arrays of a work in one dtype."""

    folder: Path
    work: Work
    dtype: str
    x: Array = field(init=False)
    y: Array = field(init=False)
    theta: Array = field(init=False)

    def __post_init__(self) -> None:
        self.x = self._real(self._load("x"))[: self.work.rows]
        self.y = self._real(self._load("y"))[: self.work.rows]
        self.theta = self._real(np.load(self.folder / f"{'-'.join(map(str, self.work.sizes))}.npy"))

    def test(self) -> tuple[Array, Array]:
        return self._load("x_test").astype(np.float64), self._real(self._load("y_test"))

    def layers(self, theta: Array) -> list[tuple[Array, Array]]:
        """Each layer's weights (n_in, n_out) and biases, views into theta."""
        found, at = [], 0
        for n_in, n_out in pairwise(self.work.sizes):
            end = at + n_in * n_out
            found.append((theta[at:end].reshape(n_in, n_out), theta[end : end + n_out]))
            at = end + n_out
        return found

    def _load(self, name: str) -> Array:
        return np.load(self.folder / f"{self.work.sizes[0]}-{self.work.sizes[-1]}.{name}.npy")

    def _real(self, array: Array) -> Array:
        return array.astype(self.dtype, copy=False) if array.dtype.kind == "f" else array


# --- nnfast -------------------------------------------------------------------------------------


def _nnfast_network(data: Data) -> Any:
    import nnfast as nn

    *hidden, n_out = data.work.sizes[1:]
    layers = [nn.Dense(units, data.work.activation) for units in hidden]
    net = nn.Sequential([*layers, nn.Dense(n_out)], seed=0, dtype=data.dtype)
    net.build(data.work.sizes[0])
    net.theta[...] = data.theta
    return net


def _nnfast(data: Data, **more: Any) -> Contestant:
    import nnfast as nn
    from nnfast import backend

    machine: Any = backend.current()
    if hasattr(machine, "peak_gflops"):
        more["peak"] = lambda: machine.peak_gflops(data.dtype, 0.03)
    return Contestant(threads=data.work.threads, version=nn.__version__, **more)


def nnfast_fit(data: Data) -> Contestant:
    net, work = _nnfast_network(data), data.work
    return _nnfast(data, run=lambda: _nnfast_epoch(net, data, work.rows), theta=lambda: net.theta)


def _nnfast_epoch(net: Any, data: Data, rows: int) -> None:
    import nnfast as nn

    work = data.work
    optimizer: Any = nn.Adam(work.lr)
    if work.optimizer != "adam":
        optimizer = nn.SGD(work.lr, momentum=work.momentum)
    net.fit(
        data.x[:rows],
        data.y[:rows],
        loss=work.loss,
        optimizer=optimizer,
        batch_size=work.batch_size,
        epochs=work.epochs,
        threads=work.threads,
        verbose=0,
    )


def nnfast_one(data: Data) -> Contestant:
    one = _nnfast_network(data).predictor()
    return _nnfast(data, **_calls(one, data.x[0], data.work.rows))


def nnfast_batch(data: Data) -> Contestant:
    net = _nnfast_network(data)
    return _nnfast(data, **_batch(lambda: net.predict(data.x)))


def nnfast_memory(data: Data) -> Contestant:
    net = _nnfast_network(data)
    _nnfast_epoch(net, data, 2 * data.work.batch_size)
    before = _peak_memory()

    def run() -> float:
        _nnfast_epoch(net, data, data.work.rows)
        return _peak_memory() - before

    return Contestant(run)


def _peak_memory() -> float:
    """The most that the process has held, in MiB (getrusage would count the parent's, too)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


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

    modules: list[Any] = []
    for w, b in data.layers(data.theta):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, torch.nn.ReLU() if data.work.activation == "relu" else torch.nn.Tanh()]
    return torch.nn.Sequential(*modules[:-1])


def torch_fit(data: Data) -> Contestant:
    import torch

    trial, _ = _torch_trainer(data)
    threads = _best_torch_threads(lambda: trial(50 * data.work.batch_size))
    train, theta = _torch_trainer(data)
    return Contestant(
        lambda: train(data.work.rows), theta=theta, threads=threads, version=torch.__version__
    )


def _torch_trainer(data: Data) -> tuple[Callable[[int], None], Callable[[], Array]]:
    """A new model's ``train(rows)`` and its parameters."""
    import torch

    work = data.work
    model = _torch_model(data)
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

    def theta() -> Array:
        linears = [module for module in model if isinstance(module, torch.nn.Linear)]
        parts = [part for linear in linears for part in (linear.weight.T, linear.bias)]
        return np.concatenate([part.detach().numpy().ravel() for part in parts])

    return train, theta


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
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]
    count = torch.zeros((), dtype=x.dtype)
    activation = torch.relu if work.activation == "relu" else torch.tanh
    criterion = torch.nn.functional.cross_entropy if y.ndim == 1 else torch.nn.functional.mse_loss

    def loss(params: Any, x: Any, y: Any) -> Any:
        *hidden, (w, b) = zip(params[::2], params[1::2], strict=True)
        for w_hidden, b_hidden in hidden:
            x = activation(torch.addmm(b_hidden, x, w_hidden))
        return criterion(torch.addmm(b, x, w), y)

    @torch.compile(
        fullgraph=True, dynamic=False, options={"max_autotune": True, "cpp_wrapper": True}
    )
    def step(params: Any, moments: Any, t: Any, x: Any, y: Any, rows: Any) -> None:
        gradients = torch.func.grad(loss)(params, x[rows], y[rows])
        t += 1
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

    return Contestant(run, theta=theta, threads=work.threads, version=torch.__version__)


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
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in data.layers(data.theta)]
    activation = jax.nn.relu if work.activation == "relu" else jnp.tanh

    def loss(layers: Any, x: Any, y: Any) -> Any:
        for w, b in layers[:-1]:
            x = activation(x @ w + b)
        z = x @ layers[-1][0] + layers[-1][1]
        if work.loss == "mse":
            return jnp.mean((z - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    def sgd(layers: Any, moments: Any, gradient: Any, _t: Any) -> Any:
        return jax.tree.map(lambda p, g: p - work.lr * g, layers, gradient), moments

    def momentum(layers: Any, moments: Any, gradient: Any, _t: Any) -> Any:
        m = jax.tree.map(lambda m, g: work.momentum * m + g, moments[0], gradient)
        return jax.tree.map(lambda p, m: p - work.lr * m, layers, m), (m,)

    def adam(layers: Any, moments: Any, gradient: Any, t: Any) -> Any:
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradient)
        correction = jnp.sqrt(1 - 0.999**t)
        size, epsilon = work.lr * correction / (1 - 0.9**t), 1e-8 * correction
        layers = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + epsilon), layers, m, v)
        return layers, (m, v)

    update, n_moments = {"sgd": (sgd, 0), "momentum": (momentum, 1), "adam": (adam, 2)}[
        work.optimizer
    ]

    @jax.jit
    def epoch(state: Any, x: Any, y: Any, order: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            layers, moments, t = state
            gradient = jax.grad(loss)(layers, x[rows], y[rows])
            return (*update(layers, moments, gradient, t), t + 1), None

        return jax.lax.scan(step, state, order.reshape(steps, work.batch_size))[0]

    zeros = jax.tree.map(jnp.zeros_like, layers)
    state: Any = (layers, (zeros,) * n_moments, jnp.ones((), x.dtype))
    rng = np.random.default_rng(0)

    def run() -> None:
        nonlocal state
        order = rng.permutation(work.rows)[: steps * work.batch_size].astype(np.int32)
        state = jax.block_until_ready(epoch(state, x, y, order))

    def theta() -> Array:
        return np.concatenate([np.asarray(part).ravel() for layer in state[0] for part in layer])

    return Contestant(run, theta=theta, threads=work.threads, version=jax.__version__)


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
    if contestant.theta is None:
        return {}
    x, y = data.test()
    layers = data.layers(contestant.theta().astype(np.float64))
    z = _forward(layers, x, data.work.activation)[-1]
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
    data = Data(Path(request["folder"]), work, request["dtype"])
    contestant: Contestant = globals()[f"{peer}_{work.kind}"](data)
    if work.epochs > 1 and peer != "nnfast":
        one = contestant.run
        contestant.run = lambda: [one() for _ in range(work.epochs)]
    contestant.run()
    return contestant, data


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
        except Exception as error:
            message = str(error).strip().split("\n")[0]
            answer = {"error": f"{type(error).__name__}: {message}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], [int(core) for core in sys.argv[2].split(",")])
