"""Sequential: a thin shell over plans and training."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnfast import backend, feeds, fitting, inputs, rng
from nnfast import training as training_
from nnfast.callbacks import Callback, checked_callbacks
from nnfast.history import History
from nnfast.layers import Layer, build_plan, checked_layers
from nnfast.losses import AnyLoss
from nnfast.plan import (
    Array,
    Plan,
    PlanBuilder,
    buffer_views,
    initial_buffers,
    initial_theta,
    parameter_views,
)

_METADATA = "nnfast"


class Sequential:
    """A network of layers one after the other.

    Parameters
    ----------
    layers : iterable of Layer
        For example ``[Dense(128, "relu"), Dense(10)]``.
    seed : int or None
        Key of the initial weights and of the shuffles: the same seed, the same bits. None draws
        one, which `seed` then tells.
    dtype : {"float32", "float64"}
        Of theta and of all arithmetic.

    Attributes
    ----------
    layers : tuple of Layer
    seed : int
    dtype : numpy.dtype
    plan : Plan
        Once built.
    theta : ndarray, shape (n_theta,)
        All parameters, once built; `parameters` gives views into it.

    Raises
    ------
    TypeError, ValueError
        Something else than layers, or another seed or dtype.

    Examples
    --------
    >>> net = nn.Sequential([nn.Dense(128, "relu"), nn.Dense(10)], seed=0)
    >>> history = net.fit(X, y, epochs=10)
    >>> net.predict(X).argmax(axis=1)
    """

    def __init__(
        self, layers: Iterable[Layer], seed: int | None = None, dtype: Any = "float32"
    ) -> None:
        self.layers = checked_layers(layers)
        self.seed = rng.checked_seed(seed)
        self.dtype = _checked_dtype(dtype)
        self._network: training_.Network | None = None

    @property
    def built(self) -> bool:
        """Whether the plan is made and theta is there."""
        return self._network is not None

    @property
    def plan(self) -> Plan:
        """The table that backends run. ValueError before `build`."""
        return self._built().plan

    @property
    def theta(self) -> Array:
        """All parameters, shape (n_theta,); assigning copies into it. ValueError before `build`."""
        return self._built().theta

    @theta.setter
    def theta(self, values: Any) -> None:
        array = inputs.real_array(values, "theta")
        if array.shape != (self.plan.n_theta,):
            raise ValueError(
                f"theta: expected shape ({self.plan.n_theta},), got {array.shape}; "
                "parameters() names its parts"
            )
        self._trainable().theta[:] = array

    @property
    def buffers(self) -> Array:
        """What is kept but not optimised, shape (n_buffers,): BatchNorm's running statistics."""
        return self._built().buffers

    def build(self, input_shape: int | tuple[int, ...]) -> Sequential:
        """Make the plan, draw the initial weights, return self; again draws the same anew.

        Parameters
        ----------
        input_shape : int or tuple of int
            Of one sample: 784 or (28, 28).

        Raises
        ------
        TypeError, ValueError
            A shape that the layers cannot take.
        """
        built = build_plan(self.layers, input_shape)
        theta = initial_theta(built, self.seed, self.dtype)
        buffers = initial_buffers(built, self.dtype)
        self._network = training_.Network(built, theta, buffers, self.seed)
        return self

    def fit(
        self,
        X: Any,
        y: Any = None,
        loss: AnyLoss | None = None,
        optimizer: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        metrics: Any = (),
        callbacks: Callback | Sequence[Callback] = (),
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        verbose: object = "auto",
        threads: int | None = None,
    ) -> History:
        """Train by minibatches, building first if need be.

        The optimizer's state and the shuffles go on where the last `fit` ended, as long as its
        settings are equal. An exception, Ctrl-C too, leaves theta at the last finished step.

        Parameters
        ----------
        X : array, shape (n, *input_shape), or iterable
            Real numbers of any dtype and strides; not copied. Without y, an iterable of batches
            (X, y) or (X, y, sample_weight), each a step; a thread draws the next two.
        y : array, shape (n,) or (n, n_out), or None
            Integer labels, or targets.
        loss : str or None
            "mse", "mae", "huber", "cross_entropy", "binary_cross_entropy", "poisson" (the outputs
            are logarithms of rates), "hinge" or "perceptron" (margins: y is -1 and 1, 0 and 1, or
            labels). None chooses by y (`nnfast.losses.infer`). A last softmax or sigmoid is fused
            with the loss it belongs to.
        optimizer : an object of `nnfast.optimizers`, its name such as "adam", or None
            None is ``SGD(lr=0.01)``.
        epochs, initial_epoch : int
            Train from `initial_epoch` (counted from 0) up to, without, `epochs`.
        batch_size : int
            Rows of a step; the last step of an epoch may have fewer. Unused with an iterable.
        shuffle : bool
            Draw a new order of the rows each epoch. Unused with an iterable.
        validation_data : (X, y) or (X, y, sample_weight) or None
            Evaluated after each epoch.
        validation_split : float
            Share of the last rows, before shuffling, to validate on instead.
        sample_weight : array or None, shape (n,)
            Factors of the rows' losses; sums are divided by the number of rows.
        class_weight : dict or None
            Factors by label; 1 for those left out.
        metrics : name, function, `nnfast.metrics.Metric`, or a sequence of them
            "accuracy", "top_5_accuracy" (or any other number), "mse", "mae", "rmse", "r2",
            "precision", "recall", "f1"; a function (y_true, y_pred) returns a number, or one a
            row. From the outputs of the training steps, as the loss takes them; unweighted.
        callbacks : sequence of Callback
        steps_per_epoch : int or None
            Batches of an epoch, for an iterable alone; passes over it follow each other. None: an
            epoch is a pass.
        verbose : {"auto", 0, 1, 2}
            1 draws a bar on stderr if it is a terminal or a notebook, "auto" is 1; 2 prints a line
            an epoch on stdout.
        threads : int or None
            Most threads to use.

        Returns
        -------
        History
            Its `history` holds a list of numbers, one an epoch, for each name.

        Raises
        ------
        TypeError, ValueError
            An argument or a batch that does not fit.

        Warns
        -----
        NonFiniteLossWarning
            The loss became NaN or infinite: training stops with theta and the optimizer's state
            as they were at the start of that epoch.
        """
        if feeds.yields_batches(X, y):
            X = feeds.Batches(X, steps_per_epoch)
            shape = X.first(lambda x, y, weight: x.shape[1:])
        elif steps_per_epoch is not None:
            raise ValueError(
                "steps_per_epoch: expected None with arrays, got "
                f"{steps_per_epoch!r}; batch_size says how many steps they are"
            )
        else:
            X = inputs.features(X)
            shape = X.shape[1:]
        callbacks = checked_callbacks(callbacks)
        if self._network is None:
            self.build(shape)
        for callback in callbacks:
            callback.model = self
        return fitting.fit(
            self._trainable(),
            X,
            y,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            validation_data=validation_data,
            validation_split=validation_split,
            sample_weight=sample_weight,
            class_weight=class_weight,
            metrics=metrics,
            callbacks=callbacks,
            initial_epoch=initial_epoch,
            verbose=verbose,
            threads=threads,
        )

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        loss: AnyLoss | None = None,
        optimizer: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        threads: int | None = None,
    ) -> Sequential:
        """Train for one pass over X, which may be the next part of the data; return self.

        It is a silent `fit` of one epoch: the optimizer's state and the shuffles go on.
        """
        self.fit(
            X,
            y,
            loss=loss,
            optimizer=optimizer,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            class_weight=class_weight,
            verbose=0,
            threads=threads,
        )
        return self

    def train_on_batch(
        self,
        X: Any,
        y: Any,
        loss: AnyLoss | None = None,
        optimizer: Any = None,
        sample_weight: Any = None,
        threads: int | None = None,
    ) -> float:
        """Make one step with all rows of X and return the loss before it; see `fit`."""
        X = inputs.features(X)
        if self._network is None:
            self.build(X.shape[1:])
        return training_.train_on_batch(
            self._trainable(),
            X,
            y,
            loss=loss,
            optimizer=optimizer,
            sample_weight=sample_weight,
            threads=threads,
        )

    def evaluate(
        self,
        X: Any,
        y: Any,
        loss: AnyLoss | None = None,
        metrics: Any = (),
        sample_weight: Any = None,
        threads: int | None = None,
    ) -> dict[str, float]:
        """Return "loss" and the metrics, means over the rows; arguments as in `fit`."""
        return training_.evaluate(
            self._built(),
            X,
            y,
            loss=loss,
            metrics=metrics,
            sample_weight=sample_weight,
            threads=threads,
        )

    def predict(self, X: Any, threads: int | None = None) -> Array:
        """Return the outputs, shape (n, *output_shape), each a function of its row alone."""
        return training_.predict(self._built(), X, threads)

    def loss_and_grad(
        self,
        X: Any,
        y: Any,
        loss: AnyLoss | None = None,
        sample_weight: Any = None,
        training: bool = False,
        threads: int | None = None,
    ) -> tuple[float, Array]:
        """Return J(theta) over all rows and its gradient, shape (n_theta,), of theta's dtype.

        J is the loss that `evaluate` returns; with `training` that of a step of `fit`:
        Dropout drops, and BatchNorm normalises by these rows.
        """
        data = inputs.samples(X, y, self.plan, self.dtype, loss, sample_weight)
        return training_.loss_and_grad(self._built(), data, training, threads)

    def objective(
        self, X: Any, y: Any, loss: AnyLoss | None = None, threads: int | None = None
    ) -> Callable[[Any], tuple[float, Array]]:
        """Return ``f(theta) -> (J, gradient)``, computed in float64 whatever the dtype.

        For ``scipy.optimize.minimize(f, net.theta, jac=True)``; f leaves the network alone, so
        assign the result: ``net.theta = result.x``.
        """
        built, double = self._built(), np.dtype(np.float64)
        data = inputs.samples(X, y, built.plan, double, loss)
        network = dataclasses.replace(built, buffers=built.buffers.astype(double))

        def f(theta: Any) -> tuple[float, Array]:
            values = np.ascontiguousarray(inputs.real_array(theta, "theta"), double)
            if values.shape != built.theta.shape:
                raise ValueError(
                    f"theta: expected shape {built.theta.shape}, got {values.shape}; "
                    "start from net.theta"
                )
            point = dataclasses.replace(network, theta=values)
            return training_.loss_and_grad(point, data, threads=threads)

        return f

    def parameters(self) -> dict[str, Array]:
        """Return each parameter by name, such as "0.weight", as a view into theta."""
        network = self._built()
        return parameter_views(network.plan, network.theta)

    def predictor(self) -> Any:
        """Return ``one(x, out=None)`` for single rows at the lowest latency: theta as it is now."""
        network = self._built()
        return backend.current().predictor(network.plan, network.theta, network.buffers)

    def summary(self) -> None:
        """Print the layers, their output shapes and their numbers of parameters."""
        rows = self._table()
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = zip(row[:2], widths[:2], strict=True)
            print(
                "  ".join([*(cell.ljust(width) for cell, width in cells), row[2].rjust(widths[2])])
            )

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Write parameters, buffers and settings as safetensors; no code, no optimizer state.

        `metadata` is more text by name, which `load` passes over. Given arrays of initial values
        are left out: a loaded network has its parameters, but would draw others in `build`.
        """
        import json

        from nnfast.formats import safetensors
        from nnfast.formats.settings import settings_of

        settings = {
            "layers": [settings_of(layer) for layer in self.layers],
            "input_shape": self.plan.input_shape,
            "dtype": self.dtype.name,
            "seed": self.seed,
        }
        texts = {**(metadata or {}), _METADATA: json.dumps(settings)}
        safetensors.save(path, self._tensors(), texts)

    def __copy__(self) -> Sequential:
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers))
        return f"Sequential([{layers}], seed={self.seed}, dtype={self.dtype.name!r})"

    def _repr_html_(self) -> str:
        import html

        rows = (
            "".join(f"<td>{html.escape(cell)}</td>" for cell in row).join(("<tr>", "</tr>"))
            for row in self._table()
        )
        return f"<table>{''.join(rows)}</table>"

    def _table(self) -> list[tuple[str, str, str]]:
        rows = [("layer", "output shape", "parameters")]
        if self._network is None:
            return rows + [(repr(layer), "not built", "") for layer in self.layers]
        plan = self.plan
        builder = PlanBuilder(plan.input_shape)
        for index, layer in enumerate(self.layers):
            builder.layer = str(index)
            layer.emit(builder)
            prefix = f"{index}."
            own = (p for p in plan.parameters if p.name.startswith(prefix))
            rows.append(
                (repr(layer), str(builder.shape), f"{sum(math.prod(p.shape) for p in own):,}")
            )
        return [*rows, ("total", "", f"{plan.n_theta:,}")]

    def _tensors(self) -> dict[str, Array]:
        """What a file holds, by name: parameters and buffers, views."""
        return self.parameters() | buffer_views(self.plan, self.buffers)

    def _built(self) -> training_.Network:
        if self._network is None:
            raise ValueError(
                "network: expected a built one, got one that knows no input shape; "
                "call build(input_shape) or fit(X, y) first"
            )
        return self._network

    def _trainable(self) -> training_.Network:
        """The network, theta in memory of our own if it came as a read-only map."""
        network = self._built()
        if not network.theta.flags.writeable:
            network.theta = network.theta.copy()
        return network


def load(path: str | os.PathLike[str], layers: Iterable[Layer] | None = None) -> Sequential:
    """Return the network that `Sequential.save` wrote.

    Parameters
    ----------
    path
    layers : iterable of Layer or None
        Those of the network, where some are Custom: files hold no functions.

    Raises
    ------
    ValueError
        A file of another make, an unknown layer (by name), or tensors that do not fit.
    OSError
        The file cannot be read.
    """
    import json

    from nnfast.formats import safetensors
    from nnfast.formats.settings import layer_of

    tensors, metadata = safetensors.load(path)
    try:
        settings = json.loads(metadata[_METADATA])
        if layers is None:
            layers = [layer_of(entry) for entry in settings["layers"]]
        layers = checked_layers(layers)
        net = Sequential(layers, settings["seed"], settings["dtype"])
        built = build_plan(layers, tuple(settings["input_shape"]))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{os.fspath(path)}: expected a network saved by nnfast, got other metadata "
            f"({type(error).__name__}: {error}); load tensors with nnfast.formats.safetensors"
        ) from None
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    shapes = {p.name: p.shape for p in built.parameters} | {b.name: b.shape for b in built.buffers}
    expected = {name: (shape, net.dtype) for name, shape in shapes.items()}
    got = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if got != expected:
        wrong = [name for name in {**expected, **got} if expected.get(name) != got.get(name)]
        raise ValueError(
            f"{os.fspath(path)}: tensor {wrong[0]!r}: expected {expected.get(wrong[0])}, got "
            f"{got.get(wrong[0])}; the file is damaged, save the network again"
        )
    net.build(built.input_shape)
    for name, view in net._tensors().items():
        view[...] = tensors[name]
    return net


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    for known in (np.dtype(np.float32), np.dtype(np.float64)):
        if dtype is not None and dtype in (known, known.name, known.type):
            return known
    raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}; choose one of them")
