"""What the numbers of a diagnosis mean, in sentences: what stands out, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnfast.optimizers import SGD

if TYPE_CHECKING:
    from nnfast.diagnosis import Diagnosis, LayerDiagnosis

VANISHING, EXPLODING = 1e-2, 1e2
"""Of dJ/da, in units of that of the last row."""
SATURATED, DEAD = 0.4, 0.2
"""Shares of the outputs, and of the units."""
IMBALANCE = 10.0
"""Rows of the most frequent class for one of the rarest."""
UPDATE_TOO_LARGE, UPDATE_TOO_SMALL = 0.1, 1e-6
"""Norm of a step in units of that of the parameters; about 1e-3 is usual."""
GRADIENT_ERROR = 1e-3
"""Relative error of a gradient, float32's or against finite differences."""

_SQUASHING = ("sigmoid", "tanh", "arctan", "softmax")


def sentences(d: Diagnosis) -> list[str]:
    """Return the advice, the gravest first."""
    if d.not_finite:
        return [*_not_finite(d), *_inputs(d), *_labels(d)]
    parts = (_wrong_gradient, _signal, _units, _inputs, _loss, _labels, _steps, _rounding)
    return [sentence for part in parts for sentence in part(d)]


def _not_finite(d: Diagnosis) -> Iterator[str]:
    if d.not_finite.startswith("row"):
        cure = "drop or fill such rows"
    elif d.not_finite.startswith("parameter"):
        cure = "build() draws them anew; train with a smaller learning rate"
    else:
        cure = "scale X (nnfast.preprocessing), draw smaller initial weights"
        cure += "" if d.dtype == "float64" else ", or use dtype='float64'"
    yield f"NaN or an infinity appears first in {d.not_finite}: {cure}."


def _wrong_gradient(d: Diagnosis) -> Iterator[str]:
    checked = [row for row in d.layers if not np.isnan(row.difference_error)]
    wrong = [row for row in checked if row.difference_error > GRADIENT_ERROR]
    if not wrong:
        return
    after = checked[checked.index(wrong[-1]) + 1 :]
    first, end = d.layers.index(wrong[-1]), d.layers.index((after or d.layers[-1:])[0])
    suspects = [row for row in d.layers[first : end + 1] if row.op == "custom"]
    if suspects:
        cure = f"look at the backward function of {_names(suspects)}"
    elif d.loss.function is not None and not after:
        cure = f"look at the derivative that the loss {d.loss.name!r} returns"
    else:
        cure = "this is a defect of nnfast, please report it with the network"
    worst = max(row.difference_error for row in wrong)
    yield (
        f"The gradient of {_names(wrong)} differs from finite differences, by up to {worst:.2g} "
        f"of its norm: {cure}."
    )


def _signal(d: Diagnosis) -> Iterator[str]:
    first, last = d.layers[0], d.layers[-1]
    lost = [row for row in d.layers if row.signal == 0]
    if lost and last.signal:
        after = d.layers[d.layers.index(lost[-1]) + 1]
        yield (
            f"No gradient reaches {_names([lost[-1]])}: {_names([after])} passes none back, as its "
            "weights are zero or all of its units dead; what lies before it cannot learn."
        )
    elif first.decay < VANISHING:
        steepest = min(d.layers[1:], key=lambda row: _passed(d, row))
        squashed = [row.activation for row in d.layers[:-1] if row.activation in _SQUASHING]
        if squashed:
            slope = ", whose slope is at most 1/4" if squashed[0] == "sigmoid" else ""
            cure = (
                f"Use relu with kernel_initializer='he_normal' in place of {squashed[0]}{slope}, "
                "or put BatchNorm() between the layers, or wrap them in Residual([...])"
            )
        else:
            cure = (
                "Use kernel_initializer='he_normal' for relu, put BatchNorm() between the layers, "
                "or wrap them in Residual([...])"
            )
        yield (
            f"Vanishing gradients: dJ/da of {_names([first])} is {first.decay:.1e} of the last "
            f"layer's; {_names([steepest])} shrinks it most, to {_passed(d, steepest):.1e}. "
            f"{cure}."
        )
    loudest = max(d.layers, key=lambda row: np.nan_to_num(row.decay))
    if loudest.decay > EXPLODING:
        yield (
            f"Exploding gradients: dJ/da of {_names([loudest])} is {loudest.decay:.1e} times the "
            "last layer's: draw smaller initial weights ('glorot_uniform', or 'he_normal' for "
            "relu), put BatchNorm() or LayerNorm() between the layers, or lower the learning rate."
        )


def _passed(d: Diagnosis, row: LayerDiagnosis) -> float:
    """Share of dJ/da that a row leaves for the one before it."""
    before = d.layers[d.layers.index(row) - 1]
    return before.signal / row.signal if row.signal else 1.0


def _units(d: Diagnosis) -> Iterator[str]:
    if d.rows == 1:
        return
    hidden, rows = d.layers[:-1], f"all {d.rows:,} rows"
    dead = [row for row in d.layers if row.activation == "relu" and row.dead > DEAD * row.units]
    constant = [row for row in hidden if row.constant == row.units and row not in dead]
    flat = [
        row
        for row in (d.layers if d.fresh else hidden)
        if row.saturated > SATURATED and row.activation != "relu" and row not in constant
    ]
    equal = [row for row in hidden if row.op == "dense" and row.duplicates]
    if dead:
        cure = "scale X" if d.fresh else "train anew with a smaller learning rate and scaled X"
        each = ", ".join(f"{row.dead:,} of {row.units:,} in {_names([row])}" for row in dead)
        yield (
            f"Dead units: {each} are 0 for {rows} and get no gradient: {cure}, use leaky_relu, "
            "which has a slope everywhere, or put BatchNorm() before relu."
        )
    if constant:
        yield (
            f"The outputs of {_names(constant)} are the same for {rows}: are weights zero, or the "
            "inputs all alike? Initialisers that draw, such as 'glorot_uniform', cure the first."
        )
    if flat:
        each = ", ".join(f"{row.saturated:.1%} in {_names([row])}" for row in flat)
        yield (
            f"Saturated outputs, where the activation's slope is below 5 % of its largest: {each}. "
            "Draw smaller initial weights, scale X, put BatchNorm() before the activation, or use "
            "relu."
        )
    if equal:
        each = ", ".join(f"{row.duplicates:,} of {row.units:,} in {_names([row])}" for row in equal)
        yield (
            f"Units that compute the same as another one, and will learn the same: {each}. Draw "
            "their weights, with 'glorot_uniform' for example, to tell them apart."
        )


def _inputs(d: Diagnosis) -> Iterator[str]:
    mean, std = np.abs(d.input_mean), d.input_std
    varied = std[std > 1e-9 * mean]
    if not varied.size or not np.isfinite(mean).all():
        return
    apart = varied.max() > 100 * varied.min() and varied.max() > 1
    if max(mean.max(), varied.max()) > 10 or varied.max() < 0.01 or apart:
        yield (
            f"The inputs are not scaled: their means go up to {mean.max():.3g}, their standard "
            f"deviations from {varied.min():.3g} to {varied.max():.3g}. Bring them to about 0 and "
            "1: subtract the mean of the training rows, divide by their standard deviation (for "
            "tables Encoder does), or begin with BatchNorm()."
        )


def _loss(d: Diagnosis) -> Iterator[str]:
    if d.fresh and 3 * d.chance_J < d.J:
        yield (
            f"J is {d.J:.3g} at the start, and {d.chance_J:.3g} would be guessing: the outputs "
            "are large before anything is learned. Scale X, or draw smaller weights for the last "
            "layer."
        )
    if not d.fresh and d.constant_J * 0.98 <= d.J:
        yield (
            f"J is {d.J:.3g} after training, no better than the best answer that is the same for "
            f"all rows, {d.constant_J:.3g}: nothing has been learned. Look at the learning rate, "
            "at what stands above, and whether X and y belong together."
        )


def _labels(d: Diagnosis) -> Iterator[str]:
    counts = d.class_counts
    missing = np.flatnonzero(counts == 0)
    if 0 < len(missing) < len(counts):
        some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        yield (
            f"No row has label {some}: the network has outputs for {len(counts):,} classes; "
            "renumber the labels, or give the last layer fewer units."
        )
    present = counts[counts > 0]
    if len(present) > 1 and present.max() > IMBALANCE * present.min():
        share = present.max() / present.sum()
        yield (
            f"The classes are imbalanced: label {int(counts.argmax())} has {share:.1%} of the "
            f"rows, and always answering it is so often right; the rarest has "
            f"{int(present.min()):,}. Judge by more than accuracy; class_weight= makes the rare "
            "ones count."
        )


def _steps(d: Diagnosis) -> Iterator[str]:
    moving = [row for row in d.layers if np.isfinite(row.update)]
    if not moving:
        return
    most = max(moving, key=lambda row: row.update)
    if most.update > UPDATE_TOO_LARGE:
        yield (
            f"The first step of {d.optimizer} changes {_names([most])} by {most.update:.1%} of its "
            "size, where about 0.1 % is usual: the learning rate is too large."
        )
    elif most.update < UPDATE_TOO_SMALL and not callable(getattr(d.optimizer, "lr", None)):
        yield (
            f"The first step of {d.optimizer} changes no layer by more than {most.update:.1e} of "
            "its size, where about 1e-3 is usual: the learning rate is too small"
            + (", or Adam fits these gradients better." if isinstance(d.optimizer, SGD) else ".")
        )


def _rounding(d: Diagnosis) -> Iterator[str]:
    worst = max(d.layers, key=lambda row: np.nan_to_num(row.float32_error))
    if worst.float32_error > GRADIENT_ERROR:
        yield (
            f"The float32 gradient of {_names([worst])} is {worst.float32_error:.1%} off that in "
            "float64: scale X and y, or use dtype='float64'."
        )


def _names(rows: Sequence[LayerDiagnosis]) -> str:
    return f"layer{'s' if len(rows) > 1 else ''} {', '.join(row.name for row in rows)}"
