"""Data as it lies: frames, bytes, files larger than memory; the numbers of a float array, without a copy of X."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import BY_NAME, Case, each_dtype
from child import needs_native, output
from sums import fma
from test_bits import bits
from test_memory import GUARD

import nnfast as nn
from nnfast import Dense

ROWS, COLUMNS = 300, 6


def _net(dtype: str = "float32") -> nn.Sequential:
    return nn.Sequential([Dense(9, "tanh"), Dense(3)], 0, dtype)


def _numbers() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, COLUMNS)).astype("f4"), rng.integers(0, 3, ROWS)


def _trained(x: Any, y: Any) -> bytes:
    """Return theta and outputs after all that takes X and y."""
    net = _net()
    net.fit(x, y, validation_data=(x, y), sample_weight=None, verbose=0, metrics="accuracy")
    net.train_on_batch(x, y)
    assert net.evaluate(x, y)["loss"] < 3
    return net.theta.tobytes() + net.predict(x).tobytes() + net.loss_and_grad(x, y)[1].tobytes()


# ---- frames ----


def _pandas(columns: dict[str, Any]) -> tuple[Any, Any]:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(columns), pandas.Series


def _polars(columns: dict[str, Any]) -> tuple[Any, Any]:
    polars = pytest.importorskip("polars")
    return polars.DataFrame(columns), polars.Series


def _arrow(columns: dict[str, Any]) -> tuple[Any, Any]:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table(columns), lambda values: pyarrow.chunked_array([values[:99], values[99:]])


LIBRARIES = (_pandas, _polars, _arrow)
each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda f: f.__name__[1:])


@each_library
def test_frames(library: Any) -> None:
    """A frame of floats, of integers, and of several types has the bits of its array."""
    x, y = _numbers()
    integers = (x * 9).astype("i8")
    for columns in (x, x.astype("f8"), integers, integers.astype("u1")):
        by_name = {f"c{i}": columns[:, i].copy() for i in range(COLUMNS)}
        frame, series = library(by_name)
        assert _trained(frame, series(y)) == _trained(columns, y)
    frame, series = library({"a": x[:, 0].copy(), "b": integers[:, 0].copy(), "c": y > 1})
    columns = np.column_stack([x[:, 0], integers[:, 0], y > 1])
    assert _trained(frame, series(y)) == _trained(columns.astype("f8"), y)
    y_frame, _ = library({"y": y})
    assert _trained(frame, y_frame) == _trained(frame, y)


@each_library
def test_what_is_missing_is_nan(library: Any) -> None:
    frame, series = library({"a": [1, None, 3], "b": [0.5, 1.5, None]})
    net = _net().build(2)
    dense = np.array([[1, 0.5], [np.nan, 1.5], [3, np.nan]], "f4")
    assert net.predict(frame).tobytes() == net.predict(dense).tobytes()
    with pytest.raises(ValueError, match="y: expected finite numbers"):
        net.fit(dense, series([0.5, None, 1.0]))


@each_library
def test_columns_of_text_are_named(library: Any) -> None:
    x, y = _numbers()
    columns = {
        "size": x[:, 0].copy(),
        "town": ["Ulm"] * ROWS,
        "colour": ["red", "blue"] * (ROWS // 2),
    }
    frame, series = library(columns)
    with pytest.raises(
        TypeError, match=r"(?s)X: .*'town'.*'colour'.*nnfast\.preprocessing"
    ) as error:
        _net().fit(frame, y)
    assert "size" not in str(error.value)
    with pytest.raises(TypeError, match=r"(?s)y: expected an array of real.*nnfast\.preprocessing"):
        _net().fit(x, series(["a", "b", "c"] * (ROWS // 3)))


def test_pandas_types_of_its_own() -> None:
    """Nullable columns, several types together, repeated names, categories."""
    pandas = pytest.importorskip("pandas")
    net = _net().build(3)
    frame = pandas.DataFrame(
        {
            "a": pandas.array([1, None, 3], "Float32"),
            "b": pandas.array([1, 2, None], "Int64"),
            "c": [True, False, True],
        }
    )
    dense = np.array([[1, 1, 1], [np.nan, 2, 0], [3, np.nan, 1]])
    assert net.predict(frame).tobytes() == net.predict(dense).tobytes()
    frame.columns = ["a", "a", "c"]
    assert net.predict(frame).tobytes() == net.predict(dense).tobytes()
    frame["c"] = pandas.array([True, None, False], "boolean")
    with pytest.raises(TypeError, match=r"'c' \(object\); drop these columns, fill what they lack"):
        net.predict(frame)
    frame["c"] = pandas.Categorical(["x", "y", "x"])
    with pytest.raises(TypeError, match=r"'c' \(object\)"):
        net.predict(frame)


def test_frames_are_not_copied_beyond_their_library() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    from nnfast import inputs

    x, _ = _numbers()
    net = _net().build(COLUMNS)
    for array in (x, np.asfortranarray(x)):
        frame = pandas.DataFrame(array, copy=False)
        assert np.shares_memory(inputs.matrix(frame, net.plan, net.dtype), array)
    column = np.arange(9.0)
    assert np.shares_memory(
        inputs.real_array(polars.Series(column), "y"), polars.Series(column).to_numpy()
    )


def test_frames_import_nothing() -> None:
    script = """
        net = network()
        net.fit(X, Y, "mse", verbose=0)
        for name in ("pandas", "polars", "pyarrow", "scipy"):
            assert name not in sys.modules, name
        """
    output(textwrap.dedent(script))


# ---- bytes and other numbers ----

WIDTHS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70)
TYPES = (
    "u1",
    "i1",
    "?",
    "u2",
    "i2",
    "u4",
    "i4",
    "u8",
    "i8",
    "f4",
    "f8",
    ">u2",
    ">i4",
    ">f4",
    ">f8",
)


@each_dtype
@pytest.mark.parametrize("code", TYPES)
def test_conversion_of_all_widths(fma_machines: list[Any], code: str, dtype: str) -> None:
    """Vectors and their tails; extreme values, signs of zero and NaN too; rows packed without gaps."""
    kind = np.dtype(code)
    rng = np.random.default_rng(0)
    for n in WIDTHS:
        job = Case(f"width {n}", (Dense(n, use_bias=False),), n).job(dtype)
        if kind.kind == "f":
            x: Any = rng.normal(size=(70, n))
            x[::9] = -0.0
        else:
            limits = np.iinfo(kind if kind.kind in "iu" else "u1")
            x = rng.integers(limits.min, limits.max, (70, n), limits.dtype.type, endpoint=True)
        x = x.astype(kind)
        small = job.theta * np.asarray(2.0 ** (-8 * x.dtype.itemsize), dtype)
        job = replace(job, theta=small, order=np.arange(60), outputs=np.zeros((60, n), dtype))
        job = replace(job, optimizer=None, state=None, rates=None, y=None, loss=None)
        expected = bits(fma_machines[0], replace(job, x=x.astype(dtype)))
        for machine in fma_machines:
            assert bits(machine, replace(job, x=x)) == expected, (machine.isa, n)


@each_dtype
def test_rows_of_bytes_at_odd_places(fma_machine: Any, dtype: str) -> None:
    """Unaligned rows, rows inside larger ones, and rows in other orders."""
    job = BY_NAME["K over 256"].job(dtype)
    whole = np.random.default_rng(0).integers(0, 3, (100, 333), np.uint8)
    x = whole[5:75, 11:311]
    expected = bits(fma_machine, replace(job, x=x.astype(dtype)))
    for array in (
        x,
        x.copy(),
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        x[:, ::-1].copy()[:, ::-1],
    ):
        for threads in (1, 3):
            assert bits(fma_machine, replace(job, x=array, threads=threads)) == expected


# ---- files ----

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

ANONYMOUS = """
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
"""


@each_dtype
@pytest.mark.parametrize("code", ["u1", "i2", "f4", "f8", "i8", ">u2"])
@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (0.017, -0.3), (1.0, 0.5)])
def test_rescaling_is_an_fma(
    fma_machine: Any, dtype: str, code: str, scale: float, offset: float
) -> None:
    """As the first layer, in training and for single rows: of any type, rounded once."""
    raw = np.random.default_rng(0).integers(0, 128, (70, 35)).astype(code)
    real = np.dtype(dtype).type
    expected = fma(raw.astype(dtype), real(scale), real(offset))
    case = Case("rescaled", (nn.Rescaling(scale, offset), Dense(9, "tanh"), Dense(3)), 35)
    job = case.job(dtype)
    bare = replace(case, layers=case.layers[1:]).job(dtype, theta=job.theta.copy())
    assert bits(fma_machine, replace(job, x=raw)) == bits(fma_machine, replace(bare, x=expected))
    one = fma_machine.predictor(job.plan, job.theta, job.buffers)
    plain = fma_machine.predictor(bare.plan, job.theta, job.buffers)
    assert one(raw[0].astype(dtype)).tobytes() == plain(expected[0]).tobytes()


@linux
@needs_native
@pytest.mark.parametrize("dtype", ["f4", "u1", ">f4"])
def test_npy_is_read_where_it_lies(tmp_path: Path, dtype: str) -> None:
    """400 MB of X, and y as a file too: what grows is a workspace and the order of the rows."""
    script = f"""
        n, path = 200_000, {str(tmp_path)!r}
        width = 500 if "{dtype}"[-2:] == "f4" else 2000
        x = np.lib.format.open_memmap(path + "/x.npy", "w+", "{dtype}", (n, width))
        x[::1000] = 1
        y = np.lib.format.open_memmap(path + "/y.npy", "w+", "i8", (n,))
        y[::2] = 1
        x.flush(), y.flush()
        del x, y
        x, y = np.load(path + "/x.npy", mmap_mode="r"), np.load(path + "/y.npy", mmap_mode="r")
        net = nn.Sequential([nn.Dense(16, "relu"), nn.Dense(2)], seed=0).build(width)
        net.fit(x[:500], y[:500], verbose=0)
        before = anonymous()
        seen, done = [], threading.Event()
        def look():
            while not done.wait(0.002):
                seen.append(anonymous() - before)
        looker = threading.Thread(target=look)
        looker.start()
        net.fit(x, y, batch_size=128, validation_split=0.1, metrics="accuracy", verbose=0)
        net.evaluate(x, y)
        net.predict(x)
        net.train_on_batch(x[:9000], y[:9000])
        done.set()
        looker.join()
        print(max(seen), x.nbytes)
        """
    grown, size = map(int, output(ANONYMOUS + textwrap.dedent(script)).split())
    assert size == 400_000_000
    assert grown < size / 8


@pytest.mark.parametrize("shape", [(COLUMNS,), (3, 2)])
def test_files_train_as_arrays(current: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    x, y = _numbers()
    x = x.reshape(ROWS, *shape)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    y.astype("i8").tofile(tmp_path / "y.raw")
    files = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    layers = [nn.Flatten(), Dense(9, "tanh"), Dense(3)]

    def theta(x: Any, y: Any) -> bytes:
        net = nn.Sequential(layers, 0)
        net.fit(x, y, epochs=2, batch_size=32, validation_split=0.1, verbose=0)
        return net.theta.tobytes()

    expected = theta(x, y)
    assert theta(*files) == expected
    assert theta(files[0], np.memmap(tmp_path / "y.raw", "i8", "r")) == expected
    targets = np.eye(3, dtype="f4")[y]
    np.save(tmp_path / "t.npy", targets)
    assert theta(files[0], np.load(tmp_path / "t.npy", mmap_mode="r")) == theta(x, targets)


def test_a_file_is_not_read_whole_before_training(tmp_path: Path) -> None:
    """X is not scanned: what is wrong in one row is seen when its turn comes."""
    net = _net().build(COLUMNS)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "f4", (ROWS, COLUMNS))
    x[-1] = np.nan
    assert np.isfinite(net.predict(x)[:-1]).all()


GUARDED = """
import scipy.sparse as sp
for n in range(1, 71):
    m = 1 + n % 13
    whole = random.integers(0, 3, (m, n))
    labels = np.arange(m) % 2
    code = ("u1", "i1", "u2", "i2", "i4", "f4", "f8")[n % 7]
    x = guarded(whole.astype(code), AT_END)
    nets = [nn.Sequential([nn.Dense(1 + n % 40), nn.Dense(2)], 0, DTYPE) for _ in range(3)]
    rows = sp.csr_array(whole.astype(DTYPE))
    parts = [guarded(array, AT_END) for array in (rows.data, rows.indices, rows.indptr)]
    for net, data in zip(nets, (x, whole.astype(DTYPE), sp.csr_array(tuple(parts), (m, n)))):
        net.fit(data, labels, batch_size=5, threads=THREADS, verbose=0)
        net.fit(data, labels, optimizer="adam", batch_size=m, threads=THREADS, verbose=0)
        net.predict(data)
    assert (nets[0].theta == nets[1].theta).all()
    assert (nets[2].theta == nets[1].theta).all()
"""


@linux
@needs_native
@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@each_dtype
def test_nothing_is_touched_beside_the_data(isa: str, dtype: str, at_end: bool) -> None:
    """Bytes and compressed rows between pages that must not be touched."""
    pytest.importorskip("scipy.sparse")
    settings = f"DTYPE, AT_END, THREADS = {dtype!r}, {at_end}, {1 + at_end}\n"
    assert output(settings + GUARD + GUARDED + "print('done')", NNFAST_ISA=isa) == "done\n"
