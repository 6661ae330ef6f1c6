"""Models of word2vec as safetensors: settings, words and rows; no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast.formats import FormatError, safetensors

_METADATA = "nnfast.word2vec"
_ROWS = ("vectors", "syn1neg", "syn1")


def save(
    path: str | os.PathLike[str],
    facts: Mapping[str, Any],
    words: Sequence[Any],
    counts: NDArray[np.int64],
    rows: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    path
    facts
        JSON values by name.
    words
        All str or all int.
    counts : ndarray, shape (n_words,)
    rows
        "vectors", and "syn1neg" or "syn1" where they are there.

    Raises
    ------
    TypeError
        Other words.
    OSError
        The file cannot be written; an older one stays as it was.
    """
    tensors = {**rows, **packed(words), "counts": counts}
    safetensors.save(path, tensors, {_METADATA: json.dumps(facts)})


def load(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], tuple[Any, ...], NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """Return what `save` was given; FormatError for any other file."""
    try:
        tensors, metadata = safetensors.load(path)
        facts = json.loads(metadata[_METADATA])
        words, counts = unpacked(tensors), tensors["counts"]
        size = tensors["vectors"].shape[1]
    except FormatError as error:
        raise FormatError(
            f"{error}; expected a model that nnfast.Word2Vec.save wrote. Of a model of gensim, "
            "save the vectors with model.wv.save_word2vec_format"
        ) from None
    except (KeyError, IndexError, ValueError) as error:
        raise FormatError(
            f"{os.fspath(path)}: expected a model that nnfast.Word2Vec.save wrote, got another "
            f"safetensors file ({type(error).__name__}: {error})"
        ) from None
    rows = {name: tensors[name] for name in _ROWS if name in tensors}
    expected = {name: (len(words) - (name == "syn1"), size) for name in rows}
    shapes = {name: array.shape for name, array in rows.items()}
    kinds = {array.dtype for array in rows.values()}
    if shapes != expected or counts.shape != (len(words),) or kinds != {np.dtype(np.float32)}:
        raise FormatError(
            f"{os.fspath(path)}: expected float32 rows {expected}, got {shapes}, "
            f"{', '.join(map(str, kinds))}, and {counts.size} counts; the file is damaged"
        )
    return facts, words, counts, rows


def packed(words: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Return words as arrays."""
    if words and all(isinstance(word, int | np.integer) for word in words):
        return {"words": np.array(words, np.int64)}
    if not all(isinstance(word, str) for word in words):
        raise TypeError("words: expected all str or all int, got others; rename them before saving")
    parts = [word.encode("utf-8", "surrogatepass") for word in words]
    return {
        "words": np.frombuffer(b"".join(parts), np.uint8),
        "ends": np.cumsum([len(part) for part in parts], dtype=np.int64),
    }


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> tuple[Any, ...]:
    """Return the words of `packed`; ValueError where the arrays do not fit."""
    if "ends" not in arrays:
        return tuple(arrays["words"].tolist())
    text, ends = arrays["words"].tobytes(), arrays["ends"].tolist()
    begins = [0, *ends[:-1]]
    if sorted(ends) != ends or (ends and ends[-1] != len(text)):
        raise ValueError("the ends of the words do not fit their text")
    return tuple(
        text[begin:end].decode("utf-8", "surrogatepass")
        for begin, end in zip(begins, ends, strict=True)
    )
