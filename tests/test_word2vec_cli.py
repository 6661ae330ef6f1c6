"""nnfast word2vec: word2vec.c's flags, questions, one-line errors."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from child import needs_native
from test_word2vec import SENTENCES, SMALL

import nnfast as nn
from nnfast import cli

DEFAULTS = ["-size", "12", "-min-count", "1", "-threads", "1", "-debug", "0"]
QUESTIONS = """\
: cities
country0 city0 country1 city1
country2 city2 country3 city3
: nothing known
a b c d
"""


def text(sentences: list[list[str]]) -> str:
    return "".join(" ".join(sentence) + "\n" for sentence in sentences)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text(text(SMALL))
    return file


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Vectors of which the answers are known: a country and its city differ by (0, 0, 0, 0, 1)."""
    places = np.eye(5, dtype=np.float32)[:4]
    words = [f"{kind}{i}" for kind in ("country", "city") for i in range(4)]
    rows = np.concatenate([places, places + np.eye(5, dtype=np.float32)[4]])
    nn.KeyedVectors(words, rows).save_word2vec_format(tmp_path / "vectors.txt")
    return tmp_path / "vectors.txt"


def train(*words: object) -> int:
    return cli.main(["word2vec", *DEFAULTS, *map(str, words)])


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ([], {"alpha": 0.05, "min_alpha": 5e-6}),
        (["-cbow", 0], {"sg": 1, "min_alpha": 2.5e-6}),
        (["-cbow", 0, "-hs", 1, "-negative", 0, "-alpha", 0.1], {"sg": 1, "hs": 1, "negative": 0, "alpha": 0.1, "min_alpha": 1e-5}),
        (["-window", 2, "-sample", 0, "-iter", 2, "-negative", 3, "-seed", 4, "-cbow", 0], {"sg": 1, "window": 2, "sample": 0, "epochs": 2, "negative": 3, "seed": 4, "min_alpha": 2.5e-6}),
    ],
)  # fmt: skip
def test_flags_are_word2vecs(
    flags: list[object], settings: dict[str, object], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.bin"
    assert train("-train", corpus, "-output", out, "-binary", 1, *flags) == 0
    found = nn.KeyedVectors.load_word2vec_format(out, binary=True)
    basic = {"vector_size": 12, "min_count": 1, "workers": 1}
    expected = nn.Word2Vec(corpus_file=corpus, **basic | settings).wv
    assert found.index_to_key == expected.index_to_key
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_text_binary_and_packed(corpus: Path, tmp_path: Path) -> None:
    packed = tmp_path / "corpus.txt.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    for source, out, binary in [(corpus, "a", 0), (packed, "b", 0), (packed, "c", 1)]:
        assert train("-train", source, "-output", tmp_path / out, "-binary", binary) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    a = nn.KeyedVectors.load_word2vec_format(tmp_path / "a")
    c = nn.KeyedVectors.load_word2vec_format(tmp_path / "c", binary=True)
    np.testing.assert_allclose(a.vectors, c.vectors, rtol=1e-5, atol=1e-7)


def test_what_it_prints(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-train", corpus, "-output", tmp_path / "out") == 0
    assert capsys.readouterr() == ("", "")
    assert train("-train", corpus, "-output", tmp_path / "out", "-debug", 1) == 0
    n_words = len({word for sentence in SMALL for word in sentence})
    assert capsys.readouterr().out == f"Vocab size: {n_words}\nWords in train file: 1400\n"


def test_vocabulary_files(corpus: Path, tmp_path: Path) -> None:
    counts, out, again = tmp_path / "counts", tmp_path / "out", tmp_path / "again"
    assert train("-train", corpus, "-save-vocab", counts) == 0
    first = counts.read_text().splitlines()[0].split()
    model = nn.Word2Vec(min_count=1)
    model.build_vocab(SMALL)
    word = model.wv.index_to_key[0]
    assert first == [word, str(model.wv.get_vecattr(word, "count"))]
    assert train("-train", corpus, "-output", out) == 0
    assert train("-train", corpus, "-output", again, "-read-vocab", counts) == 0
    assert out.read_bytes() == again.read_bytes()
    counts.write_text("city0 9\ncountry0 8\n")
    assert train("-train", corpus, "-output", out, "-read-vocab", counts) == 0
    assert nn.KeyedVectors.load_word2vec_format(out).index_to_key == ["city0", "country0"]


def test_classes(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "classes"
    assert train("-train", corpus, "-output", out, "-classes", 5) == 0
    rows = [line.split() for line in out.read_text().splitlines()]
    assert {word for word, _ in rows} == {word for sentence in SMALL for word in sentence}
    assert {label for _, label in rows} == set("01234")


@needs_native
def test_from_a_text_to_right_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, out = tmp_path / "corpus.txt", tmp_path / "vectors.txt"
    corpus.write_text(text(SENTENCES))
    flags = ["-cbow", 0, "-window", 6, "-sample", 0, "-iter", 10]
    assert train("-train", corpus, "-output", out, *flags) == 0
    (tmp_path / "questions").write_text(QUESTIONS)
    assert cli.main(["word2vec", "analogy", str(out), "country0", "city0", "country4"]) == 0
    assert capsys.readouterr().out.startswith("city4 0.")
    assert cli.main(["word2vec", "eval", str(out), "-questions", str(tmp_path / "questions")]) == 0
    assert "cities: 100.00% (2 of 2)" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["text", "binary", "model"])
def test_nn_of_all_kinds_of_files(
    kind: str, vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other"
    wv = nn.KeyedVectors.load_word2vec_format(vectors)
    if kind == "model":
        wv.save(file)
    else:
        wv.save_word2vec_format(file, binary=kind == "binary")
    assert cli.main(["word2vec", "nn", str(file), "city2", "-topn", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"country2 {np.sqrt(0.5):.4f}"
    assert second.endswith(" 0.5000")


def test_lines_of_stdin(
    vectors: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("country0 city0 country3\n\nunknown a b\none\n"))
    assert cli.main(["word2vec", "analogy", str(vectors), "-topn", "1"]) == 0
    out, errors = capsys.readouterr()
    assert out.split()[0] == "city3"
    wrong, short = errors.splitlines()
    assert "'unknown'" in wrong or "'a'" in wrong
    assert "expected three words A B C, got 'one'" in short


def test_eval(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "questions").write_text(QUESTIONS)
    (tmp_path / "pairs").write_text("city0\tcountry0\t9\ncity0\tcity1\t5\ncountry0\tcountry1\t1\n")
    files = ["-questions", tmp_path / "questions", "-pairs", tmp_path / "pairs"]
    assert cli.main(["word2vec", "eval", str(vectors), *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cities: 100.00% (2 of 2)"
    assert lines[-1].endswith("Spearman 1.0000, 0.00 % unknown")


BAD = {
    "nothing": ([], "expected -train FILE and -output FILE"),
    "no output": (["-train", "{corpus}"], "expected -train FILE and -output FILE"),
    "no file": (["-train", "none", "-output", "out"], "none: no such file"),
    "a folder": (["-train", ".", "-output", "out"], "got a folder"),
    "to a folder": (["-train", "{corpus}", "-output", "."], "got a folder"),
    "to itself": (["-train", "{corpus}", "-output", "{corpus}"], "corpus.txt"),
    "empty": (["-train", "{empty}", "-output", "out"], "got an empty corpus"),
    "all rare": (["-train", "{corpus}", "-output", "out", "-min-count", "9999"], "min_count"),
    "no objective": (["-train", "{corpus}", "-output", "out", "-negative", "0"], "hs=1 or negative"),
    "size 0": (["-train", "{corpus}", "-output", "out", "-size", "0"], "vector_size: expected"),
    "a word": (["-train", "{corpus}", "-output", "out", "-size", "many"], "-size: invalid int value"),
    "a flag": (["-train", "{corpus}", "-output", "out", "-sizes", "5"], "see nnfast word2vec --help"),
    "vectors": (["nn", "{corpus}", "city0"], "line 1"),
    "no vectors": (["nn", "none", "city0"], "none: no such file"),
    "unknown": (["nn", "{vectors}", "zebra"], "'zebra' is none of the 8 keys"),
    "two": (["analogy", "{vectors}", "city0", "city1"], "expected three words A B C"),
    "no set": (["eval", "{vectors}"], "expected -questions FILE or -pairs FILE"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str,
    corpus: Path,
    vectors: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, words = BAD[case]
    (tmp_path / "empty").write_text("\n \n")
    monkeypatch.chdir(tmp_path)
    files = {"corpus": corpus, "vectors": vectors, "empty": tmp_path / "empty"}
    before = corpus.read_bytes()
    assert cli.main(["word2vec", *(each.format(**files) for each in arguments)]) == 2
    out, error = capsys.readouterr()
    assert words in error.splitlines()[-1]
    assert "Traceback" not in error + out
    assert corpus.read_bytes() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("binary", [0, 1])
def test_a_full_disk_is_found_before_training(
    binary: int,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "vectors"
    arguments = ["-train", corpus, "-output", output, "-binary", binary]
    assert train(*arguments) == 0
    before = output.read_bytes()
    free = SimpleNamespace(free=1.2 * len(before))
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    assert train(*arguments) == 0
    monkeypatch.setattr(nn.Word2Vec, "train", lambda *_, **__: pytest.fail("it has begun"))
    free.free = 0.8 * len(before)
    assert train(*arguments) == 1
    assert "vectors: expected room for vectors of about" in capsys.readouterr().err
    assert output.read_bytes() == before


@needs_native
def test_a_killed_command_goes_on(tmp_path: Path) -> None:
    corpus, kept = tmp_path / "corpus.txt", tmp_path / "kept"
    corpus.write_text(text(SENTENCES * 10))
    flags = [*DEFAULTS, "-iter", "12", "-cbow", "0", "-train", str(corpus)]
    command = [sys.executable, "-m", "nnfast", "word2vec", *flags, "-output"]
    subprocess.run([*command, tmp_path / "whole"], check=True)
    resumable = [*command, tmp_path / "resumed", "-checkpoint", kept]
    with subprocess.Popen(resumable) as process:
        end = time.monotonic() + 60
        while not (kept.is_dir() and any(kept.iterdir())) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "resumed").exists()
    subprocess.run(resumable, check=True)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not kept.exists()
