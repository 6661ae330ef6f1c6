"""A team whose threads are kept from the processors."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("where", [(), ("at a barrier",)], ids=["at the end", "at a barrier"])
def test_who_waited_works_alone_for_a_while(tmp_path: Path, where: tuple[str, ...]) -> None:
    if not shutil.which("gcc"):
        pytest.skip("this machine has no gcc")
    program = tmp_path / "team"
    sources = [str(ROOT / "tests/c/team.c"), str(ROOT / "csrc/team.c")]
    command = ["gcc", "-O2", "-Wall", "-Werror", "-fopenmp", f"-I{ROOT / 'csrc'}", *sources]
    subprocess.run([*command, "-o", str(program), "-ldl", "-lpthread"], check=True)
    said = subprocess.run([str(program), *where], check=True, capture_output=True, text=True)
    assert said.stdout == "2 2 1 2\n"
