"""The documentation runs: all Python blocks of a file in order, in one namespace, warnings as errors.

A block fenced as ```text output right behind a Python block is what that prints, but for the numbers: they differ in
their last digits from machine to machine.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(python|text output)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    number: int
    line: int
    code: str
    prints: str | None


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(text):
        kind, body = match.groups()
        if kind == "python":
            found.append(Block(len(found) + 1, text.count("\n", 0, match.start(2)), body, None))
        else:
            assert found, "text output before the first Python block"
            assert not text[end : match.start()].strip(), f"what prints this? {body}"
            found[-1] = Block(found[-1].number, found[-1].line, found[-1].code, body)
        end = match.end()
    return found


def shape(printed: str) -> str:
    """The words, without numbers, widths of columns and breaks of lines."""
    return " ".join(re.sub(r"[-+]?\d[\d,.]*(e[-+]\d+)?", "0", printed).split())


def run(file: Path, text: str) -> None:
    """Run a file's blocks; an error has the file's own line in its traceback."""
    namespace = {"__name__": "__main__"}
    for block in blocks(text):
        out = io.StringIO()
        try:
            # as many empty lines before the code as it has in the file
            code = compile("\n" * block.line + block.code, str(file), "exec")
            with contextlib.redirect_stdout(out):
                exec(code, namespace)
        except ModuleNotFoundError as error:
            missing = error.name or str(error)
            if missing.startswith("nnfast"):
                raise
            pytest.skip(f"could not import {missing!r} for {file.name}, block {block.number}")
        except Exception as error:
            raise AssertionError(f"{file.name}, block {block.number}: {error!r}") from error
        if block.prints is not None:
            where = f"{file.name}, block {block.number}, prints"
            assert shape(out.getvalue()) == shape(block.prints), f"{where}\n{out.getvalue()}"


def write_iris(file: Path) -> None:
    """The table that the README's example reads."""
    data = pytest.importorskip("sklearn.datasets").load_iris()
    lines = [",".join([*(name.removesuffix(" (cm)") for name in data.feature_names), "species"])]
    for row, label in zip(data.data.tolist(), data.target.tolist(), strict=True):
        lines.append(",".join([*map(str, row), str(data.target_names[label])]))
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_documentation_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = file.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    if "iris.csv" in text:
        write_iris(tmp_path / "iris.csv")
    run(file, text)


def test_failures_are_placed() -> None:
    text = (
        "# A\n\n```python\nx = 1\n```\n\n```python\nprint(x + 1)\n```\n\n```text output\n3\n```\n"
    )
    first, second = blocks(text)
    assert (first.number, first.code, first.prints) == (1, "x = 1\n", None)
    assert (second.line, second.prints) == (7, "3\n")
    run(Path("a.md"), text)
    with pytest.raises(AssertionError, match=r"a\.md, block 2, prints\n *2\n"):
        run(Path("a.md"), text.replace("\n3\n", "\ntwo\n"))
    with pytest.raises(AssertionError, match=r"a\.md, block 2: ZeroDivisionError") as caught:
        run(Path("a.md"), text.replace("x + 1", "x / 0"))
    frame = caught.value.__cause__.__traceback__.tb_next
    assert (frame.tb_frame.f_code.co_filename, frame.tb_lineno) == ("a.md", 8)
    with pytest.raises(AssertionError, match="block 1: UserWarning"):
        run(Path("a.md"), "```python\nimport warnings\nwarnings.warn('old')\n```")
    with pytest.raises(ModuleNotFoundError, match=r"nnfast\.nothing"):
        run(Path("a.md"), "```python\nimport nnfast.nothing\n```")
    with pytest.raises(pytest.skip.Exception, match="could not import 'no_such_package'"):
        run(Path("a.md"), "```python\nimport no_such_package\n```")
    with pytest.raises(AssertionError, match="what prints this"):
        blocks(text.replace("```\n\n```text", "```\n\nWords.\n\n```text"))
