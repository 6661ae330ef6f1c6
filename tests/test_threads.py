"""threads.py against made-up /proc and /sys trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import nnfast as nn
from nnfast import threads


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(threads, "_CPU", tmp_path / "cpu")
    monkeypatch.setattr(threads, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "_OWN_CGROUPS", tmp_path / "own")
    threads._physical.cache_clear()
    threads._quota.cache_clear()
    yield tmp_path
    threads._physical.cache_clear()
    threads._quota.cache_clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


SIBLINGS = {
    # cpus of the process -> their siblings' lists -> cores
    "no topology": ({0, 1, 2, 3}, {}, 4),
    "one thread a core": ({0, 1}, {0: "0", 1: "1"}, 2),
    "neighbours share": ({0, 1, 2, 3}, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, 2),
    "far ones share": ({0, 1, 4, 5}, {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}, 2),
    "half of each core": ({0, 1}, {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}, 2),
    "one of them": ({5}, {5: "1,5"}, 1),
    "some unknown": ({0, 1, 2}, {0: "0-1", 1: "0-1"}, 2),
}


@pytest.mark.parametrize("case", SIBLINGS)
def test_physical_cores(case: str, tree: Path) -> None:
    cpus, lists, cores = SIBLINGS[case]
    for cpu, siblings in lists.items():
        write(tree / f"cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    assert threads._physical(frozenset(cpus)) == cores


ALL = threads.MAX_THREADS
QUOTAS = {
    # /proc/self/cgroup, files under /sys/fs/cgroup, threads
    "no file": (None, {}, ALL),
    "no cgroup": ("", {}, ALL),
    "v2, none": ("0::/", {"cpu.max": "max 100000"}, ALL),
    "v2, half": ("0::/a", {"a/cpu.max": "50000 100000"}, 1),
    "v2, one": ("0::/a", {"a/cpu.max": "100000 100000"}, 1),
    "v2, one and a half": ("0::/a", {"a/cpu.max": "150000 100000"}, 2),
    "v2, another period": ("0::/a", {"a/cpu.max": "30000 10000"}, 3),
    "v2, the parent's": ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "2000 1000"}, 2),
    "v2, the least": ("0::/a/b", {"a/b/cpu.max": "3000 1000", "a/cpu.max": "5000 1000"}, 3),
    "v2, the root's": ("0::/a/b", {"cpu.max": "4000 1000"}, 4),
    "v2, of another": ("0::/a", {"b/cpu.max": "1000 1000"}, ALL),
    "v1": (
        "4:cpu,cpuacct:/a\n3:memory:/m\n0::/",
        {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
        3,
    ),
    "v1, none": (
        "4:cpu:/a",
        {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"},
        ALL,
    ),
    "v1, no period": ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "100000"}, ALL),
    "a name with a colon": ("0::/a:b", {"a:b/cpu.max": "1000 1000"}, 1),
    "both": (
        "4:cpu:/a\n0::/a",
        {
            "cpu/a/cpu.cfs_quota_us": "3000",
            "cpu/a/cpu.cfs_period_us": "1000",
            "a/cpu.max": "2000 1000",
        },
        2,
    ),
    "out of the tree": ("0::/../..", {"cpu.max": "1000 1000"}, None),
    "nonsense": ("0::/", {"cpu.max": "some words"}, ALL),
    "a zero period": ("0::/", {"cpu.max": "1000 0"}, ALL),
    "lines that are none": ("what\n\n0::/a", {"a/cpu.max": "1000 1000"}, None),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_quota(case: str, tree: Path) -> None:
    own, files, expected = QUOTAS[case]
    if own is not None:
        write(tree / "own", own)
    for name, text in files.items():
        write(tree / "cgroup" / name, text)
    assert threads._quota() in ((expected,) if expected else (1, ALL))


def test_usable_cores_is_the_least_of_all(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system knows no affinity")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert threads.usable_cores() == 6
    write(tree / "own", "0::/")
    write(tree / "cgroup/cpu.max", "3500 1000")
    threads._quota.cache_clear()
    assert threads.usable_cores() == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2})
    assert threads.usable_cores() == 1


ENVIRONMENT = [
    (None, None), ("", None), (" ", None), ("1", 1), (" 8 ", 8), ("256", 256), ("007", 7),
    ("0", ValueError), ("257", ValueError), ("-1", ValueError), ("two", ValueError),
    ("1.0", ValueError), ("²", ValueError), ("1_0", ValueError), ("9" * 5000, ValueError),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ENVIRONMENT)
def test_environment(text: str | None, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NNFAST_NUM_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("NNFAST_NUM_THREADS", text)
    if expected is ValueError:
        with pytest.raises(ValueError, match="NNFAST_NUM_THREADS: expected"):
            threads.from_environment()
    else:
        assert threads.from_environment() == expected


@pytest.mark.parametrize("number", [0, -1, 257, 2**70, True, 1.0, "2", None])
def test_a_bad_argument_is_refused(number: object) -> None:
    with pytest.raises((TypeError, ValueError), match="threads: expected"):
        threads.checked("threads", number)


def test_order_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """set_num_threads > NNFAST_NUM_THREADS > what there is; an explicit number may exceed it."""
    monkeypatch.setenv("NNFAST_NUM_THREADS", "5")
    try:
        assert nn.get_num_threads() == 5
        nn.set_num_threads(7)
        assert nn.get_num_threads() == 7
        with pytest.raises(ValueError, match="at most 256"):
            nn.set_num_threads(1000)
        assert nn.get_num_threads() == 7
        nn.set_num_threads(None)
        assert nn.get_num_threads() == 5
        monkeypatch.delenv("NNFAST_NUM_THREADS")
        assert 1 <= nn.get_num_threads() <= threads.usable_cores()
    finally:
        nn.set_num_threads(None)
