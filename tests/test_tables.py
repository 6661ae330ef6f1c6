"""Readers of tables: what a cell means, in each reader alike, and what is said of bad files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_datasets import idx, mnist

from nnfast import readers, tables
from nnfast.readers import read_table
from nnfast.tables import Table, Text

READERS = {"csv": None, "pyarrow": readers._by_pyarrow, "pandas": readers._by_pandas}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each reader of CSV alone, for files of any size."""
    if request.param != "csv":
        pytest.importorskip(request.param)
    monkeypatch.setattr(readers, "_QUICK_BYTES", 0)
    monkeypatch.setattr(readers, "_QUICK", tuple(filter(None, [READERS[request.param]])))
    return str(request.param)


@pytest.fixture
def csv_of(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def contents(table: Table) -> dict[str, list[Any]]:
    def plain(column: tables.Column) -> list[Any]:
        values = column.tolist()
        return [None if value != value else value for value in values]

    return {name: plain(column) for name, column in table.columns.items()}


def kinds(table: Table) -> str:
    return "".join("t" if isinstance(column, Text) else "n" for column in table.columns.values())


FILES: dict[str, tuple[str, str, dict[str, list[Any]]]] = {
    "numbers": ("a,b\n1,2.5\n-3,1e3\n", "nn", {"a": [1, -3], "b": [2.5, 1000]}),
    "no newline at the end": ("a,b\n1,2\n3,4", "nn", {"a": [1, 3], "b": [2, 4]}),
    "other newlines": ("a,b\r\n1,x\r\n3,y\r\n", "nt", {"a": [1, 3], "b": ["x", "y"]}),
    "old newlines": ("a,b\r1,x\r3,y\r", "nt", {"a": [1, 3], "b": ["x", "y"]}),
    "a mark of UTF-8": ("\ufeffa,b\n1,é\n", "nt", {"a": [1], "b": ["é"]}),
    "blanks": ("a , b\n 1, x \n2 ,x\n", "nt", {"a": [1, 2], "b": ["x", "x"]}),
    "blank lines": ("\na,b\n\n1,2\n   \n3,4\n\n", "nn", {"a": [1, 3], "b": [2, 4]}),
    "quotes": ('a,b\n"1","x,y"\n2,"say ""hi"""\n', "nt", {"a": [1, 2], "b": ["x,y", 'say "hi"']}),
    "quoted newlines": ('a,b\n1,"x\ny"\n2,z\n', "nt", {"a": [1, 2], "b": ["x\ny", "z"]}),
    "quoted names": ('"a\nb","c,d"\n1,2\n', "nn", {"a\nb": [1], "c,d": [2]}),
    "a name that lacks": (",b\n1,2\n", "nn", {"column 1": [1], "b": [2]}),
    "bools are text": ("a,b\nTrue,true\nFALSE,\n", "tt", {"a": ["True", "FALSE"], "b": ["true", None]}),
    "dates are text": ("a,b\n2020-01-02,12:30\n2020-01-03,12:31\n", "tt",
                       {"a": ["2020-01-02", "2020-01-03"], "b": ["12:30", "12:31"]}),
    "digits are numbers": ("a,b\n007,+1\n08,.5\n", "nn", {"a": [7, 8], "b": [1, 0.5]}),
    "Python's own numbers are text": ("a,b\n1_0,١\n2,2\n", "tt", {"a": ["1_0", "2"], "b": ["١", "2"]}),
    "hexadecimal is text": ("a,b\n0x10,1\n2,2\n", "tn", {"a": ["0x10", "2"], "b": [1, 2]}),
    "infinity": ("a,b\ninf,-Infinity\n1e999,2\n", "nn", {"a": [np.inf, np.inf], "b": [-np.inf, 2]}),
    "nan in other letters": ("a,b\nNAN,1\n2,2\n", "nn", {"a": [None, 2], "b": [1, 2]}),
    "missing at the end": ("a,b\n1,\n,\n", "nn", {"a": [1, None], "b": [None, None]}),
    "text after many numbers": ("a,b\n" + "1,1\n" * 200 + "x,2\n", "tn",
                                {"a": ["1"] * 200 + ["x"], "b": [1.0] * 200 + [2]}),
    "semicolons": ("a;b\n1;2,5\n3;x\n", "nt", {"a": [1, 3], "b": ["2,5", "x"]}),
    "tabs": ("a\tb\n1\t\n3\t4\n", "nn", {"a": [1, 3], "b": [None, 4]}),
    "bars": ("a|b\n1|x, y; z\n", "nt", {"a": [1], "b": ["x, y; z"]}),
    "one column": ("a\n1\n\n2\n  \n", "n", {"a": [1, 2]}),
    "an exact number": ("a,b\n0.1,123456789.123456789\n2.2250738585072011e-308,1.7976931348623157e308\n", "nn",
                        {"a": [0.1, 2.2250738585072011e-308], "b": [123456789.123456789, 1.7976931348623157e308]}),
} | {
    f"missing {cell!r}": (f"a,b,c\n1,x,{cell}\n{cell},{cell},{cell}\n2,y,{cell}\n", "ntn",
                          {"a": [1, None, 2], "b": ["x", None, "y"], "c": [None] * 3})
    for cell in sorted(tables.MISSING)
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_what_cells_mean(what: str, reader: str, csv_of: Any) -> None:
    text, kind, expected = FILES[what]
    table = read_table(csv_of(text))
    assert kinds(table) == kind
    assert contents(table) == expected


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "got an empty file"),
    "blank": (" \n\n", "got an empty file"),
    "names only": ("a,b\n", "expected rows below the line of names, got none"),
    "too few cells": ("a,b\n1,2\n3\n", "line 3: expected 2 cells as in the line of names, got 1"),
    "too many cells": ("a,b\n1,2\n3,4,5\n", "line 3: expected 2 cells as in the line of names, got 3"),
    "too many in all": ("a,b\n1,2,3\n4,5,6\n", "line 2: expected 2 cells"),
    "ragged in balance": ("a,b,c\n1,2\n3,4,5,6\n", "line 2: expected 3 cells"),
    "ragged far below": ("a,b\n" + "1,2\n" * 300 + "1\n", "line 302: expected 2 cells"),
    "ragged after a newline": ('a,b\n1,"x\ny"\n3\n', "line 4: expected 2 cells"),
    "names twice": ("a,b,a\n1,2,3\n", "columns 1 and 3 are both named 'a'"),
    "latin-1": ("a,b\n1,x\n2,é\n".encode("latin-1"), "line 3: expected text in UTF-8, got byte 0xe9"),
    "latin-1 name": ("é,b\n1,x\n2,y\n".encode("latin-1"), "line 1: expected text in UTF-8"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "expected text in UTF-8, got a zero byte"),
    "open quote": ('a,b\n1,2\n1,"x\n2,3\n', "line 3: expected an end of the quote, got none"),
    "open quote, other cells": ('a,b\n1,2\n"x\n2,3\n', "line 3: expected an end of the quote"),
    "open quote in a long file": ('a,b\n1,"x\n' + "2,3\n" * 50000, "line 2: field larger"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_files(what: str, reader: str, csv_of: Any) -> None:
    text, words = BAD[what]
    path = csv_of(text)
    with pytest.raises(ValueError, match=r"t\.csv: ") as caught:
        read_table(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("seed", range(8))
def test_readers_agree_on_anything(seed: int, csv_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    pieces = ["1", "-2.5", "1e5", "", "NA", "x", " y", '"q,1"', '"a\nb"', "True", "2020-01-01", "0"]
    some = [random.choice(pieces, random.integers(1, 5), replace=False) for _ in range(6)]
    lines = [",".join(random.choice(cells) for cells in some) for _ in range(200)]
    if seed % 2:
        lines[100] += ",1" * (seed % 4 - 1)
    path = csv_of(",".join("abcdef") + "\n" + "\n".join(lines) + "\n")
    results = []
    monkeypatch.setattr(readers, "_QUICK_BYTES", 0)
    for read in READERS.values():
        monkeypatch.setattr(readers, "_QUICK", tuple(filter(None, [read])))
        try:
            table = read_table(path)
            results.append((kinds(table), contents(table)))
        except ValueError as error:
            results.append(str(error))
    assert results[0] == results[1] == results[2]


def test_quick_readers_are_the_ones_taken(
    reader: str, csv_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reader == "csv":
        return

    def refuse(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(readers, "_by_csv", refuse)
    table = read_table(csv_of("a,b,c\n1,x,NA\n,y,2\n"))
    assert contents(table) == {"a": [1, None], "b": ["x", "y"], "c": [None, 2]}


def test_ten_thousand_columns(reader: str, csv_of: Any) -> None:
    numbers = np.arange(20_000).reshape(2, -1)
    rows = [",".join(map(str, row)) for row in numbers.tolist()]
    table = read_table(csv_of("\n".join([",".join(f"c{i}" for i in range(10_000)), *rows])))
    assert len(table.columns) == 10_000
    assert table["c9999"].tolist() == [9999, 19999]


def test_columns_asked_as_text(reader: str, csv_of: Any) -> None:
    table = read_table(csv_of("a,b\n1,01\n2,\n"), text=["b", "not there"])
    assert contents(table) == {"a": [1, 2], "b": ["01", None]}


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder"):
        read_table(tmp_path)


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(
        path, x=np.arange(6.0).reshape(3, 2), y=np.array(["a", "b", "a"]), z=[True, False, True]
    )
    assert contents(read_table(path)) == {
        "x.0": [0, 2, 4],
        "x.1": [1, 3, 5],
        "y": ["a", "b", "a"],
        "z": ["True", "False", "True"],
    }
    for bad in (
        {"a": [1, 2], "b": [1]},
        {"a": 1},
        {"a": np.array([object()])},
        {},
        {"a": np.empty(0)},
    ):
        np.savez(path, **bad)
        with pytest.raises(ValueError, match="npz"):
            read_table(path)
    path.write_bytes(b"PK\x03\x04" + bytes(30))
    with pytest.raises(ValueError, match=r"numpy\.savez"):
        read_table(path)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_finds_its_labels(packed: bool, tmp_path: Path) -> None:
    end = ".gz" if packed else ""
    images = mnist(tmp_path, n=12, packed=packed) / f"train-images-idx3-ubyte{end}"
    table = read_table(images)
    assert list(table.columns) == [*(f"pixel{i}" for i in range(16)), "label"]
    assert table["label"].tolist() == [i % 4 for i in range(12)]
    labels = tmp_path / f"train-labels-idx1-ubyte{end}"
    other = labels.rename(tmp_path / "mine")
    assert "label" not in read_table(images).columns
    assert "label" in read_table(images, labels=other).columns
    other.write_bytes(idx(np.zeros(3, "u1")))
    with pytest.raises(ValueError, match="expected 12 labels"):
        read_table(images, labels=other)


def test_a_packed_csv(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(ValueError, match="unpack it with gunzip"):
        read_table(tmp_path / "t.csv.gz")


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    columns = {"i": [1, None], "f": [0.5, float("nan")], "s": ["x", None], "b": [True, None]}
    frame = pa.table(columns).append_column("d", pa.array(["u", "v"]).dictionary_encode())
    parquet.write_table(frame, path)
    assert contents(read_table(path)) == {
        "i": [1, None],
        "f": [0.5, None],
        "s": ["x", None],
        "b": ["True", None],
        "d": ["u", "v"],
    }
    parquet.write_table(pa.table({"a": [[1], [2]]}), path)
    with pytest.raises(ValueError, match=r"column 'a': expected numbers or text, got list"):
        read_table(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged Parquet"):
        read_table(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nnfast\[tables\]"'):
        read_table(tmp_path / "t.parquet")


def test_tables_of_arrays() -> None:
    table = Table({"a": [1, 2, 3], "b": ["x", None, "x"], "c": np.array([1.0, None, 3], object)})
    assert kinds(table) == "ntn"
    assert contents(table.rows([2, 1])) == {"a": [3, 2], "b": ["x", None], "c": [3, None]}
    assert list(table.without(["b"]).columns) == ["a", "c"]
    with pytest.raises(ValueError, match="did you mean 'b'"):
        Table({"a": [1], "b": [2]})["B"]
    with pytest.raises(ValueError, match="one length"):
        Table({"a": [1], "b": [2, 3]})
    with pytest.raises(ValueError, match="one length, got none"):
        Table({})
    with pytest.raises(ValueError, match="one axis"):
        Table({"a": np.ones((2, 2))})
    with pytest.raises(TypeError, match="complex"):
        Table({"a": np.ones(2, complex)})


def test_a_table_of_a_data_frame() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [True, False], "d": [0.5, None]})
    assert contents(Table(frame)) == {
        "a": [1, 2],
        "b": ["x", None],
        "c": ["True", "False"],
        "d": [0.5, None],
    }
