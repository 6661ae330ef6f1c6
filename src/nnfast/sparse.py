"""Sparse X: matrices of scipy.sparse, taken without importing SciPy, become compressed rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast.plan import Array, Csr, Plan


def compressed(X: Any) -> Csr:
    """Return a sparse matrix in compressed rows, canonical, its own arrays where they can be used.

    Parameters
    ----------
    X : sparse array or matrix of scipy.sparse
        Of real numbers. Formats other than CSR are converted, and a CSR matrix whose columns are
        unsorted or repeated is copied; X itself stays as it is.

    Raises
    ------
    TypeError, ValueError
        Elements that are no real numbers; one axis; arrays that do not belong together.
    """
    if len(X.shape) != 2:
        raise ValueError(
            f"X: expected (samples, features), got a sparse array of shape {X.shape}; "
            "reshape it, for example with .reshape(1, -1)"
        )
    if X.dtype.kind not in "biuf":
        raise TypeError(
            f"X: expected a sparse array of real numbers, got dtype {X.dtype}; "
            "convert it first, for example with .astype('float32')"
        )
    rows = X.tocsr()
    _check(rows)
    if not _is_canonical(rows.indices, rows.indptr):
        rows = rows.copy()
        rows.has_sorted_indices = rows.has_canonical_format = False  # what a flag says may be old
        rows.sum_duplicates()
    n = int(rows.indptr[-1])
    return Csr(
        np.require(rows.data[:n], None, ("C", "A")),
        np.require(rows.indices[:n], np.int32, ("C", "A")),
        np.require(rows.indptr, np.int64, ("C", "A")),
        X.shape,
    )


def readable(x: Csr, plan: Plan, dtype: np.dtype[Any]) -> Csr:
    """Return x of the network's dtype; ValueError if the plan reads it by anything but Dense."""
    for row in plan.rows:
        if 0 in row.inputs and row.op != "dense":
            raise ValueError(
                f"X: expected a dense array for a network that begins with {row.op!r}, got a "
                "sparse one, which only a first Dense layer can read; pass X.toarray() in parts, "
                "or begin with Dense"
            )
    data = np.require(x.data, dtype, ("C", "A"))
    return Csr(data, x.indices, x.indptr, x.shape)


def _check(rows: Any) -> None:
    """Refuse what a kernel would read outside its arrays."""
    data, indices, indptr, (n, columns) = rows.data, rows.indices, rows.indptr, rows.shape
    whole = len(data) == len(indices) and len(indptr) == n + 1 and indptr[0] == 0
    whole = whole and bool((indptr[1:] >= indptr[:-1]).all()) and indptr[-1] <= len(data)
    if whole and len(indices):
        whole = indices.min() >= 0 and indices.max() < columns
    if not whole:
        raise ValueError(
            f"X: expected a CSR matrix of shape {rows.shape} whose indptr ascends from 0 to at "
            f"most {len(data)} and whose indices lie in 0 to {columns - 1}, got others; "
            "build it anew, X.check_format() says what is wrong"
        )


def _is_canonical(indices: Array, indptr: Array) -> bool:
    """Whether the columns of each row ascend, without repeats."""
    ascends = indices[1 : indptr[-1]] > indices[: max(indptr[-1] - 1, 0)]
    starts = indptr[1:-1]
    ascends[starts[(starts > 0) & (starts < indptr[-1])] - 1] = True
    return bool(ascends.all())
