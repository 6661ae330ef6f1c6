"""The network of M. Nielsen's "Neural Networks and Deep Learning", chapter 1, in plain NumPy.

Sample by sample, as the book has it: gradients of zeros that each sample's are added to, columns,
the quadratic cost.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bench.data import Array, Data

Pair = tuple[Array, Any]


class Network:
    """Layers of sigmoid units, trained by stochastic gradient descent."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.num_layers = len(sizes)
        self.biases = [np.random.randn(n_out, 1) for n_out in sizes[1:]]
        self.weights = [np.random.randn(n_out, n_in) for n_in, n_out in pairwise(sizes)]

    def feedforward(self, a: Array) -> Array:
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def SGD(
        self, training_data: list[Pair], epochs: int, size: int, eta: float, test_data: list[Pair]
    ) -> None:
        for epoch in range(epochs):
            random.shuffle(training_data)
            for at in range(0, len(training_data), size):
                self.update_mini_batch(training_data[at : at + size], eta)
            print(f"Epoch {epoch}: {self.evaluate(test_data)} / {len(test_data)}")

    def update_mini_batch(self, mini_batch: list[Pair], eta: float) -> None:
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            delta_b, delta_w = self.backprop(x, y)
            nabla_b = [nb + db for nb, db in zip(nabla_b, delta_b, strict=True)]
            nabla_w = [nw + dw for nw, dw in zip(nabla_w, delta_w, strict=True)]
        rate = eta / len(mini_batch)
        self.weights = [w - rate * nw for w, nw in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - rate * nb for b, nb in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activation, activations, zs = x, [x], []
        for b, w in zip(self.biases, self.weights, strict=True):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = sigmoid(z)
            activations.append(activation)
        delta = (activations[-1] - y) * sigmoid_prime(zs[-1])
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].T)
        for layer in range(2, self.num_layers):
            delta = np.dot(self.weights[1 - layer].T, delta) * sigmoid_prime(zs[-layer])
            nabla_b[-layer] = delta
            nabla_w[-layer] = np.dot(delta, activations[-layer - 1].T)
        return nabla_b, nabla_w

    def evaluate(self, test_data: list[Pair]) -> int:
        results = [(np.argmax(self.feedforward(x)), y) for x, y in test_data]
        return sum(int(found == y) for found, y in results)


def sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    return sigmoid(z) * (1 - sigmoid(z))


def run_and_score(network: Any, data: Data, **more: Any) -> dict[str, Any]:
    """A call of SGD, and how good a new network is after an epoch: from the same seeds for all."""
    work = data.work
    vectors = np.eye(work.sizes[-1], dtype=work.dtype)[:, :, None]
    rows = zip(data.x, data.y.tolist(), strict=True)
    unshuffled = tuple((x[:, None], vectors[y]) for x, y in rows)
    x_test, y_test = data.test()
    columns = x_test.astype(work.dtype)[:, :, None]
    test = list(zip(columns, y_test.tolist(), strict=True))

    def new() -> Any:
        np.random.seed(0)
        random.seed(0)
        return network(list(work.sizes), **more)

    net, train = new(), list(unshuffled)

    def score() -> dict[str, float]:
        fresh = new()
        fresh.SGD(list(unshuffled), 1, work.batch_size, work.lr, test)
        return {"accuracy": fresh.evaluate(test) / len(test)}

    return {
        "run": lambda: net.SGD(train, work.epochs, work.batch_size, work.lr, test),
        "score": score,
    }
