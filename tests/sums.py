"""The sums of R1, of exact FMAs, in NumPy.

A product sum runs in blocks of 256 of k, each a chain of FMAs in ascending k from +0, the first
from its start; block sums are added in ascending order. Sums over the rows of a step, and over the
weights into a unit, run likewise. Sums over features run in 16 lanes, folded 8-4-2-1.

`fma` is exact. For float64: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums:
proved algorithms using rounding to odd", IEEE Trans. Computers 57 (2008), fig. 4 and theorem 5. For
float32: the product is exact in float64, the sum is rounded to odd there, and rounding an
odd-rounded number of at least 2 more bits is rounding the exact one (section 3 of the same paper).
Both hold while nothing over- or underflows; test_oracle.py compares with libm's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK, LANES = 256, 16


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return fl(a + b) and what the rounding lost (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return fl(a * b) and what the rounding lost (Dekker, with Veltkamp's split)."""
    p = a * b
    (ah, al), (bh, bl) = split(a), split(b)
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


def split(a: Any) -> tuple[Any, Any]:
    """Return the upper 26 bits of a, and the rest."""
    c = a * (2.0**27 + 1)
    high = c - (c - a)
    return high, a - high


def odd_sum(a: Any, b: Any) -> Any:
    """Return a + b rounded to odd: if inexact, the neighbour whose last bit is 1."""
    s, e = two_sum(a, b)
    even = (s.view(np.int64) & 1) == 0
    return np.where(even & (e != 0), np.nextafter(s, np.copysign(np.inf, e)), s)


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c rounded once, of c's dtype."""
    wide = [np.asarray(v, np.float64) for v in np.broadcast_arrays(a, b, c)]
    if np.asarray(c).dtype == np.float32:
        return odd_sum(wide[0] * wide[1], wide[2]).astype(np.float32)
    high, low = two_product(wide[0], wide[1])
    t, t_low = two_sum(wide[2], low)
    v, v_low = two_sum(high, t)
    return v + odd_sum(t_low, v_low)


def product(x: Any, w: Any, start: Any = 0, total: Any = None) -> Any:
    """Return start + x @ w by the rule; x (m, K), w (K, n); block sums are added to total."""
    for first in range(0, x.shape[1], BLOCK):
        sums = np.zeros((len(x), w.shape[1]), x.dtype)
        if first == 0:
            sums += start
        for k in range(first, min(first + BLOCK, x.shape[1])):
            sums = fma(x[:, k : k + 1], w[k], sums)
        total = sums if total is None else total + sums
    return total


def column_sum(a: Any, b: Any = None) -> Any:
    """Return the sum over the rows of a, or of a * b, by the rule; (m, n) to (n,)."""
    total = np.zeros(a.shape[1], a.dtype)
    for first in range(0, len(a), BLOCK):
        sums = np.zeros(a.shape[1], a.dtype)
        for r in range(first, min(first + BLOCK, len(a))):
            sums = sums + a[r] if b is None else fma(a[r], b[r], sums)
        total = total + sums
    return total


def lane_sum(a: Any, b: Any = None) -> Any:
    """Return the sum over the columns of a, or of a * b: column j in lane j % 16; (m, n) to (m,)."""
    lanes = np.zeros((len(a), LANES), a.dtype)
    for j in range(0, a.shape[1], LANES):
        now, size = slice(j, j + LANES), min(LANES, a.shape[1] - j)
        part = lanes[:, :size]
        part[:] = part + a[:, now] if b is None else fma(a[:, now], b[:, now], part)
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    return lanes[:, 0]
