"""Callbacks that save, write and call."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast import schedules

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X[:, :1] - X[:, 1:2]


def fit(*callbacks: nn.Callback, epochs: int = 3, **more: Any) -> nn.Sequential:
    net = nn.Sequential([nn.Dense(1)], seed=0).build(3)
    net.fit(X, Y, epochs=epochs, callbacks=callbacks, validation_split=0.2, verbose=0, **more)
    return net


def test_checkpoints(tmp_path: Path) -> None:
    net = fit(nn.ModelCheckpoint(tmp_path / "net-{epoch}.safetensors"))
    files = [tmp_path / f"net-{epoch}.safetensors" for epoch in (1, 2, 3)]
    assert sorted(tmp_path.iterdir()) == files
    assert np.array_equal(nn.load(files[-1]).theta, net.theta)
    assert not np.array_equal(nn.load(files[0]).theta, net.theta)


class Told(nn.ModelCheckpoint):
    """Sees the losses it is told."""

    def __init__(self, path: Path, name: str, losses: list[float]) -> None:
        super().__init__(path, name, save_best_only=True)
        self.losses = losses

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.model.theta = np.full(4, epoch)
        super().on_epoch_end(epoch, {self.monitor: self.losses[epoch]})


@pytest.mark.parametrize(
    ("name", "losses", "best"),
    [
        ("val_loss", [3.0, 1.0, 2.0, 1.0], 1),
        ("val_accuracy", [0.5, 0.9, 0.7, 0.95], 3),
        ("loss", [1.0, float("nan"), 2.0, 1.5], 0),
    ],
)
def test_the_best_is_kept(tmp_path: Path, name: str, losses: list[float], best: int) -> None:
    file = tmp_path / "best.safetensors"
    fit(Told(file, name, losses), epochs=4)
    assert np.array_equal(nn.load(file).theta, np.full(4, best))


def test_bad_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ModelCheckpoint path: .* epoch, loss, val_loss, got"):
        fit(nn.ModelCheckpoint(tmp_path / "{accuracy}"))
    with pytest.raises(ValueError, match="ModelCheckpoint monitor: expected one of 'loss', "):
        fit(nn.ModelCheckpoint(tmp_path / "x", monitor="val_los", save_best_only=True))
    assert not list(tmp_path.iterdir())


def test_a_log_in_csv(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    history = nn.History()
    fit(nn.CSVLogger(file), history)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    assert [float(row["val_loss"]) for row in rows] == history.history["val_loss"]
    fit(nn.CSVLogger(file, append=True), epochs=2)
    assert len(file.read_text().splitlines()) == 6
    fit(nn.CSVLogger(file, separator=";"), epochs=1)
    assert [line.count(";") for line in file.read_text().splitlines()] == [2, 2]


def test_functions_are_called() -> None:
    seen: list[Any] = []
    fit(
        nn.LambdaCallback(
            on_train_begin=lambda: seen.append("begin"),
            on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs))),
        ),
        epochs=2,
    )
    assert seen == ["begin", (0, ["loss", "val_loss"]), (1, ["loss", "val_loss"])]
    with pytest.raises(ValueError, match="did you mean 'on_epoch_end'"):
        nn.LambdaCallback(on_epoch_ends=print)
    with pytest.raises(TypeError, match="on_epoch_end: expected a function, got int"):
        nn.LambdaCallback(on_epoch_end=3)


def test_the_best_running_statistics_are_restored_too() -> None:
    class Remembers(nn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            logs["n"] = [2.0, 1.0, 3.0][epoch]
            kept.append((self.model.theta.copy(), self.model.buffers.copy()))

    kept: list[Any] = []
    stop = nn.EarlyStopping("n", patience=9, restore_best_weights=True)
    net = nn.Sequential([nn.Dense(4), nn.BatchNorm(), nn.Dense(1)], seed=0)
    net.fit(X, Y, epochs=3, callbacks=[Remembers(), stop], verbose=0)
    assert np.array_equal(net.theta, kept[1][0])
    assert np.array_equal(net.buffers, kept[1][1])
    assert not np.array_equal(net.buffers, kept[2][1])


class Says(nn.Callback):
    """Puts numbers into the logs, and notes the learning rate of each epoch."""

    def __init__(self, name: str, numbers: list[float]) -> None:
        self.name, self.numbers, self.rates = name, numbers, []

    def on_epoch_begin(self, epoch: int) -> None:
        self.rates.append(self.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs[self.name] = self.numbers[epoch]
        self.model.theta = np.full(4, epoch)


def said(numbers: list[float], *callbacks: nn.Callback, name: str = "n", **more: Any) -> Says:
    says = Says(name, numbers)
    says.net = fit(says, *callbacks, epochs=len(numbers), **more)
    return says


@pytest.mark.parametrize(
    ("arguments", "numbers", "ends", "best"),
    [
        ({}, [3, 2, 1, 2, 9], 4, 2),
        ({"patience": 2}, [3, 2, 3, 1, 2, 2, 9], 6, 3),
        ({"patience": 2, "min_delta": 1}, [3, 2.5, 2.1, 9], 3, 0),
        ({"mode": "max"}, [1, 2, 1, 9], 3, 1),
        ({"monitor": "val_f1"}, [1, 2, 1, 9], 3, 1),
        ({"monitor": "val_f1", "mode": "min"}, [1, 2, 1, 9], 2, 0),
        ({"baseline": 2}, [5, 4, 5, 9], 3, 1),
        ({"baseline": 2, "patience": 2}, [5, 4, 1, 3, 3, 9], 5, 2),
        ({"start_from_epoch": 3}, [1, 5, 9, 3, 2, 3, 9], 6, 4),
        ({}, [float("nan"), 1], 1, 0),
    ],
)
def test_early_stopping(arguments: Any, numbers: Any, ends: int, best: int) -> None:
    name = arguments.get("monitor", "n")
    stop = nn.EarlyStopping(**{"monitor": "n", "restore_best_weights": True} | arguments)
    says = said(numbers, stop, name=name)
    assert len(says.rates) == ends
    assert stop.best_epoch == best
    if stop.best == stop.best and abs(stop.best) < 9:
        assert np.array_equal(says.net.theta, np.full(4, best))


def test_learning_rates_are_chosen() -> None:
    scheduler = nn.LearningRateScheduler(lambda epoch, lr: 0.1 if epoch == 0 else lr / 2)
    rule = nn.SGD(lr=0.5)
    history = nn.History()
    net = fit(scheduler, history, optimizer=rule, epochs=3, shuffle=False, batch_size=10)
    assert history.history["learning_rate"] == [0.1, 0.05, 0.025]
    assert net._network.state.optimizer == rule
    by_hand = nn.Sequential([nn.Dense(1)], seed=0).build(3)
    for lr in (0.1, 0.05, 0.025):
        by_hand.fit(X[:48], Y[:48], optimizer=nn.SGD(lr=lr), shuffle=False, batch_size=10)
    assert np.array_equal(by_hand.theta, net.theta)
    assert rule.lr == 0.5  # and the next fit begins with it
    assert said([0, 0], optimizer=rule).rates == [0.5, 0.5]


@pytest.mark.parametrize("rule", [nn.Adam(0.1), nn.AdamW(0.1), nn.RMSprop(0.1), nn.Adagrad(0.1)])
def test_the_state_goes_on_when_the_learning_rate_changes(rule: Any) -> None:
    constant = nn.LearningRateScheduler(lambda epoch, lr: lr)
    assert np.array_equal(fit(constant, optimizer=rule).theta, fit(optimizer=rule).theta)
    halved = fit(nn.LearningRateScheduler(lambda epoch, lr: lr / 2), optimizer=rule)
    steps = -(-48 // 32)
    schedule = dataclasses.replace(rule, lr=lambda step: 0.1 / 2 ** (step // steps + 1))
    assert np.array_equal(halved.theta, fit(optimizer=schedule).theta)


@pytest.mark.parametrize(
    ("arguments", "numbers", "rates"),
    [
        ({}, [3, 3, 3, 2, 2], [1, 1, 0.5, 0.25, 0.25]),
        ({"patience": 2}, [3, 3, 3, 3, 3, 3], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 2, "cooldown": 2}, [3] * 8, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ({"cooldown": 1}, [3, 3, 3, 3], [1, 1, 0.5, 0.25]),
        ({"min_lr": 0.3}, [3, 3, 3, 3, 3], [1, 1, 0.5, 0.3, 0.3]),
        ({"min_delta": 1}, [3, 2.5, 1.9], [1, 1, 0.5]),
        ({"mode": "max"}, [1, 2, 3, 2, 9], [1, 1, 1, 1, 0.5]),
    ],
)
def test_reduce_on_plateau(arguments: Any, numbers: Any, rates: Any) -> None:
    settings = {"factor": 0.5, "patience": 1, "min_delta": 0} | arguments
    plateau = nn.ReduceLROnPlateau("n", **settings)
    history = nn.History()
    assert said(numbers, plateau, history, optimizer=nn.SGD(lr=1)).rates == rates
    assert history.history["learning_rate"] == rates
    assert said(numbers, plateau, optimizer=nn.SGD(lr=1)).rates == rates  # begins anew


@pytest.mark.parametrize("rule", [nn.Rprop(), nn.SGD(schedules.CosineDecay(0.1, 9))])
def test_learning_rates_that_cannot_be_set(rule: Any) -> None:
    for callback in (nn.LearningRateScheduler(lambda epoch, lr: lr), nn.ReduceLROnPlateau("loss")):
        with pytest.raises(ValueError, match=r"learning_rate: expected an optimizer whose lr is a"):
            fit(callback, optimizer=rule)
    for bad in (0, -1, float("nan"), "0.1", None):
        with pytest.raises((TypeError, ValueError), match="learning_rate: expected a finite num"):
            fit(nn.LearningRateScheduler(lambda epoch, lr, bad=bad: bad))
    with pytest.raises(RuntimeError, match="learning_rate: expected a training under way"):
        print(nn.Callback().learning_rate)


def test_terminate_on_nan() -> None:
    numbers = [1.0, 2.0, float("inf"), 3.0]
    with pytest.warns(RuntimeWarning, match="TerminateOnNaN: n is inf after epoch 3") as seen:
        assert len(said(numbers, nn.TerminateOnNaN()).rates) == 3
    assert len(seen) == 1
    with pytest.raises(RuntimeError, match="n is inf after epoch 3"):
        said(numbers, nn.TerminateOnNaN(raise_error=True))


BAD: dict[str, tuple[Any, str]] = {
    "mode": (lambda: nn.EarlyStopping(mode="most"), "EarlyStopping mode: expected one of 'auto', "),
    "checkpoint mode": (lambda: nn.ModelCheckpoint("x", mode="most"), "ModelCheckpoint mode"),
    "factor": (lambda: nn.ReduceLROnPlateau(factor=1), r"factor: expected a number in \(0, 1\)"),
    "patience": (lambda: nn.ReduceLROnPlateau(patience=-1), "patience: expected an integer"),
    "min_lr": (lambda: nn.ReduceLROnPlateau(min_lr=-1), "min_lr: expected a number >= 0"),
    "schedule": (lambda: nn.LearningRateScheduler(0.1), r"expected a function \(epoch, lr\)"),
    "monitor": (lambda: fit(nn.ReduceLROnPlateau("val_los")), "did you mean 'val_loss'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments_are_named(what: str) -> None:
    call, words = BAD[what]
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_a_log_keeps_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"

    class Adds(nn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            if epoch != 1:
                logs["more"] = epoch
            else:
                logs["other"] = 9.0

    fit(Adds(), nn.CSVLogger(file))
    assert [row["more"] for row in csv.DictReader(file.read_text().splitlines())] == [
        "0",
        "NA",
        "2",
    ]
    fit(nn.CSVLogger(file, append=True), epochs=1)
    assert [row["more"] for row in csv.DictReader(file.read_text().splitlines())] == [
        "0",
        "NA",
        "2",
        "NA",
    ]
    with pytest.raises(FileNotFoundError):
        fit(nn.CSVLogger(tmp_path / "no" / "log.csv"))


def test_all_ends_are_told_whatever_one_of_them_does() -> None:
    ends: list[int] = []

    class Fails(nn.Callback):
        def on_train_end(self) -> None:
            ends.append(1)
            raise OSError("broken")

    stop = nn.EarlyStopping("n", restore_best_weights=True)
    says = Says("n", [1.0, 2.0])
    end = nn.LambdaCallback(on_train_end=lambda: ends.append(2))
    net = nn.Sequential([nn.Dense(1)], seed=0).build(3)
    with pytest.raises(OSError, match="broken"):
        net.fit(X, Y, epochs=9, callbacks=[Fails(), says, stop, end])
    assert ends == [1, 2]
    assert np.array_equal(net.theta, np.zeros(4))
