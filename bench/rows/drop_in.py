"""Programs for scikit-learn, Nielsen's book and NumPy, on nnfast."""

from __future__ import annotations

from typing import Any

from bench.peers.ops import ACTIVATIONS
from bench.work import IMAGES, Target, Work

_SAME = Target("curve", 1e-6)
_MNIST = (784, 100, 10)


def _estimator(
    name: str, sizes: tuple[int, ...], rows: int, must: float, aim: float, **more: Any
) -> Work:
    """An estimator with its defaults, in float64."""
    settings = {"batch_size": 200, "optimizer": "adam", "threads": 0, "dtype": "float64", **more}
    targets = (Target("sklearn", must, aim), _SAME)
    return Work(name, "estimator", ("nnfast", "sklearn"), targets, sizes, rows=rows, **settings)


def _answers(sizes: tuple[int, ...], rows: int, calls: int, must: float) -> Work:
    """predict and predict_proba."""
    targets = (
        Target("sklearn", must, 8.0),
        Target("sklearn proba", must, 8.0, of="nnfast proba"),
    )
    return Work(
        f"answers-{sizes[0]}-{rows}",
        "answers",
        ("nnfast", "sklearn", "nnfast proba", "sklearn proba"),
        targets,
        sizes,
        batch_size=200,
        rows=rows,
        optimizer="adam",
        threads=0,
        epochs=calls,
        dtype="float64",
        call="predict",
    )


_OPS = (
    *(f"dense_{way}-{name}" for way in ("forward", "backward") for name in ACTIVATIONS),
    "relu",
    "sigmoid",
    "tanh",
    "softmax_cross_entropy",
    "sgd_update",
)
_WIDTHS = ("narrow", 2.0, (32, 64)), ("wide", 1.0, (128, 256, 512, 1024))

DROP_IN: tuple[Work, ...] = (
    Work(
        "estimator-digits",
        "estimator",
        ("nnfast", "nnfast float32", "sklearn"),
        (
            Target("sklearn", 2.5, 3.5),
            Target("sklearn", 4.0, 6.0, of="nnfast float32"),
            _SAME,
        ),
        (64, 100, 10),
        batch_size=200,
        rows=1_797,
        optimizer="adam",
        threads=0,
        dtype="float64",
    ),
    _estimator(
        "estimator-digits-sgd",
        (64, 30, 10),
        1_797,
        15.0,
        30.0,
        batch_size=10,
        optimizer="sgd",
        epochs=20,
    ),
    _estimator("estimator-iris", (4, 100, 3), 150, 8.0, 15.0),
    _estimator("estimator-diabetes", (10, 100, 1), 442, 4.0, 8.0, loss="mse"),
    Work(
        "estimator-images",
        "estimator",
        ("nnfast", "sklearn", "nnfast float64", "sklearn float64"),
        (
            Target("sklearn", 1.6, 1.9),
            Target("sklearn float64", 1.4, 1.6, of="nnfast float64"),
            Target("curve", 1e-6, of="nnfast float64"),
        ),
        _MNIST,
        batch_size=200,
        rows=IMAGES,
        optimizer="adam",
        epochs=3,
    ),
    Work(
        "estimator-images-x2",
        "estimator",
        ("nnfast", "sklearn"),
        (Target("sklearn", 2.3, 3.0),),
        _MNIST,
        batch_size=200,
        rows=IMAGES,
        optimizer="adam",
        threads=2,
        epochs=3,
    ),
    _estimator("estimator-regression", (50, 100, 1), 20_000, 3.0, 4.0, loss="mse", epochs=10),
    *(
        _answers(sizes, rows, calls, must)
        for sizes in ((64, 100, 10), _MNIST)
        for rows, calls, must in ((1, 300, 4.0), (100, 100, 3.0), (10_000, 4, 1.1))
    ),
    Work(
        "nielsen",
        "nielsen",
        ("nnfast", "nnfast float32", "numpy once"),
        (
            Target("numpy once", 15.0, 20.0),
            Target("numpy once", None, of="nnfast float32"),
        ),
        (784, 30, 10),
        "sigmoid",
        batch_size=10,
        rows=50_000,
        lr=3.0,
        epochs=30,
        dtype="float64",
    ),
    *(
        Work(
            f"ops-{call}-{name}",
            "ops",
            ("nnfast", "numpy"),
            (Target("numpy", must, worst=True),),
            threads=0,
            call=call,
            widths=widths,
        )
        for call in _OPS
        for name, must, widths in _WIDTHS
    ),
)
