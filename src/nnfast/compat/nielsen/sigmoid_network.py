"""What the networks of both programs are: layers of sigmoid units, and their way to the engine."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nnfast import backend, checks, layers, losses, optimizers
from nnfast.compat.nielsen.samples import Pair, Samples
from nnfast.plan import Array, Job, Plan
from nnfast.regularizers import L2
from nnfast.training import SECONDS_OF_A_CALL, NonFiniteLossWarning

RATES = {"mse": 0.5, "binary_cross_entropy": 1.0}
"""The engine's losses that are his costs but for a factor, which is this over the outputs."""


def sigmoid(z: Any) -> Any:
    """Return ``1 / (1 + exp(-z))``."""
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z: Any) -> Any:
    """Return the derivative of `sigmoid` at z."""
    a = sigmoid(z)
    return a * (1 - a)


class SigmoidNetwork(ABC):
    """Layers of sigmoid units, trained by minibatches, one call of the engine an epoch.

    Attributes
    ----------
    num_layers : int
        Those of units and the input.
    sizes : sequence of int
        Units of each.
    biases : list of ndarray, shapes (n_out, 1)
    weights : list of ndarray, shapes (n_out, n_in)
        Read at the start of an epoch; new arrays at its end. Trained in float32 if all of them and
        of the biases are float32, else in float64.
    dtype : dtype
        That of the weights and biases which are drawn.
    """

    biases: list[Array]
    weights: list[Array]
    dtype: np.dtype[Any]

    def __init__(self, sizes: Sequence[int], dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}; choose one")
        if len(sizes) < 2:
            raise ValueError(f"sizes: expected two layers or more, got {sizes!r}; add the output's")
        self.num_layers = len(sizes)
        self.sizes = sizes

    def feedforward(self, a: Any) -> Any:
        """Return the output, shape (n_out, 1), for the input a, shape (n_in, 1)."""
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return the gradient of one sample's cost, layer by layer: of the biases, of the weights.

        Parameters
        ----------
        x : ndarray, shape (n_in, 1)
        y : ndarray, shape (n_out, 1)
        """
        activations, zs = [x], []
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        delta = self._last_delta(zs[-1], activations[-1], y)
        deltas = [delta]
        for w, z in zip(self.weights[:0:-1], zs[-2::-1], strict=True):
            delta = np.dot(w.T, delta) * sigmoid_prime(z)
            deltas.insert(0, delta)
        products = zip(deltas, activations[:-1], strict=True)
        return deltas, [np.dot(delta, a.T) for delta, a in products]

    @abstractmethod
    def _last_delta(self, z: Any, a: Any, y: Any) -> Any:
        """Return the derivative of one sample's cost with respect to the last z."""

    def _draw(self, divisor: Callable[[int], float]) -> None:
        """Draw all biases, then all weights by ``divisor(n_in)``, as his programs do."""
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        biases = [np.random.randn(n_out, 1) for _, n_out in pairs]
        weights = [np.random.randn(n_out, n_in) / divisor(n_in) for n_in, n_out in pairs]
        self.biases = [b.astype(self.dtype, copy=False) for b in biases]
        self.weights = [w.astype(self.dtype, copy=False) for w in weights]

    def _step(self, mini_batch: Sequence[Pair], eta: float, shrinkage: float) -> None:
        """Make a step in Python: of each weight goes the share `shrinkage`, then eta gradients."""
        rate = eta / len(mini_batch)
        nabla_b, nabla_w = zip(*(self.backprop(x, y) for x, y in mini_batch), strict=True)
        steps = [rate * sum(of_layer) for of_layer in zip(*nabla_w, strict=True)]
        self.weights = [
            (1 - shrinkage) * w - step for w, step in zip(self.weights, steps, strict=True)
        ]
        steps = [rate * sum(of_layer) for of_layer in zip(*nabla_b, strict=True)]
        self.biases = [b - step for b, step in zip(self.biases, steps, strict=True)]

    def _has(self, originals: Mapping[str, Any]) -> bool:
        """Whether these methods are the originals: not those of a subclass, not exchanged."""
        return all(
            getattr(getattr(self, name), "__func__", None) is original
            for name, original in originals.items()
        )

    @abstractmethod
    def _engine_loss(self) -> str | None:
        """Return the engine's loss that is the cost; None: a user's own methods make the steps."""

    def _epochs(
        self,
        data: Samples,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        lmbda: float,
        by_hand: Callable[[list[Pair]], None],
    ) -> Iterator[int]:
        """Train, and yield the number of each epoch after it; `by_hand` makes a step in Python."""
        for epoch in range(epochs):
            data.shuffle()
            loss = self._engine_loss()
            if data and loss is not None:
                if not self._epoch(data, mini_batch_size, eta, lmbda, loss):
                    return
            else:
                for first in range(0, len(data), mini_batch_size):
                    by_hand(data[first : first + mini_batch_size])
            yield epoch

    def _epoch(
        self, data: Samples, mini_batch_size: int, eta: float, lmbda: float, loss: str
    ) -> bool:
        """Train on the list as it lies; False, with a warning, if the cost is no longer finite."""
        batch = checks.integer("mini_batch_size", mini_batch_size, 1)
        checks.number("eta", eta, "a finite number", math.isfinite)
        checks.number("lmbda", lmbda, "a finite number >= 0", lambda v: 0 <= v < math.inf)
        factor = RATES[loss] * len(self.weights[-1])
        # w goes down by eta lmbda / n w; the engine's penalty makes that eta factor 2 l2 w
        plan, theta = self._engine(l2=lmbda / (2 * factor * len(data)))
        known = losses.get(loss)
        rates = np.zeros((-(-len(data) // batch), 3))
        rates[:, 0] = eta * factor
        x = data.inputs(plan.n_in)
        job = Job(
            plan=plan.without_link(known.link),
            theta=theta,
            x=x,
            y=data.targets(plan.n_out),
            order=data.order,
            batch_size=batch,
            training=True,
            loss=known,
            optimizer=optimizers.SGD(),
            state=np.empty((0, theta.size), theta.dtype),
            rates=rates,
            threads=backend.resolve_threads(None),
        )
        run = backend.current().run(job)
        try:
            while run.advance(SECONDS_OF_A_CALL):
                pass
        finally:
            weights, biases = plan.parameters[::2], plan.parameters[1::2]
            self.weights = [theta[p.slice].reshape(p.shape).T.copy() for p in weights]
            self.biases = [theta[p.slice].reshape(-1, 1).copy() for p in biases]
        if not run.finite:
            warnings.warn(
                "the cost is no longer finite; training has stopped and the weights are those "
                "before that minibatch. Look for NaN in the data, and try a smaller eta",
                NonFiniteLossWarning,
                stacklevel=4,
            )
        return run.finite

    def _outputs(self, data: Samples) -> Array:
        """Return the outputs for all x, shape (n, n_out), by `feedforward` if it is a user's."""
        if not self._has(_FEEDFORWARD):
            return np.array([np.ravel(self.feedforward(x)) for x, _ in data])
        plan, theta = self._engine()
        x = data.inputs(plan.n_in)
        outputs = np.empty((len(data), plan.n_out), theta.dtype)
        job = Job(
            plan=plan,
            theta=theta,
            x=x,
            order=data.order,
            batch_size=len(data),
            outputs=outputs,
            threads=backend.resolve_threads(None),
        )
        run = backend.current().run(job)
        while run.advance(SECONDS_OF_A_CALL):
            pass
        return outputs

    def _engine(self, l2: float = 0.0) -> tuple[Plan, Array]:
        """Return the network as the engine has it: weights transposed, in one vector."""
        arrays = [*self.weights, *self.biases]
        single = all(np.asarray(a).dtype == np.float32 for a in arrays)
        n_in = units = np.shape(self.weights[0])[-1]
        pieces = []
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            expected = (len(w), units), (len(w), 1)
            if (np.shape(w), np.shape(b)) != expected:
                raise ValueError(
                    f"weights[{i}], biases[{i}]: expected shapes {expected}, got {np.shape(w)} and "
                    f"{np.shape(b)}; a layer has a row for each unit, a column for each input"
                )
            pieces += [np.ravel(np.transpose(w)), np.ravel(b)]
            units = len(w)
        dense = [layers.Dense(len(w), "sigmoid", kernel_regularizer=L2(l2)) for w in self.weights]
        plan = layers.build_plan(dense, n_in)
        return plan, np.concatenate(pieces).astype(np.float32 if single else np.float64)


_FEEDFORWARD = {"feedforward": SigmoidNetwork.feedforward}
