"""Measure nnfast against its peers: ``python -m bench.run --data DIR --markdown FILE``.

Every contestant lives in a process of its own, on cores of its own choice of number; the rounds are
interleaved, one contestant after the other, so that a slow minute of the machine is everybody's.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.data import write_corpus, write_data
from bench.report import UNITS, Outcome, Row, as_markdown, as_text, outcome_table, verdict_table
from bench.rows import WORKS
from bench.work import IMAGES, Work

_LEFT_FREE = 10_000_000_000  # bytes of disk that no row fills
_PAUSE = (
    0.15  # seconds between rounds: threads of the one before stop spinning, OpenBLAS' after 0.1
)


class Worker:
    """A contestant's process."""

    def __init__(self, name: str, work: Work) -> None:
        peer, self.work = name.split()[0], work.of(name)
        cores = sorted(os.sched_getaffinity(0))
        threads = self.work.threads
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        if self.work.dtype == "float64":
            environment["JAX_ENABLE_X64"] = "1"
        if self.work.isa:
            environment["NNFAST_ISA"] = self.work.isa
        best_of_all = threads == 0 or (peer == "torch" and work.kind == "fit")
        used = cores if best_of_all else cores[:threads]
        count = str(len(used))
        for variable in ("OMP", "OPENBLAS", "MKL", "NNFAST"):
            environment[f"{variable}_NUM_THREADS"] = count
        if threads == 1:
            environment["XLA_FLAGS"] = (
                "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.peers", peer, ",".join(map(str, used))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=environment,
            cwd=Path(__file__).parents[1],
        )

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """One request; {"error": ...} if it failed or the process died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"its process ended with code {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def measure(work: Work, folder: Path, rounds: int) -> Row:
    """Prepare all contestants of a work, then let them take turns."""
    rounds = min(rounds, work.rounds or rounds)
    workers: list[tuple[Worker, Outcome]] = []
    try:
        for name in work.contestants:
            _progress(f"{work.name}: preparing {name}")
            worker = Worker(name, work)
            outcome = Outcome(name, worker.work.dtype, worker.work.rows * worker.work.epochs)
            workers.append((worker, outcome))
            described = {**asdict(worker.work), "targets": ()}
            answer = worker.ask("prepare", work=described, folder=str(folder))
            outcome.error = answer.get("error", "")
            outcome.threads = answer.get("threads", worker.work.threads)
            outcome.version = answer.get("version", "")
        for number in range(rounds):
            _progress(f"{work.name}: round {number + 1} of {rounds}")
            first = number % len(workers)
            for worker, outcome in workers[first:] + workers[:first]:
                if outcome.error:
                    continue
                time.sleep(_PAUSE)
                answer = worker.ask("round")
                outcome.error = answer.get("error", "")
                if not outcome.error:
                    outcome.measures.append(answer["measure"])
                    outcome.peaks += [answer["peak"]] if "peak" in answer else []
                    for case, seconds in answer.get("cases", {}).items():
                        outcome.cases.setdefault(case, []).append(seconds)
        for worker, outcome in workers:
            if outcome.measures:
                answer = worker.ask("score")
                outcome.error = outcome.error or answer.pop("error", "")
                outcome.score = answer
    finally:
        for worker, _ in workers:
            worker.close()
        _progress("")
    return Row(work, [outcome for _, outcome in workers])


def possible(work: Work, cores: int, free: int, words: int) -> Work:
    """The work as it fits `cores`, `free` bytes of disk and a corpus of so many words.

    ValueError says why it does not.
    """
    if work.threads > cores:
        raise ValueError(f"needs {work.threads} cores")
    if work.settings:
        if not words:
            raise ValueError("needs a text (--corpus PATH)")
        return replace(work, rows=min(work.rows or words, words))
    if not work.sizes or not work.repeats:
        return work
    row = 4 * work.sizes[0]
    rows = min(work.rows, (free - _LEFT_FREE) // row)
    if rows <= IMAGES:
        needed = (_LEFT_FREE + IMAGES * row) / 1e9
        raise ValueError(f"needs {needed:.1f} GB of free disk for temporary files")
    return replace(work, rows=rows)


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def _machine(data: str, rounds: int) -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next(
            (ln.split(":")[1].strip() for ln in lines if ln.startswith("model name")), model
        )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "data": data,
        "rounds": rounds,
        "date": time.strftime("%Y-%m-%d"),
    }


def _facts(machine: dict[str, Any], rows: Sequence[Row]) -> str:
    versions = {
        outcome.name.split()[0]: outcome.version
        for row in rows
        for outcome in row.outcomes
        if outcome.version
    }
    peaks = [p for row in rows if row.work.flops and (p := row.peak(row.outcomes[0])) is not None]
    peak = f"; FMA peak of a core {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s" if peaks else ""
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"Python {machine['python']}, {', '.join(f'{k} {v}' for k, v in versions.items())}; "
        f"data: {machine['data']}; median of {machine['rounds']} interleaved rounds{peak}."
    )


def _as_json(machine: dict[str, Any], rows: Sequence[Row]) -> str:
    works = []
    for row in rows:
        outcomes = [
            {
                **asdict(outcome),
                "unit": UNITS[row.work.kind],
                "figure": outcome.figure(row.work) if outcome.measures else None,
                "share_of_peak": row.share(outcome),
            }
            for outcome in row.outcomes
        ]
        verdicts = [
            {**asdict(v), "must_met": v.met(v.target.must), "aim_met": v.met(v.target.aim)}
            for v in row.verdicts()
        ]
        works.append({**asdict(row.work), "outcomes": outcomes, "verdicts": verdicts})
    return json.dumps({"machine": machine, "works": works}, indent=1)


def _as_markdown(machine: dict[str, Any], rows: Sequence[Row]) -> str:
    parts = [_facts(machine, rows), as_markdown(verdict_table(rows))]
    for row in rows:
        parts += [f"**{row.work.name}**: {row.work.title}", as_markdown(outcome_table(row))]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run the benchmark and return the exit code."""
    names = [work.name for work in WORKS]
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--data", metavar="DIR", help="MNIST-format folder; else synthetic images")
    parser.add_argument("--corpus", type=Path, metavar="PATH", help="a text; may be .gz or .xz")
    parser.add_argument("--rows", default="*", metavar="NAME,...", help="which rows; 'words-*'")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measure there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    options = parser.parse_args()
    found = {pattern: fnmatch.filter(names, pattern) for pattern in options.rows.split(",")}
    if unknown := [pattern for pattern, rows in found.items() if not rows]:
        parser.error(f"--rows: no {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = {name for rows in found.values() for name in rows}
    if options.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {options.rounds}")

    works, rows = [], []
    with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as folder:
        words = write_corpus(Path(folder), options.corpus) if options.corpus else 0
        cores, free = len(os.sched_getaffinity(0)), shutil.disk_usage(folder).free
        for work in WORKS:
            if work.name not in chosen:
                continue
            try:
                works.append(possible(work, cores, free, words))
            except ValueError as reason:
                print(f"{work.name}: left out, {reason}\n")
        data = write_data(Path(folder), works, options.data)
        if words:
            data += f" and {options.corpus.name}, {words:,} words"
        machine = _machine(data, options.rounds)
        print(f"data: {data}; {options.rounds} rounds, interleaved\n")
        for work in works:
            row = measure(work, Path(folder), options.rounds)
            rows.append(row)
            print(f"{work.name}: {work.title}\n{as_text(outcome_table(row))}\n", flush=True)
    print(as_text(verdict_table(rows)))
    print(f"\n{_facts(machine, rows)}")
    if options.json:
        options.json.write_text(_as_json(machine, rows))
    if options.markdown:
        options.markdown.write_text(_as_markdown(machine, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
