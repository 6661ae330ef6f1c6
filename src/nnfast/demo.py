"""The demonstration: train on handwritten digits, and say how fast it went beside NumPy."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnfast as nn
from nnfast import backend, datasets
from nnfast.report import counted

_BATCH_SIZE = 32
_LEARNING_RATE = 0.1
_SHADES = " .:-=+*#%@"
_SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False, slots=True)
class _Task:
    name: str
    sizes: tuple[int, ...]
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    @property
    def flops_per_sample(self) -> int:
        """Multiplications and additions of forward, dX and dW; the input's dX is not needed."""
        products = [n_in * n_out for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False)]
        return 6 * sum(products) - 2 * products[0]


@dataclass(frozen=True, eq=False, slots=True)
class _Result:
    seconds: float
    losses: list[float]
    guesses: NDArray[np.int64]
    accuracy: float


def run(data: Path | None = None, epochs: int | None = None, threads: int = 1) -> None:
    """Train on the bundled digits, or on the folder `data` in MNIST's format, and print it."""
    task = _digits() if data is None else _mnist(data)
    epochs = epochs or (50 if data is None else 3)
    chosen = backend.current().name
    net = _network(task)
    print(f"nnfast {nn.__version__}")
    print()
    print(f"  data      {task.name}: {len(task.x):,} to train, {len(task.x_test):,} to test")
    print(f"  network   {'-'.join(map(str, task.sizes))} relu, {net.theta.size:,} parameters")
    print(
        f"  training  float32, cross entropy, SGD {_LEARNING_RATE}, "
        f"batches of {_BATCH_SIZE}, {counted(epochs, 'epoch')}, "
        f"{counted(threads, 'thread')}"
    )
    print(flush=True)

    probes = _probe()
    result = _train(task, epochs, threads)
    probes += _probe()
    peak = statistics.median(probes) * threads if probes else None
    _print_learning(task, result)
    print("  backend     test accuracy    seconds    samples/s   GFLOP/s   of FMA peak")
    _print_result(task, chosen, result, epochs, peak)
    if chosen == "reference":
        print("\n  This is the slow reference backend; `nnfast info` says why there is no other.")
        return
    try:
        nn.use_backend("reference")
        slow = _train(task, epochs, threads)
    finally:
        nn.use_backend(chosen)
    _print_result(task, "reference", slow, epochs, peak)
    ratio = slow.seconds / result.seconds
    print(f"\n  The same work takes NumPy (the reference backend) {ratio:.1f} times as long.")
    if peak is not None:
        cores = counted(threads, "core")
        print(f"  FMA peak, measured beside it: {peak:.0f} GFLOP/s on {cores}.")


def _digits() -> _Task:
    x, y = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:-360], order[-360:]
    return _Task("UCI 8x8 digits", (64, 64, 10), x[train], y[train], x[test], y[test])


def _mnist(directory: Path) -> _Task:
    (x, y), (x_test, y_test) = datasets.load_mnist(directory)
    n_pixels = x.shape[1] * x.shape[2]
    n_classes = int(y.max(initial=0)) + 1
    return _Task(
        directory.resolve().name,
        (n_pixels, 128, n_classes),
        _unit(x),
        y,
        _unit(x_test),
        y_test,
    )


def _unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images as rows of numbers in 0..1."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _network(task: _Task) -> nn.Sequential:
    *_, n_hidden, n_classes = task.sizes
    layers = [nn.Dense(n_hidden, "relu"), nn.Dense(n_classes)]
    net = nn.Sequential(layers, seed=0)
    net.build(task.sizes[0])
    return net


def _train(task: _Task, epochs: int, threads: int) -> _Result:
    settings: dict[str, Any] = {
        "loss": "cross_entropy",
        "optimizer": nn.SGD(lr=_LEARNING_RATE),
        "batch_size": _BATCH_SIZE,
        "threads": threads,
        "verbose": 0,
    }
    _network(task).fit(task.x[:_BATCH_SIZE], task.y[:_BATCH_SIZE], **settings)  # warms up
    net = _network(task)
    begin = time.perf_counter()
    history = net.fit(task.x, task.y, epochs=epochs, **settings)
    seconds = time.perf_counter() - begin
    guesses = net.predict(task.x_test).argmax(axis=1)
    accuracy = float((guesses == task.y_test).mean())
    return _Result(seconds, history.history["loss"], guesses, accuracy)


def _probe() -> list[float]:
    """One core's FMA peak now, in GFLOP/s; nothing on a backend that cannot tell."""
    machine = backend.current()
    if not hasattr(machine, "peak_gflops"):
        return []
    return [machine.peak_gflops("float32", 0.05) for _ in range(3)]


def _print_result(task: _Task, name: str, result: _Result, epochs: int, peak: float | None) -> None:
    rate = epochs * len(task.x) / result.seconds
    gflops = rate * task.flops_per_sample / 1e9
    share = "-" if peak is None else f"{gflops / peak:4.0%} {_bar(gflops / peak)}"
    print(
        f"  {name:<10}  {result.accuracy:>13.1%}  {result.seconds:>9.3f}  {rate:>11,.0f}"
        f"  {gflops:>8.1f}   {share}",
        flush=True,
    )


def _bar(share: float, width: int = 10) -> str:
    full = min(round(share * width), width)
    return "█" * full + "░" * (width - full)


def _print_learning(task: _Task, result: _Result) -> None:
    """The loss of each epoch as a line of blocks, and the first test images with the answers."""
    losses = np.asarray(result.losses)
    shown = losses[np.linspace(0, len(losses) - 1, min(len(losses), 50)).astype(int)]
    heights = (shown - shown.min()) / max(np.ptp(shown), 1e-12) * (len(_SPARKS) - 1)
    line = "".join(_SPARKS[round(height)] for height in heights)
    print(f"  loss      {losses[0]:.3f} {line} {losses[-1]:.4f}\n")

    side = round(task.x_test.shape[1] ** 0.5)
    if side * side != task.x_test.shape[1]:
        return
    images = [_drawing(image.reshape(side, side)) for image in task.x_test[:4]]
    for rows in zip(*images, strict=True):
        print("  " + "  ".join(rows).rstrip())
    answers = []
    for guess, truth in zip(result.guesses[:4], task.y_test[:4], strict=True):
        answers.append(f"{guess}" if guess == truth else f"{guess}, wrong: {truth}")
    print("  " + "  ".join(f"{answer:^{len(images[0][0])}}" for answer in answers).rstrip())
    print()


def _drawing(image: NDArray[np.float32]) -> list[str]:
    """An image as lines of characters, which are twice as high as wide."""
    block = max(1, len(image) // 7)
    side = len(image) // block * block
    wide = image[:side, :side].repeat(2, axis=1)
    means = wide.reshape(side // block, block, 2 * side // block, block).mean(axis=(1, 3))
    shades = (means.clip(0, 1) * (len(_SHADES) - 1)).round().astype(int)
    return ["".join(_SHADES[shade] for shade in row) for row in shades]
