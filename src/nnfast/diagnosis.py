"""Diagnose: what goes through a network's rows, forward and back, and what to change about it.

After Karpathy, "Yes you should understand backprop" (2016), and Glorot and Bengio (AISTATS 2010).
"""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnfast import advice, checks, inputs, optimizers, probes, training
from nnfast.inputs import Samples
from nnfast.losses import AnyLoss, Loss
from nnfast.plan import Array, PlanBuilder, initial_theta
from nnfast.sequential import Sequential

_NAN = float("nan")
_WIDTH = 100


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LayerDiagnosis:
    """One row of the plan; norms are those of all its numbers together, NaN is "does not apply".

    Attributes
    ----------
    layer : str
        Its layer, "2", or "2.0" for one inside another.
    op, activation : str
        As in the plan; the activation is "" where there is none.
    units : int
        Outputs of a sample.
    mean, std : float
        Of the outputs a.
    saturated : float
        Share of the outputs where the activation's slope is below 5 % of its largest: near the
        limits of a sigmoid or tanh, 0 of a relu (half of them is normal there).
    dead : int
        Units that are saturated for all rows.
    constant : int
        Units that are the same for all rows.
    duplicates : int
        Units, constant ones apart, that compute the same as another one.
    signal : float
        Norm of dJ/da over rows and units.
    decay : float
        `signal` in units of that of the last row.
    gradient : float
        Norm of dJ/dtheta of the trainable parameters.
    relative : float
        `gradient` in units of the norm of those parameters.
    update : float
        Norm of the optimizer's first step in units of the same, if an optimizer was given.
    float32_error : float
        Norm of the float32 gradient minus the float64 one, in units of the latter.
    difference_error : float
        Largest difference between the gradient and finite differences, in units of the gradient.
    counts, edges : ndarray
        Histogram of the outputs.
    """

    layer: str
    op: str
    activation: str
    units: int
    mean: float
    std: float
    saturated: float
    dead: int
    constant: int
    duplicates: int
    signal: float
    decay: float
    gradient: float
    relative: float
    update: float
    float32_error: float
    difference_error: float
    counts: Array
    edges: Array

    @property
    def name(self) -> str:
        """Layer, op and activation in words."""
        activation = self.activation if self.activation not in ("", "identity") else ""
        op = "" if self.op == "activation" and activation else self.op
        return " ".join(filter(None, (self.layer, op, activation)))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Diagnosis:
    """What `diagnose` has found; printed it is a table with advice.

    Attributes
    ----------
    J : float
        Loss of the rows looked at, as in a step of training.
    loss : Loss
    constant_J : float
        Loss of the best answer that is the same for all rows; NaN where it is not known.
    chance_J : float
        Loss of guessing all classes alike; NaN if there are none.
    fresh : bool
        Whether theta is as `build` draws it.
    dtype : str
        Of the network.
    rows, of_rows : int
        Rows looked at, and rows of X.
    layers : tuple of LayerDiagnosis
        One for each row of the plan.
    input_mean, input_std : ndarray
        Of each number that goes into the first dense row; empty if there is none.
    class_counts : ndarray
        Rows of each class, of all rows; empty if y has no classes.
    optimizer : Optimizer or None
    not_finite : str
        Where NaN or an infinity appears first, "" if nowhere.
    """

    J: float
    loss: Loss
    constant_J: float
    chance_J: float
    fresh: bool
    dtype: str
    rows: int
    of_rows: int
    layers: tuple[LayerDiagnosis, ...]
    input_mean: Array
    input_std: Array
    class_counts: Array
    optimizer: optimizers.Optimizer | None
    not_finite: str

    @property
    def advice(self) -> list[str]:
        """What stands out and what to change, in sentences, the gravest first."""
        return advice.sentences(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw gradients by depth, saturation and histograms; needs matplotlib.

        Parameters
        ----------
        path
            A file to write, such as "diagnosis.png"; None: only return the figure.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ModuleNotFoundError, ValueError
            There is no matplotlib; it cannot write such a file.
        """
        from nnfast import plots

        return plots.plot_diagnosis(self, path)

    def __str__(self) -> str:
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )
        said = [f"- {sentence}" for sentence in self.advice] or ["Nothing stands out."]
        said = [textwrap.fill(words, _WIDTH, subsequent_indent="  ") for words in said]
        return "\n".join([self._head(), "", *(line.rstrip() for line in lines), "", *said])

    def __repr__(self) -> str:
        return f"<Diagnosis: J {self.J:.4g}, {len(self.layers)} rows, {len(self.advice)} to change>"

    def _repr_html_(self) -> str:
        import html

        cells = ([html.escape(cell) for cell in row] for row in self._table())
        table = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in cells)
        items = "".join(f"<li>{html.escape(words)}</li>" for words in self.advice)
        said = f"<ul>{items}</ul>" if items else "<p>Nothing stands out.</p>"
        return f"<p>{html.escape(self._head())}</p><table>{table}</table>{said}"

    def _head(self) -> str:
        constant = (
            "" if np.isnan(self.constant_J) else f", best constant answer {self.constant_J:.4g}"
        )
        part = "" if self.rows == self.of_rows else f"{self.rows:,} of "
        theta = "as drawn" if self.fresh else "trained"
        return (
            f"J {self.J:.4g} ({self.loss.name}{constant}), {part}{self.of_rows:,} rows, "
            f"{self.dtype}, theta {theta}"
        )

    def _table(self) -> list[tuple[str, ...]]:
        head: tuple[str, ...] = (
            "layer",
            "units",
            "mean",
            "std",
            "saturated",
            "dead",
            "|dJ/da|",
            "decay",
        )
        head += ("gradient", "float32", "differ") + ("step",) * (self.optimizer is not None)
        return [head, *(_cells(row)[: len(head)] for row in self.layers)]


@np.errstate(all="ignore")
def diagnose(
    net: Sequential,
    X: Any,
    y: Any,
    loss: AnyLoss | None = None,
    *,
    optimizer: Any = None,
    rows: int = 1024,
    threads: int | None = None,
) -> Diagnosis:
    """Look at one step of training, without making it, and say what to change.

    Forward and back go through the reference backend in float64, as in training: Dropout drops,
    BatchNorm normalises by these rows. The gradients compared (float32, float64, finite
    differences) are those of the backend in use.

    Parameters
    ----------
    net : Sequential
        Built first if need be, otherwise left as it is.
    X, y, loss
        As in `Sequential.fit`. A last softmax or sigmoid that is fused with its loss shows its
        outputs from before it.
    optimizer : as in `Sequential.fit`, or None
        If given, the size of its first step is looked at too.
    rows : int
        Most rows to look at; of more, so many are drawn.
    threads : int or None
        Most threads to use.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError, ValueError
        An argument that does not fit.

    Examples
    --------
    >>> print(nn.diagnose(net, X, y))
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a Sequential, got an object of type {type(net).__name__}")
    X, most = inputs.features(X), checks.integer("rows", rows, 1)
    rule = None if optimizer is None else optimizers.get(optimizer)
    if not net.built:
        net.build(X.shape[1:])
    y, plan = inputs.real_array(y, "y"), net.plan
    whole = inputs.samples(X, y, plan, np.dtype(np.float64), loss)
    n = len(whole)
    order = np.random.default_rng(0).choice(n, most, replace=False) if n > most else np.arange(n)
    double = Samples(whole.x[order], whole.y[order], None, whole.loss)
    single = inputs.samples(X[order], y[order], plan, np.dtype(np.float32), whole.loss)

    exact, rough = (_network(net, dtype) for dtype in (np.float64, np.float32))
    J, gradient = training.loss_and_grad(exact, double, True, threads)
    _, gradient32 = training.loss_and_grad(rough, single, True, threads)
    named = list(zip(plan.without_link(whole.loss.link).rows, _names(net), strict=True))
    step = probes.trace(exact, double)
    bad = np.flatnonzero(~np.isfinite(step.a[0]).all(axis=1))
    where = f"row {order[bad[0]]} of X" if bad.size else probes.not_finite(named, exact, step)
    if not where and not np.isfinite(gradient32).all():
        found = probes.not_finite(named, rough, probes.trace(rough, single))
        where = f"{found or 'the gradient'} in float32, not in float64"
    step_of = np.full_like(exact.theta, np.nan)
    if rule is not None and not where:
        moved = _network(net, net.dtype)
        training.train_on_batch(
            moved, X[order], y[order], loss=whole.loss, optimizer=rule, threads=threads
        )
        step_of = moved.theta.astype(np.float64) - net.theta
    errors = {} if where else probes.difference_errors(exact, double, threads)

    signals = probes.signals(named, step)
    layers = []
    for (row, name), signal in zip(named, signals, strict=True):
        own = probes.parameters(plan, row, name)
        facts = probes.outputs(row, step.a[row.output])
        facts |= probes.gradients(own, exact.theta, gradient, gradient32, step_of)
        worst = max((errors[p.name] for p in own if p.name in errors), default=_NAN)
        layers.append(
            LayerDiagnosis(
                layer=name,
                op=row.op,
                signal=signal,
                decay=probes.ratio(signal, signals[-1]),
                difference_error=worst,
                **facts,
            )
        )
    constant, chance, counts = probes.answers(whole, plan.n_out)
    first = next((row for row in plan.rows if row.op == "dense"), None)
    enters = np.empty((1, 0)) if first is None else step.a[first.inputs[0]]
    return Diagnosis(
        J=J,
        loss=whole.loss,
        constant_J=constant,
        chance_J=chance,
        fresh=np.array_equal(net.theta, initial_theta(plan, net.seed, net.dtype)),
        dtype=net.dtype.name,
        rows=len(double),
        of_rows=n,
        layers=tuple(layers),
        input_mean=enters.mean(axis=0),
        input_std=enters.std(axis=0),
        class_counts=counts,
        optimizer=rule,
        not_finite=where,
    )


class _NamedRows(PlanBuilder):
    """Notes which layer each row comes from."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__(input_shape)
        self.names: list[str] = []

    def add_row(self, *arguments: Any, **more: Any) -> None:
        super().add_row(*arguments, **more)
        self.names.append(self.layer)


def _names(net: Sequential) -> list[str]:
    builder = _NamedRows(net.plan.input_shape)
    builder.add_layers(net.layers)
    return builder.names


def _network(net: Sequential, dtype: Any) -> training.Network:
    return training.Network(net.plan, net.theta.astype(dtype), net.buffers.astype(dtype), net.seed)


def _cells(row: LayerDiagnosis) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.units:,}",
        f"{row.mean:.3g}",
        f"{row.std:.3g}",
        "-" if np.isnan(row.saturated) else f"{row.saturated:.1%}",
        f"{row.dead:,}" if row.dead or not np.isnan(row.saturated) else "-",
        *(_short(value, 1) for value in (row.signal, row.decay, row.gradient)),
        *(_short(value, 0) for value in (row.float32_error, row.difference_error)),
        _short(row.update, 1),
    )


def _short(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}e}"
