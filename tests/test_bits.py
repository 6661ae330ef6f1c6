"""R1, same bits: on FMA hardware training is a function of its inputs, never of how it is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import BY_NAME, DTYPES, Case, each_case, each_dtype, finish, some_cases

from nnfast import Adam, Dense, Sequential, losses
from nnfast.plan import Job

THREADS = (1, 2, 3, 8)


def bits(machine: Any, job: Job, seconds: float = 1.0) -> tuple[bytes, ...]:
    """Run the job on a copy of its theta and return every bit that it makes."""
    assert job.buffers is not None
    job = replace(
        job,
        theta=job.theta.copy(),
        buffers=job.buffers.copy(),
        state=None if job.state is None else job.state.copy(),
    )
    run = machine.run(job)
    finish(run, seconds)
    made = (job.theta, job.buffers, job.state, job.gradient, job.outputs, np.array([run.loss]))
    return tuple(b"" if array is None else array.tobytes() for array in made)


def gradient_of(job: Job) -> Job:
    """Return the job of the gradient and the outputs of one step, without an update."""
    n = len(job.order)
    return replace(
        job,
        batch_size=n,
        optimizer=None,
        state=None,
        rates=None,
        gradient=np.zeros_like(job.theta),
        outputs=np.zeros((n, job.plan.n_out), job.theta.dtype),
    )


@each_dtype
@each_case
def test_training(fma_machines: list[Any], case: Case, dtype: str) -> None:
    """Over instruction sets, threads, cuts in time, and twice."""
    job = case.job(dtype)
    expected = bits(fma_machines[0], job)
    for machine in fma_machines:
        for threads in THREADS:
            how = f"{machine.isa}, {threads} threads"
            assert bits(machine, replace(job, threads=threads)) == expected, how
        assert bits(machine, job, seconds=0.0) == expected, f"{machine.isa}, in pieces"


@each_dtype
@each_case
def test_gradient_and_outputs(fma_machines: list[Any], case: Case, dtype: str) -> None:
    job = gradient_of(case.job(dtype))
    expected = bits(fma_machines[0], job)
    for machine in fma_machines:
        for threads in THREADS:
            found = bits(machine, replace(job, threads=threads))
            assert found == expected, f"{machine.isa}, {threads} threads"


SMALL = Case("6-64-64-3", (Dense(64, "relu"), Dense(64, "tanh"), Dense(3)), 6, rows=1500)
"""A block of 256 rows is enough work for a look at the clock; a team takes a block each."""
LARGE = Case("150-250-3", (Dense(250, "tanh"), Dense(3)), 150, rows=1500)
"""More than 2**15 parameters: the team shares each block."""


@each_dtype
@pytest.mark.parametrize("case", [SMALL, LARGE], ids=lambda case: case.name)
def test_cuts_inside_a_step(fma_machines: list[Any], case: Case, dtype: str) -> None:
    """advance(0.0) stops after every block of a full-batch step, which changes no bit."""
    case = replace(case, batch_size=1500, optimizer=Adam(lr=0.01))
    job = case.job(dtype, steps=2)
    for work, blocks in ((job, 6 + 4), (gradient_of(job), 10)):
        expected = bits(fma_machines[0], work)
        for machine in fma_machines:
            for threads in THREADS:
                cut = replace(work, threads=threads)
                assert bits(machine, cut, 0.0) == expected, f"{machine.isa}, {threads} threads"
            assert (
                finish(machine.run(case.job(dtype, steps=2) if work is job else work), 0.0)
                == blocks
            )


def test_cuts_at_every_step(fma_machine: Any) -> None:
    """Small steps are cut between each other; theta and the counts are right at each cut."""
    job = LARGE.job("float32", steps=5)
    run = fma_machine.run(job)
    before = [job.theta.tobytes()]
    while run.advance(0.0):
        shorter = LARGE.job("float32", steps=5)
        n = run.steps * 32
        assert (run.rows, len(before)) == (n, run.steps)
        finish(fma_machine.run(replace(shorter, order=shorter.order[:n])))
        assert job.theta.tobytes() == shorter.theta.tobytes()
        before.append(job.theta.tobytes())
    assert len(before) == len(set(before)) == 5


def test_runs_side_by_side_in_one_thread(fma_machine: Any) -> None:
    """Two runs that take turns do not touch each other."""
    jobs = [SMALL.job("float64", 4), LARGE.job("float64", 4)]
    expected = [bits(fma_machine, job) for job in jobs]
    runs = [fma_machine.run(job) for job in jobs]
    more = [True, True]
    while any(more):
        more = [run.advance(0.0) if going else False for run, going in zip(runs, more, strict=True)]
    assert [job.theta.tobytes() for job in jobs] == [made[0] for made in expected]


def layouts(array: Any) -> Iterator[tuple[str, Any]]:
    """Yield the same numbers stored in other ways."""
    n, columns = array.shape
    yield "Fortran order", np.asfortranarray(array)
    yield "reversed", array[::-1, ::-1].copy()[::-1, ::-1]
    yield "every second", np.repeat(np.repeat(array, 2, 0), 3, 1)[::2, ::3]
    yield "padded rows", np.pad(array, ((0, 0), (1, 3)))[:, 1 : columns + 1]
    yield "byte-swapped", array.astype(array.dtype.newbyteorder())
    yield "float64", array.astype(np.float64)
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    memory[:] = np.frombuffer(array.tobytes(), np.uint8)
    misaligned = memory.view(array.dtype).reshape(n, columns)
    assert not misaligned.flags.aligned
    misaligned.flags.writeable = False
    yield "misaligned, read-only", misaligned


@each_dtype
@some_cases("tanh", "soft targets, identity", "K over 256", "three blocks", "activation layers")
def test_layout_of_the_data(fma_machine: Any, case: Case, dtype: str) -> None:
    job = case.job(dtype)
    assert job.y is not None
    expected = bits(fma_machine, job)
    for (how, x), (_, y) in zip(layouts(job.x), layouts(job.y), strict=True):
        assert bits(fma_machine, replace(job, x=x, y=y)) == expected, how
        assert bits(fma_machine, replace(job, x=x, threads=3)) == expected, how


@each_dtype
@pytest.mark.parametrize("code", ["?", "b", "B", "h", "H", "i", "I", "q", "Q", ">i4", ">u2", "f"])
def test_type_of_the_data(fma_machine: Any, code: str, dtype: str) -> None:
    """Integers are converted on the way in, as astype does."""
    job = BY_NAME["K over 256"].job(dtype)
    rng = np.random.default_rng(0)
    limits = (0, 2) if code == "?" else (0, 256) if code == "B" else (0, 128)
    numbers = rng.integers(*limits, job.x.shape)
    signs = rng.choice((-1, 1), job.x.shape) if code in "bhiqf>i4" else 1
    small = np.full(len(job.theta), 2.0**-9, dtype) * job.theta
    job = replace(job, theta=small, x=(numbers * signs).astype(code))
    as_floats = replace(job, x=job.x.astype(dtype))
    assert bits(fma_machine, job) == bits(fma_machine, as_floats)


@each_dtype
@each_case
def test_predict_row_by_row(fma_machines: list[Any], case: Case, dtype: str) -> None:
    """A row's output does not depend on the other rows; the predictor gives the same bits."""
    net = case.net(dtype)
    x = np.random.default_rng(5).normal(size=(700, net.plan.n_in)).astype(dtype)
    expected = None
    for machine in fma_machines:

        def predict(rows: Any, threads: int = 1, machine: Any = machine) -> Any:
            order = np.asarray(rows, np.int64)
            outputs = np.empty((len(order), net.plan.n_out), dtype)
            job = Job(
                plan=net.plan,
                theta=net.theta,
                buffers=net.buffers,
                x=x,
                order=order,
                batch_size=len(order),
                outputs=outputs,
                threads=threads,
                serial_below=0.0,
            )
            finish(machine.run(job), 0.0)
            return outputs

        if expected is None:
            expected = predict(range(700))
        one = machine.predictor(net.plan, net.theta, net.buffers)
        for threads in THREADS:
            assert predict(range(700), threads).tobytes() == expected.tobytes()
        for rows in ([3], [699, 3], range(7), range(690, 700), range(20), range(300, 0, -1)):
            for threads in (1, 3):
                assert np.array_equal(predict(rows, threads), expected[list(rows)]), (rows, threads)
        for i in (0, 1, 255, 256, 699):
            assert one(x[i]).tobytes() == expected[i].tobytes()


def test_predictor_is_a_snapshot(current: Any) -> None:
    net = BY_NAME["tanh"].net("float64")
    x = np.random.default_rng(0).normal(size=5)
    one, out = net.predictor(), np.empty(3)
    before = one(x)
    net.theta[:] = 0
    assert one(x, out=out) is out
    assert np.array_equal(out, before)
    np.testing.assert_allclose(before, net.predictor()(x * 0) + before)


@each_dtype
@pytest.mark.parametrize("threads", THREADS)
def test_subnormals_are_zeros(machine: Any, threads: int, dtype: str) -> None:
    """What is subnormal, given or on the way, counts as zero: in every thread, in every call."""
    tiny = float(np.finfo(dtype).tiny)
    net = Sequential([Dense(1, use_bias=False), Dense(1, use_bias=False)], 0, dtype).build(1)
    for x_value, first, second in ((2 * tiny, 0.25, 0.125 / tiny), (tiny / 2, 0.125 / tiny, 1)):
        net.theta[:] = first, second
        x = np.full((600, 1), x_value, dtype)
        job = Job(
            plan=net.plan,
            theta=net.theta,
            x=x,
            y=np.ones((600, 1), dtype),
            order=np.arange(600),
            batch_size=600,
            loss=losses.get("mse"),
            outputs=np.ones((600, 1), dtype),
            gradient=np.ones_like(net.theta),
            threads=threads,
            serial_below=0.0,
        )
        for work in (job, replace(job, gradient=None, y=None, loss=None)):
            finish(machine.run(work))
            assert work.outputs is not None
            assert not work.outputs.any()
        assert job.gradient is not None
        assert job.gradient[1] == 0
        assert not machine.predictor(net.plan, net.theta, net.buffers)(x[0]).any()


@each_case
def test_baseline_is_near(use: Any, fma_machines: list[Any], case: Case) -> None:
    """Without FMA: within bounds, not bit for bit."""
    baseline = use("baseline")
    for dtype in DTYPES:
        jobs = [case.job(dtype), case.job(dtype)]
        finish(baseline.run(jobs[0]))
        finish(fma_machines[0].run(jobs[1]))
        bound = 1000 * np.finfo(dtype).eps * np.abs(jobs[1].theta).max()
        np.testing.assert_allclose(jobs[0].theta, jobs[1].theta, rtol=0, atol=bound)
