"""Sequential as its users meet it: what it does, and what it says to bad input."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child import needs_native

import nnfast as nn
from nnfast.formats import safetensors

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 5)).astype("f4")
LABELS = RANDOM.integers(0, 3, 60)
Y = RANDOM.normal(size=(60, 3)).astype("f4")


def network(dtype: str = "float32", last: str | None = None) -> nn.Sequential:
    return nn.Sequential([nn.Dense(7, "tanh"), nn.Dense(3, last)], seed=0, dtype=dtype)


def built(**settings: Any) -> nn.Sequential:
    return network(**settings).build(5)


def trained(x: Any = X, y: Any = LABELS, **settings: Any) -> nn.Sequential:
    net = network()
    net.fit(x, y, **{"epochs": 2, "batch_size": 16} | settings)
    return net


def same(a: nn.Sequential, b: nn.Sequential) -> bool:
    return a.theta.tobytes() == b.theta.tobytes()


# ---- bad input: expected, got, and what to do ----

NAN = LABELS.astype("f4")
NAN[7] = np.nan
# what is called, and words of its message
BAD: dict[str, tuple[Any, str]] = {
    # X
    "X of one axis": (lambda: network().fit(X[0], LABELS), r"X: expected \(samples, features\), got shape \(5,\).*X\[None"),
    "X a number": (lambda: network().predict(3), r"expected a built one"),
    "X empty": (lambda: network().fit(X[:0], LABELS[:0]), r"X: expected at least one sample, got shape \(0, 5\)"),
    "X without features": (lambda: network().fit(X[:, :0], LABELS), r"X: expected at least one sample, got shape \(60, 0\)"),
    "X of another width": (lambda: built().predict(X[:, :4]), r"X: expected shape \(n, 5\).*got \(60, 4\); reshape"),
    "X of objects": (lambda: network().fit(X.astype(object), LABELS), "X: expected an array of real numbers, got dtype object; convert"),
    "X complex": (lambda: network().fit(X.astype(complex), LABELS), "real numbers, got dtype complex128; convert"),
    "X of texts": (lambda: network().fit(X.astype(str), LABELS), "real numbers, got dtype <U.*convert"),
    "X None": (lambda: network().fit(None, LABELS), "real numbers, got an object of type NoneType"),
    "X ragged": (lambda: network().fit([[1, 2], [3]], [0, 1]), "inhomogeneous|real numbers"),
    "X of three axes": (lambda: network().fit(X.reshape(60, 5, 1), LABELS), r"Dense expected an input of one axis, got shape \(5, 1\); put Flatten"),
    # y
    "y too short": (lambda: network().fit(X, LABELS[:7]), r"y: expected 60 rows.*got shape \(7,\); check"),
    "y too long": (lambda: network().fit(X[:9], LABELS), r"y: expected 9 rows.*got shape \(60,\)"),
    "y a number": (lambda: network().fit(X, 1), r"y: expected 60 rows.*got shape \(\)"),
    "y NaN": (lambda: network().fit(X, NAN, "cross_entropy"), "y: expected finite numbers, got nan in row 7; drop"),
    "y infinite": (lambda: network().fit(X, Y * np.inf, "mse"), "y: expected finite numbers"),
    "y negative": (lambda: network().fit(X, LABELS - 1, "cross_entropy"), "y: expected labels 0 to 2.*got -1 to 1; renumber"),
    "y beyond": (lambda: network().fit(X, LABELS + 1, "cross_entropy"), "y: expected labels 0 to 2.*got 1 to 3; renumber"),
    "y beyond, no loss": (lambda: network().fit(X, LABELS + 1), "loss=None: expected integer labels 0 to 2.*pass loss="),
    "y float labels": (lambda: network().fit(X, LABELS * 1.0, "cross_entropy"), r"integer labels.*got dtype float64; pass y.astype\(int\)"),
    "y of another width": (lambda: network().fit(X, Y[:, :2], "mse"), r"y: expected shape \(n, 3\).*got \(60, 2\); change"),
    "y of texts": (lambda: network().fit(X, LABELS.astype(str)), "y: expected an array of real numbers, got dtype <U"),
    "y of objects": (lambda: network().fit(X, LABELS.astype(object)), "y: expected an array of real numbers"),
    "y no probabilities": (lambda: network().fit(X, Y, "cross_entropy"), "y: expected values from 0 to 1.*use loss='mse'"),
    "y not one-hot": (lambda: network().fit(X, np.ones_like(Y), "cross_entropy"), "one-hot rows or probabilities that sum to 1"),
    "y not binary": (lambda: network().fit(X, Y, "binary_cross_entropy"), "y: expected values from 0 to 1 for loss 'binary_"),
    "y classes for one output": (lambda: nn.Sequential([nn.Dense(1)]).fit(X, LABELS % 2, "cross_entropy"), "at least two outputs, got 1; use 'binary_cross_entropy'"),
    "y integers of two columns": (lambda: network().fit(X, np.zeros((60, 2), int)), "loss=None: expected"),
    # arguments of fit
    "batch 0": (lambda: network().fit(X, LABELS, batch_size=0), "batch_size: expected an integer of at least 1, got 0"),
    "batch -1": (lambda: network().fit(X, LABELS, batch_size=-1), "batch_size: expected an integer of at least 1, got -1"),
    "batch a float": (lambda: network().fit(X, LABELS, batch_size=32.0), r"batch_size: expected an integer.*got 32.0; convert it with int\(\)"),
    "epochs 0": (lambda: network().fit(X, LABELS, epochs=0), "epochs: expected an integer of at least 1, got 0"),
    "epochs a truth": (lambda: network().fit(X, LABELS, epochs=True), "epochs: expected an integer of at least 1, got True"),
    "initial epoch -1": (lambda: network().fit(X, LABELS, initial_epoch=-1), "initial_epoch: expected an integer of at least 0"),
    "loss unknown": (lambda: network().fit(X, LABELS, "crossentropy"), "loss: expected one of 'mse', .*got 'crossentropy'; did you mean 'cross_entropy'"),
    "loss a number": (lambda: network().fit(X, LABELS, 3), "loss: expected one of .*got an object of type int"),
    "optimizer unknown": (lambda: network().fit(X, LABELS, optimizer="adamm"), "optimizer: expected one of 'sgd', 'adam', .*, got 'adamm'; did you mean 'adam'"),
    "optimizer a class": (lambda: network().fit(X, LABELS, optimizer=nn.Adam), r"got the class Adam; write Adam\(\)"),
    "metric unknown": (lambda: network().fit(X, LABELS, metrics=["acc"]), "metric: expected one of .*got 'acc'"),
    "metric of logits": (lambda: network().fit(X, LABELS, metrics="mae"), "metric 'mae': expected a loss of plain outputs such as 'mse', got 'cross_entropy'; use 'accuracy'"),
    "weights too short": (lambda: network().fit(X, LABELS, sample_weight=np.ones(3)), r"sample_weight: expected shape \(60,\).*got \(3,\)"),
    "weights negative": (lambda: network().fit(X, LABELS, sample_weight=-np.ones(60)), "sample_weight: expected finite numbers >= 0"),
    "weights NaN": (lambda: network().fit(X, LABELS, sample_weight=np.full(60, np.nan)), "sample_weight: expected finite numbers >= 0"),
    "class weight a list": (lambda: network().fit(X, LABELS, class_weight=[1, 2, 3]), "class_weight: expected a dict .*type list; write"),
    "class weight of no class": (lambda: network().fit(X, LABELS, class_weight={3: 1}), "class_weight: expected labels 0 to 2, got 3"),
    "class weight negative": (lambda: network().fit(X, LABELS, class_weight={1: -1}), r"class_weight\[1\]: expected a number >= 0, got -1"),
    "class weight and targets": (lambda: network().fit(X, Y, class_weight={0: 1}), r"class labels in y, got targets of shape \(60, 3\)"),
    "split 1": (lambda: network().fit(X, LABELS, validation_split=1.0), r"validation_split: expected a number in \[0, 1\), got 1.0"),
    "split of too few": (lambda: network().fit(X[:1], LABELS[:1], "cross_entropy", validation_split=0.5), "validation_split: expected some of the 1 rows on both sides"),
    "split and data": (lambda: network().fit(X, LABELS, validation_split=0.5, validation_data=(X, LABELS)), "got both; leave one out"),
    "validation an array": (lambda: network().fit(X, LABELS, validation_data=X), r"validation_data: expected \(X, y\).*ndarray; pass a tuple"),
    "validation of another width": (lambda: network().fit(X, LABELS, validation_data=(X[:, :4], LABELS)), r"X: expected shape \(n, 5\)"),
    "callback no Callback": (lambda: network().fit(X, LABELS, callbacks=[print]), "callbacks: expected objects derived from nnfast.Callback"),
    "verbose 3": (lambda: network().fit(X, LABELS, verbose=3), "verbose: expected 0, 1, 2 or 'auto', got 3"),
    "threads 0": (lambda: network().fit(X, LABELS, threads=0), "threads: expected an integer of at least 1, got 0"),
    "threads 1000": (lambda: built().predict(X, threads=1000), "threads: expected at most 256 threads, got 1000"),
    # optimizers
    "lr 0": (lambda: nn.SGD(lr=0), "lr: expected a finite number > 0, or a schedule, got 0; choose"),
    "lr negative": (lambda: nn.Adam(lr=-0.1), "lr: expected a finite number > 0, or a schedule, got -0.1"),
    "lr NaN": (lambda: nn.SGD(lr=math.nan), "lr: expected a finite number > 0, or a schedule, got nan"),
    "lr infinite": (lambda: nn.SGD(lr=math.inf), "lr: expected a finite number > 0, or a schedule, got inf"),
    "lr a text": (lambda: nn.SGD("0.1"), "lr: expected a finite number > 0, or a schedule, got '0.1'"),
    "momentum 1": (lambda: nn.SGD(momentum=1), r"momentum: expected a number in \[0, 1\), got 1"),
    "nesterov alone": (lambda: nn.SGD(nesterov=True), "nesterov=True: expected momentum > 0, got 0; try"),
    "decay negative": (lambda: nn.SGD(weight_decay=-1), "weight_decay: expected a number >= 0, got -1"),
    "betas one": (lambda: nn.Adam(betas=(0.9,)), r"betas: expected two numbers in \[0, 1\), got \(0.9,\)"),
    "betas a number": (lambda: nn.Adam(betas=0.9), "betas: expected two numbers"),
    "beta 1": (lambda: nn.Adam(betas=(0.9, 1)), r"betas: expected a number in \[0, 1\), got 1"),
    "eps negative": (lambda: nn.Adam(eps=-1), "eps: expected a number >= 0, got -1"),
    # layers
    "no layers": (lambda: nn.Sequential([]), "layers: expected at least one, got none; write"),
    "a class as layer": (lambda: nn.Sequential([nn.Dense]), r"layers\[0\]: expected a layer, got the class Dense; write"),
    "a number as layer": (lambda: nn.Sequential([nn.Dense(2), 5]), r"layers\[1\]: expected a layer, got 5"),
    "layers a number": (lambda: nn.Sequential(5), "expected a layer, got 5"),
    "nothing computes": (lambda: nn.Sequential([nn.Flatten()]).build((2, 2)), "layers: expected one that computes, got none; add Dense"),
    "nothing to train": (lambda: nn.Sequential([nn.Activation("tanh")]).fit(X, X, "mse"), "expected a network with parameters, got none; add Dense"),
    "units 0": (lambda: nn.Dense(0), "Dense units: expected an integer of at least 1, got 0"),
    "units a float": (lambda: nn.Dense(2.0), "Dense units: expected an integer"),
    "activation unknown": (lambda: nn.Dense(2, "rleu"), "activation: expected one of .*got 'rleu'; did you mean 'relu'"),
    "activation a function": (lambda: nn.Dense(2, np.tanh), "activation: expected one of .*got an object of type ufunc"),
    "initializer unknown": (lambda: nn.Dense(2, kernel_initializer="xavier"), "kernel_initializer: expected one of .*got 'xavier'"),
    "initializer None": (lambda: nn.Dense(2, bias_initializer=None), "bias_initializer: expected an array of real numbers or one of"),
    "initializer of texts": (lambda: nn.Dense(2, bias_initializer=np.array(["a"])), "bias_initializer: expected an array of real numbers"),
    "initializer of another shape": (lambda: nn.Sequential([nn.Dense(2, kernel_initializer=np.ones((2, 5)))]).build(5), r"parameter 0.weight: .*expected an array of shape \(5, 2\), got \(2, 5\)"),
    "dtype unknown": (lambda: network("float16"), "dtype: expected 'float32' or 'float64', got 'float16'"),
    "dtype None": (lambda: network(None), "dtype: expected 'float32' or 'float64', got None"),
    "input of no axes": (lambda: network().build(()), r"input_shape: expected at least one axis, got \(\)"),
    "input 0": (lambda: network().build(0), "input_shape: expected an integer of at least 1, got 0"),
    "input a float": (lambda: network().build((5.0,)), "input_shape: expected an integer"),
    "input of two axes": (lambda: network().build((5, 2)), r"layer 0: Dense expected an input of one axis, got shape \(5, 2\); put Flatten\(\) before it"),
    # before build
    **{
        f"{name} before build": (call, r"network: expected a built one.*call build\(input_shape\) or fit")
        for name, call in {
            "predict": lambda: network().predict(X),
            "evaluate": lambda: network().evaluate(X, LABELS),
            "theta": lambda: network().theta,
            "plan": lambda: network().plan,
            "parameters": lambda: network().parameters(),
            "predictor": lambda: network().predictor(),
            "loss_and_grad": lambda: network().loss_and_grad(X, LABELS),
            "objective": lambda: network().objective(X, LABELS),
            "save": lambda: network().save("never"),
        }.items()
    },
    # theta
    "theta of another size": (lambda: setattr(built(), "theta", np.ones(3)), r"theta: expected shape \(66,\), got \(3,\); parameters\(\)"),
    "theta of texts": (lambda: setattr(built(), "theta", ["a"] * 66), "theta: expected an array of real numbers"),
    "objective of another size": (lambda: built().objective(X, LABELS)(np.ones(3)), r"theta: expected shape \(66,\), got \(3,\); start from net.theta"),
    # step
    **{
        f"step in {name}": (call, "activation 'step': expected one with a slope.*train with 'sigmoid'")
        for name, call in {
            "fit": lambda: network(last="step").fit(X, Y, "mse"),
            "train_on_batch": lambda: network(last="step").train_on_batch(X, Y, "mse"),
            "loss_and_grad": lambda: built(last="step").loss_and_grad(X, Y, "mse"),
            "objective": lambda: built(last="step").objective(X, Y, "mse")(np.ones(66)),
            "Activation": lambda: nn.Sequential([nn.Dense(3), nn.Activation("step")]).fit(X, Y, "mse"),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(what: str) -> None:
    call, words = BAD[what]
    with pytest.raises((TypeError, ValueError), match=f"(?s){words}"):
        call()


@pytest.mark.parametrize("what", [w for w in BAD if w.startswith(("y ", "batch", "weights", "lr"))])
def test_bad_input_loses_no_work(what: str) -> None:
    net = trained()
    before = net.theta.tobytes()
    for y in (LABELS[:7], NAN, LABELS - 9):
        with pytest.raises((TypeError, ValueError)):
            net.fit(X, y, "cross_entropy")
    assert net.theta.tobytes() == before
    net.fit(X, LABELS)


# ---- training ----


@pytest.mark.parametrize(
    "optimizer", [None, "sgd", "adam", nn.SGD(0.05, 0.9, True, 1e-4), nn.Adam(0.01)]
)
@pytest.mark.parametrize("y", [LABELS, LABELS[:, None], np.eye(3)[LABELS], Y], ids=len)
def test_fit_learns(optimizer: Any, y: np.ndarray) -> None:
    net = built()
    before = net.evaluate(X, y)["loss"]
    history = net.fit(X, y, optimizer=optimizer, epochs=20, batch_size=8)
    assert net.evaluate(X, y)["loss"] < before
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert history.epoch == list(range(20))


def test_loss_is_chosen_by_y() -> None:
    binary = nn.Sequential([nn.Dense(1)], seed=0).build(5)
    for net, y, loss in (
        (built(), LABELS, "cross_entropy"),
        (built(), LABELS.astype("u1"), "cross_entropy"),
        (built(), Y, "mse"),
        (binary, LABELS % 2, "binary_cross_entropy"),
        (binary, LABELS % 2 == 1, "binary_cross_entropy"),
        (binary, (LABELS % 2).astype("f4")[:, None], "binary_cross_entropy"),
        (binary, Y[:, 0], "mse"),
    ):
        assert net.evaluate(X, y) == net.evaluate(X, y, loss=loss)


@pytest.mark.parametrize(
    ("last", "loss"), [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")]
)
def test_a_last_link_is_fused(last: str, loss: str) -> None:
    """Training and loss are those of the logits; predictions are probabilities."""
    plain, linked = built(), built(last=last)
    apart = nn.Sequential([nn.Dense(7, "tanh"), nn.Dense(3), nn.Activation(last)], seed=0).build(5)
    y = np.eye(3)[LABELS]
    for net in (plain, linked, apart):
        net.fit(X, y, loss, epochs=2)
    assert same(plain, linked)
    assert same(plain, apart)
    assert linked.evaluate(X, y, loss) == plain.evaluate(X, y, loss)
    z = plain.predict(X).astype(float)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    expected = e / e.sum(axis=1, keepdims=True) if last == "softmax" else 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(linked.predict(X), expected, atol=1e-6)


def test_one_step_is_one_step_however_it_is_made() -> None:
    rule = nn.SGD(0.5)
    by_fit, by_batch, by_hand = built(), built(), built()
    by_fit.fit(X, LABELS, optimizer=rule, batch_size=60, shuffle=False)
    loss = by_batch.train_on_batch(X, LABELS, optimizer=rule)
    assert same(by_fit, by_batch)
    value, gradient = by_hand.loss_and_grad(X, LABELS)
    assert value == pytest.approx(loss, rel=1e-6)
    assert value == by_hand.evaluate(X, LABELS)["loss"]
    nn.ops.sgd_update(by_hand.theta, gradient, 0.5)
    np.testing.assert_allclose(by_hand.theta, by_fit.theta, rtol=1e-6)


def test_the_state_of_an_optimizer_continues_while_its_settings_are_equal() -> None:
    whole, parts, anew = network(), network(), network()
    whole.fit(X, LABELS, optimizer=nn.Adam(), epochs=4)
    for _ in range(4):
        parts.fit(X, LABELS, optimizer="adam")
    assert same(whole, parts)
    anew.fit(X, LABELS, optimizer=nn.Adam(), epochs=2)
    anew.fit(X, LABELS, optimizer=nn.Adam(lr=0.002), epochs=1)
    anew.fit(X, LABELS, optimizer=nn.Adam(), epochs=1)
    assert not same(whole, anew)


def test_build_begins_anew() -> None:
    net = trained(optimizer="adam")
    net.build(5).fit(X, LABELS, optimizer="adam", epochs=2, batch_size=16)
    assert same(net, trained(optimizer="adam"))


def test_seed_and_shuffle_decide_the_order() -> None:
    assert same(trained(), trained())
    assert not same(trained(), trained(shuffle=False))
    other = nn.Sequential(network().layers, seed=1).build(5)
    other.theta = built().theta
    other.fit(X, LABELS, epochs=2, batch_size=16)
    assert not same(trained(), other)
    rows = built()
    for first in (0, 16, 32, 48):
        rows.train_on_batch(X[first : first + 16], LABELS[first : first + 16])
    assert same(rows, trained(shuffle=False, epochs=1))


def test_initial_epoch() -> None:
    net = trained(epochs=2)
    history = net.fit(X, LABELS, epochs=4, initial_epoch=2, batch_size=16)
    assert history.epoch == [2, 3]
    assert same(net, trained(epochs=4))
    assert net.fit(X, LABELS, epochs=2, initial_epoch=2).history == {}


@pytest.mark.parametrize("metrics", [(), "accuracy", ["accuracy"]])
def test_validation_data(metrics: Any) -> None:
    history = network().fit(
        X[:40], LABELS[:40], epochs=3, validation_data=(X[40:], LABELS[40:]), metrics=metrics
    )
    split = network().fit(X, LABELS, epochs=3, validation_split=1 / 3, metrics=metrics)
    assert history.history == split.history
    names = {"loss", "val_loss"} | ({"accuracy", "val_accuracy"} if metrics else set())
    assert set(history.history) == names
    assert all(len(values) == 3 for values in history.history.values())
    net = network()
    net.fit(X[:40], LABELS[:40], epochs=3)
    assert history.history["val_loss"][-1] == net.evaluate(X[40:], LABELS[40:])["loss"]


def test_validation_changes_nothing_else() -> None:
    weighted = (X, LABELS, np.zeros(60))
    history = network().fit(X, LABELS, validation_data=weighted)
    assert history.history["val_loss"] == [0]
    assert same(trained(), trained(validation_data=(X, LABELS), metrics="accuracy"))


def test_accuracy() -> None:
    net = trained()
    right = (net.predict(X).argmax(axis=1) == LABELS).mean()
    for y in (LABELS, LABELS[:, None], np.eye(3)[LABELS]):
        assert net.evaluate(X, y, metrics="accuracy")["accuracy"] == pytest.approx(right)
    one = nn.Sequential([nn.Dense(1, "sigmoid")], seed=0).build(5)
    y = LABELS % 2
    right = ((one.predict(X)[:, 0] > 0.5) == y).mean()
    assert one.evaluate(X, y, metrics="accuracy")["accuracy"] == pytest.approx(right)
    errors = built().evaluate(X, Y, metrics=["mse", "mae"])
    assert errors["mse"] == pytest.approx(errors["loss"])
    assert errors["mae"] == pytest.approx(np.abs(built().predict(X) - Y).mean(), rel=1e-5)


def test_metrics_of_training_are_those_of_its_steps() -> None:
    net = built()
    right = (net.predict(X).argmax(axis=1) == LABELS).mean()
    history = net.fit(X, LABELS, batch_size=60, metrics="accuracy")
    assert history.history["accuracy"] == [pytest.approx(right)]


def test_weights_of_samples_and_classes() -> None:
    factors = np.array([1.0, 5.0, 0.0])
    assert same(trained(class_weight={1: 5, 2: 0}), trained(sample_weight=factors[LABELS]))
    assert same(trained(class_weight={0: 1}), trained())
    both = trained(class_weight={1: 5}, sample_weight=np.full(60, 2.0))
    assert same(both, trained(sample_weight=2 * np.where(LABELS == 1, 5, 1)))
    weight = RANDOM.random(60)
    net = built()
    each = [net.evaluate(X[i : i + 1], LABELS[i : i + 1])["loss"] for i in range(60)]
    expected = np.dot(weight, each) / 60
    assert net.evaluate(X, LABELS, sample_weight=weight)["loss"] == pytest.approx(
        expected, rel=1e-5
    )
    zero = built()
    zero.fit(X, LABELS, sample_weight=np.zeros(60))
    assert same(zero, net)


# ---- a loss that is no longer finite ----


@pytest.mark.parametrize("where", ["X", "lr"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_loss_that_is_not_finite_restores_the_start_of_the_epoch(
    where: str, optimizer: str
) -> None:
    x, rest = X.copy(), {"loss": "mse", "batch_size": 16, "shuffle": False}
    net = network()
    net.fit(X, Y, optimizer=optimizer, **rest)
    before, state = net.theta.copy(), copy.deepcopy(net._network.state.slots)
    if where == "X":
        x[40, 2] = np.nan
        words = r"epoch 1, step 3 of 4.*theta is as it was.*look for NaN in X"
    else:
        # a linear network, where no unit dies or saturates
        optimizer = nn.SGD(lr=1e15) if optimizer == "sgd" else nn.Adam(lr=1e25)
        words, state, x = r"epoch 1, step \d of 4.*smaller learning rate", None, 10 * X
        net = nn.Sequential([nn.Dense(7), nn.Dense(3)], seed=0).build(5)
        before = net.theta.copy()
    y = LABELS if where == "X" else np.eye(3)[LABELS]
    with pytest.warns(nn.NonFiniteLossWarning, match=words) as seen:
        history = net.fit(
            x,
            y,
            loss=None if where == "X" else "mse",
            optimizer=optimizer,
            epochs=5,
            batch_size=16,
            shuffle=False,
        )
    assert seen[0].filename == __file__
    assert (net.theta == before).all()
    assert history.epoch == []
    if state is not None:
        assert (net._network.state.slots == state).all()
        net.fit(X, Y, optimizer=optimizer, **rest)
        assert same(net, trained(y=Y, optimizer=optimizer, **rest))


def test_a_batch_whose_loss_is_not_finite_changes_nothing() -> None:
    net = trained(optimizer="adam")
    before = net.theta.copy()
    with pytest.warns(nn.NonFiniteLossWarning, match="step"):
        loss = net.train_on_batch(X * np.inf, LABELS, optimizer="adam")
    assert math.isnan(loss)
    assert (net.theta == before).all()
    net.train_on_batch(X, LABELS, optimizer="adam")
    assert np.isfinite(net.theta).all()


def test_not_finite_without_training() -> None:
    x = X.copy()
    x[3] = np.nan
    net = built()
    assert np.isnan(net.predict(x)[3]).all()
    assert np.isfinite(np.delete(net.predict(x), 3, axis=0)).all()
    assert math.isnan(net.evaluate(x, LABELS)["loss"])
    loss, gradient = net.loss_and_grad(x, LABELS)
    assert math.isnan(loss)
    assert np.isnan(gradient).all()


# ---- arrays of all kinds ----

KINDS = {
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "swapped and strided": lambda x: np.asfortranarray(x.astype(x.dtype.newbyteorder())),
    "read-only": lambda x: _read_only(x.copy()),
    "misaligned": lambda x: _misaligned(x),
    "a list": lambda x: x.tolist(),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    **{code: lambda x, code=code: (x * 9).astype(code) for code in ["i1", "i2", "i4", "i8", ">i2", ">i4", "f2", "f8", ">f8", "g"]},
    **{code: lambda x, code=code: (abs(x) * 60).astype(code) for code in ["u1", "u2", "u4", "u8", ">u8", "b1"]},
}  # fmt: skip


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _misaligned(array: np.ndarray) -> np.ndarray:
    raw = np.empty(array.nbytes + 1, "u1")[1:]
    raw[:] = array.reshape(-1).view("u1")
    view = raw.view(array.dtype).reshape(array.shape)
    assert not view.flags.aligned
    return view


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_real_array_gives_the_bits_of_its_converted_copy(kind: str, dtype: str) -> None:
    x, y = KINDS[kind](X), KINDS[kind](Y)
    plain = [np.ascontiguousarray(np.asarray(a), dtype) for a in (x, y)]
    results = []
    for a, b in ((x, y), plain):
        net = network(dtype)
        net.fit(a, b, "mse", nn.SGD(1e-4), batch_size=16)
        results.append((net.theta.tobytes(), net.predict(a).tobytes(), net.evaluate(a, b, "mse")))
    assert results[0] == results[1]


@pytest.mark.parametrize("code", ["i1", "i2", ">i4", "i8", "u1", "u8", "b1"])
def test_labels_of_any_integer_type(code: str) -> None:
    labels = (LABELS % 2).astype(code)
    expected = trained(y=LABELS % 2, loss="cross_entropy")
    assert same(trained(y=labels, loss="cross_entropy"), expected)
    assert same(trained(y=np.repeat(labels, 2)[::2], loss="cross_entropy"), expected)


def test_the_users_arrays_are_left_alone() -> None:
    arrays = X.copy(), LABELS.copy(), np.ones(60)
    before = [a.tobytes() for a in arrays]
    trained(*arrays[:2], sample_weight=arrays[2], validation_data=arrays)
    assert [a.tobytes() for a in arrays] == before


def test_images_and_flatten() -> None:
    images = X[:, :4].reshape(60, 2, 2)
    net = nn.Sequential([nn.Flatten(), nn.Dense(3)], seed=0)
    net.fit(images, LABELS)
    flat = nn.Sequential([nn.Dense(3)], seed=0)
    flat.fit(X[:, :4], LABELS)
    assert same(net, flat)
    assert (net.predict(images) == flat.predict(X[:, :4])).all()
    late = nn.Sequential([nn.Activation("relu"), nn.Flatten(), nn.Dense(3)], seed=0).build((2, 2))
    assert (late.predict(images) == flat.build(4).predict(np.maximum(X[:, :4], 0))).all()
    shaped = nn.Sequential([nn.Activation("tanh")]).build((2, 2))
    assert shaped.predict(images).shape == (60, 2, 2)


# ---- parameters, prediction, gradients ----


def test_parameters_are_views_into_theta() -> None:
    net = built()
    parameters = net.parameters()
    shapes = {"0.weight": (5, 7), "0.bias": (7,), "1.weight": (7, 3), "1.bias": (3,)}
    assert {name: view.shape for name, view in parameters.items()} == shapes
    assert all(view.base is not None and view.flags.c_contiguous for view in parameters.values())
    assert (
        np.concatenate([view.ravel() for view in parameters.values()]).tobytes()
        == net.theta.tobytes()
    )
    parameters["1.bias"][:] = 5
    assert (net.theta[-3:] == 5).all()
    net.theta = np.arange(66)
    assert parameters["0.weight"][0, 1] == 1
    assert net.theta.dtype == np.float32


def test_frozen_layers_and_no_bias() -> None:
    layers = [nn.Dense(7, "tanh", trainable=False), nn.Dense(3, use_bias=False)]
    for rule in ("sgd", nn.SGD(0.1, 0.9, weight_decay=0.1), "adam"):
        net = nn.Sequential(layers, seed=0).build(5)
        before = net.theta.copy()
        net.fit(X, LABELS, optimizer=rule, epochs=2)
        assert set(net.parameters()) == {"0.weight", "0.bias", "1.weight"}
        assert (net.theta[:42] == before[:42]).all()
        assert (net.theta[42:] != before[42:]).any()
        assert (net.loss_and_grad(X, LABELS)[1][:42] == 0).all()


def test_given_initial_values() -> None:
    w, b = RANDOM.normal(size=(5, 3)), [1, 2, 3]
    net = nn.Sequential(
        [nn.Dense(3, kernel_initializer=w, bias_initializer=b)], dtype="float64"
    ).build(5)
    assert (net.parameters()["0.weight"] == w).all()
    assert (net.parameters()["0.bias"] == b).all()
    np.testing.assert_allclose(net.predict(X), X @ w + b, rtol=1e-12)
    net.fit(X, Y)
    assert (net.build(5).parameters()["0.weight"] == w).all()


@needs_native  # NumPy sums in another order for one row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_sees_each_row_alone(dtype: str) -> None:
    net = built(dtype=dtype)
    y = net.predict(X)
    assert y.dtype == net.dtype
    for i in range(60):
        assert (net.predict(X[i : i + 1]) == y[i]).all()
    order = RANDOM.permutation(60)
    assert (net.predict(X[order]) == y[order]).all()


@needs_native  # NumPy sums in another order for one row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictor_is_a_snapshot(dtype: str) -> None:
    net = built(dtype=dtype)
    x = X.astype(dtype)
    y, one, out = net.predict(x), net.predictor(), np.empty(3, dtype)
    net.theta = np.zeros(66)
    for i in range(60):
        assert (one(x[i]) == y[i]).all()
        assert one(x[i], out=out) is out
        assert (out == y[i]).all()
    first = one(x[0])
    one(x[1])
    assert (first == y[0]).all()  # each call has an array of its own


@pytest.mark.parametrize(
    ("x", "out"),
    [
        (X[0, :4], None),
        (X[0].astype("f8"), None),
        (X[0].astype(">f4"), None),
        (X[:, 0][:5], None),
        ([1, 2, 3, 4, 5], None),
        (None, None),
        (b"12345678901234567890", None),
        (X[0], np.empty(4, "f4")),
        (X[0], np.empty(3, "f8")),
        (X[0], np.empty(6, "f4")[::2]),
        (X[0], _read_only(np.empty(3, "f4"))),
        (X[0], [0, 0, 0]),
    ],
)
def test_predictor_refuses_what_it_cannot_read(x: Any, out: Any) -> None:
    if nn.info()["backend"] == "reference":
        pytest.skip("the reference backend's predictor converts")
    with pytest.raises((TypeError, ValueError, BufferError)):
        built().predictor()(x, out)


def test_objective_is_for_scipy() -> None:
    net = built()
    f = net.objective(X, LABELS)
    before = net.theta.copy()
    value, gradient = f(net.theta)
    expected, narrow = net.loss_and_grad(X, LABELS)
    assert value == pytest.approx(expected, rel=1e-6)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, narrow, atol=1e-6)
    theta = net.theta.astype(float)
    for i in (0, 20, 65):
        d = np.zeros(66)
        d[i] = 1e-6
        slope = (f(theta + d)[0] - f(theta - d)[0]) / 2e-6
        assert slope == pytest.approx(gradient[i], abs=1e-8)
    assert (net.theta == before).all()


def test_scipy_minimizes_an_objective() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    net = built(dtype="float64")
    before = net.evaluate(X, LABELS)["loss"]
    result = optimize.minimize(
        net.objective(X, LABELS), net.theta, jac=True, options={"maxiter": 50}
    )
    net.theta = result.x
    assert net.evaluate(X, LABELS)["loss"] == pytest.approx(result.fun)
    assert result.fun < before / 2


# ---- what is shown ----


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    built().summary()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["parameters", "42", "24", "66"]
    assert "(7,)" in lines[1]
    assert "Dense(units=7, activation='tanh')" in lines[1]
    network().summary()
    assert "not built" in capsys.readouterr().out


def test_representations() -> None:
    net = network()
    text = (
        "Sequential([Dense(units=7, activation='tanh'), Dense(units=3)], seed=0, dtype='float32')"
    )
    assert repr(net) == text
    assert (
        repr(nn.Dense(2, kernel_initializer=np.ones((3, 2))))
        == "Dense(units=2, kernel_initializer=array(3, 2))"
    )
    assert "<table>" in net._repr_html_()
    assert "&#x27;tanh&#x27;" in net._repr_html_()
    history = net.fit(X, LABELS, epochs=2)
    assert repr(history).startswith("History(2 epochs: loss ")


class Recorder(nn.Callback):
    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[Any] = []
        self.stop_after = stop_after

    def on_train_begin(self) -> None:
        self.events.append(("begin", dict(self.params)))

    def on_epoch_begin(self, epoch: int) -> None:
        self.events.append(epoch)

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.events.append((epoch, sorted(logs)))
        self.stop_training = epoch == self.stop_after

    def on_train_end(self) -> None:
        self.events.append("end")


def test_callbacks() -> None:
    recorder, net = Recorder(), network()
    net.fit(X, LABELS, epochs=2, batch_size=16, callbacks=recorder, validation_split=0.5)
    params = {"epochs": 2, "initial_epoch": 0, "steps": 2}
    both = ["loss", "val_loss"]
    assert recorder.events == [("begin", params), 0, (0, both), 1, (1, both), "end"]
    assert recorder.model is net
    stopper = Recorder(stop_after=1)
    assert net.fit(X, LABELS, epochs=9, callbacks=[stopper]).epoch == [0, 1]
    assert net.fit(X, LABELS, epochs=3, callbacks=[stopper]).epoch == [
        0,
        1,
    ]  # stops by its own word only


def test_an_exception_in_a_callback_ends_training_in_order() -> None:
    class Fails(Recorder):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            raise RuntimeError("enough")

    recorder, net = Fails(), network()
    with pytest.raises(RuntimeError, match="enough"):
        net.fit(X, LABELS, epochs=3, batch_size=16, callbacks=[recorder])
    assert recorder.events[-1] == "end"
    assert same(net, trained(epochs=1))


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal")
@pytest.mark.parametrize(
    ("terminal", "verbose", "shown"),
    [
        (True, "auto", True),
        (True, 1, True),
        (True, 0, False),
        (False, "auto", False),
        (False, 1, False),
    ],
)
def test_the_bar_is_for_terminals(
    terminal: bool, verbose: Any, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pty

    theirs, ours = pty.openpty() if terminal else os.pipe()
    with open(ours, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        network().fit(X, LABELS, epochs=2, batch_size=16, verbose=verbose)
        monkeypatch.undo()
        stream.write("end")
        stream.flush()
        said = ""
        while not said.endswith("end"):
            said += os.read(theirs, 1 << 16).decode()
    os.close(theirs)
    bar = "[" + "=" * 24 + "] 4/4"
    assert (bar in said) == shown
    assert said.count("\n") == (2 if shown else 0)
    assert ("Epoch 2/2" in said) == shown


# ---- copies and files ----


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
@pytest.mark.parametrize("ready", [True, False])
def test_copies_go_on_as_the_original(way: Any, ready: bool) -> None:
    net = trained(optimizer="adam") if ready else network()
    twin = way(net)
    for each in (net, twin):
        each.fit(X, LABELS, optimizer="adam")
    assert same(net, twin)
    assert repr(net) == repr(twin)
    assert not np.shares_memory(net.theta, twin.theta)
    twin.parameters()["0.weight"][:] = 0
    assert (twin.theta[:35] == 0).all()
    assert (net.theta[:35] != 0).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load(dtype: str, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    layers = [
        nn.Flatten(),
        nn.Dense(7, "relu", kernel_initializer="he_normal", trainable=False),
        nn.Activation("tanh"),
        nn.Dense(3, "softmax", use_bias=False),
    ]
    net = nn.Sequential(layers, seed=2**64 - 1, dtype=dtype).build((5, 1))
    net.save(file)
    again = nn.load(file)
    assert repr(again) == repr(net)
    assert again.plan == net.plan
    assert same(again, net)
    x = X.reshape(60, 5, 1)
    assert (again.predict(x) == net.predict(x)).all()
    for each in (net, again):
        each.fit(x, LABELS)
    assert same(again, net)
    assert set(safetensors.load(file)[0]) == set(net.parameters())
    given = nn.Sequential([nn.Dense(3, kernel_initializer=np.ones((5, 3)))], seed=0).build(5)
    given.save(file)
    assert same(nn.load(file), given)


def test_the_official_reader_reads_a_network(tmp_path: Path) -> None:
    official = pytest.importorskip("safetensors.numpy")
    net = trained()
    net.save(tmp_path / "net")
    for name, array in official.load_file(tmp_path / "net").items():
        assert (array == net.parameters()[name]).all()


def _layer(**changes: Any) -> list[dict[str, Any]]:
    return [{"layer": "Dense", "units": 2, **changes}]


SAVED = {"layers": _layer(), "input_shape": [3], "dtype": "float32", "seed": 0}
TENSORS = {"0.weight": np.ones((3, 2), "f4"), "0.bias": np.ones(2, "f4")}
DAMAGED = {
    "no metadata": (None, TENSORS, "saved by nnfast"),
    "no JSON": ("{", TENSORS, "."),
    "nested": ("[" * 100_000, TENSORS, "."),
    "a list": ("[]", TENSORS, "saved by nnfast"),
    "no layers": (SAVED | {"layers": []}, TENSORS, "at least one"),
    "layers null": (SAVED | {"layers": None}, TENSORS, "."),
    "an unknown layer": (
        SAVED | {"layers": _layer(layer="Conv9D")},
        TENSORS,
        "layer 'Conv9D': expected one of Dense",
    ),
    "a layer by path": (SAVED | {"layers": _layer(layer="os.system")}, TENSORS, "os.system"),
    "a layer as a list": (SAVED | {"layers": _layer(layer=[])}, TENSORS, "."),
    "a setting unknown": (SAVED | {"layers": _layer(colour=1)}, TENSORS, "colour"),
    "units 0": (SAVED | {"layers": _layer(units=0)}, TENSORS, "units"),
    "units 2**62": (SAVED | {"layers": _layer(units=2**62)}, TENSORS, "tensor"),
    "input null": (SAVED | {"input_shape": None}, TENSORS, "."),
    "input of two axes": (SAVED | {"input_shape": [3, 1]}, TENSORS, "Flatten"),
    "dtype": (SAVED | {"dtype": "float16"}, TENSORS, "dtype"),
    "seed": (SAVED | {"seed": -1}, TENSORS, "seed"),
    "seed null": (SAVED | {"seed": None}, TENSORS, None),
    "a tensor missing": (SAVED, {"0.bias": TENSORS["0.bias"]}, "tensor '0.weight'"),
    "a tensor too many": (SAVED, TENSORS | {"1.bias": np.ones(1)}, "tensor '1.bias'"),
    "a tensor of another shape": (
        SAVED,
        TENSORS | {"0.bias": np.ones(3, "f4")},
        "tensor '0.bias': expected",
    ),
    "a tensor of another dtype": (
        SAVED,
        TENSORS | {"0.bias": np.ones(2)},
        "tensor '0.bias': expected",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_networks_are_refused(what: str, tmp_path: Path) -> None:
    settings, tensors, words = DAMAGED[what]
    file = tmp_path / "net"
    text = settings if isinstance(settings, str) else json.dumps(settings)
    safetensors.save(file, tensors, {} if settings is None else {"nnfast": text})
    if words is None:
        nn.load(file)
        return
    with pytest.raises(ValueError, match=words) as refusal:
        nn.load(file)
    assert str(refusal.value).startswith(str(file))


def test_a_failing_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net"
    old, new = trained(), trained(epochs=3)
    old.save(file)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="space"):
        new.save(file)
    assert same(nn.load(file), old)
    assert os.listdir(tmp_path) == ["net"]


def test_both_backends_give_about_the_same_training() -> None:
    chosen = nn.info()["backend"]
    results = []
    try:
        for name in ("reference", chosen):
            nn.use_backend(name)
            net = trained(optimizer="adam", epochs=5)
            results.append((net.theta, net.evaluate(X, LABELS, metrics="accuracy")))
    finally:
        nn.use_backend(chosen)
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-4)
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-4)
