"""Reading and encoding: C against Python against a few plain lines, gensim, caches, bad input."""

from __future__ import annotations

import bz2
import errno
import gc
import gzip
import io
import json
import lzma
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nnfast import streams, texts
from nnfast.backend import NativeBackend
from nnfast.corpus import Corpus, Counted, count, encode, from_ids
from nnfast.formats import FormatError
from nnfast.reference import ReferenceBackend
from nnfast.texts import LineSentence
from nnfast.vocab import Vocabulary

TEXT = Path(__file__).parents[1] / "ARCHITECTURE.md"
LIKE_TEXT = st.lists(
    st.sampled_from(
        [
            b"a",
            b"b",
            b"ab",
            b"longer than eight"[:10],
            b"exactly8",
            b"seven77",
            b"much-longer-than-a-word",
            b" ",
            b"  ",
            b"\n",
            b"\r\n",
            b"\t",
            b"\v\f",
            b"\0",
            b"a\0",
            b"\xc3\xa9",
            b"\xff",
            b"\xc2\xa0",
            b"\x1c",
        ]
    )
    | st.binary(max_size=20),
    max_size=60,
).map(b"".join)


@pytest.fixture(params=["reference", "native"])
def machine(request: pytest.FixtureRequest, use: Callable[[str], Any]) -> Any:
    """Both ways to read a text; the native one is compiled once, for all instruction sets."""
    if request.param == "native":
        native = pytest.importorskip(
            "nnfast._native", reason="nnfast was installed without its kernels"
        )
        return use(native.isas()[0])
    return use("reference")


def sentences_of(data: bytes, longest: int = 10_000) -> list[list[bytes]]:
    """The rule: lines by \\n, tokens by bytes.split(), long lines cut, empty ones gone."""
    found = []
    for line in data.split(b"\n"):
        tokens = line.split()
        found += [tokens[i : i + longest] for i in range(0, len(tokens), longest)]
    return found


def decoded(corpus: Corpus, vocabulary: Vocabulary) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for i in corpus.ids.tolist():
        if i < 0:
            found.append([])
        else:
            found[-1].append(vocabulary.words[i])
    assert found.pop() == []  # the last sentence has ended, too
    return found


def as_str(sentences: list[list[bytes]]) -> list[list[str]]:
    return [[token.decode("utf-8", "surrogateescape") for token in tokens] for tokens in sentences]


def all_of(counted: Counted) -> tuple[Corpus, Vocabulary]:
    vocabulary = counted.vocabulary(min_count=1)
    return counted.encode(vocabulary), vocabulary


# ---- the readers ----


def read(reader: Any, data: bytes, cuts: list[int]) -> tuple[list[int], list[list[int]]]:
    """Feed data cut at these places; ids, and each prune's answer with the ids before it."""
    ids: list[int] = []
    prunes: list[list[int]] = []
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in pairwise(places):
        rest = memoryview(data)[begin:end]
        while len(rest):
            out = np.full(len(rest) + 4, -9, np.int32)
            used, n, full = reader.feed(rest, out)
            assert (out[:n] >= -1).all()
            ids += out[:n].tolist()
            rest = rest[used:]
            if full:
                prunes.append([len(ids), *reader.prune(len(prunes) + 1).tolist()])
    out = np.empty(3, np.int32)
    n, full = reader.finish(out)
    ids += out[:n].tolist()
    if full:
        prunes.append([len(ids), *reader.prune(len(prunes) + 1).tolist()])
    return ids, prunes


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    LIKE_TEXT,
    st.lists(st.integers(0, 100), max_size=4),
    st.sampled_from([1, 2, 3, 10_000]),
    st.sampled_from([0, 1, 3, 10**9]),
)
@example(b"a b\nc", [2], 10_000, 10**9)
@example(b"a a b c d\na\n", [], 10_000, 2)
@example(b"bb a a\na a\nc\n", [], 10_000, 1)  # the second prune takes a word before one that stays
@example(b"12345678\n123456789 1234567\n", [8], 10_000, 10**9)
@example(b"\0 a\0 a \0\0", [], 10_000, 10**9)
def test_c_reads_what_python_reads(data: bytes, cuts: list[int], longest: int, most: int) -> None:
    native = pytest.importorskip(
        "nnfast._native", reason="nnfast was installed without its kernels"
    )
    ours = NativeBackend(native.isas()[0]).corpus_reader(longest, most)
    theirs = ReferenceBackend().corpus_reader(longest, most)
    assert read(ours, data, cuts) == read(theirs, data, cuts)
    assert ours.words() == theirs.words()
    assert ours.counts().tolist() == theirs.counts().tolist()
    assert (ours.n_raw_words, ours.n_sentences) == (theirs.n_raw_words, theirs.n_sentences)


@given(LIKE_TEXT, st.lists(st.integers(0, 100), max_size=4), st.sampled_from([1, 2, 3, 10_000]))
def test_the_readers_follow_the_rule(data: bytes, cuts: list[int], longest: int) -> None:
    reader = ReferenceBackend().corpus_reader(longest, 10**9)
    ids, _ = read(reader, data, cuts)
    words, expected = reader.words(), sentences_of(data, longest)
    assert [words[i] if i >= 0 else None for i in ids] == [w for s in expected for w in (*s, None)]
    assert dict(zip(words, reader.counts().tolist(), strict=True)) == Counter(
        w for s in expected for w in s
    )
    assert (reader.n_raw_words, reader.n_sentences) == (sum(map(len, expected)), len(expected))


@given(
    st.lists(st.integers(-1, 5), max_size=30),
    st.lists(st.integers(-1, 3), min_size=6, max_size=6),
    st.booleans(),
)
def test_c_remaps_as_python_does(ids: list[int], places: list[int], is_open: bool) -> None:
    native = pytest.importorskip(
        "nnfast._native", reason="nnfast was installed without its kernels"
    )
    ours, theirs = np.array(ids, np.int32), np.array(ids, np.int32)
    to = np.array(places, np.int32)
    answer = native.remap_corpus(ours, to, is_open)
    assert ReferenceBackend().remap_corpus(theirs, to, is_open) == answer
    assert ours[: answer[0]].tolist() == theirs[: answer[0]].tolist()
    expected, left = [], is_open
    for i in ids:
        if i >= 0 and places[i] >= 0:
            expected.append(places[i])
            left = True
        elif i < 0:
            expected += [-1] * left
            left = False
    assert ours[: answer[0]].tolist() == expected
    assert answer == (len(expected), expected.count(-1), left)


def test_many_words_and_long_ones(machine: Any) -> None:
    words = [f"{i:x}" * (1 + i % 7) for i in range(20_000)]
    data = " ".join(words * 2).encode() + b" " + b"x" * 3_000_000 + b"\n"
    reader = machine.corpus_reader(10_000, 10**9)
    read(reader, data, list(range(0, len(data), 70_001)))
    assert reader.words() == [word.encode() for word in dict.fromkeys(words)] + [b"x" * 3_000_000]
    assert reader.counts().sum() == 40_001


def test_room_for_ids_is_checked() -> None:
    native = pytest.importorskip(
        "nnfast._native", reason="nnfast was installed without its kernels"
    )
    reader = native.CorpusReader(9, 9, 1)
    with pytest.raises(ValueError, match="expected room for 7 ids, got 6"):
        reader.feed(memoryview(b"a b"), np.empty(6, np.int32))
    with pytest.raises(ValueError, match="expected room for 3 ids"):
        reader.finish(np.empty(2, np.int32))


# ---- texts ----


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_files_plain_and_packed(
    machine: Any, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = TEXT.read_bytes()
    path = tmp_path / "text"  # its kind is seen from its bytes
    path.write_bytes(pack(data))
    counted = count(path)
    expected = as_str(sentences_of(data))
    assert counted.words == tuple(dict.fromkeys(w for s in expected for w in s))
    assert dict(zip(counted.words, counted.counts.tolist(), strict=True)) == Counter(
        w for s in expected for w in s
    )
    assert (counted.n_raw_words, counted.n_sentences) == (sum(map(len, expected)), len(expected))
    corpus, vocabulary = all_of(counted)
    assert decoded(corpus, vocabulary) == expected
    assert list(LineSentence(path)) == expected
    assert (corpus.n_words, corpus.n_raw_words, corpus.n_sentences) == (
        counted.n_raw_words,
        counted.n_raw_words,
        len(expected),
    )
    assert corpus.ids.dtype == np.int32
    assert corpus.ids.flags.c_contiguous


def test_rare_words_and_their_sentences_are_left_out(machine: Any, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("rare\na b rare\n\na\nodd rare\nb odd")
    counted = count(path)
    vocabulary = counted.vocabulary(min_count=2, trim_rule=lambda word, *_: word == "rare" and 1)
    assert vocabulary.words == ("a", "b", "odd")
    corpus = counted.encode(vocabulary)
    assert corpus.ids.tolist() == [0, 1, -1, 0, -1, 2, -1, 1, 2, -1]
    assert (corpus.n_words, corpus.n_raw_words, corpus.n_sentences) == (6, 9, 4)


ODD_TEXTS = {
    "no newline at the end": (b"a b\nc", [["a", "b"], ["c"]]),
    "empty lines": (b"\n\n a \n \n", [["a"]]),
    "Windows": (b"a b\r\nc\r\n", [["a", "b"], ["c"]]),
    "a lone carriage return is white space": (b"a\rb\n", [["a", "b"]]),
    "a mark at the beginning": (b"\xef\xbb\xbfa b\n", [["a", "b"]]),
    "a mark elsewhere": (b"a\n\xef\xbb\xbfb\n", [["a"], ["\ufeffb"]]),
    "less than a mark": (b"a", [["a"]]),
    "zero bytes": (b"a\0 a b\0c", [["a\0", "a", "b\0c"]]),
    "white space beyond ASCII": ("a\u00a0b\u2028c \x1cd".encode(), [["a\u00a0b\u2028c", "\x1cd"]]),
}


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_odd_texts(machine: Any, tmp_path: Path, name: str) -> None:
    data, expected = ODD_TEXTS[name]
    path = tmp_path / "text"
    path.write_bytes(data)
    assert decoded(*all_of(count(path))) == expected
    assert list(LineSentence(path)) == expected


def test_bytes_that_are_no_utf_8_stay_apart(machine: Any, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("né nè né\n".encode("latin-1"))
    with pytest.warns(
        RuntimeWarning, match=r"2 of 2 words have bytes that are no UTF-8, 'n\\udce9' is the first"
    ):
        counted = count(path)
    assert [word.encode("utf-8", "surrogateescape") for word in counted.words] == [
        b"n\xe9",
        b"n\xe8",
    ]
    assert counted.counts.tolist() == [2, 1]


def test_long_sentences_are_cut(machine: Any, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a b c d e\nf g\n")
    expected = [["a", "b"], ["c", "d"], ["e"], ["f", "g"]]
    assert decoded(*all_of(count(path, max_sentence_length=2))) == expected
    assert decoded(*all_of(count(LineSentence(path, 2)))) == expected
    assert decoded(*all_of(count([list("abcde"), list("fg")], max_sentence_length=2))) == expected
    assert list(LineSentence(path, 2)) == expected


def test_pipes(machine: Any, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(b"a b\na\n" * 99),))
    writer.start()
    seen: list[tuple[int, int | None, int]] = []
    counted = count(path, progress=lambda *state: seen.append(state))
    writer.join()
    assert counted.counts.tolist() == [198, 99]
    assert seen[-1] == (6 * 99, None, 297)


def test_progress_and_interrupts(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "BLOCK", 50)
    path = tmp_path / "text"
    path.write_bytes(b"word " * 100)
    seen: list[tuple[int, int | None, int]] = []
    count(path, progress=lambda *state: seen.append(state))
    assert [done for done, *_ in seen] == [3, *range(53, 501, 50), 500]
    assert {total for _, total, _ in seen} == {500}
    assert seen[-1] == (500, 500, 100)
    seen.clear()
    count([["a"]] * 4, progress=lambda *state: seen.append(state))
    assert seen == [(4, 4, 4)]
    count(iter([["a"]] * 4), progress=lambda *state: seen.append(state))
    assert seen[-1] == (4, None, 4)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count(path, progress=interrupt, cache=tmp_path / "cache")
    assert [file.name for file in tmp_path.iterdir()] == ["text"]


# ---- sentences and ids ----


def test_sentences_of_any_kind(machine: Any) -> None:
    expected = [["a", "b"], ["a"], ["one word", "c"]]
    lists = [["a", "b"], [], ["a"], ["one word", "c"]]
    for source in (
        lists,
        tuple(map(tuple, lists)),
        map(iter, lists),
        [np.array(s, dtype=object) for s in lists],
        (np.array(s, dtype=str) for s in lists),
    ):
        corpus, vocabulary = all_of(count(source))
        assert decoded(corpus, vocabulary) == expected
        assert vocabulary.counts.tolist() == [2, 1, 1, 1]
        assert {type(word) for word in vocabulary.words} == {str}


def test_integers_are_words_by_their_digits(machine: Any) -> None:
    expected = [["7", "3", "7"], ["3"]]
    assert decoded(*all_of(count([[7, 3, np.int64(7)], ["3"]]))) == expected
    for source in (
        [[7, 3, 7], [3]],
        [np.array([7, 3, 7]), np.array([3], np.uint8)],
        iter([(7, 3, 7), (3,)]),
    ):
        counted = from_ids(source)
        assert counted.words == ("7", "3")
        assert counted.counts.tolist() == [2, 2]
        assert decoded(*all_of(counted)) == expected
    assert decoded(*all_of(from_ids(np.array([7, 3, 7, 3]), [0, 3, 3, 4]))) == expected
    assert decoded(*all_of(from_ids(np.array([[7, 3], [3, 7]])))) == [["7", "3"], ["3", "7"]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1), st.integers(1, 4))
def test_from_ids_is_count_of_the_same(rows: list[list[int]], longest: int) -> None:
    if not any(rows):
        rows = [[1]]
    one, other = (
        from_ids(rows, max_sentence_length=longest),
        count(rows, max_sentence_length=longest),
    )
    assert one.words == other.words
    assert one.counts.tolist() == other.counts.tolist()
    assert (one.n_raw_words, one.n_sentences) == (other.n_raw_words, other.n_sentences)
    assert all_of(one)[0].ids.tolist() == all_of(other)[0].ids.tolist()


WRONG = {
    "a text a sentence": (
        ["the cat", "sat"],
        TypeError,
        "got the text 'the cat', whose characters would be the tokens",
    ),
    "bytes": ([b"the cat"], TypeError, "got the text b'the cat'"),
    "numbers": ([1, 2], TypeError, "expected lists of tokens, got 1 of type int"),
    "floats": (
        [["a", 1.5]],
        TypeError,
        "expected str or integers >= 0 as tokens, got 1.5 of type float",
    ),
    "None": ([["a", None]], TypeError, "got None of type NoneType"),
    "lists in lists": ([[["a"]]], TypeError, "unhashable type: 'list'"),
    "negative": ([[1, -1]], ValueError, "expected str or integers >= 0 as tokens, got -1"),
    "nothing": ([], ValueError, "sentences: expected words, got an empty corpus"),
    "empty sentences": ([[], []], ValueError, "sentences: expected words, got an empty corpus"),
    "no iterable": (
        5,
        TypeError,
        "expected the path of a text or an iterable of lists of str, got an object of type int",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_are_no_sentences(machine: Any, name: str) -> None:
    source, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        count(source)


def test_the_sentence_is_named() -> None:
    with pytest.raises(TypeError) as caught:
        count([["a"], ["b"], [None]])
    assert caught.value.__notes__ == ["in sentence 3 of the source"]


@pytest.mark.parametrize(
    ("ids", "offsets", "error", "message"),
    [
        ([[1, -2]], None, ValueError, "ids: expected integers >= 0, got -2"),
        (
            [[1.0]],
            None,
            TypeError,
            r"ids\[0\]: expected integers along one axis, got an array of float64",
        ),
        ([["a"]], None, TypeError, r"got an array of <U1 .* or give lists of str to count\(\)"),
        (
            [1, 2],
            None,
            TypeError,
            r"ids\[0\]: expected integers along one axis, got an array of int64 and shape \(\)",
        ),
        (np.array([1, 2]), None, TypeError, r"got an array of int64 and shape \(2,\)"),
        ([[1]], [0, 1], TypeError, "got an object of type list and offsets"),
        (7, None, TypeError, "got an object of type int"),
        ([], None, ValueError, "ids: expected words, got an empty corpus"),
        (np.array([1, 2]), [0, 1], ValueError, "expected ascending integers from 0 to 2"),
        (np.array([1, 2]), [0, 2, 1, 2], ValueError, "expected ascending integers from 0 to 2"),
        (np.array([1, 2]), [], ValueError, "expected ascending integers from 0 to 2"),
    ],
)
def test_what_are_no_ids(ids: Any, offsets: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_ids(ids, offsets)


# ---- files that are not there, or no texts ----


def test_what_is_no_file(machine: Any, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder"):
        count(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        count(str(tmp_path / "missing"))
    for data in (b"", b" \n\n", b"\xef\xbb\xbf"):
        (tmp_path / "empty").write_bytes(data)
        with pytest.raises(ValueError, match="empty: expected words, got an empty corpus"):
            count(tmp_path / "empty")
    (tmp_path / "wide").write_text("a b", encoding="utf-16")
    with pytest.raises(FormatError, match="wide: expected text in UTF-8, got UTF-16"):
        count(tmp_path / "wide")
    with pytest.raises(FormatError, match="wide: expected text in UTF-8, got UTF-16"):
        list(LineSentence(tmp_path / "wide"))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_files(machine: Any, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    whole = pack(os.urandom(50_000))
    path = tmp_path / "packed"
    for damaged in (whole[:-9000], whole[:200] + bytes(100) + whole[300:]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"packed: damaged (gzip|bz2|xz) file"):
            count(path)


@pytest.mark.parametrize(
    "settings", [{"max_sentence_length": 0}, {"max_vocab_size": 0}, {"max_sentence_length": 2.5}]
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=f"{next(iter(settings))}: expected an integer of at least 1"
    ):
        count([["a"]], **settings)


# ---- encoding ----


def test_another_source_by_a_vocabulary(machine: Any, tmp_path: Path) -> None:
    vocabulary = Vocabulary(("b", "a"), np.array([3, 2]))
    (tmp_path / "text").write_text("a x b\nx\nb b\n")
    for source in (tmp_path / "text", [["a", "x", "b"], ["x"], ["b", "b"]]):
        corpus = encode(source, vocabulary)
        assert corpus.ids.tolist() == [1, 0, -1, 0, 0, -1]
        assert (corpus.n_words, corpus.n_raw_words, corpus.n_sentences) == (4, 6, 2)
    with pytest.raises(ValueError, match="expected words of the corpus among its 2, got none of 1"):
        encode([["x"]], vocabulary)


def test_tokens_come_once_unless_they_can_be_read_again(machine: Any, tmp_path: Path) -> None:
    counted = count([["a", "b"], ["a"]])
    corpus, vocabulary = all_of(counted)
    with pytest.raises(RuntimeError, match="taken by an earlier call"):
        counted.encode(vocabulary)
    (tmp_path / "text").write_text("a b\na\n")
    counted = count(tmp_path / "text")
    for _ in range(2):
        assert counted.encode(vocabulary).ids.tolist() == corpus.ids.tolist() == [0, 1, -1, 0, -1]


def test_a_vocabulary_that_grows(machine: Any) -> None:
    known = count([["b", "a", "b"]]).vocabulary(min_count=1)
    counted = count([["c", "a", "c", "d"]])
    vocabulary = counted.vocabulary(min_count=2, known=known)
    assert vocabulary.words == ("b", "a", "c")
    assert vocabulary.counts.tolist() == [2, 2, 2]
    assert counted.encode(vocabulary).ids.tolist() == [2, 1, 2, -1]


def gensim_prune(sentences: list[list[str]], limit: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    least = 1
    for sentence in sentences:
        for word in sentence:
            counts[word] = counts.get(word, 0) + 1
        if len(counts) > limit:
            counts = {word: n for word, n in counts.items() if n >= least}
            least += 1
    return counts


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), min_size=1, max_size=12
    ),
    st.integers(1, 9),
)
@example([["a", "b", "a"], ["c", "a"], ["b", "d"], ["b"]], 2)
def test_pruning(machine: Any, tmp_path: Path, sentences: list[list[str]], limit: int) -> None:
    expected = gensim_prune(sentences, limit)
    path = tmp_path / "text"
    path.write_text("\n".join(map(" ".join, sentences)))
    if not expected:
        for source in (path, sentences):
            with pytest.raises(ValueError, match="empty corpus"):
                count(source, max_vocab_size=limit)
        return
    found = []
    for source, cache in ((path, None), (sentences, None), (path, tmp_path / "cache")):
        counted = count(source, max_vocab_size=limit, cache=cache)
        assert dict(zip(counted.words, counted.counts.tolist(), strict=True)) == expected
        assert list(counted.words) == list(expected)
        assert counted.n_raw_words == sum(map(len, sentences))
        corpus, vocabulary = all_of(counted)
        tokens = corpus.ids[corpus.ids >= 0]
        assert np.bincount(tokens, minlength=len(vocabulary)).tolist() == vocabulary.counts.tolist()
        assert (corpus.n_words, corpus.n_sentences) == (len(tokens), (corpus.ids < 0).sum())
        found.append(decoded(corpus, vocabulary))
    assert found[0] == found[1] == found[2]
    (tmp_path / "cache").unlink()


# ---- caches ----


def test_a_cache_is_read_in_place_of_its_source(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_BLOCK", 100)
    path, cache = tmp_path / "text", tmp_path / "cache"
    path.write_bytes(TEXT.read_bytes())
    plain = count(path)
    expected = plain.encode(plain.vocabulary(min_count=2))
    counted = count(path, cache=cache)
    vocabulary = counted.vocabulary(min_count=2)
    corpus = counted.encode(vocabulary)
    assert isinstance(corpus.ids, np.memmap)
    assert corpus.ids.tolist() == expected.ids.tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cache", "text"]

    monkeypatch.setattr(texts, "blocks", lambda path: pytest.fail("the source was read"))
    again = count(path, cache=cache)
    assert again.words == plain.words
    assert again.counts.tolist() == plain.counts.tolist()
    assert (again.n_raw_words, again.n_sentences) == (plain.n_raw_words, plain.n_sentences)
    for _ in range(2):
        found = again.encode(again.vocabulary(min_count=2))
        assert (found.n_words, found.n_raw_words, found.n_sentences) == (
            expected.n_words,
            expected.n_raw_words,
            expected.n_sentences,
        )
        assert found.ids.tolist() == expected.ids.tolist()
        assert not found.ids.flags.writeable
    assert encode(path, vocabulary, cache=cache).ids.tolist() == expected.ids.tolist()


def test_a_cache_of_something_else_is_written_anew(machine: Any, tmp_path: Path) -> None:
    path, cache = tmp_path / "text", tmp_path / "cache"
    path.write_text("a b a\nb c\n")
    assert all_of(count(path, cache=cache))[0].ids.tolist() == [0, 1, 0, -1, 1, 2, -1]
    counted = count(path, cache=cache)  # another vocabulary: the source is read again
    assert counted.encode(counted.vocabulary(min_count=2)).ids.tolist() == [0, 1, 0, -1, 1, -1]
    assert (
        all_of(count(path, cache=cache, max_sentence_length=1))[0].n_sentences == 5
    )  # other settings
    path.write_text("c c\nb c\n")
    os.utime(path, ns=(1, 1))
    assert all_of(count(path, cache=cache))[0].ids.tolist() == [0, 0, -1, 1, 0, -1]
    (tmp_path / "other").write_text("a a\n")
    assert all_of(count(tmp_path / "other", cache=cache))[0].ids.tolist() == [0, 0, -1]
    assert all_of(count([["x"], ["y", "x"]], cache=cache))[0].ids.tolist() == [0, -1, 1, 0, -1]
    assert all_of(count(path, cache=cache))[0].ids.tolist() == [0, 0, -1, 1, 0, -1]


def damage_short(data: bytes) -> bytes:
    return data[:-1]


def damage_ids(data: bytes) -> bytes:
    return data[:4096] + np.int32(3).tobytes() + data[4100:]


def damage_end(data: bytes) -> bytes:
    return data[:4096] + np.int32(-2).tobytes() + data[4100:]


@pytest.mark.parametrize("damage", [damage_short, damage_ids, damage_end])
def test_a_damaged_cache_is_written_anew(
    machine: Any, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path, cache = tmp_path / "text", tmp_path / "cache"
    path.write_text("a b a\nb c\n")
    expected = all_of(count(path, cache=cache))[0].ids.tolist()
    cache.write_bytes(damage(cache.read_bytes()))
    assert all_of(count(path, cache=cache))[0].ids.tolist() == expected


def test_a_file_that_is_no_cache_is_left_alone(machine: Any, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a b")
    for other in ("not a cache", "[]", "{}", json.dumps({"format": "another"})):
        (tmp_path / "other").write_text(other)
        with pytest.raises(
            FormatError, match="expected a cache that nnfast has written, or no file"
        ):
            count(path, cache=tmp_path / "other")
        with pytest.raises(
            FormatError, match="expected a cache that nnfast has written, or no file"
        ):
            count([["a"]], cache=tmp_path / "other")
        assert (tmp_path / "other").read_text() == other
    with pytest.raises(IsADirectoryError):
        count(path, cache=tmp_path)


class Full(io.RawIOBase):
    """A disk with little room."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)


def test_a_disk_that_fills_while_reading(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: io.BufferedWriter(Full(100)))
    (tmp_path / "text").write_text("a b\n" * 9999)
    with pytest.raises(OSError, match="No space left on device") as caught:
        count(tmp_path / "text", cache=tmp_path / "cache")
    assert "cache" in caught.value.__notes__[0]
    assert [file.name for file in tmp_path.iterdir()] == ["text"]
    del caught
    gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX's limits")
def test_a_disk_that_fills_while_writing(machine: Any, tmp_path: Path) -> None:
    import resource
    import signal

    path, cache = tmp_path / "text", tmp_path / "cache"
    path.write_text("a b\n" * 9999)
    all_of(count(path, cache=cache))
    before = cache.read_bytes()
    counted = count(path, cache=cache, max_sentence_length=1)
    vocabulary = counted.vocabulary(min_count=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            counted.encode(vocabulary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cache" in caught.value.__notes__[0]
    assert cache.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cache", "text"]


# ---- gensim ----


def test_gensim_counts_the_same(machine: Any) -> None:
    word2vec = pytest.importorskip("gensim.models.word2vec")
    path = pytest.importorskip("gensim.test.utils").datapath("lee_background.cor")
    model = word2vec.Word2Vec(min_count=5)
    model.build_vocab(corpus_file=path)
    counted = count(path)
    vocabulary = counted.vocabulary()
    theirs = {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key}
    assert dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)) == theirs
    assert [
        theirs[word] for word in model.wv.index_to_key
    ] == vocabulary.counts.tolist()  # ties: by first sight
    assert counted.n_raw_words == model.corpus_total_words
    assert counted.n_sentences == model.corpus_count
    assert list(LineSentence(path)) == list(word2vec.LineSentence(path))
    keep = [model.wv.get_vecattr(word, "sample_int") for word in vocabulary.words]
    assert (
        np.abs(vocabulary.keep_thresholds(1e-3).astype(np.int64) - np.array(keep, np.int64)).max()
        <= 1
    )


def test_generators_are_read_once(machine: Any) -> None:
    def sentences() -> Iterator[list[str]]:
        yield ["a", "b"]
        yield ["b"]

    counted = count(sentences())
    assert counted.encode(counted.vocabulary(min_count=1)).ids.tolist() == [1, 0, -1, 0, -1]
