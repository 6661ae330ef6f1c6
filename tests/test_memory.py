"""Memory: what a call takes, that it gives it back, and that no kernel reads or writes beyond an array."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import Case, finish, some_cases
from child import needs_native, output

pytestmark = [
    needs_native,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and mprotect"),
]

RESIDENT = """
import resource, tracemalloc
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def highest():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
"""


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_fit_takes_nothing_beyond_a_workspace(dtype: str, threads: int) -> None:
    script = f"""
        x = np.ones((200_000, 200), "{dtype}")
        y = np.zeros(len(x), "i8")
        net = nn.Sequential([nn.Dense(64, "relu"), nn.Dense(8)], seed=0)
        net.fit(x[:500], y[:500], optimizer="adam", threads={threads})
        rest = dict(loss="cross_entropy", threads={threads})
        before = resident()
        net.fit(x, y, optimizer="adam", batch_size=500, **rest)
        net.fit(x, y, batch_size=len(x), shuffle=False, metrics="accuracy", **rest)
        net.evaluate(x, y, metrics="accuracy", **rest)
        net.loss_and_grad(x, y, **rest)
        print(highest() - before, x.nbytes, len(x) * 8)
        """
    extra, x_bytes, order_bytes = map(int, output(RESIDENT + _flat(script)).split())
    # the order of the rows, one number each; outputs of all rows where a full batch has metrics
    assert extra < 3 * order_bytes + 200_000 * 8 * 4 + (8 << 20)
    assert extra < x_bytes / 2


def _flat(script: str) -> str:
    import textwrap

    return textwrap.dedent(script)


CYCLES = {
    "fit": "net.fit(X, Y, batch_size=500, threads=2)",
    "a new network": "train(2, epochs=1)",
    "predict": "net.predict(X, threads=2)",
    "loss_and_grad": "net.loss_and_grad(X, Y, threads=2)",
    "predictor": "net.predictor()(X[0])",
    "ops": "nn.ops.dense_backward(X, W, X[:, :8], Y, 'tanh', threads=2)",
    "refused fit": """
try:
    net.fit(X, Y[:7])
except ValueError:
    pass
""",
    "diverging fit": """
net.build(64)
net.fit(X, Y, optimizer=nn.SGD(lr=1e30), batch_size=500)
""",
    "an abandoned run": """
job = training.Job(plan=net.plan, theta=net.theta, x=X, order=np.arange(2000), batch_size=100)
backend.current().run(job)
""",
    "threads that come and go": """
thread = threading.Thread(target=train)
thread.start()
thread.join()
""",
}


@pytest.mark.parametrize("what", CYCLES)
def test_nothing_leaks(what: str) -> None:
    script = f"""
import gc, warnings
warnings.simplefilter("ignore")
net, W = network(), np.ones((64, 8), "f4")
code = compile({CYCLES[what]!r}, "cycle", "exec")
def cycles(n):
    for _ in range(n):
        exec(code)
cycles(30)
tracemalloc.start()
cycles(10)
gc.collect()  # empties CPython's own lists of freed tuples, too
traced, grown = tracemalloc.get_traced_memory()[0], []
for _ in range(4):
    before = resident()
    cycles(50)
    grown.append(resident() - before)
gc.collect()
print(min(grown), tracemalloc.get_traced_memory()[0] - traced)
"""
    grown, traced = map(int, output(RESIDENT + script).split())
    assert grown < 100_000  # heaps settle at some time, leaks go on; a workspace is about 1 MiB
    assert traced < 40_000  # of 200 cycles: NumPy 2.4 itself loses 56 bytes in each np.tile


GUARD = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE = mmap.PAGESIZE

def guarded(array, at_end=True):
    '''A copy between two pages that must not be touched, at the end or the start of its own.'''
    inner = -(-max(array.nbytes, 1) // PAGE) * PAGE
    pages = mmap.mmap(-1, inner + 2 * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for page in (base, base + PAGE + inner):
        assert libc.mprotect(page, PAGE, 0) == 0, ctypes.get_errno()
    offset = PAGE + (inner - array.nbytes if at_end else 0)
    copy = np.frombuffer(pages, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy

random = np.random.default_rng(0)
def draw(*shape):
    return guarded(random.normal(size=shape).astype(DTYPE), AT_END)
"""

KERNELS = {
    "train": """
        for n in range(1, 41):
            m = 1 + n % 13
            x, y = draw(m, n), draw(m, 1 + n % 9)
            net = nn.Sequential([nn.Dense(n, "relu"), nn.Dense(y.shape[1])], 0, DTYPE).build(n)
            theta = net._network.theta = guarded(net.theta, AT_END)
            free = nn.Sequential(net.layers, 0, DTYPE).build(n)
            weight = guarded(np.ones(m, DTYPE), AT_END)
            for batch in (1, 4, m):
                for rule in ("sgd", "adam"):
                    for one in (net, free):
                        w = weight if one is net else np.ones(m, DTYPE)
                        a, b = (x, y) if one is net else (x.copy(), y.copy())
                        one.fit(a, b, "mse", rule, batch_size=batch, threads=THREADS, sample_weight=w)
            assert net.theta is theta and (theta == free.theta).all()
            assert (net.predict(x) == free.predict(x.copy())).all()
            labels = guarded(np.arange(m) % 2, AT_END)
            assert y.shape[1] < 2 or np.isfinite(net.evaluate(x, labels)["loss"])
            one, out = net.predictor(), guarded(np.zeros(y.shape[1], DTYPE), AT_END)
            for row in x:
                one(guarded(row, AT_END), out=out)
            assert (out == net.predict(x)[-1]).all()
        """,
    "ops": """
        for n in range(1, 41):
            m, k = 1 + n % 7, 41 - n
            x, w, b, dy = draw(m, k), draw(k, n), draw(n), draw(m, n)
            out = draw(m, n)
            y = nn.ops.dense_forward(x, w, b, "tanh", out=out, threads=THREADS)
            assert y is out
            nn.ops.dense_backward(x, w, y, dy, "tanh", threads=THREADS)
            for name in ("identity", "sigmoid", "tanh", "relu", "softmax"):
                nn.ops.activation(dy, name, out=out)
                nn.ops.activation_grad(out, dy, name, out=draw(m, n))
            nn.ops.activation(dy, "step", out=out)
            nn.ops.softmax_cross_entropy(dy, guarded(np.arange(m) % n, AT_END), out=out)
            nn.ops.sgd_update(w, draw(k, n), 0.1)
        """,
}


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ["avx512", "avx2", "baseline", "neon"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_nothing_is_touched_beside_an_array(
    kernels: str, isa: str, dtype: str, at_end: bool
) -> None:
    from nnfast import _native

    if isa not in _native.isas():
        pytest.skip(f"this processor has no {isa}")
    settings = f"DTYPE, AT_END, THREADS = {dtype!r}, {at_end}, {1 + at_end}\n"
    script = settings + GUARD + _flat(KERNELS[kernels]) + "\nprint('done')"
    assert output(script, NNFAST_ISA=isa) == "done\n"


def test_the_guard_pages_are_guarded() -> None:
    from child import python

    script = "DTYPE, AT_END = 'f4', True\n" + GUARD
    script += "x = draw(3, 5)\nctypes.string_at(x.ctypes.data, x.nbytes + 1)"
    assert python(script).returncode < 0


@pytest.mark.parametrize("size", [2**31, 2**40, 2**62])
def test_sizes_beyond_memory_are_an_error(size: int) -> None:
    script = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        try:
            nn.Sequential([nn.Dense({size}), nn.Dense(1)], seed=0).build(4)
        except (ValueError, MemoryError) as error:
            print(type(error).__name__)
        """
    assert output(_flat(script)).strip() in ("ValueError", "MemoryError")
    script = f"""
        import resource
        x = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), ({size >> 8}, 64), (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        try:
            network().predict(x)
        except (ValueError, MemoryError) as error:
            print(type(error).__name__)
        """
    if size >= 2**40:
        assert output(_flat(script)).strip() in ("ValueError", "MemoryError")


def test_workspace_beyond_memory_is_a_memory_error() -> None:
    script = """
        import resource
        net = nn.Sequential([nn.Dense(4096), nn.Dense(4096), nn.Dense(1)], seed=0).build(16)
        x, y = np.ones((256, 16), "f4"), np.ones((256, 1), "f4")
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + (40 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = net.theta.copy() if False else net.theta.sum()
        for call in (net.predict, lambda x: net.evaluate(x, y), lambda x: net.fit(x, y)):
            try:
                call(x)
                print("done")
            except MemoryError as error:
                assert str(error)
                print("refused")
        assert net.theta.sum() == before
        """
    assert output(_flat(script)).split() == ["refused"] * 3


@pytest.mark.parametrize("wild", [-1, 1001, 2**62])
@some_cases("labels, identity", "a thousand classes")
def test_a_wild_label_is_no_wild_read(machine: Any, case: Case, wild: int) -> None:
    """Labels are checked where they enter; one that came through all the same makes the loss NaN."""
    job = case.job("float32")
    labels, theta = np.array(job.y), job.theta.copy()
    labels[job.order[3]] = wild
    run = machine.run(replace(job, y=labels))
    finish(run)
    assert not run.finite
    assert np.array_equal(job.theta, theta)
