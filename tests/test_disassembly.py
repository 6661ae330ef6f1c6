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
LEAST_ROWS = {"avx2": {"1": 12, "2": 6, "4": 3}, "avx512": {"1": 12, "2": 12, "4": 6}}
"""The tallest tiles are at least so high, by their vectors: enough sums to hide an FMA's latency."""
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
        """Yield the instructions of each loop that holds no other.

        The loop of a jump back from `end` to `head` is what reaches `end` without passing `head`.
        """
        addresses = list(self.code)
        before: dict[int, list[int]] = {at: [] for at in addresses}
        ends = {}
        for at, following in zip(addresses, [*addresses[1:], 0], strict=True):
            jump = re.match(r"^(j\w+) +([0-9a-f]+)", self.code[at])
            target = int(jump[2], 16) if jump else 0
            if target in before:
                before[target].append(at)
                ends.update({at: target} if target <= at else {})
            if following and not re.match("^(jmp|ret|ud2|notrack)", self.code[at]):
                before[following].append(at)
        for end, head in ends.items():
            loop, found = {head}, [end]
            while found:
                at = found.pop()
                if at not in loop:
                    loop.add(at)
                    found += before[at]
            if not any(e in loop and h in loop for e, h in ends.items() if e != end):
                yield [self.code[at] for at in sorted(loop)]

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
    if native is None:
        return []
    path = Path(native.__file__)
    if b"clang version" in path.read_bytes():
        pytest.skip("built by clang: the tiles are shaped for gcc")
    return list(disassemble(path))


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
        rows = max(counts) // vectors
        assert rows >= LEAST_ROWS[isa][match[3]], function.name
        assert counts == {row * vectors for row in range(1, rows + 1)}, function.name
