"""The programs in examples/ run, and do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_backend(capsys: pytest.CaptureFixture[str]) -> None:
    module = runpy.run_path(str(EXAMPLES / "backend.py"))
    found = module["main"](epochs=15, rounds=1)
    (numpy_seconds, numpy_accuracy), (seconds, accuracy) = found["NumPy"], found["Nnfast"]
    assert min(numpy_accuracy, accuracy) > 0.85
    assert abs(numpy_accuracy - accuracy) < 0.02
    assert min(numpy_seconds, seconds) > 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["NumPy", "Nnfast"]
    assert lines[2].endswith("times as fast")


def test_backend_trains_alike() -> None:
    """The replaced functions are the same mathematics: one step from one start."""
    module = runpy.run_path(str(EXAMPLES / "backend.py"))
    rng = np.random.default_rng(0)
    x, y = rng.random((32, 6), np.float32), rng.integers(0, 2, (32, 3)).astype(np.float32)
    nets = [module["Network"]([6, 5, 3], module[name]) for name in ("NumPy", "Nnfast")]
    for net in nets:
        net.step(x, y, 0.5)
    for ours, theirs in zip(nets[1].w + nets[1].b, nets[0].w + nets[0].b, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
