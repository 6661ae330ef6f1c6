"""The arrays of the benchmark: written once, read by all contestants."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.work import IMAGES, Work

Array = np.ndarray[tuple[int, ...]]

_TEST_ROWS = 2_000  # of CSR
_NONZEROS = 100  # a row of CSR
_SETS = {"64-10": "digits", "4-3": "iris", "10-1": "diabetes"}
"""scikit-learn's data sets, by inputs and outputs."""


@dataclass
class Data:
    """The arrays of a work in its dtype."""

    folder: Path
    work: Work
    x: Any = field(init=False)
    y: Array = field(init=False)
    theta: Array = field(init=False)

    def __post_init__(self) -> None:
        work = self.work
        if not work.sizes:
            return
        if work.input == "csr":
            self.x = self._real(self._csr("x"))
        elif work.input == "memmap":
            self.x = np.load(self._file(work.key, "x"), mmap_mode="r")[: work.rows]
        else:
            self.x = self._real(np.load(self._file(work.key, "x")))[: work.rows]
        if work.input == "uint8":
            self.x = _bytes(self.x)
        self.y = self._real(np.load(self._file(work.key, "y")))[: work.rows]
        # a map, so that it is no memory of the process
        theta = np.load(self.folder / f"{'-'.join(map(str, work.sizes))}.npy", mmap_mode="r")
        self.theta = self._real(np.asarray(theta))

    @property
    def corpus(self) -> str:
        """The text that the vocabulary is of."""
        return str(self.folder / "corpus.txt")

    @property
    def part(self) -> str:
        """Its first `rows` words."""
        return str(self.folder / f"corpus-{self.work.rows}.txt")

    @property
    def vectors(self) -> str:
        """In word2vec's binary format."""
        return str(self.folder / "vectors.bin")

    def test(self) -> tuple[Any, Array]:
        """The rows that say what was learned."""
        key = f"{self.work.sizes[0]}-{self.work.sizes[-1]}"
        y = self._real(np.load(self._file(key, "y_test")))
        if self.work.input == "csr":
            return self._csr("x_test").astype(np.float64), y
        return np.load(self._file(key, "x_test")).astype(np.float64), y

    def layers(self, theta: Array) -> list[tuple[Array, Array]]:
        """Each layer's weights (n_in, n_out) and biases, views into theta."""
        found, at = [], 0
        for n_in, n_out in pairwise(self.work.sizes):
            end = at + n_in * n_out
            found.append((theta[at:end].reshape(n_in, n_out), theta[end : end + n_out]))
            at = end + n_out
        return found

    def _file(self, key: str, name: str) -> Path:
        return self.folder / f"{key}.{name}.npy"

    def _csr(self, name: str) -> Any:
        from scipy import sparse

        return sparse.load_npz(self.folder / f"{self.work.key}.{name}.npz")

    def _real(self, array: Any) -> Any:
        return array.astype(self.work.dtype, copy=False) if array.dtype.kind == "f" else array


def write_data(folder: Path, works: Sequence[Work], directory: str | None) -> str:
    """Put the arrays that all contestants read into `folder`; return what the images are."""
    if directory is None:
        name = "synthetic images of Fashion-MNIST's shape (no --data given)"
        x, y = _synthetic_images(np.random.default_rng(0), IMAGES)
        x_test, y_test = x[-10_000:], y[-10_000:]
    else:
        from nnfast.datasets import load_mnist

        name = Path(directory).resolve().name
        (x, y), (x_test, y_test) = load_mnist(directory)
        x, x_test = (a.reshape(len(a), -1) / np.float32(255) for a in (x, x_test))
    arrays = {"784-10.x": x, "784-10.y": y, "784-10.x_test": x_test, "784-10.y_test": y_test}
    with_arrays = sorted((work for work in works if work.sizes), key=lambda work: -work.rows)
    for work in with_arrays:
        if work.repeats:
            _write_repeated(folder, work, x, y)
        elif work.input == "csr":
            _write_csr(folder, work)
        elif f"{work.key}.x" in arrays:
            continue
        elif work.key in _SETS:
            arrays |= _of_sklearn(work.key)
        else:
            arrays |= _regression(work.key, work.rows, work.sizes[0], work.sizes[-1])
    for work in works:
        if work.kind == "table":
            _write_table(folder / "table.csv", work.rows)
        elif work.settings:
            _write_words(Data(folder, work))
    for key, array in arrays.items():
        np.save(folder / key, array)
    for sizes in {work.sizes for work in with_arrays}:
        np.save(folder / "-".join(map(str, sizes)), _glorot(sizes))
    return name


def write_corpus(folder: Path, path: Path) -> int:
    """Put a text that may be packed into `folder`; return how many words it has."""
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    words = 0
    with opened(path, "rb") as source, open(folder / "corpus.txt", "wb") as file:
        for line in source:
            file.write(line)
            words += len(line.split())
    return words


def _write_words(data: Data) -> None:
    """The part of the corpus that a work reads, and vectors if it asks them."""
    left = data.work.rows
    with open(data.corpus, "rb") as source, open(data.part, "wb") as part:
        for line in source:
            words = line.split()[:left]
            part.write(b" ".join(words) + b"\n")
            left -= len(words)
            if not left:
                break
    if data.work.kind == "analogies":
        from nnfast import Word2Vec

        model = Word2Vec(corpus_file=data.part, epochs=1, **data.work.settings)
        model.wv.save_word2vec_format(data.vectors, binary=True)


def _bytes(x: Array) -> Array:
    """Images of [0, 1] as they were in their file."""
    return np.rint(x * 255).astype(np.uint8)


def _synthetic_images(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Half the pixels 0, as in Fashion-MNIST; labels that a network can learn."""
    x = np.maximum(rng.random((n, 784), np.float32) * 2 - 1, 0)
    x = _bytes(x) / np.float32(255)
    y = (x @ rng.normal(size=(784, 10)).astype(np.float32)).argmax(axis=1)
    return x, y


def _write_repeated(folder: Path, work: Work, x: Array, y: Array) -> None:
    """The images again and again, on the disk before anything is timed."""
    shape = (work.rows, work.sizes[0])
    file = np.lib.format.open_memmap(folder / f"{work.key}.x.npy", "w+", x.dtype, shape)
    for at in range(0, work.rows, len(x)):
        file[at : at + len(x)] = x[: work.rows - at]
    file.flush()
    np.save(folder / f"{work.key}.y", np.resize(y, work.rows))


def _write_csr(folder: Path, work: Work) -> None:
    """Rows of 100 nonzeros, one in each 100th of the columns, in a third of them the class's."""
    from scipy import sparse

    n_in, classes = work.sizes[0], work.sizes[-1]
    rng = np.random.default_rng(work.sizes)
    part = n_in // _NONZEROS
    for name, rows in (("", work.rows), ("_test", _TEST_ROWS)):
        y = rng.integers(0, classes, rows)
        place = rng.integers(0, part, (rows, _NONZEROS))
        own = part * y[:, None] // classes + place // classes
        place = np.where(rng.random(place.shape) < 1 / 3, own, place)
        columns = (place + part * np.arange(_NONZEROS)).astype(np.int32)
        values = rng.random(columns.size, np.float32) + np.float32(0.5)
        starts = np.arange(0, columns.size + 1, _NONZEROS, dtype=np.int32)
        x = sparse.csr_matrix((values, columns.ravel(), starts), (rows, n_in))
        sparse.save_npz(folder / f"{work.key}.x{name}.npz", x, compressed=False)
        np.save(folder / f"{work.key}.y{name}", y)


def _of_sklearn(key: str) -> dict[str, Array]:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{_SETS[key]}")(return_X_y=True)
    return {f"{key}.x": x, f"{key}.y": y}


def _regression(key: str, n: int, n_in: int, n_out: int) -> dict[str, Array]:
    """What a layer of tanh makes of random x; the test rows are the first ones."""
    rng = np.random.default_rng((n_in, n_out))
    x = rng.random((n, n_in), np.float32)
    y = np.tanh(x @ rng.normal(size=(n_in, n_out)).astype(np.float32))
    test = slice(10_240)
    return {f"{key}.x": x, f"{key}.y": y, f"{key}.x_test": x[test], f"{key}.y_test": y[test]}


def _glorot(sizes: tuple[int, ...]) -> Array:
    """One start for all: each layer's weights (n_in, n_out), then its biases."""
    rng = np.random.default_rng(sizes)
    parts = []
    for n_in, n_out in pairwise(sizes):
        limit = (6 / (n_in + n_out)) ** 0.5
        parts += [rng.uniform(-limit, limit, n_in * n_out), np.zeros(n_out)]
    return np.concatenate(parts).astype(np.float32)


def _write_table(path: Path, rows: int) -> None:
    """About 100 bytes a row: nine numbers, a category, and a class to tell from them."""
    import pyarrow as pa
    from pyarrow import csv

    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 9)).astype(np.float32)
    kind = rng.integers(0, 5, rows)
    yes = x[:, 0] * x[:, 1] + x[:, 2] + kind / 4 + rng.normal(size=rows) / 2 > 0.5
    columns = {f"x{i}": x[:, i] for i in range(9)}
    columns["kind"] = np.array(["red", "green", "blue", "black", "white"])[kind]
    columns["answer"] = np.where(yes, "yes", "no")
    csv.write_csv(pa.table(columns), path)
