"""Sparse X: the numbers of its dense array, bit for bit; what SciPy has, unsorted and damaged too; memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import DTYPES, EPS, Case, each_dtype, finish
from child import needs_native, output
from test_bits import bits, gradient_of

import nnfast as nn
from nnfast import SGD, Adam, Dense
from nnfast.plan import Csr, Job
from nnfast.reference import ReferenceBackend

scipy_sparse = pytest.importorskip("scipy.sparse")

DENSITY = 0.06
_MOMENTUM, _ADAM = SGD(0.05, momentum=0.9), Adam(0.01)


def _case(n_in: int, *units: int, **more: Any) -> Case:
    layers = (*(Dense(n, "tanh") for n in units[:-1]), Dense(units[-1]))
    return Case("-".join(map(str, (n_in, *units))), layers, n_in, **more)


_WIDTHS = (1, 2, 3, 8, 9, 15, 16, 17, 31, 33, 40, 63, 64, 65, 70, 96, 127, 128, 129, 130)
CASES = (
    *(_case(600, n, 3) for n in _WIDTHS),
    *(_case(600, n) for n in (1, 3, 8, 9, 20, 70)),
    *(_case(n, 20, 3, optimizer=_ADAM) for n in (1, 2, 63, 64, 65, 255, 256, 257, 512, 1000)),
    *(
        _case(600, 70, 3, optimizer=rule)
        for rule in (_MOMENTUM, _ADAM, SGD(0.05, weight_decay=0.1))
    ),
    *(_case(300, 70, 3, batch_size=n) for n in (1, 3, 4, 12, 16, 17)),
    *(
        _case(300, 40, 3, batch_size=n, rows=650, optimizer=rule)
        for n in (256, 257, 600)
        for rule in (SGD(0.05), _ADAM)
    ),
    _case(600, 4, batch_size=300, rows=310),
    Case("frozen", (Dense(9, "tanh", trainable=False), Dense(3)), 300),
    Case("no bias", (Dense(9, "gelu", use_bias=False), Dense(3)), 300),
    Case(
        "weighted labels",
        (Dense(33, "relu"), Dense(4, "softmax")),
        300,
        loss="cross_entropy",
        targets="labels",
        weighted=True,
    ),
)


def thin(job: Job) -> tuple[Job, Job]:
    """Return the job with most of X zero, dense and sparse; some rows and columns have none but zeros."""
    assert not isinstance(job.x, Csr)
    draw = np.random.default_rng(0)
    kept = draw.random(job.x.shape) < DENSITY
    kept[::7] = False
    kept[:, 1::5] &= len(kept) < 2
    x = np.where(kept, job.x, 0).astype(job.x.dtype)
    rows, columns = np.nonzero(x)
    indptr = np.searchsorted(rows, np.arange(len(x) + 1)).astype(np.int64)
    sparse = Csr(x[rows, columns], columns.astype(np.int32), indptr, x.shape)
    assert sparse.toarray().tobytes() == x.tobytes()
    return replace(job, x=x), replace(job, x=sparse)


@each_dtype
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.name},{case.batch_size},{case.optimizer.name}"
)
def test_same_bits_as_dense(fma_machines: list[Any], case: Case, dtype: str) -> None:
    """Training and the gradient, over instruction sets, threads and cuts in time."""
    dense, sparse = thin(case.job(dtype))
    for work in (lambda job: job, gradient_of):
        expected = bits(fma_machines[0], work(dense))
        for machine in fma_machines:
            for threads in (1, 2, 3, 8):
                found = bits(machine, replace(work(sparse), threads=threads))
                assert found == expected, f"{machine.isa}, {threads} threads"
            assert bits(machine, work(sparse), 0.0) == expected, f"{machine.isa}, in pieces"


LONG = _case(2000, 130, 3, batch_size=1500, rows=1500, optimizer=_MOMENTUM)


@each_dtype
def test_cuts_inside_a_step(fma_machine: Any, dtype: str) -> None:
    """Stopped after every block of 256 rows, sums of dW go on where they were."""
    dense, sparse = thin(LONG.job(dtype, steps=2))
    expected = bits(fma_machine, dense)
    for threads in (1, 3):
        assert bits(fma_machine, replace(sparse, threads=threads), 0.0) == expected
    assert finish(fma_machine.run(sparse), 0.0) == 6 + 4


@each_dtype
def test_near_the_reference(machine: Any, dtype: str) -> None:
    """Both backends learn from compressed rows."""
    for case in (CASES[0], LONG):
        sparse, oracle = thin(case.job(dtype))[1], thin(case.job("float64"))[1]
        finish(machine.run(sparse))
        finish(ReferenceBackend().run(oracle))
        bound = 1000 * EPS[dtype] * np.abs(oracle.theta).max()
        np.testing.assert_allclose(sparse.theta, oracle.theta, rtol=0, atol=bound)


@pytest.mark.parametrize("wild", [-1, 600, 2**31 - 1])
def test_a_wild_column_is_no_wild_read(machine: Any, wild: int) -> None:
    """Columns are checked where they enter; one that came through all the same makes the loss NaN."""
    _, job = thin(CASES[0].job("float32"))
    assert isinstance(job.x, Csr)
    job.x.indices[job.x.indptr[job.order[3] + 1] - 1] = wild
    before = job.theta.copy()
    run = machine.run(job)
    finish(run)
    assert not run.finite
    assert np.array_equal(job.theta, before)


def test_rows_and_dense_array_of_csr() -> None:
    _, job = thin(CASES[0].job("float64"))
    x = job.x
    assert isinstance(x, Csr)
    dense = x.toarray()
    for rows in (slice(3, 40), slice(60, 60), slice(-5, None), slice(9, 2)):
        assert np.array_equal(x[rows].toarray(), dense[rows])
        assert np.shares_memory(x[rows].data, x.data)
        assert len(x[rows]) == len(dense[rows])
    numbers = np.array([5, 0, 5, 69])
    assert np.array_equal(x[10:][numbers[:2]].toarray(), dense[10:][numbers[:2]])
    assert np.array_equal(x[numbers].toarray(), dense[numbers])
    with pytest.raises(ValueError, match="step 1"):
        x[::2]


# ---- the face ----


def _data(dtype: Any = "f4") -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = np.where(rng.random((300, 400)) < DENSITY, rng.integers(1, 9, (300, 400)), 0)
    return x.astype(dtype), rng.integers(0, 3, 300)


def _net(dtype: str = "float32") -> nn.Sequential:
    return nn.Sequential([Dense(20, "relu"), Dense(3)], 0, dtype)


def _everything(x: Any, y: Any, net: nn.Sequential, dense: Any) -> list[bytes]:
    """All that a network does with X, as bytes; `dense` for what needs single rows."""
    history = net.fit(
        x,
        y,
        optimizer="adam",
        epochs=2,
        validation_split=0.2,
        class_weight={0: 2.0},
        sample_weight=np.linspace(0, 1, len(y)),
        metrics="accuracy",
        verbose=0,
    )
    net.train_on_batch(x, y)
    value, gradient = net.loss_and_grad(x, y)
    numbers = [*history.history.values(), [value, *net.evaluate(x, y, metrics="accuracy").values()]]
    made = [
        net.theta,
        gradient,
        net.predict(x),
        net.predictor()(np.array(dense[0], net.dtype)),
        *map(np.array, numbers),
    ]
    return [array.tobytes() for array in made]


FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr")


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("format_", FORMATS)
def test_formats(format_: str, kind: str) -> None:
    x, y = _data()
    made = getattr(scipy_sparse, f"{format_}_{kind}")(x)
    assert _everything(made, y, _net(), x) == _everything(x, y, _net(), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("of_x", ["f4", "f8", ">f8", "i1", "u1", "i8", "?"])
def test_types(dtype: str, of_x: str) -> None:
    x, y = _data(of_x)
    sparse = scipy_sparse.csr_array(x.astype(np.dtype(of_x).newbyteorder("=")))
    sparse.data = sparse.data.astype(of_x)
    sparse.indices, sparse.indptr = sparse.indices.astype("i8"), sparse.indptr.astype("i8")
    assert _everything(sparse, y, _net(dtype), x) == _everything(x, y, _net(dtype), x)


def test_reference_backend(use: Callable[[str], Any]) -> None:
    use("reference")
    x, y = _data()
    sparse = scipy_sparse.csr_array(x)
    assert _everything(sparse, y, _net(), x) == _everything(x, y, _net(), x)


def _shuffled(x: Any) -> Any:
    """Return x with each row's elements in descending order and the first of them in two halves."""
    rows = scipy_sparse.csr_array(x)
    data, indices, indptr = [], [], [0]
    for first, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        mine = rows.data[first:end][::-1].tolist(), rows.indices[first:end][::-1].tolist()
        if mine[0]:
            mine[0][:1] = [mine[0][0] / 2] * 2
            mine[1].append(mine[1][0])
            mine[0].append(mine[0].pop(0))
        data += mine[0]
        indices += mine[1]
        indptr.append(len(data))
    return scipy_sparse.csr_array((np.array(data, x.dtype), indices, indptr), x.shape)


@pytest.mark.parametrize("flag", [None, True])
def test_order_and_repeats(flag: bool | None) -> None:
    """Unsorted and repeated columns are summed in a copy, whatever a stale flag says; X stays."""
    x, y = _data()
    sparse = _shuffled(x)
    if flag is not None:
        sparse.has_canonical_format = flag
    before = [array.copy() for array in (sparse.data, sparse.indices, sparse.indptr)]
    assert _everything(sparse, y, _net(), x) == _everything(x, y, _net(), x)
    for array, old in zip((sparse.data, sparse.indices, sparse.indptr), before, strict=True):
        assert np.array_equal(array, old)


def test_read_only_and_explicit_zeros() -> None:
    x, y = _data()
    sparse = scipy_sparse.csr_array(x)
    sparse.data[::3] = 0
    dense = sparse.toarray()
    for array in (sparse.data, sparse.indices, sparse.indptr):
        array.flags.writeable = False
    assert _everything(sparse, y, _net(), dense) == _everything(dense, y, _net(), dense)


def test_rows_without_elements() -> None:
    x, y = _data()
    x[:] = 0
    assert _everything(scipy_sparse.csr_array(x), y, _net(), x) == _everything(x, y, _net(), x)
    x[-1, -1] = 3
    assert _everything(scipy_sparse.csr_array(x), y, _net(), x) == _everything(x, y, _net(), x)


def _damaged(name: str, place: int, value: int) -> Any:
    x = scipy_sparse.csr_array(_data()[0])
    getattr(x, name)[place] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (lambda: scipy_sparse.csr_array(_data()[0][:, :-1]), r"expected shape \(n, 400\)"),
        (lambda: scipy_sparse.csr_array((0, 400)), "at least one sample"),
        (lambda: scipy_sparse.coo_array(_data()[0][0]), "one axis|of shape"),
        (lambda: _damaged("indices", 5, 400), "indices lie in 0 to 399"),
        (lambda: _damaged("indices", 5, -1), "indices lie in 0 to 399"),
        (lambda: _damaged("indptr", 5, 10**6), "indptr"),
        (lambda: _damaged("indptr", 0, 1), "indptr"),
        (lambda: _damaged("indptr", -1, 10**6), "indptr"),
    ],
)
def test_what_does_not_fit(x: Callable[[], Any], message: str) -> None:
    net = _net().build(400)
    with pytest.raises(ValueError, match=message):
        net.predict(x())


def test_elements_are_real() -> None:
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        _net().build(400).predict(scipy_sparse.csr_array(_data()[0].astype(complex)))


def test_networks_that_begin_otherwise() -> None:
    x, y = _data()
    net = nn.Sequential([nn.Activation("tanh"), Dense(3)], 0)
    with pytest.raises(ValueError, match=r"begins with 'activation'.*or begin with Dense"):
        net.fit(scipy_sparse.csr_array(x), y, verbose=0)
    net = nn.Sequential([nn.Flatten(), Dense(3)], 0)
    assert net.fit(scipy_sparse.csr_array(x), y, verbose=0).history["loss"]
    net = nn.Sequential([nn.Flatten(), Dense(3)], 0).build((20, 20))
    with pytest.raises(ValueError, match=r"expected shape \(n, 20, 20\)"):
        net.predict(scipy_sparse.csr_array(x))


def test_y_and_ops_stay_dense() -> None:
    x, _ = _data()
    sparse = scipy_sparse.csr_array(x)
    with pytest.raises(TypeError, match=r"y: expected a dense array.*y\.toarray"):
        _net().fit(x, sparse)
    with pytest.raises(TypeError, match="x: expected"):
        nn.ops.dense_forward(sparse, np.ones((400, 2), "f4"), None, "relu")


MEMORY = """
import resource
import scipy.sparse as sp
def highest():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
n, columns, of_a_row = 5000, 200_000, 50
indices = np.arange(n * of_a_row, dtype="i4") * 7919 % columns
indices = np.sort(indices.reshape(n, of_a_row), axis=1).ravel()
x = sp.csr_array((np.ones(len(indices), "f4"), indices, np.arange(0, len(indices) + 1, of_a_row)), (n, columns))
net = nn.Sequential([nn.Dense(64, "relu"), nn.Dense(8)], seed=0).build(columns)
y = np.zeros(n, "i8")
net.predict(x[:9])
before = highest()
net.fit(x, y, "cross_entropy", RULE, batch_size=BATCH, verbose=0)
print((highest() - before) / net.theta.nbytes)
"""


@needs_native
@pytest.mark.parametrize(
    ("rule", "batch", "copies"),
    [
        ("nn.SGD(0.1)", 128, 2),  # packed, and what an epoch that fails goes back to
        ("nn.SGD(0.1)", 300, 3),  # the gradient
        ("nn.SGD(0.1, momentum=0.9)", 128, 6),  # the gradient; state, packed and kept
    ],
)
def test_memory(rule: str, batch: int, copies: int) -> None:
    """In thetas of 51 MB: no dense X (4 GB), and no gradient where only touched rows are updated."""
    found = float(output(f"RULE, BATCH = {rule}, {batch}\n{MEMORY}"))
    assert found < copies + 0.4
