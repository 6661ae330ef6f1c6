"""What was measured, the figures that come of it, and their tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.work import Target, Work

UNITS = {
    "fit": "samples/s",
    "batch": "samples/s",
    "one": "us",
    "import": "ms",
    "memory": "MiB",
    "table": "s",
    "estimator": "ms",
    "answers": "us",
    "nielsen": "samples/s",
    "ops": "ms",
    "words": "words/s",
    "vocabulary": "s",
    "analogies": "ms",
    "script": "MiB",
    "quality": "s",
}
_SCORES = {
    "MiB": ("holds, at most", "{:.2f} MiB"),
    "curve": ("loss_curve_ differs by, at most", "{:.1e}"),
}
"""What a target can ask of a score beside the time: its words, and how it is shown."""


@dataclass
class Outcome:
    """What one contestant did in one work."""

    name: str
    dtype: str
    rows: int = 1  # a round
    threads: int = 0
    version: str = ""
    error: str = ""
    measures: list[float] = field(default_factory=list)  # seconds, or MiB
    peaks: list[float] = field(default_factory=list)  # GFLOP/s of one core, before each round
    score: dict[str, float] = field(default_factory=dict)
    cases: dict[str, list[float]] = field(default_factory=dict)  # seconds (scores) by rounds

    @property
    def median(self) -> float:
        return statistics.median(self.measures)

    @property
    def spread(self) -> float:
        """Half the distance from the fastest round to the slowest, relative to the median."""
        return (max(self.measures) - min(self.measures)) / 2 / self.median if self.median else 0.0

    def figure(self, work: Work) -> float:
        """The median in the unit of the work."""
        if UNITS[work.kind].endswith("/s"):
            return self.rows / self.median
        calls = {"one": self.rows, "answers": work.epochs}.get(work.kind, 1)
        return self.median * {"us": 1e6, "ms": 1e3}.get(UNITS[work.kind], 1.0) / calls

    def case(self, name: str) -> tuple[float, float]:
        """Mean and standard deviation of a case."""
        rounds = self.cases[name]
        return statistics.mean(rounds), statistics.stdev(rounds) if len(rounds) > 1 else 0.0

    def gflops(self, work: Work) -> float:
        return work.flops * self.rows / self.median / 1e9


@dataclass
class Verdict:
    """A target and what came of it."""

    what: str
    measured: float | None
    target: Target
    unit: str

    def show(self, value: float | None) -> str:
        if value is None:
            return "-"
        if self.unit in _SCORES:
            return _SCORES[self.unit][1].format(value)
        return {
            "peak": f"{value:.0%}",
            "x": f"{value:.2f}x",
            "time": f"{value:.3f}x",
            "points": f"{value:+.2f} points",
        }.get(self.unit, f"{value:.2f} {self.unit}")

    def met(self, bound: float | None) -> str:
        if bound is None or self.measured is None:
            return "-"
        more = self.unit in ("peak", "x", "points")
        return "yes" if (self.measured >= bound if more else self.measured <= bound) else "NO"


@dataclass
class Row:
    """A work with its outcomes."""

    work: Work
    outcomes: list[Outcome]

    def peak(self, outcome: Outcome) -> float | None:
        """The FMA peak of a core: its own probes' median, or a peer's: of nnfast in its dtype."""
        alike = (o for o in self.outcomes if o.dtype == outcome.dtype)
        probes = outcome.peaks or next((o.peaks for o in alike if o.peaks), [])
        return statistics.median(probes) if probes else None

    def share(self, outcome: Outcome) -> float | None:
        peak = self.peak(outcome)
        if peak is None or not self.work.flops or not outcome.measures:
            return None
        return outcome.gflops(self.work) / (peak * outcome.threads)

    def verdicts(self) -> list[Verdict]:
        found = {outcome.name: outcome for outcome in self.outcomes if outcome.measures}
        return [self._verdict(target, found) for target in self.work.targets]

    def _verdict(self, target: Target, found: dict[str, Outcome]) -> Verdict:
        outcome = found.get(target.of)
        unit = UNITS[self.work.kind]
        if target.against == "peak":
            share = None if outcome is None else self.share(outcome)
            return Verdict(f"{target.of}, share of the FMA peak", share, target, "peak")
        if target.against == unit:
            figure = None if outcome is None else outcome.figure(self.work)
            return Verdict(f"{target.of}, at most", figure, target, unit)
        if target.against in _SCORES:
            score = None if outcome is None else outcome.score.get(target.against)
            words = f"{target.of} {_SCORES[target.against][0]}"
            return Verdict(words, score, target, target.against)
        against = found.get(target.against)
        ratio = None
        if target.of_peak and outcome and against:
            ours, theirs = self.share(outcome), self.share(against)
            ratio = ours / theirs if ours and theirs else None
            return Verdict(
                f"{target.of} / {target.against}, of each one's peak", ratio, target, "x"
            )
        if target.worst and outcome and against:
            return _worst(target, outcome, against)
        if target.case:
            return _below(target, outcome, against)
        if outcome and against:
            ratio = against.median / against.rows / (outcome.median / outcome.rows)
        if target.time:
            what = f"{'memory' if unit == 'MiB' else 'time'} of {target.of} / {target.against}"
            what += ", at most"
            return Verdict(what, ratio and 1 / ratio, target, "time")
        return Verdict(f"{target.of} / {target.against}", ratio, target, "x")


def _worst(target: Target, outcome: Outcome, against: Outcome) -> Verdict:
    """The lowest ratio of all cases."""
    ratios = {
        case: statistics.median(against.cases[case]) / statistics.median(seconds)
        for case, seconds in outcome.cases.items()
    }
    case = min(ratios, key=lambda case: ratios[case])
    median = statistics.median(ratios.values())
    what = f"{target.of} / {target.against}, worst of {len(ratios)} ({case}; median {median:.2f}x)"
    return Verdict(what, ratios[case], target, "x")


def _below(target: Target, outcome: Outcome | None, against: Outcome | None) -> Verdict:
    """How the means of a case differ, and by how much they may."""
    what, difference = f"{target.of} - {target.against}, {target.case}", None
    if outcome and against:
        mean, deviation = against.case(target.case)
        difference = outcome.case(target.case)[0] - mean
        if target.must is not None:
            target = replace(target, must=min(target.must, -2 * deviation))
    return Verdict(what, difference, target, "points")


def outcome_table(row: Row) -> list[list[str]]:
    """Header and lines of what was measured."""
    unit = UNITS[row.work.kind]
    table = [["contestant", "threads", unit, "+-", "GFLOP/s", "of peak", "result"]]
    for outcome in row.outcomes:
        if not outcome.measures:
            table.append([outcome.name, "-", "-", "-", "-", "-", f"not run: {outcome.error}"])
            continue
        figure = outcome.figure(row.work)
        share = row.share(outcome)
        scores = [f"{k} {v:.4g}" for k, v in outcome.score.items()]
        if row.work.kind == "quality":
            means = {case: outcome.case(case) for case in outcome.cases}
            scores += [f"{case} {mean:.2f} ± {sd:.2f}" for case, (mean, sd) in means.items()]
        score = ", ".join(scores) or "-"
        if outcome.rows != row.work.rows * row.work.epochs:
            score += f" after {outcome.rows:,} rows a round"
        table.append(
            [
                outcome.name,
                str(outcome.threads),
                f"{figure:,.0f}" if figure >= 1000 else f"{figure:.2f}",
                f"{outcome.spread:.0%}",
                f"{outcome.gflops(row.work):.1f}" if row.work.flops else "-",
                "-" if share is None else f"{share:.0%}",
                outcome.error or score,
            ]
        )
    return table


def verdict_table(rows: Sequence[Row]) -> list[list[str]]:
    """Header and lines of what had to be reached."""
    table = [["work", "figure", "measured", "must", "met", "aim", "met"]]
    for row in rows:
        for v in row.verdicts():
            must, aim = v.target.must, v.target.aim
            cells = [v.show(must), v.met(must), v.show(aim), v.met(aim)]
            table.append([row.work.name, v.what, v.show(v.measured), *cells])
    return table


def as_text(table: list[list[str]]) -> str:
    """The table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for line in table:
        cells = [
            f"{cell:>{width}}" if 0 < i < len(line) - 1 else f"{cell:<{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def as_markdown(table: list[list[str]]) -> str:
    """The table for a README."""
    header, *lines = table
    rule = ["---", *["---:"] * (len(header) - 2), "---"]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))
