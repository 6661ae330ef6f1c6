"""Scripts in a process of their own: what may hang, die or change a process is tested there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

NATIVE = importlib.util.find_spec("nnfast._native") is not None
needs_native = pytest.mark.skipif(
    not NATIVE or os.environ.get("NNFAST_BACKEND") == "reference",
    reason="needs the compiled kernels",
)

# Two threads work on every call, however small; `train` returns theta's bytes after some steps.
PRELUDE = """
import functools, os, sys, threading, time
import numpy as np
import nnfast as nn
from nnfast import backend, plan, training

training.Job = functools.partial(plan.Job, serial_below=0.0)
_random = np.random.default_rng(0)
X = _random.normal(size=(2000, 64)).astype("f4")
Y = _random.normal(size=(2000, 8)).astype("f4")

def network(*hidden):
    layers = [*(nn.Dense(n, "tanh") for n in hidden or (96, 80)), nn.Dense(8)]
    return nn.Sequential(layers, seed=0).build(64)

def train(threads=2, epochs=2, batch_size=500):
    net = network()
    net.fit(X, Y, optimizer="adam", epochs=epochs, batch_size=batch_size, threads=threads)
    return net.theta.tobytes() + net.predict(X, threads=threads).tobytes()
"""


def python(
    script: str, *arguments: str, timeout: float = 60, prelude: str = PRELUDE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script, whatever becomes of it; TimeoutExpired if it hangs."""
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(script), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def output(script: str, *arguments: str, timeout: float = 60, **environment: str) -> str:
    """Run a script that must succeed; return what it prints."""
    done = python(script, *arguments, timeout=timeout, **environment)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout
