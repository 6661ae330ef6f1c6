"""Training that is killed and started again ends in the bits of one that never stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child import output

import nnfast as nn
from nnfast import checkpoints, schedules
from nnfast.formats import FormatError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(100, 5)).astype("f4")
LABELS = RANDOM.integers(0, 3, 100)
Y = RANDOM.normal(size=(100, 3)).astype("f4")
BATCHES = [(X[i : i + 8], LABELS[i : i + 8]) for i in range(0, 100, 8)]


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves to the next one what it has written, on the disk or not."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def network(**settings: Any) -> nn.Sequential:
    return nn.Sequential([nn.Dense(7, "tanh"), nn.Dense(3)], **{"seed": 0} | settings)


class Dies(nn.Callback):
    """Raises when it is told so many things."""

    def __init__(self, after: int) -> None:
        self.left = after

    def _tell(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise InterruptedError

    def on_epoch_begin(self, epoch: int) -> None:
        self._tell()

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self._tell()


class Memory(nn.Callback):
    """A user's own callback, whose numbers, arrays too, decide what happens."""

    def on_train_begin(self) -> None:
        self.seen: list[float] = []
        self.mean = np.zeros(3)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.seen.append(logs["loss"])
        self.mean[1] += logs["loss"]
        logs["mean"] = float(self.mean.sum() / len(self.seen))
        self.model.theta *= 1 - 0.01 * logs["mean"]

    def get_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "more": {"mean": self.mean}}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seen, self.mean = state["seen"], state["more"]["mean"].copy()


def gen() -> Any:
    while True:
        yield from BATCHES


LABELLED = {"X": X, "y": LABELS, "batch_size": 8, "validation_split": 0.2}
SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "Adam, plateau, early": lambda: LABELLED
    | {
        "optimizer": nn.Adam(0.02),
        "metrics": ["accuracy", "top_2_accuracy", "f1"],
        "callbacks": [
            nn.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.05),
            nn.EarlyStopping(patience=3, restore_best_weights=True, min_delta=0.01),
        ],
    },
    "momentum, schedule": lambda: LABELLED
    | {
        "optimizer": nn.SGD(schedules.CosineDecay(0.2, 60), momentum=0.9),
        "callbacks": [Memory()],
        "sample_weight": np.linspace(0, 1, 100),
    },
    "epochs, mse, r2": lambda: {
        "X": X,
        "y": Y,
        "batch_size": 7,
        "optimizer": nn.RMSprop(0.01, momentum=0.5, centered=True),
        "metrics": ["r2", "mae", "rmse"],
        "callbacks": [nn.LearningRateScheduler(lambda epoch, lr: lr * 0.8), Memory()],
    },
    "noise and running statistics": lambda: LABELLED
    | {
        "net": [nn.Dense(7), nn.BatchNorm(), nn.Activation("tanh"), nn.Dropout(0.3), nn.Dense(3)],
        "optimizer": nn.Adam(0.02),
        "callbacks": [nn.EarlyStopping(patience=4, restore_best_weights=True)],
        "metrics": "accuracy",
    },
    "a loss of one's own": lambda: {
        "X": X,
        "y": Y,
        "loss": lambda y_pred, y_true: (((y_pred - y_true) ** 2).mean(1), (y_pred - y_true) / 2),
        "callbacks": [nn.EarlyStopping("mae")],
        "metrics": ["mae", "r2"],
    },
    "no shuffle": lambda: LABELLED | {"shuffle": False, "optimizer": nn.Rprop(), "batch_size": 80},
    "batches": lambda: {
        "X": BATCHES,
        "optimizer": "adam",
        "metrics": "accuracy",
        "callbacks": [nn.EarlyStopping("loss", min_delta=0.01)],
        "validation_data": (X, LABELS),
    },
    "a generator": lambda: {"X": gen(), "steps_per_epoch": 5, "optimizer": "adagrad"},
}  # fmt: skip


def run(
    settings: dict[str, Any], *more: nn.Callback, net: nn.Sequential | None = None, epochs: int = 6
) -> tuple[nn.Sequential, nn.History]:
    layers = settings.get("net")
    net = net or (nn.Sequential(layers, seed=0) if layers else network())
    callbacks = [*settings.get("callbacks", ()), *more]
    arguments = {name: value for name, value in settings.items() if name != "net"}
    history = net.fit(**arguments | {"epochs": epochs, "callbacks": callbacks, "verbose": 0})
    return net, history


def same(a: tuple[nn.Sequential, nn.History], b: tuple[nn.Sequential, nn.History]) -> bool:
    slots = [each[0]._network.state for each in (a, b)]
    return (
        a[0].theta.tobytes() == b[0].theta.tobytes()
        and a[0].buffers.tobytes() == b[0].buffers.tobytes()
        and a[1].history == b[1].history
        and a[1].epoch == b[1].epoch
        and np.array_equal(slots[0].slots, slots[1].slots)
        and [slots[0].step, slots[0].epoch, slots[0].noise]
        == [slots[1].step, slots[1].epoch, slots[1].noise]
    )


@pytest.mark.parametrize("save_freq", ["epoch", 1, 5, 13, 1000])
@pytest.mark.parametrize("name", SETTINGS)
def test_an_interrupted_training_goes_on(name: str, save_freq: Any, tmp_path: Path) -> None:
    whole = run(SETTINGS[name](), Dies(0), nn.BackupAndRestore(tmp_path / "x", save_freq))
    assert not list(tmp_path.iterdir())
    for after in (2, 3, 4, 7):
        backup = nn.BackupAndRestore(tmp_path / "b", save_freq)
        with pytest.raises(InterruptedError):
            run(SETTINGS[name](), Dies(after), backup)
        assert same(run(SETTINGS[name](), Dies(0), backup), whole)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["momentum, schedule", "batches"])
def test_checkpoints_change_nothing(name: str, tmp_path: Path) -> None:
    plain = run(SETTINGS[name]())
    for save_freq in ("epoch", 5):
        assert same(run(SETTINGS[name](), nn.BackupAndRestore(tmp_path / "b", save_freq)), plain)


def test_a_training_goes_on_in_the_same_network_too(tmp_path: Path) -> None:
    """As after Ctrl-C in a notebook: the numbers are those of the checkpoint again."""
    settings, backup = SETTINGS["Adam, plateau, early"](), nn.BackupAndRestore(tmp_path / "b", 5)
    whole, net = run(settings), network()
    for after in (5, 3):
        with pytest.raises(InterruptedError):
            run(settings, Dies(after), backup, net=net)
        with pytest.raises(ValueError, match="batch_size: expected 8, got 9"):
            run(settings | {"batch_size": 9}, backup, net=net)
    assert same(run(settings, backup, net=net), whole)
    second = run(settings, backup, net=net)  # and then the next fit is a new one
    assert second[1].epoch[0] == 0
    assert not same(second, whole)


def test_a_loss_that_is_not_finite_goes_back_to_the_start_of_the_epoch(tmp_path: Path) -> None:
    x = X.copy()
    x[90] = np.nan
    settings = {"X": x, "y": Y, "batch_size": 10, "optimizer": "adam", "shuffle": False}
    thetas = []
    for interrupted in (False, True):
        net, backup = network(), nn.BackupAndRestore(tmp_path / "b", 3)
        run(settings | {"X": X}, net=net, epochs=1)
        if interrupted:
            path = output(
                f"""
                import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
                from test_resume import *
                net = network()
                x = X.copy(); x[90] = np.nan
                settings = dict(y=Y, batch_size=10, optimizer="adam", shuffle=False)
                run(settings | dict(X=X), net=net, epochs=1)
                class Killed(nn.BackupAndRestore):
                    def save(self, tree):
                        super().save(tree)
                        if tree["total"]["steps"] == 6:
                            os._exit(0)
                run(settings | dict(X=x), Killed({str(tmp_path / "b")!r}, 3), net=net)
                """
            )
            assert path == ""
            assert len(list((tmp_path / "b").iterdir())) == 2
        before = net.theta.copy()
        with pytest.warns(nn.NonFiniteLossWarning, match="epoch 1, step 10 of 10"):
            run(settings, backup, net=net)
        assert np.array_equal(before, net.theta)
        thetas.append(run(settings | {"X": X}, net=net)[0].theta.copy())
    assert np.array_equal(*thetas)


def test_running_statistics_go_back_too() -> None:
    x = X.copy()
    x[90] = np.nan
    net = nn.Sequential([nn.Dense(4), nn.BatchNorm(), nn.Dense(3)], seed=0)
    net.fit(X, Y, verbose=0)
    before = net.buffers.copy()
    with pytest.warns(nn.NonFiniteLossWarning):
        net.fit(x, Y, batch_size=10, shuffle=False, verbose=0)
    assert np.array_equal(net.buffers, before)


def test_sparse_data(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.csr_matrix(np.where(X > 0.5, X, 0))
    settings = {"X": x, "y": LABELS, "optimizer": "adam", "batch_size": 8}
    backup = nn.BackupAndRestore(tmp_path / "b", 5)
    with pytest.raises(InterruptedError):
        run(settings, Dies(4), backup)
    other = x.copy()
    other.data[-1] += 1
    with pytest.raises(ValueError, match=r"data: expected X \(100, 5\)"):
        run(settings | {"X": other}, backup)
    assert same(run(settings, backup), run(settings))


# ---- refusals ----


def changed(array: np.ndarray, place: int) -> np.ndarray:
    other = array.copy()
    other[place] = 0 if other.flat[place] else 1
    return other


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "network": ({"net": lambda: nn.Sequential([nn.Dense(8, "tanh"), nn.Dense(3)], seed=0)}, "network: expected 66 parameters.*got 75"),
    "activation": ({"net": lambda: nn.Sequential([nn.Dense(7, "relu"), nn.Dense(3)], seed=0)}, "network: expected 66 parameters"),
    "dtype": ({"net": lambda: network(dtype="float64")}, "dtype: expected float32, got float64"),
    "seed": ({"net": lambda: network(seed=1)}, "seed: expected 0, got 1"),
    "no seed": ({"net": lambda: network(seed=None)}, "seed: expected 0, got"),
    "numbers": ({"net": lambda: run({"X": X, "y": LABELS}, epochs=1)[0]}, "numbers at the start: expected"),
    "optimizer": ({"optimizer": nn.SGD(0.1)}, "optimizer: expected Adam.*got SGD"),
    "lr": ({"optimizer": nn.Adam(0.03)}, r"optimizer: expected Adam\(lr=0.02.*got Adam\(lr=0.03"),
    "schedule": ({"optimizer": nn.Adam(lambda step: 0.02)}, "optimizer: expected"),
    "loss": ({"loss": "hinge"}, "loss: expected Loss\\(name='cross_entropy'.*got Loss\\(name='hinge'"),
    "batch size": ({"batch_size": 9}, "batch_size: expected 8, got 9"),
    "shuffle": ({"shuffle": False}, "shuffle: expected True, got False"),
    "fewer rows": ({"X": X[:90], "y": LABELS[:90]}, r"data: expected X \(80, 5\) float32, y \(80,\) int64 .*got X \(72, 5\)"),
    "first row": ({"X": changed(X, 0)}, "data: expected"),
    "last label": ({"y": changed(LABELS, 79)}, "data: expected"),
    "dtype of X": ({"X": X.astype(float)}, r"data: expected X \(80, 5\) float32.*got X \(80, 5\) float64"),
    "weights": ({"sample_weight": np.ones(100)}, "data: expected"),
    "classes": ({"class_weight": {0: 2}}, "data: expected"),
    "held out": ({"y": changed(LABELS, 99)}, "validation_data: expected"),
    "metrics": ({"metrics": "accuracy"}, "metrics: expected accuracy, top_2_accuracy, f1, got accuracy"),
    "callbacks": ({"callbacks": []}, "callbacks: expected ReduceLROnPlateau, EarlyStopping, History, got History"),
    "initial epoch": ({"initial_epoch": 1}, "initial_epoch: expected 0, got 1"),
    "batches": ({"X": BATCHES, "y": None, "validation_split": 0.0}, "batch_size: expected 8, got None.*steps_per_epoch"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_training_is_refused_by_name(name: str, tmp_path: Path) -> None:
    backup = nn.BackupAndRestore(tmp_path / "b")
    settings = SETTINGS["Adam, plateau, early"]()
    with pytest.raises(InterruptedError):
        run(settings, Dies(4), backup)
    before = {file: file.read_bytes() for file in (tmp_path / "b").iterdir()}
    other, words = OTHERS[name]
    net = other.get("net", network)()
    other = {key: value for key, value in other.items() if key != "net"}
    theta = net.theta.copy() if net._network else None
    with pytest.raises(ValueError, match=f"is of another training; .*{words}.*begin anew"):
        run(settings | other, backup, net=net)
    assert {file: file.read_bytes() for file in (tmp_path / "b").iterdir()} == before
    assert theta is None or np.array_equal(net.theta, theta)
    assert same(run(settings, backup), run(settings))


def test_other_batches_are_refused(tmp_path: Path) -> None:
    for first in (0, 9):
        backup = nn.BackupAndRestore(tmp_path / str(first), 4)
        with pytest.raises(InterruptedError):
            run({"X": BATCHES}, Dies(4), backup)
        others = list(BATCHES)
        others[first] = (changed(BATCHES[first][0], 0), BATCHES[first][1])
        with pytest.raises(ValueError, match=r"data: expected|X: expected the batches that were"):
            run({"X": others}, backup)
        assert same(run({"X": BATCHES}, backup), run({"X": BATCHES}))


def test_what_may_change(tmp_path: Path) -> None:
    """More epochs, threads, what is shown, callbacks without a state."""
    settings, backup = SETTINGS["momentum, schedule"](), nn.BackupAndRestore(tmp_path / "b")
    with pytest.raises(InterruptedError):
        run(settings, Dies(4), backup)
    more = nn.LambdaCallback(on_epoch_begin=lambda epoch: None)
    found = run(settings | {"threads": 2}, more, backup, epochs=9)
    assert same(found, run(settings | {"threads": 1}, epochs=9))


def test_a_finished_training_deletes_its_checkpoints_or_keeps_them(tmp_path: Path) -> None:
    settings = SETTINGS["momentum, schedule"]()
    backup = nn.BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    first = run(settings, backup, epochs=3)
    assert len(list((tmp_path / "b").iterdir())) == 2
    assert same(run(settings, backup, epochs=3), first)  # nothing left to do
    assert same(run(settings, backup, net=first[0], epochs=5), run(settings, epochs=5))
    assert same(run(settings, backup, epochs=6), run(settings, epochs=6))
    run(settings, net=first[0], epochs=1)
    with pytest.raises(ValueError, match="numbers at the start"):
        run(settings, backup, net=first[0], epochs=6)


def test_a_stop_is_remembered(tmp_path: Path) -> None:
    """Killed between the last checkpoint and the end, training does not begin another epoch."""
    settings = {
        "X": X,
        "y": LABELS,
        "callbacks": [nn.EarlyStopping("loss", min_delta=9, patience=2)],
    }

    class Killed(nn.BackupAndRestore):
        def finish(self) -> None:
            raise InterruptedError

    whole = run(settings)
    assert whole[1].epoch == [0, 1, 2]
    with pytest.raises(InterruptedError):
        run(settings, Killed(tmp_path / "b"))
    assert same(run(settings, nn.BackupAndRestore(tmp_path / "b")), whole)


def test_damaged_checkpoints(tmp_path: Path) -> None:
    settings, backup = SETTINGS["momentum, schedule"](), nn.BackupAndRestore(tmp_path / "b")
    for damaged in (1, 2):
        with pytest.raises(InterruptedError):
            run(settings, Dies(7), backup)
        for file in sorted((tmp_path / "b").iterdir())[-damaged:]:
            file.write_bytes(file.read_bytes()[:-9])
        if damaged == 1:
            with pytest.warns(RuntimeWarning, match="checksum is wrong") as seen:
                found = run(settings, backup)
            assert seen[0].filename == __file__
            assert same(found, run(settings))
        else:
            with pytest.raises(FormatError, match="damaged ones alone"):
                run(settings, backup)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", "epochs"), "save_freq: expected 'epoch' or a number, got 'epochs'"),
        (("x", 0), "save_freq: expected an integer of at least 1, got 0"),
        (("x", 1.5), "save_freq: expected an integer"),
    ],
)
def test_bad_arguments(arguments: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        nn.BackupAndRestore(*arguments)


def test_one_backup_alone_and_a_state_that_can_be_kept(tmp_path: Path) -> None:
    backup = nn.BackupAndRestore(tmp_path / "b")
    with pytest.raises(ValueError, match="at most one BackupAndRestore, got two"):
        run({"X": X, "y": LABELS}, backup, backup)

    class Odd(nn.Callback):
        def get_state(self) -> dict[str, Any]:
            return {"mine": {3, 4}}

    with pytest.raises(TypeError, match=r"callbacks.0 Odd.mine: expected JSON values.*type set"):
        run({"X": X, "y": LABELS}, Odd(), backup)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.Folder(tmp_path)
    folder.save({"format": 2})
    with pytest.raises(ValueError, match="expected checkpoints of the format 1, got 2"):
        run({"X": X, "y": LABELS}, nn.BackupAndRestore(tmp_path))


# ---- kill -9 ----

KILLS = """
import random, signal, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from test_resume import *
from nnfast import checkpoints

os.fsync = lambda handle: None
folder, dice = sys.argv[2], random.Random(0)
backup, log, result = (os.path.join(folder, name) for name in ("backup", "log.csv", "result"))

def training(name, save_freq):
    \"\"\"Train to the end, then write all that is left of it.\"\"\"
    settings = SETTINGS[name]()
    more = [nn.CSVLogger(log), nn.ModelCheckpoint(result + ".net", "loss", True)]
    net, history = run(settings, *more, nn.BackupAndRestore(backup, save_freq), epochs=8)
    state = net._network.state
    counts = [state.step, state.epoch, state.noise]
    text = repr([net.theta.tobytes(), net.buffers.tobytes(), state.slots.tobytes(), counts, history.history, history.epoch])
    with open(result, "w") as file:
        file.write(text + open(log).read() + repr(open(result + ".net", "rb").read()))

def forked(name, save_freq):
    child = os.fork()
    if not child:
        try:
            training(name, save_freq)
        except BaseException as error:
            print("failed:", name, save_freq, repr(error), flush=True)
        os._exit(0)
    return child

kills = unreadable = differences = 0
everything = [(name, freq) for name in SETTINGS for freq in ("epoch", 3)]
while kills < 100:
    name, save_freq = everything[dice.randrange(len(everything))]
    if os.path.exists(result):
        os.unlink(result)
    began = time.perf_counter()
    os.waitpid(forked(name, save_freq), 0)
    seconds = time.perf_counter() - began
    expected = open(result).read()
    os.unlink(result)
    patience = 0.6 * seconds
    while not os.path.exists(result):
        child = forked(name, save_freq)
        time.sleep(dice.random() * patience)
        patience *= 1.1  # or a start that takes longer than that is killed for ever
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        kills += os.WIFSIGNALED(status)
        for file in os.listdir(backup) if os.path.isdir(backup) else ():
            try:
                if file.startswith("checkpoint"):
                    checkpoints.read(os.path.join(backup, file))
            except ValueError:
                unreadable += 1
    if os.path.getsize(result) == len(expected):  # or it was killed while it was writing that
        differences += open(result).read() != expected
print("killed", kills >= 100, "unreadable", unreadable, "differences", differences)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_100_random_moments(tmp_path: Path) -> None:
    said = output(KILLS, os.path.dirname(__file__), str(tmp_path), timeout=120)
    assert said == "killed True unreadable 0 differences 0\n"
