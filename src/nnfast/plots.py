"""Pictures, by matplotlib, which is imported only here and only when asked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast.formats import replacing
from nnfast.metrics import LARGER_IS_BETTER

if TYPE_CHECKING:
    from nnfast.diagnosis import Diagnosis
    from nnfast.search import Result
    from nnfast.tabular import TableModel

_INK, _BLUE, _ORANGE, _PALE = "#333333", "#2b6cb0", "#dd6b20", "#dddddd"
_MOST_NUMBERED = 15
_MOST_POINTS = 5000


def check(path: str | os.PathLike[str]) -> None:
    """Raise unless `plot` can write such a file: ModuleNotFoundError or ValueError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ModuleNotFoundError(
            f'{path}: a picture needs matplotlib; pip install "nnfast[plot]"'
        ) from None
    known = FigureCanvasAgg.get_supported_filetypes()
    if _format(path) not in known:
        raise ValueError(f"{path}: expected a name that ends in .{', .'.join(sorted(known))}")


def plot(model: TableModel, path: str | os.PathLike[str]) -> None:
    """Draw the losses of the last `fit`, and beside them what the rows held out say.

    That is the confusion matrix of a classification, or predicted against true values.
    """
    with _figure(path, (11, 4.6)) as figure:
        left, right = figure.subplots(1, 2)
        _losses(left, model)
        if model.target.classes:
            _confusion(right, model)
        else:
            _predicted(right, model)


def plot_diagnosis(found: Diagnosis, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw gradients, flat and dead units and outputs, a row of the plan below the other."""
    with _figure(path, (12, max(3.2, 1.4 + 0.32 * len(found.layers)))) as figure:
        left, middle, right = figure.subplots(1, 3, sharey=True)
        names = [_short(row.name, 24) for row in found.layers]
        places = np.arange(len(names))
        _gradients(left, found, places)
        left.set_yticks(places, names)
        left.invert_yaxis()
        _flat_units(middle, found, places)
        _outputs(right, found, places)
    return figure


def plot_search(result: Result, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw J of each evaluation, and the lowest so far."""
    with _figure(path, (7, 4.2)) as figure:
        axes = figure.subplots()
        J = np.where(np.isfinite(result.history), result.history, np.nan)
        lowest, seen = np.fmin.accumulate(J), np.arange(1, len(J) + 1)
        size = float(np.clip(3000 / len(J), 1, 12))
        axes.scatter(seen, J, s=size, color=_ORANGE, alpha=0.6, linewidths=0, label="J")
        axes.step(seen, lowest, where="post", color=_BLUE, label="lowest so far")
        if 0 < np.nanmin(J, initial=np.inf) < np.nanmax(J, initial=0) / 30:
            axes.set_yscale("log")
        axes.set(xlabel="evaluations", ylabel="J", title=result.method)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y", color=_PALE, lw=0.6)
        axes.legend(frameon=False)
    return figure


def plot_history(
    epochs: Sequence[int],
    history: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw each number over the epochs, that of training and that of validation in one panel."""
    if not epochs:
        raise ValueError("History.plot: expected at least one epoch that has ended, got none")
    names = [n for n in history if not (n.startswith("val_") and n[4:] in history)]
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    with _figure(path, (1 + 4 * columns, 3.6 * rows)) as figure:
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, name in zip(places, names, strict=False):
            _curves(axes, np.asarray(epochs) + 1, history, name)
        for axes in places[len(names) :]:
            axes.remove()
    return figure


def plot_words(
    words: Sequence[str],
    points: Any,
    shares: Any,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw words at their points, (n, 2), whose axes have these shares of the variance."""
    side = float(np.clip(2.2 * len(words) ** 0.35, 5, 14))
    with _figure(path, (1.3 * side, side)) as figure:
        axes = figure.subplots()
        axes.scatter(*points.T, s=14, color=_BLUE, linewidths=0)
        first, second = (f"principal component ({share:.0%} of variance)" for share in shares)
        axes.set(xlabel=f"first {first}", ylabel=f"second {second}")
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.08)
        axes.grid(color=_PALE, lw=0.6)
        figure.draw_without_rendering()
        axes.autoscale(False)
        _label(axes, [_short(word, 24) for word in words], points)
    return figure


def _label(axes: Any, words: Sequence[str], points: Any) -> None:
    """Write words beside their points, (n, 2), in order, each where it hides least."""
    pixels = axes.figure.dpi / 72
    dots, frame = axes.transData.transform(points), axes.get_window_extent()
    angles = np.radians([0, 180, 90, 270, 30, 150, 210, 330])
    ways = np.round(np.stack([np.cos(angles), np.sin(angles)], axis=1), 6)
    ways = np.concatenate([distance * ways for distance in (6, 16, 28, 42)])
    low, high = dots - 3 * pixels, dots + 3 * pixels  # what is taken: by dots, then by words too
    for word, point, dot in zip(words, points, dots, strict=True):
        label = axes.annotate(word, point, (0, 0), textcoords="offset points", color=_INK, size=9)
        box = label.get_window_extent()
        half = np.array([box.width, box.height]) / 2 + pixels
        centres = dot + ways * pixels + np.sign(ways) * half
        ends, begins = centres + half, centres - half
        sides = np.minimum(high, ends[:, None]) - np.maximum(low, begins[:, None])
        hidden = np.prod(np.maximum(sides, 0), axis=2).sum(axis=1)
        outside = ((begins < frame.min) | (ends > frame.max)).any(axis=1)
        best = np.lexsort([np.arange(len(ways)), hidden, outside])[0]
        low, high = np.vstack([low, begins[best]]), np.vstack([high, ends[best]])
        label.set(position=(centres[best] - dot) / pixels, ha="center", va="center")
        if best >= len(angles):
            axes.plot(
                *axes.transData.inverted().transform([dot, centres[best]]).T,
                color=_PALE,
                lw=0.8,
                zorder=0.5,
            )


@contextlib.contextmanager
def _figure(path: str | os.PathLike[str] | None, size: tuple[float, float]) -> Iterator[Any]:
    """Give a figure in our style, and write it to `path`, if any, at the end."""
    if path is not None:
        check(path)
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError(
            'a picture needs matplotlib; pip install "nnfast[plot]"'
        ) from None
    style: Any = {"axes.edgecolor": _INK, "axes.labelcolor": _INK, "font.size": 10}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "axes.titleweight": "bold"}
    style["axes.axisbelow"] = True
    with mpl.rc_context({**mpl.rcParamsDefault, **style}):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        if path is not None:
            with replacing(path) as file:
                figure.savefig(file, format=_format(path))


def _format(path: str | os.PathLike[str]) -> str:
    return Path(path).suffix[1:].lower()


def _losses(axes: Any, model: TableModel) -> None:
    history, best = model.history.history, model.facts.best_epoch
    axes.axvline(best, color=_INK, lw=0.8, ls=":", label=f"kept: epoch {best}")
    _curves(axes, np.arange(1, len(history["loss"]) + 1), history, "loss")
    axes.set_ylabel(model.target.loss.replace("_", " "))


def _curves(axes: Any, epochs: Any, history: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw a number of training and, if there is one, that of validation."""
    mark = "o" if len(epochs) == 1 else None
    kinds = {name: ("training", _BLUE), f"val_{name}": ("validation", _ORANGE)}
    drawn = {kind: words for kind, words in kinds.items() if kind in history}
    for kind, (label, colour) in drawn.items():
        axes.plot(epochs, history[kind], marker=mark, color=colour, label=label)
    values = np.concatenate([np.asarray(history[kind], float) for kind in drawn])
    finite = values[np.isfinite(values)]
    if finite.size and 0 < finite.min() < finite.max() / 30:
        axes.set_yscale("log")
    elif finite.size and finite.min() >= 0 and not name.endswith(LARGER_IS_BETTER):
        axes.set_ylim(bottom=0)
    axes.set(xlabel="epoch", title=name.replace("_", " ").capitalize())
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y", color=_PALE, lw=0.6)
    if len(axes.get_lines()) > 1:
        axes.legend(frameon=False)


def _gradients(axes: Any, found: Diagnosis, places: Any) -> None:
    parts = {"|dJ/da|": ("o-", _BLUE, "signal"), "|dJ/dtheta|": ("s", _ORANGE, "gradient")}
    for label, (mark, colour, name) in parts.items():
        values = np.array([getattr(row, name) for row in found.layers])
        values[values == 0] = np.nan
        axes.plot(values, places, mark, color=colour, ms=5, label=label)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < 100 * low:  # decades of little difference would look like much
        axes.set_xlim(low / 10, high * 10)
    axes.set(xlabel="norm", title="Gradients")
    axes.grid(axis="x", color=_PALE, lw=0.6)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.08), ncols=2)


def _flat_units(axes: Any, found: Diagnosis, places: Any) -> None:
    flat = np.nan_to_num([row.saturated for row in found.layers])
    dead = [row.dead / row.units for row in found.layers]
    axes.barh(places, flat, height=0.7, color=_PALE, label="saturated outputs (relu: 0)")
    axes.barh(places, dead, height=0.35, color=_ORANGE, label="dead units")
    axes.set(xlim=(0, 1), xlabel="share", title="Saturated and dead")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.08), ncols=2)


def _outputs(axes: Any, found: Diagnosis, places: Any) -> None:
    """Histograms as hills on the lines of their rows, each as high as the others."""
    for place, row in zip(places, found.layers, strict=True):
        heights = 0.85 * row.counts / max(1, row.counts.max())
        base = np.full(len(heights), place + 0.4)
        axes.fill_between(
            (row.edges[:-1] + row.edges[1:]) / 2,
            base,
            base - heights,
            step="mid",
            color=_BLUE,
            alpha=0.6,
            lw=0,
        )
    axes.locator_params(axis="x", nbins=5)
    axes.set(xlabel="a", title="Outputs")
    axes.grid(axis="x", color=_PALE, lw=0.6)


def _confusion(axes: Any, model: TableModel) -> None:
    counts, labels = model.score["confusion"], [_short(label) for label in model.target.labels]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    n = len(labels)
    if n <= _MOST_NUMBERED:
        size = 10 if n <= 8 else 7
        for row, column in np.ndindex(n, n):
            ink = "white" if shares[row, column] > 0.5 else _INK
            text = f"{counts[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", color=ink, size=size)
        slant = {"rotation": 45, "ha": "right"} if max(map(len, labels)) * n > 40 else {}
        axes.set_xticks(range(n), labels, **slant)
        axes.set_yticks(range(n), labels)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    title = f"Validation: accuracy {model.score['accuracy']:.1%} of {model.score['rows']:,} rows"
    axes.set(xlabel="predicted", ylabel="true", title=title)


def _predicted(axes: Any, model: TableModel) -> None:
    table = model.validation_table.rows(slice(_MOST_POINTS))
    predicted = model.predict(table)
    truth = model.target.truth(table)
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, color=_INK, lw=0.8, ls=":", label="predicted = true")
    alpha = float(np.clip(300 / len(truth), 0.08, 0.8))
    axes.scatter(truth, predicted, s=14, color=_BLUE, alpha=alpha, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    name = _short(model.target.name, 30)
    title = f"Validation: R² {model.score['r2']:.3f}, MAE {model.score['mae']:.4g}"
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}", title=title)
    axes.grid(color=_PALE, lw=0.6)
    axes.legend(frameon=False, loc="upper left")


def _short(label: str, length: int = 14) -> str:
    """Cut a label, and keep matplotlib from reading formulas in it."""
    cut = label if len(label) <= length else label[: length - 1] + "…"
    return cut.replace("$", r"\$")
