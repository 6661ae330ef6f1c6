"""How many threads: an argument, the environment, or what this process may really use."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from nnfast import checks

MAX_THREADS = 256
"""Most threads that may be asked for, as NN_MAX_THREADS in csrc/nnfast.h."""

_CPU = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def checked(name: str, value: object) -> int:
    """Return `value` if it is a number of threads, from 1 to MAX_THREADS; else raise."""
    threads = checks.integer(name, value, 1)
    if threads > MAX_THREADS:
        raise ValueError(f"{name}: expected at most {MAX_THREADS} threads, got {threads}")
    return threads


def from_environment() -> int | None:
    """Return NNFAST_NUM_THREADS, None if it is not set. ValueError if it is no such number."""
    text = os.environ.get("NNFAST_NUM_THREADS", "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(
            f"NNFAST_NUM_THREADS: expected a number from 1 to {MAX_THREADS}, got {text!r:.40}"
        )
    return checked("NNFAST_NUM_THREADS", int(text))


def usable_cores() -> int:
    """Physical cores that the affinity of this process and its cgroup's quota leave to it."""
    if hasattr(os, "sched_getaffinity"):
        cores = _physical(frozenset(os.sched_getaffinity(0)))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota()))


@functools.lru_cache
def _physical(cpus: frozenset[int]) -> int:
    """Of `cpus`, one for each core: hardware threads of a core share its FMA units."""
    cores = set()
    for cpu in cpus:
        try:
            cores.add((_CPU / f"cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


@functools.lru_cache
def _quota() -> int:
    """CPUs that the cgroups of this process grant, rounded up: the least on the way to the root."""
    least = MAX_THREADS
    files: tuple[str, ...]
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return least
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        if not path:
            continue
        if controllers == "":
            root, files = _CGROUP, ("cpu.max",)
        elif "cpu" in controllers.split(","):
            root, files = _CGROUP / "cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(root):
                break
            try:
                words = " ".join((place / file).read_text() for file in files).split()
            except OSError:
                continue
            if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
                least = min(least, -(-int(words[0]) // int(words[1])))  # "max" and "-1": no quota
    return least
