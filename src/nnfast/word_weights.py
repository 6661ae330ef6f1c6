"""What a word2vec model learns: rows of its words and of what predicts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnfast import rng
from nnfast.vocab import Vocabulary
from nnfast.word_job import aligned_rows

Rows = NDArray[np.float32]

_ROWS_OF_A_DRAW = 4_096


@dataclass
class Weights:
    """Padded rows, as `nnfast.word_job.Word2VecJob` takes them.

    Attributes
    ----------
    vocabulary : Vocabulary
    size : int
        Numbers of a vector; what a row has behind them is zero.
    syn0 : ndarray, shape (n_words, stride)
        Vectors of the words.
    syn1neg : ndarray, shape (n_words, stride), or None
        Of the words as outputs, for negative sampling.
    syn1hs : ndarray, shape (n_words - 1, stride), or None
        Of the inner nodes, for hierarchical softmax.
    started : (str, str) or None
        As `nnfast.backups.Started` has it.
    """

    vocabulary: Vocabulary
    size: int
    syn0: Rows
    syn1neg: Rows | None = None
    syn1hs: Rows | None = None
    started: tuple[str, str] | None = None

    @classmethod
    def drawn(cls, vocabulary: Vocabulary, size: int, seed: int) -> Weights:
        """Return initial vectors, uniform in [-1, 1) / size, as gensim's: of seed and row."""
        syn0 = aligned_rows(len(vocabulary), size)
        _draw(syn0, 0, size, seed)
        return cls(vocabulary, size, syn0)

    def grown(self, vocabulary: Vocabulary, seed: int) -> Weights:
        """Return these rows and, behind them, initial ones for the rest of the vocabulary."""
        n = len(vocabulary)
        syn0 = _grown(self.syn0, n, self.size)
        _draw(syn0, len(self.syn0), self.size, seed)
        syn1neg = None if self.syn1neg is None else _grown(self.syn1neg, n, self.size)
        syn1hs = None if self.syn1hs is None else _grown(self.syn1hs, n - 1, self.size)
        return Weights(vocabulary, self.size, syn0, syn1neg, syn1hs)

    def add_outputs(self, negative: bool, hs: bool) -> None:
        """Make the zero rows of outputs that are wanted and not there."""
        n = len(self.vocabulary)
        if negative and self.syn1neg is None:
            self.syn1neg = aligned_rows(n, self.size)
        if hs and self.syn1hs is None:
            self.syn1hs = aligned_rows(max(0, n - 1), self.size)

    @property
    def vectors(self) -> Rows:
        """The vectors without what pads them, a view."""
        return self.syn0[:, : self.size]

    def arrays(self) -> dict[str, Rows]:
        """Return the rows without what pads them, views, by their names in files."""
        named = {"vectors": self.syn0, "syn1neg": self.syn1neg, "syn1": self.syn1hs}
        return {name: rows[:, : self.size] for name, rows in named.items() if rows is not None}


def padded(rows: Rows) -> Rows:
    """Return a copy of rows (n, size) as the kernels take them."""
    return _grown(rows, len(rows), rows.shape[1])


def _grown(rows: Rows, n: int, size: int) -> Rows:
    made = aligned_rows(n, size)
    made[: len(rows), :size] = rows[:, :size]
    return made


def _draw(syn0: Rows, first: int, size: int, seed: int) -> None:
    """Draw the rows from `first` on, each block from a stream of its own."""
    for begin in range(first, len(syn0), _ROWS_OF_A_DRAW):
        rows = syn0[begin : begin + _ROWS_OF_A_DRAW, :size]
        words = rng.words(seed, rng.WEIGHTS, begin, rows.size).reshape(rows.shape)
        rows[...] = ((words >> 40) * 2.0**-23 - 1) / size
