"""nnfast.ops has a short way for plain arrays: it is taken, gives the bits of the long one, and refuses all else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import each_dtype

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
@pytest.mark.parametrize("name", NAMES)
def test_same_bits(isa: str, use: Any, name: str, shape: tuple[int, int, int], dtype: str) -> None:
    machine = use(isa)
    x, w, b, _, dy = arrays(*shape, dtype)
    out = np.empty_like(dy)
    long = np.empty_like(dy)
    for bias in (b, None):
        machine.dense_forward(x, w, bias, name, long, 1)
        for threads in (None, 1, 2):
            y = machine.plain_forward(x, w, bias, name, None, threads)
            assert bits(y) == bits(long)
        assert machine.plain_forward(x, w, bias, name, out, None) is out
        assert out.tobytes() == long.tobytes() == ops.dense_forward(x, w, bias, name).tobytes()
    if name in NEEDS_Z or name in ("step", "softmax"):
        return
    for need_dx in (True, False):
        dx, dw, db = np.empty_like(x) if need_dx else None, np.empty_like(w), np.empty_like(b)
        machine.dense_backward(x, w, y, dy, name, dx, dw, db, 1)
        for threads in (None, 1, 2):
            short = machine.plain_backward(x, w, y, dy, name, need_dx, threads)
            assert bits(short) == bits((dx, dw, db))
        assert bits(ops.dense_backward(x, w, y, dy, name, None, need_dx)) == bits((dx, dw, db))
    theta = w.copy()
    ops.sgd_update(w, w / 3, 0.3, threads=1)
    assert machine.plain_update(theta, theta / 3, 0.3)
    assert theta.tobytes() == w.tobytes()


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
    machine = use(isa)
    names = ("x", "w", "b", "y", "dy")
    plain = dict(zip(names, arrays(6, 5, 4, "float32"), strict=True))

    def forward(**changed: Any) -> Any:
        a = plain | changed
        return machine.plain_forward(a["x"], a["w"], a["b"], "relu", a.get("out"), None)

    def backward(**changed: Any) -> Any:
        a = plain | changed
        return machine.plain_backward(a["x"], a["w"], a["y"], a["dy"], "relu", True, None)

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
        assert not machine.plain_update(plain["y"].copy(), other, 0.1), kind
        assert not machine.plain_update(other, plain["y"], 0.1), kind
    fixed = plain["y"].copy()
    fixed.flags.writeable = False
    assert forward(out=fixed) is None
    assert not machine.plain_update(fixed, plain["y"], 0.1)
    for lr in (float("nan"), float("inf"), "0.1", None, 1):
        assert not machine.plain_update(plain["y"], plain["y"].copy(), lr)


def test_large_updates_are_refused(isa: str, use: Any) -> None:
    """Threads may be worth their while."""
    theta = np.zeros(1 << 17)
    assert not use(isa).plain_update(theta, theta.copy(), 0.1)


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
