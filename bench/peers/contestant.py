"""What a contestant is, and what their makers share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Array

PLAIN = ("", "dropout")
"""Layers that leave the forward pass outside training as it was."""


@dataclass
class Contestant:
    """Work that is ready to run.

    `run` does a round; what it returns, if a number, is the measure in place of the wall time, if a
    dictionary, the seconds of each case (of "quality", its scores). `theta` gives the parameters
    now, where there are more than those of dense layers `logits` the outputs of test rows;
    `outputs` those of the rows that were asked for.
    """

    run: Callable[[], Any]
    theta: Callable[[], Array] | None = None
    logits: Callable[[Array], Array] | None = None
    outputs: Callable[[], Array] | None = None
    peak: Callable[[], float] | None = None
    score: Callable[[], dict[str, float]] | None = None
    held: float | None = None  # MiB
    threads: int = 1
    version: str = ""


def calls(one: Callable[[Any], Any], x: Any, n: int) -> dict[str, Any]:
    """A round of `n` calls with one row, and the outputs for that row."""

    def run() -> None:
        for _ in range(n):
            one(x)

    return {"run": run, "outputs": lambda: np.asarray(one(x)).reshape(1, -1)}


def batches(predict: Callable[[], Any]) -> dict[str, Any]:
    """A round of one call with all rows, and its outputs."""
    return {"run": predict, "outputs": lambda: np.asarray(predict())}


def best_threads(choose: Callable[[int], object], run: Callable[[], object]) -> int:
    """Of 1, 2, 4 ... threads the number with which `run` is fastest; it is chosen."""
    seconds = {}
    count = 1
    while count <= len(os.sched_getaffinity(0)):
        choose(count)
        run()
        seconds[count] = min(_seconds(run) for _ in range(3))
        count *= 2
    best = min(seconds, key=lambda n: seconds[n])
    choose(best)
    return best


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
