"""Texts on the disk, plain or packed, in blocks or sentence by sentence."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from nnfast import checks
from nnfast.formats import FormatError, existing

BLOCK = 1 << 20
MAX_SENTENCE_LENGTH = 10_000
"""In tokens; gensim's. Longer sentences are cut."""

_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}


class LineSentence:
    """The sentences of a file, one a line, as lists of tokens; it can be read again and again.

    Parameters
    ----------
    source
        The path of a text, plain or packed by gzip, bzip2 or xz, which is found from its first
        bytes; much faster than an open file, of text or bytes, which is read from its beginning.
        Tokens stand between ASCII white space; bytes that are no UTF-8 become surrogate escapes.
    max_sentence_length
        In tokens; longer lines are cut.
    limit
        Read so many lines only; None reads all.

    Notes
    -----
    gensim's class of this name also parts tokens at white space beyond ASCII, for example
    no-break spaces, and at the control characters 28 to 31; word2vec.c and gensim's
    ``corpus_file`` do not, nor does this one. It raises where bytes are no UTF-8.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[Any],
        max_sentence_length: int = MAX_SENTENCE_LENGTH,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.max_sentence_length = checks.integer("max_sentence_length", max_sentence_length, 1)
        self.limit = None if limit is None else checks.integer("limit", limit, 0)

    @property
    def path(self) -> str | os.PathLike[str] | None:
        """The path of the file, if it is one and all its lines are meant."""
        source = self.source
        return source if self.limit is None and isinstance(source, str | os.PathLike) else None

    def __iter__(self) -> Iterator[list[str]]:
        step = self.max_sentence_length
        for number, line in enumerate(islice(self._lines(), self.limit)):
            tokens = (line if number else _without_mark(line, self.source)).split()
            for begin in range(0, len(tokens), step):
                yield list(map(decoded, tokens[begin : begin + step]))

    def _lines(self) -> Iterator[bytes]:
        if isinstance(self.source, str | os.PathLike):
            with _opened(existing(self.source)) as (stream, _):
                yield from stream
            return
        self.source.seek(0)
        for line in self.source:
            yield line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line


def decoded(token: bytes) -> str:
    """Return the token; bytes that are no UTF-8 become surrogate escapes, so none is lost."""
    return token.decode("utf-8", "surrogateescape")


def blocks(path: str | os.PathLike[str]) -> Iterator[tuple[memoryview, int, int | None]]:
    """Yield (block, bytes of the file read so far, its size or None for a pipe).

    A block lasts until the next one is asked for. A byte order mark of UTF-8 is left out.

    Raises
    ------
    FormatError
        A damaged packed file, or UTF-16.
    FileNotFoundError, IsADirectoryError, OSError
    """
    with _opened(existing(path)) as (stream, raw):
        status = os.fstat(raw.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        view, done = memoryview(bytearray(BLOCK)), 0
        first = _without_mark(stream.read(len(_MARK)), path)
        view[: len(first)] = first
        n = len(first) or stream.readinto(view)
        while n:
            done += n
            yield view[:n], done if size is None else raw.tell(), size
            n = stream.readinto(view)


def _without_mark(begin: bytes, source: object) -> bytes:
    """Return the beginning of a text without UTF-8's mark; FormatError for UTF-16's."""
    if begin.startswith(_UTF_16):
        raise FormatError(
            f"{source}: expected text in UTF-8, got UTF-16; convert it with "
            "iconv -f UTF-16 -t UTF-8"
        )
    return begin.removeprefix(_MARK)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file; yields the text's stream, and the file itself for its place."""
    with open(path, "rb") as raw:
        begin = raw.peek(6)
        kind = next((kind for magic, kind in _MAGIC.items() if begin.startswith(magic)), None)
        if kind is None:
            yield raw, raw
            return
        import zlib
        from lzma import LZMAError

        try:
            with _unpacked(kind, raw) as stream:
                yield stream, raw
        except (EOFError, zlib.error, LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the disk
                raise
            raise FormatError(f"{path}: damaged {kind} file ({error}); pack it again") from None


def _unpacked(kind: str, raw: Any) -> Any:
    if kind == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=raw)
    if kind == "bz2":
        import bz2

        return bz2.BZ2File(raw)
    import lzma

    return lzma.LZMAFile(raw)
