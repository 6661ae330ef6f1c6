"""Judgments of pairs of words, and correlations with them."""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnfast.formats import FormatError, packed

Array = NDArray[Any]


class Correlation(NamedTuple):
    """A correlation coefficient, and how probable one as far from 0 is without a correlation.

    Attributes
    ----------
    statistic : float
        From -1 to 1; NaN where one side is constant.
    pvalue : float
        Two-sided, for normal variables.
    """

    statistic: float
    pvalue: float


def read_pairs(
    path: str | os.PathLike[str], delimiter: str, encoding: str, upper: bool
) -> list[tuple[str, str, float]]:
    """Read judgments: two words and a number a line, apart by `delimiter`; "#" begins a comment.

    Other lines, headings for example, are passed over. `upper` turns words into capitals.

    Raises
    ------
    FormatError
        Bytes that are not in the encoding.
    """
    pairs = []
    with packed.reading(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode(encoding)
            except UnicodeDecodeError:
                raise FormatError(
                    f"{os.fspath(path)}: line {number}: expected {encoding}, got {raw!r:.60}; "
                    "name another encoding"
                ) from None
            fields = (line.upper() if upper else line).split(delimiter)
            if line.startswith("#") or len(fields) != 3:
                continue
            with contextlib.suppress(ValueError):
                if math.isfinite(judgment := float(fields[2])):
                    pairs.append((fields[0], fields[1], judgment))
    return pairs


def pearson(x: Array, y: Array) -> Correlation:
    """Return the correlation of two arrays, (n,): its test has the t distribution, n - 2."""
    n = len(x)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    if scale == 0 or n < 2:
        return Correlation(math.nan, math.nan)
    r = min(1.0, max(-1.0, float(x @ y) / scale))
    return Correlation(r, 1.0 if n == 2 else _beta(n / 2 - 1, 1 - r * r))


def evaluate(
    rows: dict[str, int], vectors: Array, pairs: list[tuple[str, str, float]], dummy4unknown: bool
) -> tuple[Correlation, Correlation, float]:
    """Return how far the cosines of vectors agree with judgments.

    Parameters
    ----------
    rows
        The row of each word.
    vectors : ndarray, shape (n, size)
        Of length 1.
    pairs
        Words, and how alike they are.
    dummy4unknown
        Pairs with an unknown word count, as of cosine 0.

    Returns
    -------
    pearson, spearman : Correlation
    unknown : float
        Percent of pairs with an unknown word.

    Raises
    ------
    ValueError
        No pair of known words.
    """
    found = [[rows.get(a, -1), rows.get(b, -1)] for a, b, _ in pairs]
    places = np.array(found, np.intp).reshape(-1, 2)
    known = (places >= 0).all(axis=1)
    cosines = np.where(known, np.einsum("ij,ij->i", *vectors[places.T]), 0).astype(np.float64)
    counted = known | dummy4unknown
    if not counted.any():
        raise ValueError(
            f"pairs: expected lines of two known words and a number, got {len(pairs)} pairs, "
            "none of known words; compare the file's words and delimiter with the vocabulary"
        )
    judged = np.array([judgment for _, _, judgment in pairs])[counted]
    unknown = 100 * float(np.mean(~known))
    return pearson(judged, cosines[counted]), spearman(judged, cosines[counted]), unknown


def spearman(x: Array, y: Array) -> Correlation:
    """Return the correlation of the ranks of two arrays, (n,); equal values share a mean rank."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(x: Array) -> Array:
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _beta(a: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, 1/2).

    By the continued fraction 26.5.8 of Abramowitz and Stegun, Handbook of Mathematical Functions,
    from its last term to its first, on the side where it converges.
    """
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    b = 0.5
    swapped = x > (a + 1) / (a + b + 2)
    if swapped:
        a, b, x = b, a, 1 - x
    value = 1.0
    for m in range(100 + 2 * math.isqrt(int(a + b)), 0, -1):
        value = 1 - (a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) / value
        value = 1 + m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) / value
    value = 1 - (a + b) * x / (a + 1) / value
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    tail = math.exp(front + a * math.log(x) + b * math.log1p(-x)) / (a * value)
    return 1 - tail if swapped else tail
