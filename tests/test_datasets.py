"""The bundled digits, and IDX files: good, damaged and hostile."""

from __future__ import annotations

import contextlib
import gzip
import struct
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnfast import datasets

RANDOM = np.random.default_rng(0)
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def idx(array: Any) -> bytes:
    array = np.asarray(array)
    head = struct.pack(">BBBB", 0, 0, CODES[array.dtype.str[1:]], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return head + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def mnist(folder: Path, n: int = 40, side: int = 4, packed: bool = False, **replaced: Any) -> Path:
    """A small made-up data set: class k is bright in row k."""
    for part, rows in (("train", n), ("t10k", n // 2)):
        labels = np.arange(rows) % side
        images = RANDOM.integers(0, 60, (rows, side, side))
        images[np.arange(rows), labels] += 180
        for name, array in (
            (f"{part}-images-idx3-ubyte", images),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            array = replaced.get(name.replace("-", "_"), array)
            data = array if isinstance(array, bytes) else idx(array.astype("u1"))
            if data and packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            elif data:
                (folder / name).write_bytes(data)
    return folder


def test_digits() -> None:
    x, y = datasets.load_digits()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1797, 64), np.float32, (1797,), np.int64)
    assert (x.min(), x.max()) == (0, 1)
    assert x.flags.writeable
    assert x.flags.c_contiguous
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    attribution = Path(datasets.__file__).with_name("data") / "ATTRIBUTION.md"
    assert "Creative Commons Attribution 4.0" in attribution.read_text()


def test_digits_are_those_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    x, y = datasets.load_digits()
    assert (x * 16 == theirs.data).all()
    assert (y == theirs.target).all()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", [(3,), (0,), (2, 3), (2, 3, 4)])
def test_idx(shape: tuple[int, ...], code: str, packed: bool, tmp_path: Path) -> None:
    array = (RANDOM.normal(size=shape) * 50).astype("i1").astype(code)
    file = tmp_path / "file"
    file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    got = datasets.load_idx(file)
    assert got.dtype == array.dtype
    assert got.dtype.isnative
    assert got.shape == array.shape
    assert (got == array).all()


GOOD = idx(np.array([1, -2, 3], "i2"))
HOSTILE = {
    "nothing": b"",
    "two bytes": b"\0\0",
    "magic of others": b"PK\3\4" + GOOD[4:],
    "an unknown type": b"\0\0\x07\x01" + GOOD[4:],
    "no axes": b"\0\0\x08\x00",
    "half a header": GOOD[:6],
    "a byte short": GOOD[:-1],
    "a byte more": GOOD + b"x",
    "no data": GOOD[:8],
    "axes beyond memory": b"\0\0\x08\x03" + b"\xff" * 12,
    "an overflow to little": b"\0\0\x08\x04"
    + struct.pack(">4I", 1 << 16, 1 << 16, 1 << 16, 1 << 16),
    "255 axes": b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x",
    "zero times much": b"\0\0\x0e\x04" + struct.pack(">4I", 0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_idx_files_are_refused(what: str, packed: bool, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(gzip.compress(HOSTILE[what]) if packed else HOSTILE[what])
    with little_memory(), pytest.raises(ValueError, match="file") as refusal:
        datasets.load_idx(file)
    assert str(refusal.value).startswith(str(file))


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(gzip.compress(idx(np.zeros(8, "u1")) + bytes(50 << 20)))
    begin = time.perf_counter()
    with little_memory(), pytest.raises(ValueError, match="beyond the 8"):
        datasets.load_idx(file)
    assert time.perf_counter() - begin < 2


def test_damaged_gzip_files_are_refused(tmp_path: Path) -> None:
    file, whole = tmp_path / "file", gzip.compress(GOOD)
    for length in range(2, len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(file)):
            datasets.load_idx(file)
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        file.write_bytes(broken)
        said = str(file)
        try:  # a flip in the name or the time of the header harms nothing
            datasets.load_idx(file)
        except ValueError as error:
            said = str(error)
        assert str(file) in said


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(packed: bool, tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = datasets.load_mnist(mnist(tmp_path, packed=packed))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((40, 4, 4), np.uint8, (40,), np.int64)
    assert (x_test.shape, y_test.shape) == ((20, 4, 4), (20,))
    assert (x.argmax(axis=1)[:, 0] == y).all()


IMAGES, LABELS = np.zeros((40, 4, 4)), np.zeros(40)
MISFITS = [
    ({"train_labels_idx1_ubyte": LABELS[:9]}, ValueError, "expected 40 labels"),
    ({"train_labels_idx1_ubyte": IMAGES}, ValueError, "expected 40 labels"),
    ({"train_labels_idx1_ubyte": idx(LABELS)}, ValueError, "of float64"),
    ({"train_images_idx3_ubyte": LABELS}, ValueError, "expected images"),
    ({"train_images_idx3_ubyte": idx(IMAGES.astype("f4"))}, ValueError, "expected images"),
    ({"train_images_idx3_ubyte": np.zeros((40, 5, 4))}, ValueError, "expected one size"),
    (
        {"t10k_images_idx3_ubyte": b""},
        FileNotFoundError,
        "no t10k-images-idx3-ubyte; expected the four files",
    ),
]


@pytest.mark.parametrize(("replaced", "error", "words"), MISFITS)
def test_files_that_do_not_belong_together(
    replaced: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        datasets.load_mnist(mnist(tmp_path, **replaced))
