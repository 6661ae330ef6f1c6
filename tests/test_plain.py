"""nnfast.ops' kernels: the bits of R1 whatever the shape and the team, for plain arrays; they refuse all else."""

from __future__ import annotations

import itertools
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cases import each_dtype
from sums import column_sum, product

from nnfast import ops
from nnfast.activations import NAMES, NEEDS_Z
from nnfast.backend import NativeBackend

SHAPES = [
    (1, 1, 1),
    (3, 5, 2),
    (32, 32, 32),
    (300, 17, 30),
    (2, 600, 9),
    (257, 9, 8),
    (300, 64, 70),
    (20, 130, 300),  # few rows
    (520, 150, 113),  # columns far apart
    (300, 20, 256),  # W packed by the team
    (70, 300, 256),  # W read where it lies
]


def arrays(m: int, k: int, n: int, dtype: str) -> list[Any]:
    rng = np.random.default_rng(m)
    return [
        rng.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n), (n,), (m, n), (m, n))
    ]


def bits(result: Any) -> list[Any]:
    results = result if isinstance(result, tuple) else (result,)
    return [None if r is None else (r.dtype, r.shape, r.tobytes()) for r in results]


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_are_the_rule_s(
    fma_machines: list[Any], shape: tuple[int, int, int], dtype: str
) -> None:
    x, w, b, _, dy = arrays(*shape, dtype)
    without, z = product(x, w, 0), product(x, w, b)
    y = ops.activation(z, "tanh")
    sums = {}
    for name in ("identity", "tanh"):
        dz = ops.activation_grad(y, dy, name)
        sums[name] = product(dz, w.T), product(x.T, dz), column_sum(dz)
    for machine, threads in itertools.product(fma_machines, (1, 2, 3)):
        forward, backward = machine.plain.dense_forward, machine.plain.dense_backward
        assert bits(forward(x, w, None, "identity", None, threads)) == bits(without)
        assert bits(forward(x, w, b, "identity", None, threads)) == bits(z)
        assert bits(forward(x, w, b, "tanh", None, threads)) == bits(y)
        for name, (dx, dw, db) in sums.items():
            assert bits(backward(x, w, y, dy, name, True, threads)) == bits((dx, dw, db))
            assert bits(backward(x, w, y, dy, name, False, threads)) == bits((None, dw, db))


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_activations(
    isa: str, use: Any, name: str, shape: tuple[int, int, int], dtype: str
) -> None:
    plain = use(isa).plain
    x, w, b, _, dy = arrays(*shape, dtype)
    z = plain.dense_forward(x, w, b, "identity", None, 1)
    y = ops.activation(z, name)
    out = np.empty_like(dy)
    for threads in (None, 1, 2):
        assert bits(plain.dense_forward(x, w, b, name, None, threads)) == bits(y)
    assert plain.dense_forward(x, w, b, name, out, None) is out
    assert out.tobytes() == y.tobytes() == ops.dense_forward(x, w, b, name).tobytes()
    if name == "step":
        return
    if name in NEEDS_Z:
        y = z
    dz = ops.activation_grad(y, dy, name, z)
    expected = plain.dense_backward(x, w, y, dz, "identity", True, 1)
    for threads in (None, 1, 2):
        assert bits(plain.dense_backward(x, w, y, dy, name, True, threads)) == bits(expected)
    assert bits(ops.dense_backward(x, w, y, dy, name, z)) == bits(expected)


@each_dtype
@pytest.mark.parametrize("n", [1024, 1037])
def test_a_long_activation_may_lie_anywhere(isa: str, use: Any, n: int, dtype: str) -> None:
    """Its first elements, up to an aligned vector, and its last ones have the bits of the others."""
    plain = use(isa).plain
    y, dy = arrays(n, 1, 1, dtype)[3:]
    for name in ("tanh", "relu", "gelu", "identity"):
        for dz in (None, dy[:, 0].copy()):
            z, parts = y[:, 0].copy(), []
            for k in range(0, n, 100):
                part = None if dz is None else dz[k : k + 100].copy()
                parts.append(plain.activation(z[k : k + 100].copy(), part, name, None))
            for offset in range(17):
                room = np.full(n + 32, 7, dtype)
                plain.activation(z, dz, name, room[offset : offset + n])
                assert room[offset : offset + n].tobytes() == np.concatenate(parts).tobytes()
                assert (np.delete(room, np.s_[offset : offset + n]) == 7).all()


@each_dtype
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_wide_layers_are_their_parts(fma_isa: str, use: Any, dtype: str, threads: int) -> None:
    """W and dz beyond L2; parts of rows and columns that are small take other ways."""
    plain = use(fma_isa).plain
    x, w, b, _, dy = arrays(292, 404, 900, dtype)
    y = plain.dense_forward(x, w, b, "tanh", None, threads)
    dx, dw, db = plain.dense_backward(x, w, y, dy, "tanh", True, threads)
    some, many = slice(270, 292), slice(90)
    part = plain.dense_forward(x[some], w, b, "tanh", None, 1)
    assert part.tobytes() == y[some].tobytes()
    part = plain.dense_backward(x[some], w, y[some], dy[some], "tanh", True, 1)[0]
    assert part.tobytes() == dx[some].tobytes()
    left = [np.ascontiguousarray(a[:, many]) for a in (x, w, y, dy)]
    part, sums = plain.dense_backward(x, left[1], left[2], left[3], "tanh", False, 1)[1:]
    assert part.tobytes() == dw[:, many].tobytes()
    assert sums.tobytes() == db[many].tobytes()
    part, sums = plain.dense_backward(left[0], w[many], y, dy, "tanh", False, 1)[1:]
    assert part.tobytes() == dw[many].tobytes()
    assert sums.tobytes() == db.tobytes()


def test_calls_at_once_do_not_share_their_memory(isa: str, use: Any) -> None:
    """Of different sizes, so that each finds what another has left."""
    plain = use(isa).plain
    operands = [arrays(300 + 40 * i, 130, 150, "float32") for i in range(4)]

    def gradients(i: int) -> list[Any]:
        x, w, _, y, dy = operands[i % 4]
        return bits(plain.dense_backward(x, w, y, dy, "tanh", True, 2))

    expected = [gradients(i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(gradients, range(64))) == expected * 16


def test_long_work_is_cut_between_blocks(fma_machines: list[Any]) -> None:
    """Into calls between which signals are seen: sums go on where they stood."""
    x, w, b, _, dy = arrays(1600, 2600, 2700, "float32")
    y = ops.dense_forward(x, w, b, "relu")
    dx, dw, db = ops.dense_backward(x, w, y, dy, "relu")
    sums: list[Any] = []
    for first in range(0, 1600, 256):
        part = slice(first, first + 256)
        assert ops.dense_forward(x[part], w, b, "relu").tobytes() == y[part].tobytes()
        part_dx, *more = ops.dense_backward(x[part], w, y[part], dy[part], "relu")
        assert part_dx.tobytes() == dx[part].tobytes()
        sums = [total + term for total, term in zip(sums, more, strict=True)] if sums else more
    assert bits(tuple(sums)) == bits((dw, db))


def test_updates(isa: str, use: Any) -> None:
    plain = use(isa).plain
    w = arrays(1, 33, 9, "float32")[1]
    theta, gradient = w.copy(), w / 3
    ops.sgd_update(w, gradient, 0.3, threads=1)
    assert plain.sgd_update(theta, gradient, 0.3)
    assert theta.tobytes() == w.tobytes()


def test_softmax_cross_entropy(isa: str, use: Any) -> None:
    plain = use(isa).plain
    z = arrays(300, 1, 13, "float32")[3]
    labels = np.random.default_rng(0).integers(0, 13, 300)
    for logits in (z, z.astype("float64")):
        J, dz = ops.softmax_cross_entropy(logits, labels, threads=1)
        got, gradient = plain.softmax_cross_entropy(logits, labels, None)
        assert (got, bits(gradient)) == (J, bits(dz))
    out = np.empty_like(z)
    assert plain.softmax_cross_entropy(z, labels, out)[1] is out
    for kind, other in spoiled(z).items():
        alone = kind in ("another dtype", "wider")  # is logits, too
        assert alone or plain.softmax_cross_entropy(other, labels, None) is None, kind
        assert kind == "None" or plain.softmax_cross_entropy(z, labels, other) is None, kind
    for kind, other in spoiled(labels).items():
        assert plain.softmax_cross_entropy(z, other, None) is None, kind
    for label in (-1, 13):
        labels[-1] = label
        assert plain.softmax_cross_entropy(z, labels, None) is None


def test_it_is_taken(isa: str, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(isa)
    for name in ("dense_forward", "dense_backward", "sgd_update"):
        monkeypatch.setattr(NativeBackend, name, None)
    x, w, b, y, dy = arrays(32, 32, 32, "float32")
    ops.dense_forward(x, w, b, "relu")
    ops.dense_backward(x, w, y, dy, "relu")
    ops.sgd_update(w, w.copy(), 0.1)
    x.flags.writeable = w.flags.writeable = b.flags.writeable = False
    ops.dense_forward(x, w, b, "relu", out=y)
    with pytest.raises(TypeError, match="not callable"):
        ops.dense_forward(x.T, w, b, "relu")
    copied = pickle.loads(pickle.dumps(x))  # whose dtype is another object
    ops.dense_forward(copied, w, b, "relu")


def spoiled(array: Any) -> dict[str, Any]:
    """Return what is not a plain array like this one."""
    shifted = np.frombuffer(b"0" + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape)
    return {
        "another dtype": array.astype(np.float64),
        "integers": array.astype(np.int32),
        "half": array.astype(np.float16),
        "other byte order": array.astype(array.dtype.newbyteorder("S")),
        "strides": np.repeat(array, 2, axis=-1)[..., ::2],
        "misaligned": shifted,
        "list": array.tolist(),
        "subclass": array.view(np.ma.MaskedArray),
        "longer": np.concatenate([array, array]),
        "wider": np.concatenate([array, array], axis=-1),
        "more axes": array[None],
        "empty": array[:0],
        "None": None,
    }


def test_others_are_refused(isa: str, use: Any) -> None:
    """Whatever a kernel could not read as it lies, or would read beyond."""
    plain_ones = use(isa).plain
    names = ("x", "w", "b", "y", "dy")
    plain = dict(zip(names, arrays(6, 5, 4, "float32"), strict=True))

    def forward(**changed: Any) -> Any:
        a = plain | changed
        return plain_ones.dense_forward(a["x"], a["w"], a["b"], "relu", a.get("out"), None)

    def backward(**changed: Any) -> Any:
        a = plain | changed
        return plain_ones.dense_backward(a["x"], a["w"], a["y"], a["dy"], "relu", True, None)

    assert forward() is not None
    assert backward() is not None
    for name in names:
        for kind, other in spoiled(plain[name]).items():
            if name in ("x", "w", "b") and (name, kind) not in (("x", "longer"), ("b", "None")):
                assert forward(**{name: other}) is None, (name, kind)
            if name != "b":
                assert backward(**{name: other}) is None, (name, kind)
    for kind, other in spoiled(plain["y"]).items():
        assert kind == "None" or forward(out=other) is None, kind
        assert not plain_ones.sgd_update(plain["y"].copy(), other, 0.1), kind
        assert not plain_ones.sgd_update(other, plain["y"], 0.1), kind
    fixed = plain["y"].copy()
    fixed.flags.writeable = False
    assert forward(out=fixed) is None
    assert not plain_ones.sgd_update(fixed, plain["y"], 0.1)
    for lr in (float("nan"), float("inf"), "0.1", None, 1):
        assert not plain_ones.sgd_update(plain["y"], plain["y"].copy(), lr)


@each_dtype
def test_long_work_is_shared(
    isa: str, use: Any, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """The functions of elements and rows have the bits of one thread on several."""
    monkeypatch.setenv("NNFAST_NUM_THREADS", "3")
    plain = use(isa).plain
    z, dy = arrays(700, 1, 301, dtype)[3:]
    labels = np.arange(700) % 301
    for name in ("tanh", "softmax"):
        y = ops.activation(z, name, threads=1)
        assert plain.activation(z, None, name, None).tobytes() == y.tobytes()
        dz = ops.activation_grad(y, dy, name, threads=1)
        assert plain.activation(y, dy, name, None).tobytes() == dz.tobytes()
    loss, dz = ops.softmax_cross_entropy(z, labels, threads=1)
    got, gradient = plain.softmax_cross_entropy(z, labels, None)
    assert (got, gradient.tobytes()) == (loss, dz.tobytes())
    one, several = z.copy(), z.copy()
    ops.sgd_update(one, dy, 0.1, threads=1)
    assert plain.sgd_update(several, dy, 0.1)
    assert one.tobytes() == several.tobytes()


def test_threads_are_asked_for_where_there_is_work(
    isa: str, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(isa)
    monkeypatch.setenv("NNFAST_NUM_THREADS", "no number")
    small, large = arrays(8, 8, 8, "float32"), arrays(128, 128, 128, "float32")
    ops.dense_forward(*small[:3])
    with pytest.raises(ValueError, match="NNFAST_NUM_THREADS"):
        ops.dense_forward(*large[:3])
    with pytest.raises(ValueError, match="NNFAST_NUM_THREADS"):
        ops.dense_backward(large[0], large[1], large[3], large[4], "relu")
    ops.dense_forward(*large[:3], threads=2)
    with pytest.raises(ValueError, match="threads"):
        ops.dense_forward(*small[:3], threads=0)


def test_the_default_number_of_threads_is_asked_for_again(
    isa: str, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its limits change, or it is set; not at each call."""
    asked = []

    def default_threads() -> int:
        asked.append(1)
        return 2

    plain = type(use(isa).plain)(isa, {"relu": 0}, default_threads)
    x, w, b = arrays(128, 128, 128, "float32")[:3]

    def times() -> int:
        asked.clear()
        for _ in range(3):
            plain.dense_forward(x, w, b, "relu", None, None)
        return len(asked)

    assert (times(), times()) == (1, 0)
    monkeypatch.setenv("NNFAST_NUM_THREADS", "3")
    assert (times(), times()) == (1, 0)
    plain.forget()
    assert (times(), times()) == (1, 0)
    if hasattr(os, "sched_setaffinity") and len(cpus := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {min(cpus)})
        try:
            assert (times(), times()) == (1, 0)
        finally:
            os.sched_setaffinity(0, cpus)
