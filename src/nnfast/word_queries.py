"""What a model says: likely words, how likely a sentence is, classes of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnfast.vocab import Huffman

Rows = NDArray[np.float32]

_ROWS_OF_A_PRODUCT = 8192


def output_probabilities(
    syn0: Rows, syn1neg: Rows, context: Sequence[int], mean: bool
) -> NDArray[np.float64]:
    """Return p(word | context) of each word: softmax of CBOW's hidden vector times the outputs."""
    hidden = syn0[list(context)].sum(axis=0)
    if mean:
        hidden /= len(context)
    scores = (syn1neg @ hidden).astype(np.float64)
    likely: NDArray[np.float64] = np.exp(scores - scores.max())
    likely /= likely.sum()
    return likely


def log_likelihood(
    syn0: Rows,
    syn1: Rows,
    huffman: Huffman,
    ids: Sequence[int],
    window: int,
    sg: bool,
    mean: bool,
) -> float:
    """Return the log likelihood of a sentence by hierarchical softmax.

    The sum, over words and their whole windows, of log p(word | one word of the window) with `sg`,
    of log p(word | window) without (Taddy, arXiv 1504.07295).
    """
    total = 0.0
    for place, word in enumerate(ids):
        context = [*ids[max(0, place - window) : place], *ids[place + 1 : place + 1 + window]]
        if not context:
            continue
        path = slice(*huffman.offsets[word : word + 2])
        signs = 1.0 - 2.0 * huffman.codes[path]
        inputs = syn0[context]
        if not sg:
            inputs = inputs.mean(axis=0) if mean else inputs.sum(axis=0)
        scores = (inputs @ syn1[huffman.points[path]].T).astype(np.float64) * signs
        total -= float(np.logaddexp(0.0, -scores).sum())
    return total


def classes(vectors: Rows, n_classes: int, rounds: int = 10) -> NDArray[np.int64]:
    """Return the class of each vector by spherical k-means, shape (n,), as word2vec.c finds it.

    Classes begin as row number modulo `n_classes`; a vector goes to the centre, scaled to length 1,
    with which its product is largest.
    """
    labels = np.arange(len(vectors)) % n_classes
    for _ in range(rounds):
        centres = np.zeros((n_classes, vectors.shape[1]))
        np.add.at(centres, labels, vectors)
        lengths = np.linalg.norm(centres, axis=1, keepdims=True)
        directions = (centres / np.where(lengths == 0, 1, lengths)).astype(np.float32)
        for first in range(0, len(vectors), _ROWS_OF_A_PRODUCT):
            rows = slice(first, first + _ROWS_OF_A_PRODUCT)
            labels[rows] = (vectors[rows] @ directions.T).argmax(axis=1)
    return labels
