"""torch.compile: gather, forward, backward and optimizer as one graph.

autograd and an optimizer of torch.optim, compiled each, do not reach that by far.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bench.data import Array, Data
from bench.peers.contestant import PLAIN, Contestant


def fit(data: Data) -> Contestant:
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

    score: dict[str, Any] = {"theta": theta} if work.layer in PLAIN else {"logits": logits}
    return Contestant(run, **score, threads=work.threads, version=torch.__version__)
