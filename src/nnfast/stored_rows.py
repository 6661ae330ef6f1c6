"""Rows by key in files: safetensors, word2vec's own; and to and from gensim."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from nnfast import checks
from nnfast.formats import FormatError, safetensors
from nnfast.keyed_rows import Array, KeyedRows

FORMAT = {"nnfast.vectors": "1"}
"""What the metadata of a file of vectors says."""

_VECTORS, _WORDS, _ATTRIBUTE = "vectors", "words", "attribute."


class StoredRows(KeyedRows):
    """The files of `KeyedVectors`, which documents the rest."""

    def save(self, fname: str | os.PathLike[str]) -> None:
        """Write all of it to one file, whole or not at all.

        The file is safetensors: "vectors", "words" (JSON) and the attributes that are numbers.

        Raises
        ------
        FormatError
            An attribute is no number.
        OSError
            The file cannot be written; an older one stays as it was.
        """
        safetensors.save(fname, self.tensors(), FORMAT)

    def tensors(self) -> dict[str, Array]:
        """Return what `save` writes, by name."""
        import json

        words = np.frombuffer(json.dumps(self.index_to_key, default=int).encode(), np.uint8)
        columns = {_ATTRIBUTE + name: column for name, column in self.expandos.items()}
        return {_VECTORS: self._vectors, _WORDS: words, **columns}

    @classmethod
    def load(cls, fname: str | os.PathLike[str], mmap: str | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        fname
        mmap
            With "r" the vectors stay in the file and are read as they are used, by all processes
            from the same memory; they are read-only.

        Raises
        ------
        FormatError
            The file is damaged, or another one.
        """
        if mmap not in (None, "r"):
            raise checks.unknown("mmap", mmap, ["r"])
        tensors, metadata = safetensors.load(fname, frozenset({_VECTORS} if mmap else ()))
        return cls.of_tensors(fname, tensors, metadata)

    @classmethod
    def of_tensors(
        cls,
        fname: str | os.PathLike[str],
        tensors: Mapping[str, Array],
        metadata: Mapping[str, str],
    ) -> Self:
        """Return what a file held; FormatError if it is another one. Other tensors are left."""
        import json

        if not FORMAT.items() <= metadata.items() or not {_VECTORS, _WORDS} <= tensors.keys():
            raise FormatError(
                f"{os.fspath(fname)}: expected vectors that KeyedVectors.save wrote, got another "
                "file; word2vec's own are read by KeyedVectors.load_word2vec_format"
            )
        try:
            rows = cls(json.loads(tensors[_WORDS].tobytes()), tensors[_VECTORS])
            for name, column in tensors.items():
                if name.startswith(_ATTRIBUTE):
                    rows.expandos[name.removeprefix(_ATTRIBUTE)] = rows._column(name, column)
        except (ValueError, TypeError) as error:
            raise FormatError(f"{os.fspath(fname)}: {error}") from None
        return rows

    def save_word2vec_format(
        self,
        fname: str | os.PathLike[str],
        fvocab: str | os.PathLike[str] | None = None,
        binary: bool = False,
        total_vec: int | None = None,
        write_header: bool = True,
        sort_attr: str = "count",
    ) -> None:
        """Write the file of vectors that word2vec, gensim and others read.

        Parameters
        ----------
        fname
            Packed, if its name ends in .gz, .bz2 or .xz.
        fvocab
            Also write each word and its `sort_attr` to this file.
        binary
            float32 numbers, else text with digits that give back their bits.
        total_vec
            The number of words for the first line, if it is another one.
        write_header
            Write the first line: numbers of words and dimensions. GloVe's files have none.
        sort_attr
            The attribute whose greatest values come first; as rows are, if there is none.

        Raises
        ------
        FormatError
            A word has white space in it.
        OSError
            A file cannot be written; an older one stays as it was.
        """
        from nnfast.formats import vectors as files

        words, rows = self.index_to_key, self._vectors
        values = self.expandos.get(sort_attr)
        if values is not None:
            order = np.argsort(-values, kind="stable")
            words, rows, values = [words[i] for i in order.tolist()], rows[order], values[order]
        elif fvocab is not None:
            raise ValueError(
                f"fvocab: expected the attribute {sort_attr!r} to write, which no word has"
            )
        header = total_vec if total_vec is not None else len(words)
        files.write(fname, words, rows, binary=binary, header=header if write_header else None)
        if fvocab is not None and values is not None:
            files.write_counts(fvocab, words, values.tolist())

    @classmethod
    def load_word2vec_format(
        cls,
        fname: str | os.PathLike[str],
        fvocab: str | os.PathLike[str] | None = None,
        binary: bool = False,
        encoding: str = "utf8",
        unicode_errors: str = "strict",
        limit: int | None = None,
        datatype: DTypeLike = np.float32,
        no_header: bool = False,
    ) -> Self:
        """Read a file of vectors that word2vec, gensim or others wrote.

        Parameters
        ----------
        fname
            Unpacked, if its name ends in .gz, .bz2 or .xz.
        fvocab
            A file of words and counts. Without one, the attribute "count" is made up: n for the
            first word down to 1 for the last, as gensim does.
        binary
            Numbers are float32, not text.
        encoding, unicode_errors
            How bytes become words; "replace" or "ignore" pass over what is not in the encoding.
        limit
            Read the first so many words only.
        datatype
            The vectors' dtype.
        no_header
            The first line is a word already, as in GloVe's files.

        Raises
        ------
        FormatError
            The file breaks the format, or does not hold what its first line says; the message says
            where and what to do.

        Warns
        -----
        UserWarning
            A word stands twice: the first one is kept.
        """
        from nnfast.formats import vectors as files

        words, vectors = files.read(
            fname,
            binary=binary,
            limit=limit,
            dtype=datatype,
            encoding=encoding,
            unicode_errors=unicode_errors,
            no_header=no_header,
        )
        counts: list[int] | range = range(len(words), 0, -1)
        if fvocab is not None:
            known = files.read_counts(fvocab, encoding, unicode_errors)
            missing = next((word for word in words if word not in known), None)
            if missing is not None:
                raise FormatError(
                    f"{os.fspath(fvocab)}: expected a count for each word of {os.fspath(fname)}, "
                    f"got none for {missing!r}; take the file that was written with it"
                )
            counts = [known[word] for word in words]
        return cls(words, vectors, counts)

    def to_gensim(self) -> Any:
        """Return a copy as gensim.models.KeyedVectors; ModuleNotFoundError without gensim."""
        try:
            from gensim.models import KeyedVectors as Theirs
        except ImportError:
            raise ModuleNotFoundError("to_gensim needs gensim; pip install gensim") from None
        theirs = Theirs(self.vector_size, len(self), self._vectors.dtype)
        theirs.index_to_key = list(self.index_to_key)
        theirs.key_to_index = dict(self.key_to_index)
        theirs.next_index = len(self)
        theirs.vectors[...] = self._vectors
        theirs.expandos = {name: column.copy() for name, column in self.expandos.items()}
        return theirs

    @classmethod
    def from_gensim(cls, vectors: Any) -> Self:
        """Return a copy of a gensim.models.KeyedVectors."""
        ours = cls(vectors.index_to_key, np.array(vectors.vectors))
        ours.expandos = {name: np.array(column) for name, column in vectors.expandos.items()}
        return ours
