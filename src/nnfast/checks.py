"""Small checks of arguments whose errors name what was expected, what came and what to do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from numbers import Real


def unknown(kind: str, name: object, choices: Iterable[str]) -> ValueError | TypeError:
    """Return the error for a name that is none of `choices`, with the nearest one suggested."""
    names = list(choices)
    listed = ", ".join(repr(choice) for choice in names)
    if not isinstance(name, str):
        came = type(name).__name__
        return TypeError(f"{kind}: expected one of {listed}, got an object of type {came}")
    import difflib

    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{kind}: expected one of {listed}, got {name!r}{hint}")


def integer(name: str, value: object, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`; TypeError or ValueError otherwise."""
    expected = f"{name}: expected an integer of at least {minimum}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{expected}, got {value!r}; convert it with int()")
    number = operator.index(value)
    if number < minimum:
        raise ValueError(f"{expected}, got {number}")
    return number


def number(name: str, value: object, expected: str, accept: Callable[[float], bool]) -> None:
    """Raise unless `value` is a real number for which `accept` is true (never so for NaN)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if not accept(float(value)):
        raise ValueError(f"{name}: expected {expected}, got {value!r}; choose another value")
