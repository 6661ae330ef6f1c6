"""Networks learn, and the same seed is the same training on either backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnfast import SGD, Adam, Dense, Sequential
from nnfast.datasets import load_digits
from nnfast.reference import ReferenceBackend

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
SEEDS = range(3)


def digits() -> tuple[Any, Any, Any, Any]:
    """Return X and y of training and test, the 1797 digits shuffled once."""
    x, y = load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return x[:1400], y[:1400], x[1400:], y[1400:]


def permutation(machine: Any, n: int, seed: int, epoch: int) -> Any:
    order = np.empty(n, np.int64)
    machine.permutation(order, seed, epoch)
    return order


def net_of_digits(seed: int, dtype: str = "float32") -> Sequential:
    return Sequential([Dense(64, "relu"), Dense(10)], seed, dtype).build(64)


@pytest.mark.parametrize(
    ("last", "y", "loss"),
    [
        (Dense(1), XOR[1], None),
        (Dense(2), XOR[1], "cross_entropy"),
        (Dense(1, "tanh"), 2.0 * XOR[1] - 1, "mse"),
    ],
    ids=["binary", "labels", "mse"],
)
def test_xor(current: Any, last: Dense, y: Any, loss: str | None) -> None:
    for seed in SEEDS:
        net = Sequential([Dense(8, "tanh"), last], seed)
        rule = Adam(lr=0.05)
        history = net.fit(XOR[0], y, loss, rule, epochs=200, batch_size=4, verbose=0).history
        outputs = net.predict(XOR[0])
        classes = outputs.argmax(1) if last.units == 2 else outputs[:, 0] > 0
        assert np.array_equal(classes, XOR[1])
        assert history["loss"][-1] < 0.1 * history["loss"][0]


def test_digits(machine: Any, use: Any) -> None:
    use(machine.isa)
    x, y, x_test, y_test = digits()
    accuracies = []
    for seed in SEEDS:
        net = net_of_digits(seed)
        history = net.fit(
            x, y, optimizer=SGD(lr=0.1, momentum=0.9), epochs=15, metrics=["accuracy"], verbose=0
        ).history
        losses = history["loss"]
        assert losses[0] > 2 * losses[2] > 8 * losses[-1]
        assert history["accuracy"][-1] > 0.99
        accuracies.append(net.evaluate(x_test, y_test, metrics=["accuracy"])["accuracy"])
    assert np.mean(accuracies) > 0.97


def test_one_seed_one_result(current: Any) -> None:
    """The seed decides weights and shuffles: the same training again, another with another."""
    x, y, _, _ = digits()
    found = []
    for seed in (0, 0, 1):
        net = net_of_digits(seed)
        history = net.fit(x[:200], y[:200], epochs=2, verbose=0).history
        found.append((net.theta.tobytes(), history["loss"]))
    assert found[0] == found[1] != found[2]
    net = net_of_digits(0)
    first = net.theta.copy()
    net.fit(x[:50], y[:50], verbose=0)
    assert np.array_equal(net.build(64).theta, first)


def test_one_seed_on_every_fma_isa(fma_machines: list[Any], use: Any) -> None:
    """fit itself, with shuffles, metrics and threads, has the same bits everywhere."""
    x, y, x_test, y_test = digits()
    found = []
    for machine in fma_machines:
        use(machine.isa)
        for threads in (1, 2, 3):
            net = net_of_digits(0)
            more = {"optimizer": Adam(), "validation_data": (x_test, y_test)}
            history = net.fit(
                x, y, epochs=2, metrics=["accuracy"], threads=threads, verbose=0, **more
            ).history
            found.append((net.theta.tobytes(), history))
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_both_backends_draw_the_same(machine: Any, seed: int) -> None:
    """The order of the rows and the initial weights do not depend on the backend."""
    reference = ReferenceBackend()
    for n in (1, 2, 3, 5, 64, 1000):
        for epoch in (0, 1, 7):
            order = permutation(machine, n, seed, epoch)
            assert np.array_equal(order, permutation(reference, n, seed, epoch))
            assert np.array_equal(np.sort(order), np.arange(n))
    orders = [tuple(permutation(machine, 50, seed, epoch)) for epoch in range(20)]
    assert len(set(orders)) == 20


def test_both_backends_learn_the_same(machine: Any, use: Any) -> None:
    x, y, _, _ = digits()
    theta = []
    for name in ("reference", machine.isa):
        use(name)
        net = net_of_digits(5, "float64")
        start = net.theta.copy()
        net.fit(x[:300], y[:300], optimizer=SGD(lr=0.1, momentum=0.9), epochs=3, verbose=0)
        theta.append((start, net.theta.copy()))
    assert np.array_equal(theta[0][0], theta[1][0])
    np.testing.assert_allclose(theta[0][1], theta[1][1], rtol=0, atol=1e-11)


def test_permutation_is_uniform(machine: Any) -> None:
    """Each of the 24 orders of 4 rows comes about as often as any other (chi squared, 23 dof)."""
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(4800):
        order = tuple(permutation(machine, 4, 1, epoch).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 60


def test_perceptron_is_rosenblatts_rule(current: Any) -> None:
    """Batch 1, lr 1, weights from zero: w += y x where y z <= 0, until the classes are parted."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 2))
    x = x[np.abs(x @ [1, -2]) > 0.4]
    y = np.where(x @ [1, -2] > 0, 1, -1)
    net = Sequential([Dense(1, kernel_initializer="zeros")], seed=0, dtype="float64").build(2)
    net.fit(x, y, "perceptron", SGD(lr=1), epochs=1, batch_size=1, shuffle=False, verbose=0)
    w = np.zeros(3)
    for row, sign in zip(np.c_[x, np.ones(len(x))], y, strict=True):
        if sign * (w @ row) <= 0:
            w += sign * row
    np.testing.assert_allclose(net.theta, w, rtol=1e-12)
    fit = net.fit(x, y, "perceptron", SGD(lr=1), 50, 1, metrics="accuracy", verbose=0).history
    assert net.evaluate(x, y, "perceptron", "accuracy") == {"loss": 0.0, "accuracy": 1.0}
    assert fit["accuracy"][-1] == 1.0


@pytest.mark.parametrize("loss", ["hinge", "perceptron"])
def test_targets_of_margins(current: Any, loss: str) -> None:
    """Labels, 0 and 1, and -1 and 1 are one thing; labels of several classes are one against all."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    labels = np.arange(40) % 4
    signs = np.where(labels[:, None] == np.arange(4), 1, -1)
    net = Sequential([Dense(4)], dtype="float64").build(3)
    weights = {0: 2.0, 3: 0.5}
    rows = np.where(labels == 0, 2.0, np.where(labels == 3, 0.5, 1.0))
    expected = net.evaluate(x, signs, loss, sample_weight=rows)
    assert net.evaluate(x, labels, loss, sample_weight=rows) == expected
    assert net.evaluate(x, (signs + 1) / 2, loss, sample_weight=rows) == expected
    fits = [
        net.build(3).fit(x, y, loss, class_weight=weights, verbose=0).history["loss"]
        for y in (labels, signs, signs > 0)
    ]
    assert fits[0] == fits[1] == fits[2]
    one = Sequential([Dense(1)]).build(3)
    binary = (labels > 1).astype(int)
    assert one.evaluate(x, binary, loss) == one.evaluate(x, 2.0 * binary[:, None] - 1, loss)
    with pytest.raises(ValueError, match=rf"y: expected -1 and 1, or 0 and 1, for loss '{loss}'"):
        one.evaluate(x, labels, loss)


def test_poisson_learns_rates(current: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (500, 1))
    y = rng.poisson(np.exp(1 + x[:, 0]))
    net = Sequential([Dense(1)], seed=0, dtype="float64").build(1)
    net.fit(x, y, "poisson", Adam(lr=0.05), epochs=1000, batch_size=500, verbose=0)
    columns, theta = np.c_[x, np.ones(500)], np.zeros(2)
    for _ in range(20):  # Newton's method
        rate = np.exp(columns @ theta)
        theta += np.linalg.solve((columns.T * rate) @ columns, columns.T @ (y - rate))
    np.testing.assert_allclose(net.theta, theta, atol=1e-6)
    with pytest.raises(ValueError, match="y: expected values from 0 on for loss 'poisson'"):
        net.evaluate(x, -y - 1.0, "poisson")
    with pytest.raises(ValueError, match="metric 'mse'"):
        net.evaluate(x, y, "poisson", "mse")
