"""Layers as their users see them; their arithmetic is in the cases."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case, log_cosh, some_cases

import nnfast as nn

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 6)).astype(np.float32)
Y = np.tanh(X @ rng.normal(size=(6, 2)).astype(np.float32))

WITH_LAYERS = tuple(
    case.name
    for case in CASES
    if any(type(layer).__name__ not in ("Dense", "Activation", "Flatten") for layer in case.layers)
)


def same(net: nn.Sequential, other: nn.Sequential, x: Any) -> bool:
    return (
        repr(net) == repr(other)
        and np.array_equal(net.theta, other.theta)
        and np.array_equal(net.buffers, other.buffers)
        and np.array_equal(net.predict(x), other.predict(x))
    )


@some_cases(*WITH_LAYERS)
def test_files_and_copies(case: Case, tmp_path: Path) -> None:
    net, (x, y, _) = case.net("float64"), case.data("float64")
    net.fit(x, y, case.loss, case.optimizer, batch_size=50, verbose=0)
    net.save(tmp_path / "net.safetensors")
    custom = any(row.op == "custom" for row in net.plan.rows)
    if custom:
        with pytest.raises(ValueError, match=r"Custom: .* nnfast.load\(path, layers="):
            nn.load(tmp_path / "net.safetensors")
    loaded = nn.load(tmp_path / "net.safetensors", case.layers if custom else None)
    assert custom or same(net, loaded, x)
    assert np.array_equal(net.predict(x), loaded.predict(x))
    assert same(net, copy.deepcopy(net), x)
    if not custom:
        assert same(net, pickle.loads(pickle.dumps(net)), x)
    one = net.predictor()
    assert np.array_equal(one(x[0]), net.predict(x[:1])[0])
    net.summary()


def test_nested_layers_are_named_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    inner = nn.Residual([nn.Dense(5, "relu"), nn.BatchNorm(), nn.Dense(6)])
    net = nn.Sequential([nn.Dense(6), nn.Residual([inner, nn.LayerNorm()]), nn.Dense(1)], 0).build(
        6
    )
    assert [*net.parameters()][2:8] == [
        "1.0.0.weight",
        "1.0.0.bias",
        "1.0.1.gamma",
        "1.0.1.beta",
        "1.0.2.weight",
        "1.0.2.bias",
    ]
    net.summary()
    assert f"{net.theta.size:,}" in capsys.readouterr().out
    assert "Residual(layers=(Residual(layers=(Dense(units=5" in repr(net)


def test_batch_norm_remembers(current: Any) -> None:
    net = nn.Sequential([nn.BatchNorm(momentum=0.5)], 0, "float64").build(6)
    net.theta[...] = np.arange(12)
    x = X.astype(float)
    mean, variance = net.buffers[:6].copy(), net.buffers[6:].copy()
    for first in range(0, 300, 100):
        batch = x[first : first + 100]
        mean = (mean + batch.mean(axis=0)) / 2
        variance = (variance + batch.var(axis=0, ddof=1)) / 2
        net.train_on_batch(batch, batch, "mse", nn.SGD(1e-300))
    np.testing.assert_allclose(net.buffers, np.concatenate([mean, variance]), rtol=1e-12)
    h = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(net.predict(x), np.arange(6) * h + np.arange(6, 12), rtol=1e-11)
    before = net.buffers.copy()
    net.evaluate(x, x, "mse")
    net.loss_and_grad(x, x, "mse", training=True)
    assert np.array_equal(net.buffers, before)
    assert net.build(6).buffers.tolist() == [0] * 6 + [1] * 6


def test_a_loss_that_is_not_finite_leaves_the_buffers(current: Any) -> None:
    net = nn.Sequential([nn.BatchNorm(), nn.Dense(2)], 0).build(6)
    before = net.buffers.copy()
    with pytest.warns(nn.NonFiniteLossWarning):
        net.fit(X, Y, optimizer=nn.SGD(1e30), verbose=0)
    assert np.array_equal(net.buffers, before)


def test_noise_is_for_training_only(current: Any) -> None:
    layers = [nn.Dropout(0.5), nn.GaussianNoise(1.0), nn.Dense(2)]
    net = nn.Sequential(layers, 0).build(6)
    bare = nn.Sequential(layers[2:], 0).build(6)
    bare.theta = net.theta
    assert np.array_equal(net.predict(X), bare.predict(X))
    assert net.evaluate(X, Y) == bare.evaluate(X, Y)
    assert net.loss_and_grad(X, Y)[0] == bare.loss_and_grad(X, Y)[0]
    assert net.loss_and_grad(X, Y, training=True)[0] > net.evaluate(X, Y)["loss"]


def test_penalties_are_part_of_the_loss(current: Any) -> None:
    layer = nn.Dense(2, kernel_regularizer=nn.L1L2(0.1, 0.2))
    net, bare = nn.Sequential([layer], 0).build(6), nn.Sequential([nn.Dense(2)], 0).build(6)
    w = net.parameters()["0.weight"].astype(float)
    penalty = 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum()
    expected = bare.evaluate(X, Y)["loss"] + penalty
    assert net.evaluate(X, Y)["loss"] == pytest.approx(expected, rel=1e-6)
    assert net.train_on_batch(X, Y) == pytest.approx(expected, rel=1e-6)
    assert nn.L1(0.1) == nn.L1L2(l1=0.1)
    assert nn.L2(0.1) == nn.L1L2(l2=0.1)


def test_a_bound_holds(current: Any) -> None:
    net = nn.Sequential([nn.Dense(8, kernel_constraint=nn.MaxNorm(0.3)), nn.Dense(2)], 0).build(6)
    for batch_size in (32, 300):
        net.fit(X, Y, optimizer="adam", batch_size=batch_size, verbose=0)
        norms = np.linalg.norm(net.parameters()["0.weight"], axis=0)
        assert 0.29 < norms.max() < 0.3001


@pytest.mark.parametrize("bound", [0.01, 1.0, 1e6])
def test_clipping_by_norm(current: Any, bound: float) -> None:
    """Plain descent moves theta by at most lr times the bound."""
    net = nn.Sequential([nn.Dense(8, "tanh"), nn.Dense(2)], 0, "float64").build(6)
    before = net.theta.copy()
    norm = float(np.linalg.norm(net.loss_and_grad(X, Y)[1]))
    net.train_on_batch(X, Y, optimizer=nn.SGD(0.5, clip_norm=bound))
    moved = float(np.linalg.norm(net.theta - before)) / 0.5
    assert moved == pytest.approx(min(bound, norm), rel=1e-5)


# --- Python inside ------------------------------------------------------------------------------


class Stopped(Exception):
    """Raised by a user's function."""


def stopping(after: int, error: BaseException) -> Any:
    """Return a function that does nothing `after` times, then raises."""
    calls = iter(range(after))

    def f() -> None:
        if next(calls, None) is None:
            raise error

    return f


@pytest.mark.parametrize("where", ["forward", "backward", "loss"])
@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt()], ids=repr)
def test_an_exception_leaves_the_last_finished_step(
    current: Any, where: str, error: BaseException
) -> None:
    def network(stop: Any, *, at: str) -> tuple[nn.Sequential, Any]:
        def forward(x: Any) -> Any:
            if at == "forward":
                stop()
            return np.sin(x)

        def backward(x: Any, y: Any, dy: Any) -> Any:
            if at == "backward":
                stop()
            return dy * np.cos(x)

        def loss(y_pred: Any, y_true: Any) -> Any:
            if at == "loss":
                stop()
            return log_cosh(y_pred, y_true)

        layers = [nn.Dense(9), nn.BatchNorm(), nn.Custom(forward, backward), nn.Dense(2)]
        return nn.Sequential(layers, 0), loss

    options: dict[str, Any] = {
        "optimizer": "adam",
        "batch_size": 30,
        "shuffle": False,
        "verbose": 0,
    }
    net, loss = network(stopping(4, error), at=where)
    with pytest.raises(type(error)):
        net.fit(X, Y, loss, **options)
    expected, loss = network(lambda: None, at="")
    expected.fit(X[:120], Y[:120], loss, **options)
    assert np.array_equal(net.theta, expected.theta)
    assert np.array_equal(net.buffers, expected.buffers)
    for model in (net, expected):
        model._network.plan = expected.plan  # without the stop
        model.fit(X, Y, loss, **options)
    assert np.array_equal(net.theta, expected.theta)


def test_functions_see_the_users_shapes(current: Any) -> None:
    seen: set[Any] = set()

    def forward(x: Any, w: Any) -> Any:
        seen.add((x.shape, w.shape, str(x.dtype)))
        return x.sum(axis=2) * w

    def backward(x: Any, y: Any, dy: Any, w: Any) -> Any:
        seen.add((x.shape, y.shape, dy.shape))
        return np.repeat((dy * w)[:, :, None], 3, axis=2), (x.sum(axis=2) * dy).sum(axis=0)

    layer = nn.Custom(forward, backward, output_shape=2, parameters=[1.0, 2.0])
    net = nn.Sequential([layer], 0).build((2, 3))
    net.fit(X.reshape(-1, 2, 3), Y, batch_size=128, verbose=0)
    assert seen == {
        ((128, 2, 3), (2,), "float32"),
        ((44, 2, 3), (2,), "float32"),
        ((128, 2, 3), (128, 2), (128, 2)),
        ((44, 2, 3), (44, 2), (44, 2)),
    }
    assert net.parameters()["0.parameters"].shape == (2,)
    assert net.predict(X.reshape(-1, 2, 3)).shape == (300, 2)


def test_a_loss_sees_outputs_and_targets_as_they_are(current: Any) -> None:
    seen: list[Any] = []

    def loss(y_pred: Any, y_true: Any) -> Any:
        seen.append((y_pred.shape, y_true.dtype, y_true.shape))
        return 1.0, np.zeros_like(y_pred)

    labels = np.arange(300).astype(np.int8)
    net = nn.Sequential([nn.Dense(3, "softmax")], 0).build(6)
    history = net.fit(X, labels, loss, batch_size=200, verbose=0)
    assert seen == [((200, 3), np.int8, (200,)), ((100, 3), np.int8, (100,))]
    assert history.history["loss"] == [1.0]
    assert net.evaluate(X, labels, loss) == {"loss": 1.0}
    np.testing.assert_array_equal(net.loss_and_grad(X, labels, loss)[1], 0)


def test_weights_of_a_loss_in_python(current: Any) -> None:
    net = nn.Sequential([nn.Dense(2)], 0, "float64").build(6)
    weight = np.arange(300.0)
    twice = np.concatenate([X, X]), np.concatenate([Y, Y])
    J, gradient = net.loss_and_grad(X, Y, log_cosh, weight)
    halves = np.concatenate([2 * weight, np.zeros(300)])
    J2, gradient2 = net.loss_and_grad(*twice, log_cosh, halves)
    assert pytest.approx(J2, rel=1e-12) == J
    np.testing.assert_allclose(gradient, gradient2, rtol=1e-11, atol=1e-11)


def fitted(*layers: nn.layers.Layer, **more: Any) -> Any:
    return nn.Sequential(layers, 0).fit(X, Y, verbose=0, **more)


def of_shape(*shape: int) -> Any:
    return lambda x, *_: np.zeros(shape)


BAD = {
    "dropout of all": (
        lambda: nn.Dropout(1.0),
        r"Dropout rate: expected a number in \[0, 1\), got 1",
    ),
    "noise": (lambda: nn.GaussianNoise(-1), "GaussianNoise stddev: expected a finite number >= 0"),
    "rescaling": (lambda: nn.Rescaling(float("inf")), "Rescaling scale: expected a finite number"),
    "batch norm": (lambda: nn.BatchNorm(momentum=2), r"momentum: expected a number in \[0, 1\]"),
    "epsilon": (lambda: nn.LayerNorm(0), "epsilon: expected a number > 0, got 0"),
    "axes": (
        lambda: nn.Sequential([nn.BatchNorm()]).build((2, 3)),
        r"layer 0: BatchNorm expected an input of one axis, got shape \(2, 3\); put Flatten",
    ),
    "residual of nothing": (lambda: nn.Residual([]), "Residual layers: expected at least one"),
    "residual of classes": (
        lambda: nn.Residual([nn.Dense]),
        r"Residual layers\[0\]: expected a layer",
    ),
    "residual shape": (
        lambda: fitted(nn.Residual([nn.Dense(5)])),
        r"layer 0: Residual expected layers that make shape \(6,\) of \(6,\), got \(5,\); end with Dense\(6\)",
    ),
    "penalty": (lambda: nn.L2(-1), "l2: expected a number >= 0, got -1"),
    "penalty by name": (
        lambda: nn.Dense(3, kernel_regularizer="l2"),
        r"Dense kernel_regularizer: expected nnfast.L1L2 or None, got 'l2'; write for example nnfast.L2",
    ),
    "bound": (lambda: nn.MaxNorm(0), "max_value: expected a number > 0, got 0"),
    "bound as a number": (
        lambda: nn.Dense(3, kernel_constraint=3.0),
        "expected nnfast.MaxNorm or None",
    ),
    "clipping twice": (
        lambda: nn.Adam(clip_value=1.0, clip_norm=1.0),
        "clipping: expected clip_value or clip_norm, got both",
    ),
    "clipping": (lambda: nn.SGD(clip_norm=0), "clip_norm: expected a finite number > 0, got 0"),
    "smoothing": (
        lambda: nn.CrossEntropy(2),
        r"label_smoothing: expected a number in \[0, 1\], got 2",
    ),
    "custom": (lambda: nn.Custom(None, np.sin), "Custom forward: expected a function, got None"),
    "custom forward": (
        lambda: fitted(nn.Custom(of_shape(3), np.sin), nn.Dense(2)),
        r"Custom forward: expected y of shape \(32, 6\), got float64 of shape \(3,\)",
    ),
    "custom backward": (
        lambda: fitted(nn.Dense(6), nn.Custom(np.sin, of_shape(3)), nn.Dense(2)),
        r"Custom backward: expected dx of shape \(32, 6\)",
    ),
    "custom pair": (
        lambda: fitted(
            nn.Custom(lambda x, w: x, lambda x, y, dy, w: dy, parameters=[1.0]), nn.Dense(2)
        ),
        r"Custom backward: expected \(dx, dw\), as the layer has parameters, got .* ndarray; return both",
    ),
    "loss": (
        lambda: fitted(nn.Dense(2), loss=lambda a, b: 1.0),
        r"expected \(value, dvalue/dy_pred\)",
    ),
    "loss shape": (
        lambda: fitted(nn.Dense(2), loss=lambda a, b: (1.0, np.zeros(3))),
        r"expected a number or an array \(32,\), and a derivative of shape \(32, 2\), got shapes \(\) and \(3,\)",
    ),
    "loss weights": (
        lambda: fitted(nn.Dense(2), loss=lambda a, b: (1.0, a), sample_weight=np.ones(300)),
        r"expected the loss of each row, shape \(32,\), for sample_weight",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(current: Any, what: str) -> None:
    call, words = BAD[what]
    with pytest.raises((TypeError, ValueError), match=f"(?s){words}"):
        call()
