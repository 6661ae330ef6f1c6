"""Draw a run: ``python -m bench.picture RUN.json FILE.png``.

One panel for each training work that others do, too, a bar for each contestant: samples a second,
nnfast's being 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.compare import read

_NAMES = {
    "jax": "JAX",
    "torch": "PyTorch",
    "torch_compile": "torch.compile",
    "sklearn": "scikit-learn",
    "numpy": "NumPy",
}
_OPTIMIZERS = {
    "sgd": "SGD",
    "momentum": "SGD with momentum",
    "nesterov": "Nesterov",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adamw": "AdamW",
    "rprop": "Rprop",
}
_LAYERS = {"batch_norm": "BatchNorm", "layer_norm": "LayerNorm", "residual": "Residual"}
_OURS, _OTHERS, _AHEAD = "#1f6feb", "#b4bcc6", "#d9622b"
_INK, _FAINT = "#1f2328", "#6e7781"
_BAR = 0.19  # inches


def _shown(work: dict[str, Any]) -> list[dict[str, Any]]:
    """nnfast, then the others, fastest first: all in float32 and with their best ISA."""
    found = [
        outcome
        for outcome in work["outcomes"]
        if all(word.endswith("thread") for word in outcome["name"].split()[1:])
    ]
    return sorted(found, key=lambda o: (o["name"] != "nnfast", -(o["figure"] or 0)))


def _name(outcome: dict[str, Any]) -> str:
    peer, *special = outcome["name"].split()
    return " ".join([_NAMES.get(peer, peer), *(word.replace("1t", "1 t") for word in special)])


def _says(outcome: dict[str, Any], ours: float) -> str:
    """What stands behind the bar."""
    figure = outcome["figure"]
    if not figure:
        return "not run"
    if outcome["name"] == "nnfast":
        share = outcome.get("share_of_peak")
        return f"{figure:,.0f}/s" + (f", {share:.0%} of FMA peak" if share else "")
    ratio = max(ours / figure, figure / ours)
    shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1.2 else f"{ratio:.2f}"
    return f"{shown}x {'slower' if figure < ours else 'faster'}"


def _panel(axes: Any, work: dict[str, Any], longest: float) -> None:
    outcomes = _shown(work)
    ours = outcomes[0]["figure"]
    lengths = [(outcome["figure"] or 0) / ours for outcome in outcomes]
    colours = [_AHEAD if length > 1 else _OTHERS for length in lengths]
    colours[0] = _OURS
    axes.barh(range(len(lengths)), lengths, height=0.74, color=colours)
    axes.axvline(1, color=_OURS, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
    for at, (outcome, length) in enumerate(zip(outcomes, lengths, strict=True)):
        inside = length > 0.6
        axes.annotate(
            _says(outcome, ours),
            (length, at),
            (-5 if inside else 5, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            fontsize=8,
            color="white" if inside and colours[at] != _OTHERS else _INK,
        )
    axes.set_yticks(range(len(lengths)), [_name(outcome) for outcome in outcomes], fontsize=8.5)
    axes.get_yticklabels()[0].set_fontweight("bold")
    threads = f", {work['threads']} threads" if work["threads"] > 1 else ""
    batch = f"batch {work['batch_size']:,}"
    optimizer = _OPTIMIZERS.get(work["optimizer"], work["optimizer"])
    sizes = "-".join(map(str, work["sizes"]))
    special = {"csr": " of CSR"}.get(work.get("input", ""), "")
    network = ", ".join(filter(None, (_LAYERS.get(work.get("layer", "")), work["activation"])))
    for words, where, weight in (
        (sizes + special, "left", "bold"),
        (f"{network}, {batch}, {optimizer}{threads}", "right", "normal"),
    ):
        axes.set_title(words, loc=where, fontsize=9, fontweight=weight, color=_INK, pad=4)
    axes.set_xlim(0, longest)
    axes.set_xticks([])
    axes.tick_params(length=0, colors=_INK)
    axes.spines[:].set_visible(False)


def draw(run: dict[str, Any], file: Path) -> None:
    """Write the picture of a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    works = [
        work
        for work in run["works"]
        if work["kind"] == "fit" and _shown(work)[0]["figure"] and len(_shown(work)) > 1
    ]
    if not works:
        raise ValueError("no training work of nnfast and others in this run")
    longest = max(
        (outcome["figure"] or 0) / _shown(work)[0]["figure"]
        for work in works
        for outcome in _shown(work)
    )
    pairs = [works[at : at + 2] for at in range(0, len(works), 2)]
    heights = [max(len(_shown(work)) for work in pair) + 1.6 for pair in pairs]
    total = sum(heights) * _BAR + 0.85
    figure = pyplot.figure(figsize=(9, total), facecolor="white")
    grid = figure.add_gridspec(
        len(pairs), 2, height_ratios=heights, left=0.115, right=0.995, bottom=0.36 / total,
        top=1 - 0.72 / total, hspace=0.42, wspace=0.27,
    )  # fmt: skip
    for row, pair in enumerate(pairs):
        for column, work in enumerate(pair):
            axes = figure.add_subplot(grid[row, column])
            _panel(axes, work, longest)
            axes.set_ylim(heights[row] - 1.6 - 0.5, -0.5)
    machine = run["machine"]
    figure.text(
        0.012, 1 - 0.12 / total, "Training speed, samples a second relative to nnfast",
        fontsize=12, fontweight="bold", color=_INK, va="top",
    )  # fmt: skip
    figure.text(
        0.012, 0.1 / total,
        f"float32, one thread unless said. {machine['processor']}, {machine['date']}, "
        f"median of {machine['rounds']} interleaved rounds.",
        fontsize=8, color=_FAINT, va="bottom",
    )  # fmt: skip
    figure.savefig(file, dpi=144)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.picture", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN.json")
    parser.add_argument("file", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    try:
        draw(read(options.run), options.file)
    except ValueError as error:
        parser.error(str(error))
    except (KeyError, TypeError, IndexError) as error:
        parser.error(f"{options.run}: not a file of bench.run --json ({error!r})")


if __name__ == "__main__":
    main()
