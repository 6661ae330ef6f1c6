"""nnfast.ops against NumPy: whatever the arrays' layout, type and values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import DTYPES, EPS, each_dtype
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnfast import ops
from nnfast.activations import NAMES, NEEDS_Z

SLOPED = [name for name in NAMES if name != "step"]
each_activation = pytest.mark.parametrize("name", NAMES)
each_slope = pytest.mark.parametrize("name", SLOPED)


def activate(z: Any, name: str) -> Any:
    """Return f(z) as one would write it, in float64."""
    z = np.asarray(z, np.float64)
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            return 1 / (1 + np.exp(-z))
        if name == "softmax":
            powers = np.exp(z - z.max(axis=-1, keepdims=True))
            return powers / powers.sum(axis=-1, keepdims=True)
        if name == "step":
            return np.where(np.isnan(z), z, z > 0)
        functions: dict[str, Callable[[Any], Any]] = {
            "identity": np.copy,
            "tanh": np.tanh,
            "relu": lambda z: np.maximum(z, 0),
            "leaky_relu": lambda z: np.where(z < 0, 0.01 * z, z),
            "elu": lambda z: np.where(z < 0, np.expm1(z), z),
            "gelu": lambda z: z * normal_cdf(z),
            "silu": lambda z: z / (1 + np.exp(-z)),
            "softplus": lambda z: np.logaddexp(z, 0),
            "arctan": np.arctan,
        }
        return functions[name](z)


@np.vectorize
def normal_cdf(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


def slope(y: Any, dy: Any, name: str) -> Any:
    """Return dz of y = f(z) and dy, in float64; for gelu and silu y is z."""
    y, dy = np.asarray(y, np.float64), np.asarray(dy, np.float64)
    if name == "softmax":
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    with np.errstate(over="ignore"):
        s = 1 / (1 + np.exp(-y))
        slopes: dict[str, Callable[[], Any]] = {
            "identity": lambda: 1,
            "sigmoid": lambda: y * (1 - y),
            "tanh": lambda: 1 - y * y,
            "relu": lambda: y > 0,
            "leaky_relu": lambda: np.where(y <= 0, 0.01, 1),
            "elu": lambda: np.where(y <= 0, y + 1, 1),
            "gelu": lambda: normal_cdf(y) + y * np.exp(-y * y / 2) / math.sqrt(2 * math.pi),
            "silu": lambda: s * (1 + y * (1 - s)),
            "softplus": lambda: 1 - np.exp(-y),
            "arctan": lambda: np.cos(np.clip(y, -np.pi / 2, np.pi / 2)) ** 2,
        }
        return dy * slopes[name]()


def numbers(*shape: int, dtype: str = "float64", seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_near(found: Any, expected: Any, dtype: str, factor: float = 100) -> None:
    assert found.dtype == dtype
    assert found.shape == np.shape(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=factor * EPS[dtype] * scale)


def misaligned(array: Any) -> Any:
    """Return a copy that starts one byte off."""
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    memory[:] = np.frombuffer(array.tobytes(), np.uint8)
    return memory.view(array.dtype).reshape(array.shape)


def read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "every third": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": read_only,
    "misaligned": misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
    "int8": lambda a: (a * 10).astype(np.int8),
    "uint8": lambda a: np.abs(a * 10).astype(np.uint8),
    "int64": lambda a: (a * 10).astype(np.int64),
    ">u2": lambda a: np.abs(a * 10).astype(">u2"),
    "bool": lambda a: a > 0,
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "subclass": lambda a: np.ma.array(a),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
GUARD = 77.0
OUTS: dict[str, Callable[[Any], Any]] = {
    "C": np.empty_like,
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.full((a.shape[0], 2 * a.shape[1]), GUARD, a.dtype)[:, ::2],
    "inner columns": lambda a: np.full((a.shape[0], a.shape[1] + 9), GUARD, a.dtype)[:, 4:-5],
    "reversed": lambda a: np.empty_like(a)[::-1, ::-1],
    "misaligned": misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "other dtype": lambda a: a.astype("f4" if a.dtype == "f8" else "f8"),
}
each_out = pytest.mark.parametrize("make", OUTS.values(), ids=OUTS)


def real(array: Any) -> Any:
    return np.asarray(array).astype(np.float64)


def dtype_of(*arrays: Any) -> str:
    """Return the dtype that ops promise: float32 if it holds all operands."""
    kinds = [np.asarray(array).dtype for array in arrays]
    return "float32" if np.result_type(np.float32, *kinds).itemsize == 4 else "float64"


@each_dtype
@each_layout
@pytest.mark.parametrize("threads", [1, 3])
def test_dense(current: Any, layout: Callable[[Any], Any], threads: int, dtype: str) -> None:
    """Each operand in each layout, forward and backward."""
    operands = {
        "x": numbers(23, 7, dtype=dtype),
        "w": numbers(7, 5, dtype=dtype, seed=1),
        "b": numbers(5, dtype=dtype, seed=2),
        "dy": numbers(23, 5, dtype=dtype, seed=3),
    }
    for name in operands:
        a = operands | {name: layout(operands[name])}
        x, w, b, dy = (real(a[key]) for key in ("x", "w", "b", "dy"))
        z = x @ w + b
        result = dtype_of(a["x"], a["w"])
        y = ops.dense_forward(a["x"], a["w"], a["b"], "tanh", threads=threads)
        assert_near(y, np.tanh(z), result)
        dx, dw, db = ops.dense_backward(a["x"], a["w"], y, a["dy"], "tanh", threads=threads)
        dz = dy * (1 - real(y) ** 2)
        for found, expected in ((dx, dz @ w.T), (dw, x.T @ dz), (db, dz.sum(0))):
            assert_near(found, expected, result)


@each_layout
def test_layout_of_y(current: Any, layout: Callable[[Any], Any]) -> None:
    x, w, dy = numbers(23, 7), numbers(7, 5, seed=1), numbers(23, 5, seed=2)
    y = layout(np.tanh(x @ w))
    dz = slope(y, dy, "tanh")
    for found, expected in zip(
        ops.dense_backward(x, w, y, dy, "tanh"), (dz @ w.T, x.T @ dz, dz.sum(0)), strict=True
    ):
        assert_near(found, expected, "float64", 1e4)


@each_dtype
@each_slope
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_dense_of_each_activation(current: Any, name: str, threads: int, dtype: str) -> None:
    for m, k, n in ((1, 1, 1), (3, 300, 2), (300, 5, 17), (600, 40, 33)):
        x, w, dy = (numbers(*s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
        b = numbers(n, dtype=dtype, seed=4)
        z = real(x) @ real(w) + b
        y = ops.dense_forward(x, w, b, name, threads=threads)
        assert_near(y, activate(z, name), dtype, 1000)
        z = z.astype(dtype)
        dx, dw, db = ops.dense_backward(x, w, y, dy, name, z, threads=threads)
        dz = slope(z if name in NEEDS_Z else y, dy, name)
        for found, expected in ((dx, dz @ real(w).T), (dw, real(x).T @ dz), (db, dz.sum(0))):
            assert_near(found, expected, dtype, 1000)
        none, dw2, db2 = ops.dense_backward(x, w, y, dy, name, z, False, threads=threads)
        assert none is None
        assert (dw2.tobytes(), db2.tobytes()) == (dw.tobytes(), db.tobytes())


def test_z_is_asked_for(current: Any) -> None:
    x, w = numbers(4, 3), numbers(3, 2)
    for name in NEEDS_Z:
        with pytest.raises(ValueError, match=r"z: expected the input of .*, got None"):
            ops.dense_backward(x, w, x @ w, x @ w, name)
        with pytest.raises(ValueError, match=r"z: expected shape \(4, 2\)"):
            ops.activation_grad(x @ w, x @ w, name, z=x)


@each_dtype
def test_dense_bits(fma_machines: list[Any], use: Any, dtype: str) -> None:
    """Forward and backward have the same bits on all instruction sets and any threads."""
    for m, k, n in ((1, 700, 3), (40, 300, 66), (700, 20, 10), (520, 260, 129)):
        x, w, dy = (numbers(*s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
        found = set()
        for machine in fma_machines:
            use(machine.isa)
            for threads in (1, 2, 3, 8):
                y = ops.dense_forward(x, w, w[0], "sigmoid", threads=threads)
                made = (y, *ops.dense_backward(x, w, y, dy, "sigmoid", threads=threads))
                found.add(b"".join(array.tobytes() for array in made if array is not None))
                assert ops.dense_forward(x[:1], w, w[0], "sigmoid").tobytes() == y[:1].tobytes()
        assert len(found) == 1


@each_dtype
@each_layout
@each_activation
def test_activation(current: Any, name: str, layout: Callable[[Any], Any], dtype: str) -> None:
    z = layout(numbers(13, 37, dtype=dtype) * 3)
    before = np.array(z, copy=True)
    assert_near(ops.activation(z, name), activate(z, name), dtype_of(z))
    assert np.array_equal(before, z)
    if name != "step":
        y, dy = layout(activate(numbers(13, 37), name).astype(dtype)), numbers(13, 37, dtype=dtype)
        for a, da in ((y, dy), (dy, y)):
            found = ops.activation_grad(a, da, name, a if name in NEEDS_Z else None)
            assert_near(found, slope(a, da, name), dtype_of(y, dy), 1e4)


@each_dtype
@each_out
def test_out(current: Any, make: Callable[[Any], Any], dtype: str) -> None:
    """`out` of any layout is filled, returned, and nothing beside it is written."""
    x, w, b = (numbers(*s, dtype=dtype) for s in ((9, 7), (7, 5), (5,)))
    z = x @ w
    labels = np.arange(9) % 5

    def fill(call: Callable[..., Any], pick: Callable[[Any], Any] = lambda made: made) -> None:
        expected, out = pick(call()), make(z)
        assert pick(call(out=out)) is out
        assert np.array_equal(out, expected.astype(out.dtype.newbyteorder("=")))
        if out.base is not None and out.base.dtype == out.dtype:
            out[...] = GUARD
            assert np.all(out.base == GUARD)

    fill(lambda **more: ops.dense_forward(x, w, b, "tanh", **more))
    fill(lambda **more: ops.activation(z, "sigmoid", **more))
    fill(lambda **more: ops.activation(z, "softmax", **more))
    fill(lambda **more: ops.activation_grad(z, z, "tanh", **more))
    fill(lambda **more: ops.softmax_cross_entropy(z, labels, **more), lambda made: made[1])


@each_dtype
@pytest.mark.parametrize("shape", [(), (0,), (1,), (257,), (3, 0), (2, 3, 5)], ids=str)
def test_any_shape(current: Any, shape: tuple[int, ...], dtype: str) -> None:
    z = np.full(shape, 0.5, dtype)
    for name in ("relu", "tanh"):
        assert_near(ops.activation(z, name), activate(z, name), dtype)
        assert_near(ops.activation_grad(z, z, name), slope(z, z, name), dtype)


@each_dtype
def test_empty(current: Any, dtype: str) -> None:
    x, w = np.empty((0, 4), dtype), np.ones((4, 3), dtype)
    assert ops.dense_forward(x, w, w[0]).shape == (0, 3)
    dx, dw, db = ops.dense_backward(x, w, np.empty((0, 3)), np.empty((0, 3)))
    assert dx is not None
    assert dx.shape == (0, 4)
    assert not dw.any()
    assert not db.any()
    assert ops.dense_forward(np.ones((2, 4)), np.empty((4, 0))).shape == (2, 0)
    ops.sgd_update(np.empty(0, dtype), np.empty(0, dtype), 0.1)


@each_dtype
@pytest.mark.parametrize("threads", [1, 3])
def test_softmax_cross_entropy(current: Any, threads: int, dtype: str) -> None:
    for m, n in ((1, 1), (2, 3), (300, 10), (5, 1001), (20000, 10)):
        z = numbers(m, n, dtype=dtype) * 5
        labels = np.random.default_rng(0).integers(0, n, m)
        J, dz = ops.softmax_cross_entropy(z, labels.astype("i2"), threads=threads)
        p = activate(z, "softmax")
        assert pytest.approx(-np.log(p[np.arange(m), labels]).mean(), rel=20 * EPS[dtype]) == J
        p[np.arange(m), labels] -= 1
        assert_near(dz, p / m, dtype, 20)


@each_dtype
def test_softmax_of_large_logits(current: Any, dtype: str) -> None:
    """Shifted by the maximum: no overflow, and a lost class costs what it should."""
    z = np.array([[1e4, 0, -1e4], [-3e4, -3e4, -3e4]], dtype)
    np.testing.assert_allclose(ops.activation(z, "softmax"), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    J, dz = ops.softmax_cross_entropy(z, np.array([2, 0]))
    assert pytest.approx((2e4 + np.log(3)) / 2) == J
    assert np.isfinite(dz).all()


@each_dtype
@pytest.mark.parametrize("threads", [1, 3])
def test_sgd_update(current: Any, threads: int, dtype: str) -> None:
    for n in (1, 5, 100, 300_001):
        theta, g = numbers(n, dtype=dtype), numbers(n, dtype=dtype, seed=1)
        expected = theta - real(g) * 0.1
        ops.sgd_update(theta, g, lr=0.1, threads=threads)
        assert_near(theta, expected, dtype, 2)


@each_layout
def test_sgd_update_reads_any_gradient(current: Any, layout: Callable[[Any], Any]) -> None:
    theta, g = numbers(11, 6), layout(numbers(11, 6, seed=1))
    expected = theta - 0.25 * real(g)
    ops.sgd_update(theta, g, 0.25)
    assert_near(theta, expected, "float64", 2)


@each_dtype
@pytest.mark.parametrize(
    "name", ["Fortran", "negative strides", "every third", "misaligned", "byte-swapped"]
)
def test_sgd_update_writes_any_theta(current: Any, name: str, dtype: str) -> None:
    theta, g = LAYOUTS[name](numbers(11, 6, dtype=dtype)), numbers(11, 6, dtype=dtype, seed=1)
    expected = real(theta) - 0.25 * real(g)
    ops.sgd_update(theta, g, 0.25)
    np.testing.assert_allclose(theta, expected, atol=4 * EPS[dtype])


SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 1e30, -1e30)


def assert_same_kind(found: Any, expected: Any) -> None:
    """NaN where it is expected, infinities with their sign; other numbers near."""
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-30)


@each_dtype
@each_activation
def test_special_values_of_activations(current: Any, name: str, dtype: str) -> None:
    if name == "softmax":
        for special in SPECIAL:
            z = np.zeros((2, 37), dtype)
            z[0, 30] = special
            assert_same_kind(ops.activation(z, name), activate(z, name))
        return
    z = np.resize(np.array(SPECIAL, dtype), 100)
    assert_same_kind(ops.activation(z, name), activate(z, name))
    if name != "step":
        y = np.resize(np.array([0.25, np.nan, -0.0], dtype), 100)
        dy = np.resize(np.array([np.nan, 1, np.inf, -np.inf], dtype), 100)
        found = ops.activation_grad(y, dy, name, y)
        if name == "relu":
            assert np.isnan(found[(y > 0) & np.isnan(dy)]).all()
            assert np.array_equal(found[y == 0], np.zeros(np.sum(y == 0)))
        else:
            with np.errstate(invalid="ignore"):
                assert_same_kind(found, slope(y, dy, name))


@each_dtype
@pytest.mark.parametrize("name", ["identity", "relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf], ids=str)
def test_special_values_spread_as_in_numpy(
    current: Any, special: float, name: str, dtype: str
) -> None:
    """A NaN or an infinity reaches the outputs and gradients that it reaches in NumPy, no others."""
    for m, k, n in ((5, 7, 9), (40, 300, 35)):
        for where in range(4):
            x, w, dy = (numbers(*s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
            b = numbers(n, dtype=dtype, seed=3)
            (x, w, b, dy)[where].flat[3] = special
            with np.errstate(all="ignore"):
                y = activate(real(x) @ real(w) + b, name)
                assert_same_masks(ops.dense_forward(x, w, b, name), y)
                y = activate(numbers(m, n, seed=5), name).astype(dtype)
                dz = slope(y, dy, name) if name != "relu" else np.where(y > 0, dy, 0)
                expected = (dz @ real(w).T, real(x).T @ dz, dz.sum(0))
                for found, truth in zip(
                    ops.dense_backward(x, w, y, dy, name), expected, strict=True
                ):
                    assert_same_masks(found, truth)


def assert_same_masks(found: Any, expected: Any) -> None:
    for mask in (np.isnan, np.isposinf, np.isneginf):
        assert np.array_equal(mask(found), mask(expected))


@st.composite
def arrays(draw: Any) -> tuple[Any, Any]:
    """Return two matrices that can be multiplied: any real dtype, any strides, sizes to 20."""
    m, k, n = (draw(st.integers(1, 20)) for _ in range(3))
    kinds = st.sampled_from(["f4", "f8", ">f4", ">f8", "i1", "u1", "i4", ">i8", "?"])

    def matrix(rows: int, columns: int) -> Any:
        dtype = np.dtype(draw(kinds))
        elements = st.integers(0, 1) if dtype.kind == "b" else st.integers(0, 50)
        steps = [draw(st.sampled_from([1, 2, -1, -3])) for _ in range(2)]
        shape = [abs(step) * size for step, size in zip(steps, (rows, columns), strict=True)]
        whole = draw(hnp.arrays(dtype, tuple(shape), elements=elements))
        view = whole[:: steps[0], :: steps[1]]
        return view.copy(order="F") if draw(st.booleans()) else view

    return matrix(m, k), matrix(k, n)


@given(arrays(), st.sampled_from([1, 4]))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_matrices(fma_machines: list[Any], matrices: tuple[Any, Any], threads: int) -> None:
    """Small integers of any type and layout: the exact product."""
    x, w = matrices
    y = ops.dense_forward(x, w, threads=threads)
    assert y.dtype == dtype_of(x, w)
    assert np.array_equal(y, real(x) @ real(w))


def test_dtypes_of_the_results(current: Any) -> None:
    """float32 if it holds the values of the operands, as NumPy has it."""
    for code, expected in {
        "f4": DTYPES[0], "f2": DTYPES[0], "u1": DTYPES[0], "i2": DTYPES[0], "?": DTYPES[0],
        "f8": DTYPES[1], "i4": DTYPES[1], "i8": DTYPES[1],
    }.items():  # fmt: skip
        assert ops.activation(np.ones(3, code), "relu").dtype == expected
        assert ops.dense_forward(np.ones((1, 1), code), np.ones((1, 1), "f4")).dtype == expected
