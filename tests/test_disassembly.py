"""The machine code of the tiles: sums stay in registers, and a step of k is rows times vectors FMAs and no more."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
ARCH = {"avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "avx2": ["-march=x86-64-v3"]}
# function -> vectors; the tallest tile of each width
HEIGHTS = {"avx512": {1: 12, 2: 12, 4: 6}, "avx2": {1: 12, 2: 6, 4: 3}}


@pytest.fixture(scope="module", params=ARCH)
def code(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """(ISA, disassembly of tile.c)"""
    for tool in ("gcc", "objdump"):
        if not shutil.which(tool):
            pytest.skip(f"this machine has no {tool}")
    if (
        "x86_64"
        not in subprocess.run(["gcc", "-dumpmachine"], capture_output=True, text=True).stdout
    ):
        pytest.skip("this machine's gcc does not compile for x86-64")
    target = tmp_path_factory.mktemp("tile") / "tile.o"
    defines = [f"-DNN_ISA={request.param}", "-DNN_DOUBLE=0"]
    source = [str(CSRC / "tile.c"), "-c", "-o", str(target)]
    subprocess.run(["gcc", *FLAGS, *ARCH[request.param], *defines, *source], check=True)
    listing = ["objdump", "-d", "--no-show-raw-insn", str(target)]
    return request.param, subprocess.run(listing, capture_output=True, text=True, check=True).stdout


def loops(code: str, function: str) -> list[list[str]]:
    """The innermost loops of a function: what lies between a jump back and its target."""
    body = re.search(rf"<{function}>:\n(.*?)\n\n", code + "\n\n", re.S)
    assert body, f"tile.c has no function {function}"
    lines = [line.strip() for line in body.group(1).split("\n") if ":" in line]
    places = {line.split(":")[0]: i for i, line in enumerate(lines)}
    found = []
    for i, line in enumerate(lines):
        jump = re.search(r"\sj\w+\s+([0-9a-f]+)", line)
        start = places.get(jump.group(1), i) if jump else i
        if start < i and not any("\tj" in inner or " j" in inner for inner in lines[start:i]):
            found.append(lines[start : i + 1])
    return found


@pytest.mark.parametrize("form", ["panel", "panel_rows", "outer", "outer_rows"])
@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_sums_stay_in_registers(code: tuple[str, str], form: str, vectors: int) -> None:
    isa, listing = code
    counts = []
    for loop in loops(listing, f"{form}_{vectors}"):
        fmas = sum("vfmadd" in line for line in loop)
        counts.append(fmas)
        if fmas:
            spilled = [
                line
                for line in loop
                if re.search(r"\(%(rsp|rbp)", line) and re.search(r"%[xyz]mm", line)
            ]
            assert not spilled
            assert not [line for line in loop if re.search(r"vmov\w+\s+%[yz]mm\d+,", line)]
    assert max(counts) == HEIGHTS[isa][vectors] * vectors
