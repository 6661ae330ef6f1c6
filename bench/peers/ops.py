"""nnfast.ops and the NumPy functions in their place, over many sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.data import Array
from bench.work import Work

_BATCHES = (32, 128, 512, 4096)
_ENOUGH = 0.01  # seconds that a case is repeated: more than its first calls, on new memory


@dataclass
class Operands:
    """What the functions take, of a square layer; x stands for y and z, too."""

    x: Array
    w: Array
    b: Array
    dy: Array
    labels: Array


Function = Callable[[Operands], Any]
LR = 0.001
ACTIVATIONS = ("relu", "sigmoid", "tanh")
"""Behind the dense functions."""


def cases(work: Work) -> Iterator[tuple[str, Operands]]:
    """Each size of the work in each dtype."""
    of_weights = work.call == "sgd_update"
    for dtype in ("float32", "float64"):
        rng = np.random.default_rng(0)
        n = max(work.widths) * max(_BATCHES)
        x, w, dy = (rng.normal(size=n).astype(dtype) for _ in range(3))
        for width in work.widths:
            for batch in (width,) if of_weights else _BATCHES:
                shape = (batch, width)
                operands = Operands(
                    x[: batch * width].reshape(shape),
                    w[: width * width].reshape(width, width),
                    dy[:width],
                    dy[: batch * width].reshape(shape),
                    rng.integers(0, width, batch),
                )
                name = f"{width} wide" if of_weights else f"{width} wide, {batch} rows"
                yield f"{name}, {dtype}", operands


def seconds(
    function: Function, work: Work, choose: Callable[[str], object] = lambda case: None
) -> dict[str, float]:
    """Seconds a call in each case; `choose` is told before each."""
    found = {}
    for case, operands in cases(work):
        choose(case)
        found[case] = once(function, operands)
    return found


def once(function: Function, operands: Operands) -> float:
    """Seconds of one of as many calls as take some time."""
    function(operands)
    calls, spent = 1, 0.0
    while True:
        begin = time.perf_counter()
        for _ in range(calls):
            function(operands)
        spent = time.perf_counter() - begin
        if spent >= _ENOUGH:
            return spent / calls
        calls = max(2 * calls, int(1.2 * calls * _ENOUGH / max(spent, 1e-6)))


def deviation(mine: Function, theirs: Function, work: Work) -> float:
    """The largest difference of results, relative to the largest result of the case."""
    most = 0.0
    for _, operands in cases(work):
        pair = _results(mine, operands), _results(theirs, operands)
        for got, expected in zip(*pair, strict=True):
            most = max(most, float(np.abs(got - expected).max() / np.abs(expected).max()))
    return most


def _results(function: Function, operands: Operands) -> tuple[Any, ...]:
    result = function(replace(operands, w=operands.w.copy()))
    return result if isinstance(result, tuple) else (result,)
