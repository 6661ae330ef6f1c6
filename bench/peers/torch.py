"""PyTorch, eager: fused optimizers, index_select of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.data import Array, Data
from bench.peers.contestant import PLAIN, Contestant, batches, best_threads, calls


def _model(data: Data) -> Any:
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


def fit(data: Data) -> Contestant:
    work = data.work
    trial = _trainer(data, _model(data))
    threads = best_threads(torch.set_num_threads, lambda: trial(50 * work.batch_size))
    model = _model(data)
    train = _trainer(data, model)

    def theta() -> Array:
        linears = [module for module in model if isinstance(module, torch.nn.Linear)]
        parts = [part for linear in linears for part in (linear.weight.T, linear.bias)]
        return np.concatenate([part.detach().numpy().ravel() for part in parts])

    def logits(x: Array) -> Array:
        with torch.no_grad():
            return np.asarray(model.eval()(torch.from_numpy(x)))

    score: dict[str, Any] = {"theta": theta} if work.layer in PLAIN else {"logits": logits}
    return Contestant(lambda: train(work.rows), **score, threads=threads, version=torch.__version__)


def _trainer(data: Data, model: Any) -> Callable[[int], None]:
    """``train(rows)`` of the model."""
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


def one(data: Data) -> Contestant:
    return _predict(data, data.x[:1], calls)


def batch(data: Data) -> Contestant:
    return _predict(data, data.x, lambda model, x, _: batches(lambda: model(x)))


def _predict(data: Data, x: Array, repeat: Callable[..., dict[str, Any]]) -> Contestant:
    torch.set_num_threads(data.work.threads)
    calls = repeat(_model(data), torch.from_numpy(x), data.work.rows)
    quick = {name: torch.inference_mode()(call) for name, call in calls.items()}
    return Contestant(**quick, threads=data.work.threads, version=torch.__version__)
