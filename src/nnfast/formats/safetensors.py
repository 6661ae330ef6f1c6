"""Safetensors: named arrays and text in one file that cannot carry code.

The file is the header's length (uint64), the header (JSON, padded with spaces to 8 bytes) and the
arrays' bytes, little-endian. Format: https://huggingface.co/docs/safetensors. The reader is as
strict as the format's own, and stricter in limits, because files come from strangers.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from nnfast.formats import FormatError, existing, replacing

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
    "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_MAX_HEADER = 16 << 20
_MAX_TENSORS = 65_536
_MAX_AXES = 32  # NumPy 1's
_FIELDS = {"dtype", "shape", "data_offsets"}


class SupportsWrite(Protocol):
    """A file open for writing bytes."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Write `data` and return its number of bytes."""


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays and text, whole or not at all (see `nnfast.formats.replacing`).

    Parameters
    ----------
    path
        The file to write or replace.
    tensors
        Arrays by name, of any strides and byte order: float16 to float64, integers, bool.
    metadata
        Text by name.

    Raises
    ------
    FormatError
        A name or dtype that the format cannot hold.
    OSError
        The file cannot be written; an older one stays as it was.
    """
    with replacing(path) as file:
        write(file, tensors, metadata)


def write(
    file: SupportsWrite,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write what `save` writes to an open file; of one width, the last tensor comes last."""
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = _check_metadata(dict(metadata))
    for name, array in arrays.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise FormatError(f"a tensor cannot be named {name!r}; use another str")
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise FormatError(
                f"tensor {name!r}: safetensors cannot hold {array.dtype}; "
                f"convert it, for example to float32"
            )
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": None}
    if len(arrays) > _MAX_TENSORS:
        raise FormatError(f"{len(arrays)} tensors; expected at most {_MAX_TENSORS}")

    by_width = sorted(arrays, key=lambda name: -arrays[name].itemsize)  # keeps each one aligned
    end = 0
    for name in by_width:
        header[name]["data_offsets"] = (end, end + arrays[name].nbytes)
        end += arrays[name].nbytes
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"a name or metadata value is no valid Unicode: {error}") from None
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise FormatError(f"header of {len(text)} bytes; expected at most {_MAX_HEADER}")
    file.write(len(text).to_bytes(8, "little") + text)
    for name in by_width:
        array = arrays[name]
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        file.write(little.reshape(-1).view(np.uint8).data)


def load(
    path: str | os.PathLike[str], mapped: frozenset[str] = frozenset()
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read what `save`, or another writer of the format, has written.

    Parameters
    ----------
    path
    mapped
        Names of tensors that stay in the file: they are read when they are used.

    Returns
    -------
    tensors : dict of str to array
        New, writable arrays in the machine's byte order, in the header's order; those `mapped` are
        read-only, in the file's order of bytes.
    metadata : dict of str to str

    Raises
    ------
    FormatError
        The file breaks a rule of the format; the message names the tensor. Every size is compared
        with the file's before memory is asked for.
    FileNotFoundError, IsADirectoryError
        There is no such file.
    """
    with open(existing(path), "rb") as file:
        try:
            return _load(file, os.fstat(file.fileno()).st_size, mapped)
        except FormatError as error:
            raise FormatError(f"{os.fspath(path)}: {error}") from None


def _load(
    file: BufferedIOBase, file_size: int, mapped: frozenset[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    length = int.from_bytes(file.read(8), "little")
    if file_size < 8:
        raise FormatError(f"{file_size} bytes are too few for a safetensors file")
    if length > min(file_size - 8, _MAX_HEADER):
        raise FormatError(
            f"header of {length} bytes; expected at most {_MAX_HEADER} and what the file holds "
            f"({file_size} bytes): truncated, or no safetensors file"
        )
    header = _parse(file.read(length))
    metadata = _check_metadata(header.pop("__metadata__", {}))
    if len(header) > _MAX_TENSORS:
        raise FormatError(f"{len(header)} tensors; expected at most {_MAX_TENSORS}")
    spans = {name: _check_tensor(name, entry) for name, entry in header.items()}

    end = 0
    by_offset = sorted(spans, key=lambda name: spans[name])
    for name in by_offset:
        if spans[name][0] != end:
            raise FormatError(
                f"tensor {name!r}: begins at byte {spans[name][0]}, expected {end}: "
                f"tensors may neither overlap nor leave holes"
            )
        end = spans[name][1]
    if end != file_size - 8 - length:
        raise FormatError(
            f"tensors end at byte {end} of the data, which is {file_size - 8 - length} bytes long: "
            f"truncated, or with bytes that belong to no tensor"
        )
    tensors = dict.fromkeys(header, np.empty(0))
    for name in by_offset:
        read = _map_tensor if name in mapped and spans[name][0] < spans[name][1] else _read_tensor
        tensors[name] = read(file, name, header[name])
    return tensors, metadata


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise FormatError("header does not begin with '{': no safetensors file")
    try:
        header = json.loads(
            text.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except FormatError:
        raise
    except RecursionError:
        raise FormatError("header is nested too deeply") from None
    except ValueError as error:
        raise FormatError(f"header is no valid JSON in UTF-8: {error}") from None
    if not isinstance(header, dict):
        raise FormatError("header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise FormatError(f"the name {twice!r} stands twice in one object of the header")
    return unique


def _refuse_constant(constant: str) -> NoReturn:
    raise FormatError(f"header contains {constant}, which JSON does not know")


def _check_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict):
        raise FormatError("__metadata__ is no object of names and texts")
    for name, text in metadata.items():
        if not (_is_text(name) and _is_text(text)):
            raise FormatError(f"metadata {name!r}: expected Unicode text, got {text!r:.80}")
    return metadata


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _check_tensor(name: str, entry: Any) -> tuple[int, int]:
    """Check one entry of the header; return its offsets."""
    if not _is_text(name):
        raise FormatError(f"tensor {name!r}: its name is no valid Unicode")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise FormatError(f"tensor {name!r}: expected an object of {', '.join(sorted(_FIELDS))}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _DTYPES if isinstance(dtype, str) else True:
        remedy = "; convert it to F32 before saving" if dtype == "BF16" else ""
        raise FormatError(
            f"tensor {name!r}: unknown dtype {dtype!r:.40}, expected one of "
            f"{', '.join(_DTYPES)}{remedy}"
        )
    if not _are_sizes(shape) or len(shape) > _MAX_AXES:
        raise FormatError(
            f"tensor {name!r}: shape {shape!r:.80} is no list of at most {_MAX_AXES} sizes"
        )
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FormatError(
            f"tensor {name!r}: data_offsets {offsets!r:.80} are no begin and end in bytes"
        )
    itemsize = np.dtype(_DTYPES[dtype]).itemsize
    if math.prod(size or 1 for size in shape) * itemsize >= 2**63:
        raise FormatError(f"tensor {name!r}: shape {shape!r:.80} is beyond any memory")
    expected = math.prod(shape) * itemsize
    if offsets[1] - offsets[0] != expected:
        raise FormatError(
            f"tensor {name!r}: shape {shape} of {dtype} takes {expected} bytes, "
            f"data_offsets give {offsets[1] - offsets[0]}"
        )
    return offsets[0], offsets[1]


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size < 2**63 for size in value
    )


def _read_tensor(file: BufferedIOBase, name: str, entry: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    raw = np.empty(math.prod(entry["shape"]) * dtype.itemsize, np.uint8)
    if file.readinto(raw.data) != raw.size:
        raise FormatError(f"tensor {name!r}: the file became shorter while it was read")
    if dtype.kind == "b" and raw.size and raw.max() > 1:
        raise FormatError(f"tensor {name!r}: a BOOL is neither 0 nor 1")
    tensor = raw.view(dtype).reshape(entry["shape"])
    return tensor.astype(dtype.newbyteorder("="), copy=False)


def _map_tensor(file: BufferedIOBase, name: str, entry: dict[str, Any]) -> NDArray[Any]:
    """Map what `_read_tensor` would read, and go on behind it."""
    dtype, start = np.dtype(_DTYPES[entry["dtype"]]), file.tell()
    tensor = np.memmap(file, dtype, "r", start, tuple(entry["shape"]))
    file.seek(start + tensor.nbytes)
    return tensor.view(np.ndarray)
