"""The same bits on another architecture: a C driver on this processor, and on NEON under an emulator."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILED_ONCE = ("cpu.c", "team.c", "scratch.c", "corpus.c")
APART = [ROOT / "csrc" / name for name in COMPILED_ONCE]
KERNELS = [path for path in sorted((ROOT / "csrc").glob("*.c")) if path not in APART]
ONCE = [*APART, ROOT / "tests/c/train.c"]
FLAGS = [
    "-std=gnu11",
    "-Og",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-Werror",
]
X86 = {
    "baseline": ["-march=x86-64-v2"],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
NEON = {"neon": ["-march=armv8-a"]}


def driver(compiler: str, isas: dict[str, list[str]], folder: Path, *link: str) -> Path:
    """Build the driver with all kernels of these instruction sets; -Og builds faster, the bits are those of -O3."""
    if not shutil.which(compiler):
        pytest.skip(f"this machine has no {compiler}")
    jobs = []
    for isa, arch in isas.items():
        for double in (0, 1):
            sources = [(kernel, 0) for kernel in KERNELS]
            sources += [(ROOT / "csrc/tile.c", 1)] if isa == "avx512" else []
            for source, half in sources:
                target = folder / f"{source.stem}_{isa}_{double}_{half}.o"
                defines = [f"-DNN_ISA={isa}", f"-DNN_DOUBLE={double}", f"-DNN_HALF={half}"]
                jobs.append(
                    [compiler, *FLAGS, *arch, *defines, "-c", str(source), "-o", str(target)]
                )
    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        list(compilers.map(functools.partial(subprocess.run, check=True), jobs))
    program = folder / "train"
    objects = [str(folder / Path(job[-1]).name) for job in jobs]
    include = f"-I{ROOT / 'csrc'}"
    once = [str(p) for p in ONCE]
    subprocess.run(
        [
            compiler,
            *FLAGS,
            include,
            "-fopenmp",
            *once,
            *objects,
            "-o",
            str(program),
            "-lm",
            "-ldl",
            "-lpthread",
            *link,
        ],
        check=True,
    )
    return program


def hashes(*command: str) -> dict[tuple[str, str], str]:
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    return {(isa, dtype): value for isa, dtype, value in (line.split() for line in lines if line)}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    if platform.machine() != "x86_64":
        pytest.skip("this machine is not x86-64")
    return hashes(str(driver("gcc", X86, tmp_path_factory.mktemp("x86"))))


@pytest.mark.parametrize("dtype", ["float", "double"])
def test_isas_of_this_processor(native: dict[tuple[str, str], str], dtype: str) -> None:
    found = {
        isa: value for (isa, kind), value in native.items() if kind == dtype and isa != "baseline"
    }
    if not found:
        pytest.skip("this processor has no avx2")
    assert len(set(found.values())) == 1


def test_neon(native: dict[tuple[str, str], str], tmp_path: Path) -> None:
    if not shutil.which("qemu-aarch64"):
        pytest.skip("this machine has no qemu-aarch64")
    emulated = hashes(
        "qemu-aarch64", str(driver("aarch64-linux-gnu-gcc", NEON, tmp_path, "-static"))
    )
    for dtype in ("float", "double"):
        assert emulated["neon", dtype] == native["avx2", dtype]
