"""The tools of bench/ on runs made up here, and that all contestants do the same; nothing is timed."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
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


def test_runs_from_before_there_were_layers(run: Any) -> None:
    assert run(made_up(100.0), made_up(100.0, layer="", input=""))[0] == 0
    assert run(made_up(100.0), made_up(100.0, layer="batch_norm"))[0] == 2


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


# --- bench.run and what it measures -----------------------------------------------------------------

LINUX = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="what is measured is told by Linux alone"
)


@pytest.fixture
def bench(compare: Any) -> Any:
    """bench(name) imports a module of bench/."""
    return lambda name: importlib.import_module(f"bench.{name}")


@pytest.fixture
def few_images(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 images in place of 60,000."""
    for name in ("data", "work"):
        monkeypatch.setattr(bench(name), "IMAGES", 100)


def row_of(bench: Any, targets: Any, **figures: tuple[float, dict[str, float]]) -> Any:
    """A training row in which each contestant took these seconds and has that score."""
    report, work = bench("report"), bench("work")
    names = [name.replace("_", " ") for name in figures]
    outcomes = [
        report.Outcome(name, "float32", rows=10, measures=[seconds], score=score)
        for name, (seconds, score) in zip(names, figures.values(), strict=True)
    ]
    return report.Row(work.Work("row", "fit", tuple(names), targets, (4, 2)), outcomes)


def test_words_change_the_work_of_a_contestant(bench: Any) -> None:
    Work = bench("work").Work
    work = Work("row", "fit", (), (), (4, 2), threads=2, rows=9, fewer={"jax": 3})
    assert work.of("nnfast") == work
    assert work.of("jax").rows == 3
    mine = work.of("nnfast 1thread float64 dropout")
    assert (mine.threads, mine.dtype, mine.layer, mine.rows) == (1, "float64", "dropout", 9)
    with pytest.raises(KeyError, match="fast"):
        work.of("nnfast fast")


def test_rows_name_what_there_is(bench: Any) -> None:
    works = bench("rows").WORKS
    assert len({work.name for work in works}) == len(works)
    for work in works:
        assert {t.of for t in work.targets} <= set(work.contestants), work.name
        for contestant in work.contestants:
            work.of(contestant)
            if work.kind != "import":
                peer = ROOT / "bench" / "peers" / f"{contestant.split()[0]}.py"
                assert f"\ndef {work.kind}(data: Data)" in peer.read_text(), work.name


def test_at_most_so_much_time(bench: Any) -> None:
    Target = bench("work").Target
    target = Target("nnfast", 1.1, of="nnfast dropout", time=True)
    for seconds, met in ((2.1, "yes"), (2.3, "NO")):
        row = row_of(bench, (target,), nnfast=(2.0, {}), nnfast_dropout=(seconds, {}))
        (line,) = bench("report").verdict_table([row])[1:]
        ratio = f"{seconds / 2:.3f}x"
        what = "time of nnfast dropout / nnfast, at most"
        assert line == ["row", what, ratio, "1.100x", met, "-", "-"]


def test_memory_beside_the_time(bench: Any) -> None:
    Target = bench("work").Target
    targets = (Target("jax", 2.0), Target("MiB", 50.0), Target("MiB", None, of="jax"))
    row = row_of(bench, targets, nnfast=(1.0, {"MiB": 51.0}), jax=(3.0, {"MiB": 99.0}))
    lines = bench("report").verdict_table([row])[1:]
    assert [line[2:5] for line in lines] == [
        ["3.00x", "2.00x", "yes"],
        ["51.00 MiB", "50.00 MiB", "NO"],
        ["99.00 MiB", "-", "-"],
    ]


def test_the_worst_case_counts(bench: Any) -> None:
    Target = bench("work").Target
    targets = (Target("numpy", 2.0, worst=True), Target("curve", 1e-6))
    row = row_of(bench, targets, nnfast=(1.0, {"curve": 2.5e-15}), numpy=(9.0, {}))
    mine, numpy = row.outcomes
    mine.cases = {"a": [1.0, 1.0, 9.0], "b": [1.0, 1.0, 1.0], "c": [2.0, 2.0, 2.0]}
    numpy.cases = {"a": [8.0, 8.0, 8.0], "b": [4.0, 4.0, 4.0], "c": [3.0, 3.0, 3.0]}
    worst, curve = bench("report").verdict_table([row])[1:]
    assert worst[1:5] == ["nnfast / numpy, worst of 3 (c; median 4.00x)", "1.50x", "2.00x", "NO"]
    assert curve[1:5] == ["nnfast loss_curve_ differs by, at most", "2.5e-15", "1.0e-06", "yes"]


def test_a_score_may_be_lower_by_what_seeds_make_of_it(bench: Any) -> None:
    Target = bench("work").Target
    targets = (Target("gensim", -1.0, case="analogies"), Target("gensim", -1.0, case="SimLex999"))
    row = row_of(bench, targets, nnfast=(1.0, {}), gensim=(9.0, {}))
    row.work = replace(row.work, kind="quality", rows=10)
    mine, theirs = row.outcomes
    mine.cases = {"analogies": [28.0, 29.0, 30.0], "SimLex999": [28.0, 28.5, 29.0]}
    theirs.cases = {"analogies": [28.0, 31.0, 34.0], "SimLex999": [29.7, 29.8, 29.9]}
    wide, narrow = bench("report").verdict_table([row])[1:]
    assert wide[1:5] == ["nnfast - gensim, analogies", "-2.00 points", "-6.00 points", "yes"]
    assert narrow[1:5] == ["nnfast - gensim, SimLex999", "-1.30 points", "-1.00 points", "NO"]
    result = bench("report").outcome_table(row)[1][-1]
    assert result == "analogies 29.00 ± 1.00, SimLex999 28.50 ± 0.50"


def test_a_figure_that_is_missing_meets_nothing(bench: Any) -> None:
    Target = bench("work").Target
    targets = (Target("nnfast", 1.1, of="nnfast bar", time=True), Target("MiB", 9, of="nnfast bar"))
    lines = bench("report").verdict_table([row_of(bench, targets, nnfast=(1.0, {}))])[1:]
    assert [(line[2], line[4]) for line in lines] == [("-", "-"), ("-", "-")]


def test_a_row_takes_no_more_than_there_is(bench: Any) -> None:
    works = {work.name: work for work in bench("rows").WORKS}
    possible = bench("run").possible
    memmap, two = works["784-128-10-memmap"], works["784-512-512-10-x2"]
    assert possible(memmap, 1, 10**12, 0) == memmap
    assert possible(memmap, 1, 11 * 10**9, 0).rows == 10**9 // (4 * 784)
    assert possible(two, 2, 0, 0) == two
    with pytest.raises(ValueError, match=r"10\.2 GB of free disk"):
        possible(memmap, 1, 10_100_000_000, 0)
    with pytest.raises(ValueError, match="needs 2 cores"):
        possible(two, 1, 10**12, 0)

    part, whole = works["words-cbow-200"], works["words-quality-cbow"]
    assert possible(part, 1, 0, 10**9) == part
    assert (possible(part, 1, 0, 900).rows, possible(whole, 1, 0, 900).rows) == (900, 900)
    with pytest.raises(ValueError, match="--corpus"):
        possible(part, 1, 10**12, 0)


def test_no_peer_does_another_work(bench: Any) -> None:
    peers, Work = bench("peers.__main__"), bench("work").Work
    work = Work("row", "fit", (), (), (4, 2), optimizer="rprop", layer="batch_norm", input="csr")
    with pytest.raises(ValueError, match="no batch_norm, csr, rprop is written for numpy"):
        peers.refuse("numpy", work)
    with pytest.raises(ValueError, match="no batch_norm, csr is written for jax"):
        peers.refuse("jax", work)
    peers.refuse("nnfast", work)


@pytest.mark.usefixtures("few_images")
def test_arrays(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip("scipy.sparse")
    data, Work = bench("data"), bench("work").Work
    images = Work("images", "fit", (), (), (784, 10), rows=50)
    many = Work("many", "fit", (), (), (784, 10), rows=203)
    csr = Work("csr", "fit", (), (), (1_000, 4, 3), rows=30, input="csr")
    data.write_data(tmp_path, [images, many, csr], None)

    floats, bytes_ = data.Data(tmp_path, images), data.Data(tmp_path, images.of("nnfast uint8"))
    assert (floats.x.shape, bytes_.x.dtype) == ((50, 784), np.uint8)
    np.testing.assert_array_equal(bytes_.x / np.float32(255), floats.x)

    mapped = data.Data(tmp_path, many.of("nnfast memmap"))
    assert isinstance(mapped.x, np.memmap)
    np.testing.assert_array_equal(mapped.x, data.Data(tmp_path, many).x)
    np.testing.assert_array_equal(mapped.x[200:], floats.x[:3])
    np.testing.assert_array_equal(mapped.y[200:], floats.y[:3])

    x = data.Data(tmp_path, csr).x
    assert x.shape == (30, 1_000)
    for row in x:
        np.testing.assert_array_equal(row.indices // 10, np.arange(100))
    assert data.Data(tmp_path, csr).test()[0].shape == (2_000, 1_000)


@LINUX
def test_the_most_memory_is_seen_though_it_is_given_back(bench: Any) -> None:
    memory = bench("memory")

    def run() -> None:
        held = np.ones(8 << 20)
        time.sleep(0.1)
        del held

    before = memory.anonymous()
    assert 60 < memory.most_anonymous(run) - before < 80
    assert memory.anonymous() - before < 20


def test_the_picture_leaves_out_rows_of_one(bench: Any, tmp_path: Path) -> None:
    run = made_up(100.0)
    outcomes = [{"name": name, "figure": 1.0} for name in ("nnfast", "nnfast dropout")]
    run["works"] = [{"name": "row", "kind": "fit", "outcomes": outcomes}]
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="no training work of nnfast and others"):
        bench("picture").draw(run, tmp_path / "run.png")


AGREE = {
    "jax": [f"16-64-64-4-{rule}" for rule in ("sgd", "momentum", "nesterov", "adagrad")]
    + [f"16-64-64-4{rule}" for rule in ("-rmsprop", "", "-adamw", "-rprop")],
    "torch": [f"784-128-128-10-{layer}" for layer in ("batch-norm", "layer-norm", "residual")],
    "sklearn": ["csr"],
    "nnfast": ["784-128-10-uint8"],
}


@LINUX
@pytest.mark.parametrize("peer", AGREE)
@pytest.mark.usefixtures("few_images")
def test_all_do_the_same(bench: Any, peer: str, tmp_path: Path) -> None:
    """With all rows in one batch their order is nothing, and the loss after some steps is one number."""
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"could not import {peer!r}")
    run, data = bench("run"), bench("data")
    works = [
        replace(work, rows=64, batch_size=64, epochs=10, fewer={})
        for work in bench("rows").WORKS
        if work.name in AGREE[peer]
    ]
    assert len(works) == len(AGREE[peer])
    data.write_data(tmp_path, works, None)

    def losses(contestant: str) -> dict[str, Any]:
        found = {}
        worker = run.Worker(contestant, works[0])
        for work in works:
            described = asdict(replace(work.of(contestant), targets=()))
            answer = worker.ask("prepare", work=described, folder=str(tmp_path))
            found[work.name] = answer.get("error") or worker.ask("score")["loss"]
        worker.close()
        return found

    if peer == "nnfast":  # X / 255 was rounded to float32
        theirs, digits = losses("nnfast float64 uint8"), 1e-7
    else:
        theirs, digits = losses(f"{peer} float64"), 1e-9
    assert losses("nnfast float64") == pytest.approx(theirs, rel=digits)


@LINUX
@pytest.mark.usefixtures("few_images")
def test_a_row_is_measured(bench: Any, tmp_path: Path) -> None:
    run, data, work = bench("run"), bench("data"), bench("work")
    names = ("nnfast", "nnfast accuracy bar", "nnfast memmap", "numpy", "numpy uint8")
    targets = (work.Target("numpy", 0.0), work.Target("MiB", 100.0))
    row = work.Work("row", "fit", names, targets, (784, 8, 10), rows=100, memory=True)
    data.write_data(tmp_path, [row], None)
    measured = run.measure(row, tmp_path, 2)
    bare, watched, mapped, numpy, refused = measured.outcomes
    assert refused.error == "ValueError: no uint8 is written for numpy"
    for outcome in (bare, watched, mapped, numpy):
        assert (outcome.error, len(outcome.measures)) == ("", 2)
    assert bare.score["loss"] == watched.score["loss"] == mapped.score["loss"]
    assert bare.score["MiB"] > 0
    assert [line[4] for line in bench("report").verdict_table([measured])[1:]] == ["yes", "yes"]
    report = bench("report")
    assert "not run: ValueError" in report.as_text(report.outcome_table(measured))


DROP_IN = {"estimators": "estimator-iris", "the book": "nielsen", "by hand": "ops-tanh-narrow"}


@LINUX
@pytest.mark.parametrize("name", DROP_IN.values(), ids=DROP_IN)
@pytest.mark.usefixtures("few_images")
def test_a_drop_in_is_measured(bench: Any, name: str, tmp_path: Path) -> None:
    """All its contestants do the work, and to the same end."""
    pytest.importorskip("sklearn")
    (row,) = (work for work in bench("rows").WORKS if work.name == name)
    if row.kind == "nielsen":
        row = replace(row, rows=100, epochs=1)
    bench("data").write_data(tmp_path, [row], None)
    measured = bench("run").measure(row, tmp_path, 1)
    for outcome in measured.outcomes:
        assert (outcome.error, len(outcome.measures)) == ("", 1), outcome.name
    mine, *_, theirs = measured.outcomes
    if row.kind == "ops":
        assert mine.cases.keys() == theirs.cases.keys()
        assert len(mine.cases) == 16
        assert 0 < mine.score["deviation"] < 1e-6
    else:
        assert mine.score["accuracy"] == theirs.score["accuracy"]
    if row.kind == "estimator":
        assert mine.score["curve"] < 1e-6
        assert mine.score["epochs"] == theirs.score["epochs"]
    assert all(line[2] != "-" for line in bench("report").verdict_table([measured])[1:])


TOLD = (
    "athens greece oslo norway paris france old new smart intelligent love sex tiger cat book paper"
)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A text of 3,000 words of some of the questions and pairs, without a line's end at its end."""
    words = np.random.default_rng(0).choice(TOLD.split(), (300, 10))
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress("\n".join(map(" ".join, words)).encode()))
    return path


def test_a_part_of_a_text(bench: Any, packed: Path, tmp_path: Path) -> None:
    data, Work = bench("data"), bench("work").Work
    text = gzip.decompress(packed.read_bytes())
    assert data.write_corpus(tmp_path, packed) == 3_000
    works = [Work("row", "words", (), (), rows=rows, settings={"sg": 1}) for rows in (25, 3_000)]
    data.write_data(tmp_path, works, None)
    some, all_ = (data.Data(tmp_path, work) for work in works)
    assert Path(some.corpus).read_bytes() == text
    assert Path(some.part).read_bytes().split() == text.split()[:25]
    assert Path(some.part).read_bytes().count(b"\n") == 3
    assert Path(all_.part).read_bytes() == text + b"\n"


WORD_VECTORS = (
    "skip-gram-100",
    "hierarchical-100",
    "vocabulary",
    "analogies",
    "memory",
    "quality-cbow",
)


@LINUX
@pytest.mark.parametrize("name", WORD_VECTORS)
@pytest.mark.usefixtures("few_images")
def test_word_vectors_are_measured(bench: Any, name: str, packed: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("gensim") is None:
        pytest.skip("could not import 'gensim'")
    run, data = bench("run"), bench("data")
    (row,) = (work for work in bench("rows").WORKS if work.name == f"words-{name}")
    row = run.possible(row, 2, 10**12, data.write_corpus(tmp_path, packed))
    data.write_data(tmp_path, [row], None)
    measured = run.measure(row, tmp_path, 2)
    for outcome in measured.outcomes:
        assert (outcome.error, len(outcome.measures)) == ("", 2), outcome.name
    mine, theirs = measured.outcomes
    assert mine.score == theirs.score
    assert mine.cases.keys() == theirs.cases.keys()
    if row.kind == "quality":
        assert all(len({*rounds}) == 2 for rounds in mine.cases.values())  # each its seed
    assert all(line[2] != "-" for line in bench("report").verdict_table([measured])[1:])
