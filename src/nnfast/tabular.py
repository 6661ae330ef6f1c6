"""TableModel: from a table to a network that knows its columns, in one file."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnfast import checks, optimizers, rng, sequential
from nnfast.callbacks import Callback, EarlyStopping
from nnfast.formats import existing, safetensors
from nnfast.history import History
from nnfast.layers import Dense
from nnfast.preprocessing import Category, Encoder, Target
from nnfast.sequential import Sequential
from nnfast.tables import Table, finite, is_missing

_METADATA = "nnfast.table"
_LEAST_STEPS = 20_000
_PATIENT_STEPS = 1_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the residuals that `TableModel.evaluate` returns."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is remembered of a training.

    Attributes
    ----------
    source : str
        The table's name, without its folder.
    rows, validation_rows, left_out : int
        Rows with a target, those of them held out, and rows without one.
    optimizer : str
    lr : float
    batch_size : int
    epochs, best_epoch : int
        Epochs done, and the one, counted from 1, whose weights were kept.
    score : dict of str to float
        The numbers of `TableModel.evaluate` on the rows held out.
    seconds : float
    """

    source: str
    rows: int
    validation_rows: int
    left_out: int
    optimizer: str
    lr: float
    batch_size: int
    epochs: int
    best_epoch: int
    score: dict[str, float]
    seconds: float


class TableModel:
    """A network with what it must know of a table: `fit`, `predict`, `evaluate`, `save`, `load`.

    A share of the rows is held out; training ends when the loss on it no longer falls, and the
    weights of the best epoch are kept.

    Parameters
    ----------
    layers : sequence of int
        Units of the hidden layers; none for a linear model.
    activation : str
        Of the hidden layers.
    optimizer : str
        "adam" or "sgd".
    lr : float or None
        Learning rate; None is the optimizer's own.
    epochs : int or None
        At most so many; None is 50, or more for small tables: 20,000 steps.
    batch_size : int
    validation : float
        Share of the rows to hold out, in (0, 1), of each class about the same.
    patience : int or None
        Epochs without a smaller validation loss that end training; None is 5, or more for small
        tables: 1,000 steps.
    seed : int
        Of weights, shuffles and the rows held out.
    threads : int or None

    Attributes
    ----------
    net : Sequential
    encoder : Encoder
    target : Target
    history : History
        Of this `fit`; empty for a loaded model.
    validation_table : Table
        The rows held out by this `fit`.
    score : dict
        What `evaluate` says of them.
    facts : Facts
        Of this `fit` or that of a loaded model.

    Examples
    --------
    >>> model = TableModel(seed=1).fit(read_table("iris.csv"), "species")
    >>> model.predict(read_table("new.csv"))
    """

    def __init__(
        self,
        layers: Sequence[int] = (64, 64),
        activation: str = "relu",
        optimizer: str = "adam",
        lr: float | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        validation: float = 0.2,
        patience: int | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        if optimizer not in optimizers.NAMES:
            raise checks.unknown("optimizer", optimizer, optimizers.NAMES)
        rule = optimizers.OPTIMIZERS[optimizer]
        self._optimizer = rule() if lr is None else rule(lr=lr)
        self._hidden = [Dense(units, activation) for units in layers]
        self._epochs = epochs if epochs is None else checks.integer("epochs", epochs, 1)
        self._batch_size = checks.integer("batch_size", batch_size, 1)
        checks.number("validation", validation, "a number in (0, 1)", lambda v: 0 < v < 1)
        self._validation = validation
        self._patience = patience if patience is None else checks.integer("patience", patience, 1)
        self._seed = rng.checked_seed(seed)
        self._threads = threads
        self.encoder = Encoder()
        self.target = Target("")
        self.history = History()

    def fit(
        self,
        table: Table,
        target: str,
        task: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        """Train on the table and return self.

        Parameters
        ----------
        table : Table
        target : str
            The column to learn; rows without a value there are left out.
        task : {"classification", "regression"} or None
            None looks at the target, see `Target.fit`.
        callbacks : sequence of Callback

        Raises
        ------
        ValueError
            A column or cell that does not fit, by name and row.
        RuntimeError
            The loss became infinite before an epoch had ended.
        """
        began = time.perf_counter()
        for name, column in table.columns.items():  # while rows have the file's numbers
            finite(column, name, table.name)
        self.target = Target(target).fit(table, task)
        known = ~is_missing(table[target])
        rows = table if known.all() else table.rows(known)
        train, held = self._split(rows)
        if not self.target.classes:
            self.target.fit(train, "regression")
        self.encoder = Encoder().fit(train.without([target]))
        x, y = self.encoder.transform(train), self.target.encode(train)
        validation = self.encoder.transform(held), self.target.encode(held)

        steps = -(-len(x) // self._batch_size)
        epochs = self._epochs or max(50, math.ceil(_LEAST_STEPS / steps))
        stop = EarlyStopping(
            patience=self._patience or max(5, math.ceil(_PATIENT_STEPS / steps)),
            restore_best_weights=True,
        )
        last = Dense(self.target.n_out, self.target.activation)
        self.net = Sequential([*self._hidden, last], self._seed)
        self.history = self.net.fit(
            x,
            y,
            loss=self.target.loss,
            optimizer=self._optimizer,
            epochs=epochs,
            batch_size=self._batch_size,
            validation_data=validation,
            callbacks=[stop, *callbacks],
            verbose=0,
            threads=self._threads,
        )
        if not self.history.epoch:
            raise RuntimeError(
                "training: the loss was not finite in the first epoch; try a smaller learning rate"
            )
        self.validation_table = held
        self.score = self.evaluate(held)
        self.facts = Facts(
            source=Path(table.name).name,
            rows=len(rows),
            validation_rows=len(held),
            left_out=len(table) - len(rows),
            optimizer=self._optimizer.name,
            lr=self._optimizer.lr,
            batch_size=self._batch_size,
            epochs=len(self.history.epoch),
            best_epoch=stop.best_epoch + 1,
            score={k: v for k, v in self.score.items() if not isinstance(v, np.ndarray)},
            seconds=time.perf_counter() - began,
        )
        return self

    def outputs(self, table: Table) -> NDArray[np.float32]:
        """Return the network's outputs, shape (n, n_out), of which `target` makes answers."""
        return self.net.predict(self.encoder.transform(table), self._threads)

    def predict(self, table: Table) -> NDArray[Any]:
        """Return the predictions, shape (n,): classes, or numbers in the target's unit."""
        return self.target.decode(self.outputs(table))

    def predict_proba(self, table: Table) -> NDArray[np.float32]:
        """Return the probabilities, shape (n, classes). ValueError for a regression."""
        if not self.target.classes:
            raise ValueError("predict_proba: expected classes, got a regression; use predict")
        return self.target.probabilities(self.outputs(table))

    def evaluate(self, table: Table) -> dict[str, Any]:
        """Return the score on a table with the target; rows without one are left out.

        Returns
        -------
        dict
            "rows"; of a classification "accuracy", "baseline" (the accuracy of the most frequent
            class alone) and "confusion", an array of counts (true class, predicted class); of a
            regression "r2", "mae", "rmse" and "residuals", the `QUANTILES` of true - predicted.
        """
        known = ~is_missing(table[self.target.name])
        if not known.any():
            raise ValueError(f"{table.name}: target {self.target.name!r}: no row has a value")
        outputs = self.outputs(table)[known]
        if self.target.classes:
            y = self.target.encode(table, known)
            return _class_score(y, self.target.probabilities(outputs))
        return _number_score(self.target.truth(table)[known], self.target.decode(outputs))

    @property
    def text_columns(self) -> list[str]:
        """Columns that `read_table` should read as text, as they were in training."""
        names = [column.name for column in self.encoder.columns if isinstance(column, Category)]
        texts = self.target.classes and isinstance(self.target.classes[0], str)
        return [*names, self.target.name] if texts else names

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, which `nnfast.load` reads too, as the network alone."""
        settings = {
            "encoder": self.encoder.settings(),
            "target": self.target.settings(),
            "facts": asdict(self.facts),
        }
        self.net.save(path, {_METADATA: json.dumps(settings)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], threads: int | None = None) -> Self:
        """Return the model that `save` wrote.

        Raises
        ------
        ValueError
            A file of another make, or a damaged one.
        """
        net = sequential.load(existing(path))
        metadata = safetensors.load(path)[1]
        if _METADATA not in metadata:
            raise ValueError(
                f"{path}: expected a model of a table, got a network that knows no columns; "
                "nnfast.load reads it, TableModel.fit or `nnfast train` make the other"
            )
        model = cls(threads=threads)
        try:
            settings = json.loads(metadata[_METADATA])
            model.encoder = Encoder.from_settings(settings["encoder"])
            model.target = Target.from_settings(settings["target"])
            model.facts = Facts(**settings["facts"])
            if (model.encoder.n_features,) != net.plan.input_shape:
                raise ValueError(f"{model.encoder.n_features} features")
            if (model.target.n_out,) != net.plan.output_shape:
                raise ValueError(f"{model.target.n_out} outputs")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path}: expected columns that fit the network ({type(error).__name__}: {error}); "
                "the file is damaged, train the model again"
            ) from None
        model.net = net
        return model

    @staticmethod
    def is_model(path: str | os.PathLike[str]) -> bool:
        """Return whether a safetensors file knows of columns."""
        return _METADATA in safetensors.load(path)[1]

    def _split(self, table: Table) -> tuple[Table, Table]:
        """Part the rows for training from those held out: of each class the same share."""
        n = len(table)
        order = np.random.default_rng(self._seed).permutation(n)
        place = np.arange(n + 1)
        held = np.diff(np.floor(place * self._validation)) > 0
        if self.target.classes:
            y = self.target.encode(table)[order]
            by_class = np.argsort(y, kind="stable")
            order = order[by_class]
            held[np.unique(y[by_class], return_index=True)[1]] = False
        if not 0 < held.sum() < n:
            raise ValueError(
                f"{table.name}: expected rows to train on and rows to hold out, got {n} rows and "
                f"a share of {self._validation}; add rows or change the share"
            )
        mask = np.zeros(n, bool)
        mask[order[held]] = True
        return table.rows(np.flatnonzero(~mask)), table.rows(np.flatnonzero(mask))


def _class_score(y: NDArray[np.int64], probabilities: NDArray[Any]) -> dict[str, Any]:
    n = probabilities.shape[1]
    pairs = y * n + probabilities.argmax(axis=1)
    confusion = np.bincount(pairs, minlength=n * n).reshape(n, n)
    return {
        "rows": len(y),
        "accuracy": float(confusion.trace() / len(y)),
        "baseline": float(confusion.sum(axis=1).max() / len(y)),
        "confusion": confusion,
    }


def _number_score(truth: NDArray[np.float64], predicted: NDArray[Any]) -> dict[str, Any]:
    residuals = truth - predicted
    spread = float(np.square(truth - truth.mean()).sum())
    squares = float(np.square(residuals).sum())
    return {
        "rows": len(truth),
        "r2": 1 - squares / spread if spread else math.nan,
        "mae": float(np.abs(residuals).mean()),
        "rmse": math.sqrt(squares / len(truth)),
        "residuals": np.quantile(residuals, QUANTILES),
    }
