"""The choice of the machine that runs plans."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
import pytest
from child import needs_native, python

import nnfast as nn
from nnfast import backend, plan


@pytest.fixture(autouse=True)
def choices() -> Iterator[None]:
    before = backend._Chosen.backend
    yield
    backend._Chosen.backend = before


@needs_native
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("plan", "OPS", {**plan.OPS, "conv": ("n",)}),
        ("plan", "OPS", {"dense": ("n_out", "n_in"), "activation": ("n", "activation")}),
        ("activations", "NAMES", ("identity", "tanh", "sigmoid", "relu", "softmax", "step")),
        ("losses", "NAMES", ("mse", "cross_entropy")),
        ("optimizers", "NAMES", ("adam", "sgd")),
    ],
)
def test_lists_that_differ_are_refused_at_once(
    module: str, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(f"nnfast.{module}"), name, value)
    with pytest.raises(ImportError, match="of different versions; reinstall nnfast"):
        backend.NativeBackend()


@needs_native
def test_info_of_the_native_backend() -> None:
    nn.use_backend("native")
    info = nn.info()
    assert info["backend"] == "native"
    assert info["isa"] in info["isas"]
    assert set(info["isas"]) <= {"avx512", "avx2", "baseline", "neon"}
    assert info["numpy"] == np.__version__
    assert info["threads"] >= 1
    single, double = (backend.current().peak_gflops(t, 0.02) for t in ("float32", "float64"))
    assert 0.1 < double < single < 2000


@needs_native
def test_each_instruction_set_can_be_forced_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(60, dtype="f4").reshape(12, 5) / 60
    seen = set()
    for isa in nn.info()["isas"]:
        monkeypatch.setenv("NNFAST_ISA", isa)
        nn.use_backend("native")
        assert nn.info()["isa"] == isa
        net = nn.Sequential([nn.Dense(9, "tanh"), nn.Dense(2)], seed=0)
        net.fit(x, x[:, :2], epochs=3)
        if isa != "baseline":  # which has no FMA
            seen.add(net.theta.tobytes())
    assert len(seen) <= 1
    monkeypatch.setenv("NNFAST_ISA", "sse9")
    with pytest.raises(
        ValueError, match=r"NNFAST_ISA: expected one of .* on this processor, got 'sse9'"
    ):
        nn.use_backend("native")
    assert nn.info()["isa"] != "sse9"


def test_reference() -> None:
    nn.use_backend("reference")
    info = nn.info()
    assert info["backend"] == "reference"
    assert "isa" not in info
    net = nn.Sequential([nn.Dense(3, "softmax")], seed=0).build(4)
    assert net.predict(np.ones((2, 4))).sum(axis=1) == pytest.approx([1, 1])
    assert net.predictor()(np.ones(4)).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["cuda", "", "Native", 3, None])
def test_an_unknown_backend_is_refused(name: object) -> None:
    before = backend._Chosen.backend
    if name is None:
        nn.use_backend("reference")
        return
    with pytest.raises(
        (TypeError, ValueError), match="backend: expected one of 'native', 'reference'"
    ):
        nn.use_backend(name)
    assert backend._Chosen.backend is before


def test_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference backend takes their place and says so once; asking for them is an error."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        backend.importlib.util, "find_spec", lambda name: None if "_native" in name else find(name)
    )
    monkeypatch.delenv("NNFAST_BACKEND", raising=False)
    backend._Chosen.backend = None
    with pytest.warns(RuntimeWarning, match="without its compiled kernels.*slow reference"):
        assert nn.info()["backend"] == "reference"
    assert "NNFAST_NO_EXT" in nn.info()["why"]  # and no second warning: it would be an error here
    with pytest.raises(ValueError, match=r"'native' is not there.*C compiler"):
        nn.use_backend("native")
    backend._Chosen.backend = None
    monkeypatch.setenv("NNFAST_BACKEND", "reference")
    assert nn.info()["backend"] == "reference"  # chosen: no warning
    backend._Chosen.backend = None
    monkeypatch.setenv("NNFAST_BACKEND", "native")
    with pytest.raises(ValueError, match="'native' is not there"):
        nn.info()


@needs_native
def test_environment_forces_the_reference() -> None:
    script = "import nnfast, sys; print(nnfast.info()['backend'], 'nnfast._native' in sys.modules)"
    done = python(script, prelude="", NNFAST_BACKEND="reference")
    assert done.stdout == "reference False\n", done.stderr
