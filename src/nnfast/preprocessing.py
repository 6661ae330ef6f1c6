"""What turns a table into the numbers a network takes, and its outputs into answers.

`Encoder` learns from a training table how its columns become features, `Target` how a column
becomes y. Both are plain settings once fitted, and round trip through JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnfast.readers import read_table
from nnfast.tables import (
    Column,
    Table,
    Text,
    as_numbers,
    as_text,
    cell_error,
    finite,
    is_missing,
    number_text,
    unknown_column,
)

__all__ = ["Category", "Encoder", "Number", "Table", "Target", "Text", "read_table"]

MAX_CATEGORIES = 1000
"""A text column of more different values is left out, a target of more classes refused."""

_ID_CATEGORIES = 50
_ID_SHARE = 0.9
_MAX_INTEGER_CLASSES = 20
_INTEGER_CLASS_SHARE = 0.05
_BLOCK = 1 << 18
"""Features encoded at a time: they stay in the cache."""

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Number:
    """How a column of numbers becomes features.

    Attributes
    ----------
    name : str
    mean, scale : float
        The feature is ``(x - mean) / scale``, 0 where x is missing.
    missing : bool
        Whether a second feature is 1 where x is missing.
    """

    name: str
    mean: float
    scale: float
    missing: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 + self.missing

    def prepared(self, column: Column, table: str) -> NDArray[Any]:
        """Return the numbers of a column; ValueError names the row of one that is none."""
        return _finite_numbers(column, self.name, table)

    def fill(self, numbers: NDArray[Any], out: Features) -> None:
        """Write the features of `numbers` (n,) to `out` (n, width)."""
        scaled = (numbers - self.mean) / self.scale
        missing = np.isnan(scaled)
        scaled[missing] = 0
        out[:, 0] = scaled
        if self.missing:
            out[:, 1] = missing


@dataclass(frozen=True, slots=True)
class Category:
    """How a column of text becomes features: one for each of `values`, 1 where it is the row's.

    Attributes
    ----------
    name : str
    values : tuple of str
    missing : bool
        Whether one more feature is 1 where the value is missing.
    """

    name: str
    values: tuple[str, ...]
    missing: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.values) + self.missing

    def prepared(self, column: Column, table: str) -> NDArray[Any]:
        """Return the place of each row's 1, -1 for values that training has not seen."""
        text = as_text(column)
        place = {value: index for index, value in enumerate(self.values)}
        lookup = [place.get(value, -1) for value in text.values]
        lookup.append(len(self.values) if self.missing else -1)
        return np.array(lookup)[text.codes]

    def fill(self, places: NDArray[Any], out: Features) -> None:
        """Write the features of `places` (n,) to `out` (n, width)."""
        out[:] = 0
        rows = np.flatnonzero(places >= 0)
        out[rows, places[rows]] = 1


class Encoder:
    """Columns to features: numbers standardised, text one-hot.

    Numbers become ``(x - mean) / std``; a missing one becomes 0, that is the mean, and a feature
    of its own tells where, if the training table had any. Text becomes a feature a value, a
    missing value being one of them if there was one in training; values unseen in training become
    all zeros. Columns are dropped that are empty or constant, and texts of more than
    `MAX_CATEGORIES` values or of (nearly) another value in each row.

    Attributes
    ----------
    columns : list of Number or Category
        In the order of the features.
    dropped : dict of str to str
        The reason why a column is not used, by name.
    """

    def __init__(self) -> None:
        self.columns: list[Number | Category] = []
        self.dropped: dict[str, str] = {}

    @property
    def n_features(self) -> int:
        """Features of a row."""
        return sum(column.width for column in self.columns)

    def fit(self, table: Table) -> Self:
        """Learn from the columns of a training table and return self.

        Raises
        ------
        ValueError
            An infinite number, or no column left.
        """
        self.columns, self.dropped = [], {}
        for name, column in table.columns.items():
            fitted: Number | Category | str
            if isinstance(column, Text):
                fitted = _fit_text(name, column)
            else:
                fitted = _fit_numbers(name, _finite_numbers(column, name, table.name), table.name)
            if isinstance(fitted, str):
                self.dropped[name] = fitted
            else:
                self.columns.append(fitted)
        if not self.columns:
            why = "; ".join(f"{name!r} is {reason}" for name, reason in self.dropped.items())
            raise ValueError(
                f"{table.name}: expected a column to learn from, got none: {why:.200}; add columns"
            )
        return self

    def transform(self, table: Table) -> Features:
        """Return the features, shape (n, n_features); columns unknown to training are passed over.

        Raises
        ------
        ValueError
            A column is not there, or holds text or infinity where a number belongs.
        """
        lacking = [column.name for column in self.columns if column.name not in table.columns]
        if lacking:
            words = unknown_column(lacking[0], list(table.columns))
            more = f" ({len(lacking)} columns are lacking)" if len(lacking) > 1 else ""
            raise ValueError(f"{table.name}: {words}{more}; the model was trained with it")
        sources = [column.prepared(table[column.name], table.name) for column in self.columns]
        out = np.empty((len(table), self.n_features), np.float32)
        rows = max(256, _BLOCK // self.n_features)
        for first in range(0, len(table), rows):
            block, at = slice(first, first + rows), 0
            for column, source in zip(self.columns, sources, strict=True):
                column.fill(source[block], out[block, at : at + column.width])
                at += column.width
        return out

    def unseen(self, table: Table) -> dict[str, int]:
        """Return how many rows have a value that training has not seen, by name of the column."""
        counts = {
            column.name: int((column.prepared(table[column.name], table.name) < 0).sum())
            for column in self.columns
            if isinstance(column, Category)
        }
        return {name: count for name, count in counts.items() if count}

    def settings(self) -> dict[str, Any]:
        """Return what `from_settings` takes, made of JSON's types."""
        return {
            "columns": [
                {"kind": type(column).__name__.lower(), **asdict(column)} for column in self.columns
            ],
            "dropped": self.dropped,
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the encoder that gave these `settings`; KeyError or TypeError for others."""
        encoder = cls()
        for entry in settings["columns"]:
            values = dict(entry)
            if values.pop("kind") == "number":
                encoder.columns.append(Number(**values))
            else:
                encoder.columns.append(Category(**{**values, "values": tuple(values["values"])}))
        encoder.dropped = dict(settings["dropped"])
        return encoder


class Target:
    """A column to learn: y of it, and answers of a network's outputs.

    Classes are the different values in ascending order. One output tells two classes apart, more
    take one each. A regression's y is standardised.

    Attributes
    ----------
    name : str
    classes : tuple of str, int or float
        Empty for regression.
    mean, scale : float
        Of regression: ``y = (x - mean) / scale``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.classes: tuple[Any, ...] = ()
        self.mean = 0.0
        self.scale = 1.0

    @property
    def task(self) -> str:
        """Return "classification" or "regression"."""
        return "classification" if self.classes else "regression"

    @property
    def n_out(self) -> int:
        """Outputs that the network needs."""
        return len(self.classes) if len(self.classes) > 2 else 1

    @property
    def loss(self) -> str:
        """The loss to train with."""
        if not self.classes:
            return "mse"
        return "binary_cross_entropy" if self.n_out == 1 else "cross_entropy"

    @property
    def activation(self) -> str:
        """The last layer's."""
        if not self.classes:
            return "identity"
        return "sigmoid" if self.n_out == 1 else "softmax"

    @property
    def labels(self) -> list[str]:
        """The classes as text."""
        return [c if isinstance(c, str) else number_text(c) for c in self.classes]

    def fit(self, table: Table, task: str | None = None) -> Self:
        """Learn from the column of a table and return self.

        Parameters
        ----------
        table : Table
            Rows without a value in the column are passed over.
        task : {"classification", "regression"} or None
            None: classification for text, and for whole numbers of at most 20 different values
            that are at most two or at most 5 % of the rows; regression for other numbers.

        Raises
        ------
        ValueError
            Another task, one class or value only, more than 1000 classes, or text to regress.
        """
        if task not in (None, "classification", "regression"):
            raise ValueError(
                f"task: expected 'classification' or 'regression', got {task!r}; leave it out"
            )
        column, where = table[self.name], f"{table.name}: target {self.name!r}"
        present = column[~is_missing(column)]
        distinct = (
            present.used()
            if isinstance(present, Text)
            else np.unique(present).astype(float).tolist()
        )
        if len(distinct) < 2:
            came = f"only {distinct[0]!r}" if distinct else "no value"
            raise ValueError(
                f"{where}: expected at least two different values, got {came}; "
                "name another column, or add rows"
            )
        self.classes = ()
        if task is None:
            task = _guessed_task(present, distinct)
        if task == "regression" or not isinstance(column, Text):
            numbers = _finite_numbers(column, self.name, table.name)
        if task == "regression":
            present = numbers[~np.isnan(numbers)]
            self.mean, self.scale = _mean_and_scale(present, self.name, table.name)
            return self
        identifier = isinstance(column, Text) and _is_identifier(len(distinct), len(present))
        if identifier or len(distinct) > MAX_CATEGORIES:
            raise ValueError(
                f"{where}: expected few classes, got {len(distinct):,} different values in "
                f"{len(present):,} rows; name another column, or make it numbers for a regression"
            )
        whole = not isinstance(column, Text) and all(map(float.is_integer, distinct))
        self.classes = tuple(map(int, distinct) if whole else distinct)
        return self

    def encode(self, table: Table, rows: Any = slice(None)) -> NDArray[Any]:
        """Return y, shape (n,): classes by number (int64), or standardised numbers (float32).

        `rows`, a slice or mask, are those that are asked for.

        Raises
        ------
        ValueError
            A missing or infinite value, or a class that training has not seen, by its row.
        """
        column = table[self.name]
        asked = np.zeros(len(table), bool)
        asked[rows] = True
        if (missing := is_missing(column) & asked).any():
            raise ValueError(cell_error(table.name, self.name, missing, "a value", column))
        if not self.classes:
            scaled: NDArray[Any] = (self.truth(table)[asked] - self.mean) / self.scale
            return scaled.astype(np.float32)
        text = as_text(column)
        place = {label: index for index, label in enumerate(self.labels)}
        y: NDArray[np.int64]
        y = np.array([place.get(value, -1) for value in text.values])[text.codes]
        if (unknown := (y < 0) & asked).any():
            shown = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            words = cell_error(table.name, self.name, unknown, f"one of {shown}", text)
            raise ValueError(words)
        return y[asked]

    def truth(self, table: Table) -> NDArray[Any]:
        """Return the column as numbers, shape (n,); ValueError names a row that has none."""
        return _finite_numbers(table[self.name], self.name, table.name)

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return the predictions, shape (n,): classes or numbers, for outputs (n, n_out)."""
        if not self.classes:
            numbers: NDArray[Any] = outputs[:, 0].astype(np.float64)
            numbers = numbers * self.scale + self.mean
            return numbers
        answers: NDArray[Any]
        answers = np.array(self.classes)[self.probabilities(outputs).argmax(axis=1)]
        return answers

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return the probability of each class, shape (n, classes), for outputs (n, n_out)."""
        return np.hstack([1 - outputs, outputs]) if self.n_out == 1 else outputs

    def settings(self) -> dict[str, Any]:
        """Return what `from_settings` takes, made of JSON's types."""
        return vars(self)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Return the target that gave these `settings`; KeyError or TypeError for others."""
        target = cls(settings["name"])
        target.classes = tuple(settings["classes"])
        target.mean, target.scale = float(settings["mean"]), float(settings["scale"])
        return target


def _finite_numbers(column: Column, name: str, table: str) -> NDArray[Any]:
    numbers = as_numbers(column, name, table)
    finite(numbers, name, table)
    return numbers


def _fit_numbers(name: str, numbers: NDArray[Any], table: str) -> Number | str:
    present = numbers[~np.isnan(numbers)]
    if not present.size:
        return "empty"
    missing = len(present) < len(numbers)
    if present.min() == present.max() and not missing:
        return "constant"
    return Number(name, *_mean_and_scale(present, name, table), missing)


def _fit_text(name: str, text: Text) -> Category | str:
    values = text.used()
    present = int((text.codes >= 0).sum())
    missing = present < len(text)
    if not values:
        return "empty"
    if len(values) == 1 and not missing:
        return "constant"
    if len(values) > MAX_CATEGORIES:
        return f"text of {len(values):,} different values"
    if _is_identifier(len(values), present):
        return "text that differs from row to row"
    return Category(name, tuple(values), missing)


def _is_identifier(distinct: int, rows: int) -> bool:
    return distinct > _ID_CATEGORIES and distinct > _ID_SHARE * rows


def _mean_and_scale(numbers: NDArray[Any], name: str, table: str) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(numbers, dtype=np.float64))
        scale = float(np.std(numbers, dtype=np.float64))
    if not np.isfinite([mean, scale]).all():
        raise ValueError(f"{table}: column {name!r}: numbers too large to square; divide them")
    return mean, scale if scale > 0 and numbers.min() < numbers.max() else 1.0


def _guessed_task(column: Column, distinct: list[Any]) -> str:
    few = len(distinct) <= max(2, min(_MAX_INTEGER_CLASSES, _INTEGER_CLASS_SHARE * len(column)))
    whole = not isinstance(column, Text) and all(float(v).is_integer() for v in distinct[:50])
    return "classification" if isinstance(column, Text) or (whole and few) else "regression"
