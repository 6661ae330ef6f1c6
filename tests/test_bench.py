"""bench.compare on runs made up here; nothing is timed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
STEADY = (0.99, 1.0, 1.0, 1.0, 1.01)  # of the median


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not (ROOT / "bench" / "compare.py").is_file():
        pytest.skip("bench/ is only in a checkout")
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.compare")


@pytest.fixture
def run(compare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> Any:
    """run(old, new, ...) -> (exit code, what was printed)."""

    def go(old: Any, new: Any, *options: str) -> tuple[int, str]:
        files = []
        for name, content in (("old.json", old), ("new.json", new)):
            file = tmp_path / name
            file.write_text(content if isinstance(content, str) else json.dumps(content))
            files.append(str(file))
        monkeypatch.setattr(sys, "argv", ["compare", *files, *options])
        try:
            code = compare.main()
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return go


def made_up(
    speed: float, rounds: tuple[float, ...] = STEADY, unit: str = "samples/s", **work: Any
) -> dict[str, Any]:
    """A run in which nnfast's figure is `speed` and JAX's always 50."""
    median = sorted(rounds)[len(rounds) // 2]
    outcomes = [
        {"name": "nnfast", "unit": unit, "figure": speed, "measures": list(rounds)},
        {"name": "jax", "unit": unit, "figure": 50.0, "measures": [median] * len(rounds)},
        {"name": "torch", "unit": unit, "figure": None, "measures": []},
    ]
    machine = {"processor": "one", "cores": 2, "system": "s", "python": "3", "data": "d"}
    return {
        "machine": machine,
        "works": [{"name": "row", "kind": "fit", **work, "outcomes": outcomes}],
    }


def line(printed: str, contestant: str = "nnfast") -> list[str]:
    return next(ln.split() for ln in printed.splitlines() if ln.split()[:2] == ["row", contestant])


def test_faster(run: Any) -> None:
    code, printed = run(made_up(100.0), made_up(120.0))
    assert code == 0
    assert line(printed)[2:] == ["100.00", "120.00", "samples/s", "+20.0%", "faster"]
    assert line(printed, "jax")[-2:] == ["+0.0%", "noise"]


def test_slower(run: Any) -> None:
    code, printed = run(made_up(100.0), made_up(90.0))
    assert (code, line(printed)[-2:]) == (1, ["-10.0%", "slower"])


def test_slower_within_the_tolerance(run: Any) -> None:
    code, printed = run(made_up(100.0), made_up(90.0), "--tolerance", "11")
    assert (code, line(printed)[-1]) == (0, "slower")


def test_more_microseconds_are_slower(run: Any) -> None:
    code, printed = run(made_up(1.0, unit="us"), made_up(1.2, unit="us"))
    assert (code, line(printed)[-2:]) == (1, ["+20.0%", "slower"])
    assert run(made_up(1.2, unit="us"), made_up(1.0, unit="us"))[0] == 0


def test_a_slower_peer_fails_nothing(run: Any) -> None:
    old, new = made_up(100.0), made_up(100.0)
    new["works"][0]["outcomes"][1]["figure"] = 10.0
    code, printed = run(old, new)
    assert (code, line(printed, "jax")[-1]) == (0, "slower")


def test_noise(run: Any) -> None:
    code, printed = run(made_up(100.0, (0.7, 0.8, 1.0, 1.3, 1.4)), made_up(90.0))
    assert (code, line(printed)[-1]) == (0, "noise")


def test_few_rounds_judge_nothing(run: Any) -> None:
    code, printed = run(made_up(100.0), made_up(50.0, (1.0,)))
    assert code == 2
    assert "too few rounds" in printed


def test_another_work_is_not_compared(run: Any) -> None:
    code, printed = run(made_up(100.0, batch_size=1), made_up(50.0, batch_size=2))
    assert code == 2
    assert "another work" in printed


def test_other_machines_are_named(run: Any) -> None:
    new = made_up(100.0)
    new["machine"]["processor"] = "two"
    code, printed = run(made_up(100.0), new)
    assert code == 0
    assert "machines differ: processor: one then, two now" in printed


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("\x00", "not JSON"),
        ("[1]", "no machine or no works"),
        ('{"machine": {}, "works": 3}', "not a file of bench.run"),
        ('{"machine": 3, "works": []}', "not a file of bench.run"),
        ('{"machine": {}, "works": [{"name": "row"}]}', "'outcomes'"),
        (
            '{"machine": {}, "works": [{"name": "r", "outcomes": [{"name": "nnfast", "figure": "fast"}]}]}',
            "'unit'",
        ),
    ],
)
def test_foreign_files(run: Any, content: str, says: str) -> None:
    code, printed = run(made_up(100.0), content)
    assert code == 2
    assert "new.json" in printed
    assert says in printed


def test_measures_that_are_no_times(run: Any) -> None:
    for measures in ([], [0.0, 0.0, 0.0], ["a", "b", "c"], None):
        new = made_up(100.0)
        new["works"][0]["outcomes"][0]["measures"] = measures
        code, printed = run(made_up(100.0), new)
        assert code == 2
        assert "not a file of bench.run" in printed


def test_a_missing_file(compare: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.json: No such file"):
        compare.read(tmp_path / "gone.json")
