"""A network written by hand in NumPy, and the same with its three hot functions from nnfast.ops.

``python examples/backend.py`` trains both on the digits and prints their times and accuracies.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np

import nnfast
from nnfast.datasets import load_digits


class NumPy:
    """The hot functions of a dense layer of sigmoid units."""

    @staticmethod
    def forward(x: Any, w: Any, b: Any) -> Any:
        """Return y = sigmoid(x w + b)."""
        return 1 / (1 + np.exp(-(x @ w + b)))

    @staticmethod
    def backward(x: Any, w: Any, y: Any, dy: Any) -> Any:
        """Return the gradients of x, w and b, from that of y."""
        dz = dy * y * (1 - y)
        return dz @ w.T, x.T @ dz, dz.sum(axis=0)

    @staticmethod
    def update(w: Any, gradient: Any, lr: float) -> None:
        """Make a step of gradient descent in place."""
        w -= lr * gradient


class Nnfast:
    """The same three."""

    @staticmethod
    def forward(x: Any, w: Any, b: Any) -> Any:
        """Return y = sigmoid(x w + b)."""
        return nnfast.ops.dense_forward(x, w, b, "sigmoid")

    @staticmethod
    def backward(x: Any, w: Any, y: Any, dy: Any) -> Any:
        """Return the gradients of x, w and b, from that of y."""
        return nnfast.ops.dense_backward(x, w, y, dy, "sigmoid")

    update = staticmethod(nnfast.ops.sgd_update)


class Network:
    """Layers of sigmoid units, trained by minibatches on the squared error of targets 0 and 1."""

    def __init__(self, sizes: list[int], functions: Any, seed: int = 0) -> None:
        self.functions = functions
        self.rng = np.random.default_rng(seed)
        self.w = [
            (self.rng.normal(size=(n_in, n_out)) / np.sqrt(n_in)).astype(np.float32)
            for n_in, n_out in pairwise(sizes)
        ]
        self.b = [np.zeros(n_out, np.float32) for n_out in sizes[1:]]

    def outputs(self, x: Any) -> list[Any]:
        """Return x and what each layer makes of it."""
        a = [x]
        for w, b in zip(self.w, self.b, strict=True):
            a.append(self.functions.forward(a[-1], w, b))
        return a

    def step(self, x: Any, y: Any, lr: float) -> None:
        """Make one step with a minibatch."""
        a = self.outputs(x)
        da = (a[-1] - y) / len(x)
        for i in reversed(range(len(self.w))):
            da, dw, db = self.functions.backward(a[i], self.w[i], a[i + 1], da)
            self.functions.update(self.w[i], dw, lr)
            self.functions.update(self.b[i], db, lr)

    def fit(self, x: Any, y: Any, epochs: int, lr: float, batch_size: int = 64) -> None:
        """Train on all rows, in a new order each epoch."""
        for _ in range(epochs):
            order = self.rng.permutation(len(x))
            for first in range(0, len(x), batch_size):
                rows = order[first : first + batch_size]
                self.step(x[rows], y[rows], lr)

    def accuracy(self, x: Any, labels: Any) -> float:
        """Return the share of rows whose largest output is at their label."""
        return float(np.mean(self.outputs(x)[-1].argmax(axis=1) == labels))


def main(epochs: int = 30, rounds: int = 5) -> dict[str, tuple[float, float]]:
    """Train both in turn; print and return the seconds of the best round, and the accuracy."""
    x, labels = load_digits()
    y = np.eye(10, dtype=np.float32)[labels]
    found = {}
    for _round in range(rounds):
        for functions in (NumPy, Nnfast):
            net = Network([64, 32, 10], functions)
            start = time.perf_counter()
            net.fit(x[:1500], y[:1500], epochs, lr=5.0)
            seconds = time.perf_counter() - start
            best, _ = found.get(functions.__name__, (seconds, 0.0))
            accuracy = net.accuracy(x[1500:], labels[1500:])
            found[functions.__name__] = min(best, seconds), accuracy
    for name, (seconds, accuracy) in found.items():
        print(f"{name:8}{seconds:7.3f} s  accuracy {accuracy:.4f}")
    print(f"{found['NumPy'][0] / found['Nnfast'][0]:.1f} times as fast")
    return found


if __name__ == "__main__":
    main()
