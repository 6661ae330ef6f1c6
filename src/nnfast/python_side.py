"""What a run asks of Python: the functions of Custom layers, and losses that are functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast.losses import Loss
from nnfast.plan import Array, Functions, Job


@dataclass(frozen=True, eq=False, slots=True)
class Exchange:
    """The arrays of one function, for whole minibatches; empty where it has none.

    x (m, n_in), y and dy (m, n_out), dx (m, n_in), parameters w and their gradient dw (n,); of a
    loss y, dy and the rows' losses (m,).
    """

    x: Array
    y: Array
    dy: Array
    dx: Array
    w: Array
    dw: Array
    losses: Array


class PythonSide:
    """The arrays that kernels exchange with a job's functions, and the calls of these.

    Attributes
    ----------
    exchanges : list of Exchange
        One for each function of the plan.
    loss_exchange : Exchange or None
        That of a loss which is a function.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        dtype, rows = job.theta.dtype, min(job.batch_size, len(job.order))
        none = np.empty(0, dtype)

        def zeros(*shape: int) -> Array:
            return np.zeros(shape, dtype)

        self.exchanges: list[Exchange] = []
        for row in job.plan.rows:
            if row.op == "custom":
                names = ("n_in", "n_out", "n_parameters")
                n_in, n_out, n = (int(row.attributes[name]) for name in names)
                x, y, dy, dx = (zeros(rows, width) for width in (n_in, n_out, n_out, n_in))
                self.exchanges.append(Exchange(x, y, dy, dx, zeros(n), zeros(n), none))
        self.loss_exchange: Exchange | None = None
        if job.loss is not None and job.loss.function is not None:
            y, dy = zeros(rows, job.plan.n_out), zeros(rows, job.plan.n_out)
            self.loss_exchange = Exchange(none, y, dy, none, none, none, np.zeros(rows))

    def __call__(self, which: int, backward: bool, first: int, rows: int) -> None:
        """Answer for `rows` rows of the job's order from `first` on; which -1 is the loss."""
        if which < 0:
            self._loss(first, rows)
            return
        functions, e = self._job.plan.functions[which], self.exchanges[which]
        if backward:
            e.dx[:rows], e.dw[:] = call_backward(
                functions, e.x[:rows], e.y[:rows], e.dy[:rows], e.w
            )
        else:
            e.y[:rows] = call_forward(functions, e.x[:rows], e.w)

    def _loss(self, first: int, rows: int) -> None:
        job, e = self._job, self.loss_exchange
        if job.loss is None or job.y is None or e is None:
            return
        which = job.order[first : first + rows]
        weight = None if job.sample_weight is None else job.sample_weight[which]
        y_pred = e.y[:rows].reshape(rows, *job.plan.output_shape)
        values, slopes = call_loss(job.loss, y_pred, job.y[which], weight)
        e.losses[:rows], e.dy[:rows] = values, slopes.reshape(rows, -1)


def call_forward(functions: Functions, x: Array, w: Array) -> Array:
    """Return y (m, n_out) of x (m, n_in) and the parameters w (n_parameters,)."""
    own = () if functions.parameter_shape is None else (w.reshape(functions.parameter_shape),)
    y = functions.forward(x.reshape(len(x), *functions.input_shape), *own)
    return _checked("forward", "y", y, (len(x), *functions.output_shape))


def call_backward(
    functions: Functions, x: Array, y: Array, dy: Array, w: Array
) -> tuple[Array, Array]:
    """Return dx (m, n_in) and dw (n_parameters,)."""
    m = len(x)
    arrays = (
        x.reshape(m, *functions.input_shape),
        y.reshape(m, *functions.output_shape),
        dy.reshape(m, *functions.output_shape),
    )
    shape = functions.parameter_shape
    if shape is None:
        dx, dw = functions.backward(*arrays), w
    else:
        pair = functions.backward(*arrays, w.reshape(shape))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                f"Custom backward: expected (dx, dw), as the layer has parameters, got an object "
                f"of type {type(pair).__name__}; return both"
            )
        dx, dw = pair[0], _checked("backward", "dw", pair[1], shape, flat=True)
    return _checked("backward", "dx", dx, arrays[0].shape), dw


def call_loss(
    loss: Loss, y_pred: Array, y_true: Array, weight: Array | None
) -> tuple[NDArray[np.float64], Array]:
    """Return the loss of each row (m,) and the derivative of their mean, weights included."""
    assert loss.function is not None
    m = len(y_pred)
    pair = loss.function(y_pred, y_true)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(
            f"loss {loss.name!r}: expected (value, dvalue/dy_pred), got an object of type "
            f"{type(pair).__name__}; return both"
        )
    values, slopes = np.asarray(pair[0], np.float64), np.asarray(pair[1])
    if slopes.shape != y_pred.shape or values.shape not in ((), (m,)):
        raise ValueError(
            f"loss {loss.name!r}: expected a number or an array ({m},), and a derivative of shape "
            f"{y_pred.shape}, got shapes {values.shape} and {slopes.shape}"
        )
    if values.ndim == 0:
        if weight is not None:
            raise ValueError(
                f"loss {loss.name!r}: expected the loss of each row, shape ({m},), for "
                "sample_weight and class_weight to weigh, got one number; return an array"
            )
        return np.full(m, values), slopes
    factors = np.ones(m) if weight is None else weight.astype(np.float64)
    return values * factors, slopes * (factors / m).reshape(-1, *(1,) * (slopes.ndim - 1))


def _checked(
    function: str, name: str, value: Any, shape: tuple[int, ...], flat: bool = False
) -> Array:
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "biuf":
        raise ValueError(
            f"Custom {function}: expected {name} of shape {shape}, got {array.dtype} of shape "
            f"{array.shape}; check the function and output_shape"
        )
    return array.reshape(-1) if flat else array.reshape(len(array), -1)
