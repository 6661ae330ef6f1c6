"""minimize: each method finds what it must, keeps the best, and says what it did."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast import Dense, Sequential
from nnfast.search import METHODS

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([0, 1, 1, 0.0])
STUCK = 3
"""A seed whose start leads l-bfgs to a local minimum of XOR, with tanh."""
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = X @ RNG.normal(size=(4, 2)) + 0.1 * RNG.normal(size=(60, 2))
FEW = {"dual_annealing": 60, "differential_evolution": 25, "basin_hopping": 10}


@pytest.fixture(autouse=True)
def _scipy(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("scipy")


def xor(seed: int = STUCK, **more: Any) -> Sequential:
    return Sequential([Dense(2, "tanh"), Dense(1)], seed, **more)


def search(method: str, draw: int = 0, **more: Any) -> Any:
    few = FEW.get(method)
    return nn.minimize(xor(), *XOR, "mse", method, max_iterations=few, seed=draw, **more)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_regression_has_one_minimum_and_all_find_it(
    current: Any, method: str, dtype: str
) -> None:
    """The one that the normal equations have."""
    net = Sequential([Dense(2)], seed=0, dtype=dtype)
    result = nn.minimize(net, X, Y, None, method, max_iterations=FEW.get(method), tolerance=1e-7)
    columns = np.hstack([X, np.ones((60, 1))])
    best = np.linalg.lstsq(columns, Y, rcond=None)[0]
    found = np.vstack([net.parameters()["0.weight"], net.parameters()["0.bias"][None]])
    np.testing.assert_allclose(found, best, atol=1e-4)
    assert pytest.approx(np.square(columns @ best - Y).mean(), rel=1e-6) == result.J
    assert pytest.approx(net.evaluate(X, Y)["loss"], rel=1e-5) == result.J
    assert np.array_equal(result.theta, net.theta)
    assert result.theta is not net.theta
    assert result.iterations > 0
    assert result.evaluations == len(result.history)
    assert result.history.min() == pytest.approx(result.J, rel=1e-4)
    assert result.minima
    assert min(result.minima) == pytest.approx(result.J, rel=1e-4)
    assert result.method in repr(result)


def test_local_methods_stay_in_a_local_minimum_and_starts_leave_it() -> None:
    assert pytest.approx(1 / 8, abs=1e-4) == search("l-bfgs").J
    result = search("multi_start", starts=10)
    assert result.J < 1e-6
    assert result.converged
    assert len(result.minima) == 10
    assert {round(J, 3) for J in result.minima} == {0, 0.125, 0.167}
    assert nn.minimize(xor(), *XOR, "mse", "dual_annealing", max_iterations=200).J < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_is_the_same_search(method: str) -> None:
    # annealing is seen only where local searches do not hide it
    more = {"no_local_search": True} if method == "dual_annealing" else {}
    first, again, other = (search(method, draw=draw, **more) for draw in (0, 0, 7))
    assert first.theta.tobytes() == again.theta.tobytes()
    assert np.array_equal(first.history, again.history)
    draws = method in ("multi_start", "basin_hopping", "dual_annealing", "differential_evolution")
    assert np.array_equal(first.history, other.history) == (not draws)


def test_starts_are_those_of_build() -> None:
    ends = []
    for seed in range(4, 7):
        net = xor(seed)
        ends.append(nn.minimize(net, *XOR, "mse").J)
    result = search("multi_start", starts=3, draw=4)
    np.testing.assert_allclose(result.minima, ends, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_layers_stay(method: str) -> None:
    net = Sequential([Dense(2, "tanh", trainable=False), Dense(1)], seed=0).build(2)
    before = net.theta.copy()
    nn.minimize(net, *XOR, "mse", method, max_iterations=5)
    assert np.array_equal(net.theta[:6], before[:6])
    assert not np.array_equal(net.theta[6:], before[6:])


def test_theta_never_becomes_worse() -> None:
    """The best float32 numbers are others than the nearest to the minimum in float64."""
    x = X + 100
    net = Sequential([Dense(1)], seed=0).build(4)
    J = net.objective(x, Y[:, 0], "mse")
    columns = np.hstack([x, np.ones((60, 1))])
    best = np.linalg.lstsq(columns, Y[:, 0], rcond=None)[0].astype(np.float32)
    nearest = J(best)[0]
    for _ in range(20):
        for place in range(5):
            for side in (-np.inf, np.inf):
                other = best.copy()
                other[place] = np.nextafter(best[place], np.float32(side))
                best = min(best, other, key=lambda theta: J(theta)[0])
    assert J(best)[0] < nearest
    net.theta = best
    result = nn.minimize(net, x, Y[:, 0], "mse", "cg", tolerance=0.0)
    assert result.history.min() < J(best)[0]
    assert np.array_equal(net.theta, best)
    assert J(best)[0] == result.J


def test_gradient_descent_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    result = search("gradient_descent", step=0.1)
    assert result.converged
    assert result.J < 1e-6
    result = search("multi_start", local="gradient_descent", starts=2)
    assert len(result.minima) == 2
    for method in METHODS:
        if method != "gradient_descent":
            with pytest.raises(ModuleNotFoundError, match=r'pip install "nnfast\[scipy\]"'):
                search(method)


def test_armijo_never_goes_up_whatever_the_first_step() -> None:
    for step in (1e-6, 1.0, 1e6):
        result = nn.minimize(
            Sequential([Dense(2)], seed=0), X, Y, None, "gradient_descent", step=step
        )
        assert result.converged
        steps = nn.minimize(
            Sequential([Dense(2)], seed=0),
            X,
            Y,
            None,
            "gradient_descent",
            step=step,
            max_iterations=3,
        )
        assert not steps.converged
        assert steps.iterations == 3
        assert steps.message == "max_iterations reached"


def test_gradient_descent_ends_where_no_step_helps() -> None:
    """In float64 no J is lower than at the minimum, and no gradient is below the tolerance."""
    net = Sequential([Dense(2)], seed=0, dtype="float64")
    result = nn.minimize(net, X, Y, None, "gradient_descent", tolerance=0.0)
    assert result.message == "no lower J along the gradient"
    assert not result.converged


class Log:
    def __init__(self, most: int) -> None:
        self.seen: list[tuple[int, float, Any]] = []
        self.most = most

    def __call__(self, evaluations: int, J: float, theta: Any) -> bool:
        self.seen.append((evaluations, J, theta.copy()))
        return len(self.seen) == self.most


@pytest.mark.parametrize("method", METHODS)
def test_a_callback_sees_and_ends_the_search(method: str) -> None:
    log = Log(most=9)
    net = xor()
    result = nn.minimize(net, *XOR, "mse", method, callback=log, max_iterations=50)
    assert [n for n, _, _ in log.seen] == list(range(1, 10))
    assert [J for _, J, _ in log.seen] == np.minimum.accumulate(result.history).tolist()
    np.testing.assert_allclose(log.seen[-1][2], net.theta, rtol=1e-6)
    assert result.message == "the callback ended it"
    assert not result.converged


def test_an_interrupt_keeps_the_best_so_far() -> None:
    net = xor().build(2)
    seen = []

    def interrupt(evaluations: int, J: float, theta: Any) -> None:
        seen.append(theta.copy())
        if evaluations == 20:
            raise KeyboardInterrupt

    before = net.evaluate(*XOR, "mse")["loss"]
    with pytest.raises(KeyboardInterrupt):
        nn.minimize(net, *XOR, "mse", callback=interrupt)
    np.testing.assert_allclose(net.theta, seen[-1], rtol=1e-6)
    assert net.evaluate(*XOR, "mse")["loss"] < before


@pytest.mark.parametrize("method", ["dual_annealing", "differential_evolution"])
def test_bounds_are_kept(method: str) -> None:
    net = xor().build(2)
    net.theta = np.full(9, 9.0)  # outside
    nn.minimize(net, *XOR, "mse", method, bounds=(-0.5, 0.25), max_iterations=5)
    assert net.theta.min() >= -0.5
    assert net.theta.max() <= 0.25 + 1e-7
    ends = np.full(9, -0.5), np.linspace(0.25, 1, 9)
    nn.minimize(net, *XOR, "mse", method, bounds=ends, max_iterations=5)
    assert (net.theta <= ends[1] + 1e-7).all()


def test_options_go_to_scipy() -> None:
    few = search("differential_evolution", popsize=5, polish=False)
    many = search("differential_evolution", popsize=10, polish=False)
    assert few.minima == many.minima == []
    assert many.evaluations > 1.5 * few.evaluations
    assert search("basin_hopping", niter_success=1).iterations < 10
    assert search("l-bfgs", maxfun=3).evaluations < 10
    net = Sequential([Dense(2)], seed=0)
    assert nn.minimize(net, X, Y, None, "dual_annealing", no_local_search=True, max_iterations=3)


def test_a_start_that_is_not_finite() -> None:
    net = Sequential([Dense(1)], seed=0).build(4)
    net.theta = np.full(5, np.nan)
    for method in ("l-bfgs", "gradient_descent", "basin_hopping"):
        with pytest.raises(ValueError, match=r"J: expected a finite number .* diagnose\("):
            nn.minimize(net, X, Y[:, 0], method=method)
    assert np.isnan(net.theta).all()
    assert nn.minimize(net, X, Y[:, 0], method="multi_start", starts=2).J < 1


def test_steps_into_overflow_are_not_taken() -> None:
    y = np.exp(X[:, 0])
    exact = np.mean(y - y * X[:, 0])
    for method in ("l-bfgs", "cg", "gradient_descent"):
        net = Sequential([Dense(1)], seed=0)
        result = nn.minimize(net, 10 * X, y, "poisson", method, max_iterations=5000)
        assert pytest.approx(exact, rel=1e-2) == result.J


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": "lbfgs"}, ValueError, "method: expected one of .* did you mean 'l-bfgs'"),
        ({"method": 3}, TypeError, "method: expected one of"),
        ({"starts": 3}, ValueError, "starts: expected None for method 'l-bfgs', got 3; .*multi"),
        ({"bounds": (0, 1)}, ValueError, "bounds: expected None for method 'l-bfgs'"),
        ({"method": "multi_start", "starts": 0}, ValueError, "starts: .* at least 1, got 0"),
        ({"method": "multi_start", "local": "sgd"}, ValueError, "local: expected one of"),
        ({"method": "gradient_descent", "step": 0.0}, ValueError, "step: .* > 0, got 0"),
        ({"method": "gradient_descent", "steps": 1.0}, TypeError, "unexpected .*'steps'"),
        ({"max_iterations": 0}, ValueError, "max_iterations: expected an integer of at least 1"),
        ({"tolerance": -1.0}, ValueError, "tolerance: expected a number >= 0, got -1"),
        ({"seed": -1}, ValueError, "seed: .* at least 0, got -1"),
        ({"verbose": 7}, ValueError, "verbose: expected 0, 1, 2 or 'auto', got 7"),
        ({"method": "dual_annealing", "bounds": 3}, TypeError, r"bounds: expected \(low, high\)"),
        ({"method": "dual_annealing", "bounds": (1, 0)}, ValueError, "low < high"),
        ({"method": "dual_annealing", "bounds": ([0, 1], 3)}, ValueError, r"shape \(9,\).*\(2,\)"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    net = xor().build(2)
    before = net.theta.copy()
    with pytest.raises(error, match=words):
        nn.minimize(net, *XOR, "mse", **arguments)
    assert np.array_equal(net.theta, before)


def test_other_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="net: expected a Sequential, got an object of type list"):
        nn.minimize([Dense(1)], *XOR)
    net = Sequential([Dense(30, "tanh"), Dense(30)], seed=0)
    with pytest.raises(ValueError, match=r"at most 1,000 parameters, got 1,080.*multi_start"):
        nn.minimize(net, X, np.zeros((60, 30)), method="differential_evolution")


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("nnfast.search._SECONDS_OF_A_LINE", 0.0)
    search("l-bfgs")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    search("l-bfgs", verbose=0)
    assert capsys.readouterr().err == ""
    result = search("l-bfgs")
    lines = capsys.readouterr().err
    assert lines.endswith("\n")
    assert re.search(rf"\rl-bfgs  {result.evaluations} evaluations  J 0\.125", lines)


def test_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = search("multi_start")
    figure = result.plot(tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes()[:4] == b"\x89PNG"
    assert figure.axes[0].get_yscale() == "log"
    assert search("l-bfgs").plot().axes[0].get_yscale() == "linear"
