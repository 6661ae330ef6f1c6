"""fit on iterables of batches: generators, lists, loaders; and what they do wrong."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from child import output

import nnfast as nn

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(96, 5)).astype("f4")
LABELS = RANDOM.integers(0, 3, 96)
WEIGHTS = RANDOM.random(96).astype("f4")
BATCHES = [(X[i : i + 16], LABELS[i : i + 16]) for i in range(0, 96, 16)]


def network() -> nn.Sequential:
    return nn.Sequential([nn.Dense(7, "tanh"), nn.Dense(3)], seed=0)


def trained(batches: Any, **settings: Any) -> nn.Sequential:
    net = network()
    net.history = net.fit(batches, **{"optimizer": "adam", "verbose": 0} | settings)
    return net


def same(a: nn.Sequential, b: nn.Sequential) -> bool:
    return a.theta.tobytes() == b.theta.tobytes() and a.history.history == b.history.history


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if "nnfast" in thread.name]


class Anew:
    """An iterable that begins anew, without a length."""

    def __init__(self, batches: Any = BATCHES) -> None:
        self.batches, self.passes = batches, 0

    def __iter__(self) -> Any:
        self.passes += 1
        return iter(self.batches)


def endless() -> Any:
    return itertools.cycle(BATCHES)


@pytest.mark.parametrize(
    "more", [{}, {"metrics": ["accuracy", "f1"], "validation_data": (X, LABELS)}]
)
def test_batches_in_order_are_an_epoch_without_shuffle(more: Any) -> None:
    expected = trained(X, y=LABELS, batch_size=16, shuffle=False, epochs=3, **more)
    for batches in (
        BATCHES,
        tuple(BATCHES),
        Anew(),
        [[x.tolist(), y.tolist()] for x, y in BATCHES],
    ):
        net = trained(batches, epochs=3, **more)
        assert net.theta.tobytes() == expected.theta.tobytes()
        for name, values in expected.history.history.items():
            assert net.history.history[name] == pytest.approx(values, rel=1e-15)
    assert same(trained(endless(), epochs=3, steps_per_epoch=6, **more), net)
    one = (batch for batch in BATCHES)
    assert trained(one).theta.tobytes() == trained(BATCHES).theta.tobytes()


def test_weights_and_batches_of_other_sizes() -> None:
    parts = [slice(0, 40), slice(40, 41), slice(41, 96)]
    net = trained([(X[rows], LABELS[rows], WEIGHTS[rows]) for rows in parts])
    by_hand = network()
    for rows in parts:
        by_hand.train_on_batch(X[rows], LABELS[rows], None, "adam", WEIGHTS[rows])
    assert net.theta.tobytes() == by_hand.theta.tobytes()
    classes = trained(BATCHES, class_weight={1: 5})
    expected = trained(X, y=LABELS, batch_size=16, shuffle=False, class_weight={1: 5})
    assert classes.theta.tobytes() == expected.theta.tobytes()


def test_steps_per_epoch() -> None:
    """Epochs draw so many batches, and passes follow each other."""
    for batches in (BATCHES, Anew(), endless()):
        net = trained(batches, steps_per_epoch=4, epochs=3)
        assert net.theta.tobytes() == trained(BATCHES, epochs=2).theta.tobytes()
    drawn = iter(BATCHES)
    trained(drawn, steps_per_epoch=3)
    assert len(list(drawn)) == 3  # no more than are used
    anew = Anew()
    trained(anew, epochs=3)
    assert anew.passes == 3


def test_the_next_batches_are_drawn_while_one_is_used() -> None:
    drawn: list[int] = []

    def batches() -> Any:
        for number, batch in enumerate(BATCHES):
            drawn.append(number)
            yield batch

    seen: list[int] = []

    def slow(y_true: Any, y_pred: Any) -> float:
        time.sleep(0.05)
        seen.append(len(drawn))
        return 0.0

    trained(batches(), metrics=slow)
    assert seen == [3, 4, 5, 6, 6, 6]


def test_a_torch_loader() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(LABELS))
    loader = torch.utils.data.DataLoader(data, batch_size=16)
    assert same(trained(loader, epochs=2), trained(BATCHES, epochs=2))


def test_partial_fit() -> None:
    net = network()
    assert net.partial_fit(X, LABELS, optimizer="adam", batch_size=16) is net
    net.partial_fit(X, LABELS, optimizer="adam", batch_size=16)
    expected = trained(X, y=LABELS, batch_size=16, epochs=2)
    assert net.theta.tobytes() == expected.theta.tobytes()
    net = network().partial_fit(BATCHES, optimizer="adam")
    assert net.theta.tobytes() == trained(BATCHES).theta.tobytes()


def wrong(place: int, *batch: Any) -> Any:
    return [*BATCHES[:place], batch, *BATCHES[place:]]


def raising() -> Any:
    yield from BATCHES[:2]
    raise OSError("the file is gone")


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing": ([], {}, "X: expected at least one batch, got an iterable that yields none"),
    "numbers": ([1.0, 2.0], {}, r"batch 1 of epoch 1: expected \(X, y\) or .*type float; yield"),
    "arrays": (list(X), {}, "batch 1 of epoch 1: expected .* got an object of type ndarray"),
    "four parts": (wrong(2, X, X, X, X), {}, "batch 3 of epoch 1: expected .* type tuple"),
    "another width": (wrong(3, X[:, :4], LABELS), {}, r"batch 4 of epoch 1: X: expected shape \(n, 5\)"),
    "another kind": (wrong(1, (X * 9).astype("i4"), LABELS), {}, "batch 2 of epoch 1: X: expected a dtype of the kind 'f'.*got int32; convert"),
    "texts": (wrong(1, X.astype(str), LABELS), {}, "batch 2 of epoch 1: X: expected an array of real numbers"),
    "other rows": (wrong(5, X, LABELS[:3]), {}, "batch 6 of epoch 1: y: expected 96 rows"),
    "a wild label": (wrong(5, X, LABELS + 1), {}, "batch 6 of epoch 1: y: expected labels 0 to 2"),
    "first y": ([(X, LABELS - 1)], {}, "batch 1 of epoch 1: loss=None: expected"),
    "ends early": (iter(BATCHES), {"steps_per_epoch": 9}, "X: expected 9 batches in epoch 1, got 6: the iterable has ended.*not a generator"),
    "used up": (iter(BATCHES), {"epochs": 2}, "X: expected some batches in epoch 2, got 0"),
    "used up later": (iter(BATCHES), {"epochs": 2, "steps_per_epoch": 4}, "X: expected 4 batches in epoch 2, got 2"),
    "steps 0": (BATCHES, {"steps_per_epoch": 0}, "steps_per_epoch: expected an integer of at least 1"),
    "steps of arrays": (X, {"y": LABELS, "steps_per_epoch": 3}, "steps_per_epoch: expected None with arrays, got 3"),
    "a split": (BATCHES, {"validation_split": 0.1}, "expected none of them with an iterable.*validation_data"),
    "weights": (BATCHES, {"sample_weight": WEIGHTS}, "expected none of them with an iterable"),
    "its own": (raising(), {}, "^the file is gone$"),
    "no y": (X, {}, "y: expected an array of real numbers, got an object of type NoneType"),
    "a text": ("batches", {}, "X: expected an array of real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_batches_are_named(what: str) -> None:
    batches, settings, words = BAD[what]
    ends: list[str] = []
    end = nn.LambdaCallback(on_train_end=lambda: ends.append("end"))
    net = network()
    with pytest.raises((TypeError, ValueError, OSError), match=words):
        net.fit(batches, **settings | {"verbose": 0, "callbacks": end})
    if net._network is not None and net._network.state.step:  # what was learnt before is kept
        assert ends == ["end"]
        assert np.isfinite(net.theta).all()
    net.fit(X, LABELS)


def test_what_was_learnt_before_a_bad_batch_is_kept() -> None:
    net = network()
    with pytest.raises(ValueError, match="batch 4"):
        net.fit(wrong(3, X[:, :4], LABELS), optimizer="adam")
    assert net.theta.tobytes() == trained(BATCHES[:3]).theta.tobytes()


def test_an_early_end_ends_the_thread() -> None:
    class Fails(nn.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            raise RuntimeError("enough")

    def fails(y_true: Any, y_pred: Any) -> float:
        raise RuntimeError("enough")

    for settings in ({"callbacks": Fails()}, {"metrics": fails}):
        with pytest.raises(RuntimeError, match="enough"):
            network().fit(endless(), steps_per_epoch=5, **settings)
    with pytest.warns(nn.NonFiniteLossWarning, match=r"epoch 1, step 2(?! of)"):
        network().fit(Anew([BATCHES[0], (X * np.inf, LABELS), *BATCHES]))


def test_ctrl_c_ends_the_thread() -> None:
    script = """
        import itertools, signal
        batches = itertools.repeat((X[:500], Y[:500]))
        net = network()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            net.fit(batches)
        except KeyboardInterrupt:
            pass
        print(threading.active_count(), net._network.state.step > 3)
        """
    assert output(script) == "1 True\n"
