"""One epoch of word2vec as pure data: what a backend's `word2vec` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnfast.vocab import Huffman

CHUNK = 16_384
"""Entries of `ids` in a chunk, which begins a sentence and has its own draws and learning rate."""

Ids = NDArray[np.int32]
Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Word2VecJob:
    """An epoch of word2vec over a corpus of ids.

    Attributes
    ----------
    ids : array of int32, shape (n,)
        Words, and -1 behind each sentence.
    keep : array of uint32, shape (V,)
        A token stays if a random word of 32 bits is at most this.
    syn0 : array of float32, shape (V, stride)
        Vectors of the words; changed in place, as the next two. `stride` is a multiple of 16, and
        what a row has beyond `size` is zero (`aligned_rows`).
    syn1 : array of float32, shape (V, stride), or None
        Of the words as outputs, for negative sampling.
    syn1hs : array of float32, shape (V - 1, stride), or None
        Of the inner nodes, for hierarchical softmax.
    size : int
    noise : (array of uint32, array of int32) or None
        `nnfast.vocab.Vocabulary.noise`, with `negative`.
    huffman : Huffman or None
        With hierarchical softmax. Where both are given, it comes first in each window.
    sg : bool
        Skip-gram, else CBOW.
    window, negative : int
        Most words on each side; noise words against each true one, 0: no negative sampling.
    shrink_windows : bool
        The size of each window is uniform in 1 .. `window`.
    cbow_mean : bool
        CBOW predicts from the mean of the context, else from its sum.
    cbow_grad : {"word2vec", "corrected"}
        "corrected" is the derivative of that. "word2vec" is what gensim does: it divides the
        context's gradient by its size for sums and not for means.
    sharing : {"window", "exact"}
        "window": the words of a window share negatives, all different and none the centre, and all
        is computed from the rows as they were before the window. "exact": each pair has its own
        draws, and is learned before the next is looked at, as in word2vec.c.
    seed, epoch : int
        Key of the draws, with the chunk's number.
    first_chunk : int
        Where to begin.
    alpha, min_alpha : float
        Learning rate at progress 0 and 1, linear between.
    progress : (float, float)
        What this epoch covers.
    compute_loss : bool
    workers : int
        With more than one, rows are shared without locks and bits are not reproducible.

    Raises
    ------
    ValueError
        What would reach outside an array: ids, tables or shapes that do not fit.
    """

    ids: Ids
    keep: NDArray[np.uint32]
    syn0: Rows
    syn1: Rows | None
    syn1hs: Rows | None
    size: int
    noise: tuple[NDArray[np.uint32], Ids] | None
    huffman: Huffman | None
    sg: bool
    window: int
    negative: int
    shrink_windows: bool
    cbow_mean: bool
    cbow_grad: Literal["word2vec", "corrected"]
    sharing: Literal["window", "exact"]
    seed: int
    epoch: int
    first_chunk: int
    alpha: float
    min_alpha: float
    progress: tuple[float, float]
    compute_loss: bool
    workers: int

    def __post_init__(self) -> None:
        n_words = len(self.keep)
        shape = self.syn0.shape
        if self.syn0.ndim != 2 or shape[0] != n_words or shape[1] % 16 or shape[1] < self.size:
            raise ValueError(
                f"syn0: expected shape ({n_words}, a multiple of 16 from {self.size} on), got "
                f"{shape}; make it with aligned_rows"
            )
        _check("ids", self.ids, np.int32, None)
        _check("keep", self.keep, np.uint32, None)
        _check("syn0", self.syn0, np.float32, shape)
        _check_range("ids", self.ids, -1, n_words)
        if self.window < 1 or self.negative < 0 or self.workers < 1 or self.first_chunk < 0:
            raise ValueError(
                "job: expected window and workers from 1, negative and first_chunk from 0 on, got "
                f"{self.window}, {self.workers}, {self.negative} and {self.first_chunk}"
            )
        if self.negative:
            if self.noise is None or self.syn1 is None:
                raise ValueError("negative: expected noise and syn1 with it, got none; give both")
            threshold, alias = self.noise
            _check("syn1", self.syn1, np.float32, shape)
            _check("noise", threshold, np.uint32, (n_words,))
            _check("noise", alias, np.int32, (n_words,))
            _check_range("noise", alias, 0, n_words)
        if self.huffman is not None:
            if self.syn1hs is None:
                raise ValueError("huffman: expected syn1hs with it, got none; give both")
            _check("syn1hs", self.syn1hs, np.float32, (n_words - 1, shape[1]))
            _check_paths(self.huffman, n_words)
        elif not self.negative:
            raise ValueError("job: expected negative or huffman, got neither; give one of them")

    @property
    def n_chunks(self) -> int:
        """Chunks of the epoch."""
        return -(-self.ids.size // CHUNK)


def aligned_rows(n: int, size: int) -> Rows:
    """Return zeros of shape (n, `size` rounded up to a multiple of 16), aligned to 64 bytes.

    They lie in memory of their own, in huge pages where the system has them for the asking.
    """
    import contextlib
    import mmap

    stride = -(-size // 16) * 16
    if n * stride == 0:
        return np.zeros((n, stride), np.float32)
    private = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
    settings = {"flags": private} if private else {}
    try:
        memory = mmap.mmap(-1, 4 * n * stride, **settings)
    except (OSError, OverflowError):
        raise MemoryError(
            f"vectors: expected {4 * n * stride:,} bytes for {n:,} rows of {size:,} numbers, which "
            "the system does not have; lower vector_size, or raise min_count"
        ) from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.float32).reshape(n, stride)


def _check(name: str, array: NDArray[np.generic], dtype: type, shape: object) -> None:
    wanted = array.shape if shape is None else shape
    if array.dtype != dtype or array.shape != wanted or not array.flags.c_contiguous:
        raise ValueError(
            f"{name}: expected a C-contiguous {np.dtype(dtype).name} array of shape {wanted}, got "
            f"{array.dtype.name} of shape {array.shape} and strides {array.strides}"
        )


def _check_range(name: str, array: Ids, low: int, end: int) -> None:
    if array.size and not low <= array.min() <= array.max() < end:
        raise ValueError(
            f"{name}: expected from {low} to {end - 1}, got {array.min()} to {array.max()}; encode "
            "the corpus with the vocabulary that the rows are of"
        )


def _check_paths(huffman: Huffman, n_words: int) -> None:
    offsets, points = huffman.offsets, huffman.points
    _check("offsets", offsets, np.int64, (n_words + 1,))
    _check("points", points, np.int32, huffman.codes.shape)
    _check("codes", huffman.codes, np.uint8, points.shape)
    _check_range("points", points, 0, n_words - 1)
    if offsets[0] != 0 or offsets[-1] != points.size or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets: expected ascending from 0 to {points.size}, got others")
