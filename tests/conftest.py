"""The machines that the tests run on. One that is not there is a skip with its reason."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import pytest

from nnfast import backend
from nnfast.reference import ReferenceBackend

try:
    from nnfast import _native as native
except ImportError:
    native = None

X86 = platform.machine().lower() in ("x86_64", "amd64")
ISAS = ("avx512", "avx2", "baseline") if X86 else ("neon",)
FMA_ISAS = tuple(isa for isa in ISAS if isa != "baseline")


def _require(isa: str) -> None:
    if native is None:
        pytest.skip("nnfast was installed without its kernels")
    if isa not in native.isas():
        pytest.skip(f"this processor has no {isa}")


def _make(name: str) -> Any:
    if name == "reference":
        return ReferenceBackend()
    _require(name)
    return backend.NativeBackend(name)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set of the native backend."""
    _require(request.param)
    return str(request.param)


@pytest.fixture(params=FMA_ISAS)
def fma_isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set with FMA: those that agree bit for bit."""
    _require(request.param)
    return str(request.param)


@pytest.fixture
def machine(isa: str) -> Any:
    """The native backend on each instruction set."""
    return _make(isa)


@pytest.fixture
def fma_machine(fma_isa: str) -> Any:
    """The native backend on each instruction set with FMA."""
    return _make(fma_isa)


@pytest.fixture
def fma_machines() -> list[Any]:
    """The native backends that agree bit for bit; at least one."""
    _require(native.isas()[-1] if native else "")
    machines = [_make(isa) for isa in native.isas() if isa in FMA_ISAS]
    return machines or pytest.skip("this processor has no FMA")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """use(name) makes "reference" or an instruction set the backend of this test."""

    def choose(name: str) -> Any:
        machine = _make(name)
        monkeypatch.setattr(backend._Chosen, "backend", machine)
        return machine

    return choose


@pytest.fixture(params=("reference", *ISAS))
def current(request: pytest.FixtureRequest, use: Callable[[str], Any]) -> Any:
    """Each backend and instruction set, in use for nnfast's whole face."""
    return use(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """With NNFAST_REQUIRE_PACKAGES=1, where all packages and gcc are there, a skip for a missing one is a failure."""
    report = yield
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    missing = "could not import" in reason or reason.endswith("no gcc")
    if os.environ.get("NNFAST_REQUIRE_PACKAGES") == "1" and missing:
        report.outcome, report.longrepr = "failed", f"{item.nodeid}: {reason}"
    return report
