"""The command: demo, info, exit codes, one-line errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_datasets import mnist

import nnfast as nn
from nnfast import cli

NATIVE = nn.info()["backend"] == "native"


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nnfast", *arguments],
        capture_output="stdout" not in more,
        text=True,
        timeout=120,
        **more,
    )


def test_demo_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    before = nn.info()["backend"]
    assert cli.main(["demo", "--epochs", "3", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "UCI 8x8 digits: 1,437 to train, 360 to test" in out
    assert "3 epochs, 2 threads" in out
    for words in ("test accuracy", "samples/s", "GFLOP/s", "of FMA peak", "reference"):
        assert words in out
    assert ("times as long" in out) == NATIVE
    assert nn.info()["backend"] == before


def test_demo_learns_the_digits() -> None:
    out = run("demo").stdout
    lines = [line.split() for line in out.splitlines()]
    rows = [words for words in lines if words and words[0] in ("native", "reference")]
    accuracy = {words[0]: float(words[1][:-1]) for words in rows}
    assert set(accuracy) == ({"native", "reference"} if NATIVE else {"reference"})
    assert all(percent > 97 for percent in accuracy.values())


@pytest.mark.parametrize("packed", [False, True])
def test_demo_with_data(packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--data", str(mnist(tmp_path, packed=packed)), "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path.name}: 40 to train, 20 to test" in out
    assert "16-128-4 relu, 2,692 parameters" in out


def test_info() -> None:
    done = run("info")
    assert done.returncode == 0
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert facts["nnfast"] == nn.__version__
    assert facts["backend"] == nn.info()["backend"]
    forced = run("info", env={**os.environ, "NNFAST_BACKEND": "reference"})
    assert forced.stdout.count("reference") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "COMMAND"),
        (["paint"], 2, "invalid choice"),
        (["demo", "--epochs", "0"], 2, "whole number of at least 1"),
        (["demo", "--epochs", "many"], 2, "whole number of at least 1"),
        (["demo", "--threads", "1.5"], 2, "whole number of at least 1"),
        (["demo", "--threads", "9999", "--epochs", "1"], 2, "at most 256"),
        (["demo", "--what"], 2, "unrecognized"),
        (["demo", "--data", "no-such-folder"], 2, "expected the four files"),
        (["demo", "--data"], 2, "expected one argument"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nnfast")


DAMAGED = {
    "images": {"train_images_idx3_ubyte": b"\0\0\x08\x03no"},
    "no images": {
        "train_images_idx3_ubyte": b"\0\0\x08\x03" + bytes(12),
        "train_labels_idx1_ubyte": b"\0\0\x08\x01" + bytes(4),
    },
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_data_is_one_line_and_code_2(what: str, tmp_path: Path) -> None:
    done = run("demo", "--data", str(mnist(tmp_path, **DAMAGED[what])))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("NNFAST_BACKEND", "cuda"), ("NNFAST_ISA", "sse9"), ("NNFAST_NUM_THREADS", "no")],
)
def test_a_bad_setting_is_one_line_and_code_2(name: str, value: str) -> None:
    if name == "NNFAST_ISA" and not NATIVE:
        pytest.skip("needs the compiled kernels")
    done = run("info", env={**os.environ, name: value})
    assert done.returncode == 2
    assert value in done.stderr
    assert done.stderr.count("\n") == 1


def test_version_and_help() -> None:
    assert run("--version").stdout == f"nnfast {nn.__version__}\n"
    for arguments in (["--help"], ["demo", "--help"]):
        done = run(*arguments)
        assert done.returncode == 0
        assert "usage: nnfast" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_code_1() -> None:
    with open("/dev/full", "w") as full:
        done = run("info", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_reader_that_has_seen_enough() -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    with open(ours, "w") as pipe:
        done = run("info", stdout=pipe, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nn, "info", interrupt)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "nnfast: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_ends_with_130() -> None:
    command = [sys.executable, "-m", "nnfast", "demo", "--epochs", "100000000"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    running.stdout.readline()
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=10)
    assert (running.returncode, errors) == (130, "nnfast: interrupted\n")


def test_a_terminal_without_utf_8() -> None:
    done = run("demo", "--epochs", "2", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout
