"""Words about models and scores, for people to read on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnfast.preprocessing import Category, Target
from nnfast.tabular import QUANTILES, TableModel

_MOST_CLASSES = 10
_MOST_NAMES = 6
_WIDEST = 14


def counted(number: int, thing: str) -> str:
    """Return the number with its noun, in the plural unless it is 1."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing if number == 1 else plural}"


def aligned(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return a line a fact, the facts below each other."""
    width = max((len(str(name)) for name in facts), default=0)
    lines = []
    for name, fact in facts.items():
        if isinstance(fact, Mapping):
            lines += [f"{indent}{name}", *aligned(fact, indent + "  ")]
        elif isinstance(fact, (list, tuple)):
            lines.append(f"{indent}{name:<{width}}  {', '.join(map(str, fact))}")
        else:
            lines.append(f"{indent}{name:<{width}}  {fact}")
    return lines


def model_lines(model: TableModel) -> list[str]:
    """Return what is known of a model: rows, columns, target, network, training."""
    facts, encoder, target = model.facts, model.encoder, model.target
    categories = [column for column in encoder.columns if isinstance(column, Category)]
    numbers = len(encoder.columns) - len(categories)
    missing = sum(column.missing for column in encoder.columns)
    used = [(numbers, "number"), (len(categories), "category")]
    columns = " and ".join(counted(number, kind) for number, kind in used if number)
    columns += f", {missing:,} with missing values" if missing else ""
    sizes = [encoder.n_features, *(layer.units for layer in _dense(model)), target.n_out]
    hidden = f" {_dense(model)[0].activation}" if _dense(model) else ""
    held = facts.validation_rows
    rows = f"{facts.rows:,}: {facts.rows - held:,} to train, {held:,} held out"
    if facts.left_out:
        rows += f"; {facts.left_out:,} without a target left out"
    lines = {
        "data": facts.source,
        "rows": rows,
        "columns": f"{columns} -> {counted(encoder.n_features, 'input')}",
        **{f"dropped{' ' * place}": words for place, words in enumerate(_dropped(encoder.dropped))},
        "target": f"{target.name!r}: {_target_words(target)}",
        "network": f"{'-'.join(map(str, sizes))}{hidden}, {model.net.theta.size:,} parameters",
        "training": f"{facts.optimizer}, learning rate {facts.lr:g}, batches of "
        f"{facts.batch_size}, seed {model.net.seed}; kept epoch {facts.best_epoch} "
        f"of {facts.epochs}",
    }
    return [f"{name.strip():<9}  {words}" for name, words in lines.items()]


def fact_lines(model: TableModel) -> list[str]:
    """Return `model_lines` and the numbers of the score, as they are in a file."""
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in model.facts.score.items())
    return [*model_lines(model), f"{'held out':<9}  {numbers}"]


def _dense(model: TableModel) -> Sequence[Any]:
    return model.net.layers[:-1]


def _dropped(reasons: Mapping[str, str]) -> list[str]:
    """A line a reason, with the names it is true of."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{_listed(map(repr, group))}: {reason}" for reason, group in names.items()]


def _listed(words: Any) -> str:
    words = list(words)
    more = f", ... {len(words) - _MOST_NAMES:,} more" if len(words) > _MOST_NAMES else ""
    return ", ".join(words[:_MOST_NAMES]) + more


def _target_words(target: Target) -> str:
    if not target.classes:
        return f"a number, {target.mean:.4g} ± {target.scale:.4g} in training"
    return f"{len(target.classes)} classes: {_listed(target.labels)}"


def score_lines(target: Target, score: Mapping[str, Any]) -> list[str]:
    """Return what `TableModel.evaluate` has found."""
    if not target.classes:
        quantiles = zip(QUANTILES, score["residuals"], strict=True)
        return aligned(
            {
                "R2": f"{score['r2']:.4f} of {counted(score['rows'], 'row')}",
                "MAE": f"{score['mae']:.4g}",
                "RMSE": f"{score['rmse']:.4g}",
                "true - predicted": ", ".join(f"{value:.4g} at {q:.0%}" for q, value in quantiles),
            },
            indent="  ",
        )
    always = f"always the most frequent class: {score['baseline']:.1%}"
    first = f"  accuracy  {score['accuracy']:.1%} of {counted(score['rows'], 'row')} ({always})"
    return [first, *_confusion_lines(target.labels, score["confusion"])]


def _confusion_lines(labels: Sequence[str], confusion: Any) -> list[str]:
    if len(labels) > _MOST_CLASSES:
        return []
    short = [x if len(x) <= _WIDEST else f"{x[: _WIDEST - 1]}…" for x in labels]
    cells = [[f"{count:,}" for count in row] for row in confusion.tolist()]
    left = max(len("true"), *map(len, short))
    widths = [max(map(len, column)) for column in zip(short, *cells, strict=True)]

    def line(name: str, row: Sequence[str]) -> str:
        right = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        return f"  {name:<{left}}  {right}"

    head = [f"  {'':<{left}}  predicted", line("true", short)]
    return ["", *head, *(line(name, row) for name, row in zip(short, cells, strict=True))]
