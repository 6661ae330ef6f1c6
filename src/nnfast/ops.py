"""The hot functions of a hand-written network, on plain NumPy arrays.

They take arrays of any strides, byte order and real type, read-only ones too, and compute in
float32 if all operands fit in it, else in float64. ``out`` receives the result and is returned; it
must not overlap an operand. A call's working memory is kept for the next one, up to 64 MB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import activations, backend, checks

Array = NDArray[Any]


def dense_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    activation: str = "identity",
    *,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Return ``activation(x @ w + b)``.

    Parameters
    ----------
    x : array_like, shape (m, n_in)
    w : array_like, shape (n_in, n_out)
    b : array_like, shape (n_out,), optional
    activation : str
        A name of `nnfast.activations.NAMES`; a softmax runs over the columns.
    out : ndarray, shape (m, n_out), optional
    threads : int, optional
        Default: `nnfast.get_num_threads`.

    Returns
    -------
    ndarray, shape (m, n_out)
        Row i has the same bits whatever the other rows and the number of threads.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, other types than real numbers, or an unknown activation.
    """
    machine = backend.current()
    if machine.plain:
        y = machine.plain.dense_forward(x, w, b, activation, out, threads)
        if y is not None:
            return y
    name = activations.canonical(activation)
    number = backend.resolve_threads(threads)
    x, w = _real("x", x, 2), _real("w", w, 2)
    dtype = _common(x, w)
    _expect("w", w, (x.shape[1], None), "one row for each column of x")
    bias = None if b is None else _dense(_real("b", b, 1), dtype)
    if bias is not None:
        _expect("b", bias, (w.shape[1],), "one element for each column of w")
    result = _Out(out, (len(x), w.shape[1]), dtype)
    if result.array.size and x.size:
        machine.dense_forward(_dense(x, dtype), _dense(w, dtype), bias, name, result.array, number)
    elif result.array.size:
        raise ValueError(f"x: expected at least one column, got shape {x.shape}")
    return result.done()


def dense_backward(
    x: ArrayLike,
    w: ArrayLike,
    y: ArrayLike,
    dy: ArrayLike,
    activation: str = "identity",
    z: ArrayLike | None = None,
    need_dx: bool = True,
    *,
    threads: int | None = None,
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of x, w and b, for y = `dense_forward` of them and the gradient of y.

    Parameters
    ----------
    x : array_like, shape (m, n_in)
    w : array_like, shape (n_in, n_out)
    y, dy : array_like, shape (m, n_out)
    activation : str
        As in the forward call.
    z : array_like, shape (m, n_out), optional
        ``x @ w + b``, which "gelu" and "silu" need for their derivative; no other does.
    need_dx : bool
        False: dx is not computed, as for the first layer of a network.
    threads : int, optional

    Returns
    -------
    dx : ndarray, shape (m, n_in), or None
    dw : ndarray, shape (n_in, n_out)
    db : ndarray, shape (n_out,)
        Summed over the rows.

    Raises
    ------
    ValueError, TypeError
        As `dense_forward`; and for "step", whose derivative is zero wherever it exists.
    """
    name = _differentiable(activation)
    machine = backend.current()
    if name in activations.NEEDS_Z:
        y = _before(z, name, np.shape(y))
    if machine.plain:
        gradients = machine.plain.dense_backward(x, w, y, dy, name, need_dx, threads)
        if gradients is not None:
            return gradients
    number = backend.resolve_threads(threads)
    x, w, y, dy = _real("x", x, 2), _real("w", w, 2), _real("y", y, 2), _real("dy", dy, 2)
    dtype = _common(x, w)
    _expect("w", w, (x.shape[1], None), "one row for each column of x")
    for label, array in (("y", y), ("dy", dy)):
        _expect(label, array, (len(x), w.shape[1]), "a row for each of x, a column for each of w")
    if not (x.size and y.size):
        dx = np.zeros(x.shape, dtype) if need_dx else None
        return dx, np.zeros(w.shape, dtype), np.zeros(w.shape[1], dtype)
    x, w, y, dy = (_dense(array, dtype) for array in (x, w, y, dy))
    return machine.dense_backward(x, w, y, dy, name, need_dx, number)


def activation(
    z: ArrayLike, name: str, *, out: Array | None = None, threads: int | None = None
) -> Array:
    """Return f(z), same shape as z, for f of `nnfast.activations.NAMES` (softmax: last axis)."""
    machine = backend.current()
    if threads is None and machine.plain:
        y = machine.plain.activation(z, None, name, out)
        if y is not None:
            return y
    z = _real("z", z)
    name = activations.canonical(name)
    dtype = _common(z)
    result = _Out(out, z.shape, dtype)
    if z.size:
        z = _dense(z, dtype)
        machine.activation(z, name, result.array, backend.resolve_threads(threads))
    return result.done()


def activation_grad(
    y: ArrayLike,
    dy: ArrayLike,
    name: str,
    z: ArrayLike | None = None,
    *,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Return the gradient of z for y = f(z) and the gradient of y; all of one shape.

    "gelu" and "silu" need z itself.
    """
    name = _differentiable(name)
    machine = backend.current()
    if threads is None and machine.plain and name not in activations.NEEDS_Z:
        gradient = machine.plain.activation(y, dy, name, out)
        if gradient is not None:
            return gradient
    y, dy = _real("y", y), _real("dy", dy)
    dtype = _common(y, dy)
    _expect("dy", dy, y.shape, "the shape of y")
    result = _Out(out, y.shape, dtype)
    if name in activations.NEEDS_Z:
        y = _before(z, name, y.shape)
    if y.size:
        y, dy = _dense(y, dtype), _dense(dy, dtype)
        machine.activation_grad(y, dy, name, result.array, backend.resolve_threads(threads))
    return result.done()


def softmax_cross_entropy(
    z: ArrayLike, labels: ArrayLike, *, out: Array | None = None, threads: int | None = None
) -> tuple[float, Array]:
    """Return the mean cross entropy of logits and its gradient.

    Parameters
    ----------
    z : array_like, shape (m, n)
        Logits.
    labels : array_like of int, shape (m,)
        Classes, each in [0, n).
    out : ndarray, shape (m, n), optional
        Receives dz.
    threads : int, optional

    Returns
    -------
    loss : float
    dz : ndarray, shape (m, n)
    """
    machine = backend.current()
    if threads is None and machine.plain:
        both = machine.plain.softmax_cross_entropy(z, labels, out)
        if both is not None:
            return both
    z = _real("z", z, 2)
    classes = np.asarray(labels)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, got {classes.dtype}; use labels.astype(int)")
    _expect("labels", classes, (len(z),), "one class for each row of z")
    if not z.size:
        raise ValueError(f"z: expected at least one row and one column, got shape {z.shape}")
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= z.shape[1]:
        raise ValueError(
            f"labels: expected classes from 0 to {z.shape[1] - 1}, one for each column of z, "
            f"got {low if low < 0 else high}"
        )
    dtype = _common(z)
    result = _Out(out, z.shape, dtype)
    values = machine.softmax_cross_entropy(
        _dense(z, dtype),
        _dense(classes, np.int64),
        result.array,
        backend.resolve_threads(threads),
    )
    return float(np.cumsum(values)[-1]) / len(z), result.done()  # added in row order


def sgd_update(theta: Array, grad: ArrayLike, lr: float, *, threads: int | None = None) -> None:
    """Make the step ``theta -= lr * grad`` in place, each element as one fused multiply-add.

    Parameters
    ----------
    theta : ndarray of float32 or float64, any shape
        Written in place.
    grad : array_like, shape of theta
    lr : float
        Learning rate, finite.
    threads : int, optional
    """
    machine = backend.current()
    if threads is None and machine.plain and machine.plain.sgd_update(theta, grad, lr):
        return
    if not isinstance(theta, np.ndarray) or theta.dtype.newbyteorder("=") not in (
        np.float32,
        np.float64,
    ):
        came = theta.dtype if isinstance(theta, np.ndarray) else type(theta).__name__
        raise TypeError(f"theta: expected a float32 or float64 array to update, got {came}")
    if not theta.flags.writeable:
        raise ValueError("theta: expected a writable array, got a read-only one; pass a copy")
    gradient = _real("grad", grad)
    _expect("grad", gradient, theta.shape, "the shape of theta")
    checks.number("lr", lr, "a finite number", np.isfinite)
    result = _Out(theta, theta.shape, theta.dtype.newbyteorder("="), keep=True)
    if theta.size:
        gradient = _dense(gradient, result.array.dtype)
        number = backend.resolve_threads(threads)
        machine.sgd_update(result.array, gradient, float(lr), number)
    result.done()


class _Out:
    """The array a kernel writes: the caller's if it is contiguous and of the type, else our own."""

    def __init__(
        self, out: Array | None, shape: tuple[int, ...], dtype: Any, keep: bool = False
    ) -> None:
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise TypeError(f"out: expected an array, got {type(out).__name__}")
            _expect("out", out, shape, "the shape of the result")
            if out.dtype.kind != "f" or not out.flags.writeable:
                raise ValueError(
                    f"out: expected a writable array of {dtype}, got {out.dtype}"
                    f"{'' if out.flags.writeable else ', read-only'}"
                )
        self._out = out
        fits = out is not None and out.dtype == dtype and out.dtype.isnative
        if out is not None and fits and out.flags.c_contiguous and out.flags.aligned:
            self.array: Array = out
        elif out is not None and keep:
            self.array = _dense(out, dtype).copy()
        else:
            self.array = np.empty(shape, dtype)

    def done(self) -> Array:
        if self._out is None or self._out is self.array:
            return self.array
        self._out[...] = self.array
        return self._out


def _real(name: str, value: ArrayLike, ndim: int | None = None) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected real numbers, got {array.dtype}; convert it with .astype(float)"
        )
    if ndim is not None and array.ndim != ndim:
        raise ValueError(
            f"{name}: expected {ndim} axes, got shape {array.shape}; a single sample is x[None, :]"
            if ndim == 2
            else f"{name}: expected {ndim} axis, got shape {array.shape}"
        )
    return array


def _expect(name: str, array: Array, shape: tuple[int | None, ...], meaning: str) -> None:
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: expected shape ({wanted}), {meaning}, got {array.shape}")


def _common(*arrays: Array) -> np.dtype[Any]:
    """float32 if it holds the values of all operands, else float64."""
    types = [array.dtype for array in arrays]
    return np.dtype(np.float32 if np.result_type(np.float32, *types).itemsize == 4 else np.float64)


def _dense(array: ArrayLike, dtype: Any) -> Array:
    """Return `array` as dense and aligned memory of this dtype."""
    return np.require(np.asarray(array), dtype, ("C", "A"))


def _before(z: ArrayLike | None, activation: str, shape: tuple[int, ...]) -> Array:
    """Return z for an activation whose derivative y does not tell."""
    if z is None:
        raise ValueError(
            f"z: expected the input of {activation!r}, got None; its derivative cannot be had "
            "from y, so pass z=x @ w + b"
        )
    array = _real("z", z)
    _expect("z", array, shape, "the shape of y")
    return array


def _differentiable(activation: str) -> str:
    name = activations.canonical(activation)
    if name == "step":
        raise ValueError(
            "activation: expected one with a gradient, got 'step', whose derivative is zero "
            "wherever it exists; train with 'sigmoid' or 'tanh' instead"
        )
    return name
