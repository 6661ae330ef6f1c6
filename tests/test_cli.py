"""nnfast demo and nnfast info, as a person at a terminal meets them."""

from __future__ import annotations

import gzip
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfast as nn
from nnfast import cli


def nnfast(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | settings.pop("env", {})
    command = [sys.executable, "-m", "nnfast", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, **settings
    )


def write_idx(path: Path, array: Any) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, n in (("train", 200), ("t10k", 50)):
        labels = rng.integers(0, 4, n)
        pixels = rng.integers(0, 60, (n, 6, 6))
        pixels[np.arange(n), labels, labels] = 255
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path


def test_demo() -> None:
    done = nnfast("demo", "--epochs", "3")
    assert done.returncode == 0
    assert done.stderr == ""
    for words in (
        "UCI 8x8 digits",
        "64-64-10",
        "test accuracy",
        "samples/s",
        "GFLOP/s",
        "reference",
    ):
        assert words in done.stdout


def test_demo_on_images(images: Path) -> None:
    done = nnfast("demo", "--data", str(images), "--epochs", "2", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert "200 to train, 50 to test" in done.stdout
    (images / "train-labels-idx1-ubyte").rename(images / "train-labels-idx1-ubyte.raw")
    packed = gzip.compress((images / "train-labels-idx1-ubyte.raw").read_bytes())
    (images / "train-labels-idx1-ubyte.gz").write_bytes(packed)
    assert nnfast("demo", "--data", str(images), "--epochs", "1").returncode == 0


def test_info() -> None:
    done = nnfast("info")
    assert done.returncode == 0
    assert nn.__version__ in done.stdout
    forced = nnfast("info", env={"NNFAST_BACKEND": "reference"})
    assert "reference" in forced.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        ((), {}, 2, "nnfast --help"),
        (("demmo",), {}, 2, "demo"),
        (("demo", "--epochs", "0"), {}, 2, "epochs"),
        (("demo", "--threads", "1000"), {}, 2, "threads"),
        (("demo", "--data", "/no/such/folder"), {}, 1, "/no/such/folder"),
        (("info",), {"NNFAST_BACKEND": "nativ"}, 1, "did you mean 'native'"),
        (("info",), {"NNFAST_ISA": "mmx"}, 1, "NNFAST_ISA: expected one of"),
        (("info",), {"NNFAST_NUM_THREADS": "many"}, 1, "NNFAST_NUM_THREADS"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], code: int, words: str
) -> None:
    if "NNFAST_ISA" in environment and nn.info()["backend"] != "native":
        pytest.skip("nnfast was installed without its kernels")
    done = nnfast(*arguments, env=environment)
    assert done.returncode in ((1, 2) if code == 1 else (2,))
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130(images: Path) -> None:
    command = [sys.executable, "-m", "nnfast", "demo", "--epochs", "100000000"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    running.stdout.readline()
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=10)
    assert running.returncode == 130
    assert "Traceback" not in errors


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m nnfast demo --epochs 1 | head -n 1", shell=True, capture_output=True
    )
    assert b"Traceback" not in done.stderr


def test_main_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        sys.exit(cli.main(["info"]))
    assert left.value.code in (0, None)
    assert "backend" in capsys.readouterr().out
