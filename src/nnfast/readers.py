"""Readers of tables: CSV, Parquet, npz and IDX files.

pyarrow and pandas are only quicker ways to what the csv module gives, taken for large files where
they are installed; whatever they refuse goes to the csv module, which also finds the words.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import datasets
from nnfast.formats import existing
from nnfast.tables import MISSING, Column, Table, Text, from_cells, from_distinct

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 50
_END = "\0end"  # no file has a zero byte
_QUICK_BYTES = 1 << 20
"""Files below this are read sooner than pyarrow or pandas is imported."""


def read_table(
    path: str | os.PathLike[str],
    text: Sequence[str] = (),
    labels: str | os.PathLike[str] | None = None,
) -> Table:
    """Read a CSV, Parquet, npz or IDX file, told apart by their content.

    Parameters
    ----------
    path
        CSV in UTF-8 with a line of names, parted by comma, semicolon, tab or ``|``. Parquet needs
        pyarrow. Arrays of an npz file are columns, those of several axes a column an element,
        ``x.0``, ``x.1``. An IDX file of images gives the columns ``pixel0``, ``pixel1``, ...
        and, if there is a file of labels, ``label``.
    text
        Columns of a CSV that are text even if all their cells are numbers.
    labels
        The IDX file of labels; None looks for the one of MNIST's name beside the images.

    Raises
    ------
    ValueError
        The file breaks the rules of its format; the message names the line or column.
    FileNotFoundError, IsADirectoryError
    """
    file = existing(path)
    with open(file, "rb") as stream:
        magic = stream.read(4)
    if is_idx(file):
        return _read_idx(file, labels)
    if magic[:2] == b"\x1f\x8b":
        raise ValueError(f"{file}: expected a table, got a gzip file; unpack it with gunzip first")
    if magic == b"PAR1":
        return _read_parquet(file)
    if magic == b"PK\x03\x04":
        return _read_npz(file)
    return _read_csv(file, text)


def is_idx(path: str | os.PathLike[str]) -> bool:
    """Return whether the file begins as MNIST's do, plain or packed."""
    import gzip
    import zlib

    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            magic = (gzip.GzipFile(fileobj=raw) if packed else raw).read(4)
        except (OSError, EOFError, zlib.error):
            return False
    return len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] >= 8 and magic[3] > 0


# --- CSV ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Csv:
    """A CSV file in memory, and what its first rows tell."""

    path: Path
    data: bytes
    delimiter: str
    raw_names: list[str]
    names: list[str]
    text: frozenset[str]
    sample: list[list[str]]

    @property
    def regular(self) -> bool:
        """Whether all readers do alike: two columns at least, names in UTF-8, quotes in pairs."""
        names_read = "\ufffd" not in "".join(self.names)
        return len(self.names) > 1 and names_read and self.data.count(b'"') % 2 == 0

    @property
    def body(self) -> int:
        """Where the rows begin, if no line of names spans lines."""
        return self.data.find(b"\n") + 1

    @property
    def quoted(self) -> bool:
        """Whether quotes stand below the first line: a cell may hold delimiters and newlines."""
        return self.data.find(b'"', self.body) >= 0


def _read_csv(path: Path, text: Sequence[str]) -> Table:
    file = _opened(path, frozenset(text))
    columns = None
    if len(file.data) >= _QUICK_BYTES and file.regular:
        columns = next((found for read in _QUICK if (found := read(file)) is not None), None)
    if columns is None:
        columns = _by_csv(file)
    table = Table(dict(zip(file.names, columns, strict=True)), str(path))
    if not len(table):
        raise ValueError(f"{path}: expected rows below the line of names, got none; add some")
    return table


def _opened(path: Path, text: frozenset[str]) -> _Csv:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise ValueError(f"{path}: expected a line of names and rows, got an empty file")
    if (zero := data.find(b"\0")) >= 0:
        raise ValueError(
            f"{path}: line {_line(data, zero)}: expected text in UTF-8, got a zero byte; "
            "save the table as CSV in UTF-8 (it is UTF-16, or no text at all)"
        )
    delimiter = _delimiter(data)
    rows = _sample(data, delimiter)
    raw = rows[0]
    names = [name.strip() or f"column {place}" for place, name in enumerate(raw, 1)]
    first: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        if first.setdefault(name, place) != place:
            raise ValueError(
                f"{path}: columns {first[name]} and {place} are both named {name!r}; rename one, "
                "or add a line of names if the file has none"
            )
    return _Csv(path, data, delimiter, raw, names, text, rows[1:])


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _sample(data: bytes, delimiter: str) -> list[list[str]]:
    """The first rows that are not blank; bytes that are no UTF-8 are looked at later."""
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="replace", newline="")
    rows = (row for row in csv.reader(stream, delimiter=delimiter) if not _is_blank(row))
    try:
        return list(islice(rows, _SAMPLE_ROWS + 1))
    except csv.Error:  # the csv reader will say where
        return [next(csv.reader([data.split(b"\n", 1)[0].decode(errors="replace")]), [])]


def _is_blank(row: list[str]) -> bool:
    return len(row) <= 1 and not "".join(row).strip()


def _delimiter(data: bytes) -> str:
    """The delimiter that most of the first rows agree on with the first, giving most columns."""

    def score(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in _sample(data, delimiter)]
        return widths.count(widths[0]) / len(widths) if widths[0] > 1 else 0.0, widths[0]

    return max(_DELIMITERS, key=score)


def _by_csv(file: _Csv) -> list[Column]:
    """Columns by the csv module: slow, needs nothing, and knows what to say."""
    try:
        text = file.data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file.path}: line {_line(file.data, error.start)}: expected text in UTF-8, got byte "
            f"0x{file.data[error.start]:02x}; save the table as CSV in UTF-8"
        ) from None
    rows = list(_rows(file, text))
    cells = list(zip(*rows, strict=True)) or [()] * len(file.names)
    return [
        from_cells(column, name in file.text)
        for name, column in zip(file.names, cells, strict=True)
    ]


def _rows(file: _Csv, text: str) -> Iterator[list[str]]:
    """The rows below the names; an added last line tells whether a quote stays open."""
    lines = chain(io.StringIO(text, newline=""), [_END])
    reader = csv.reader(lines, delimiter=file.delimiter)
    width, header, line = len(file.names), True, 1
    try:
        for row in reader:
            if row == [_END]:
                return
            if row and row[-1].endswith(_END):
                raise ValueError(
                    f"{file.path}: line {line}: expected an end of the quote, got none; add it"
                )
            if len(row) == width and not (width == 1 and _is_blank(row)):
                if not header:
                    yield row
                header = False
            elif not _is_blank(row):
                raise ValueError(
                    f"{file.path}: line {reader.line_num}: expected {width} cells as in the line "
                    f"of names, got {len(row)}; put quotes around a cell that contains "
                    f"{file.delimiter!r}, or complete the row"
                )
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{file.path}: line {line}: {error}; look for a quote that is never closed"
        ) from None


def _by_pyarrow(file: _Csv) -> list[Column] | None:
    """Columns by pyarrow; None if it is not installed or does not like the file."""
    try:
        import pyarrow as pa
        from pyarrow import csv as pa_csv
    except ImportError:
        return None

    def read(types: list[Any]) -> Any:
        return pa_csv.read_csv(
            pa.BufferReader(file.data),
            pa_csv.ReadOptions(block_size=4 << 20),
            pa_csv.ParseOptions(delimiter=file.delimiter, newlines_in_values=file.quoted),
            pa_csv.ConvertOptions(
                column_types=dict(zip(file.raw_names, types, strict=True)),
                null_values=sorted(MISSING),
                strings_can_be_null=True,
            ),
        )

    cells = zip(*(row for row in file.sample if len(row) == len(file.names)), strict=True)
    looks = [isinstance(from_cells(column, False), Text) for column in cells]
    looks = looks or [True] * len(file.names)
    types = [
        pa.string() if text or name in file.text else pa.float64()
        for name, text in zip(file.names, looks, strict=True)
    ]
    try:
        try:
            frame = read(types)
        except pa.ArrowInvalid:  # a text below the first rows
            frame = read([pa.string()] * len(types))
    except pa.ArrowException:
        return None
    if frame.num_columns != len(file.names):
        return None
    return [
        _from_arrow(column.combine_chunks(), name in file.text)
        for name, column in zip(file.names, frame.columns, strict=True)
    ]


def _from_arrow(column: Any, text: bool) -> Column:
    """What a column of pyarrow strings or doubles means; nulls are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not text:
        try:
            numbers: NDArray[np.float64]
            numbers = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass
        else:
            return numbers
    distinct = column.dictionary_encode()
    codes = distinct.indices.fill_null(-1).to_numpy()
    return from_distinct(codes, distinct.dictionary.to_pylist(), text)


def _by_pandas(file: _Csv) -> list[Column] | None:
    """Columns by pandas; None if it is not installed or does not like the file.

    pandas fills short rows: their cells are counted here, which takes a file without quotes.
    """
    try:
        import pandas as pd
    except ImportError:
        return None
    width, delimiter = len(file.names), file.delimiter.encode()

    def read(**more: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 3.1 deprecates float_precision
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.BytesIO(file.data),
                sep=file.delimiter,
                header=0,
                names=range(width),
                index_col=False,
                keep_default_na=False,
                low_memory=False,
                **more,
            )

    if file.quoted:
        return None
    try:
        frame = read(na_values=sorted(MISSING), float_precision="round_trip")
        if file.data.count(delimiter, file.body) != len(frame) * (width - 1):
            return None
        texts = [
            place
            for place, name in enumerate(file.names)
            if name in file.text or frame[place].dtype.kind not in "iuf"
        ]
        cells = read(usecols=texts, dtype=object, na_filter=False) if texts else {}
    except (ValueError, pd.errors.ParserWarning):
        return None
    return [
        from_cells(cells[place].tolist(), name in file.text)
        if place in texts
        else frame[place].to_numpy(np.float64)
        for place, name in enumerate(file.names)
    ]


_QUICK: tuple[Callable[[_Csv], list[Column] | None], ...] = (_by_pyarrow, _by_pandas)


# --- other files ----------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ModuleNotFoundError(
            f'{path}: a Parquet file needs pyarrow; pip install "nnfast[tables]", or save it as CSV'
        ) from None
    try:
        frame = parquet.read_table(path)
        columns = {
            name: _from_parquet(column, f"{path}: column {name!r}")
            for name, column in zip(frame.column_names, frame.columns, strict=True)
        }
    except pa.ArrowException as error:
        raise ValueError(f"{path}: damaged Parquet file ({error}); write it again") from None
    return _with_rows(Table(columns, str(path)))


def _from_parquet(column: Any, name: str) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    array = column.combine_chunks()
    if kind.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kind.is_integer(array.type) or kind.is_floating(array.type) or kind.is_decimal(array.type):
        numbers: NDArray[Any]
        numbers = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers
    if kind.is_boolean(array.type):  # as Python and pandas write them
        array = pc.if_else(array, "True", "False")
    try:
        distinct = pc.cast(array, pa.string()).dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ValueError(
            f"{name}: expected numbers or text, got {array.type}; leave it out of the file"
        ) from None
    codes = distinct.indices.fill_null(-1).to_numpy()
    return Text(codes.astype(np.int32), tuple(distinct.dictionary.to_pylist()))


def _read_npz(path: Path) -> Table:
    import zipfile

    columns: dict[str, NDArray[Any]] = {}
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            for name in file.files:
                array = file[name]
                if array.ndim == 0:
                    raise ValueError("expected arrays of one length, got a single number")
                if array.ndim == 1:
                    columns[name] = array
                else:
                    flat = array.reshape(len(array), -1)
                    columns |= {f"{name}.{place}": flat[:, place] for place in range(flat.shape[1])}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: no npz file of numbers and text ({error}); write one with numpy.savez, or "
            "save a spreadsheet as CSV"
        ) from None
    return _with_rows(Table(columns, str(path)))


def _read_idx(path: Path, labels: str | os.PathLike[str] | None) -> Table:
    images = datasets.load_idx(path)
    flat = images.reshape(len(images), -1)
    columns = {f"pixel{place}": flat[:, place] for place in range(flat.shape[1])}
    label_path = _labels_of(path) if labels is None else existing(labels)
    if label_path is not None:
        columns["label"] = datasets.load_idx(label_path)
        if columns["label"].shape != flat.shape[:1]:
            raise ValueError(
                f"{label_path}: expected {len(flat)} labels, one an image of {path.name}, got "
                f"shape {columns['label'].shape}; take the file that belongs to the images"
            )
    return _with_rows(Table(columns, str(path)))


def _labels_of(path: Path) -> Path | None:
    """The file of labels beside a file of images by MNIST's names, if it is there."""
    stem = re.sub(r"images([-.])idx\d", r"labels\1idx1", path.name.removesuffix(".gz"))
    found = (path.with_name(stem + end) for end in ("", ".gz"))
    return next(
        (p for p in found if p.is_file() and p.name != path.name and "labels" in stem), None
    )


def _with_rows(table: Table) -> Table:
    if not len(table):
        raise ValueError(f"{table.name}: expected rows, got none; write some")
    return table
