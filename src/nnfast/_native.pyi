from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nnfast.plan import Array

Ids = NDArray[np.int32]

NAMES: Final[str]
TYPES: Final[dict[str, int]]

def isas() -> list[str]: ...
def max_threads() -> int: ...
def lanes(isa: str, is_double: bool) -> int: ...
def peak(isa: str, is_double: bool, seconds: float) -> float: ...
def permutation(order: Array, seed: int, epoch: int) -> None: ...

class Run:
    finite: bool
    @property
    def steps(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def loss(self) -> float: ...
    def __init__(self, isa: str, is_double: bool, *job: Any) -> None: ...
    def prepare(self) -> None: ...
    def advance(self, seconds: float) -> bool: ...
    def restart(self, first_step: int) -> None: ...

class Predictor:
    def __init__(self, run: Run, x: Array, template: Array) -> None: ...
    def __call__(self, x: Array, out: Array | None = None) -> Array: ...

class Plain:
    def __init__(self, isa: str, default_threads: Callable[[], int]) -> None: ...
    def dense_forward(
        self, x: object, w: object, b: object, activation: int, out: object, threads: int | None
    ) -> Array | None: ...
    def dense_backward(
        self,
        x: object,
        w: object,
        y: object,
        dy: object,
        activation: int,
        need_dx: bool,
        threads: int | None,
    ) -> tuple[Array | None, Array, Array] | None: ...
    def sgd_update(self, theta: object, gradient: object, lr: object) -> bool: ...

def dense_forward(
    isa: str,
    is_double: bool,
    x: Array,
    w: Array,
    b: Array | None,
    activation: int,
    out: Array,
    threads: int,
) -> None: ...
def dense_backward(
    isa: str,
    is_double: bool,
    x: Array,
    w: Array,
    y: Array,
    dy: Array,
    activation: int,
    dx: Array | None,
    dw: Array,
    db: Array,
    threads: int,
) -> None: ...
def activation(
    isa: str, is_double: bool, name: int, rows: int, n: int, y: Array, z: Array, threads: int
) -> None: ...
def activation_grad(
    isa: str,
    is_double: bool,
    name: int,
    rows: int,
    n: int,
    dz: Array,
    y: Array,
    dy: Array,
    threads: int,
) -> None: ...
def softmax_cross_entropy(
    isa: str, is_double: bool, losses: Array, dz: Array, z: Array, labels: Array, threads: int
) -> None: ...
def sgd_update(
    isa: str, is_double: bool, theta: Array, gradient: Array, rate: float, threads: int
) -> None: ...
def function(isa: str, is_double: bool, name: int, y: Array, x: Array) -> None: ...
def tile(
    isa: str,
    is_double: bool,
    outer: bool,
    width: int,
    rows: int,
    y: Array,
    x: Array,
    w: Array,
    other: Array | None,
    strides: tuple[int, ...],
    rate: float = 0.0,
) -> None: ...

class CorpusReader:
    @property
    def n_raw_words(self) -> int: ...
    @property
    def n_sentences(self) -> int: ...
    def __init__(self, max_sentence_length: int, max_words: int, seed: int) -> None: ...
    def feed(self, data: memoryview, out: Ids) -> tuple[int, int, bool]: ...
    def finish(self, out: Ids) -> tuple[int, bool]: ...
    def prune(self, least: int) -> Ids: ...
    def words(self) -> list[bytes]: ...
    def counts(self) -> NDArray[np.int64]: ...

def remap_corpus(ids: Ids, places: Ids, is_open: bool) -> tuple[int, int, bool]: ...
