from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnfast.vocab import Huffman

CHUNK = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Word2VecJob:
    ids: Any
    keep: Any
    syn0: Any
    syn1: Any
    syn1hs: Any
    size: int
    noise: Any
    huffman: Huffman | None
    sg: bool
    window: int
    negative: int
    shrink_windows: bool
    cbow_mean: bool
    cbow_grad: str
    sharing: str
    seed: int
    epoch: int
    first_chunk: int
    alpha: float
    min_alpha: float
    progress: tuple[float, float]
    compute_loss: bool
    workers: int


def aligned_rows(n: int, size: int) -> Any:
    stride = -(-size // 16) * 16
    return np.zeros((n, stride), np.float32)
