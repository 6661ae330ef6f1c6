"""The network of chapter 3, after network2.py: costs, penalty, monitors, files."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nnfast.compat.nielsen.samples import Pair, Samples, samples
from nnfast.compat.nielsen.sigmoid_network import SigmoidNetwork, sigmoid, sigmoid_prime
from nnfast.plan import Array

__all__ = [
    "CrossEntropyCost",
    "Network",
    "QuadraticCost",
    "load",
    "sigmoid",
    "sigmoid_prime",
    "vectorized_result",
]


class QuadraticCost:
    """Half the squared distance."""

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """Return ``|a - y|**2 / 2``, of one sample or the sum over many."""
        return 0.5 * np.linalg.norm(a - y) ** 2

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """Return the derivative with respect to z, for a = sigmoid(z)."""
        return (a - y) * sigmoid_prime(z)


class CrossEntropyCost:
    """Cross entropy of each output as a probability."""

    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        """Return ``-sum(y log a + (1 - y) log(1 - a))``, of one sample or the sum over many.

        0 log 0 is 0.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        """Return the derivative with respect to z, for a = sigmoid(z)."""
        return a - y


Monitored = tuple[list[float], list[int], list[float], list[int]]


class Network(SigmoidNetwork):
    """Sigmoid units, a cost to choose and a penalty of the weights.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the input first.
    cost : class
        `CrossEntropyCost`, `QuadraticCost`, or your own with their two functions.
    dtype : dtype
        float64 as in his program, or float32.

    Notes
    -----
    `SGD` calls `update_mini_batch`, `backprop`, `feedforward` and ``cost.delta`` where they are
    your own, and is as slow as the original then.
    """

    def __init__(
        self, sizes: Sequence[int], cost: Any = CrossEntropyCost, *, dtype: DTypeLike = np.float64
    ) -> None:
        super().__init__(sizes, dtype)
        self.default_weight_initializer()
        self.cost = cost

    def default_weight_initializer(self) -> None:
        """Draw biases from N(0, 1), weights from N(0, 1 / n_in)."""
        self._draw(math.sqrt)

    def large_weight_initializer(self) -> None:
        """Draw biases and weights from N(0, 1), as chapter 1 does."""
        self._draw(lambda n_in: 1.0)

    def SGD(
        self,
        training_data: Iterable[Pair],
        epochs: int,
        mini_batch_size: int,
        eta: float,
        lmbda: float = 0.0,
        evaluation_data: Iterable[Pair] | None = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0,
    ) -> Monitored:
        """Train, and print what is monitored.

        Parameters
        ----------
        training_data : list of (x, y), or another iterable of them
            x (n_in, 1) and y (n_out, 1). A list is shuffled in place, by `random.shuffle`.
        epochs, mini_batch_size : int
            The last minibatch may be short.
        eta : float
            Learning rate, of the mean over a minibatch.
        lmbda : float
            >= 0: a step takes the share ``eta * lmbda / n`` of each weight away.
        evaluation_data : iterable of (x, class), optional
        monitor_evaluation_cost, monitor_evaluation_accuracy : bool
        monitor_training_cost, monitor_training_accuracy : bool
            What to compute after each epoch.
        early_stopping_n : int
            > 0: end after so many epochs in a row without a better accuracy, that on
            `evaluation_data` if it is monitored, else that on `training_data`.

        Returns
        -------
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy : list
            A number an epoch, or empty.

        Raises
        ------
        TypeError, ValueError
            Arguments or samples that do not fit.

        Warns
        -----
        NonFiniteLossWarning
            The cost became NaN; training ends.
        """
        data = Samples(training_data)
        evaluation = Samples(() if evaluation_data is None else evaluation_data)
        if (monitor_evaluation_cost or monitor_evaluation_accuracy) and not evaluation:
            raise ValueError("evaluation_data: expected some to monitor, got none; pass a list")
        if early_stopping_n > 0 and not (monitor_evaluation_accuracy or monitor_training_accuracy):
            raise ValueError(
                f"early_stopping_n={early_stopping_n}: expected an accuracy to look at, got none; "
                "pass monitor_evaluation_accuracy=True"
            )
        found: Monitored = [], [], [], []
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy = found
        best, waited = 0, 0

        def by_hand(mini_batch: list[Pair]) -> None:
            self.update_mini_batch(mini_batch, eta, lmbda, len(data))

        for epoch in self._epochs(data, epochs, mini_batch_size, eta, lmbda, by_hand):
            print(f"Epoch {epoch} training complete")
            if monitor_training_cost:
                training_cost.append(self.total_cost(data, lmbda))
                print(f"Cost on training data: {training_cost[-1]}")
            if monitor_training_accuracy:
                training_accuracy.append(self.accuracy(data, convert=True))
                print(f"Accuracy on training data: {training_accuracy[-1]} / {len(data)}")
            if monitor_evaluation_cost:
                evaluation_cost.append(self.total_cost(evaluation, lmbda, convert=True))
                print(f"Cost on evaluation data: {evaluation_cost[-1]}")
            if monitor_evaluation_accuracy:
                evaluation_accuracy.append(self.accuracy(evaluation))
                print(f"Accuracy on evaluation data: {evaluation_accuracy[-1]} / {len(evaluation)}")
            print()
            if early_stopping_n > 0:
                last = (evaluation_accuracy or training_accuracy)[-1]
                best, waited = (last, 0) if last > best else (best, waited + 1)
                if waited == early_stopping_n:
                    break
        return found

    def update_mini_batch(
        self, mini_batch: Sequence[Pair], eta: float, lmbda: float, n: int
    ) -> None:
        """Make one step with the samples of `mini_batch`, in Python; n as in all training data."""
        self._step(mini_batch, eta, eta * (lmbda / n))

    def accuracy(self, data: Iterable[Pair], convert: bool = False) -> int:
        """Return how many x have their largest output at the class.

        Parameters
        ----------
        data : iterable of (x, y)
        convert : bool
            True: y is a vector, shape (n_out, 1), with its largest element at the class, as in
            training data; False: y is the class.
        """
        pairs = samples(data)
        if not pairs:
            return 0
        outputs = self._outputs(pairs)
        if convert:
            labels = pairs.targets(outputs.shape[1])[pairs.order].argmax(axis=1)
        else:
            labels = pairs.labels()
        return int(np.sum(outputs.argmax(axis=1) == labels))

    def total_cost(self, data: Iterable[Pair], lmbda: float, convert: bool = False) -> float:
        """Return the mean cost of the samples, and the penalty ``lmbda / (2 n) sum(w * w)``.

        Parameters
        ----------
        data : iterable of (x, y)
        lmbda : float
        convert : bool
            True: y is the class; False: a vector, shape (n_out, 1). The reverse of `accuracy`.
        """
        pairs = samples(data)
        a = self._outputs(pairs)
        n, n_out = a.shape
        y = _one_hot(pairs.labels(), n_out) if convert else pairs.targets(n_out)[pairs.order]
        if self.cost.fn in _SUMS:
            cost = self.cost.fn(a, y)
        else:
            columns = zip(a[:, :, None], y[:, :, None], strict=True)
            cost = sum(self.cost.fn(*column) for column in columns)
        return float(cost / n + 0.5 * lmbda / n * sum(np.sum(w * w) for w in self.weights))

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Write sizes, weights, biases and the cost's name as JSON, as network2.py does."""
        settings = {
            "sizes": list(map(int, self.sizes)),
            "weights": [w.tolist() for w in self.weights],
            "biases": [b.tolist() for b in self.biases],
            "cost": str(self.cost.__name__),
        }
        with open(filename, "w", encoding="utf-8") as file:
            json.dump(settings, file)

    def _engine_loss(self) -> str | None:
        return _LOSSES.get(self.cost.delta) if self._has(_STEP) else None

    def _last_delta(self, z: Any, a: Any, y: Any) -> Any:
        return self.cost.delta(z, a, y)


def load(filename: str | os.PathLike[str], *, dtype: DTypeLike = np.float64) -> Network:
    """Return the network that `Network.save`, or network2.py, wrote.

    Parameters
    ----------
    filename
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError
        A file of another kind, or a cost that is no class of this module; assign your own to it:
        ``network2.MyCost = MyCost``.
    """
    with open(filename, encoding="utf-8") as file:
        settings = json.load(file)
    try:
        cost = getattr(sys.modules[__name__], settings["cost"], None)
        if not (callable(getattr(cost, "fn", None)) and callable(getattr(cost, "delta", None))):
            raise ValueError(
                f"{os.fspath(filename)}: expected the cost CrossEntropyCost or QuadraticCost, got "
                f"{settings['cost']!r}; assign a cost of your own to this module before"
            )
        net = Network(settings["sizes"], cost, dtype=dtype)
        net.weights = [np.array(w, net.dtype) for w in settings["weights"]]
        net.biases = [np.array(b, net.dtype) for b in settings["biases"]]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{os.fspath(filename)}: expected a network saved by network2, got "
            f"{type(error).__name__}: {error}; save it again"
        ) from None
    return net


def vectorized_result(j: int) -> Array:
    """Return the vector, shape (10, 1), that is 1 at j and 0 elsewhere."""
    e = np.zeros((10, 1))
    e[j] = 1.0
    return e


def _one_hot(labels: Array, n: int) -> Array:
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n:
        raise ValueError(
            f"y: expected a class from 0 to {n - 1}, an integer, got {labels.dtype} from "
            f"{labels.min()} to {labels.max()}; convert=True is for classes"
        )
    return np.eye(n)[labels]


_STEP = {name: getattr(Network, name) for name in ("update_mini_batch", "backprop")}
_LOSSES = {QuadraticCost.delta: "mse", CrossEntropyCost.delta: "binary_cross_entropy"}
_SUMS = (QuadraticCost.fn, CrossEntropyCost.fn)
"""Those whose value for many samples is the sum of the values."""
