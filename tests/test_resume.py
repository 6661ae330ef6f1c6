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
from nnfast import feeds, schedules
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
    net = net or network()
    callbacks = [*settings.get("callbacks", ()), *more]
    history = net.fit(**settings | {"epochs": epochs, "callbacks": callbacks, "verbose": 0})
    return net, history


def same(a: tuple[nn.Sequential, nn.History], b: tuple[nn.Sequential, nn.History]) -> bool:
    slots = [each[0]._network.state for each in (a, b)]
    return (
        a[0].theta.tobytes() == b[0].theta.tobytes()
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
    text = repr([net.theta.tobytes(), state.slots.tobytes(), counts, history.history, history.epoch])
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
    while not os.path.exists(result):
        child = forked(name, save_freq)
        time.sleep(dice.random() * 0.6 * seconds)
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
