"""Checks of X, y and the weights: what training gets has been looked at here, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnfast import checks, losses, sparse
from nnfast.losses import AnyLoss, Loss
from nnfast.plan import Array, Csr, Plan

_REAL = "biuf"


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Checked data: x (n, n_in), targets or labels y, weights (n,) or None, and their loss."""

    x: Array | Csr
    y: Array
    weight: Array | None
    loss: Loss

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Samples:
        weight = None if self.weight is None else self.weight[rows]
        return Samples(self.x[rows], self.y[rows], weight, self.loss)


def real_array(values: Any, name: str) -> Array:
    """Return `values`, an array or a frame, as an array of real numbers; TypeError for others.

    Without a copy where NumPy makes none. What is missing in a column of numbers becomes NaN.
    """
    if hasattr(values, "toarray"):
        raise TypeError(
            f"{name}: expected a dense array, got sparse {type(values).__name__}; "
            f"pass {name}.toarray()"
        )
    array = np.asarray(values)
    if array.dtype.kind not in _REAL and (columns := _columns(values)) is not None:
        return _stacked(columns, name)
    if array.dtype.kind not in _REAL:
        came = f"dtype {array.dtype}"
        if array.ndim == 0:
            came = f"an object of type {type(values).__name__}"
        raise TypeError(
            f"{name}: expected an array of real numbers, got {came}; convert it first, numbers "
            "with .astype('float32'), text and classes with nnfast.preprocessing"
        )
    return array


def _columns(frame: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the names and columns of a frame of pyarrow, polars or pandas; None for others."""
    if hasattr(frame, "column_names"):
        return zip(frame.column_names, frame.columns, strict=True)
    if hasattr(frame, "iter_columns"):
        return ((column.name, column) for column in frame.iter_columns())
    if hasattr(frame, "columns"):
        return ((label, column) for label, column in frame.items())
    return None


def _stacked(columns: Iterable[tuple[Any, Any]], name: str) -> Array:
    """Return columns of several types, which have no common one in their library, as one array."""
    arrays = [(label, np.asarray(column)) for label, column in columns]
    strange = [f"{label!r} ({a.dtype})" for label, a in arrays if a.dtype.kind not in _REAL]
    if strange:
        more = ", ..." if len(strange) > 5 else ""
        raise TypeError(
            f"{name}: expected numbers in every column, got {', '.join(strange[:5])}{more}; drop "
            "these columns, fill what they lack, or encode them with nnfast.preprocessing"
        )
    return np.column_stack([array for _, array in arrays])


def features(X: Any) -> Array | Csr:
    """Return X as a real array of at least one sample and two axes, or as compressed rows."""
    if isinstance(X, Csr):
        return X
    x = sparse.compressed(X) if hasattr(X, "tocsr") else real_array(X, "X")
    if len(x.shape) < 2:
        raise ValueError(
            f"X: expected (samples, features), got shape {x.shape}; "
            "one sample is X[None, :], one feature is X[:, None]"
        )
    if 0 in x.shape:
        raise ValueError(f"X: expected at least one sample, got shape {x.shape}; pass some rows")
    return x


def matrix(X: Any, plan: Plan, dtype: np.dtype[Any]) -> Array | Csr:
    """Return X as (n, n_in) for the plan: a view where its dtype and strides allow one."""
    x = features(X)
    if x.shape[1:] != plan.input_shape:
        expected = ", ".join(str(axis) for axis in ("n", *plan.input_shape))
        raise ValueError(
            f"X: expected shape ({expected}) as the network was built, got {x.shape}; "
            "reshape X, or build() the network anew"
        )
    if isinstance(x, Csr):
        return sparse.readable(x, plan, dtype)
    return _storable(x.reshape(len(x), -1), dtype)


def samples(
    X: Any,
    y: Any,
    plan: Plan,
    dtype: np.dtype[Any],
    loss: AnyLoss | None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
) -> Samples:
    """Check X, y and the weights against the plan, and choose the loss if it is None.

    Raises
    ------
    TypeError, ValueError
        Whatever does not fit; the message names expected, got and remedy.
    """
    x = matrix(X, plan, dtype)
    targets = real_array(y, "y")
    if targets.ndim == 0 or len(targets) != len(x):
        raise ValueError(
            f"y: expected {len(x)} rows, one for each of X, got shape {targets.shape}; "
            "check that both come from the same split"
        )
    chosen = losses.infer(targets, plan.n_out) if loss is None else losses.get(loss)
    targets = _targets(targets, chosen, plan, dtype)
    weight = None if sample_weight is None else _weight(sample_weight, len(x), dtype)
    if class_weight is not None:
        factors = _class_factors(class_weight, targets, plan.n_out, chosen, dtype)
        weight = factors if weight is None else weight * factors
    return Samples(x, targets, weight, chosen)


def split(data: Samples, fraction: float) -> tuple[Samples, Samples]:
    """Return the first rows, and the last `fraction` of them for validation."""
    rows = len(data) - math.floor(len(data) * (1 - fraction))
    if not 0 < rows < len(data):
        raise ValueError(
            f"validation_split: expected some of the {len(data)} rows on both sides, got "
            f"{rows} for validation; change {fraction} or pass validation_data"
        )
    return data[: len(data) - rows], data[len(data) - rows :]


def _storable(array: Array, dtype: np.dtype[Any]) -> Array:
    """Cast the floats that no kernel reads (float16, longdouble)."""
    odd = array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)
    return array.astype(dtype) if odd else array


def _targets(y: Array, loss: Loss, plan: Plan, dtype: np.dtype[Any]) -> Array:
    if y.dtype.kind == "f" and y.size and not np.isfinite([y.min(), y.max()]).all():
        row = int(np.argmin(np.isfinite(y).reshape(len(y), -1).all(axis=1)))
        raise ValueError(f"y: expected finite numbers, got {y[row]} in row {row}; drop such rows")
    if loss.function is not None:
        return y
    if loss.name == "cross_entropy" and plan.n_out == 1:
        raise ValueError(
            "loss 'cross_entropy': expected at least two outputs, got 1; "
            "use 'binary_cross_entropy' or Dense(2)"
        )
    if loss.takes_labels and plan.n_out > 1 and (y.ndim == 1 or y.shape[1:] == (1,)):
        labels = _labels(y.reshape(-1), plan.n_out, loss)
        return _one_against_the_rest(labels, plan.n_out, dtype) if loss.signs else labels
    if y.ndim == 1 and plan.n_out == 1:
        y = y[:, None]
    if y.shape[1:] not in (plan.output_shape, (plan.n_out,)):
        also = ", or integer labels (n,)" if loss.takes_labels else ""
        raise ValueError(
            f"y: expected shape (n, {plan.n_out}){also} for loss {loss.name!r} and a network of "
            f"{plan.n_out} outputs, got {y.shape}; change y or the units of the last layer"
        )
    y = y.reshape(len(y), -1)
    if y.min() < loss.lowest or y.max() > loss.highest:
        top = f"to {loss.highest:g}" if math.isfinite(loss.highest) else "on"
        raise ValueError(
            f"y: expected values from {loss.lowest:g} {top} for loss {loss.name!r}, got "
            f"{y.min()} to {y.max()}; use loss='mse' for other targets"
        )
    if loss.signs:
        return _signs(y, loss, dtype)
    if loss.takes_labels and np.abs(y.sum(axis=1, dtype=np.float64) - 1).max() > 1e-4:
        raise ValueError(
            "y: expected one-hot rows or probabilities that sum to 1 for loss 'cross_entropy', "
            "got other sums; divide by them, or use 'binary_cross_entropy' for several labels"
        )
    return _storable(y, dtype)


def _signs(y: Array, loss: Loss, dtype: np.dtype[Any]) -> Array:
    low = 0 if (y == 0).any() else -1
    if not np.isin(y, (low, 1)).all():
        raise ValueError(
            f"y: expected -1 and 1, or 0 and 1, for loss {loss.name!r}, got {np.unique(y)[:5]}; "
            "renumber the classes"
        )
    return np.where(y > 0, 1, -1).astype(dtype)


def _one_against_the_rest(labels: Array, n_classes: int, dtype: np.dtype[Any]) -> Array:
    return np.where(labels[:, None] == np.arange(n_classes), 1, -1).astype(dtype)


def _labels(y: Array, n_classes: int, loss: Loss) -> Array:
    if y.dtype.kind == "f":
        raise TypeError(
            f"y: expected integer labels for loss {loss.name!r}, got dtype {y.dtype}; "
            "pass y.astype(int), or loss='mse' for regression"
        )
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(
            f"y: expected labels 0 to {n_classes - 1}, one for each output, got {y.min()} to "
            f"{y.max()}; renumber them or change the units of the last layer"
        )
    return np.require(y, np.int64, ("C", "A"))


def _weight(sample_weight: Any, n: int, dtype: np.dtype[Any]) -> Array:
    weight = real_array(sample_weight, "sample_weight")
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight: expected shape ({n},), one for each sample, got {weight.shape}"
            "; pass a flat array of one weight a sample"
        )
    weight = np.require(weight, dtype, ("C", "A"))
    if not (np.isfinite(weight).all() and weight.min() >= 0):
        raise ValueError(
            "sample_weight: expected finite numbers >= 0, got "
            f"{weight.min()} to {weight.max()}; replace the others, 0 leaves a sample out"
        )
    return weight


def _class_factors(
    class_weight: Mapping[int, float], y: Array, n_out: int, loss: Loss, dtype: np.dtype[Any]
) -> Array:
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "class_weight: expected a dict {label: weight}, got an object of type "
            f"{type(class_weight).__name__}; write for example {{0: 1.0, 1: 5.0}}"
        )
    if y.ndim == 2 and loss.signs:
        labels = y.argmax(axis=1) if n_out > 1 else y[:, 0] > 0
    else:
        labels = y if y.ndim == 1 else y[:, 0]
    if y.ndim == 2 and not loss.signs and (n_out > 1 or not np.isin(labels, (0, 1)).all()):
        raise ValueError(
            f"class_weight: expected class labels in y, got targets of shape {y.shape}; "
            "pass sample_weight instead"
        )
    factors = np.ones(max(n_out, 2))
    for label, weight in class_weight.items():
        if label not in range(len(factors)):
            raise ValueError(
                f"class_weight: expected labels 0 to {len(factors) - 1}, got {label!r}; remove it"
            )
        name = f"class_weight[{label}]"
        checks.number(name, weight, "a number >= 0", lambda v: 0 <= v < math.inf)
        factors[label] = weight
    return factors.astype(dtype)[labels.astype(np.int64)]
