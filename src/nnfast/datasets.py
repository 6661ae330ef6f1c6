"""Data sets: the digits that come with the package, and readers of files in MNIST's format."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_MAX_RATIO = 1032  # zlib, "Maximum Expansion Factor": a byte never yields more than this
_MAX_AXES = 32  # NumPy 1's
_PIECE = 1 << 20  # bytes read at a time
_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_digits() -> tuple[NDArray[np.float32], Labels]:
    """The 8x8 handwritten digits bundled with the package.

    Returns
    -------
    x : (1797, 64) float32
        Pixels in 0..1, one image a row.
    y : (1797,) int64
        The digit, 0 to 9.

    Notes
    -----
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI, CC BY 4.0), the
    test part; see ``data/ATTRIBUTION.md`` in the package.
    """
    with np.load(Path(__file__).parent / "data" / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return images.reshape(-1, 64) / np.float32(16), labels.astype(np.int64)


def load_mnist(
    directory: str | os.PathLike[str],
) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Read a data set in MNIST's format: four IDX files, plain or with ``.gz``.

    Parameters
    ----------
    directory
        The folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte`` (MNIST, Fashion-MNIST, KMNIST).

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        Images (n, height, width) uint8 in 0..255 and labels (n,) int64.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message names the four.
    ValueError
        A file is damaged, or images and labels do not belong together.
    """
    folder = Path(directory)
    paths = [_plain_or_gz(folder, name) for name in _MNIST_FILES]
    train = _images_and_labels(paths[0], paths[1])
    test = _images_and_labels(paths[2], paths[3])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"{folder}: training images are {train[0].shape[1:]} and test images "
            f"{test[0].shape[1:]} pixels; expected one size"
        )
    return train, test


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one IDX file, plain or gzip-compressed (recognised by content, not by name).

    Parameters
    ----------
    path
        The file: two zero bytes, a type, the number of axes, the axes as big-endian uint32, data.

    Returns
    -------
    array
        In the machine's byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        The file is no IDX file, or its sizes do not agree with its length. They are compared
        before memory is asked for, so a small file cannot claim much of it.
    """
    with open(path, "rb") as raw:
        file_size = os.fstat(raw.fileno()).st_size
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        try:
            if not compressed:
                return _read_idx(raw, Path(path), file_size)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read_idx(unpacked, Path(path), file_size * _DEFLATE_MAX_RATIO)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path}: damaged gzip file ({error}); fetch it again") from None


def _read_idx(file: BufferedIOBase, path: Path, most: int) -> NDArray[Any]:
    """Read an IDX stream that holds `most` bytes at most."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or not magic[3]:
        raise ValueError(
            f"{path}: not an IDX file: expected two zero bytes, a type of "
            f"{', '.join(f'0x{code:02x}' for code in _IDX_DTYPES)} and the number of axes; "
            f"got {magic.hex(' ') or 'an empty file'}"
        )
    n_axes = magic[3]
    if n_axes > _MAX_AXES:
        raise ValueError(f"{path}: header has {n_axes} axes; expected at most {_MAX_AXES}")
    axes = file.read(4 * n_axes)
    if len(axes) < 4 * n_axes:
        raise ValueError(f"{path}: ends inside its header of {n_axes} axes; fetch it again")
    shape = tuple(np.frombuffer(axes, ">u4").tolist())
    dtype = np.dtype(_IDX_DTYPES[magic[2]])
    if math.prod(axis or 1 for axis in shape) * dtype.itemsize >= 2**63:
        raise ValueError(f"{path}: header promises {shape}, which is beyond any memory")
    size = math.prod(shape) * dtype.itemsize
    if size > most - 4 - 4 * n_axes:
        raise ValueError(
            f"{path}: header promises {shape} of {dtype.name}, {size} bytes; the file is too "
            f"short to hold them; fetch it again"
        )
    data = np.empty(size, np.uint8)
    done = 0
    while piece := file.read(min(_PIECE, size - done + 1)):
        if done + len(piece) > size:
            raise ValueError(f"{path}: has bytes beyond the {size} that its header promises")
        data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if done < size:
        raise ValueError(f"{path}: holds {done} of the {size} bytes that its header promises")
    return data.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _plain_or_gz(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{folder}: no {name}; expected the four files {', '.join(_MNIST_FILES)}, "
        f"each plain or with .gz"
    )


def _images_and_labels(image_path: Path, label_path: Path) -> tuple[Images, Labels]:
    images, labels = load_idx(image_path), load_idx(label_path)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(
            f"{image_path}: expected images (n, height, width) of uint8, "
            f"got {images.shape} of {images.dtype}"
        )
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{label_path}: expected {len(images)} labels of uint8, one an image of "
            f"{image_path.name}; got {labels.shape} of {labels.dtype}"
        )
    return images, labels.astype(np.int64)
