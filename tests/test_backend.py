"""The choice of a machine, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import nnfast as nn
from nnfast import backend, losses


def test_lists_of_another_version_are_refused(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "NAMES", ("cross_entropy", "mse", "binary_cross_entropy"))
    with pytest.raises(ImportError, match="different versions; reinstall"):
        backend.NativeBackend(isa)


def test_use_backend(use: Any) -> None:
    use("reference")
    nn.use_backend("reference")
    assert nn.info()["backend"] == "reference"
    with pytest.raises(ValueError, match="did you mean 'reference'"):
        nn.use_backend("refrence")


def test_without_kernels_it_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backend._Chosen, "backend", None)
    monkeypatch.delenv("NNFAST_BACKEND", raising=False)
    with pytest.warns(RuntimeWarning, match="without its compiled kernels") as said:
        assert nn.info()["backend"] == "reference"
    assert len(said) == 1
    assert "NNFAST_NO_EXT" in nn.info()["why"]
    with pytest.raises(ValueError, match="compiler"):
        nn.use_backend("native")


def test_info_names_the_isas(machine: Any) -> None:
    assert machine.isa in machine.isas
    found = nn.info()
    assert {"backend", "threads", "cores", "numpy", "python", "machine"} <= set(found)


def test_peak_is_plausible(machine: Any) -> None:
    single, double = (machine.peak_gflops(dtype, 0.02) for dtype in ("float32", "float64"))
    assert 0.5 < double < single < 2000


def test_import_brings_numpy_alone() -> None:
    code = "import sys, numpy; before = set(sys.modules); import nnfast; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = (
        {name.split(".")[0] for name in done.stdout.split()}
        - {"nnfast", "numpy"}
        - set(sys.stdlib_module_names)
    )
    assert not foreign
