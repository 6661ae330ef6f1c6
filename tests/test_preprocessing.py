"""Columns to features, targets to y, and the model that knows both."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import nnfast as nn
from nnfast.preprocessing import Encoder, Target
from nnfast.tables import Table
from nnfast.tabular import TableModel

NAN = float("nan")
RANDOM = np.random.default_rng(0)


def table(**columns: object) -> Table:
    return Table(columns, "t")


def test_numbers_are_standardised() -> None:
    x = np.array([1.0, 2, 3, 6])
    features = Encoder().fit(table(x=x)).transform(table(x=x))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[:, 0], (x - x.mean()) / x.std(), rtol=1e-6)


def test_missing_numbers_are_the_mean_and_told() -> None:
    encoder = Encoder().fit(table(x=[1, NAN, 3], y=[1, 2, 3]))
    features = encoder.transform(table(x=[NAN, 1], y=[NAN, 2]))
    assert features.tolist() == [[0, 1, 0], [-1, 0, 0]]


def test_text_is_one_hot() -> None:
    encoder = Encoder().fit(table(x=["b", None, "a", "b"], y=["u", "v", "u", "u"]))
    new = table(x=["a", "b", None, "c"], y=["v", None, "w", "w"])
    assert encoder.transform(new).tolist() == [
        [1, 0, 0, 0, 1],
        [0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert encoder.unseen(new) == {"x": 1, "y": 3}


def test_what_is_dropped() -> None:
    n = 2000
    encoder = Encoder().fit(
        table(
            x=RANDOM.normal(size=n),
            empty=[NAN] * n,
            no_text=np.array([None] * n, object),
            constant=[5] * n,
            word=["w"] * n,
            name=[f"n{i}" for i in range(n)],
            many=[f"n{i % 1100}" for i in range(n)],
            some=[f"n{i % 60}" for i in range(n)],
            told=[NAN, *[5] * (n - 1)],
        )
    )
    assert encoder.dropped == {
        "empty": "empty",
        "no_text": "empty",
        "constant": "constant",
        "word": "constant",
        "name": "text of 2,000 different values",
        "many": "text of 1,100 different values",
    }
    assert encoder.n_features == 1 + 60 + 2
    assert Encoder().fit(table(x=[1, 2] * 30, name=[f"n{i}" for i in range(60)])).dropped == {
        "name": "text that differs from row to row"
    }
    with pytest.raises(ValueError, match="got none: 'x' is constant"):
        Encoder().fit(table(x=[1, 1]))


def test_other_kinds_than_in_training() -> None:
    encoder = Encoder().fit(table(number=[1, 2, 3], text=["1", "2", "x"]))
    same = table(number=np.array(["2", None, " 3"], object), text=[2.0, 1.0, NAN])
    assert encoder.transform(same)[:, 1:].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert encoder.transform(same)[:2, 0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="t: row 2, column 'number': expected a number, got 'old'"):
        encoder.transform(table(number=["1", "old"], text=["x", "x"]))


def test_columns_that_lack() -> None:
    encoder = Encoder().fit(table(height=[1, 2], weight=[3, 4]))
    assert encoder.transform(table(weight=[3], more=[1], height=[2])).shape == (1, 2)
    with pytest.raises(ValueError, match="no column 'height'; did you mean 'hight'"):
        encoder.transform(table(hight=[1], weight=[3]))


def test_infinite_and_huge_numbers() -> None:
    with pytest.raises(ValueError, match="row 2, column 'x': expected a finite number, got -inf"):
        Encoder().fit(table(x=[1, -np.inf, 3]))
    encoder = Encoder().fit(table(x=[1, 2]))
    with pytest.raises(ValueError, match="row 1, column 'x': expected a finite number, got inf"):
        encoder.transform(table(x=[np.inf]))
    with pytest.raises(ValueError, match="too large"):
        Encoder().fit(table(x=[1e300, -1e300]))


def test_many_rows_are_encoded_in_blocks() -> None:
    n = 300_000
    numbers, texts = RANDOM.normal(size=n), RANDOM.choice(["a", "b"], n)
    rows = table(x=numbers, y=texts)
    encoder = Encoder().fit(rows)
    whole = encoder.transform(rows)
    assert (whole[-5:] == encoder.transform(rows.rows(slice(n - 5, n)))).all()
    assert whole[:, 1].sum() == (texts == "a").sum()


def test_settings_round_trip() -> None:
    rows = table(x=[1, NAN, 3], y=["b", None, "a"], z=[1, 1, 1])
    encoder = Encoder().fit(rows)
    again = Encoder.from_settings(json.loads(json.dumps(encoder.settings())))
    assert (again.columns, again.dropped) == (encoder.columns, encoder.dropped)
    for values in (["b", "a"], [3, 1], [0.5, 1.5]):
        target = Target("t").fit(table(t=values * 3), "classification")
        copy = Target.from_settings(json.loads(json.dumps(target.settings())))
        assert vars(copy) == vars(target)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 5, "classification", ("a", "b")),
        ([True, False] * 5, "classification", ("False", "True")),
        ([0, 1] * 5, "classification", (0, 1)),
        ([1.0, 2, 3] * 50, "classification", (1, 2, 3)),
        ([1, 2, 3] * 5, "regression", ()),
        (list(range(21)) * 100, "regression", ()),
        ([0.5, 1.5] * 50, "regression", ()),
    ],
)
def test_the_task_by_the_target(values: list[object], task: str, classes: object) -> None:
    target = Target("y").fit(table(y=values))
    assert (target.task, target.classes) == (task, classes)


def test_targets_there_and_back() -> None:
    rows = table(y=["b", "a", "c"])
    target = Target("y").fit(rows)
    assert target.encode(rows).tolist() == [1, 0, 2]
    assert target.decode(np.eye(3)).tolist() == ["a", "b", "c"]
    binary = Target("y").fit(table(y=[3, 7]))
    assert binary.decode(np.array([[0.2], [0.9]])).tolist() == [3, 7]
    np.testing.assert_allclose(binary.probabilities(np.array([[0.2]])), [[0.8, 0.2]])
    number = Target("y").fit(table(y=[1.5, 2.5, NAN]))
    assert number.encode(table(y=[1.5, 2.5])).tolist() == [-1, 1]
    assert number.decode(np.array([[-1.0], [1]])).tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        (["a", "a"], None, "at least two different values, got only 'a'"),
        ([1, 1], None, "got only 1"),
        ([NAN, NAN], None, "got no value"),
        ([f"n{i}" for i in range(100)], None, "expected few classes, got 100"),
        (list(range(1100)), "classification", "expected few classes, got 1,100"),
        (["1", "x"], "regression", "row 2, column 'y': expected a number, got 'x'"),
        ([1, np.inf, 2], None, "row 2, column 'y': expected a finite number, got inf"),
        (["a", "b"], "guess", "expected 'classification' or 'regression'"),
    ],
)
def test_bad_targets(values: list[object], task: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Target("y").fit(table(y=values), task)


def test_classes_that_training_has_not_seen() -> None:
    target = Target("y").fit(table(y=["a", "b"]))
    with pytest.raises(ValueError, match="row 2, column 'y': expected one of a, b, got 'c'"):
        target.encode(table(y=["a", "c"]))
    with pytest.raises(ValueError, match="row 1, column 'y': expected a value, got none"):
        target.encode(table(y=[None, "a"]))


# --- TableModel -----------------------------------------------------------------------------------


def flowers(n: int = 300) -> Table:
    kind = np.arange(n) % 3
    return table(
        length=kind + RANDOM.normal(0, 0.2, n),
        width=np.where(RANDOM.random(n) < 0.1, NAN, RANDOM.normal(size=n)),
        colour=np.array(["red", "blue", "red"])[kind],
        kind=np.array(["x", "y", "z"])[kind],
    )


def prices(n: int = 400) -> Table:
    x = RANDOM.normal(size=n)
    return table(x=x, town=np.where(x > 0, "A", "B"), price=1000 + 50 * x)


@pytest.mark.parametrize("make", [flowers, prices])
def test_a_model_learns_saves_and_loads(make: object, tmp_path: Path) -> None:
    rows, target = (flowers(), "kind") if make is flowers else (prices(), "price")
    model = TableModel().fit(rows, target)
    score = model.evaluate(rows)
    if target == "kind":
        assert score["accuracy"] > 0.95
        assert score["confusion"].sum() == len(rows) == score["rows"]
        assert (model.predict(rows)[:3] == ["x", "y", "z"]).all()
        np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1, rtol=1e-5)
    else:
        assert score["r2"] > 0.99
        assert score["mae"] <= score["rmse"] < 5
        with pytest.raises(ValueError, match="got a regression"):
            model.predict_proba(rows)
    model.save(tmp_path / "m")
    again = TableModel.load(tmp_path / "m")
    assert again.facts == model.facts
    assert (again.predict(rows) == model.predict(rows)).all()
    net = nn.load(tmp_path / "m")
    assert (net.theta == model.net.theta).all()
    assert (net.predict(model.encoder.transform(rows)) == model.outputs(rows)).all()


def test_the_same_seed_gives_the_same_model() -> None:
    rows = flowers()
    first, again, other = (TableModel(seed=s, epochs=3).fit(rows, "kind") for s in (1, 1, 2))
    assert (first.net.theta == again.net.theta).all()
    assert (first.net.theta != other.net.theta).any()


def test_rows_held_out_are_of_all_classes_and_not_trained_on() -> None:
    rows = table(x=np.arange(103), y=["a"] * 80 + ["b"] * 22 + ["c"])
    model = TableModel(epochs=1, validation=0.25).fit(rows, "y")
    held = model.validation_table
    assert model.facts.validation_rows == len(held) == 25
    counts = {label: held["y"].tolist().count(label) for label in "abc"}
    assert counts["a"] in (19, 20)
    assert counts["b"] in (5, 6)
    assert counts["c"] == 0
    train = np.setdiff1d(np.arange(103), held["x"])
    assert model.encoder.columns[0].mean == train.mean()


def test_rows_without_a_target_are_left_out() -> None:
    rows = table(x=[1, 2, 3, 4] * 10, y=["a", None, "b", "a"] * 10)
    model = TableModel(epochs=1).fit(rows, "y")
    assert (model.facts.rows, model.facts.left_out) == (30, 10)
    assert model.evaluate(rows)["rows"] == 30
    assert len(model.predict(rows)) == 40


def test_errors_name_rows_of_the_file() -> None:
    x = np.arange(50.0)
    x[30] = np.inf
    rows = table(x=x, y=[None, *["a", "b"] * 24, "a"])
    with pytest.raises(ValueError, match="row 31, column 'x'"):
        TableModel().fit(rows, "y")


def test_bad_models(tmp_path: Path) -> None:
    for words, settings in {
        "optimizer": {"optimizer": "adan"},
        "validation": {"validation": 1.0},
        "patience": {"patience": 0},
        "Dense units": {"layers": [0]},
        "activation": {"activation": "rely"},
    }.items():
        with pytest.raises(ValueError, match=words):
            TableModel(**settings)
    with pytest.raises(ValueError, match="rows to hold out"):
        TableModel().fit(table(x=[1, 2], y=["a", "b"]), "y")
    with pytest.raises(ValueError, match="no column 'z'"):
        TableModel().fit(table(x=[1, 2], y=["a", "b"]), "z")
    with (
        pytest.raises(RuntimeError, match="smaller learning rate"),
        pytest.warns(nn.NonFiniteLossWarning),
    ):
        TableModel(optimizer="sgd", lr=1e30).fit(prices(), "price")
    nn.Sequential([nn.Dense(1)]).build(2).save(tmp_path / "net")
    with pytest.raises(ValueError, match="knows no columns"):
        TableModel.load(tmp_path / "net")
    model = TableModel(epochs=1).fit(flowers(), "kind")
    good = {
        "encoder": model.encoder.settings(),
        "target": model.target.settings(),
        "facts": asdict(model.facts),
    }
    damaged = [
        [],
        {},
        {**good, "facts": {}},
        {**good, "encoder": {"columns": [], "dropped": {}}},
        {**good, "encoder": {"columns": [{"kind": "number", "what": 1}], "dropped": {}}},
        {**good, "target": {**good["target"], "classes": []}},
        {**good, "target": 5},
    ]
    for settings in damaged:
        model.net.save(tmp_path / "m", {"nnfast.table": json.dumps(settings)})
        with pytest.raises(ValueError, match="the file is damaged"):
            TableModel.load(tmp_path / "m")


# --- EarlyStopping --------------------------------------------------------------------------------


class Told(nn.Callback):
    """Plays losses to an EarlyStopping through a network whose theta tells the epoch."""

    def play(self, stop: nn.EarlyStopping, losses: list[float], name: str = "val_loss") -> int:
        stop.model = net = nn.Sequential([nn.Dense(1, use_bias=False)]).build(1)
        stop.stop_training = False
        stop.on_train_begin()
        for epoch, loss in enumerate(losses):
            net.theta = [epoch]
            stop.on_epoch_end(epoch, {name: loss})
            if stop.stop_training:
                break
        stop.on_train_end()
        return int(net.theta[0])


@pytest.mark.parametrize(
    ("settings", "losses", "last", "best"),
    [
        ({}, [3, 2, 2, 1], 2, 1),
        ({"patience": 1}, [3, 2, 2, 1], 2, 1),
        ({"patience": 2}, [3, 2, 2, 1, 1], 4, 3),
        ({"patience": 2}, [3, 4, 5, 1], 2, 0),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.9, 2.8, 1], 2, 0),
        ({"patience": 2}, [3, NAN, NAN, 1], 2, 0),
    ],
)
def test_early_stopping(
    settings: dict[str, float], losses: list[float], last: int, best: int
) -> None:
    assert Told().play(nn.EarlyStopping(**settings), losses) == last
    stop = nn.EarlyStopping(**settings, restore_best_weights=True)
    assert Told().play(stop, losses) == best == stop.best_epoch
    assert Told().play(stop, losses) == best  # and once more


def test_early_stopping_on_accuracy() -> None:
    stop = nn.EarlyStopping("val_accuracy", restore_best_weights=True)
    assert Told().play(stop, [0.5, 0.7, 0.6, 0.9], "val_accuracy") == 1
    assert (stop.best, stop.stopped_epoch) == (0.7, 2)


def test_early_stopping_in_training() -> None:
    x = RANDOM.normal(size=(60, 3))
    y = RANDOM.normal(size=60)
    net = nn.Sequential([nn.Dense(50, "relu"), nn.Dense(1)], seed=0)
    stop = nn.EarlyStopping(patience=3, restore_best_weights=True)
    history = net.fit(
        x[:40],
        y[:40],
        optimizer="adam",
        epochs=500,
        validation_data=(x[40:], y[40:]),
        callbacks=stop,
        verbose=0,
    )
    losses = history.history["val_loss"]
    assert len(losses) == stop.stopped_epoch + 1 < 500
    assert int(np.argmin(losses)) == stop.best_epoch == len(losses) - 4
    assert net.evaluate(x[40:], y[40:])["loss"] == min(losses) == stop.best


def test_early_stopping_of_nothing() -> None:
    net = nn.Sequential([nn.Dense(1)])
    with pytest.raises(ValueError, match="'val_' names need validation data"):
        net.fit(np.ones((3, 1)), np.ones(3), epochs=2, callbacks=nn.EarlyStopping(), verbose=0)
    with pytest.raises(ValueError, match="patience"):
        nn.EarlyStopping(patience=-1)
    with pytest.raises(ValueError, match="min_delta"):
        nn.EarlyStopping(min_delta=-1)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, nnfast, nnfast.cli; print(*{'pandas', 'pyarrow', 'matplotlib'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"
