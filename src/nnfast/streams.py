"""The tokens of a corpus as one run of integers: in memory, on the way, or in a cache file."""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import backend
from nnfast.formats import FormatError, existing, replacing

Ids = NDArray[np.int32]

_BLOCK = 1 << 20  # ids
_HEADER = 4096
_FORMAT = "nnfast corpus 1"


class Stream:
    """Ids by first sight, -1 behind each sentence; they come once and are taken out once.

    Parameters
    ----------
    folder
        None keeps them in memory; else they go to a temporary file there, which has no name and is
        gone with the process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file: Any = None
        self._bytes = bytearray()
        self._prunes: list[tuple[int, Ids]] = []
        self._n = 0
        if folder is not None:
            self._file = _temporary(folder)
            weakref.finalize(self, self._file.close)

    def append(self, ids: Ids) -> None:
        """Add ids; a copy is made."""
        self._n += len(ids)
        if self._file is None:
            self._bytes += ids.data
        else:
            with _noted("its temporary file"):
                self._file.write(ids.data)

    def prune(self, places: Ids) -> None:
        """From here on ids are others: what was i so far is places[i] now, or forgotten for -1."""
        self._prunes.append((self._n, places))

    def take(self, places: Ids) -> Iterator[tuple[Ids, int]]:
        """Yield all tokens by their last ids put through `places`, and the sentences ended.

        Tokens that have -1 there are left out, and so are sentences of which nothing is left. A
        block lasts until the next one is asked for.
        """
        maps, ends = [places], [self._n]
        for end, earlier in reversed(self._prunes):
            known = np.append(maps[-1], np.int32(-1))
            maps.append(known[earlier])  # -1 takes the last
            ends.append(end)
        is_open, begin = False, 0
        for end, new in zip(reversed(ends), reversed(maps), strict=True):
            for block in self._blocks(begin, end):
                n, sentences, is_open = backend.current().remap_corpus(block, new, is_open)
                yield block[:n], sentences
            begin = end

    def array(self, places: Ids) -> tuple[Ids, int]:
        """Return what `take` yields as one array, in the memory of this stream."""
        everything = np.frombuffer(self._bytes, np.int32)
        n = sentences = 0
        for block, ended in self.take(places):
            everything[n : n + len(block)] = block
            n, sentences = n + len(block), sentences + ended
        return everything[:n], sentences

    def _blocks(self, begin: int, end: int) -> Iterator[Ids]:
        if self._file is not None:
            self._file.seek(4 * begin)
        for first in range(begin, end, _BLOCK):
            n = min(_BLOCK, end - first)
            if self._file is None:
                yield np.frombuffer(self._bytes, np.int32, n, 4 * first)
            else:
                yield np.frombuffer(bytearray(self._file.read(4 * n)), np.int32)


def _temporary(folder: Path) -> Any:
    return tempfile.TemporaryFile(dir=folder)


@contextlib.contextmanager
def _noted(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.add_note(
            f"the cache could not be written ({file}); make room for twice its size, or choose "
            "another folder; an older cache is as it was"
        )
        raise


@dataclass(frozen=True)
class Source:
    """What a cache was made of: a file, as long as it does not change, and how it was read."""

    name: str
    size: int
    modified: int
    max_sentence_length: int
    max_vocab_size: int | None


@dataclass(frozen=True, eq=False)
class Cached:
    """A cache file: the words of a source, and its tokens encoded by `places`."""

    words: tuple[str, ...]
    counts: NDArray[np.int64]
    places: Ids
    ids: Ids
    n_sentences: int
    n_raw_words: int
    n_raw_sentences: int


def write_cache(
    path: Path,
    source: Source | None,
    stream: Stream,
    places: Ids,
    words: tuple[str, ...],
    counts: NDArray[np.int64],
    raw: tuple[int, int],
) -> tuple[Ids, int]:
    """Write the tokens that `places` keeps, whole or not at all; return them, and the sentences.

    The file is a header of 4,096 bytes (JSON), the ids, `places` (int32), `counts` (int64) and the
    words, a line each. `raw` are tokens and sentences of the source. A `source` of None says that
    the cache cannot be used again; it has no words then.
    """
    import json

    text = b""
    if source is not None:
        text = "\n".join(words).encode("utf-8", "surrogateescape")
    n = sentences = 0
    with _noted(str(path)), replacing(path) as file:
        file.seek(_HEADER)
        for block, ended in stream.take(places):
            file.write(block.data)
            n, sentences = n + len(block), sentences + ended
        file.write(places.data)
        file.write(counts.data)
        file.write(text)
        header = {
            "format": _FORMAT,
            "source": None if source is None else asdict(source),
            "sizes": (n, len(places), len(text)),
            "sentences": (sentences, *raw),
        }
        file.seek(0)
        file.write(json.dumps(header).encode().ljust(_HEADER))
    return _mapped(path, n), sentences


def read_cache(path: Path, source: Source | None) -> Cached | None:
    """Return the cache of a source; None if there is none, or one of something else.

    Raises
    ------
    FormatError
        The file is none that `write_cache` has written: it might be the user's.
    """
    import json

    if not path.exists():
        return None
    with open(existing(path), "rb") as file:
        try:
            header = json.loads(file.read(_HEADER))
            is_cache = header["format"] == _FORMAT
        except (ValueError, KeyError, TypeError):
            is_cache = False
        if not is_cache:
            raise FormatError(
                f"{path}: expected a cache that nnfast has written, or no file, got another one; "
                "choose another name for the cache"
            )
        n, types, length = header["sizes"]
        if source is None or header["source"] != asdict(source):
            return None
        if os.fstat(file.fileno()).st_size != _HEADER + 4 * n + 12 * types + length:
            return None
        file.seek(_HEADER + 4 * n)
        places = np.frombuffer(file.read(4 * types), np.int32)
        counts = np.frombuffer(file.read(8 * types), np.int64)
        words = tuple(file.read().decode("utf-8", "surrogateescape").split("\n"))
    ids = _mapped(path, n)
    if len(words) != types or not _within(ids, int(places.max(initial=-1))):
        return None
    sentences, raw_words, raw_sentences = header["sentences"]
    return Cached(words, counts, places, ids, sentences, raw_words, raw_sentences)


def _mapped(path: Path, n: int) -> Ids:
    return np.memmap(path, np.int32, "r", _HEADER, (n,)) if n else np.empty(0, np.int32)


def _within(ids: Ids, largest: int) -> bool:
    """Return whether no id is outside -1 .. largest: a kernel will trust them."""
    return all(
        ids[begin : begin + _BLOCK].min() >= -1 and ids[begin : begin + _BLOCK].max() <= largest
        for begin in range(0, len(ids), _BLOCK)
    )
