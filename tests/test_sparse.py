"""Sparse X: the numbers of its dense array, bit for bit; what SciPy has, unsorted and damaged too; memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import Case, each_dtype
from test_bits import bits, gradient_of

from nnfast import SGD, Adam, Dense
from nnfast.plan import Csr, Job

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


each_case = pytest.mark.parametrize("case", CASES, ids=repr)


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
