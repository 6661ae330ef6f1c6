"""Rows of numbers by key: look-up, norms, means, attributes. gensim's names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Key = str | int
"""A word; or another label, or a row's number where no key equals it."""

SINGLE = (str, int, np.integer)
"""Types of keys."""


class KeyedRows:
    """A key for each row of an array: what `KeyedVectors` is made of, which documents it."""

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
        array = _array("vectors", vectors)
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
        if isinstance(keys, SINGLE):
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
        vector: Array = self._vectors[index]
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
            dtype = np.result_type(self._vectors, np.float32)  # float16 would overflow
            norms = np.sqrt(np.einsum("ij,ij->i", self._vectors, self._vectors, dtype=dtype))
            norms[norms == 0] = 1
            self.norms = norms

    def unit_normalize_all(self) -> None:
        """Scale all vectors to length 1; what they were is lost."""
        self.vectors = self.get_normed_vectors()

    def init_sims(self, replace: bool = False) -> None:
        """Do nothing, or with `replace` `unit_normalize_all`: for scripts of gensim 3."""
        if replace:
            self.unit_normalize_all()

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
        return unit(mean) if post_normalize else mean

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
        listed: list[Key] = [keys] if isinstance(keys, SINGLE) else list(keys)
        rows = _array("weights", weights).astype(self._vectors.dtype, copy=False)
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


def _array(name: str, rows: ArrayLike) -> Array:
    try:
        return np.asarray(rows)
    except ValueError as error:
        raise ValueError(f"{name}: expected rows of numbers, all of one size: {error}") from None


def unit(vector: Array) -> Array:
    """Return the vector, of length 1; a zero vector stays one."""
    wide = vector.astype(np.result_type(vector, np.float32), copy=False)  # float16 would overflow
    return wide / (np.linalg.norm(wide) or 1)
