"""nnfast.ops against NumPy, over all the ways an array can lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfast as nn
from nnfast import ops

NAMES = ("identity", "sigmoid", "tanh", "relu", "softmax")


def reference(z: Any, name: str) -> Any:
    z = np.asarray(z, np.float64)
    if name == "softmax":
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    return {
        "identity": lambda: z,
        "sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "tanh": lambda: np.tanh(z),
        "relu": lambda: np.maximum(z, 0),
        "step": lambda: (z > 0).astype(float),
    }[name]()


def gradient(y: Any, dy: Any, name: str) -> Any:
    y, dy = np.asarray(y, np.float64), np.asarray(dy, np.float64)
    return {
        "identity": lambda: dy,
        "sigmoid": lambda: dy * y * (1 - y),
        "tanh": lambda: dy * (1 - y * y),
        "relu": lambda: dy * (y > 0),
        "softmax": lambda: y * (dy - (dy * y).sum(axis=-1, keepdims=True)),
    }[name]()


def misaligned(a: Any) -> Any:
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]
    copy = np.frombuffer(raw.data, a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


# Ways to hold the same numbers; integers and bool hold rounded ones.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda a: a,
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "negative": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "misaligned": misaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
}
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-12}}


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def operands(dtype: str, m: int = 37, n_in: int = 29, n_out: int = 23) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    shapes = ((m, n_in), (n_in, n_out), (n_out,), (m, n_out))
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(current: Any, dtype: str, layout: str, name: str) -> None:
    lay = LAYOUTS[layout]
    x, w, b, dy = operands(dtype)
    kept = [a.copy() for a in (x, w, b, dy)]
    y = ops.dense_forward(lay(x), lay(w), b, name)
    precise = "float64" if layout == "list" else dtype
    assert y.dtype == precise
    assert y.flags.c_contiguous
    np.testing.assert_allclose(y, reference(x.astype(float) @ w + b, name), **TOLERANCE[dtype])
    dx, dw, db = ops.dense_backward(lay(x), lay(w), lay(y), lay(dy), name)
    dz = gradient(y, dy, name)
    for got, want in ((dx, dz @ w.T), (dw, x.T @ dz), (db, dz.sum(axis=0))):
        np.testing.assert_allclose(got, want, **TOLERANCE[dtype])
    np.testing.assert_allclose(ops.activation(lay(x), name), reference(x, name), **TOLERANCE[dtype])
    np.testing.assert_allclose(ops.activation_grad(lay(y), lay(dy), name), dz, **TOLERANCE[dtype])
    for a, before in zip((x, w, b, dy), kept, strict=True):
        assert np.array_equal(a, before)


@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool", "float16"]
)
def test_other_types_of_x(current: Any, kind: str) -> None:
    _, w, b, _ = operands("float32")
    x = np.random.default_rng(1).integers(0, 2 if kind == "bool" else 100, (11, 29)).astype(kind)
    y = ops.dense_forward(x, w, b)
    wide = np.result_type(x, np.float32).itemsize > 4
    assert y.dtype == ("float64" if wide else "float32")
    np.testing.assert_allclose(y, x.astype(float) @ w + b, rtol=1e-4, atol=1e-3)


def test_broadcast_rows_and_no_bias(current: Any, dtype: str) -> None:
    x, w, _, _ = operands(dtype)
    y = ops.dense_forward(np.broadcast_to(x[0], (300, 29)), w)
    np.testing.assert_allclose(y, np.tile(x[0] @ w, (300, 1)), **TOLERANCE[dtype])
    assert np.all(y == y[0])


def test_out_receives_the_result(current: Any, dtype: str) -> None:
    x, w, b, _ = operands(dtype)
    want = ops.dense_forward(x, w, b, "tanh")
    for out in (
        np.empty_like(want),
        np.empty((want.shape[0], 2 * want.shape[1]), dtype)[:, ::2],
        np.asfortranarray(np.empty_like(want)),
    ):
        assert ops.dense_forward(x, w, b, "tanh", out=out) is out
        assert np.array_equal(out, want)
        assert ops.activation(want, "sigmoid", out=out) is out
    with pytest.raises(ValueError, match=r"out: expected shape \(37, 23\).*got \(3, 3\)"):
        ops.dense_forward(x, w, b, out=np.empty((3, 3)))
    with pytest.raises(ValueError, match="read-only"):
        ops.activation(want, "relu", out=read_only(want))


@pytest.mark.parametrize("shape", [(0, 29), (5, 29)])
def test_empty(current: Any, shape: tuple[int, int]) -> None:
    _, w, b, _ = operands("float32")
    x = np.zeros(shape, np.float32)
    y = ops.dense_forward(x, w, b)
    assert y.shape == (shape[0], 23)
    dx, dw, db = ops.dense_backward(x, w, y, y)
    assert dx is not None
    assert (dx.shape, dw.shape, db.shape) == (shape, w.shape, (23,))
    assert np.all(dw == 0)
    assert ops.activation(x[:0], "softmax").shape == (0, 29)


def test_same_bits_on_any_number_of_threads(current: Any, dtype: str) -> None:
    x, w, b, dy = operands(dtype, 700, 300, 70)
    labels = np.arange(700) % 70
    results = set()
    for threads in (1, 2, 3, 8):
        y = ops.dense_forward(x, w, b, "tanh", threads=threads)
        gradients = ops.dense_backward(x, w, y, dy, "tanh", threads=threads)
        big = np.tile(x, (2, 4))
        loss, dz = ops.softmax_cross_entropy(y, labels, threads=threads)
        theta = big.copy()
        ops.sgd_update(theta, big, 0.1, threads=threads)
        arrays = (
            y,
            *gradients,
            ops.activation(big, "sigmoid", threads=threads),
            dz,
            theta,
            np.float64(loss),
        )
        results.add(b"".join(np.asarray(a).tobytes() for a in arrays))
    assert len(results) == 1 or current.name == "reference"


def test_need_dx(current: Any, dtype: str) -> None:
    x, w, b, dy = operands(dtype)
    y = ops.dense_forward(x, w, b, "relu")
    with_dx, without = (
        ops.dense_backward(x, w, y, dy, "relu"),
        ops.dense_backward(x, w, y, dy, "relu", need_dx=False),
    )
    assert without[0] is None
    assert np.array_equal(with_dx[1], without[1])
    assert np.array_equal(with_dx[2], without[2])


@pytest.mark.parametrize("name", ["identity", "sigmoid", "tanh", "relu", "step"])
def test_nan_inf_and_zero_go_through(current: Any, dtype: str, name: str) -> None:
    z = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0] * 5, dtype)
    got = ops.activation(z, name)
    with np.errstate(all="ignore"):
        want = np.where(np.isnan(z), np.nan, reference(z, name))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    for bad in (np.nan, np.inf):
        x, w, b, _ = operands(dtype)
        x[3, 5] = bad
        y = ops.dense_forward(x, w, b)
        with np.errstate(all="ignore"):
            assert np.array_equal(np.isfinite(y), np.isfinite(x @ w + b))


def test_softmax_cross_entropy(current: Any, dtype: str) -> None:
    rng = np.random.default_rng(3)
    for n in (1, 2, 10, 16, 17, 100):
        z = (30 * rng.normal(size=(300, n))).astype(dtype)
        labels = rng.integers(0, n, 300)
        loss, dz = ops.softmax_cross_entropy(z, labels.astype(np.int32))
        p = reference(z, "softmax")
        shifted = z.astype(float) - z.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        assert loss == pytest.approx(-log_p[np.arange(300), labels].mean(), rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(dz, (p - np.eye(n)[labels]) / 300, rtol=1e-4, atol=1e-8)


def test_sgd_update(current: Any, dtype: str) -> None:
    rng = np.random.default_rng(4)
    for n in (1, 15, 16, 17, 1000):
        theta, g = rng.normal(size=n).astype(dtype), rng.normal(size=n)
        before = theta.copy()
        ops.sgd_update(theta, g, lr=0.3)
        np.testing.assert_allclose(theta, before - 0.3 * g, rtol=1e-5, atol=1e-6)
        every_second = np.zeros(2 * n, dtype)
        every_second[::2] = before
        ops.sgd_update(every_second[::2], g, lr=0.3)
        assert np.array_equal(every_second[::2], theta)
        assert np.all(every_second[1::2] == 0)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: ops.dense_forward(np.ones(3), np.ones((3, 2))),
        ValueError,
        r"x: expected 2 axes.*\(3,\)",
    ),
    (
        lambda: ops.dense_forward(np.ones((2, 3)), np.ones((4, 2))),
        ValueError,
        r"w: expected shape \(3, any\).*\(4, 2\)",
    ),
    (
        lambda: ops.dense_forward(np.ones((2, 3)), np.ones((3, 2)), np.ones(3)),
        ValueError,
        r"b: expected shape \(2\)",
    ),
    (
        lambda: ops.dense_forward(np.ones((2, 3)) * 1j, np.ones((3, 2))),
        TypeError,
        "x: expected real numbers, got complex",
    ),
    (
        lambda: ops.dense_forward(np.array([["a"]]), np.ones((1, 2))),
        TypeError,
        "x: expected real numbers",
    ),
    (
        lambda: ops.dense_forward(np.ones((2, 3)), np.ones((3, 2)), activation="rleu"),
        ValueError,
        "did you mean 'relu'",
    ),
    (
        lambda: ops.dense_forward(np.ones((2, 3)), np.ones((3, 2)), threads=0),
        ValueError,
        "threads: expected",
    ),
    (
        lambda: ops.dense_forward(np.ones((2, 0)), np.ones((0, 2))),
        ValueError,
        "at least one column",
    ),
    (lambda: ops.activation_grad(np.ones(3), np.ones(4), "tanh"), ValueError, "dy: expected shape"),
    (lambda: ops.activation_grad(np.ones(3), np.ones(3), "step"), ValueError, "derivative is zero"),
    (
        lambda: ops.softmax_cross_entropy(np.ones((2, 3)), [0.0, 1.0]),
        TypeError,
        "labels: expected integers",
    ),
    (
        lambda: ops.softmax_cross_entropy(np.ones((2, 3)), [0, 3]),
        ValueError,
        "classes from 0 to 2.*got 3",
    ),
    (lambda: ops.softmax_cross_entropy(np.ones((2, 3)), [0, -1]), ValueError, "got -1"),
    (
        lambda: ops.softmax_cross_entropy(np.ones((2, 3)), [0]),
        ValueError,
        r"labels: expected shape \(2\)",
    ),
    (
        lambda: ops.sgd_update([1.0], [1.0], 0.1),
        TypeError,
        "theta: expected a float32 or float64 array",
    ),
    (lambda: ops.sgd_update(np.ones(2), np.ones(3), 0.1), ValueError, "grad: expected shape"),
    (lambda: ops.sgd_update(read_only(np.ones(2)), np.ones(2), 0.1), ValueError, "read-only"),
    (
        lambda: ops.sgd_update(np.ones(2), np.ones(2), np.nan),
        ValueError,
        "lr: expected a finite number",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD, ids=[words[:30] for _, _, words in BAD])
def test_bad_input_is_named(
    current: Any, call: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 70),
    n_in=st.integers(1, 70),
    n_out=st.integers(1, 70),
    seed=st.integers(0, 99),
    step=st.integers(1, 3),
    flip=st.booleans(),
)
def test_small_integers_are_exact(
    m: int, n_in: int, n_out: int, seed: int, step: int, flip: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (m * step, n_in)).astype(np.float32)[::step][:: -1 if flip else 1]
    w, b = (
        rng.integers(-3, 4, (n_in, n_out)).astype(np.float32),
        rng.integers(-3, 4, n_out).astype(np.float32),
    )
    dy = rng.integers(-3, 4, (m, n_out)).astype(np.float32)
    y = nn.ops.dense_forward(x, w, b, "relu")
    assert np.array_equal(y, np.maximum(x @ w + b, 0))
    dx, dw, db = nn.ops.dense_backward(x, w, y, dy, "relu")
    dz = dy * (y > 0)
    assert np.array_equal(dx, dz @ w.T)
    assert np.array_equal(dw, x.T @ dz)
    assert np.array_equal(db, dz.sum(axis=0))
