"""Files that are compressed if their name says so: .gz, .bz2, .xz."""

from __future__ import annotations

import contextlib
import importlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nnfast.formats import FormatError, existing, replacing

_MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}


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
    if file.suffix.lower() not in _MODULES:
        with open(file, "rb") as plain:
            yield plain
        return
    module = _module(file)
    damaged: list[type[Exception]] = [EOFError, zlib.error]
    damaged += [
        getattr(module, name) for name in ("BadGzipFile", "LZMAError") if hasattr(module, name)
    ]
    damaged += [OSError] if module.__name__ == "bz2" else []
    try:
        with module.open(file, "rb") as unpacked:
            yield unpacked
    except tuple(damaged) as error:
        raise FormatError(
            f"{file}: expected a whole {file.suffix} file, got {error}; fetch or write it again"
        ) from None


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all (see `nnfast.formats.replacing`), and pack it."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: expected a file, got a folder; name a file in it")
    with replacing(path) as file:
        if Path(path).suffix.lower() not in _MODULES:
            yield file
            return
        with _module(Path(path)).open(file, "wb") as packing:
            yield packing


def _module(path: Path) -> Any:
    return importlib.import_module(_MODULES[path.suffix.lower()])
