"""Files that are compressed if their name says so: .gz, .bz2, .xz."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nnfast.formats import FormatError, existing, replacing


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file to read what was packed: ``with reading(path) as file: file.read(...)``.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        There is no such file.
    FormatError
        The compressed file is damaged, or none.
    """
    file = existing(path)
    module, damage = _packer(file)
    if module is None:
        with open(file, "rb") as plain:
            yield plain
        return
    try:
        with module.open(file, "rb") as unpacked:
            yield unpacked
    except (EOFError, zlib.error, damage) as error:
        raise FormatError(
            f"{file}: expected a whole {file.suffix} file, got {error}; fetch or write it again"
        ) from None


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all (see `nnfast.formats.replacing`), and pack it."""
    module, _ = _packer(Path(path))
    with replacing(path) as file:
        if module is None:
            yield file
            return
        with module.open(file, "wb") as packing:
            yield packing


def _packer(path: Path) -> tuple[Any, type[Exception]]:
    """The module that packs files of such a name, None for plain ones, and its own error."""
    match path.suffix.lower():
        case ".gz":
            import gzip

            return gzip, gzip.BadGzipFile
        case ".bz2":
            import bz2

            return bz2, OSError
        case ".xz":
            import lzma

            return lzma, lzma.LZMAError
    return None, OSError
