"""The compiled tiles: sums stay in registers, as many FMAs a k as rows times vectors.

Read from the built extension by objdump, or from tile.c compiled anew where that is stripped.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import X86, native

ROOT = Path(__file__).parent.parent
MARCH = {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}
REGISTER = {"avx2": "%ymm", "avx512": "%zmm"}
SUFFIX = {"f32": "ps", "f64": "pd"}
ROWS = {"avx2": {"1": 12, "2": 6, "4": 3}, "avx512": {"1": 12, "2": 12, "4": 6}}
"""Most rows of a tile by its vectors, as in tile.h."""
TILE = re.compile(r"^(panel|outer)_(rows_)?([124])(\.(?!cold).*)?$")
FMA = re.compile(r"^vfn?m(add|sub)\d+p[sd] ")
STACK = re.compile(r"\(%r[sb]p[,)]")

pytestmark = pytest.mark.skipif(not X86, reason="reads x86-64 instructions")


@dataclass(frozen=True)
class Function:
    """A disassembled function: addresses, and instructions with their operands."""

    name: str
    code: dict[int, str]

    def inner_loops(self) -> Iterator[list[str]]:
        """Yield the instructions of each loop that holds no other."""
        loops = []
        for address, instruction in self.code.items():
            jump = re.match(r"^j\w+ +([0-9a-f]+)", instruction)
            if jump and int(jump[1], 16) in self.code and int(jump[1], 16) <= address:
                loops.append((int(jump[1], 16), address))
        for first, last in loops:
            if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in loops):
                yield [self.code[at] for at in self.code if first <= at <= last]

    def fma_loops(self) -> list[list[str]]:
        return [loop for loop in self.inner_loops() if any(map(FMA.match, loop))]


def disassemble(path: Path) -> Iterator[Function]:
    """Yield the functions whose names are those of tiles."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for block in text.split("\n\n"):
        head = re.match(r"^\s*[0-9a-f]+ <(.+)>:\n", block)
        if head and TILE.match(head[1]):
            lines = (line.split("\t") for line in block.splitlines()[1:])
            code = {int(line[0].strip(" :"), 16): line[1] for line in lines if len(line) > 1}
            yield Function(head[1], code)


@functools.cache
def built() -> list[Function]:
    if shutil.which("objdump") is None:
        pytest.skip("no objdump")
    return [] if native is None else list(disassemble(Path(native.__file__)))


def tiles(isa: str, dtype: str, folder: Path) -> list[Function]:
    """Return the tiles of one instruction set and dtype, told by their FMAs."""
    functions = built()
    if not functions:
        compiler = shutil.which("gcc") or pytest.skip("the extension is stripped, and no gcc")
        listed = (ROOT / "CMakeLists.txt").read_text()
        flags = re.search(r"set\(NN_FLAGS ([^)]*)\)", listed)
        assert flags is not None
        double = f"-DNN_DOUBLE={int(dtype == 'f64')}"
        source, target = ROOT / "csrc/tile.c", folder / "tile.o"
        options = ["-std=c11", "-fPIC", *flags[1].split(), *MARCH[isa], f"-DNN_ISA={isa}", double]
        subprocess.run([compiler, *options, "-c", source, "-o", target], check=True)
        functions = list(disassemble(target))

    def mine(line: str) -> bool:
        return REGISTER[isa] in line and line.split()[0].endswith(SUFFIX[dtype])

    def fmas(function: Function) -> list[str]:
        return [line for line in function.code.values() if FMA.match(line)]

    return [f for f in functions if fmas(f) and all(map(mine, fmas(f)))]


@pytest.mark.parametrize("dtype", SUFFIX)
@pytest.mark.parametrize("isa", MARCH)
def test_sums_stay_in_registers(isa: str, dtype: str, tmp_path: Path) -> None:
    found = tiles(isa, dtype, tmp_path)
    assert len({TILE.match(f.name)[0] for f in found}) >= 12  # type: ignore[index]
    for function in found:
        match = TILE.match(function.name)
        assert match is not None
        vectors = int(match[3])
        counts = set()
        for loop in function.fma_loops():
            fmas = sum(bool(FMA.match(line)) for line in loop)
            counts.add(fmas)
            spilt = [line for line in loop if STACK.search(line) and "mm" in line]
            assert not spilt, f"{function.name}, {fmas} FMAs: {spilt}"
        expected = {rows * vectors for rows in range(1, ROWS[isa][match[3]] + 1)}
        assert expected <= counts, function.name
