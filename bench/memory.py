"""How much memory this process holds, in MiB, as Linux counts it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

_PAUSE = 0.002  # seconds between two looks


def peak() -> float:
    """The most that it has held (getrusage would count the parent's, too)."""
    return _status("VmHWM")


def anonymous() -> float:
    """What it holds of its own: no files, which the system may drop."""
    return _status("RssAnon")


def most_anonymous(run: Callable[[], object]) -> float:
    """The most of `anonymous` while `run` runs."""
    ended = threading.Event()
    most = anonymous()

    def watch() -> None:
        nonlocal most
        while not ended.wait(_PAUSE):
            most = max(most, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        ended.set()
        watcher.join()
    return most


def _status(name: str) -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:")) / 1024
