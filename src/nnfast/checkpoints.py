"""Checkpoints: trees of JSON values and arrays, one durable file each, the newest two kept.

A file is safetensors whose last tensor, "sha256", holds the digest of all bytes before it; any
altered or missing byte is found when it is read. It contains numbers and names, no code.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnfast.formats import FormatError, replacing, safetensors

_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{10,})\.safetensors")
_TEMPORARY = ".nnfast-*.tmp"  # as `replacing` names them
_TREE, _DIGEST, _TENSOR = "nnfast.checkpoint", "sha256", "__tensor__"
_DIGEST_BYTES = 32


class Folder:
    """The checkpoints of one training; a folder of its own, for one process at a time.

    Parameters
    ----------
    path
        Made if it is not there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._damaged: list[Path] = []

    def open(self) -> None:
        """Make the folder, and remove what a killed process left half written."""
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path}: expected a folder for checkpoints, got a file")
        self.path.mkdir(parents=True, exist_ok=True)
        for file in self.path.glob(_TEMPORARY):
            file.unlink(missing_ok=True)

    def save(self, tree: dict[str, Any]) -> None:
        """Write a checkpoint, then delete all but the newest two.

        Raises
        ------
        OSError
            It could not be written; those before are as they were.
        """
        files = self._files()
        number = int(files[-1].name.split("-")[1].split(".")[0]) + 1 if files else 1
        path = self.path / f"checkpoint-{number:010}.safetensors"
        try:
            write(path, tree)
        except OSError as error:
            error.add_note(
                f"the checkpoint {path} could not be written; those before it are intact: make "
                "room and start the training again to go on from the last one"
            )
            raise
        while self._damaged:
            self._damaged.pop().unlink(missing_ok=True)
        for file in self._files()[:-_KEPT]:
            file.unlink(missing_ok=True)

    def newest(self) -> dict[str, Any] | None:
        """Return the newest readable checkpoint, None if there are no files.

        Raises
        ------
        FormatError
            There are files, and all are damaged.

        Warns
        -----
        RuntimeWarning
            A damaged file has been passed over.
        """
        reasons: list[str] = []
        for file in reversed(self._files()):
            try:
                tree = read(file)
            except FormatError as error:
                reasons.append(str(error))
                self._damaged.append(file)
                continue
            for reason in reasons:
                warnings.warn(
                    f"{reason}; going on from the checkpoint before it, {file.name}",
                    RuntimeWarning,
                    stacklevel=5,
                )
            return tree
        if reasons:
            raise FormatError(
                f"{self.path}: expected a readable checkpoint, got damaged ones alone: "
                f"{'; '.join(reasons)}; delete the folder to begin the training anew"
            )
        return None

    def clear(self) -> None:
        """Delete the checkpoints, and the folder if nothing else lies in it."""
        for file in self._files():
            file.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _files(self) -> list[Path]:
        """The checkpoints, oldest first."""
        found = (file for file in self.path.iterdir() if _NAME.fullmatch(file.name))
        return sorted(found, key=lambda file: (len(file.name), file.name))


def write(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write a tree durably (see `nnfast.formats.replacing`).

    Parameters
    ----------
    path
    tree
        Dicts by text, lists, text, numbers, truths, None and arrays of real numbers.

    Raises
    ------
    TypeError
        Something else in the tree; the message says where.
    OSError
        The file cannot be written; an older one stays as it was.
    """
    import json

    tensors: dict[str, NDArray[Any]] = {}
    text = json.dumps(_without_arrays(tree, "", tensors))
    tensors[_DIGEST] = np.zeros(_DIGEST_BYTES, np.uint8)
    with replacing(path) as file:
        hashed = _Hashed(file)
        safetensors.write(hashed, tensors, {_TREE: text})
        file.seek(-_DIGEST_BYTES, os.SEEK_END)
        file.write(hashed.digest())


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tree that `write` wrote; FormatError if a byte is another one."""
    import json

    _verify(path)
    tensors, metadata = safetensors.load(path)
    if _TREE not in metadata:
        raise FormatError(f"{os.fspath(path)}: expected a checkpoint, got another file")
    tree: dict[str, Any] = json.loads(
        metadata[_TREE],
        object_hook=lambda found: tensors[found[_TENSOR]] if _TENSOR in found else found,
    )
    return tree


class _Hashed:
    """A file that keeps a SHA-256 of what is written to it, the zeros of the digest too."""

    def __init__(self, file: IO[bytes]) -> None:
        import hashlib

        self._file = file
        self._sha = hashlib.sha256()

    def write(self, data: bytes | memoryview, /) -> int:
        self._sha.update(data)
        return self._file.write(data)

    def digest(self) -> bytes:
        return self._sha.digest()


def _verify(path: str | os.PathLike[str]) -> None:
    import hashlib

    sha = hashlib.sha256()
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            sha.update(data)
            left -= len(data)
        sha.update(bytes(_DIGEST_BYTES))
        if left or file.read() != sha.digest():
            raise FormatError(f"{os.fspath(path)}: the checksum is wrong: truncated or altered")


def _without_arrays(value: Any, place: str, tensors: dict[str, NDArray[Any]]) -> Any:
    """Return the tree with names in place of its arrays, which go to `tensors`."""
    if isinstance(value, np.ndarray):
        name = f"{len(tensors)}.{place}"
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {
            n: _without_arrays(v, f"{place}.{n}" if place else n, tensors) for n, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_arrays(v, f"{place}.{i}", tensors) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"checkpoint, {place}: expected JSON values and arrays, got an object of type "
        f"{type(value).__name__}; convert it in get_state and back in set_state"
    )
