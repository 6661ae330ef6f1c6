from collections.abc import Callable
from typing import Any, Final, Literal

from nnfast.plan import Array

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
    def __init__(
        self, isa: str, codes: dict[str, int], default_threads: Callable[[], int]
    ) -> None: ...
    def dense_forward(
        self, x: object, w: object, b: object, activation: str, out: object, threads: int | None
    ) -> Array | None: ...
    def dense_backward(
        self,
        x: object,
        w: object,
        y: object,
        dy: object,
        activation: str,
        need_dx: bool,
        threads: int | None,
    ) -> tuple[Array | None, Array, Array] | None: ...
    def sgd_update(self, theta: object, gradient: object, lr: object) -> Literal[True] | None: ...

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
