"""The word2vec tools' files of word vectors, text and binary: arrays in, arrays out.

A header line ``n size``, then n words, each with `size` numbers behind a blank: as text, a word a
line, or as float32, little-endian. A text without the header is GloVe's. A file's promises are
compared with what it holds; memory grows with what came.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnfast import checks
from nnfast.formats import FormatError, packed

Array = NDArray[Any]

_BLOCK = 1 << 20
_LONGEST_LINE = 1 << 26
_MOST_NUMBERS = 1 << 20
_BLANKS = frozenset(" \t\n\r\v\f")
_DIGITS = {2: 5, 4: 9, 8: 17}
"""Decimal digits that give back a float of so many bytes."""


def read(
    path: str | os.PathLike[str],
    *,
    binary: bool = False,
    limit: int | None = None,
    dtype: DTypeLike = np.float32,
    encoding: str = "utf-8",
    unicode_errors: str = "strict",
    no_header: bool = False,
) -> tuple[list[str], Array]:
    """Read a file of word vectors.

    Parameters
    ----------
    path
        A name that ends in .gz, .bz2 or .xz is unpacked.
    binary
        Numbers are float32, not text.
    limit
        Read the first so many words only.
    dtype
        Of the vectors that are returned.
    encoding, unicode_errors
        How bytes become words: see ``bytes.decode``.
    no_header
        The first line is a word already.

    Returns
    -------
    words : list of str
    vectors : ndarray, shape (n, size)

    Raises
    ------
    FormatError
        The file breaks the format; the message says where.
    FileNotFoundError, IsADirectoryError
        There is no such file.

    Warns
    -----
    UserWarning
        A word stands twice: the first one is kept.
    """
    if no_header and binary:
        raise ValueError("no_header: a binary file needs its header; got no_header and binary")
    if limit is not None:
        checks.integer("limit", limit, 1)
    if np.dtype(dtype).kind != "f":
        raise ValueError(
            f"dtype: expected one of floats, for example float32, got {np.dtype(dtype)}"
        )
    with packed.reading(path) as file, np.errstate(over="ignore"):
        table = _Table(file, np.dtype(dtype), limit)
        try:
            if not no_header:
                table.header()
            words = _decoded(table.binary() if binary else table.text(), encoding, unicode_errors)
        except FormatError as error:
            raise FormatError(f"{os.fspath(path)}: {error}") from None
    return _unique(path, words, table.rows())


class _Table:
    """The words and vectors of a file, as they come."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], limit: int | None) -> None:
        self._file, self._limit = file, limit
        self._promised: int | None = None
        self._size = 0
        self._first = 1  # the line of the first word
        self._n = 0
        self._array = np.empty((0, 0), dtype)

    def header(self) -> None:
        """Read the first line."""
        line = self._file.readline(_BLOCK)
        fields = line.split()
        if not line:
            raise FormatError("expected vectors, got an empty file")
        if len(fields) != 2 or not all(f.isdigit() and len(f) < 19 for f in fields):
            raise FormatError(
                f"line 1: expected the number of words and that of dimensions, got {_shown(line)}; "
                "a text file without that line is read with no_header=True"
            )
        self._promised, self._size, self._first = int(fields[0]), int(fields[1]), 2
        self._check_size()

    def rows(self) -> Array:
        """The vectors that came."""
        self._array.resize((self._n, self._size), refcheck=False)
        return self._array

    def text(self) -> list[bytes]:
        """Read lines."""
        words: list[bytes] = []
        number = self._first
        for lines in _lines(self._file):
            if not self._size and any(map(bytes.strip, lines)):
                line = next(filter(bytes.strip, lines))
                self._size = len(line.split()) - (not line.startswith(b" "))  # "" may be a word
                self._check_size()
            left = self._left()
            if left is not None and len(lines) > left:
                lines = self._cut(lines, number, left)
            names, rows = _parse_block(lines, number, self._size, self._array.dtype)
            words += names
            if names:
                self._append(rows)
            number += len(lines)
            if self._left() == 0 and not self._reads_all():
                break
        if not self._size:
            raise FormatError("expected vectors, got an empty file")
        self._check_all_came("")
        return words

    def binary(self) -> list[bytes]:
        """Read words and the bytes of their numbers."""
        words: list[bytes] = []
        width, data = 4 * self._size, b""
        while self._left():
            new = self._file.read(max(_BLOCK, width))
            data += new
            names, starts, end = _records(data, width, self._left() or 0)
            if not words and starts:
                _refuse_text(data[starts[0] : starts[0] + width])
            if len(data) - end > width + _LONGEST_LINE:
                raise FormatError(f"word {self._n + 1}: expected a blank behind it, got none")
            if starts:
                self._append(_numbers(data, width, starts, names, self._n + 1))
                words += names
            data = data[end:]
            if not new:
                break
        self._check_all_came(f" and {len(data)} bytes of another" if data else "")
        if self._reads_all() and (data + self._file.read(_BLOCK)).strip():
            self._too_many("more bytes behind them")
        return words

    def _reads_all(self) -> bool:
        """Whether there must be nothing behind the last word."""
        if self._limit is None:
            return True
        return self._promised is not None and self._promised < self._limit

    def _left(self) -> int | None:
        """How many words are still to come; None if nobody knows."""
        ends = [end for end in (self._promised, self._limit) if end is not None]
        return min(ends) - self._n if ends else None

    def _append(self, rows: Array) -> None:
        end, left = self._n + len(rows), self._left()
        if end > len(self._array):
            room = 2 * len(self._array)
            room = room if left is None else min(room, self._n + left)
            self._array.resize((max(end, room), self._size), refcheck=False)
        self._array[self._n : end] = rows
        self._n = end

    def _check_size(self) -> None:
        if not 1 <= self._size <= _MOST_NUMBERS:
            raise FormatError(
                f"line 1: expected 1 to {_MOST_NUMBERS:,} dimensions, got {self._size}: "
                "no file of word vectors, or another format (binary, no_header)"
            )

    def _check_all_came(self, rest: str) -> None:
        if self._promised is not None and self._left():
            raise FormatError(
                f"expected {self._promised} words of {self._size} numbers, as line 1 says, got "
                f"{self._n}{rest}: truncated, or line 1 is wrong; limit=n reads the first n"
            )

    def _cut(self, lines: list[bytes], number: int, left: int) -> list[bytes]:
        """Cut off what stands behind the last word; raise if it should not be there."""
        full = [place for place, line in enumerate(lines) if line.strip()]
        if len(full) <= left:
            return lines
        if self._reads_all():
            self._too_many(f"line {number + full[left]}: {_shown(lines[full[left]])}")
        return lines[: full[left]]

    def _too_many(self, got: str) -> NoReturn:
        raise FormatError(
            f"expected {self._promised} words of {self._size} numbers, as line 1 says, got {got}; "
            f"limit={self._promised} reads the first {self._promised}; or line 1, or the format "
            "(binary), is another one"
        )


def _lines(file: IO[bytes]) -> Iterator[list[bytes]]:
    """The lines of a file, about a block at a time, without their ends."""
    rest = b""
    while data := file.read(_BLOCK):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
        if len(rest) > _LONGEST_LINE:
            raise FormatError(
                f"expected lines of text, got one of more than {_LONGEST_LINE:,} bytes; "
                "a binary file is read with binary=True"
            )
    if rest:
        yield [rest]


def _parse_block(
    lines: list[bytes], number: int, size: int, dtype: np.dtype[Any]
) -> tuple[list[bytes], Array]:
    """Return the words and numbers of lines; the first is line `number` of the file."""
    parts = [line.partition(b" ") for line in lines]
    kind = np.float32 if dtype == np.float32 else np.float64
    rows = np.empty((0, 0), kind)
    if any(rest.strip() for _, _, rest in parts):
        with contextlib.suppress(ValueError):  # said by _parse_line, or no error there
            numbers = [rest for _, _, rest in parts]
            rows = np.loadtxt(numbers, kind, comments=None, ndmin=2, encoding="latin1")
    if rows.shape == (len(lines), size) and np.isfinite(rows.astype(dtype, copy=False)).all():
        return [word for word, _, _ in parts], rows
    numbered = [(number + i, line) for i, line in enumerate(lines) if line.strip()]
    pairs = [_parse_line(line, place, size, dtype) for place, line in numbered]
    return [word for word, _ in pairs], np.array([row for _, row in pairs]).reshape(
        len(pairs), size
    )


def _parse_line(
    line: bytes, number: int, size: int, dtype: np.dtype[Any]
) -> tuple[bytes, list[float]]:
    """Return the word and numbers of a line; a word may have blanks in it, as some of GloVe's."""
    fields = line.split()
    word, texts = fields[: len(fields) - size], fields[len(fields) - size :]
    if len(fields) == size and line.startswith(b" "):
        word, texts = [b""], fields
    if len(fields) < size or not word or any(_number(text) is not None for text in word[1:]):
        raise FormatError(
            f"line {number}: expected a word and {size} numbers, got a word and {len(fields) - 1}, "
            f"{_shown(line)}; mend the line or line 1, or say what the file is (binary, no_header)"
        )
    row = []
    for text in texts:
        value = _number(text)
        if value is None or not np.isfinite(dtype.type(value)):
            raise FormatError(
                f"line {number}, {_shown(b' '.join(word))}: expected a word and {size} finite "
                f"numbers of {dtype}, got {_shown(text)} among them; mend or delete the line"
            )
        row.append(value)
    return b" ".join(word), row


def _number(text: bytes) -> float | None:
    try:
        return None if b"_" in text else float(text)
    except ValueError:
        return None


def _records(data: bytes, width: int, most: int) -> tuple[list[bytes], list[int], int]:
    """Return the words in `data`, where each one's numbers begin, and where the last ones end."""
    words: list[bytes] = []
    starts: list[int] = []
    end, length = 0, len(data)
    while len(words) < most:
        blank = data.find(b" ", end)
        if blank < 0 or blank + 1 + width > length:
            break
        words.append(data[end:blank].lstrip(b"\n"))
        starts.append(blank + 1)
        end = blank + 1 + width
    return words, starts, end


def _numbers(data: bytes, width: int, starts: list[int], words: list[bytes], number: int) -> Array:
    """Return the numbers of words, the first of which is word `number` of the file."""
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), width)
    rows: Array = windows[starts].view("<f4")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        place = int(np.argmin(finite))
        raise FormatError(
            f"word {number + place}, {_shown(words[place])}: expected finite numbers, got NaN or "
            "infinity: damaged, or of a training that diverged"
        )
    return rows


def _refuse_text(numbers: bytes) -> None:
    if len(numbers) >= 16 and not numbers.strip(b"0123456789+-.eE \n"):
        raise FormatError(
            f"word 1: expected float32 numbers, got the text {_shown(numbers)}; "
            "read the file with binary=False"
        )


def _decoded(words: list[bytes], encoding: str, errors: str) -> list[str]:
    try:
        decoded = b"\n".join(words).decode(encoding, errors).split("\n") if words else []
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        got = _shown(error.object.split(b"\n")[before])
        raise FormatError(
            f"word {before + 1}: expected {encoding}, got {got}; name another "
            'encoding, or pass unicode_errors="replace" or "ignore"'
        ) from None
    if len(decoded) > len(words):
        place, word = next((i, word) for i, word in enumerate(words) if b"\n" in word)
        raise FormatError(
            f"word {place + 1}: expected no line break in it, got {_shown(word)}: damaged, or of "
            "another number of dimensions than line 1 says"
        )
    return decoded


def _unique(path: str | os.PathLike[str], words: list[str], rows: Array) -> tuple[list[str], Array]:
    """Keep the first of equal words."""
    first: dict[str, int] = {}
    for place, word in enumerate(words):
        first.setdefault(word, place)
    if len(first) == len(words):
        return words, rows
    twice = next(word for place, word in enumerate(words) if first[word] != place)
    warnings.warn(
        f"{os.fspath(path)}: expected each word once, got {len(words) - len(first)} again, "
        f"{twice!r:.60} the first of them; the first vector of each is kept",
        UserWarning,
        stacklevel=4,
    )
    return list(first), rows[list(first.values())]


def _shown(data: bytes) -> str:
    """Bytes for a message."""
    return repr(data if len(data) <= 40 else data[:40] + b"...")[1:]


def read_counts(
    path: str | os.PathLike[str], encoding: str = "utf-8", unicode_errors: str = "strict"
) -> dict[str, int]:
    """Read the words and counts that word2vec's -save-vocab writes: a word and a count a line.

    Raises
    ------
    FormatError
        A line is something else.
    """
    words: list[bytes] = []
    counts: list[int] = []
    with packed.reading(path) as file:
        for number, line in enumerate(file, 1):
            fields = line.split()
            if len(fields) != 2 or not (fields[1].isdigit() and len(fields[1]) < 19):
                raise FormatError(
                    f"{os.fspath(path)}: line {number}: expected a word and its count, "
                    f"got {_shown(line)}"
                )
            words.append(fields[0])
            counts.append(int(fields[1]))
    try:
        return dict(zip(_decoded(words, encoding, unicode_errors), counts, strict=True))
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from None


def write(
    path: str | os.PathLike[str],
    words: Sequence[object],
    vectors: Array,
    *,
    binary: bool = False,
    header: int | None,
) -> None:
    """Write a file of word vectors, whole or not at all.

    Parameters
    ----------
    path
        A name that ends in .gz, .bz2 or .xz is packed.
    words
        Their ``str`` is written.
    vectors : ndarray, shape (n, size)
        Written as float32 if `binary`, else with digits that give back their bits.
    header
        The number of words that the first line says; None leaves out the line.

    Raises
    ------
    FormatError
        A word has white space in it, or no valid Unicode.
    OSError
        The file cannot be written; an older one stays as it was.
    """
    names = [_encoded(str(word)) for word in words]
    rows = vectors.astype("<f4", copy=False) if binary else vectors
    number = f"%.{_DIGITS.get(rows.itemsize, 17)}g"
    line = " ".join([number] * rows.shape[1])
    step = max(1, _BLOCK // max(1, rows.shape[1]) // 4)
    with packed.writing(path) as file:
        if header is not None:
            file.write(f"{header} {rows.shape[1]}\n".encode())
        for start in range(0, len(names), step):
            block = rows[start : start + step]
            texts = (
                [row.tobytes() for row in block]
                if binary
                else [(line % tuple(row)).encode() for row in block.tolist()]
            )
            pairs = zip(names[start : start + step], texts, strict=True)
            file.write(b"".join([b"%b %b\n" % pair for pair in pairs]))


def write_counts(
    path: str | os.PathLike[str], words: Sequence[object], counts: Sequence[object]
) -> None:
    """Write words and counts, as `read_counts` reads them."""
    with packed.writing(path) as file:
        for word, count in zip(words, counts, strict=True):
            file.write(b"%b %b\n" % (_encoded(str(word)), str(count).encode()))


def _encoded(word: str) -> bytes:
    if not _BLANKS.isdisjoint(word):
        raise FormatError(
            f"word {word!r:.60}: expected no white space, which ends a word in word2vec's files; "
            "replace it, for example by '_', or use KeyedVectors.save"
        )
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FormatError(f"word {word!r:.60}: expected valid Unicode: {error}") from None
