"""nnfast word2vec: word2vec.c's flags, questions to vectors, one-line errors."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from test_word2vec import SENTENCES, bits, right

import nnfast as nn
from nnfast import cli, word_queries


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    file.write_text("\n".join(" ".join(sentence) for sentence in SENTENCES[:1000]))
    return file


def run(*words: object) -> int:
    return cli.main(["word2vec", *map(str, words)])


SMALL = ("-size", 16, "-window", 6, "-sample", 0, "-iter", 5, "-threads", 1)


@pytest.mark.parametrize("binary", [0, 1])
def test_train_writes_word2vecs_files(
    binary: int, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vectors"
    assert run("-train", corpus, "-output", file, "-binary", binary, "-cbow", 0, *SMALL) == 0
    assert capsys.readouterr().out == "Vocab size: 44\nWords in train file: 7000\n"
    wv = nn.KeyedVectors.load_word2vec_format(file, binary=bool(binary))
    model = nn.Word2Vec(
        corpus_file=corpus,
        vector_size=16,
        window=6,
        sample=0,
        sg=1,
        min_alpha=0.025e-4,
        workers=1,
    )
    assert wv.index_to_key == model.wv.index_to_key
    np.testing.assert_array_equal(wv.vectors, model.wv.vectors)
    assert right(model) > 0.6


def test_defaults_are_word2vecs(corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors"
    assert run("-train", corpus, "-output", file, "-threads", 1, "-debug", 0) == 0
    model = nn.Word2Vec(corpus_file=corpus, alpha=0.05, min_alpha=0.05e-4, workers=1)
    wv = nn.KeyedVectors.load_word2vec_format(file)
    np.testing.assert_array_equal(wv.vectors, model.wv.vectors)


def test_vocabulary_files(corpus: Path, tmp_path: Path) -> None:
    vocabulary, first, second = (tmp_path / name for name in ("vocabulary", "first", "second"))
    assert run("-train", corpus, "-save-vocab", vocabulary) == 0
    lines = vocabulary.read_text().splitlines()
    assert len(lines) == 44
    counts = [int(line.split()[1]) for line in lines]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == 7000
    assert run("-train", corpus, "-output", first, *SMALL) == 0
    assert run("-train", corpus, "-output", second, "-read-vocab", vocabulary, *SMALL) == 0
    assert first.read_bytes() == second.read_bytes()


def test_classes(corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "classes"
    assert run("-train", corpus, "-output", file, "-classes", 6, "-cbow", 0, *SMALL) == 0
    classes = dict(line.split() for line in file.read_text().splitlines())
    assert len(classes) == 44
    assert set(classes.values()) <= set("012345")
    same = [len({classes[f"topic{pair}.{k}"] for k in range(4)}) == 1 for pair in range(6)]
    assert sum(same) >= 4


def test_classes_of_clear_clusters() -> None:
    random = np.random.default_rng(0)
    centres = np.eye(3, 8, dtype="f4")
    vectors = np.repeat(centres, 20, axis=0) * random.uniform(1, 5, (60, 1)).astype("f4")
    vectors += random.normal(scale=0.05, size=vectors.shape).astype("f4")
    vectors[:3] = vectors[[0, 20, 40]]  # word2vec.c's start is by row
    vectors[[20, 40]] = vectors[[21, 41]]
    labels = word_queries.classes(vectors, 3)
    assert [len(set(labels[i : i + 20])) for i in (0, 20, 40)] == [1, 1, 1]
    assert len(set(labels)) == 3
    assert set(word_queries.classes(vectors[:2], 5)) <= set(range(5))


@pytest.fixture(scope="module", params=["text", "binary", "gz", "model"])
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the same vectors: cos(a, b) is large, c is to d as a to b."""
    folder = tmp_path_factory.mktemp("vectors")
    rows = [[1, 0, 0], [1, 1, 0], [0, 0.1, 1], [0.05, 1.1, 1], [-1, 0, 0]]
    wv = nn.KeyedVectors(["a", "b", "c", "d", "ü"], np.array(rows, "f4"))
    file = folder / ("vectors.gz" if request.param == "gz" else "vectors")
    if request.param == "model":
        model = nn.Word2Vec([["a", "b", "c", "d", "ü"]], min_count=1, vector_size=3, sorted_vocab=0)
        model.wv.vectors[...] = wv.vectors
        model.save(file)
    else:
        wv.save_word2vec_format(file, binary=request.param == "binary")
    return file


def test_nearest(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nn", vectors, "a", "-topn", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "b 0.7071"
    assert len(lines) == 2


def test_analogy(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("analogy", vectors, "a", "b", "c", "-topn", 1) == 0
    assert capsys.readouterr().out.startswith("d 0.")


def test_lines_of_stdin(
    vectors: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nwhat\n\nb ü\n"))
    assert run("nn", vectors, "-topn", 1) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["b", "a", "c"]
    assert "'what' is none of the 5 keys" in err
    monkeypatch.setattr("sys.stdin", io.StringIO("a b\na b c\n"))
    assert run("analogy", vectors, "-topn", 1) == 0
    out, err = capsys.readouterr()
    assert out.startswith("d 0.")
    assert "expected three words A B C, got 'a b'" in err


def test_eval(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions, pairs = tmp_path / "questions", tmp_path / "pairs"
    questions.write_text(": some\na b c d\na b c x\n: more\nc d a ü\n")
    pairs.write_text("a\tb\t9\na\tc\t5\na\tü\t1\nx\ty\t3\n")
    assert run("eval", vectors, "-questions", questions, "-pairs", pairs) == 0
    assert capsys.readouterr().out.splitlines() == [
        "some: 100.00% (1 of 1)",
        "more: 0.00% (0 of 1)",
        "Total accuracy: 50.00% (1 of 2)",
        "Pearson 0.9951, Spearman 1.0000, 25.00 % unknown",
    ]


def test_checkpoint_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-train", corpus, "-output", tmp_path / "a", "-debug", 0, *SMALL)
    assert run(*words) == 0
    stopped = []

    def interrupt(self: object, epoch: int) -> None:
        if epoch == 3 and not stopped:
            stopped.append(epoch)
            raise KeyboardInterrupt

    monkeypatch.setattr(nn.Callback, "on_epoch_begin", interrupt)
    words = ("-train", corpus, "-output", tmp_path / "b", "-checkpoint", tmp_path / "kept", *words[4:])
    assert run(*words) == 130
    assert capsys.readouterr().err == "nnfast: interrupted\n"
    assert not (tmp_path / "b").exists()
    assert run(*words) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_packed_text(corpus: Path, tmp_path: Path) -> None:
    packed = tmp_path / "corpus.txt.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    plain, same = tmp_path / "plain", tmp_path / "same"
    assert run("-train", corpus, "-output", plain, *SMALL) == 0
    assert run("-train", packed, "-output", same, *SMALL) == 0
    assert plain.read_bytes() == same.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-output", "x"], "expected -train FILE and -output FILE"),
        (["-train", "nothing.txt", "-output", "x"], "no such file"),
        (["-train", ".", "-output", "x"], "got a folder"),
        (["-train", "{corpus}", "-output", "{corpus}"], "expected another file to write"),
        (["-train", "{corpus}", "-output", "none/x"], "there is no folder none"),
        (["-train", "{corpus}", "-output", "x", "-size", "0"], "vector_size: expected"),
        (["-train", "{corpus}", "-output", "x", "-size", "many"], "invalid int value"),
        (["-train", "{corpus}", "-output", "x", "-hs", "2"], "invalid choice"),
        (["-train", "{corpus}", "-output", "x", "-negative", "0"], "expected hs=1 or negative > 0"),
        (["-train", "{corpus}", "-output", "x", "-min-count", "99999"], "min_count: expected at most"),
        (["-train", "{corpus}", "-output", "x", "-read-vocab", "{corpus}"], "expected a word and its count"),
        (["-wat", "5"], "nnfast word2vec: "),
        (["nearest", "x"], "invalid choice"),
        (["nn", "nothing.txt", "a"], "no such file"),
        (["nn", "{corpus}", "a"], "expected the number of words"),
        (["eval", "{corpus}"], "expected -questions FILE or -pairs FILE"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line_and_code_2(
    words: list[str],
    message: str,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*(word.format(corpus=corpus) for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("nnfast")
    assert not list(tmp_path.iterdir())


def test_unknown_words_are_one_line(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nn", vectors, "what") == 2
    assert capsys.readouterr().err.startswith("nnfast: 'what' is none of the 5 keys")
    assert run("analogy", vectors, "a", "b") == 2
    assert "expected three words A B C, got 'a b'" in capsys.readouterr().err


def test_a_model_keeps_its_bits(tmp_path: Path) -> None:
    model = nn.Word2Vec(SENTENCES[:50], min_count=1, vector_size=5)
    model.save(tmp_path / "model")
    wv = nn.KeyedVectors.load(tmp_path / "model")
    assert wv.index_to_key == model.wv.index_to_key
    assert bits(model).startswith(wv.vectors.tobytes())
