"""Minimise J(theta) over all data at once: local methods, and global ones for small networks."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast import checks, inputs, progress
from nnfast.losses import AnyLoss
from nnfast.plan import Array, Plan, initial_theta
from nnfast.sequential import Sequential

LOCAL = ("l-bfgs", "cg", "gradient_descent")
METHODS = (*LOCAL, "multi_start", "basin_hopping", "dual_annealing", "differential_evolution")

_BOUNDED = ("dual_annealing", "differential_evolution")
_MOST_EVOLVED = 1000
_SCIPY_NAMES = {"l-bfgs": "L-BFGS-B", "cg": "CG"}
_SECONDS_OF_A_LINE = 0.1

_Objective = Callable[[Any], tuple[float, Array]]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Result:
    """What `minimize` has found.

    Attributes
    ----------
    J : float
        Loss of the network as it is left: of theta rounded to its dtype, in float64 arithmetic.
    theta : ndarray, shape (n_theta,)
        The network's, copied.
    method : str
    iterations : int
        As the method counts them: steps, hops, generations, of all starts together.
    evaluations : int
        Of J, nearly always with its gradient.
    converged : bool
        Whether the method ended by its own criterion. It says nothing of other minima.
    message : str
        Why it ended.
    history : ndarray, shape (evaluations,)
        J of each evaluation, infinite where it is not finite; the first is that of the start.
    minima : list of float
        J at the end of each local search, in their order.
    """

    J: float
    theta: Array
    method: str
    iterations: int
    evaluations: int
    converged: bool
    message: str
    history: NDArray[np.float64]
    minima: list[float]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw J along the way; needs matplotlib.

        Parameters
        ----------
        path
            A file to write, such as "search.png"; None: only return the figure.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ModuleNotFoundError, ValueError
            There is no matplotlib; it cannot write such a file.
        """
        from nnfast import plots

        return plots.plot_search(self, path)

    def __repr__(self) -> str:
        end = "converged" if self.converged else "not converged"
        return (
            f"<{self.method}: J {self.history[0]:.4g} -> {self.J:.4g}, {self.iterations:,} "
            f"iterations, {self.evaluations:,} evaluations, {end}: {self.message}>"
        )


def minimize(
    net: Sequential,
    X: Any,
    y: Any,
    loss: AnyLoss | None = None,
    method: str = "l-bfgs",
    *,
    max_iterations: int | None = None,
    tolerance: float = 1e-5,
    starts: int | None = None,
    bounds: tuple[Any, Any] | None = None,
    seed: int = 0,
    callback: Callable[[int, float, Array], object] | None = None,
    verbose: object = "auto",
    threads: int | None = None,
    **options: Any,
) -> Result:
    """Set theta to the lowest J over all of X and y that a method finds.

    J is `Sequential.objective`: in float64, as `evaluate` computes it, so that Dropout does not
    drop and BatchNorm uses its running statistics. Layers with ``trainable=False`` stay; MaxNorm
    is not applied. theta is never left with a higher J than before; an exception, Ctrl-C too,
    leaves the best so far and is raised.

    Parameters
    ----------
    net : Sequential
        Built first if need be. Its theta is where all methods but "multi_start" start from.
    X, y, loss
        As in `Sequential.fit`.
    method : str
        Local: "l-bfgs" (Byrd, Lu, Nocedal and Zhu, 1995), "cg" (Polak and Ribiere) and
        "gradient_descent" (steepest descent with Armijo's line search). Global, for networks of
        some tens of parameters: "multi_start" (local searches from several draws),
        "basin_hopping" (Wales and Doye, 1997), "dual_annealing" (Xiang et al., 1997) and
        "differential_evolution" (Storn and Price, 1997), which ends with "l-bfgs".
        All but "gradient_descent" need SciPy.
    max_iterations : int or None
        Steps of one local search, hops, or generations; None: 1000, 100 hops.
    tolerance : float
        A local search has converged where no |dJ/dtheta| is larger.
    starts : int or None
        Draws for "multi_start", as `build` makes them with seeds `seed`, `seed` + 1, ...; None: 10.
    bounds : (low, high) or None
        For "dual_annealing" and "differential_evolution": numbers, or arrays of theta's shape.
        None: 10 standard deviations of glorot_normal either way, and theta within.
    seed : int
        Of all that is drawn: the same seed, the same search.
    callback : callable or None
        ``callback(evaluations, J, theta)`` after each evaluation, with the lowest J so far and
        its theta; a true result ends the search.
    verbose : {"auto", 0, 1}
        1 writes a line on stderr if it is a terminal; "auto" is 1.
    threads : int or None
        Most threads to use.
    **options
        For SciPy: options of the method for "l-bfgs", "cg" and "multi_start" (say
        ``maxcor=20``), arguments of `scipy.optimize`'s function for the others (``T=0.5``,
        ``popsize=30``). "multi_start" also takes ``local=`` with another local method,
        "gradient_descent" ``step=`` for its first step (default 1).

    Returns
    -------
    Result

    Raises
    ------
    ModuleNotFoundError
        The method needs SciPy, which is not there.
    TypeError, ValueError
        An argument that does not fit.

    Examples
    --------
    >>> result = nn.minimize(net, X, y, "mse", "multi_start", starts=20)
    >>> result.J, sorted(result.minima)
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a Sequential, got an object of type {type(net).__name__}")
    if method not in METHODS:
        raise checks.unknown("method", method, METHODS)
    for name, given, methods in (
        ("starts", starts, ("multi_start",)),
        ("bounds", bounds, _BOUNDED),
    ):
        if given is not None and method not in methods:
            raise ValueError(
                f"{name}: expected None for method {method!r}, got {given!r}; it belongs to "
                f"{' and '.join(map(repr, methods))}"
            )
    hops = 100 if method == "basin_hopping" else 1000
    limit = hops if max_iterations is None else checks.integer("max_iterations", max_iterations, 1)
    checks.number("tolerance", tolerance, "a number >= 0", lambda v: 0 <= v < math.inf)
    checks.integer("seed", seed, 0)
    X = inputs.features(X)
    if not net.built:
        net.build(X.shape[1:])
    before, f = net.theta.copy(), net.objective(X, y, loss, threads)
    shown = progress.listener(verbose) is not None
    show = shown and sys.stderr is not None and sys.stderr.isatty()
    search = _Search(f, net, callback, method if show else "")
    end = _End(False, "the callback ended it")
    try:
        search(search.start)
        if not search.finite and method in (*LOCAL, "basin_hopping"):
            raise ValueError(
                "J: expected a finite number to start from, got another; "
                "diagnose(net, X, y) tells where it comes from"
            )
        if method == "multi_start":
            end = _multi_start(search, net, seed, starts, limit, tolerance, options)
        elif method in LOCAL:
            end = _local(search, method, search.start, limit, tolerance, options)
        else:
            end = _global(search, method, net.plan, bounds, seed, limit, tolerance, options)
    except _Stopped:
        pass
    finally:
        search.close()
        net.theta = search.best
    J = f(net.theta)[0]
    if math.isnan(J) or search.history[0] < J:  # from a minimum, by rounding to float32
        net.theta = before
        J = f(before)[0]
    return Result(
        J=J,
        theta=net.theta.copy(),
        method=method,
        iterations=search.iterations,
        evaluations=len(search.history),
        converged=end.converged,
        message=end.message,
        history=np.array(search.history),
        minima=search.minima,
    )


class _Stopped(Exception):
    """The callback has ended the search."""


class _End(NamedTuple):
    converged: bool
    message: str


class _Search:
    """J over the parameters v that may move: counts, keeps the best, tells of it."""

    def __init__(self, f: _Objective, net: Sequential, callback: Any, progress: str) -> None:
        self._f = f
        self._callback = callback
        self._progress = progress
        self._say_at = time.perf_counter() + _SECONDS_OF_A_LINE
        self._said = False
        self.best = net.theta.astype(np.float64)
        self.free = np.zeros(self.best.size, bool)
        for p in net.plan.parameters:
            self.free[p.slice] = p.trainable
        self._frozen = self.best.copy()
        self.start = self.best[self.free]
        self.lowest = math.inf
        self.iterations = 0
        self.history: list[float] = []
        self.minima: list[float] = []
        self._highest = 0.0
        self._at = np.full(self.start.size, math.nan)
        self._last = math.nan, self.start
        self.finite = True

    def __call__(self, v: Array) -> tuple[float, Array]:
        """Return J and its gradient; where J is not finite, a height above all seen, and zeros.

        (From infinity no line search finds back.) `finite` tells which.
        """
        if np.array_equal(v, self._at):
            return self._last
        theta = self._frozen.copy()
        theta[self.free] = v
        J, gradient = self._f(theta)
        self.finite = math.isfinite(J)
        if not self.finite:
            J, gradient = 2 * self._highest + 1, np.zeros_like(gradient)
        elif self.lowest > J:
            self.lowest, self.best = J, theta
        self._highest = max(self._highest, J)
        self._at, self._last = v.copy(), (J, gradient[self.free])
        self.history.append(J if self.finite else math.inf)
        self._tell()
        if self._callback and self._callback(len(self.history), self.lowest, self.best):
            raise _Stopped
        return self._last

    def value(self, v: Array) -> float:
        """Return J alone."""
        return self(v)[0]

    def gradient(self, v: Array) -> Array:
        """Return the gradient alone."""
        return self(v)[1]

    def count(self, *_: Any) -> None:
        """Count an iteration: a callback of SciPy's."""
        self.iterations += 1

    def found(self, v: Array, J: float, *_: Any) -> None:
        """Note a local minimum: a callback of SciPy's."""
        self.minima.append(float(J))

    def close(self) -> None:
        """End the line of progress."""
        if self._said:
            print(file=sys.stderr, flush=True)

    def _tell(self) -> None:
        now = time.perf_counter()
        if self._progress and now > self._say_at:
            self._say_at, self._said = now + _SECONDS_OF_A_LINE, True
            line = f"\r{self._progress}  {len(self.history):,} evaluations  J {self.lowest:.6g}  "
            print(line, end="", file=sys.stderr, flush=True)


def _scipy(method: str) -> Any:
    try:
        from scipy import optimize
    except ImportError:
        raise ModuleNotFoundError(
            f'method {method!r} needs SciPy: pip install "nnfast[scipy]"; '
            "'gradient_descent' does without"
        ) from None
    return optimize


def _local(
    search: _Search,
    method: str,
    start: Array,
    limit: int,
    tolerance: float,
    options: Mapping[str, Any],
    bounds: Any = None,
) -> _End:
    search(start)
    if not search.finite:
        search.minima.append(math.inf)
        return _End(False, "J is not finite at the start")
    if method == "gradient_descent":
        J, end = _gradient_descent(search, start, limit, tolerance, **options)
    else:
        more = {"maxfun": 20 * limit} if method == "l-bfgs" else {}
        found = _scipy(method).minimize(
            search,
            start,
            jac=True,
            method=_SCIPY_NAMES[method],
            bounds=bounds,
            callback=search.count,
            options={"maxiter": limit, "gtol": tolerance, **more, **options},
        )
        J, end = float(found.fun), _End(bool(found.success), str(found.message))
    search.minima.append(J)
    return end


def _gradient_descent(
    search: _Search, v: Array, limit: int, tolerance: float, *, step: float = 1.0
) -> tuple[float, _End]:
    """Steepest descent; a step is halved until J falls by 1e-4 of what the slope promises.

    The next one begins with twice the last (Nocedal and Wright, Numerical Optimization, 2006,
    algorithm 3.1).
    """
    checks.number("step", step, "a finite number > 0", lambda v: 0 < v < math.inf)
    J, gradient = search(v)
    for _ in range(limit):
        if np.abs(gradient).max(initial=0) <= tolerance:
            return J, _End(True, "no |dJ/dtheta| is above the tolerance")
        while True:
            there = v - step * gradient
            if np.array_equal(there, v):
                return J, _End(False, "no lower J along the gradient")
            J_there, gradient_there = search(there)
            if J_there <= J - 1e-4 * step * float(gradient @ gradient):
                break
            step /= 2
        v, J, gradient, step = there, J_there, gradient_there, 2 * step
        search.count()
    return J, _End(False, "max_iterations reached")


def _multi_start(
    search: _Search,
    net: Sequential,
    seed: int,
    starts: int | None,
    limit: int,
    tolerance: float,
    options: dict[str, Any],
) -> _End:
    n = 10 if starts is None else checks.integer("starts", starts, 1)
    local = options.pop("local", LOCAL[0])
    if local not in LOCAL:
        raise checks.unknown("local", local, LOCAL)
    best = _End(False, "no start was better than theta")
    for draw in range(seed, seed + n):
        before = search.lowest
        theta = initial_theta(net.plan, draw, net.dtype).astype(np.float64)
        end = _local(search, local, theta[search.free], limit, tolerance, options)
        if search.lowest < before:
            best = end
    return best


def _global(
    search: _Search,
    method: str,
    plan: Plan,
    bounds: tuple[Any, Any] | None,
    seed: int,
    limit: int,
    tolerance: float,
    options: dict[str, Any],
) -> _End:
    optimize = _scipy(method)
    local: dict[str, Any] = {"method": "L-BFGS-B", "options": {"gtol": tolerance}}
    if method == "basin_hopping":

        def hopped(v: Array, J: float, accepted: bool) -> None:
            search.count()
            search.found(v, J)

        settings = {"minimizer_kwargs": {**local, "jac": True}, "callback": hopped, **options}
        found = optimize.basinhopping(search, search.start, niter=limit, rng=seed, **settings)
        return _End(bool(found.success), " ".join(found.message))

    low, high = _box(search, plan, bounds)
    pairs = list(zip(low, high, strict=True))
    common = {"maxiter": limit, "rng": seed, "x0": np.clip(search.start, low, high)}
    if method == "dual_annealing":
        local |= {"jac": search.gradient, "bounds": pairs}
        settings = {"minimizer_kwargs": local, "callback": search.found, **options}
        found = optimize.dual_annealing(search.value, pairs, **common, **settings)
        search.iterations = int(found.nit)
        return _End(bool(found.success), " ".join(found.message))
    if search.start.size > _MOST_EVOLVED:
        raise ValueError(
            f"method 'differential_evolution': expected at most {_MOST_EVOLVED:,} parameters, got "
            f"{search.start.size:,}, which populations do not search; use 'multi_start'"
        )
    polish = options.pop("polish", True)
    found = optimize.differential_evolution(search.value, pairs, polish=False, **common, **options)
    search.iterations = int(found.nit)
    if polish:
        _local(search, "l-bfgs", found.x, 1000, tolerance, {}, pairs)
    return _End(bool(found.success), str(found.message))


def _box(search: _Search, plan: Plan, bounds: tuple[Any, Any] | None) -> tuple[Array, Array]:
    """Return the lowest and highest values of the parameters that may move."""
    if bounds is None:
        reach = np.empty(plan.n_theta)
        for p in plan.parameters:
            reach[p.slice] = 10 * math.sqrt(2 / (p.fan_in + p.fan_out))
        reach = reach[search.free]
        return np.minimum(-reach, search.start), np.maximum(reach, search.start)
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(f"bounds: expected (low, high), got {bounds!r}; write for example (-5, 5)")
    ends = [np.asarray(inputs.real_array(end, "bounds"), np.float64) for end in bounds]
    for end in ends:
        if end.shape not in ((), (plan.n_theta,)):
            raise ValueError(
                f"bounds: expected numbers or arrays of theta's shape ({plan.n_theta},), got shape "
                f"{end.shape}"
            )
    low, high = (np.broadcast_to(end, (plan.n_theta,))[search.free] for end in ends)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError("bounds: expected finite numbers with low < high, got others")
    return low, high
