"""The bundled digits, and readers that believe no header."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from nnfast import datasets


def test_digits_are_the_uci_repositorys() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits()
    theirs = sklearn.load_digits()
    assert X.dtype == np.float32
    assert np.array_equal(X * 16, theirs.data)
    assert np.array_equal(y, theirs.target)
    folder = Path(datasets.__file__).parent / "data"
    assert "Creative Commons Attribution 4.0" in (folder / "ATTRIBUTION.md").read_text()


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(tmp_path: Path, code: int, dtype: str, packed: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data = struct.pack(">HBB3I", 0, code, 3, *array.shape) + array.tobytes()
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(data) if packed else data)
    assert np.array_equal(datasets.load_idx(path), array)


GOOD = struct.pack(">HBBI", 0, 8, 1, 4) + b"abcd"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:3],
        GOOD[:6],
        GOOD[:-1],
        GOOD + b"x",
        b"PNG" + GOOD,
        struct.pack(">HBBI", 0, 99, 1, 4) + b"abcd",
        struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abcd",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx_is_refused(tmp_path: Path, data: bytes, packed: bool) -> None:
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ValueError, match=str(path)):
        datasets.load_idx(path)


def test_mnist_names_the_file_it_misses(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        datasets.load_mnist(tmp_path)
