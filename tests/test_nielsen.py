"""His programs run on the engine and follow the same trajectory: checked against a plain NumPy network."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnfast.compat.nielsen import network, network2
from nnfast.datasets import load_digits
from nnfast.training import NonFiniteLossWarning

SIZES = [64, 12, 10]


def digits(n: int = 203) -> tuple[Any, Any, Any]:
    """Return his kind of data: (x, vector) for training, (x, class) for the test; and the first as (x, class)."""
    x, labels = load_digits()
    columns = [row[:, None] for row in x[: 2 * n]]
    train = [
        (c, network2.vectorized_result(d)) for c, d in zip(columns[:n], labels[:n], strict=True)
    ]
    pairs = list(zip(columns, (int(label) for label in labels), strict=False))
    return train, pairs[n:], pairs[:n]


class Plain:
    """The same network, written for whole minibatches: columns are samples."""

    def __init__(self, sizes: list[int], entropy: bool, large: bool = True) -> None:
        self.b = [np.random.randn(n, 1) for n in sizes[1:]]
        self.w = [
            np.random.randn(n, m) / (1 if large else np.sqrt(m))
            for m, n in itertools.pairwise(sizes)
        ]
        self.entropy = entropy

    def layers(self, x: Any) -> list[Any]:
        a = [x]
        for w, b in zip(self.w, self.b, strict=True):
            a.append(1 / (1 + np.exp(-(w @ a[-1] + b))))
        return a

    def step(self, batch: Any, eta: float, decay: float) -> None:
        a = self.layers(np.hstack([x for x, _ in batch]))
        d = a[-1] - np.hstack([y for _, y in batch])
        if not self.entropy:
            d = d * a[-1] * (1 - a[-1])
        for i in reversed(range(len(self.w))):
            back = (self.w[i].T @ d) * a[i] * (1 - a[i])
            self.w[i] = (1 - eta * decay) * self.w[i] - eta / len(batch) * d @ a[i].T
            self.b[i] = self.b[i] - eta / len(batch) * d.sum(axis=1, keepdims=True)
            d = back

    def epoch(self, data: list[Any], size: int, eta: float, decay: float = 0.0) -> None:
        random.shuffle(data)
        for first in range(0, len(data), size):
            self.step(data[first : first + size], eta, decay)

    def right(self, pairs: Any) -> int:
        return sum(int(np.argmax(self.layers(x)[-1]) == y) for x, y in pairs)

    def cost(self, data: Any, lmbda: float) -> float:
        total = 0.5 * lmbda * sum((w**2).sum() for w in self.w)
        for x, y in data:
            a = self.layers(x)[-1]
            entropy = -(y * np.log(a) + (1 - y) * np.log(1 - a)).sum()
            total += entropy if self.entropy else 0.5 * ((a - y) ** 2).sum()
        return float(total / len(data))


def assert_same(net: Any, plain: Plain, tolerance: float = 1e-11) -> None:
    for ours, theirs in zip([*net.weights, *net.biases], [*plain.w, *plain.b], strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def seed() -> None:
    np.random.seed(3)
    random.seed(4)


def printed(function: Any, *arguments: Any, **named: Any) -> tuple[Any, list[str]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = function(*arguments, **named)
    return result, out.getvalue().splitlines()


def quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    return printed(function, *arguments, **named)[0]


def test_chapter_1(current: Any) -> None:
    train, test, _ = digits()
    theirs, before = list(train), list(train)
    seed()
    plain = Plain(SIZES, entropy=False)
    expected = []
    for epoch in range(3):
        plain.epoch(theirs, 10, 3.0)
        expected.append(f"Epoch {epoch}: {plain.right(test)} / {len(test)}")
    state = random.getstate()
    seed()
    net = network.Network(SIZES)
    assert (net.num_layers, net.sizes) == (3, SIZES)
    assert [w.shape for w in net.weights] == [(12, 64), (10, 12)]
    result, lines = printed(net.SGD, train, 3, 10, 3.0, test_data=test)
    assert result is None
    assert lines == expected
    assert_same(net, plain)
    assert all(w.dtype == np.float64 and w.flags.writeable for w in net.weights)
    # the list lies as the original leaves it, and so does the generator
    assert (
        [id(pair) for pair in train]
        == [id(pair) for pair in theirs]
        != [id(pair) for pair in before]
    )
    assert random.getstate() == state
    assert net.evaluate(test) == plain.right(test)
    np.testing.assert_allclose(
        net.feedforward(test[0][0]), plain.layers(test[0][0])[-1], rtol=1e-11
    )


def test_without_test_data() -> None:
    train, _, _ = digits(30)
    net = network.Network(SIZES)
    assert printed(net.SGD, train, 2, 7, 0.5)[1] == ["Epoch 0 complete", "Epoch 1 complete"]
    assert printed(net.SGD, [], 1, 7, 0.5)[1] == ["Epoch 0 complete"]
    assert printed(net.SGD, [], 1, 7, 0.5, [])[1] == ["Epoch 0 complete"]


def test_weights_between_calls() -> None:
    """What a script does to the weights counts, and what it kept of them stays as it was."""
    train, _, _ = digits()
    theirs = list(train)
    seed()
    plain = Plain(SIZES, entropy=False)
    plain.w[0] *= 0.25
    plain.b[1] = np.zeros((10, 1))
    start = [w.copy() for w in plain.w]
    for _ in range(2):
        plain.epoch(theirs, 32, 1.0)
    seed()
    net = network.Network(SIZES)
    net.weights[0] *= 0.25
    net.biases[1] = np.zeros((10, 1))
    kept = net.weights
    for _ in range(2):
        quietly(net.SGD, train, 1, 32, 1.0)
    assert_same(net, plain)
    assert all(np.array_equal(a, b) for a, b in zip(kept, start, strict=True))


def test_data_between_calls() -> None:
    """Samples changed in place between two calls are seen."""
    train, test, _ = digits(40)
    net = network.Network(SIZES)
    changed = [(x.copy(), y) for x, y in train]
    quietly(net.SGD, changed, 1, 10, 1.0)
    start = [w.copy() for w in net.weights], [b.copy() for b in net.biases]
    for x, _ in changed:
        x[:] = 0
    quietly(net.SGD, changed, 1, 10, 1.0)
    assert np.array_equal(net.weights[0], start[0][0])  # no input, no gradient
    assert not np.array_equal(net.biases[0], start[1][0])
    before = net.evaluate(test)
    wrong = [(x, (y + 1) % 10) for x, y in test]
    assert net.evaluate(wrong) + before <= len(test)


@pytest.mark.parametrize("cost", ["QuadraticCost", "CrossEntropyCost"])
@pytest.mark.parametrize("lmbda", [0.0, 5.0])
def test_chapter_3(current: Any, cost: str, lmbda: float) -> None:
    train, test, train_labels = digits()
    theirs = list(train)
    vectors = [(x, network2.vectorized_result(y)) for x, y in test]
    seed()
    plain = Plain(SIZES, cost == "CrossEntropyCost", large=False)
    expected: tuple[list[float], ...] = ([], [], [], [])
    for _ in range(3):
        plain.epoch(theirs, 10, 0.5, lmbda / len(train))
        now = (
            plain.cost(vectors, lmbda),
            plain.right(test),
            plain.cost(train, lmbda),
            plain.right(train_labels),
        )
        for values, value in zip(expected, now, strict=True):
            values.append(value)
    seed()
    net = network2.Network(SIZES, cost=getattr(network2, cost))
    found, lines = printed(net.SGD, train, 3, 10, 0.5, lmbda, test, True, True, True, True)
    assert_same(net, plain)
    assert [type(values) for values in found] == [list] * 4
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, rtol=1e-10)
    n, n_test = len(train), len(test)
    for epoch, (cost_there, right_there, cost_here, right_here) in enumerate(
        zip(*found, strict=True)
    ):
        assert lines[6 * epoch : 6 * epoch + 6] == [
            f"Epoch {epoch} training complete",
            f"Cost on training data: {cost_here}",
            f"Accuracy on training data: {right_here} / {n}",
            f"Cost on evaluation data: {cost_there}",
            f"Accuracy on evaluation data: {right_there} / {n_test}",
            "",
        ]
    assert len(lines) == 18


def test_large_weights_and_positions() -> None:
    seed()
    plain = Plain(SIZES, entropy=True)
    seed()
    net = network2.Network(SIZES)
    seed()
    net.large_weight_initializer()
    assert_same(net, plain, 0.0)
    assert network2.vectorized_result(3).tolist() == [[float(i == 3)] for i in range(10)]


def test_iterators_and_arrays() -> None:
    """Python 3 scripts pass zip objects and forget list(); samples may be float32 and bytes."""
    train, test, _ = digits()
    results = []
    for kind in (list, iter, tuple):
        seed()
        net = network.Network(SIZES)
        results.append(
            printed(net.SGD, kind(train[:]), 2, 10, 3.0, kind(test))[1] + [net.weights[0].tobytes()]
        )
    assert results[0] == results[1] == results[2]
    seed()
    net = network.Network(SIZES)
    double = [(x.astype(np.float64), y.astype(np.uint8)) for x, y in train]
    quietly(net.SGD, double, 2, 10, 3.0)
    assert net.weights[0].tobytes() == results[0][-1]
    half = [(x.astype(np.float16), y) for x, y in train]  # sixteenths: exact
    seed()
    net = network.Network(SIZES)
    quietly(net.SGD, half, 2, 10, 3.0)
    assert net.weights[0].tobytes() == results[0][-1]
    assert net.evaluate(iter([(x, np.array([y])) for x, y in test])) == net.evaluate(test)


def test_one_output() -> None:
    """y may be a single number where the network has one output."""
    data = [(np.array([[a], [b]], float), float(a != b)) for a in (0, 1) for b in (0, 1)]
    column = [(x, np.array([[y]])) for x, y in data]
    nets = []
    for pairs in (data, column):
        seed()
        nets.append(network2.Network([2, 4, 1]))
        quietly(nets[-1].SGD, pairs, 300, 4, 3.0)
    assert nets[0].weights[0].tobytes() == nets[1].weights[0].tobytes()
    assert all(abs(nets[0].feedforward(x)[0, 0] - y) < 0.2 for x, y in data)


def test_mixed_types() -> None:
    """The first sample does not decide the type of all."""
    data = [(np.array([[1]]), 0), (np.array([[0.5]]), 0.75)]
    nets = []
    for pairs in (data, [(x.astype(float), float(y)) for x, y in data]):
        seed()
        nets.append(network.Network([1, 2, 1]))
        quietly(nets[-1].SGD, pairs, 5, 1, 3.0)
    assert nets[0].weights[0].tobytes() == nets[1].weights[0].tobytes()


def test_backprop_and_steps_by_hand() -> None:
    """The methods that scripts call or replace give what the engine gives."""
    train, _, _ = digits(20)
    seed()
    plain = Plain(SIZES, entropy=False)
    seed()
    net = network.Network(SIZES)
    nabla_b, nabla_w = net.backprop(*train[0])
    net.update_mini_batch(train, 2.0)
    plain.step(train, 2.0, 0.0)
    assert_same(net, plain)
    assert [g.shape for g in nabla_w] == [w.shape for w in net.weights]
    assert [g.shape for g in nabla_b] == [b.shape for b in net.biases]
    for entropy, cost in ((False, network2.QuadraticCost), (True, network2.CrossEntropyCost)):
        seed()
        plain = Plain(SIZES, entropy, large=False)
        seed()
        net2 = network2.Network(SIZES, cost)
        net2.update_mini_batch(train, 2.0, 3.0, 50)
        plain.step(train, 2.0, 3.0 / 50)
        assert_same(net2, plain)


class Cubic(network2.QuadraticCost):
    @staticmethod
    def fn(a: Any, y: Any) -> Any:
        return float(np.abs(a - y).sum() ** 3)

    @staticmethod
    def delta(z: Any, a: Any, y: Any) -> Any:
        return 3 * np.abs(a - y).sum() ** 2 * np.sign(a - y) * network2.sigmoid_prime(z)


def test_what_is_overridden_is_called() -> None:
    train, test, _ = digits(30)
    calls: list[str] = []

    def counted(name: str, base: Any) -> Any:
        def method(self: Any, *arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return getattr(base, name)(self, *arguments, **named)

        return type("Own", (base,), {name: method})

    seed()
    engine = network.Network(SIZES)
    quietly(engine.SGD, train[:], 1, 10, 1.0, test)
    for name, times in (("update_mini_batch", 3), ("backprop", 30), ("cost_derivative", 30)):
        calls.clear()
        seed()
        net = counted(name, network.Network)(SIZES)
        quietly(net.SGD, train[:], 1, 10, 1.0, test)
        assert calls == [name] * times
        np.testing.assert_allclose(net.weights[0], engine.weights[0], rtol=1e-11)
    for name, times in (("evaluate", 1), ("feedforward", len(test))):
        calls.clear()
        quietly(counted(name, network.Network)(SIZES).SGD, train[:], 1, 10, 1.0, test)
        assert calls == [name] * times
    calls.clear()
    net = network.Network(SIZES)
    net.backprop = counted("backprop", network.Network)(SIZES).backprop  # of one object alone
    quietly(net.SGD, train[:], 1, 10, 1.0)
    assert len(calls) == 30
    cubic = network2.Network(SIZES, Cubic)
    expected = np.mean([Cubic.fn(cubic.feedforward(x), y) for x, y in train])
    np.testing.assert_allclose(cubic.total_cost(train, 0.0), expected, rtol=1e-12)
    costs = quietly(cubic.SGD, train[:], 3, 10, 0.01, monitor_training_cost=True)[2]
    assert costs[-1] < expected


def test_own_step_keeps_its_gradient() -> None:
    """A subclass that halves the gradient trains as with half the rate."""

    class Half(network.Network):
        def cost_derivative(self, output_activations: Any, y: Any) -> Any:
            return (output_activations - y) / 2

    train, _, _ = digits(30)
    nets = []
    for kind, eta in ((Half, 2.0), (network.Network, 1.0)):
        seed()
        nets.append(kind(SIZES))
        quietly(nets[-1].SGD, train[:], 2, 10, eta)
    np.testing.assert_allclose(nets[0].weights[0], nets[1].weights[0], rtol=1e-11)


def test_early_stopping() -> None:
    train, test, _ = digits(40)
    net = network2.Network(SIZES)
    accuracies = quietly(
        net.SGD,
        train,
        20,
        10,
        1e-9,
        0.0,
        test,
        monitor_evaluation_accuracy=True,
        early_stopping_n=3,
    )[1]
    assert len(set(accuracies)) == 1
    assert len(accuracies) == (4 if accuracies[0] else 3)
    on_training = quietly(
        net.SGD, train, 20, 10, 1e-9, monitor_training_accuracy=True, early_stopping_n=2
    )[3]
    assert len(on_training) == (3 if on_training[0] else 2)
    with pytest.raises(ValueError, match="expected an accuracy"):
        net.SGD(train, 1, 10, 1.0, early_stopping_n=2)


def test_float32() -> None:
    train, test, _ = digits()
    seed()
    double = network2.Network(SIZES)
    seed()
    single = network2.Network(SIZES, dtype="float32")
    assert np.array_equal(single.weights[0], double.weights[0].astype(np.float32))
    for net in (double, single):
        random.seed(0)
        quietly(net.SGD, train[:], 3, 10, 0.5, 0.1)
    assert all(a.dtype == np.float32 for a in [*single.weights, *single.biases])
    np.testing.assert_allclose(single.weights[0], double.weights[0], atol=1e-4)
    assert abs(single.accuracy(test) - double.accuracy(test)) <= 2
    with pytest.raises(ValueError, match="float32 or float64, got 'int8'"):
        network.Network(SIZES, dtype="int8")


@pytest.mark.parametrize("cost", [network2.CrossEntropyCost, network2.QuadraticCost])
def test_files(tmp_path: Path, cost: Any) -> None:
    net = network2.Network(SIZES, cost)
    net.save(tmp_path / "net.json")
    written = json.loads((tmp_path / "net.json").read_text())
    assert sorted(written) == ["biases", "cost", "sizes", "weights"]
    assert (written["sizes"], written["cost"]) == (SIZES, cost.__name__)
    loaded = network2.load(str(tmp_path / "net.json"))
    assert loaded.cost is cost
    for a, b in zip([*net.weights, *net.biases], [*loaded.weights, *loaded.biases], strict=True):
        assert a.tobytes() == b.tobytes()


def test_files_of_own_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network2.Network(SIZES, Cubic).save(tmp_path / "net.json")
    with pytest.raises(ValueError, match="got 'Cubic'"):
        network2.load(tmp_path / "net.json")
    monkeypatch.setattr(network2, "Cubic", Cubic, raising=False)
    assert network2.load(tmp_path / "net.json").cost is Cubic
    for text in ('{"sizes": [2, 1]}', "[]", '{"cost": "json", "sizes": [2, 1]}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=r"other\.json: expected"):
            network2.load(tmp_path / "other.json")


def test_saturated_costs() -> None:
    """0 log 0 is 0, without a warning, and a sure wrong answer costs what float64 can hold."""
    fn = network2.CrossEntropyCost.fn
    assert fn(np.array([[1.0], [0.0]]), np.array([[1.0], [0.0]])) == 0
    assert fn(np.array([[0.0]]), np.array([[1.0]])) == np.finfo(float).max


def test_refusals() -> None:
    train, test, train_labels = digits(30)
    net, net2 = network.Network(SIZES), network2.Network(SIZES)
    with pytest.raises(ValueError, match=r"y: expected shape \(10, 1\).*vectorized_result"):
        net.SGD(train_labels, 1, 10, 1.0)
    with pytest.raises(ValueError, match=r"x: expected shape \(64, 1\).*reshape"):
        net.SGD([(x.ravel(), y) for x, y in train], 1, 10, 1.0)
    with pytest.raises(ValueError, match="expected one number, the class"):
        net.evaluate(train)
    with pytest.raises(ValueError, match=r"x: expected one shape.*got \(5, 1\) and \(64, 1\)"):
        net.SGD([train[0], (train[1][0][:5], train[1][1])], 1, 10, 1.0)
    with pytest.raises(TypeError, match="real numbers"):
        net.evaluate([(x, "one") for x, _ in test])
    with pytest.raises(ValueError, match="mini_batch_size"):
        net.SGD(train, 1, 0, 1.0)
    with pytest.raises(ValueError, match="eta"):
        net.SGD(train, 1, 10, float("nan"))
    with pytest.raises(ValueError, match="lmbda"):
        net2.SGD(train, 1, 10, 1.0, -1.0)
    with pytest.raises(ValueError, match="evaluation_data"):
        net2.SGD(train, 1, 10, 1.0, monitor_evaluation_cost=True)
    with pytest.raises(ValueError, match="class from 0 to 9"):
        net2.total_cost([(x, 10) for x, _ in test], 0.0, convert=True)
    with pytest.raises(ValueError, match="two layers or more"):
        network.Network([64])
    with pytest.raises(ValueError, match="at least one sample"):
        net2.total_cost([], 0.0)
    assert net2.accuracy([]) == net.evaluate([]) == 0
    net.weights[1] = net.weights[1].T
    with pytest.raises(ValueError, match=r"weights\[1\], biases\[1\]: expected shapes"):
        net.SGD(train, 1, 10, 1.0)


def test_nan_stops() -> None:
    train, _, _ = digits(30)
    broken = [*train[:20], (np.full((64, 1), np.nan), train[0][1]), *train[21:]]
    for net in (network.Network(SIZES), network2.Network(SIZES)):
        with pytest.warns(NonFiniteLossWarning, match="smaller eta"):
            out = printed(net.SGD, broken, 5, 10, 1.0)[1]
        assert out == []
        assert all(np.isfinite(w).all() for w in net.weights)


def test_interruption_keeps_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between two calls of the engine leaves the steps made so far."""
    from nnfast import backend

    machine = backend.current()

    class Interrupted:
        def __init__(self, job: Any) -> None:
            self.run = machine.run(job)

        def advance(self, seconds: float) -> bool:
            self.run.advance(seconds)
            raise KeyboardInterrupt

    class Machine:
        run = Interrupted

    train, _, _ = digits(30)
    net = network.Network(SIZES)
    before = net.weights[0]
    monkeypatch.setattr(backend, "current", Machine)
    with pytest.raises(KeyboardInterrupt):
        net.SGD(train, 1, 10, 1.0)
    assert not np.array_equal(net.weights[0], before)


def test_learns() -> None:
    x, labels = load_digits()
    pairs = [(row[:, None], int(label)) for row, label in zip(x, labels, strict=True)]
    train = [(c, network2.vectorized_result(d)) for c, d in pairs[:1500]]
    seed()
    net = network.Network([64, 30, 10])
    quietly(net.SGD, train, 30, 10, 3.0)
    assert net.evaluate(pairs[1500:]) > 0.88 * len(pairs[1500:])
