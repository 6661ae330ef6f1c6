"""A contestant's process: ``python -m bench.peers NAME CORES``.

The parent writes JSON lines and reads one for each: {"do": "prepare", ...} readies the work and
warms it up, {"do": "round"} does it once and answers with the seconds, {"do": "score"} says how
good the result is.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import memory
from bench.data import Data
from bench.peers.contestant import Contestant
from bench.peers.numpy import forward
from bench.work import Work

_LAYERS = {"batch_norm", "layer_norm", "residual"}
_ABLE = {
    "jax": {"nesterov", "adagrad", "rmsprop", "adamw", "rprop"},
    "torch": _LAYERS,
    "torch_compile": _LAYERS,
    "sklearn": {"csr"},
}
"""What is written for a peer beside SGD, momentum and Adam of dense layers."""

_WARMED_UP = ("words", "vocabulary", "analogies")
"""Without sizes."""
_ALIKE = ("estimator", "answers")
"""Kinds whose runs are all the same, however many came before."""
_WARM = 0.1
"""Seconds of work after which an idle processor has its clock rate, and a process its caches."""


def refuse(peer: str, work: Work) -> None:
    """No peer does another work than it was asked for."""
    asked = {work.optimizer, work.layer, work.input} - {"sgd", "momentum", "adam", ""}
    if peer != "nnfast" and (missing := asked - _ABLE.get(peer, set())):
        raise ValueError(f"no {', '.join(sorted(missing))} is written for {peer}")


def _prepare(peer: str, request: dict[str, Any]) -> tuple[Contestant, Data]:
    work = Work(**request["work"])
    refuse(peer, work)
    if work.kind == "import":
        return _import(peer), Data(Path(request["folder"]), work)
    make = getattr(importlib.import_module(f"bench.peers.{peer}"), work.kind)
    if work.input == "csr":
        importlib.import_module("scipy.sparse")
    before = memory.anonymous()
    data = Data(Path(request["folder"]), work)
    contestant: Contestant = make(data)
    if work.kind == "fit" and work.epochs > 1 and peer != "nnfast":
        one = contestant.run
        contestant.run = lambda: [one() for _ in range(work.epochs)]
    if work.memory:
        contestant.held = memory.most_anonymous(contestant.run) - before
    elif work.sizes or work.kind in _WARMED_UP:
        contestant.run()
    return contestant, data


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


def _round(contestant: Contestant, work: Work) -> dict[str, Any]:
    begin = time.perf_counter()
    if work.sizes and work.kind != "memory":
        contestant.run()  # idle processes lose pages, caches and clock rate: not timed
    while work.kind in _ALIKE and time.perf_counter() - begin < _WARM:
        contestant.run()
    answer = {} if contestant.peak is None else {"peak": contestant.peak()}
    begin = time.perf_counter()
    measure = contestant.run()
    seconds = time.perf_counter() - begin
    if isinstance(measure, dict):
        total = seconds if work.kind == "quality" else sum(measure.values())
        return {**answer, "measure": total, "cases": measure}
    return {**answer, "measure": measure if isinstance(measure, float) else seconds}


def _score(contestant: Contestant, data: Data) -> dict[str, float]:
    """How good the parameters are on the test rows, or how far the outputs are from NumPy's."""
    if contestant.score is not None:
        return contestant.score()
    if contestant.outputs is not None:
        outputs = contestant.outputs()
        layers = data.layers(data.theta.astype(np.float64))
        x = data.x[: len(outputs)].astype(np.float64)
        expected = forward(layers, x, data.work.activation)[-1]
        return {"deviation": float(np.abs(outputs - expected).max())}
    if contestant.logits is None and contestant.theta is None:
        return {}
    x, y = data.test()
    if contestant.logits is not None:
        z = contestant.logits(x.astype(data.work.dtype)).astype(np.float64)
    else:
        layers = data.layers(contestant.theta().astype(np.float64))
        z = forward(layers, x, data.work.activation)[-1]
    if y.ndim == 2:
        return {"loss": float(np.mean((z - y) ** 2))}
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(y)), y].mean()
    return {"loss": float(loss), "accuracy": float((z.argmax(axis=1) == y).mean())}


def main(peer: str, cores: list[int]) -> None:
    """Answer the parent's requests until it closes the pipe."""
    os.sched_setaffinity(0, cores)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if request["do"] == "prepare":
                contestant, data = _prepare(peer, request)
                answer = {"threads": contestant.threads, "version": contestant.version}
            elif request["do"] == "round":
                answer = _round(contestant, data.work)
            else:
                answer = _score(contestant, data)
                if contestant.held is not None:
                    answer["MiB"] = contestant.held
        except Exception as error:
            message = str(error).strip().split("\n")[0]
            answer = {"error": f"{type(error).__name__}: {message}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], [int(core) for core in sys.argv[2].split(",")])
