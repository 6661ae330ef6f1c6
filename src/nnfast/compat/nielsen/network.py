"""The network of chapters 1 and 2, after network.py: quadratic cost, nothing to choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nnfast.compat.nielsen.samples import Pair, Samples, samples
from nnfast.compat.nielsen.sigmoid_network import SigmoidNetwork, sigmoid, sigmoid_prime

__all__ = ["Network", "sigmoid", "sigmoid_prime"]


class Network(SigmoidNetwork):
    """Sigmoid units and the quadratic cost ``|a - y|**2 / 2``; all drawn from N(0, 1).

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the input first.
    dtype : dtype
        float64 as in his program, or float32.

    Notes
    -----
    `SGD` calls `update_mini_batch`, `backprop`, `cost_derivative` and `feedforward` where a
    subclass has its own, and is as slow as the original then.
    """

    def __init__(self, sizes: Sequence[int], *, dtype: DTypeLike = np.float64) -> None:
        super().__init__(sizes, dtype)
        self._draw(lambda n_in: 1.0)

    def SGD(
        self,
        training_data: Iterable[Pair],
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Iterable[Pair] | None = None,
    ) -> None:
        """Train, and print a line an epoch.

        Parameters
        ----------
        training_data : list of (x, y), or another iterable of them
            x (n_in, 1) and y (n_out, 1). A list is shuffled in place, by `random.shuffle`.
        epochs, mini_batch_size : int
            The last minibatch may be short.
        eta : float
            Learning rate, of the mean over a minibatch.
        test_data : iterable of (x, class), optional
            Evaluated after each epoch.

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
        test = Samples(() if test_data is None else test_data)

        def by_hand(mini_batch: list[Pair]) -> None:
            self.update_mini_batch(mini_batch, eta)

        for epoch in self._epochs(data, epochs, mini_batch_size, eta, 0.0, by_hand):
            if test:
                print(f"Epoch {epoch}: {self.evaluate(test)} / {len(test)}")
            else:
                print(f"Epoch {epoch} complete")

    def update_mini_batch(self, mini_batch: Sequence[Pair], eta: float) -> None:
        """Make one step with the samples of `mini_batch`, in Python."""
        self._step(mini_batch, eta, 0.0)

    def evaluate(self, test_data: Iterable[Pair]) -> int:
        """Return how many of the (x, class) have their largest output at the class."""
        data = samples(test_data)
        return int(np.sum(self._outputs(data).argmax(axis=1) == data.labels())) if data else 0

    def cost_derivative(self, output_activations: Any, y: Any) -> Any:
        """Return the derivative of one sample's cost with respect to the outputs."""
        return output_activations - y

    def _engine_loss(self) -> str | None:
        return "mse" if self._has(_STEP) else None

    def _last_delta(self, z: Any, a: Any, y: Any) -> Any:
        return self.cost_derivative(a, y) * sigmoid_prime(z)


_STEP = {
    name: getattr(Network, name) for name in ("update_mini_batch", "backprop", "cost_derivative")
}
