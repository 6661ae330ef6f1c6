"""What is shown of a training: History as table, data frame and picture; bars and lines."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast as nn

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X[:, :1] - X[:, 1:2]


def trained(**settings: Any) -> nn.History:
    net = nn.Sequential([nn.Dense(1)], seed=0)
    defaults = {"epochs": 3, "validation_split": 0.2, "metrics": ["mae"], "verbose": 0}
    return net.fit(X, Y, **defaults | settings)


def test_a_data_frame() -> None:
    pytest.importorskip("pandas")
    history = trained()
    frame = history.to_frame()
    assert list(frame.columns) == ["loss", "mae", "val_loss", "val_mae"]
    assert list(frame.index) == history.epoch == [0, 1, 2]
    assert frame.index.name == "epoch"
    assert frame["val_mae"].tolist() == history.history["val_mae"]


def test_columns_stay_as_long_as_the_epochs() -> None:
    class Adds(nn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            if epoch == 1:
                logs["more"] = 7.0

    history = trained(callbacks=Adds()).history
    np.testing.assert_array_equal(history["more"], [np.nan, 7, np.nan])


def test_a_table() -> None:
    html = trained()._repr_html_()
    assert html.startswith("<table><tr><td>epoch</td><td>loss</td><td>mae</td>")
    assert html.count("<tr>") == 4
    long = trained(epochs=50)._repr_html_()
    assert long.count("<tr>") == 14
    assert "<td>6</td>" in long
    assert "<td>7</td>" not in long
    assert "<td>45</td>" in long
    assert nn.History()._repr_html_() == "<table><tr><td>epoch</td></tr></table>"


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "history.png"
    scheduler = nn.LearningRateScheduler(lambda epoch, lr: lr / 2)
    history = trained(callbacks=scheduler)
    figure = history.plot(file)
    assert file.read_bytes().startswith(b"\x89PNG")
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert set(panels) == {"Loss", "Mae", "Learning rate"}
    lines = panels["Loss"].get_lines()
    assert [line.get_label() for line in lines] == ["training", "validation"]
    assert list(lines[1].get_ydata()) == history.history["val_loss"]
    assert list(lines[1].get_xdata()) == [1, 2, 3]
    assert len(panels["Learning rate"].get_lines()) == 1
    trained(epochs=1).plot()
    with pytest.raises(ValueError, match="expected at least one epoch that has ended, got none"):
        nn.History().plot()
    with pytest.raises(ValueError, match="expected a name that ends in"):
        history.plot(tmp_path / "history.txt")


@pytest.mark.parametrize("missing", ["matplotlib", "pandas"])
def test_what_is_missing_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    history = trained()
    with pytest.raises(ModuleNotFoundError, match=f"needs {missing}; pip install"):
        history.plot() if missing == "matplotlib" else history.to_frame()


def test_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    history = trained(verbose=2)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line[:9] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert f"  val_mae {history.history['val_mae'][-1]:.4f}" in lines[-1]
    trained()
    assert capsys.readouterr() == ("", "")


class OutStream(io.StringIO):
    """What a notebook has for stderr: no terminal, but a line can be drawn over."""


OutStream.__module__ = "ipykernel.iostream"


def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", OutStream())
    trained(verbose="auto")
    said = sys.stderr.getvalue()
    assert said.count("\n") == 3
    assert "\rEpoch 3/3 [" + "=" * 24 + "] 2/2" in said


def test_a_bar_of_unknown_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", OutStream())
    slow = nn.LambdaCallback(on_progress=lambda step, logs: seen.append((step, sorted(logs))))
    seen: list[Any] = []

    def metric(y_true: Any, y_pred: Any) -> float:
        import time

        time.sleep(0.06)
        return 0.0

    batches = ((X, Y) for _ in range(3))
    net = nn.Sequential([nn.Dense(1)], seed=0)
    net.fit(batches, metrics=metric, callbacks=slow)
    assert seen == [(2, ["loss", "metric"]), (3, ["loss", "metric"])]
    assert "Epoch 1/1 [] 3/?" in sys.stderr.getvalue()
