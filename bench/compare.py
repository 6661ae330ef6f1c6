"""Compare two runs: ``python -m bench.compare OLD.json NEW.json``.

Both are files of ``bench.run --json``. A change counts if the middle halves of the rounds do not
overlap. The exit code is 1 if a figure of nnfast got worse by that and by more than the tolerance,
2 if there is nothing to judge, else 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import as_text

_MACHINE = ("processor", "cores", "system", "python", "data")
_NETWORK = ("kind", "sizes", "activation", "layer", "input", "settings")
_WORK = (*_NETWORK, "batch_size", "optimizer", "loss", "threads")
_ENOUGH = 3  # rounds that say what noise is


@dataclass
class Figure:
    """What a contestant did in a work."""

    value: float
    unit: str
    rounds: list[float]  # in the same unit
    work: list[Any]  # what was done

    @property
    def middle(self) -> tuple[float, float]:
        """The lower and upper quartile of the rounds."""
        lower, _, upper = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return lower, upper


@dataclass
class Change:
    """A figure then and now."""

    work: str
    contestant: str
    old: Figure
    new: Figure

    @property
    def percent(self) -> float:
        return 100 * (self.new.value / self.old.value - 1)

    @property
    def worse(self) -> float:
        """By how many percent, if positive."""
        return -self.percent if self.old.unit.endswith("/s") else self.percent

    @property
    def unjudged(self) -> str:
        """Why the change says nothing, or nothing."""
        if (self.old.work, self.old.unit) != (self.new.work, self.new.unit):
            return "another work"
        few = min(len(self.old.rounds), len(self.new.rounds)) < _ENOUGH
        return "too few rounds" if few else ""

    @property
    def verdict(self) -> str:
        if self.unjudged:
            return self.unjudged
        (old_low, old_high), (new_low, new_high) = self.old.middle, self.new.middle
        if new_low <= old_high and old_low <= new_high:
            return "noise"
        return "slower" if self.worse > 0 else "faster"

    def fails(self, tolerance: float) -> bool:
        ours = self.contestant.split()[0] == "nnfast"
        return ours and self.verdict == "slower" and self.worse > tolerance


def read(path: Path) -> dict[str, Any]:
    """A file of ``bench.run --json``; ValueError says what is wrong with another."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not (
        isinstance(run, dict)
        and isinstance(run.get("machine"), dict)
        and isinstance(run.get("works"), list)
    ):
        raise ValueError(f"{path}: not a file of bench.run --json: no machine or no works in it")
    return run


def figures(path: Path, run: dict[str, Any]) -> dict[tuple[str, str], Figure]:
    """All that was measured, by work and contestant."""
    try:
        return {
            (work["name"], outcome["name"]): _figure(work, outcome)
            for work in run["works"]
            for outcome in work["outcomes"]
            if outcome["figure"]
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: not a file of bench.run --json ({what})") from None


def _figure(work: dict[str, Any], outcome: dict[str, Any]) -> Figure:
    value, unit = outcome["figure"], outcome["unit"]
    median = statistics.median(outcome["measures"])
    faster_is_more = unit.endswith("/s")
    rounds = [value * (median / m if faster_is_more else m / median) for m in outcome["measures"]]
    return Figure(value, unit, rounds, [work.get(key) or None for key in _WORK])


def table(changes: list[Change]) -> list[list[str]]:
    """Header and lines."""
    lines = [["work", "contestant", "old", "new", "unit", "change", ""]]
    for change in changes:
        shown = (
            f"{f.value:,.0f}" if f.value >= 1000 else f"{f.value:.2f}"
            for f in (change.old, change.new)
        )
        percent = "-" if change.verdict == "another work" else f"{change.percent:+.1f}%"
        names = [change.work, change.contestant]
        lines.append([*names, *shown, change.new.unit, percent, change.verdict])
    return lines


def main() -> int:
    """Print the comparison and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument(
        "--tolerance", type=float, default=5.0, metavar="PERCENT", help="default: %(default)g"
    )
    options = parser.parse_args()
    try:
        old_run, new_run = read(options.old), read(options.new)
        old, new = figures(options.old, old_run), figures(options.new, new_run)
    except ValueError as error:
        parser.error(str(error))

    for key in _MACHINE:
        before, after = old_run["machine"].get(key), new_run["machine"].get(key)
        if before != after:
            print(f"the machines differ: {key}: {before} then, {after} now")
    changes = [Change(*key, figure, new[key]) for key, figure in old.items() if key in new]
    print(as_text(table(changes)))
    for run, keys in (("OLD", old.keys() - new.keys()), ("NEW", new.keys() - old.keys())):
        if keys:
            print(f"only in {run}: {', '.join(' '.join(key) for key in sorted(keys))}")

    judged = [c for c in changes if c.contestant.split()[0] == "nnfast" and not c.unjudged]
    if not judged:
        print("no figure of nnfast can be judged: the same works, each with 3 rounds, are needed")
        return 2
    failed = [change for change in changes if change.fails(options.tolerance)]
    print(f"{len(failed)} of {len(judged)} figures of nnfast slower by over {options.tolerance:g}%")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
