"""Corpora: text files, lists of tokens and sequences of ids, read once and encoded.

A source is read once into words, counts and a stream of provisional ids; when the vocabulary is
chosen the stream is given the vocabulary's ids in place. Training reads that stream alone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import backend, checks, texts
from nnfast.formats import existing
from nnfast.sentences import SentenceReader
from nnfast.streams import Cached, Ids, Source, Stream, read_cache, write_cache
from nnfast.texts import MAX_SENTENCE_LENGTH, LineSentence
from nnfast.vocab import TrimRule, Vocabulary, select

Progress = Callable[[int, int | None, int], None]
"""``progress(done, total, words)``, after each block: bytes of the file (of an iterable: sentences)
so far and in all, None where that is not known; tokens so far."""

_FLUSH = 1 << 18  # ids
_NO_LIMIT = 2**62


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokens by their ids in a vocabulary.

    Attributes
    ----------
    ids : array of int32, shape (n,)
        -1 behind each sentence; words that the vocabulary lacks are left out, and so are sentences
        of which nothing is left. Read-only and memory-mapped if there is a cache.
    n_words : int
        Tokens in `ids`.
    n_raw_words : int
        Tokens of the source.
    n_sentences : int
        Sentences in `ids`.
    """

    ids: Ids
    n_words: int
    n_raw_words: int
    n_sentences: int


@dataclass(eq=False)
class Counted:
    """A source that has been read: its words, counts, and tokens.

    Attributes
    ----------
    words : tuple of str
        In the order in which they were first seen.
    counts : array of int64, shape (len(words),)
    n_raw_words : int
        Tokens of the source, pruned ones too.
    n_sentences : int
        Sentences that have tokens, after long ones were cut.
    """

    words: tuple[str, ...]
    counts: NDArray[np.int64]
    n_raw_words: int
    n_sentences: int
    _tokens: Stream | Cached | None = field(repr=False)
    _again: Callable[[], Counted] | None = field(default=None, repr=False)
    _cache: Path | None = field(default=None, repr=False)
    _source: Source | None = field(default=None, repr=False)

    def vocabulary(
        self,
        min_count: int = 5,
        max_final_vocab: int | None = None,
        trim_rule: TrimRule | None = None,
        sorted_vocab: bool = True,
        known: Vocabulary | None = None,
    ) -> Vocabulary:
        """Return the vocabulary of the words that are kept; see `nnfast.vocab.select`."""
        return select(
            self.words,
            self.counts,
            min_count=min_count,
            max_final_vocab=max_final_vocab,
            trim_rule=trim_rule,
            sorted_vocab=sorted_vocab,
            known=known,
        )

    def encode(self, vocabulary: Vocabulary) -> Corpus:
        """Return the tokens by their ids in `vocabulary`.

        The tokens are taken, not copied. Encoding a second time, or a cache by another vocabulary
        than the one it was written with, reads the file again.

        Raises
        ------
        RuntimeError
            The tokens have been taken, and the source cannot be read again.
        ValueError
            The source has none of the words.
        OSError
            The cache cannot be written; an older one stays as it was.
        """
        index = vocabulary.index
        places = np.array([index.get(word, -1) for word in self.words], np.int32)
        if (places < 0).all():
            raise ValueError(
                f"vocabulary: expected words of the corpus among its {len(vocabulary)}, got none "
                f"of {len(self.words)}; count the words of this corpus, or read the right file"
            )
        tokens, self._tokens = self._tokens, None
        if isinstance(tokens, Cached):
            if np.array_equal(tokens.places, places):
                self._tokens = tokens
                return self._corpus(tokens.ids, tokens.n_sentences)
            tokens = None
        if tokens is None:
            if self._again is None:
                raise RuntimeError(
                    "encode: expected tokens, got a corpus whose tokens were taken by an earlier "
                    "call; count() the sentences again"
                )
            return self._again().encode(vocabulary)
        if self._cache is None:
            return self._corpus(*tokens.array(places))
        raw = self.n_raw_words, self.n_sentences
        return self._corpus(
            *write_cache(self._cache, self._source, tokens, places, self.words, self.counts, raw)
        )

    def _corpus(self, ids: Ids, n_sentences: int) -> Corpus:
        return Corpus(ids, len(ids) - n_sentences, self.n_raw_words, n_sentences)


def count(
    source: str | os.PathLike[str] | Iterable[Iterable[Any]],
    *,
    max_sentence_length: int = MAX_SENTENCE_LENGTH,
    max_vocab_size: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Counted:
    """Read a source once.

    Parameters
    ----------
    source
        The path of a text (see `nnfast.texts.LineSentence`), or an iterable of sentences, each an
        iterable of str or of integers >= 0, which become words by their decimal digits. A
        generator will do.
    max_sentence_length
        In tokens; longer sentences are cut.
    max_vocab_size
        As in gensim: whenever a sentence leaves more words than this, those with a count below 1
        are forgotten, the next time those below 2, and so on. A word that comes back starts at
        zero, and its earlier tokens are not in the corpus.
    cache
        A file that is to hold the ids instead of memory; it is written by `Counted.encode`, and
        twice its size must be free. If it is there and was made of the same file (name, size, time
        of change) with the same settings, the source is not read.
    progress
        Called after each block.

    Raises
    ------
    ValueError, TypeError
        A source without words, or whose sentences are no lists of tokens.
    FormatError
        A damaged packed file, UTF-16, or a file under the name `cache` that is no cache.
    FileNotFoundError, IsADirectoryError, OSError

    Warns
    -----
    RuntimeWarning
        A text has bytes that are no UTF-8.
    """
    longest = checks.integer("max_sentence_length", max_sentence_length, 1)
    limit = None if max_vocab_size is None else checks.integer("max_vocab_size", max_vocab_size, 1)
    if isinstance(source, LineSentence) and source.path is not None:
        longest, source = min(longest, source.max_sentence_length), source.path
    held = None if cache is None else Path(os.path.realpath(cache))
    if not isinstance(source, (str, os.PathLike)):
        if held is not None:
            read_cache(held, None)
        return _count_sentences(source, longest, limit, held, progress)
    path = existing(source)
    read = partial(_count_file, path, longest, limit, held, progress)
    if held is not None:
        origin = _origin(path, longest, limit)
        found = read_cache(held, origin)
        if found is not None:
            raw = found.n_raw_words, found.n_raw_sentences
            return Counted(found.words, found.counts, *raw, found, read, held, origin)
    return read()


def encode(
    source: str | os.PathLike[str] | Iterable[Iterable[Any]],
    vocabulary: Vocabulary,
    *,
    max_sentence_length: int = MAX_SENTENCE_LENGTH,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Return another source by the ids of a vocabulary; parameters and errors are `count`'s."""
    counted = count(source, max_sentence_length=max_sentence_length, cache=cache, progress=progress)
    return counted.encode(vocabulary)


def from_ids(
    ids: ArrayLike | Iterable[ArrayLike],
    offsets: ArrayLike | None = None,
    *,
    max_sentence_length: int = MAX_SENTENCE_LENGTH,
) -> Counted:
    """Count sequences of integers, such as the walks of node2vec or the baskets of item2vec.

    Parameters
    ----------
    ids
        Integers >= 0, which become words by their decimal digits: an array of shape (sequences,
        length), sequences of any lengths, or, with `offsets`, an array of shape (n,).
    offsets
        Sequence i is ``ids[offsets[i]:offsets[i + 1]]``; integers from 0 to n, ascending.
    max_sentence_length
        In tokens; longer sequences are cut.

    Raises
    ------
    ValueError, TypeError
        No ids, negative ones, or no integers; offsets that do not fit.
    """
    longest = checks.integer("max_sentence_length", max_sentence_length, 1)
    flat, ends = _flat(ids, offsets)
    if flat.size and flat.min() < 0:
        raise ValueError(
            f"ids: expected integers >= 0, got {flat.min()}; leave out what marks padding"
        )
    lengths = np.diff(ends)
    lengths = lengths[lengths > 0]
    if not len(lengths):
        raise _empty("ids")
    parts = -(-lengths // longest)
    cut = np.full(parts.sum(), longest)
    cut[np.cumsum(parts) - 1] = lengths - (parts - 1) * longest
    different, first, rank = np.unique(flat, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    stream = np.full(len(flat) + len(cut), -1, np.int32)
    stream[np.arange(len(flat)) + np.repeat(np.arange(len(cut)), cut)] = place[rank]
    tokens = Stream()
    tokens.append(stream)
    words = tuple(map(str, different[order].tolist()))
    return Counted(words, np.bincount(place[rank]), len(flat), len(cut), tokens)


def _flat(
    ids: ArrayLike | Iterable[ArrayLike], offsets: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return all ids in one array, and where each sequence ends, after a 0."""
    if isinstance(ids, np.ndarray) and ids.ndim <= 2:
        flat = _integers("ids", ids.reshape(-1))
        if offsets is not None:
            return flat, _offsets(_integers("offsets", np.asarray(offsets)), len(flat))
        if ids.ndim == 2:
            return flat, np.arange(ids.shape[0] + 1) * ids.shape[1]
    if offsets is not None or isinstance(ids, np.ndarray) or not isinstance(ids, Iterable):
        came = _kind(ids) + ("" if offsets is None else " and offsets")
        raise TypeError(
            "ids: expected sequences of integers, an array of shape (sequences, length), or one of "
            f"shape (n,) with offsets, got {came}; turn it into one of these"
        )
    rows = [_integers(f"ids[{place}]", np.asarray(row)) for place, row in enumerate(ids)]
    ends = np.cumsum([0, *map(len, rows)])
    return np.concatenate(rows) if rows else np.empty(0, np.int64), ends


def _integers(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim == 1 and values.size == 0:
        return values.astype(np.int64)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: expected integers along one axis, got {_kind(values)}; convert it with "
            "numpy.asarray(..., numpy.int64), or give lists of str to count()"
        )
    return values


def _offsets(values: NDArray[Any], n: int) -> NDArray[np.int64]:
    if not len(values) or values[0] != 0 or values[-1] != n or (np.diff(values) < 0).any():
        raise ValueError(
            f"offsets: expected ascending integers from 0 to {n}, the number of ids, got {values}; "
            "sequence i is ids[offsets[i]:offsets[i + 1]]"
        )
    return values.astype(np.int64)


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    return f"an object of type {type(value).__name__}"


def _empty(name: str) -> ValueError:
    return ValueError(f"{name}: expected words, got an empty corpus; check where it comes from")


# --- files ----------------------------------------------------------------------------------------


def _origin(path: Path, longest: int, limit: int | None) -> Source | None:
    """Return what a cache would be made of; None for a pipe."""
    if not path.is_file():
        return None
    status = path.stat()
    return Source(path.name, status.st_size, status.st_mtime_ns, longest, limit)


def _count_file(
    path: Path, longest: int, limit: int | None, cache: Path | None, progress: Progress | None
) -> Counted:
    origin = _origin(path, longest, limit)
    reader = backend.current().corpus_reader(longest, _NO_LIMIT if limit is None else limit)
    stream = Stream(None if cache is None else cache.parent)
    out, least = np.empty(texts.BLOCK + 4, np.int32), 1
    for block, done, total in texts.blocks(path):
        rest = block
        while len(rest):
            used, n, full = reader.feed(rest, out)
            stream.append(out[:n])
            rest = rest[used:]
            if full:
                stream.prune(reader.prune(least))
                least += 1
        if progress is not None:
            progress(done, total, reader.n_raw_words)
    n, full = reader.finish(out)
    stream.append(out[:n])
    if full:
        stream.prune(reader.prune(least))
    words = tuple(map(texts.decoded, reader.words()))
    if not words:
        raise _empty(str(path))
    _warn_of_bytes(path, words)
    found = reader.n_raw_words, reader.n_sentences
    again = None if origin is None else partial(_count_file, path, longest, limit, cache, progress)
    return Counted(words, reader.counts(), *found, stream, again, cache, origin)


def _warn_of_bytes(path: Path, words: Sequence[str]) -> None:
    """Warn if words have surrogate escapes: bytes that are no UTF-8."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        odd = [word for word in words if not _is_unicode(word)]
        warnings.warn(
            f"{path}: {len(odd)} of {len(words)} words have bytes that are no UTF-8, {odd[0]!r} is "
            "the first; they are kept as surrogate escapes: convert the text, for example with "
            "iconv -f LATIN1 -t UTF-8",
            RuntimeWarning,
            stacklevel=4,
        )


def _is_unicode(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- sentences ------------------------------------------------------------------------------------


def _count_sentences(
    source: object, longest: int, limit: int | None, cache: Path | None, progress: Progress | None
) -> Counted:
    if not isinstance(source, Iterable):
        raise TypeError(
            "source: expected the path of a text or an iterable of lists of str, got "
            f"{_kind(source)}; give one of these"
        )
    reader = SentenceReader(longest, _NO_LIMIT if limit is None else limit)
    stream = Stream(None if cache is None else cache.parent)
    total = len(source) if isinstance(source, Sequence) else None
    done, least = 0, 1

    def flush() -> None:
        stream.append(reader.take())
        if progress is not None:
            progress(done, total, reader.n_raw_words)

    for done, sentence in enumerate(source, 1):
        try:
            full = reader.read(sentence)
        except (TypeError, ValueError) as error:
            error.add_note(f"in sentence {done} of the source")
            raise
        if full or reader.n_waiting >= _FLUSH:
            flush()
        if full:
            stream.prune(reader.prune(least))
            least += 1
    flush()
    if not reader.words():
        raise _empty("sentences")
    found = reader.n_raw_words, reader.n_sentences
    return Counted(tuple(reader.words()), reader.counts(), *found, stream, None, cache)
