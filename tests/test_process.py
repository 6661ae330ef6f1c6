"""No surprise in the process: forks, threads that cannot be had, signals, the control word, the GIL."""

from __future__ import annotations

import importlib.util
import os

import pytest
from child import needs_native, output, python

linux = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = [needs_native, linux]

# ---- fork ----

FORKS = {
    "os.fork": """
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(0 if train() == expected else 1)
            assert os.waitpid(child, 0)[1] == 0
        """,
    "nested": """
        child = os.fork()
        if not child:
            again = os.fork()
            if not again:
                os._exit(0 if train() == expected else 1)
            os._exit(os.waitpid(again, 0)[1] != 0 or train() != expected)
        assert os.waitpid(child, 0)[1] == 0
        """,
    "multiprocessing": """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(train, [2, 1, 3, 2]) == [expected] * 4
        """,
    "joblib": """
        import joblib
        # a function is sent by name: one that lies in a module that the workers know
        workers = joblib.Parallel(n_jobs=2, backend="multiprocessing")
        assert workers(joblib.delayed(train)(n) for n in (2, 1, 3, 2)) == [expected] * 4
        """,
    "spawned by joblib": """
        import joblib
        net = network()
        predictions = net.predict(X, threads=2)
        workers = joblib.Parallel(n_jobs=2)
        for y in workers(joblib.delayed(net.predict)(X, threads=n) for n in (1, 2)):
            assert (y == predictions).all()
        """,
    "from a thread while another is inside a kernel": """
        stop = threading.Event()
        def work():
            net = network()
            while not stop.is_set():
                net.fit(X, Y, epochs=3, batch_size=500, threads=2)
        worker = threading.Thread(target=work)
        worker.start()
        try:
            for _ in range(10):
                child = os.fork()
                if not child:
                    os._exit(0 if train(epochs=1) == once else 1)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            worker.join()
        """,
}


@pytest.mark.parametrize("way", FORKS)
def test_child_of_a_process_that_used_threads_gets_the_same_bits(way: str) -> None:
    if "joblib" in way and importlib.util.find_spec("joblib") is None:
        pytest.skip("could not import 'joblib'")
    before = """
        import warnings
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # Python 3.12: threads and fork
        expected, once = train(), train(epochs=1)
        """
    after = """
        assert train() == expected  # and the parent goes on
        print("done")
        """
    assert output(before + FORKS[way] + after, timeout=90) == "done\n"


# ---- threads ----

REFUSALS = {
    "number of processes": """
        import resource
        if os.getuid() == 0:  # root is above this limit
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        """,
    "address space": """
        import resource
        pages = int(open("/proc/self/statm").read().split()[0])
        room = 20 << 20  # two stacks of 8 MiB
        resource.setrlimit(resource.RLIMIT_AS, [pages * resource.getpagesize() + room] * 2)
        """,
}


@pytest.mark.parametrize("limit", REFUSALS)
@pytest.mark.parametrize("used", [1, 2])
def test_refused_threads_are_done_without(limit: str, used: int) -> None:
    before = f"""
        import difflib  # while files may still be read
        expected = train({used})
        """
    after = """
        def start():
            threads = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(8)]
            for thread in threads:
                thread.start()
        try:
            start()
            raise SystemExit("the limit does not hold here")
        except RuntimeError:
            time.sleep(0.3)
        assert train(8) == expected
        assert train(2) == expected
        print("done")
        """
    assert output(before + REFUSALS[limit] + after) == "done\n"


ENVIRONMENTS = {
    "OMP_THREAD_LIMIT": ["1", "2"],
    "OMP_NUM_THREADS": ["0", "-1", "abc", "1000000", "1,2", ""],
    "OMP_DYNAMIC": ["true"],
    "OMP_PROC_BIND": ["true"],
    "OMP_STACKSIZE": ["1k", "100G"],
    "OMP_WAIT_POLICY": ["active", "passive"],
}


@pytest.fixture(scope="module")
def digest() -> str:
    return output(DIGEST)


DIGEST = """
import hashlib
nn.get_num_threads()
print(hashlib.sha256(train(3) + train(None)).hexdigest())
"""


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in ENVIRONMENTS.items() for v in values]
)
def test_openmp_settings_never_kill_nor_change_a_bit(name: str, value: str, digest: str) -> None:
    assert output(DIGEST, **{name: value}) == digest


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *(("NNFAST_NUM_THREADS", v, "from 1 to 256") for v in ("-1", "abc", "1.5", "1e3", "²")),
        ("NNFAST_NUM_THREADS", "0", "at least 1"),
        ("NNFAST_NUM_THREADS", "1000000", "at most 256"),
        ("NNFAST_ISA", "avx3", "NNFAST_ISA: expected one of"),
        ("NNFAST_BACKEND", "cuda", "backend: expected one of 'native', 'reference'"),
    ],
)
def test_a_bad_setting_is_one_clear_error(name: str, value: str, words: str) -> None:
    script = """
        try:
            train(None)
        except ValueError as error:
            print(error)
        else:
            print("accepted")
        assert type(nn.__version__) is str  # the process lives
        """
    said = output(script, **{name: value})
    assert words in said
    assert value in said


def test_environment_chooses_the_threads() -> None:
    assert output("print(nn.get_num_threads())", NNFAST_NUM_THREADS="3") == "3\n"
    assert output("print(nn.get_num_threads())", OMP_NUM_THREADS="1") == "1\n"


def test_many_threads_on_few_cores_give_the_same_bits() -> None:
    assert output("print(train(1) == train(2) == train(3) == train(8) == train(64))") == "True\n"


# ---- signals ----


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_is_answered_at_once_inside_a_step(threads: int) -> None:
    script = f"""
        import signal
        big = network(1024, 1024)
        x, y = np.tile(X, (15, 1)), np.tile(Y, (15, 1))
        start = big.theta.copy()
        sent = []
        def interrupt():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        for call in (
            lambda: big.fit(x, y, batch_size=len(x), epochs=100, threads={threads}),
            lambda: big.loss_and_grad(np.tile(x, (4, 1)), np.tile(y, (4, 1)), threads={threads}),
            lambda: [big.predict(x, threads={threads}) for _ in range(100)],
        ):
            threading.Timer(0.3, interrupt).start()
            try:
                call()
                raise SystemExit("not interrupted")
            except KeyboardInterrupt:
                print(time.perf_counter() - sent[-1])
        assert np.isfinite(big.theta).all()
        big.fit(X, Y, threads={threads})
        assert np.isfinite(big.theta).all() and (big.theta != start).any()
        """
    for seconds in map(float, output(script).split()):
        assert seconds < 0.3  # 0.1 on a machine with nothing else to do


def test_ctrl_c_leaves_theta_and_state_at_the_last_finished_step() -> None:
    script = """
        import signal
        x, y = np.tile(X, (100, 1)), np.tile(Y, (100, 1))
        batch, net, rule = 4000, network(), nn.Adam()
        states = [net.theta.copy()]
        for first in range(0, len(x), batch):
            rows = slice(first, first + batch)
            net.train_on_batch(x[rows], y[rows], optimizer=rule, threads=1)
            states.append(net.theta.copy())
        for delay in (0.11, 0.13, 0.17, 0.19, 0.23):
            net.build(64)
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                net.fit(x, y, optimizer=rule, batch_size=batch, shuffle=False, threads=1)
                time.sleep(1)
            except KeyboardInterrupt:
                pass
            at = [i for i, theta in enumerate(states) if (theta == net.theta).all()]
            assert len(at) == 1, at
            step = at[0]
            rest = slice(step * batch, (step + 1) * batch)  # the optimizer's state is of that step too
            if step + 1 < len(states):
                net.train_on_batch(x[rest], y[rest], optimizer=rule, threads=1)
                assert (net.theta == states[step + 1]).all(), step
        print("done")
        """
    assert output(script) == "done\n"


# ---- the rest of the process ----


@pytest.mark.parametrize("threads", [1, 2])
def test_the_control_word_is_left_alone(threads: int) -> None:
    script = f"""
        tiny = np.array([5e-324, 1e-310])
        small = np.array([1e-45, 1e-40], "f4")
        def subnormals():
            half = (tiny * np.float64(1)).tobytes(), (small * np.float32(1)).tobytes()
            return half == (tiny.tobytes(), small.tobytes()) and float(5e-324) * 1.0 != 0.0
        assert subnormals()
        net = network()
        one = net.predictor()
        z = np.zeros((4, 8), "f4")
        for call in (
            lambda: train({threads}),
            lambda: net.loss_and_grad(X, Y, threads={threads}),
            lambda: one(X[0]),
            lambda: nn.ops.dense_forward(X, np.zeros((64, 8), "f4"), threads={threads}),
            lambda: nn.ops.dense_backward(X[:4], np.zeros((64, 8), "f4"), z, z),
            lambda: nn.ops.activation(z, "tanh"),
            lambda: nn.ops.activation_grad(z, z, "tanh"),
            lambda: nn.ops.softmax_cross_entropy(z, [0, 1, 2, 3]),
            lambda: nn.ops.sgd_update(z, z, 0.1),
        ):
            call()
            assert subnormals()
            found = []
            thread = threading.Thread(target=lambda: found.append(subnormals()))
            thread.start(), thread.join()
            assert found == [True]
        print("done")
        """
    assert output(script) == "done\n"


def test_import_leaves_the_control_word_alone() -> None:
    script = "import nnfast; from nnfast import _native; print(5e-324 * 1.0, float('1e-310') / 2)"
    done = python(script, prelude="")
    assert done.stdout == "5e-324 5e-311\n", done.stderr


def test_import_brings_numpy_alone() -> None:
    script = """
        import sys, numpy
        before = set(sys.modules)
        import nnfast
        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(new - set(sys.stdlib_module_names) - {"nnfast", "numpy"}))
        """
    done = python(script, prelude="")
    assert done.stdout == "[]\n", done.stderr


def test_other_threads_run_during_fit() -> None:
    script = """
        beats, stop = [], threading.Event()
        def beat():
            while not stop.wait(0.005):
                beats.append(time.perf_counter())
        heart = threading.Thread(target=beat)
        x, y, net = np.tile(X, (20, 1)), np.tile(Y, (20, 1)), network(512, 512)
        heart.start()
        begin = time.perf_counter()
        net.fit(x, y, batch_size=len(x), threads=1)
        seconds = time.perf_counter() - begin
        stop.set(), heart.join()
        print(len(beats) / seconds, seconds)
        """
    beats_a_second, seconds = map(float, output(script).split())
    assert seconds > 0.1
    assert beats_a_second > 30  # of 200; a kernel that held the GIL would leave about 20


def test_many_threads_with_models_of_their_own_and_one_in_common() -> None:
    script = """
        from concurrent.futures import ThreadPoolExecutor
        expected = [train(1), train(2)]
        assert expected[0] == expected[1]
        shared = network()
        y, one = shared.predict(X, threads=1), shared.predictor()
        def work(i):
            if i % 3 == 0:
                return train(1 + i % 2) == expected[0]
            if i % 3 == 1:
                return (shared.predict(X, threads=2) == y).all()
            return all((one(X[j]) == y[j]).all() for j in range(200))
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(60)))
        print("done")
        """
    assert output(script, timeout=120) == "done\n"


def test_training_survives_the_exit_of_the_interpreter() -> None:
    script = """
        net = network(512, 512)
        x, y = np.tile(X, (20, 1)), np.tile(Y, (20, 1))
        threading.Thread(target=net.fit, args=(x, y), kwargs={"epochs": 1000}, daemon=True).start()
        time.sleep(0.2)
        print("done")
        """
    assert output(script) == "done\n"
