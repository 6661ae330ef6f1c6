"""Where sentences come from: gensim's readers, and what the arguments of a corpus stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from nnfast import formats
from nnfast.formats import packed

Path_ = str | os.PathLike[str]

MAX_SENTENCE_LENGTH = 10_000
"""Words of a sentence; gensim's limit, too."""


class LineSentence:
    """The lines of a text file as lists of words, which white space parts.

    Parameters
    ----------
    source : path or file
        Plain, .gz, .xz or .bz2; or a file open for reading, which must support ``seek(0)``.
    max_sentence_length : int
        Longer lines are cut.
    limit : int or None
        Read so many lines only.

    Notes
    -----
    Given to `nnfast.Word2Vec`, a path without a limit is read in C, as ``corpus_file`` is.
    """

    def __init__(
        self,
        source: Path_ | IO[bytes] | IO[str],
        max_sentence_length: int = MAX_SENTENCE_LENGTH,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.max_sentence_length = max_sentence_length
        self.limit = limit

    def __iter__(self) -> Iterator[list[str]]:
        if isinstance(self.source, str | os.PathLike):
            with packed.reading(self.source) as file:
                yield from self._sentences(file)
        else:
            self.source.seek(0)
            yield from self._sentences(self.source)

    def _sentences(self, lines: Iterable[bytes | str]) -> Iterator[list[str]]:
        length = self.max_sentence_length
        for line in islice(lines, self.limit):
            words = _words(line)
            for first in range(0, len(words), length):
                yield words[first : first + length]


class PathLineSentences:
    """The lines of all files in a folder, in the order of their names; see `LineSentence`.

    Parameters
    ----------
    source : path
        A folder, without those in it; or a file.
    max_sentence_length : int
    limit : int or None
        Lines of each file.

    Raises
    ------
    FileNotFoundError
    """

    def __init__(
        self,
        source: Path_,
        max_sentence_length: int = MAX_SENTENCE_LENGTH,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.max_sentence_length = max_sentence_length
        self.limit = limit
        path = Path(source)
        self.input_files = (
            sorted(str(file) for file in path.iterdir() if file.is_file())
            if path.is_dir()
            else [str(formats.existing(path))]
        )

    def __iter__(self) -> Iterator[list[str]]:
        for file in self.input_files:
            yield from LineSentence(file, self.max_sentence_length, self.limit)


class Text8Corpus:
    """A text without lines, such as text8, in pieces of so many words."""

    def __init__(self, fname: Path_, max_sentence_length: int = MAX_SENTENCE_LENGTH) -> None:
        self.fname = fname
        self.max_sentence_length = max_sentence_length

    def __iter__(self) -> Iterator[list[str]]:
        length, words, rest = self.max_sentence_length, list[str](), b""
        with packed.reading(self.fname) as file:
            while data := file.read(1 << 20):
                text = rest + data
                end = max(text.rfind(b" "), text.rfind(b"\n")) + 1
                words += _words(text[:end])
                rest = text[end:]
                while len(words) >= length:
                    yield words[:length]
                    del words[:length]
        words += _words(rest)
        if words:
            yield words


@dataclass(frozen=True)
class Source:
    """A checked corpus.

    Attributes
    ----------
    read
        What `nnfast.corpus` reads: a path or an iterable.
    max_sentence_length : int
    """

    read: Any
    max_sentence_length: int

    def mark(self) -> Mark:
        """Return what tells this corpus from another one, as it is now."""
        if isinstance(self.read, Path):
            path = self.read.resolve()
            facts = path.stat()
            found = (str(path), facts.st_size, facts.st_mtime_ns)
            return Mark(None, (*found, self.max_sentence_length))
        length = len(self.read) if isinstance(self.read, Sized) else None
        return Mark(self.read, (length, self.max_sentence_length))


@dataclass(frozen=True, eq=False)
class Mark:
    """What tells a corpus from another one.

    A file is the same if path, size and time of change are, another object if it is that very
    object and has as many sentences.
    """

    thing: Any
    facts: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mark) and self.thing is other.thing and self.facts == other.facts
        )


def checked_source(iterable: Any, file: Any, name: str, max_sentence_length: int) -> Source:
    """Return the corpus of two arguments, of which one must be None.

    Parameters
    ----------
    iterable
        Of lists of words or of integers; `name` is the argument's name.
    file
        A path.
    max_sentence_length : int

    Raises
    ------
    TypeError
        None or both of them, or something else.
    FileNotFoundError, IsADirectoryError
    """
    if (iterable is None) == (file is None):
        got = "none" if file is None else "both"
        raise TypeError(
            f"{name}, corpus_file: expected one of them, got {got}; pass lists of words as {name}, "
            "or the path of a text file as corpus_file"
        )
    if file is not None:
        if not isinstance(file, str | os.PathLike):
            raise TypeError(
                f"corpus_file: expected the path of a text file, got an object of type "
                f"{type(file).__name__}; pass lists of words as {name}"
            )
        return Source(formats.existing(file), max_sentence_length)
    if isinstance(iterable, str | bytes | os.PathLike):
        raise TypeError(
            f"{name}: expected an iterable of lists of words, got {iterable!r:.80}; pass the path "
            "of a text file as corpus_file, or split a text into sentences and words"
        )
    if isinstance(iterable, LineSentence):
        if iterable.limit is None and isinstance(iterable.source, str | os.PathLike):
            length = min(iterable.max_sentence_length, max_sentence_length)
            return Source(formats.existing(iterable.source), length)
    elif not isinstance(iterable, Iterable):
        raise TypeError(
            f"{name}: expected an iterable of lists of words, got an object of type "
            f"{type(iterable).__name__}"
        )
    return Source(iterable, max_sentence_length)


def _words(line: bytes | str) -> list[str]:
    text = line.decode(errors="replace") if isinstance(line, bytes) else line
    return text.split()
