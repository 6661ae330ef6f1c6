"""Word vectors: look-up, similarity, analogies, files. gensim's names and meanings.

Formulas are on cosines: cos(a, b) = a b / (|a| |b|), 0 where a vector is zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Key = str | int
"""A word; or another label, or a row's number where no key equals it."""

Item = Key | Array | tuple[Key | Array, float]
"""What `most_similar` adds up: a key or a vector, with a weight or without."""

_SINGLE = (str, int, np.integer)


class KeyedVectors:
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

    def __init__(
        self, words: Sequence[Key], vectors: ArrayLike, counts: ArrayLike | None = None
    ) -> None:
        self.index_to_key: list[Key] = list(words)
        self.key_to_index: dict[Key, int] = {key: i for i, key in enumerate(self.index_to_key)}
        if len(self.key_to_index) < len(self.index_to_key):
            twice = next(k for i, k in enumerate(words) if self.key_to_index[k] != i)
            raise ValueError(f"words: expected each once, got {twice!r} twice; leave one out")
        self.expandos: dict[str, Array] = {}
        self.vectors = vectors
        if counts is not None:
            self.expandos["count"] = self._column("counts", counts).astype(np.int64)

    @property
    def vectors(self) -> Array:
        """The vectors, (n, vector_size)."""
        return self._vectors

    @vectors.setter
    def vectors(self, vectors: ArrayLike) -> None:
        array = np.asarray(vectors)
        if array.ndim != 2 or len(array) != len(self):
            raise ValueError(
                f"vectors: expected shape ({len(self)}, vector_size), a row a word, "
                f"got {array.shape}"
            )
        self._vectors = array if array.dtype.kind == "f" else array.astype(np.float32)
        self.norms: Array | None = None

    @property
    def vector_size(self) -> int:
        """Numbers in a vector."""
        return int(self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return self._find(key) >= 0

    def __repr__(self) -> str:
        return f"KeyedVectors<vector_size={self.vector_size}, {len(self)} keys>"

    def __getitem__(self, keys: Key | Iterable[Key]) -> Array:
        """Return the vector of a key, (vector_size,), or of several, (n, vector_size)."""
        if isinstance(keys, _SINGLE):
            return self.get_vector(keys)
        return cast(Array, self._vectors[[self.get_index(key) for key in keys]])

    def __setitem__(self, keys: Key | Sequence[Key], vectors: ArrayLike) -> None:
        """Set the vectors of keys, old or new."""
        self.add_vectors(keys, vectors, replace=True)

    # --- rows -------------------------------------------------------------------------------------

    def get_index(self, key: Key, default: int | None = None) -> int:
        """Return the row of a key; `default`, or without one KeyError, if there is none."""
        index = self._find(key)
        if index >= 0:
            return index
        if default is None:
            raise self._unknown(key)
        return default

    def has_index_for(self, key: Key) -> bool:
        """Whether the key has a vector."""
        return key in self

    def get_vector(self, key: Key, norm: bool = False) -> Array:
        """Return the vector of a key, of length 1 if `norm`; read-only.

        Raises
        ------
        KeyError
            The key has no vector.
        """
        index = self.get_index(key)
        vector = self._vectors[index]
        if norm:
            vector = vector / self._lengths()[index]
        vector.setflags(write=False)
        return vector

    def get_normed_vectors(self) -> Array:
        """Return all vectors, each of length 1; a new array, (n, vector_size)."""
        return cast(Array, self._vectors / self._lengths()[:, None])

    def fill_norms(self, force: bool = False) -> None:
        """Compute `norms`, with `force` even if they are there."""
        if self.norms is None or force:
            norms = np.sqrt(np.einsum("ij,ij->i", self._vectors, self._vectors))
            norms[norms == 0] = 1
            self.norms = norms

    def get_mean_vector(
        self,
        keys: Sequence[Key | Array] | Array,
        weights: ArrayLike | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> Array:
        """Return the weighted mean of vectors: sum of w v over sum of abs(w).

        Parameters
        ----------
        keys
            Keys, or vectors, which are taken as they are.
        weights : array_like, shape (n,), optional
            1 each, if not given.
        pre_normalize
            Take the vectors of keys of length 1.
        post_normalize
            Scale the mean to length 1.
        ignore_missing
            Pass over keys that have no vector.

        Raises
        ------
        ValueError
            No keys, or not as many weights as keys.
        KeyError
            A key has no vector, and `ignore_missing` is False.
        """
        if len(keys) == 0:
            raise ValueError("keys: expected at least one key or vector to take the mean of, got 0")
        scales = np.ones(len(keys)) if weights is None else np.asarray(weights, np.float64)
        if scales.shape != (len(keys),):
            raise ValueError(
                f"weights: expected one for each of {len(keys)} keys, got shape {scales.shape}"
            )
        total, mean = 0.0, np.zeros(self.vector_size, self._vectors.dtype)
        for key, weight in zip(keys, scales.tolist(), strict=True):
            if isinstance(key, np.ndarray):
                vector = self._fitting(key)
            elif key in self or not ignore_missing:
                vector = self.get_vector(key, norm=pre_normalize)
            else:
                continue
            mean += weight * vector
            total += abs(weight)
        if total > 0:
            mean /= total
        return _unit(mean) if post_normalize else mean

    def add_vector(self, key: Key, vector: ArrayLike) -> int:
        """Add a vector and return its row; a key that is there keeps its own.

        One at a time copies all of them each time: `add_vectors` adds many at once.
        """
        self.add_vectors([key], np.asarray(vector)[None])
        return self.get_index(key)

    def add_vectors(
        self,
        keys: Key | Sequence[Key],
        weights: ArrayLike,
        extras: dict[str, ArrayLike] | None = None,
        replace: bool = False,
    ) -> None:
        """Add vectors at the end.

        Parameters
        ----------
        keys
            One key, or n.
        weights : array_like, shape (vector_size,) or (n, vector_size)
            Their vectors.
        extras : dict of array_like, shape (n,), optional
            Their attributes; one that is not given is 0.
        replace
            Keys that are there get the new vectors; else they keep their own.

        Raises
        ------
        ValueError
            The shapes do not fit.
        """
        listed: list[Key] = [keys] if isinstance(keys, _SINGLE) else list(keys)
        rows = np.asarray(weights, self._vectors.dtype)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.shape != (len(listed), self.vector_size):
            raise ValueError(
                f"weights: expected shape ({len(listed)}, {self.vector_size}), a row a key, "
                f"got {np.shape(weights)}"
            )
        new, old = [], []
        for i, key in enumerate(listed):
            if key not in self.key_to_index:
                self.key_to_index[key] = len(self.index_to_key)
                self.index_to_key.append(key)
                new.append(i)
            elif replace:
                old.append(i)
        places = [self.key_to_index[listed[i]] for i in old]
        vectors = np.concatenate([self._vectors, rows[new]])
        vectors[places] = rows[old]
        self.vectors = vectors
        given = {name: np.asarray(extra) for name, extra in (extras or {}).items()}
        for name in {**self.expandos, **given}:
            extra = given.get(name, np.zeros(len(listed), np.int64))
            values = self.expandos.get(name, np.zeros(0, extra.dtype))
            column = np.zeros(len(self), values.dtype)
            column[: len(values)] = values
            column[len(self) - len(new) :] = extra[new]
            if name in given:
                column[places] = extra[old]
            self.expandos[name] = column

    def get_vecattr(self, key: Key, attr: str) -> Any:
        """Return an attribute of a key, for example its "count"; KeyError if there is none."""
        if attr not in self.expandos:
            names = ", ".join(map(repr, self.expandos)) or "none"
            raise KeyError(f"attribute {attr!r}: expected one that was set ({names})")
        return self.expandos[attr][self.get_index(key)]

    def set_vecattr(self, key: Key, attr: str, val: Any) -> None:
        """Set an attribute of a key; a new one is 0 (a text: None) for all other keys."""
        index = self.get_index(key)
        if attr not in self.expandos:
            dtype = np.asarray(val).dtype
            plain = np.dtype(object) if dtype.kind in "US" else dtype
            self.expandos[attr] = np.full(len(self), None if plain.kind == "O" else 0, plain)
        column = self.expandos[attr]
        if not np.can_cast(np.asarray(val).dtype, column.dtype, "same_kind"):
            raise TypeError(f"attribute {attr!r}: expected {column.dtype}, got {val!r:.100}")
        column[index] = val

    # --- the nearest ------------------------------------------------------------------------------

    def most_similar(
        self,
        positive: Item | Sequence[Item] | None = None,
        negative: Item | Sequence[Item] | None = None,
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
            A tuple (key, weight) has its own weight, with its sign, in place of 1 or -1.
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
            vectors = [
                self._fitting(item) if isinstance(item, np.ndarray) else self.get_vector(item, True)
                for item in items
            ]
            cosines = self._vectors[rows] @ np.array(vectors).T / self._lengths()[rows, None]
            return cast(Array, np.prod((1 + cosines) / 2, axis=1))

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
        similarities = vectors @ _unit(vectors.mean(axis=0))
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
        means = (_unit(self.get_mean_vector(words, pre_normalize=False)) for words in (ws1, ws2))
        return float(next(means) @ next(means))

    @staticmethod
    def cosine_similarities(vector_1: Array, vectors_all: Array) -> Array:
        """Return the cosines of a vector, (size,), with each of others, (n, size): (n,)."""
        lengths = np.linalg.norm(vector_1) * np.linalg.norm(vectors_all, axis=1)
        return cast(Array, vectors_all @ vector_1 / np.where(lengths == 0, 1, lengths))

    def distances(self, word_or_vector: Key | Array, other_words: Sequence[Key] = ()) -> Array:
        """Return 1 - cosine of a key's vector, or of a vector, with each of others.

        Parameters
        ----------
        word_or_vector
            A key, or a vector (vector_size,).
        other_words
            Keys; all rows, if empty.

        Raises
        ------
        KeyError
            A key has no vector.
        """
        if isinstance(word_or_vector, _SINGLE):
            vector = self.get_vector(word_or_vector)
        else:
            vector = self._fitting(word_or_vector)
        rows = [self.get_index(word) for word in other_words] or slice(None)
        cosines = self._vectors[rows] @ _unit(vector) / self._lengths()[rows]
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

    # --- inside -----------------------------------------------------------------------------------

    def _find(self, key: Any) -> int:
        """The row of a key, -1 if there is none."""
        index = self.key_to_index.get(key, -1)
        if index < 0 and isinstance(key, int | np.integer) and 0 <= key < len(self):
            return int(key)
        return index

    def _unknown(self, key: object) -> KeyError:
        """The error for a key without a vector; its hint is cheap, for loops that catch it."""
        hint = ""
        if isinstance(key, str):
            others = (key.lower(), key.title(), key.upper(), key.strip().replace(" ", "_"))
            near = next((other for other in others if other in self.key_to_index), None)
            hint = f"; did you mean {near!r}?" if near is not None else ""
        return KeyError(f"{key!r:.100} is none of the {len(self)} keys that have vectors{hint}")

    def _fitting(self, vector: Array) -> Array:
        if np.shape(vector) != (self.vector_size,):
            raise ValueError(
                f"vector: expected shape ({self.vector_size},), got {np.shape(vector)}"
            )
        return vector

    def _lengths(self) -> Array:
        self.fill_norms()
        return cast(Array, self.norms)

    def _column(self, name: str, values: ArrayLike) -> Array:
        column = np.asarray(values)
        if column.shape != (len(self),):
            raise ValueError(
                f"{name}: expected one for each of {len(self)} words, got shape {column.shape}"
            )
        return column

    def _named(self, scores: Array, topn: int | None, given: list[Any], start: int) -> Any:
        """The keys of the highest scores, without those given; all scores if topn is None."""
        if topn is None:
            return scores
        rows = {self._find(key) for key in given if isinstance(key, _SINGLE)}
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
    if isinstance(items, _SINGLE) or (isinstance(items, np.ndarray) and items.ndim == 1):
        return [items]
    return list(items)


def _unit(vector: Array) -> Array:
    """The vector, of length 1; a zero vector stays one."""
    return vector / (np.linalg.norm(vector) or 1)
