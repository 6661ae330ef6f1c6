"""Networks trained and asked by all peers, files and memory."""

from __future__ import annotations

from collections.abc import Mapping

from bench.work import IMAGES, Target, Work

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


def _rule(optimizer: str, lr: float) -> Work:
    """16-64-64-4 by another optimizer than Adam."""
    return Work(
        f"16-64-64-4-{optimizer}",
        "fit",
        ("nnfast", "jax"),
        (Target("jax", 1.2, 1.6),),
        (16, 64, 64, 4),
        "tanh",
        batch_size=32,
        rows=10_240,
        optimizer=optimizer,
        lr=lr,
        loss="mse",
        epochs=5,
    )


def _layered(layer: str) -> Work:
    """784-128-128-10 with normalised hidden layers, or the second one around itself."""
    return Work(
        f"784-128-128-10-{layer.replace('_', '-')}",
        "fit",
        ("nnfast", "torch", "torch_compile"),
        (Target("torch", 2.0), Target("torch_compile", None)),
        (784, 128, 128, 10),
        batch_size=64,
        rows=IMAGES,
        lr=0.01,
        layer=layer,
    )


NETWORKS: tuple[Work, ...] = (
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
    _rule("sgd", 0.1),
    _rule("momentum", 0.01),
    _rule("nesterov", 0.01),
    _rule("adagrad", 0.01),
    _rule("rmsprop", 0.0003),
    _rule("adamw", 0.001),
    _rule("rprop", 0.001),
    Work(
        "784-512-512-10-dropout",
        "fit",
        ("nnfast", "nnfast dropout"),
        (Target("nnfast", 1.1, of="nnfast dropout", time=True),),
        (784, 512, 512, 10),
        batch_size=128,
        rows=12_800,
    ),
    _layered("batch_norm"),
    _layered("layer_norm"),
    _layered("residual"),
    Work(
        "784-128-10-watched",
        "fit",
        ("nnfast", "nnfast accuracy", "nnfast bar", "nnfast accuracy bar"),
        (
            Target("nnfast", None, of="nnfast accuracy", time=True),
            Target("nnfast", None, of="nnfast bar", time=True),
            Target("nnfast", 1.02, of="nnfast accuracy bar", time=True),
        ),
        (784, 128, 10),
        batch_size=32,
        rows=IMAGES,
    ),
    Work(
        "784-128-10-uint8",
        "fit",
        ("nnfast", "nnfast uint8"),
        (
            Target("nnfast", 1.05, of="nnfast uint8", time=True),
            Target("MiB", 50.0, of="nnfast uint8"),
            Target("MiB", None),
        ),
        (784, 128, 10),
        batch_size=128,
        rows=IMAGES,
        memory=True,
    ),
    Work(
        "csr",
        "fit",
        ("nnfast", "sklearn"),
        # X, theta and the state are 28 MiB, packed theta and the way back to the epoch's start 24
        (Target("sklearn", 5.0), Target("MiB", 56.0), Target("MiB", None, of="sklearn")),
        (50_000, 64, 10),
        batch_size=200,
        rows=20_000,
        input="csr",
        memory=True,
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
    Work(
        "784-128-10-memmap",
        "fit",
        ("nnfast", "nnfast memmap"),
        (
            Target("nnfast", 0.9, of="nnfast memmap"),
            Target("MiB", 190.0, of="nnfast memmap"),
            Target("MiB", None),
        ),
        (784, 128, 10),
        batch_size=128,
        rows=637_696,
        memory=True,
    ),
)
