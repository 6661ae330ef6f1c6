"""diagnose: its numbers are right, and each fault that is built in is named."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import Case, each_case

import nnfast as nn
from nnfast import Activation, Dense, Sequential, losses
from nnfast.datasets import load_digits
from nnfast.reference import activations

X, Y = load_digits()
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([0, 1, 1, 0])
NOISE = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
CLASSES = np.arange(200) % 3
HEALTHY = (Dense(64, "tanh"), Dense(10))


def net(*layers: Any, **more: Any) -> Sequential:
    return Sequential(layers or HEALTHY, seed=0, **more)


def test_numbers(current: Any) -> None:
    mine = net(Dense(7, "tanh"), Dense(5, "relu", use_bias=False), Dense(3), dtype="float64")
    x = np.random.default_rng(0).normal(size=(40, 4))
    y = np.random.default_rng(1).normal(size=(40, 3))
    found = nn.diagnose(mine, x, y, "mse")
    value, gradient = mine.loss_and_grad(x, y, "mse")
    assert pytest.approx(value, rel=1e-12) == found.J
    assert found.constant_J == pytest.approx(np.square(y - y.mean(axis=0)).mean())
    w = mine.parameters()
    a = np.tanh(x @ w["0.weight"] + w["0.bias"])
    b = np.maximum(a @ w["1.weight"], 0)
    z = b @ w["2.weight"] + w["2.bias"]
    d = [np.zeros(0), np.zeros(0), 2 * (z - y) / y.size]
    d[1] = d[2] @ w["2.weight"].T
    d[0] = (d[1] * (b > 0)) @ w["1.weight"].T
    sizes = [4 * 7 + 7, 7 * 5, 5 * 3 + 3]
    ends = np.cumsum([0, *sizes])
    for row, out, da, low, high in zip(
        found.layers, (a, b, z), d, ends[:-1], ends[1:], strict=True
    ):
        assert row.mean == pytest.approx(out.mean())
        assert row.std == pytest.approx(out.std())
        assert row.counts.sum() == out.size
        assert row.signal == pytest.approx(np.linalg.norm(da))
        assert row.decay == pytest.approx(np.linalg.norm(da) / np.linalg.norm(d[2]))
        assert row.gradient == pytest.approx(np.linalg.norm(gradient[low:high]))
        size = np.linalg.norm(mine.theta[low:high])
        assert row.relative == pytest.approx(row.gradient / size)
        assert 1e-9 < row.float32_error < 1e-5
        assert row.difference_error < 1e-6
    tanh, relu, last = found.layers
    assert tanh.saturated == pytest.approx((np.abs(a) > 0.95**0.5).mean())
    assert relu.saturated == pytest.approx((b == 0).mean())
    assert relu.dead == (b == 0).all(axis=0).sum()
    assert np.isnan(last.saturated)
    assert [row.name for row in found.layers] == ["0 dense tanh", "1 dense relu", "2 dense"]


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "arctan", "elu", "softplus"])
def test_saturated_is_where_the_slope_is_below_a_twentieth(name: str) -> None:
    z = NOISE * 4
    slope = activations.activation_grad(activations.activation(z, name), np.ones_like(z), name)
    share = (slope < 0.05 * (0.25 if name == "sigmoid" else 1)).mean()
    row = nn.diagnose(net(Activation(name), Dense(3)), z, CLASSES).layers[0]
    assert 0.1 < share < 0.9
    assert row.saturated == pytest.approx(share)


@each_case
def test_every_configuration(case: Case) -> None:
    x, y, _ = case.data("float32")
    found = nn.diagnose(case.net("float32"), x, y, case.loss, optimizer=case.optimizer)
    assert not found.not_finite
    for row in found.layers:
        assert np.isfinite([row.mean, row.std, row.signal, row.decay]).all()
        if np.isfinite(row.gradient):
            assert row.difference_error < 1e-4
            assert row.float32_error < 1e-3
            assert row.update > 0
    assert max(map(len, str(found).splitlines())) <= 110


def test_what_a_fused_loss_takes_is_shown_from_before_its_link() -> None:
    row = nn.diagnose(net(Dense(9, "tanh"), Dense(10, "softmax")), X, Y).layers[-1]
    assert row.activation == "identity"
    assert np.isnan(row.saturated)
    row = nn.diagnose(net(Dense(9, "tanh"), Dense(10, "sigmoid")), X, np.eye(10)[Y], "mse").layers[
        -1
    ]
    assert row.activation == "sigmoid"
    assert row.saturated >= 0


def test_a_kink_at_the_start_is_no_wrong_gradient() -> None:
    """Biases are zero and so is an input: relu's z is exactly 0, as is what mae takes."""
    for loss in ("mse", "mae"):
        found = nn.diagnose(net(Dense(8, "relu"), Dense(1)), *XOR, loss)
        assert max(row.difference_error for row in found.layers) < 1e-6


DEEP = (*[Dense(24, "sigmoid")] * 7, Dense(3))
_EQUAL = np.full((6, 5), 0.3)
FAULTS = {
    "vanishing": (
        DEEP,
        {},
        "Vanishing gradients: dJ/da of layer 0 dense sigmoid .*'he_normal'.* slope is at most 1/4",
    ),
    "vanishing without squashing": (
        (Dense(6), Dense(6), Dense(6, kernel_initializer=np.eye(6) * 1e-4), Dense(3)),
        {},
        "Vanishing gradients: .* layer 2 dense shrinks it most.* kernel_initializer='he_normal'",
    ),
    "exploding": (
        (Dense(6), Dense(6, kernel_initializer=np.eye(6) * 1e4), Dense(3)),
        {},
        "Exploding gradients: dJ/da of layer 0 dense is .* LayerNorm",
    ),
    "no gradient": (
        (Dense(5, "tanh"), Dense(3, kernel_initializer="zeros")),
        {},
        "No gradient reaches layer 0 dense tanh: layer 1 dense passes none back",
    ),
    "dead": (
        (Dense(5, "relu", bias_initializer=np.array([0, 0, 0, -99, -99])), Dense(3)),
        {},
        "Dead units: 2 of 5 in layer 0 dense relu are 0 for all 200 rows .* leaky_relu",
    ),
    "all dead": (
        (Dense(5, "tanh"), Dense(5, "relu", bias_initializer=np.full(5, -99)), Dense(3)),
        {},
        "No gradient reaches layer 0 dense tanh: layer 1 dense relu passes none back",
    ),
    "saturated": (
        (Dense(5, "tanh", kernel_initializer=NOISE[:6, :5] * 50), Dense(3)),
        {},
        "Saturated outputs.*: 9.* in layer 0 dense tanh. Draw smaller",
    ),
    "constant": (
        (Dense(5, "tanh", kernel_initializer="zeros"), Dense(3)),
        {},
        "The outputs of layer 0 dense tanh are the same for all 200 rows",
    ),
    "equal": (
        (Dense(5, "tanh", kernel_initializer=_EQUAL), Dense(3)),
        {},
        "compute the same as another one, and will learn the same: 4 of 5 in layer 0 dense tanh",
    ),
    "unscaled": (
        HEALTHY,
        {"X": NOISE * [1, 1, 1, 1, 1, 300]},
        r"not scaled: .* from .* to [23]\d\d",
    ),
    "shifted": (HEALTHY, {"X": NOISE + 1000}, "The inputs are not scaled: their means go up to 1"),
    "tiny": (HEALTHY, {"X": NOISE / 1e4}, "The inputs are not scaled"),
    "high loss": (
        (Dense(5), Dense(3, kernel_initializer=NOISE[:5, :3] * 30)),
        {},
        r"J is .* at the start, and 1\.1 would be guessing",
    ),
    "missing class": ((Dense(5), Dense(4)), {}, "No row has label 3: .* for 4 classes"),
    "imbalanced": (
        (Dense(5), Dense(2)),
        {"y": (np.arange(200) > 195).astype(int)},
        r"The classes are imbalanced: label 0 has 98.0% .* has 4\. .*class_weight",
    ),
    "imbalanced, one output": (
        (Dense(5), Dense(1)),
        {"y": np.arange(200) > 3},
        "The classes are imbalanced: label 1 has 98.0%",
    ),
    "large steps": (
        HEALTHY,
        {"optimizer": nn.SGD(lr=30.0)},
        r"The first step of SGD\(lr=30.0.* changes layer . dense.* the learning rate is too large",
    ),
    "small steps": (
        HEALTHY,
        {"optimizer": nn.Adam(lr=1e-9)},
        "changes no layer by more than .* the learning rate is too small",
    ),
    "cancellation": (
        (Dense(3, bias_initializer=np.full(3, 1e6)),),
        {"y": NOISE[:, :3] + 1e6, "loss": "mse"},
        "The float32 gradient of layer",
    ),
    "NaN in X": (
        HEALTHY,
        {"X": np.where(np.arange(200)[:, None] == 7, np.nan, NOISE)},
        "NaN or an infinity appears first in row 7 of X: drop or fill",
    ),
    "NaN in theta": (
        (Dense(5), Dense(3, bias_initializer=np.array([0, np.nan, 0]))),
        {},
        "NaN or an infinity appears first in parameter 1.bias: build",
    ),
    "overflow": (
        (Dense(5), Dense(3, kernel_initializer=np.full((5, 3), 1e300)), Dense(3)),
        {"X": NOISE * 1e20, "dtype": "float64"},
        "first in the outputs of layer 1 .dense.: scale X .*weights.$",
    ),
    "overflow in float32": (
        (Dense(5, kernel_initializer=np.full((6, 5), 1e30)), Dense(3)),
        {"X": NOISE * 1e20},
        "first in the outputs of layer 0 .dense. in float32, not in float64: .*float64'.$",
    ),
    "overflow of the loss": (
        (Dense(1, kernel_initializer=np.full((6, 1), 1e4)),),
        {"y": np.arange(200.0), "loss": "poisson"},
        "NaN or an infinity appears first in the loss",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault: str) -> None:
    layers, more, words = FAULTS[fault]
    data = {"X": NOISE, "y": CLASSES, **more}
    mine = net(*layers, dtype=data.pop("dtype", "float32"))
    found = nn.diagnose(mine, **data)
    assert any(re.search(words, sentence) for sentence in found.advice), str(found)
    assert found.advice[0].partition(" ")[0] in str(found)


def test_nothing_is_said_without_need() -> None:
    assert nn.diagnose(net(), X, Y, optimizer="adam").advice == []
    trained = net()
    trained.fit(X, Y, optimizer="adam", epochs=5, verbose=0)
    found = nn.diagnose(trained, X, Y, optimizer="adam")
    assert found.advice == []
    assert not found.fresh
    assert str(found).endswith("Nothing stands out.")
    regression = net(Dense(16, "relu", kernel_initializer="he_normal"), Dense(1))
    assert nn.diagnose(regression, NOISE, NOISE @ np.ones(6)).advice == []


def test_nothing_learned_is_said() -> None:
    mine = net(Dense(9, "tanh"), Dense(3)).build(6)
    mine.theta = mine.theta * 1.01
    noise = np.random.default_rng(5).integers(0, 3, 200)
    sentences = nn.diagnose(mine, NOISE, noise).advice
    assert any("no better than the best answer that is the same" in words for words in sentences)


@pytest.mark.parametrize(
    ("loss", "y", "constant"),
    [
        ("cross_entropy", np.array([0, 0, 0, 1]), np.log(4) - 0.75 * np.log(3)),
        ("cross_entropy", np.eye(2)[[0, 1, 1, 1]], np.log(4) - 0.75 * np.log(3)),
        (losses.CrossEntropy(0.2), np.array([0, 0, 0, 0]), 0.9 * np.log(1 / 0.9) + np.log(10) / 10),
        (losses.BinaryCrossEntropy(1.0), np.eye(2)[[0, 1, 1, 1]], np.log(2)),
        ("binary_cross_entropy", np.array([[0, 1], [1, 1]] * 2), np.log(2) / 2),
        ("mse", np.array([[0.0, 1], [2, 1]] * 2), 0.5),
        ("mae", np.array([[0.0, 1], [2, 1]] * 2), 0.5),
        ("poisson", np.array([[0.0, 1], [2, 1]] * 2), 1.0),
        ("huber", np.array([[0.0, 1], [2, 1]] * 2), np.nan),
    ],
)
def test_best_constant_answer(loss: Any, y: Any, constant: float) -> None:
    found = nn.diagnose(net(Dense(2)), NOISE[:4], y, loss)
    assert found.constant_J == pytest.approx(constant, nan_ok=True)


def test_a_wrong_gradient_is_found_and_placed(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use("reference")
    right = activations.activation_grad
    monkeypatch.setattr(
        activations,
        "activation_grad",
        lambda a, da, name: right(a, da, name) * (1.01 if name == "tanh" else 1),
    )
    mine = net(Dense(400, "sigmoid"), Activation("tanh"), Dense(5), Dense(3))
    found = nn.diagnose(mine, NOISE, CLASSES)
    assert [row.difference_error > 1e-3 for row in found.layers] == [True, False, False, False]
    assert "gradient of layer 0 dense sigmoid differs" in found.advice[0]
    assert "please report" in found.advice[0]


def square(wrong: float = 1.0) -> nn.Custom:
    return nn.Custom(lambda x: x * x, lambda x, y, dy: 2 * wrong * x * dy)


def scale(wrong: float = 1.0) -> nn.Custom:
    return nn.Custom(
        lambda x, w: x * w,
        lambda x, y, dy, w: (dy * w, wrong * (x * dy).sum(axis=0)),
        parameters=np.linspace(1, 2, 5),
    )


def distance(wrong: float = 1.0) -> Any:
    def mine(z: Any, y: Any) -> Any:
        return np.square(z - y).mean(), wrong * 2 * (z - y) / z.size

    return mine


def test_a_wrong_derivative_of_your_own_is_placed(current: Any) -> None:
    y = NOISE[:, :3]
    for layers, loss, words in (
        ((Dense(5), square(), scale(), Dense(3)), distance(), None),
        (
            (Dense(5), square(1.1), Dense(4), Dense(3)),
            "mse",
            "gradient of layer 0 dense differs .* backward function of layer 1 custom",
        ),
        (
            (Dense(5), scale(1.1), Dense(4), Dense(3)),
            "mse",
            "gradient of layer 1 custom differs .* backward function of layer 1 custom",
        ),
        (
            (Dense(5), square(), Dense(3)),
            distance(0.9),
            "layers 0 dense, 2 dense differs .* derivative that the loss 'mine' returns",
        ),
    ):
        found = nn.diagnose(net(*layers), NOISE, y, loss)
        if words is None:
            assert not any("finite differences" in sentence for sentence in found.advice)
        else:
            assert re.search(words, found.advice[0])


def test_the_cures_cure() -> None:
    def decay(*layers: Any) -> float:
        return nn.diagnose(net(*layers, Dense(3)), NOISE, CLASSES).layers[0].decay

    sigmoid = Dense(24, "sigmoid")
    assert decay(*[sigmoid] * 7) < 1e-3
    assert decay(*[sigmoid, nn.BatchNorm()] * 7) > 0.1
    assert decay(Dense(24), *[nn.Residual([sigmoid])] * 7) > 0.1
    assert decay(*[Dense(24, "relu", kernel_initializer="he_normal")] * 7) > 0.1
    for first in (nn.BatchNorm(), nn.Rescaling(1 / 300)):
        assert nn.diagnose(net(first, *HEALTHY[:1], Dense(3)), NOISE * 300, CLASSES).advice == []


def test_rows_of_nested_layers_are_named_by_their_places() -> None:
    layers = (Dense(6), nn.Residual([Dense(6, "tanh"), nn.Dropout(0.5)]), nn.LayerNorm(), Dense(3))
    found = nn.diagnose(net(*layers), NOISE, CLASSES)
    names = ["0 dense", "1.0 dense tanh", "1.1 dropout", "1 add", "2 layer_norm", "3 dense"]
    assert [row.name for row in found.layers] == names
    trained = [not np.isnan(row.gradient) for row in found.layers]
    assert trained == [True, True, False, False, True, True]


def test_sparse_rows() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense, few = (nn.diagnose(net(), x, Y) for x in (X, sparse.csr_array(X)))
    assert few.J == dense.J
    assert str(few) == str(dense)


def test_many_rows_are_sampled_and_that_is_said() -> None:
    found = nn.diagnose(net(), X, Y)
    assert (found.rows, found.of_rows) == (1024, len(X))
    assert "1,024 of 1,797 rows" in str(found)
    assert found.class_counts.sum() == len(X)
    found = nn.diagnose(net(), X, Y, rows=10)
    assert found.rows == 10
    few = nn.diagnose(net(), X[:9], Y[:9])
    assert ", 9 rows," in str(few)
    one = nn.diagnose(net(), X[:1], Y[:1])
    assert not any("same for all" in words for words in one.advice)


def test_the_network_is_left_as_it_is() -> None:
    thetas = []
    for looks in (False, True):
        mine = net()
        for _ in range(2):
            mine.fit(X[:100], Y[:100], optimizer="adam", epochs=1, verbose=0)
            if looks:
                nn.diagnose(mine, X, Y, optimizer=nn.SGD(0.1))
        thetas.append(mine.theta.tobytes())
    assert thetas[0] == thetas[1]


def test_frozen_layers_have_no_gradient() -> None:
    mine = net(Dense(5, "tanh", trainable=False), Dense(10))
    first, second = nn.diagnose(mine, X, Y, optimizer="sgd").layers
    assert np.isnan([first.gradient, first.update, first.difference_error]).all()
    assert first.signal > 0
    assert second.update > 0


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="net: expected a Sequential, got an object of type list"):
        nn.diagnose([Dense(3)], X, Y)
    with pytest.raises(ValueError, match="rows: expected an integer of at least 1, got 0"):
        nn.diagnose(net(), X, Y, rows=0)
    with pytest.raises(ValueError, match="optimizer: expected one of"):
        nn.diagnose(net(), X, Y, optimizer="adams")
    with pytest.raises(ValueError, match="y: expected 1797 rows"):
        nn.diagnose(net(), X, Y[1:])
    with pytest.raises(ValueError, match=r"'step'.*slope"):
        nn.diagnose(net(Dense(3, "step"), Dense(10)), X, Y)


def test_html_and_repr() -> None:
    found = nn.diagnose(net(*DEEP), NOISE, CLASSES)
    page = found._repr_html_()
    assert page.count("<tr>") == len(found.layers) + 1
    assert "<li>Vanishing gradients: " in page
    assert "kernel_initializer=&#x27;he_normal&#x27;" in page
    assert "Nothing stands out." in nn.diagnose(net(), X, Y)._repr_html_()
    assert repr(found).startswith("<Diagnosis: J 1.")


def test_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, data in {"deep": NOISE, "nan": NOISE * np.nan}.items():
        found = nn.diagnose(net(*DEEP), data, CLASSES)
        file = tmp_path / f"{name}.png"
        figure = found.plot(file)
        assert file.read_bytes()[:4] == b"\x89PNG"
        assert [axes.get_title() for axes in figure.axes] == [
            "Gradients",
            "Saturated and dead",
            "Outputs",
        ]
    assert len(found.plot().axes) == 3
    with pytest.raises(ValueError, match=r"x\.txt: expected a name that ends in"):
        found.plot(tmp_path / "x.txt")


def test_no_picture_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"nnfast\[plot\]\""):
        nn.diagnose(net(), X, Y).plot()
