"""File formats: arrays in, arrays out, and what the formats share."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["FormatError", "check_output", "existing", "is_stream", "replacing"]


class FormatError(ValueError):
    """A file, or what was to be written to one, breaks the rules of its format."""


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to read; FileNotFoundError or IsADirectoryError if it is none."""
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{file}: expected a file, got a folder; name a file in it")
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file; check the name")
    return file


def check_output(path: Path, *inputs: Path) -> None:
    """Refuse, before any work, a file that could not be written or that is another one's place."""
    if is_stream(path):
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file to write, got a folder; name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path}: may not write in {path.parent}; choose another folder")
    if any(path.resolve() == other.resolve() for other in inputs):
        raise ValueError(f"{path}: expected another file to write than those in use; rename it")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all: ``with replacing(path) as file: file.write(...)``.

    The bytes go to a temporary file in the same folder, which takes the place of `path` when they
    are on the disk. On any error, Ctrl-C too, `path` stays as it was and the temporary file goes.
    A symbolic link stays one. The mode is the old file's, or the umask's for a new file. A device
    or a pipe, /dev/stdout for example, is written to as it is.

    Raises
    ------
    OSError
        The file cannot be written: a folder, a place without a folder, a full disk.

    Notes
    -----
    The order write, fsync, rename, fsync of the folder is PostgreSQL's ``durable_rename``: without
    the last two, a power cut may leave an empty file under the new name.
    """
    if is_stream(Path(path)):
        with open(path, "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    check_output(target)
    temporary = target.with_name(f".nnfast-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)  # a full disk does not say which file was written
        raise
    if os.name == "posix":
        _fsync_folder(target.parent)


def is_stream(path: Path) -> bool:
    """Whether a path is there and has no content that could be replaced: a device, a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(handle)
