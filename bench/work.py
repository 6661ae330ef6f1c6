"""The rows of the benchmark: what is done, by whom, and the figures that nnfast must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Target:
    """`of` must do at least `must` times what `against` does, and aims at `aim` times.

    `against` is a contestant, or "peak" (share of the FMA peak), or a unit ("us", "ms", "MiB"):
    then the figures are that unit's, and less is better.
    """

    against: str
    must: float | None
    aim: float | None = None
    of: str = "nnfast"
    of_peak: bool = False  # compare shares of each one's FMA peak


@dataclass(frozen=True)
class Work:
    """One row: the same work for each contestant.

    A contestant is the name of a peer in peers.py and, behind it, what is special about its run: an
    ISA, a dtype, a number of threads.
    """

    name: str
    kind: str  # "fit", "one" (single rows), "batch" (predict), "import", "memory", "table"
    contestants: tuple[str, ...]
    targets: tuple[Target, ...]
    sizes: tuple[int, ...] = ()
    activation: str = "relu"
    batch_size: int = 1
    rows: int = 1  # samples (or calls) a round
    optimizer: str = "sgd"  # "momentum": of 0.9; "adam"
    lr: float = 0.1
    loss: str = "cross_entropy"
    threads: int = 1
    epochs: int = 1  # a round; of nnfast in one call of fit
    fewer: Mapping[str, int] = field(default_factory=dict)  # rows a round of slow contestants

    @property
    def momentum(self) -> float:
        return 0.9 if self.optimizer == "momentum" else 0.0

    @property
    def title(self) -> str:
        """What is done, in words."""
        net = "-".join(map(str, self.sizes))
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return {
            "fit": f"train {net} {self.activation}, batch {self.batch_size}, "
            f"{self.optimizer}, {self.loss}, {self.rows * self.epochs:,} rows a round{threads}",
            "one": f"one row through {net} {self.activation}, {self.rows:,} calls a round",
            "batch": f"predict {self.rows:,} rows of {net} {self.activation}{threads}",
            "import": "import in a fresh process (nnfast: what it adds to NumPy)",
            "table": f"a CSV file of {self.rows:,} rows to a model on disk, one epoch, batch "
            f"{self.batch_size}{threads}",
            "memory": f"what an epoch of {net} adds to the process beside X, y and theta",
        }[self.kind]

    @property
    def flops(self) -> int:
        """FLOP a sample; training leaves out the gradient of the network's input."""
        products = [n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        if self.kind == "fit":
            return 6 * sum(products) - 2 * products[0]
        return 2 * sum(products) if self.kind in ("one", "batch") else 0


_OTHERS = ("jax", "torch", "torch_compile", "sklearn", "numpy")
_TRAINERS = ("nnfast", "nnfast avx2", "nnfast float64", *_OTHERS)
_AVX2 = Target("nnfast", 0.85, of="nnfast avx2", of_peak=True)
_FLOAT64 = Target("nnfast", 0.45, of="nnfast float64")


def _small(
    name: str,
    sizes: tuple[int, ...],
    batch_size: int,
    rows: int,
    jax: tuple[float, float],  # must and aim, in both dtypes
    avx2: bool = False,
    activation: str = "tanh",
    optimizer: str = "adam",
    lr: float = 0.001,
    epochs: int = 1,
    fewer: Mapping[str, int] | None = None,
) -> Work:
    """Regression by a small network in one thread: by all, and by nnfast and JAX in float64."""
    native = ("nnfast", "nnfast avx2") if avx2 else ("nnfast",)
    float64 = Target("jax float64", *jax, of="nnfast float64")
    return Work(
        name,
        "fit",
        (*native, *_OTHERS, "nnfast float64", "jax float64"),
        (Target("jax", *jax), float64, *((_AVX2,) if avx2 else ())),
        sizes,
        activation,
        batch_size,
        rows,
        optimizer,
        lr,
        loss="mse",
        epochs=epochs,
        fewer=fewer or {},
    )


WORKS: tuple[Work, ...] = (
    Work(
        "784-30-10",
        "fit",
        _TRAINERS,
        (Target("jax", 2.6, 3.2), Target("torch", 22), Target("peak", 0.66, 0.76), _AVX2, _FLOAT64),
        (784, 30, 10),
        batch_size=10,
        rows=60_000,
    ),
    Work(
        "784-64-64-10",
        "fit",
        _TRAINERS,
        (Target("jax", 1.5, 1.7), Target("peak", 0.77, 0.86), _AVX2, _FLOAT64),
        (784, 64, 64, 10),
        batch_size=32,
        rows=60_000,
    ),
    Work(
        "784-128-10",
        "fit",
        _TRAINERS,
        (Target("jax", 1.25, 1.4), Target("peak", 0.80, 0.89), _AVX2, _FLOAT64),
        (784, 128, 10),
        batch_size=32,
        rows=60_000,
    ),
    Work(
        "784-512-512-10",
        "fit",
        _TRAINERS,
        (Target("jax", 1.0, 1.1), Target("peak", 0.78, 0.90), _AVX2, _FLOAT64),
        (784, 512, 512, 10),
        batch_size=128,
        rows=12_800,
    ),
    Work(
        "784-512-512-10-x2",
        "fit",
        ("nnfast", "nnfast 1thread", "jax", "torch", "torch_compile"),
        (Target("nnfast 1thread", 1.8, 1.95), Target("jax", None), Target("torch", None)),
        (784, 512, 512, 10),
        batch_size=128,
        rows=12_800,
        threads=2,
    ),
    _small("4-32-16-4", (4, 32, 16, 4), 10_000, 200_000, (1.9, 2.3), epochs=5),
    Work(
        "4-32-16-4-x2",
        "fit",
        ("nnfast", "nnfast 1thread", "jax", "torch", "torch_compile"),
        (Target("nnfast 1thread", 1.7, 1.9), Target("jax", None)),
        (4, 32, 16, 4),
        "tanh",
        batch_size=10_000,
        rows=200_000,
        optimizer="adam",
        lr=0.001,
        loss="mse",
        epochs=5,
        threads=2,
    ),
    _small("24-8-2", (24, 8, 2), 200, 200_000, (2.1, 2.5)),
    _small("16-64-64-4", (16, 64, 64, 4), 32, 10_240, (1.7, 1.9), avx2=True),
    _small(
        "16-64-64-4-b1",
        (16, 64, 64, 4),
        1,
        10_000,
        (1.45, 1.7),
        fewer={"numpy": 2_000, "torch": 1_000, "torch_compile": 2_000, "sklearn": 1_000},
    ),
    _small(
        "8-32-1",
        (8, 32, 1),
        16,
        160_000,
        (2.0, 3.0),
        activation="relu",
        optimizer="momentum",
        lr=0.01,
        fewer={"numpy": 32_000, "torch": 16_000, "torch_compile": 32_000, "sklearn": 16_000},
    ),
    Work(
        "one-row",
        "one",
        ("nnfast", "onnxruntime", "numpy", "torch"),
        (Target("us", 0.9, 0.6), Target("onnxruntime", None), Target("numpy", None)),
        (16, 64, 64, 4),
        "tanh",
        rows=5_000,
    ),
    Work(
        "batch-predict",
        "batch",
        ("nnfast", "nnfast avx2", "nnfast float64", "torch", "numpy"),
        (Target("torch", 1.0), Target("peak", None, 0.88), _AVX2),
        (784, 128, 10),
        rows=10_000,
    ),
    Work(
        "table",
        "table",
        ("nnfast", "sklearn"),
        (Target("sklearn", 2.0, 4.0),),
        batch_size=32,
        rows=1_000_000,
        threads=2,
    ),
    Work("import", "import", ("nnfast", "numpy"), (Target("ms", 30.0),)),
    Work(
        "memory",
        "memory",
        ("nnfast",),
        (Target("MiB", 8.0),),
        (784, 128, 10),
        batch_size=32,
        rows=60_000,
    ),
)


def write_data(folder: Path, works: Sequence[Work], directory: str | None) -> str:
    """Put the arrays that all contestants read into `folder`; return what they are."""
    rng = np.random.default_rng(0)
    if directory is None:
        name = "synthetic images of Fashion-MNIST's shape (no --data given)"
        x, y = _synthetic_images(rng, 60_000)
        x_test, y_test = x[-10_000:], y[-10_000:]
    else:
        from nnfast.datasets import load_mnist

        name = Path(directory).resolve().name
        (x, y), (x_test, y_test) = load_mnist(directory)
        x, x_test = (a.reshape(len(a), -1) / np.float32(255) for a in (x, x_test))
    arrays = {"784-10.x": x, "784-10.y": y, "784-10.x_test": x_test, "784-10.y_test": y_test}
    for n_in, n_out in sorted({(work.sizes[0], work.sizes[-1]) for work in works if work.sizes}):
        key = f"{n_in}-{n_out}"
        if f"{key}.x" not in arrays:
            n = max(w.rows for w in works if (w.sizes[:1], w.sizes[-1:]) == ((n_in,), (n_out,)))
            arrays |= _regression(key, n, n_in, n_out)
    for work in works:
        if work.kind == "table":
            _write_table(folder / "table.csv", work.rows)
    for key, array in arrays.items():
        np.save(folder / key, array)
    for sizes in {work.sizes for work in works if work.sizes}:
        np.save(folder / "-".join(map(str, sizes)), _glorot(sizes))
    return name


def _synthetic_images(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray[tuple[int, ...]], np.ndarray[tuple[int, ...]]]:
    """Half the pixels 0, as in Fashion-MNIST; labels that a network can learn."""
    x = np.maximum(rng.random((n, 784), np.float32) * 2 - 1, 0)
    y = (x @ rng.normal(size=(784, 10)).astype(np.float32)).argmax(axis=1)
    return x, y


def _regression(key: str, n: int, n_in: int, n_out: int) -> dict[str, np.ndarray[tuple[int, ...]]]:
    """What a layer of tanh makes of random x; the test rows are the first ones."""
    rng = np.random.default_rng((n_in, n_out))
    x = rng.random((n, n_in), np.float32)
    y = np.tanh(x @ rng.normal(size=(n_in, n_out)).astype(np.float32))
    test = slice(10_240)
    return {f"{key}.x": x, f"{key}.y": y, f"{key}.x_test": x[test], f"{key}.y_test": y[test]}


def _glorot(sizes: tuple[int, ...]) -> np.ndarray[tuple[int, ...]]:
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
