"""What the arguments of a corpus stand for; readers of folders and of texts without lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnfast import formats, texts
from nnfast.texts import MAX_SENTENCE_LENGTH, LineSentence

AnyPath = str | os.PathLike[str]


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
        source: AnyPath,
        max_sentence_length: int = MAX_SENTENCE_LENGTH,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.max_sentence_length = max_sentence_length
        self.limit = limit
        path = Path(source)
        files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
        self.input_files = sorted(str(formats.existing(file)) for file in files)

    def __iter__(self) -> Iterator[list[str]]:
        for file in self.input_files:
            yield from LineSentence(file, self.max_sentence_length, self.limit)


class Text8Corpus:
    """A text without lines, such as text8, in pieces of so many words."""

    def __init__(self, fname: AnyPath, max_sentence_length: int = MAX_SENTENCE_LENGTH) -> None:
        self.fname = fname
        self.max_sentence_length = max_sentence_length

    def __iter__(self) -> Iterator[list[str]]:
        length, words, rest = self.max_sentence_length, list[str](), b""
        for block, _, _ in texts.blocks(self.fname):
            text = rest + bytes(block)
            parts = text.split()
            rest = b"" if text[-1:].isspace() else parts.pop()
            words += map(texts.decoded, parts)
            while len(words) >= length:
                yield words[:length]
                del words[:length]
        words += [texts.decoded(rest)] if rest else []
        if words:
            yield words


class Sentences:
    """Sentences that tell, once they have been read, whether their words are integers."""

    def __init__(self, given: Iterable[Any]) -> None:
        self.given = given
        self.are_integers = False

    def __iter__(self) -> Iterator[Any]:
        sentences = iter(self.given)
        for sentence in sentences:
            yield sentence
            kind = _first_type(sentence)
            if kind is not None:
                self.are_integers = issubclass(kind, int | np.integer)
                break
        yield from sentences


@dataclass(frozen=True)
class Mark:
    """What tells a corpus from another one.

    A file is the same if path, size and time of change are; anything else if it is that very object
    and has as many sentences.

    Attributes
    ----------
    thing
        The object; None for a file.
    facts : tuple
    """

    thing: Any
    facts: tuple[Any, ...]

    def is_same(self, other: Mark | None) -> bool:
        """Return whether this is the mark of that corpus, too."""
        return other is not None and self.thing is other.thing and self.facts == other.facts


@dataclass(frozen=True)
class Source:
    """A checked corpus.

    Attributes
    ----------
    read : Path or Sentences
        What `nnfast.corpus` reads.
    max_sentence_length : int
    """

    read: Path | Sentences
    max_sentence_length: int

    @property
    def are_integers(self) -> bool:
        """Whether the words are integers; known when they have been read."""
        return isinstance(self.read, Sentences) and self.read.are_integers

    def mark(self) -> Mark:
        """Return what tells this corpus from another one, as it is now."""
        if isinstance(self.read, Path):
            path = self.read.resolve()
            state = path.stat()
            facts = (str(path), state.st_size, state.st_mtime_ns, self.max_sentence_length)
            return Mark(None, facts)
        given = self.read.given
        length = len(given) if isinstance(given, Sized) else None
        return Mark(given, (length, self.max_sentence_length))


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
                "corpus_file: expected the path of a text file, got an object of type "
                f"{type(file).__name__}; pass lists of words as {name}"
            )
        return Source(formats.existing(file), max_sentence_length)
    if isinstance(iterable, str | bytes | os.PathLike):
        raise TypeError(
            f"{name}: expected an iterable of lists of words, got {iterable!r:.80}; pass the path "
            "of a text file as corpus_file, or split a text into sentences and words"
        )
    if not isinstance(iterable, Iterable):
        raise TypeError(
            f"{name}: expected an iterable of lists of words, got an object of type "
            f"{type(iterable).__name__}; pass lists of words, or a file as corpus_file"
        )
    if isinstance(iterable, LineSentence) and iterable.path is not None:
        length = min(iterable.max_sentence_length, max_sentence_length)
        return Source(formats.existing(iterable.path), length)
    return Source(Sentences(iterable), max_sentence_length)


def _first_type(sentence: object) -> type | None:
    """Return the type of the first word, None where there is none to look at."""
    if isinstance(sentence, np.ndarray):
        return sentence.dtype.type if sentence.size else None
    if isinstance(sentence, Sequence) and len(sentence):
        return type(sentence[0])
    return None
