"""Tables: columns by name, each of numbers, with NaN where one is missing, or `Text`.

What the cell of a file means is decided here, for whichever reader split the file: a cell is
stripped of blanks around it; one of `MISSING` is a missing value; a column whose other cells are
all numbers is numbers, any other is text.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"})
"""Cells that hold no value."""


@dataclass(frozen=True, eq=False, slots=True)
class Text:
    """A column of text.

    Attributes
    ----------
    codes : ndarray of int32, shape (n,)
        Each row's place in `values`, -1 where the value is missing.
    values : tuple of str
        Different texts.
    """

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Text:
        return Text(self.codes[rows], self.values)

    def used(self) -> list[str]:
        """Return the texts that occur in some row, sorted."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))
        return sorted(self.values[code] for code in np.flatnonzero(counts))

    def tolist(self) -> list[str | None]:
        """Return the rows as texts, None where missing."""
        return [None if code < 0 else self.values[code] for code in self.codes.tolist()]


Column = NDArray[Any] | Text
"""Real numbers, NaN where missing, or text."""


class Table:
    """Columns of one length, by name.

    Parameters
    ----------
    columns : Mapping
        Name to array of numbers, bools or texts (None or NaN is missing), or `Text`; a pandas
        DataFrame will do.
    name : str
        For messages, for example the file's.

    Attributes
    ----------
    columns : dict of str to Column
    name : str

    Raises
    ------
    TypeError, ValueError
        Columns of other kinds, of different lengths, or none.
    """

    def __init__(self, columns: Mapping[str, Any], name: str = "table") -> None:
        self.name = name
        self.columns: dict[str, Column] = {
            str(key): _as_column(column, f"{name}: column {key!r}")
            for key, column in columns.items()
        }
        lengths = {key: len(column) for key, column in self.columns.items()}
        if len(set(lengths.values())) != 1:
            came = ", ".join(f"{key} {n}" for key, n in islice(lengths.items(), 6)) or "none"
            raise ValueError(f"{name}: expected columns of one length, got {came}; leave some out")
        self._n = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self)} rows, {len(self.columns)} columns)"

    def __getitem__(self, name: str) -> Column:
        """Return the column; ValueError, with the nearest name, if there is none."""
        if name not in self.columns:
            raise ValueError(f"{self.name}: {unknown_column(name, list(self.columns))}")
        return self.columns[name]

    def rows(self, index: Any) -> Table:
        """Return a table of the rows at `index`: a slice, mask or array of integers."""
        return Table({name: column[index] for name, column in self.columns.items()}, self.name)

    def without(self, names: Sequence[str]) -> Table:
        """Return the table less these columns; ValueError if one is not there."""
        for name in names:
            self[name]
        kept = {name: column for name, column in self.columns.items() if name not in names}
        if not kept:
            raise ValueError(f"{self.name}: expected some columns besides {', '.join(names)}")
        return Table(kept, self.name)


def unknown_column(name: str, names: Sequence[str]) -> str:
    """Return the words for a column that is not there, with the nearest name or the first."""
    folded = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    if near:
        return f"no column {name!r}; did you mean {folded[near[0]]!r}?"
    shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
    return f"no column {name!r}; there are {shown}"


def is_missing(column: Column) -> NDArray[np.bool_]:
    """Return where the column has no value, shape (n,)."""
    missing: NDArray[np.bool_]
    missing = column.codes < 0 if isinstance(column, Text) else np.isnan(column)
    return missing


def as_numbers(column: Column, name: str, table: str) -> NDArray[Any]:
    """Return the column as numbers; ValueError names the first row of text that is none."""
    if not isinstance(column, Text):
        return column
    parsed = [numbers_of([value]) for value in column.values]
    bad = np.array([number is None for number in parsed] + [False])[column.codes]
    if bad.any():
        raise ValueError(cell_error(table, name, bad, "a number", column))
    values = [np.nan if number is None else number[0] for number in parsed]
    return np.array([*values, np.nan])[column.codes]


def finite(column: Column, name: str, table: str) -> Column:
    """Return the column if no number of it is infinite; ValueError names the row."""
    if not isinstance(column, Text) and (infinite := np.isinf(column)).any():
        raise ValueError(cell_error(table, name, infinite, "a finite number", column))
    return column


def cell_error(
    table: str, name: str, rows: NDArray[np.bool_], expected: str, column: Column
) -> str:
    """Return the words about the first of the wrong `rows`, counted from 1 below the names."""
    row = int(np.argmax(rows))
    value = column[row : row + 1].tolist()[0]
    came = value if isinstance(value, float) and np.isinf(value) else repr(value)
    if value is None or value != value:
        came = "none"
    return (
        f"{table}: row {row + 1}, column {name!r}: expected {expected}, got {came}; "
        "correct the cell, empty it, or leave the row out"
    )


def as_text(column: Column) -> Text:
    """Return the column as text; whole numbers are written without a point."""
    if isinstance(column, Text):
        return column
    numbers, codes = np.unique(column, return_inverse=True)
    texts = [number_text(number) for number in numbers.tolist()]
    codes = np.where(np.isnan(column), -1, codes)
    return Text(codes.astype(np.int32), tuple(texts))


def number_text(number: float) -> str:
    """Return the number as one would write it: 3 rather than 3.0."""
    return str(int(number)) if float(number).is_integer() else repr(number)


# --- columns --------------------------------------------------------------------------------------


def _as_column(values: Any, name: str) -> Column:
    if isinstance(values, Text):
        return values
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one axis, got shape {array.shape}; give a column each")
    if array.dtype.kind in "iuf":
        return array
    if array.dtype.kind not in "bUOT":
        raise TypeError(
            f"{name}: expected numbers or text, got {array.dtype}; convert it, or leave it out"
        )
    cells = [None if cell is None or cell != cell else cell for cell in array.tolist()]
    if all(cell is None or type(cell) in (int, float) for cell in cells):
        return np.array([np.nan if cell is None else cell for cell in cells], np.float64)
    place: dict[str, int] = {}
    codes = [-1 if c is None else place.setdefault(str(c), len(place)) for c in cells]
    return Text(np.array(codes, np.int32), tuple(place))


def from_cells(cells: Sequence[str], text: bool) -> Column:
    """What the cells of a CSV column mean."""
    numbers = None if text else numbers_of(cells)
    if numbers is not None and not np.isnan(numbers).any():
        return numbers
    place: dict[str, int] = {}
    codes = np.fromiter(
        (place.setdefault(cell, len(place)) for cell in cells), np.int32, len(cells)
    )
    return from_distinct(codes, list(place), text)


def from_distinct(codes: NDArray[np.int32], cells: Sequence[str], text: bool) -> Column:
    """What the cells mean of which row i has the one at ``codes[i]``, -1 for missing."""
    stripped = [cell.strip() for cell in cells]
    present = [cell for cell in stripped if cell not in MISSING]
    numbers = None if text else numbers_of(present)
    if numbers is not None:
        values = np.full(len(cells) + 1, np.nan)
        values[:-1][[cell not in MISSING for cell in stripped]] = numbers
        return values[codes]
    place: dict[str, int] = {}
    new = [-1 if c in MISSING else place.setdefault(c, len(place)) for c in stripped]
    return Text(np.array([*new, -1], np.int32)[codes], tuple(place))


def numbers_of(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the cells as numbers; None unless all are, in the writing that programs share."""
    try:
        numbers = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    joined = "".join(cells)
    return None if "_" in joined or not joined.isascii() else numbers
