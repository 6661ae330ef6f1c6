"""Callbacks that save, write and call."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast as nn

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
