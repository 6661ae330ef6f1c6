"""Files of word vectors: round trips, gensim's reader and writer, files that lie, a disk that fills."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnfast import KeyedVectors
from nnfast.formats import FormatError
from nnfast.formats import safetensors as tensors
from nnfast.formats import vectors as files
from tests.child import output

RANDOM = np.random.default_rng(0)
WORDS = [f"wörd{i}" for i in range(2000)]
VECTORS = RANDOM.normal(size=(2000, 60)).astype("f4")  # more than a block of text
COUNTS = RANDOM.integers(1, 100, 2000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "v.txt"


@pytest.fixture
def ours() -> KeyedVectors:
    return KeyedVectors(WORDS, VECTORS, COUNTS)


def same(got: Any, words: list[Any], vectors: Any) -> None:
    assert list(got.index_to_key) == list(words)
    assert got.vectors.dtype == vectors.dtype
    assert got.vectors.tobytes() == np.ascontiguousarray(vectors).tobytes()


def load(path: Path, **settings: Any) -> KeyedVectors:
    return KeyedVectors.load_word2vec_format(path, **settings)


# --- round trips ----------------------------------------------------------------------------------

_FLOATS = {
    width: st.floats(width=width, allow_nan=False, allow_infinity=False) for width in (16, 32, 64)
}
_WORDS = st.text(
    st.characters(exclude_characters=" \t\n\r\v\f", exclude_categories=["Cs"]), max_size=6
)


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("binary", [False, True])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_was_written_is_read(
    binary: bool, width: int, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"round{width}{binary}"
    words = data.draw(st.lists(_WORDS, min_size=1, max_size=8, unique=True))
    size = data.draw(st.integers(1, 5))
    floats = _FLOATS[min(width, 32) if binary else width]
    vectors = data.draw(hnp.arrays(f"f{width // 8}", (len(words), size), elements=floats))
    header = binary or data.draw(st.booleans())
    KeyedVectors(words, vectors).save_word2vec_format(path, binary=binary, write_header=header)
    got = load(path, binary=binary, datatype=vectors.dtype, no_header=not header)
    same(got, words, vectors)


@pytest.mark.parametrize("name", ["v", "v.gz", "v.bz2", "v.xz"])
@pytest.mark.parametrize("binary", [False, True])
def test_many_words_packed_or_not(
    name: str, binary: bool, ours: KeyedVectors, tmp_path: Path
) -> None:
    path = tmp_path / name
    ours.save_word2vec_format(path, binary=binary)
    order = np.argsort(-COUNTS, kind="stable")
    same(load(path, binary=binary), [WORDS[i] for i in order], VECTORS[order])
    same(load(path, binary=binary, limit=7), [WORDS[i] for i in order[:7]], VECTORS[order[:7]])
    unpack = {"v.gz": gzip.decompress, "v.bz2": bz2.decompress, "v.xz": lzma.decompress}
    assert unpack.get(name, bytes)(path.read_bytes()).startswith(b"2000 60\nw")


@pytest.mark.parametrize("binary", [False, True])
def test_small_blocks(
    binary: bool, ours: KeyedVectors, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words and vectors that are cut by the ends of blocks."""
    monkeypatch.setattr(files, "_BLOCK", 101)
    some = KeyedVectors(WORDS[:40], VECTORS[:40])
    some.save_word2vec_format(path, binary=binary)
    same(load(path, binary=binary), WORDS[:40], VECTORS[:40])
    same(load(path, binary=binary, limit=3), WORDS[:3], VECTORS[:3])


def test_no_words(path: Path) -> None:
    KeyedVectors([], np.empty((0, 3))).save_word2vec_format(path)
    assert path.read_bytes() == b"0 3\n"
    for binary in (False, True):
        assert load(path, binary=binary).vectors.shape == (0, 3)


def test_what_the_header_says_and_what_comes_first(ours: KeyedVectors, path: Path) -> None:
    ours.save_word2vec_format(path, total_vec=7, sort_attr="none")
    lines = path.read_text().splitlines()
    assert lines[0] == "7 60"
    assert lines[1].split(" ")[0] == WORDS[0]
    same(load(path, limit=7), WORDS[:7], VECTORS[:7])
    ours.set_vecattr(WORDS[5], "first", 1)
    ours.save_word2vec_format(path, path.with_name("vocabulary"), sort_attr="first")
    assert load(path).index_to_key[:2] == [WORDS[5], WORDS[0]]
    assert path.with_name("vocabulary").read_text().startswith(f"{WORDS[5]} 1\n{WORDS[0]} 0\n")


def test_counts(ours: KeyedVectors, path: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary.gz"
    ours.save_word2vec_format(path, vocabulary)
    got = load(path, fvocab=vocabulary)
    assert {w: got.get_vecattr(w, "count") for w in WORDS} == dict(zip(WORDS, COUNTS, strict=True))
    made_up = load(path, limit=3)
    assert made_up.expandos["count"].tolist() == [3, 2, 1]
    for text, message in (
        ("a 5\nb\n", "line 2: expected a word and its count, got 'b"),
        ("a 5\nb -5\n", "line 2: expected a word and its count, got 'b -5"),
        ("a 5\n", "expected a count for each word of .*v.txt, got none for 'wörd"),
    ):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(FormatError, match=f"bad: {message}"):
            load(path, fvocab=tmp_path / "bad")
    (tmp_path / "bad").write_bytes(b"a 5\nb\xff 3\n")
    with pytest.raises(FormatError, match="bad: word 2: expected utf8"):
        load(path, fvocab=tmp_path / "bad")
    del ours.expandos["count"]
    with pytest.raises(ValueError, match="fvocab: expected the attribute 'count'"):
        ours.save_word2vec_format(path, tmp_path / "none")


# --- gensim ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_ours(binary: bool, ours: KeyedVectors, path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    vocabulary = path.with_name("vocabulary")
    ours.save_word2vec_format(path, vocabulary, binary=binary)
    theirs = models.KeyedVectors.load_word2vec_format(str(path), str(vocabulary), binary=binary)
    mine = load(path, fvocab=vocabulary, binary=binary)
    same(theirs, mine.index_to_key, mine.vectors)
    assert theirs.expandos["count"].tolist() == mine.expandos["count"].tolist()
    again = models.KeyedVectors.load_word2vec_format(str(path), binary=binary, limit=9)
    same(load(path, binary=binary, limit=9), again.index_to_key, again.vectors)
    assert load(path, binary=binary, limit=9).expandos["count"].tolist() == list(range(9, 0, -1))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("binary", [False, True])
def test_we_read_gensims(binary: bool, header: bool, ours: KeyedVectors, path: Path) -> None:
    pytest.importorskip("gensim.models")
    if binary and not header:
        with pytest.raises(ValueError, match="no_header: a binary file needs its header"):
            load(path, binary=True, no_header=True)
        return
    theirs = ours.to_gensim()
    theirs.save_word2vec_format(str(path), binary=binary, write_header=header)
    order = np.argsort(-COUNTS, kind="stable")
    got = load(path, binary=binary, no_header=not header)
    same(got, [WORDS[i] for i in order], VECTORS[order])


# --- texts that are somehow different -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (b"2 3\na 1 2 3\nb -4 5e-1 6.25\n", {}),
        (b"2 3\na 1 2 3\nb -4 5e-1 6.25", {}),
        (b"2 3\r\na 1 2 3\r\nb -4 5e-1 6.25\r\n", {}),
        (b"2 3\na 1 2 3 \nb -4 5e-1 6.25 \n", {}),
        (b"2 3\n\na 1 2 3\n  \nb -4 5e-1 6.25\n\n\n", {}),
        (b"2 3\na\t1\t2\t3\nb\t-4\t5e-1\t6.25\n", {}),
        (b"2 3\na  1  2 3\nb -4 \t5e-1 6.25\n", {}),
        (b"a 1 2 3\nb -4 5e-1 6.25\n", {"no_header": True}),
        (b"\na 1 2 3\nb -4 5e-1 6.25\n", {"no_header": True}),
        (b"a 1 2 3\nb -4 5e-1 6.25\nc 1\n", {"no_header": True, "limit": 2}),
        (b"3 3\na 1 2 3\nb -4 5e-1 6.25\nc 1 2\n", {"limit": 2}),
        (b"9 3\n\na 1 2 3\n\nb -4 5e-1 6.25\n\nc 1 2\n", {"limit": 2}),
        (b"a 1 2 3\nb -4 5e-1 6.25\n", {"no_header": True, "limit": 5}),
    ],
)
def test_other_texts(text: bytes, settings: Any, path: Path) -> None:
    path.write_bytes(text)
    same(load(path, **settings), ["a", "b"], np.array([[1, 2, 3], [-4, 0.5, 6.25]], "f4"))


def test_words_that_are_strange(path: Path) -> None:
    path.write_bytes(b"5 2\n. . . 1 2\n# 1 3\n\xc2\xa0 1 4\n 1 5\n1 1 6\n")
    same(
        load(path),
        [". . .", "#", "\xa0", "", "1"],
        np.array([[1, 2], [1, 3], [1, 4], [1, 5], [1, 6]], "f4"),
    )


def test_words_in_other_encodings(path: Path) -> None:
    text, vectors = b"2 2\nw\xf6rd 1 2\nword 3 4\n", np.array([[1, 2], [3, 4]], "f4")
    path.write_bytes(text)
    same(load(path, encoding="latin1"), ["wörd", "word"], vectors)
    same(load(path, unicode_errors="ignore"), ["wrd", "word"], vectors)
    same(load(path, unicode_errors="replace"), ["w\ufffdrd", "word"], vectors)
    with pytest.raises(FormatError, match=r"v.txt: word 1: expected utf8, got 'w\\xf6rd'; name"):
        load(path)
    bytes_kept = load(path, unicode_errors="surrogateescape")
    bytes_kept.save_word2vec_format(path)
    assert path.read_bytes() == text


@pytest.mark.parametrize("binary", [False, True])
def test_of_equal_words_the_first_is_kept(binary: bool, path: Path) -> None:
    words = ["a", "b", "a", "c", "b", "a"]
    with open(path, "wb") as file:
        file.write(b"6 2\n")
        for place, word in enumerate(words):
            numbers = np.float32([place, 1])
            as_text = " ".join(map(str, numbers)).encode()
            file.write(word.encode() + b" " + (numbers.tobytes() if binary else as_text) + b"\n")
    with pytest.warns(UserWarning, match="each word once, got 3 again, 'a' the first") as caught:
        got = load(path, binary=binary)
    assert caught[0].filename == __file__
    same(got, ["a", "b", "c"], np.array([[0, 1], [1, 1], [3, 1]], "f4"))


# --- files that lie -------------------------------------------------------------------------------

_F = np.array([1, 2, 3, 4], "<f4").tobytes()
_NAN = np.array([1, np.nan, 3, 4], "<f4").tobytes()

LIES: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "nothing": (b"", {}, "got an empty file"),
    "nothing, binary": (b"", {"binary": True}, "got an empty file"),
    "nothing, no header": (b"\n\n", {"no_header": True}, "got an empty file"),
    "header alone": (b"2 3\n", {}, "expected 2 words of 3 numbers, as line 1 says, got 0: truncated"),
    "header alone, binary": (b"2 3\n", {"binary": True}, "expected 2 words .* got 0: truncated"),
    "no header": (b"a 1 2\nb 3 4\n", {}, "line 1: expected the number of words .* got 'a 1 2.*no_header"),
    "a negative header": (b"-2 3\na 1 2 3\n", {}, "line 1: expected the number of words"),
    "no dimensions": (b"2 0\na\nb\n", {}, "line 1: expected 1 to 1,048,576 dimensions, got 0"),
    "words alone": (b"a\nb\n", {"no_header": True}, "expected 1 to 1,048,576 dimensions, got 0"),
    "a header after all": (
        b"2 3\na 1 2 3\nb 1 2 3\n",
        {"no_header": True},
        "line 2: expected a word and 1 numbers, got a word and 3.*no_header",
    ),
    "more words promised": (b"3 2\na 1 2\nb 3 4\n", {}, "expected 3 words .* got 2: truncated"),
    "fewer words promised": (
        b"1 2\na 1 2\nb 3 4\n",
        {},
        "expected 1 words of 2 numbers, as line 1 says, got line 3: 'b 3 4'; limit=1",
    ),
    "fewer words promised than wanted": (b"1 2\na 1 2\nb 3 4\n", {"limit": 2}, "got line 3: 'b 3 4'"),
    "more numbers promised": (b"2 3\na 1 2\nb 3 4\n", {}, "line 2: expected a word and 3 numbers, got a word and 2"),
    "fewer numbers promised": (b"2 1\na 1 2\nb 3 4\n", {}, "line 2: expected a word and 1 numbers, got a word and 2"),
    "10^12 words": (b"1000000000000 2\na 1 2\n", {}, "expected 1000000000000 words .* got 1: trunc"),
    "10^12 words, binary": (
        b"1000000000000 4\na " + _F,
        {"binary": True},
        "expected 1000000000000 words .* got 1: truncated",
    ),
    "10^12 numbers": (b"1 1000000000000\na 1 2\n", {}, "1,048,576 dimensions, got 1000000000000"),
    "many numbers": (b"9 1000000\na 1 2\n", {}, "line 2: expected a word and 1000000 numbers"),
    "many numbers, binary": (b"9 1000000\na " + _F, {"binary": True}, "got 0 and 18 bytes of another"),
    "10^30 words": (b"1" + b"0" * 30 + b" 2\na 1 2\n", {}, "line 1: expected the number of words"),
    "a shorter line": (b"3 2\na 1 2\nb 3\nc 4 5\n", {}, "line 3: expected a word and 2 numbers, got a word and 1, 'b 3'"),
    "a longer line": (b"a 1 2\nb 3 4 5\n", {"no_header": True}, "line 2: expected a word and 2 numbers, got a word and 3"),
    "one longer, one shorter": (b"2 2\na 1 2 3\nb 1\n", {}, "line 2: expected a word and 2 numbers"),
    "all twice as long": (b"2 2\na 1 2 3 4\n\n", {}, "line 2: expected a word and 2 numbers"),
    "NaN": (b"2 2\na 1 2\nb nan 3\n", {}, "line 3, 'b': expected a word and 2 finite numbers of float32, got 'nan'"),
    "infinity": (b"1 2\na 1 -inf\n", {}, "line 2, 'a': .* got '-inf'"),
    "beyond float32": (b"1 2\na 1 1e39\n", {}, "finite numbers of float32, got '1e39'"),
    "beyond float16": (b"1 2\na 1 1e5\n", {"datatype": "f2"}, "finite numbers of float16, got '1e5'"),
    "no number": (b"1 2\na 1 2,5\n", {}, "line 2, 'a': .* got '2,5' among them"),
    "no number for Python alone": (b"1 2\na 1 2_5\n", {}, "line 2, 'a': .* got '2_5' among them"),
    "cut in a number": (b"2 4\na " + _F + b"\nb " + _F[:-3], {"binary": True}, "got 1 and 16 bytes of another"),
    "cut in a word": (b"2 4\na " + _F + b"\nb", {"binary": True}, "got 1 and 2 bytes of another"),
    "more bytes": (b"1 4\na " + _F + b"\nb " + _F, {"binary": True}, "got more bytes behind them; limit=1"),
    "fewer numbers, binary": (b"2 3\na " + _F + b"\nb " + _F, {"binary": True}, "got more bytes"),
    "NaN, binary": (b"2 4\na " + _F + b"b " + _NAN, {"binary": True}, "word 2, 'b': expected finite"),
    "a text as binary": (
        b"1 4\na 0.123456 0.123456 0.123456 0.123456\n",
        {"binary": True},
        "word 1: expected float32 numbers, got the text '0.123456 0.12345'; .*binary=False",
    ),
    "binary as a text": (b"2 4\na " + _F + b"\nb " + _F, {}, "line 2: expected a word and 4 numbers.*binary"),
    "no UTF-8, binary": (b"1 4\n\xff " + _F, {"binary": True}, r"word 1: expected utf8, got '\\xff'"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_files_that_lie(name: str, path: Path) -> None:
    data, settings, message = LIES[name]
    for file in (path, path.with_suffix(".gz")):
        file.write_bytes(data if file is path else gzip.compress(data))
        tracemalloc.start()
        with pytest.raises(FormatError, match=f"{file.name}: .*{message}"):
            load(file, **settings)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 << 20


def test_an_endless_line_and_an_endless_word(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 1 << 10)
    monkeypatch.setattr(files, "_LONGEST_LINE", 1 << 14)
    path.write_bytes(b"2 2\n" + bytes(1 << 16))
    with pytest.raises(FormatError, match=r"one of more than 16,384 bytes; .* binary=True"):
        load(path)
    with pytest.raises(FormatError, match="word 1: expected a blank behind it, got none"):
        load(path, binary=True)


@pytest.mark.parametrize("name", ["v.gz", "v.bz2", "v.xz"])
def test_damaged_archives(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    KeyedVectors(WORDS[:99], VECTORS[:99]).save_word2vec_format(path)
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 255
    for data in (whole[: len(whole) // 2], b"2 2\na 1 2\n", bytes(altered)):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=f"{name}: "):
            load(path)


def test_what_is_no_file(tmp_path: Path, ours: KeyedVectors) -> None:
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder; name a file in it"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing: no such file"):
        load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match="expected a file to write, got a folder"):
        ours.save_word2vec_format(tmp_path)
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder"):
        KeyedVectors.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing: no such file"):
        KeyedVectors.load(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"limit": 0}, ValueError, "limit: expected an integer of at least 1, got 0"),
        ({"limit": 2.5}, TypeError, "limit: expected an integer"),
        ({"datatype": int}, ValueError, "expected one of floats, for example float32, got int64"),
    ],
)
def test_what_cannot_be_asked(settings: Any, error: Any, message: str, path: Path) -> None:
    path.write_bytes(b"1 1\na 1\n")
    with pytest.raises(error, match=message):
        load(path, **settings)


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["new york", "a\tb", "a\n", "\r", "a\ud800b"])
@pytest.mark.parametrize("binary", [False, True])
def test_words_that_no_reader_would_read(word: str, binary: bool, path: Path) -> None:
    path.write_text("old")
    with pytest.raises(FormatError, match=r"expected no white space|expected valid Unicode"):
        KeyedVectors([word], [[1]]).save_word2vec_format(path, binary=binary)
    assert path.read_text() == "old"
    KeyedVectors([word], [[1]]).save(path)
    assert KeyedVectors.load(path).index_to_key == [word]


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_disk_that_fills(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes writes fail in the middle of a file, as a full disk does."""
    script = f"""
        import resource, signal
        from pathlib import Path
        folder = Path({str(tmp_path)!r})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        small = nn.KeyedVectors(["a"], [[1]])
        large = nn.KeyedVectors([str(i) for i in range(9000)], np.random.rand(9000, 20))
        writers = {{
            "text": nn.KeyedVectors.save_word2vec_format,
            "binary": lambda v, path: v.save_word2vec_format(path, binary=True),
            "packed.gz": nn.KeyedVectors.save_word2vec_format,
            "own": nn.KeyedVectors.save,
        }}
        for name, write in writers.items():
            write(small, folder / name)
            before = (folder / name).read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
            try:
                write(large, folder / name)
            except OSError as error:
                print(name, error.errno, (folder / name).read_bytes() == before)
            resource.setrlimit(resource.RLIMIT_FSIZE, [resource.RLIM_INFINITY] * 2)
        print(len(os.listdir(folder)))
        """
    assert output(script).splitlines() == [
        "text 27 True",
        "binary 27 True",
        "packed.gz 27 True",
        "own 27 True",
        "4",
    ]


# --- one file of all ------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [None, "r"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_all_is_kept(dtype: str, mmap: str | None, path: Path) -> None:
    words: list[Any] = ["a", "", "new york", "\ud800", "ü", 5, np.int64(7)]
    vectors = RANDOM.normal(size=(7, 3)).astype(dtype)
    ours = KeyedVectors(words, vectors, range(7))
    ours.set_vecattr("a", "weight", 0.5)
    ours.save(path)
    got = KeyedVectors.load(path, mmap)
    same(got, words, vectors)
    assert got.expandos["count"].tolist() == list(range(7))
    assert got.get_vecattr("a", "weight") == 0.5
    assert got.vectors.flags.writeable == (mmap is None)
    assert got.most_similar("a") == ours.most_similar("a")
    got["a"] = np.zeros(3)
    got.add_vector("new", np.ones(3))
    assert not got["a"].any()
    same(KeyedVectors.load(path, mmap), words, vectors)


def test_a_mapped_file_may_be_replaced(path: Path, ours: KeyedVectors) -> None:
    ours.save(path)
    mapped = KeyedVectors.load(path, mmap="r")
    KeyedVectors(["a"], [[1]]).save(path)
    same(mapped, WORDS, VECTORS)
    KeyedVectors([], np.empty((0, 3))).save(path)
    assert KeyedVectors.load(path, mmap="r").vectors.shape == (0, 3)


def test_mapping_reads_no_vectors(path: Path) -> None:
    KeyedVectors(range(1000), np.ones((1000, 5000), "f4")).save(path)
    tracemalloc.start()
    mapped = KeyedVectors.load(path, mmap="r")
    assert mapped[5][0] == 1
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_what_is_no_file_of_ours(path: Path, ours: KeyedVectors) -> None:
    with pytest.raises(ValueError, match="mmap: expected one of 'r', got 'w'"):
        KeyedVectors.load(path, mmap="w")
    with pytest.raises(FileNotFoundError):
        KeyedVectors.load(path)
    path.write_bytes(b"3 2\na 1 2\n")
    with pytest.raises(FormatError, match=r"v.txt: .*no safetensors file"):
        KeyedVectors.load(path)
    tensors.save(path, {"vectors": np.ones((2, 2))})
    with pytest.raises(FormatError, match=r"v.txt: expected vectors that KeyedVectors.save wrote"):
        KeyedVectors.load(path)
    ours.save(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="truncated"):
        KeyedVectors.load(path, mmap="r")
    for words, message in (
        (b'["a"]', "vectors: expected shape"),
        (b"[", "Expecting"),
        (b"7", "iter"),
    ):
        table = {"vectors": np.ones((2, 2)), "words": np.frombuffer(words, np.uint8)}
        tensors.save(path, table, {"nnfast.vectors": "1"})
        with pytest.raises(FormatError, match=f"v.txt: .*{message}"):
            KeyedVectors.load(path)
    ours.set_vecattr(WORDS[0], "part", "noun")
    with pytest.raises(FormatError, match=r"'attribute.part': safetensors cannot hold object"):
        ours.save(path)
