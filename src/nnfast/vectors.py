"""Word vectors: the nearest, similarity, analogies. gensim's names and meanings.

Formulas are on cosines: cos(a, b) = a b / (|a| |b|), 0 where a vector is zero.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nnfast.keyed_rows import SINGLE, Array, Key, unit
from nnfast.stored_rows import StoredRows

if TYPE_CHECKING:
    from nnfast.word_pairs import Correlation

Item = Key | Array | tuple[Key | Array, float]
"""What `most_similar` adds up: a key or a vector, with a weight or without."""


class KeyedVectors(StoredRows):
    """Vectors of words, or of other keys.

    Parameters
    ----------
    words
        The keys, each once: strings, or integers (nodes, items).
    vectors : array_like, shape (n, vector_size)
        Their vectors. An array of floats is used as it is, not copied.
    counts : array_like of int, shape (n,), optional
        How often each word occurs: the attribute "count".

    Attributes
    ----------
    index_to_key : list
        The key of each row.
    key_to_index : dict
        The row of each key.
    vectors : ndarray, shape (n, vector_size)
        Assigning another array of n rows forgets the norms; after a change within it,
        call `fill_norms` with force.
    norms : ndarray, shape (n,), or None
        The length of each vector, 1 for a zero vector; None until it is needed.
    expandos : dict
        Further arrays of n values by name: see `get_vecattr`.

    Raises
    ------
    ValueError
        As many words as vectors were expected, each once.

    Notes
    -----
    Names and meanings are those of gensim 4 (gensim.models.KeyedVectors), whose constructor alone
    differs. Where a zero vector gives NaN there, a similarity is 0 here.
    """

    # --- the nearest ------------------------------------------------------------------------------

    def most_similar(
        self,
        positive: Key | Array | Sequence[Item] | None = None,
        negative: Key | Array | Sequence[Item] | None = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
    ) -> Any:
        """Return the keys nearest to a sum of vectors: "king" - "man" + "woman" is near "queen".

        Parameters
        ----------
        positive, negative
            Keys to add and to subtract, each of length 1; or vectors, as they are; one or a list.
            In a list, a tuple (key, weight) has its own weight, with its sign, in place of 1 or -1.
        topn
            How many; None returns the cosines of all.
        clip_start, clip_end
            Look at these rows only.
        restrict_vocab
            Look at the first so many rows only: the most frequent words, where rows are sorted so.

        Returns
        -------
        list of (key, cosine), nearest first, without the keys that were given; or, if `topn` is
        None, ndarray of the cosines, (rows,)

        Raises
        ------
        KeyError
            A key has no vector.
        ValueError
            No keys, or a vector of another size.
        """
        if topn is not None and topn < 1:
            return []
        signed = [(item, 1.0) for item in _listed(positive)]
        signed += [(item, -1.0) for item in _listed(negative)]
        pairs = [item if isinstance(item, tuple) else (item, sign) for item, sign in signed]
        keys = [key for key, _ in pairs]
        mean = self.get_mean_vector(keys, [w for _, w in pairs], True, True, ignore_missing=False)
        rows = slice(clip_start, clip_end or len(self))
        if restrict_vocab:
            rows = slice(0, restrict_vocab)
        cosines = self._vectors[rows] @ mean / self._lengths()[rows]
        return self._named(cosines, topn, keys, rows.start)

    def similar_by_word(
        self, word: Key, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Any:
        """Return the keys nearest to a key: see `most_similar`."""
        return self.most_similar([word], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_key(
        self, key: Key, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Any:
        """Return the keys nearest to a key: see `most_similar`."""
        return self.most_similar([key], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_vector(
        self, vector: Array, topn: int | None = 10, restrict_vocab: int | None = None
    ) -> Any:
        """Return the keys nearest to a vector, (vector_size,): see `most_similar`."""
        return self.most_similar([vector], topn=topn, restrict_vocab=restrict_vocab)

    def most_similar_cosmul(
        self,
        positive: Key | Array | Sequence[Key | Array] | None = None,
        negative: Key | Array | Sequence[Key | Array] | None = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> Any:
        """Return the keys nearest to all of `positive` and far from `negative`, by a product.

        The score is the product of (1 + cos) / 2 over `positive`, divided by that over `negative`
        plus 1e-6, so that no single cosine decides: 3CosMul of Levy and Goldberg, "Linguistic
        Regularities in Sparse and Explicit Word Representations" (2014), equation 4.

        Parameters and results are those of `most_similar`, without weights.
        """
        if topn is not None and topn < 1:
            return []
        added, taken = _listed(positive), _listed(negative)
        if not added:
            raise ValueError("positive: expected at least one key or vector, got none")
        rows = slice(0, restrict_vocab or len(self))

        def product(items: list[Any]) -> Array:
            factors = []
            for item in items:
                single = isinstance(item, np.ndarray)
                vector = self._fitting(item) if single else self.get_vector(item, norm=True)
                factors.append((1 + self._vectors[rows] @ vector / self._lengths()[rows]) / 2)
            return cast(Array, np.prod(factors, axis=0))

        scores = product(added)
        if taken:
            scores = scores / (product(taken) + 1e-6)
        return self._named(scores, topn, added + taken, 0)

    def rank_by_centrality(
        self, words: Sequence[Key], use_norm: bool = True
    ) -> list[tuple[float, Key]]:
        """Return (similarity, key), the key nearest to the mean of all first.

        Parameters
        ----------
        words
            Keys; one without a vector is passed over with a warning.
        use_norm
            Take vectors of length 1.

        Raises
        ------
        ValueError
            No key has a vector.
        """
        known = [word for word in words if word in self]
        if len(known) < len(words):
            unknown = [word for word in words if word not in self]
            warnings.warn(
                f"words: expected words of the vocabulary, got {unknown!r:.200}, which are "
                "passed over",
                UserWarning,
                stacklevel=3,
            )
        if not known:
            raise ValueError("words: expected at least one word of the vocabulary, got none")
        vectors = np.array([self.get_vector(word, norm=use_norm) for word in known])
        similarities = vectors @ unit(vectors.mean(axis=0))
        return sorted(zip(similarities.tolist(), known, strict=True), reverse=True)

    def doesnt_match(self, words: Sequence[Key]) -> Key:
        """Return the key that is farthest from the mean of all: see `rank_by_centrality`."""
        return self.rank_by_centrality(words)[-1][1]

    # --- similarities -----------------------------------------------------------------------------

    def similarity(self, w1: Key, w2: Key) -> float:
        """Return the cosine of two keys' vectors."""
        return float(self.get_vector(w1, norm=True) @ self.get_vector(w2, norm=True))

    def distance(self, w1: Key, w2: Key) -> float:
        """Return 1 - cosine of two keys' vectors."""
        return 1 - self.similarity(w1, w2)

    def n_similarity(self, ws1: Sequence[Key], ws2: Sequence[Key]) -> float:
        """Return the cosine of the mean vectors of two sets of keys.

        Keys without a vector are passed over, and vectors are not scaled before the mean.

        Raises
        ------
        ZeroDivisionError
            A set is empty.
        """
        if not (len(ws1) and len(ws2)):
            raise ZeroDivisionError("ws1, ws2: expected at least one word in each, got none in one")
        means = (unit(self.get_mean_vector(words, pre_normalize=False)) for words in (ws1, ws2))
        return float(next(means) @ next(means))

    @staticmethod
    def cosine_similarities(vector_1: Array, vectors_all: Array) -> Array:
        """Return the cosines of a vector, (size,), with each of others, (n, size): (n,)."""
        lengths = np.linalg.norm(vector_1) * np.linalg.norm(vectors_all, axis=1)
        return cast(Array, vectors_all @ vector_1 / np.where(lengths == 0, 1, lengths))

    def distances(
        self, word_or_vector: Key | Array, other_words: Sequence[Key] | None = None
    ) -> Array:
        """Return 1 - cosine of a key's vector, or of a vector, with each of others.

        Parameters
        ----------
        word_or_vector
            A key, or a vector (vector_size,).
        other_words
            Keys; all rows, if None or empty.

        Raises
        ------
        KeyError
            A key has no vector.
        """
        if isinstance(word_or_vector, SINGLE):
            vector = self.get_vector(word_or_vector)
        else:
            vector = self._fitting(word_or_vector)
        others = () if other_words is None else other_words
        rows = [self.get_index(word) for word in others] or slice(None)
        cosines = self._vectors[rows] @ unit(vector) / self._lengths()[rows]
        return cast(Array, 1 - cosines)

    def closer_than(self, key1: Key, key2: Key) -> list[Key]:
        """Return the keys that are closer to `key1` than `key2` is."""
        distances = self.distances(key1)
        closer = np.flatnonzero(distances < distances[self.get_index(key2)])
        itself = self.get_index(key1)
        return [self.index_to_key[row] for row in closer.tolist() if row != itself]

    def rank(self, key1: Key, key2: Key) -> int:
        """Return the place of `key2` among all keys by their distance from `key1`, from 1."""
        return len(self.closer_than(key1, key2)) + 1

    def most_similar_to_given(self, key1: Key, keys_list: Sequence[Key]) -> Key:
        """Return the key of a list that is most similar to `key1`."""
        return keys_list[int(np.argmin(self.distances(key1, keys_list)))]

    # --- how good they are ------------------------------------------------------------------------

    def evaluate_word_analogies(
        self,
        analogies: str | os.PathLike[str],
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[float, list[dict[str, Any]]]:
        """Score the vectors on questions "a is to b as c is to ...".

        Parameters
        ----------
        analogies
            A file like word2vec's questions-words.txt: four words a line, in sections that begin
            with a line ": name". May be compressed.
        restrict_vocab
            Know the first so many words only.
        case_insensitive
            Compare words in capitals; the first row of those that are equal stands for all.
        dummy4unknown
            Count questions with unknown words as wrong; else they do not count.

        Returns
        -------
        score : float
            The share of right answers.
        sections : list of dict
            "section", "correct" and "incorrect" of each, questions as four words; the last one,
            "Total accuracy", has all.

        Raises
        ------
        FormatError
            No questions in the file.
        """
        from nnfast import analogies as task

        sections = task.read_questions(analogies, case_insensitive)
        words, vectors = self._first(restrict_vocab)
        return task.evaluate(words, vectors, sections, case_insensitive, dummy4unknown)

    def evaluate_word_pairs(
        self,
        pairs: str | os.PathLike[str],
        delimiter: str = "\t",
        encoding: str = "utf8",
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[Correlation, Correlation, float]:
        """Correlate cosines with people's judgments of how alike two words are.

        Parameters
        ----------
        pairs
            A file like wordsim353.tsv: two words and a number a line; "#" begins a comment. May be
            compressed.
        delimiter, encoding
            Of the file.
        restrict_vocab, case_insensitive
            See `evaluate_word_analogies`.
        dummy4unknown
            Give pairs with unknown words the cosine 0; else they do not count.

        Returns
        -------
        pearson, spearman : Correlation
            (statistic, pvalue).
        oov_ratio : float
            Percent of pairs with unknown words.

        Raises
        ------
        ValueError
            No pair of known words.
        """
        from nnfast import word_pairs as task
        from nnfast.analogies import first_rows

        read = task.read_pairs(pairs, delimiter, encoding, case_insensitive)
        words, vectors = self._first(restrict_vocab)
        return task.evaluate(first_rows(words, case_insensitive), vectors, read, dummy4unknown)

    # --- a picture --------------------------------------------------------------------------------

    def plot(self, words: Sequence[Key], path: str | os.PathLike[str] | None = None) -> Any:
        """Draw words on the plane on which their vectors, of length 1, differ most.

        The axes are the first two principal components of these words.

        Parameters
        ----------
        words
            At least two.
        path
            A file to write the picture to; its name's end is the format.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        KeyError
            A word has no vector.
        ModuleNotFoundError
            matplotlib is not there.
        ValueError
            Fewer than two words, or the name ends in no format.
        """
        from nnfast import plots

        if isinstance(words, SINGLE) or len(words) < 2:
            raise ValueError(f"words: expected a list of at least two words, got {words!r:.100}")
        rows = np.array([self.get_vector(word, norm=True) for word in words], np.float64)
        rows -= rows.mean(axis=0)
        rows = np.column_stack([rows, np.zeros(len(rows))])  # two components of one dimension, too
        left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
        points = left[:, :2] * sizes[:2]
        shares = sizes[:2] ** 2 / (np.sum(sizes**2) or 1)
        return plots.plot_words([str(word) for word in words], points, shares, path)

    # --- inside -----------------------------------------------------------------------------------

    def _first(self, restrict_vocab: int | None) -> tuple[list[Key], Array]:
        """The first keys and their vectors, of length 1 and at least float32."""
        rows = slice(restrict_vocab)
        return self.index_to_key[rows], self._vectors[rows] / self._lengths()[rows, None]

    def _named(self, scores: Array, topn: int | None, given: list[Any], start: int) -> Any:
        """The keys of the highest scores, without those given; all scores if topn is None."""
        if topn is None:
            return scores
        rows = {self._find(key) for key in given if isinstance(key, SINGLE)}
        most = topn + len(rows)
        best = np.arange(len(scores))
        if most < len(scores):
            best = np.sort(np.argpartition(-scores, most)[:most])
        best = best[np.argsort(-scores[best], kind="stable")]
        found = [(row + start, row) for row in best.tolist() if row + start not in rows]
        return [(self.index_to_key[place], float(scores[row])) for place, row in found[:topn]]


def _listed(items: Any) -> list[Any]:
    """A list of keys, vectors or weighted ones, of one of them or of several."""
    if items is None:
        return []
    if isinstance(items, SINGLE) or (isinstance(items, np.ndarray) and items.ndim == 1):
        return [items]
    return list(items)
