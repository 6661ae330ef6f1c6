"""KeyedVectors: every method beside gensim's, analogies that were planted, correlations beside SciPy's."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfast as nn
from nnfast import KeyedVectors, word_pairs

N, SIZE = 300, 20
RANDOM = np.random.default_rng(0)
WORDS = [f"word{i}" for i in range(N)]
VECTORS = RANDOM.normal(size=(N, SIZE)).astype("f4")
COUNTS = np.sort(RANDOM.integers(5, 10_000, N))[::-1]
OTHER = RANDOM.normal(size=SIZE).astype("f4")


@pytest.fixture
def ours() -> KeyedVectors:
    return KeyedVectors(WORDS, VECTORS.copy(), COUNTS)


@pytest.fixture
def theirs() -> Any:
    models = pytest.importorskip("gensim.models")
    keyed = models.KeyedVectors(SIZE)
    keyed.add_vectors(WORDS, VECTORS)
    for word, count in zip(WORDS, COUNTS.tolist(), strict=True):
        keyed.set_vecattr(word, "count", count)
    return keyed


def same(got: Any, expected: Any) -> None:
    """Equal words in equal order, numbers to float32's rounding."""
    assert type(got) in (type(expected), float)
    if isinstance(expected, list) and expected and isinstance(expected[0], tuple):
        for a, b in zip(zip(*got, strict=True), zip(*expected, strict=True), strict=True):
            same(list(a), list(b))
    elif isinstance(expected, (str, int)) or (
        isinstance(expected, list) and expected and isinstance(expected[0], str)
    ):
        assert got == expected
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


CALLS: dict[str, tuple[Any, ...]] = {
    "a word": ("most_similar", "word1"),
    "several": ("most_similar", ["word1", "word2"], ["word3"]),
    "negative alone": ("most_similar", None, "word3"),
    "weights": ("most_similar", [("word1", 2.0), "word5"], [("word3", -0.5)]),
    "a weighted vector": ("most_similar", [(OTHER, 0.5), "word5"]),
    "a vector": ("most_similar", OTHER),
    "vectors": ("most_similar", np.stack([OTHER, VECTORS[3]])),
    "a row's number": ("most_similar", [7]),
    "all": ("most_similar", ["word1"], None, None),
    "more than there are": ("most_similar", ["word1"], None, 1000),
    "none": ("most_similar", ["word1"], None, 0),
    "clipped": ("most_similar", ["word30"], None, 5, 20, 70),
    "clipped to few": ("most_similar", ["word30"], None, 5, 28, 32),
    "restricted": ("most_similar", ["word1"], None, 10, 0, None, 50),
    "restricted, not clipped": ("most_similar", ["word1"], None, 10, 20, 30, 50),
    "by word": ("similar_by_word", "word9", 3, 100),
    "by key": ("similar_by_key", "word9", 3),
    "by vector": ("similar_by_vector", OTHER, 4),
    "cosmul": ("most_similar_cosmul", ["word1", "word2"], ["word3"]),
    "cosmul of one": ("most_similar_cosmul", "word1", None, 5),
    "cosmul of vectors": ("most_similar_cosmul", [OTHER], ["word3", "word4"]),
    "cosmul, all": ("most_similar_cosmul", ["word1"], ["word3"], None),
    "central": ("rank_by_centrality", WORDS[:9]),
    "central, lengths count": ("rank_by_centrality", WORDS[:9], False),
    "odd one out": ("doesnt_match", WORDS[5:16]),
    "rank": ("rank", "word4", "word8"),
    "closer": ("closer_than", "word4", "word8"),
    "of those": ("most_similar_to_given", "word4", WORDS[10:30]),
    "similarity": ("similarity", "word4", "word8"),
    "distance": ("distance", "word4", "word8"),
    "distances": ("distances", "word4", WORDS[:7]),
    "distances to all": ("distances", OTHER),
    "sets": ("n_similarity", WORDS[:3], [*WORDS[8:14], "unknown"]),
    "cosines": ("cosine_similarities", OTHER, VECTORS[:9]),
    "mean": ("get_mean_vector", [*WORDS[:5], "unknown", OTHER]),
    "weighted mean": ("get_mean_vector", WORDS[:3], [1.0, -2.0, 0.5], False, True),
    "weights of both signs": ("get_mean_vector", WORDS[:3], [1.0, -2.0, 0.5], False),
    "index": ("get_index", "word77"),
    "index, else": ("get_index", "unknown", 5),
    "vector": ("get_vector", "word5"),
    "normed vector": ("get_vector", "word5", True),
    "normed vectors": ("get_normed_vectors",),
    "item": ("__getitem__", "word5"),
    "items": ("__getitem__", ["word5", "word2"]),
    "length": ("__len__",),
    "count": ("get_vecattr", "word5", "count"),
    "has": ("has_index_for", "word5"),
    "has not": ("__contains__", "unknown"),
}


@pytest.mark.parametrize("name", CALLS)
def test_as_gensim(name: str, ours: KeyedVectors, theirs: Any) -> None:
    method, *arguments = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # gensim's cosmul calls an old method
        expected = getattr(theirs, method)(*arguments)
    same(getattr(ours, method)(*arguments), expected)


def test_attributes_as_gensim(ours: KeyedVectors, theirs: Any) -> None:
    assert (ours.index_to_key, ours.key_to_index) == (theirs.index_to_key, theirs.key_to_index)
    assert ours.vector_size == theirs.vector_size
    assert np.array_equal(ours.vectors, theirs.vectors)
    ours.fill_norms()
    theirs.fill_norms()
    same(ours.norms, theirs.norms)


def test_to_gensim_and_back(ours: KeyedVectors, theirs: Any) -> None:
    ours.set_vecattr("word3", "part", "noun")
    copy = ours.to_gensim()
    assert type(copy) is type(theirs)
    assert copy.most_similar("word1") == theirs.most_similar("word1")
    assert copy.get_vecattr("word3", "part") == "noun"
    copy.add_vectors(["new"], [OTHER])
    assert np.array_equal(copy["new"], OTHER)
    assert len(ours) == N
    back = KeyedVectors.from_gensim(theirs)
    assert back.index_to_key == WORDS
    assert back.get_vecattr("word5", "count") == COUNTS[5]
    back.vectors[0] = 0
    assert theirs.vectors[0].any()


def test_to_gensim_without_gensim(ours: KeyedVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ModuleNotFoundError, match="to_gensim needs gensim; pip install gensim"):
        ours.to_gensim()


def test_neither_gensim_nor_scipy_is_needed(tmp_path: Path) -> None:
    """A process that cannot import them reads, judges and answers."""
    (tmp_path / "pairs.tsv").write_text("a\tb\t1\na\tc\t2\nb\tc\t3\n")
    script = f"""
        import sys
        sys.modules |= dict.fromkeys(["gensim", "scipy", "matplotlib", "pandas"])
        import nnfast as nn
        assert "nnfast.vectors" not in sys.modules
        v = nn.KeyedVectors(["a", "b", "c"], [[1, 0], [1, 1], [-1, 0]])
        print(v.most_similar("a", topn=1), v.evaluate_word_pairs({str(tmp_path / "pairs.tsv")!r})[2])
        """
    code = "\n".join(line.strip() for line in script.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[('b', 0.7071067690849304)] 0.0\n"


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (["a", "b"], np.ones((3, 2))),
            r"vectors: expected shape \(2, vector_size\), .* got \(3, 2\)",
        ),
        ((["a", "b"], np.ones(2)), r"vectors: expected shape \(2, vector_size\), .* got \(2,\)"),
        ((["a", "b", "a"], np.ones((3, 2))), "words: expected each once, got 'a' twice"),
        (
            (["a", "b"], np.ones((2, 2)), [1]),
            r"counts: expected one for each of 2 words, got .*\(1,\)",
        ),
    ],
)
def test_what_is_no_table(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeyedVectors(*arguments)


def test_vectors_are_not_copied() -> None:
    wide = np.zeros((N, 32), "f4")
    view = wide[:, :SIZE]
    view[...] = VECTORS
    ours = KeyedVectors(WORDS, view, COUNTS)
    assert np.shares_memory(ours.vectors, wide)
    before = ours.most_similar("word1")
    assert before == KeyedVectors(WORDS, VECTORS).most_similar("word1")
    view *= np.arange(1, N + 1, dtype="f4")[:, None]
    ours.fill_norms(force=True)
    same(ours.most_similar("word1"), before)
    ours.vectors = VECTORS[::-1]
    same(ours.get_vector("word0", norm=True), VECTORS[-1] / np.linalg.norm(VECTORS[-1]))


def test_a_vector_cannot_be_changed_by_accident(ours: KeyedVectors) -> None:
    with pytest.raises(ValueError, match="read-only"):
        ours["word1"][0] = 1


def test_unknown_words(ours: KeyedVectors) -> None:
    with pytest.raises(KeyError, match=r"'Word1' is none of the 300 keys .*; did you mean 'word1'"):
        ours["Word1"]
    for call in (
        lambda: ours[["word1", "x"]],
        lambda: ours.most_similar(["word1", "x"]),
        lambda: ours.most_similar_cosmul("x"),
        lambda: ours.similarity("word1", "x"),
        lambda: ours.distances("word1", ["x"]),
        lambda: ours.rank("word1", "x"),
        lambda: ours.get_vecattr("x", "count"),
        lambda: ours.set_vecattr("x", "count", 1),
        lambda: ours.get_mean_vector(["x"], ignore_missing=False),
        lambda: ours[N],
        lambda: ours[-1],
    ):
        with pytest.raises(KeyError, match="is none of the 300 keys that have vectors"):
            call()
    with pytest.raises(KeyError, match=r"attribute 'size': expected one that was set \('count'\)"):
        ours.get_vecattr("word1", "size")
    with (
        pytest.warns(UserWarning, match=r"\['x'\], which are passed over") as caught,
    ):
        assert ours.doesnt_match(["word1", "word2", "x"]) in ("word1", "word2")
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda v: v.most_similar(), ValueError, "expected at least one key or vector"),
        (lambda v: v.most_similar([]), ValueError, "expected at least one key or vector"),
        (lambda v: v.most_similar_cosmul(), ValueError, "positive: expected at least one"),
        (lambda v: v.most_similar(OTHER[:3]), ValueError, r"expected shape \(20,\), got \(3,\)"),
        (lambda v: v.most_similar_cosmul(OTHER[:3]), ValueError, r"expected shape \(20,\)"),
        (lambda v: v.distances(OTHER[:3]), ValueError, r"expected shape \(20,\), got \(3,\)"),
        (lambda v: v.get_mean_vector(WORDS[:2], [1]), ValueError, "one for each of 2 keys"),
        (lambda v: v.n_similarity(["word1"], []), ZeroDivisionError, "at least one word in each"),
        (lambda v: v.add_vectors(["a"], OTHER[:3]), ValueError, r"expected shape \(1, 20\)"),
        (lambda v: v.add_vectors(["a", "b"], [[1, 2], [1]]), ValueError, "weights: .* of one size"),
        (lambda v: KeyedVectors(["a", "b"], [[1, 2], [1]]), ValueError, "vectors: .* of one size"),
        (lambda v: v.set_vecattr("word1", "count", 2.5), TypeError, "expected int64, got 2.5"),
        (lambda v: v.plot(["word1"]), ValueError, "at least two words"),
        (lambda v: v.plot("word1"), ValueError, "at least two words"),
    ],
)
def test_what_cannot_be_asked(call: Any, error: type[Exception], message: str, ours: Any) -> None:
    with pytest.raises(error, match=message):
        call(ours)


@pytest.mark.filterwarnings("ignore:words. expected words")
def test_no_word_is_known(ours: KeyedVectors) -> None:
    with pytest.raises(ValueError, match="at least one word of the vocabulary, got none"):
        ours.doesnt_match(["x"])


def test_a_zero_vector_is_like_none() -> None:
    zero = KeyedVectors(["zero", "one"], [[0, 0], [3, 4]])
    assert zero.most_similar("one") == [("zero", 0.0)]
    assert zero.similarity("zero", "one") == 0
    assert zero.get_normed_vectors().tolist() == [[0, 0], [np.float32(0.6), np.float32(0.8)]]
    assert zero.distances("zero").tolist() == [1, 1]
    assert zero.cosine_similarities(np.zeros(2), zero.vectors).tolist() == [0, 0]


def test_float16_does_not_overflow() -> None:
    half = KeyedVectors(["a", "b"], np.array([[300, 0], [300, 300]], "f2"))
    np.testing.assert_allclose(half.distances("b"), [1 - np.sqrt(0.5), 0], atol=2e-3)
    assert half.get_normed_vectors()[0].tolist() == [1, 0]


def test_words_are_added(ours: KeyedVectors) -> None:
    ours.most_similar("word1")  # the norms must follow
    assert ours.add_vector("new", OTHER) == N
    ours.add_vectors(["word1", "b", "b"], np.stack([OTHER, OTHER, 2 * OTHER]), {"count": [7, 8, 9]})
    assert np.array_equal(ours["word1"], VECTORS[1])
    assert [ours.get_vecattr(w, "count") for w in ("new", "word1", "b")] == [0, COUNTS[1], 8]
    assert np.array_equal(ours["b"], OTHER)
    ours.add_vectors(["word1", "c"], np.stack([OTHER, -OTHER]), {"count": [7, 8]}, replace=True)
    assert [ours.get_vecattr(w, "count") for w in ("word1", "c", "word2")] == [7, 8, COUNTS[2]]
    assert {word for word, _ in ours.most_similar("word1", topn=2)} == {"new", "b"}
    ours["word2"] = -OTHER
    ours[["word3", "d"]] = [OTHER, OTHER]
    assert np.array_equal(ours[["word2", "word3", "d"]], [-OTHER, OTHER, OTHER])
    assert ours.index_to_key == [*WORDS, "new", "b", "c", "d"]
    assert [ours.key_to_index[word] for word in ours.index_to_key] == list(range(N + 4))
    assert len(ours.vectors) == len(ours.expandos["count"]) == len(ours) == N + 4


def test_attributes(ours: KeyedVectors) -> None:
    ours.set_vecattr("word1", "length", 4)
    ours.set_vecattr("word1", "part", "noun")
    ours.set_vecattr("word1", "count", 9)
    ours.add_vector("new", OTHER)
    assert [ours.get_vecattr("word1", name) for name in ("length", "part", "count")] == [
        4,
        "noun",
        9,
    ]
    assert ours.get_vecattr("word0", "length") == 0
    assert ours.get_vecattr("word0", "part") is None
    assert ours.get_vecattr("word0", "count") == COUNTS[0]


def test_numbers_are_keys() -> None:
    nodes = KeyedVectors([10, 5, 0], [[1, 0], [0, 1], [1, 1]])
    assert nodes[10].tolist() == [1, 0]
    assert nodes[0].tolist() == [1, 1]  # the key, not the row
    assert nodes[1].tolist() == [0, 1]  # no such key: the row
    assert nodes.most_similar(10, topn=1)[0][0] == 0
    assert 3 not in nodes
    assert str(nodes) == "KeyedVectors<vector_size=2, 3 keys>"


# --- analogies ------------------------------------------------------------------------------------

COUNTRIES = ["Greece", "Iraq", "Thailand", "China", "Germany", "Switzerland", "Egypt", "Peru"]
PLANTED = [w for c in COUNTRIES for w in (c, f"{c}-capital")]


def planted() -> KeyedVectors:
    """Countries, capitals a step beside them, both also in small letters farther down, and noise."""
    random = np.random.default_rng(1)
    places, step = random.normal(size=(len(COUNTRIES), 16)), random.normal(size=16)
    rows = [row for place in places for row in (place, place + step)]
    small = [row + 0.01 * random.normal(size=16) for row in rows]
    vectors = np.array([*rows, *small, *random.normal(size=(50, 16))], "f4")
    return KeyedVectors([*PLANTED, *map(str.lower, PLANTED), *WORDS[:50]], vectors)


def questions(path: Path) -> Path:
    lines = [": capitals"]
    lines += [f"{a} {a}-capital {b} {b}-capital" for a in COUNTRIES for b in COUNTRIES if a != b]
    lines += [": countries", "Greece-capital Greece Iraq-CAPITAL iraq", "", "of three words"]
    lines += ["Greece Greece-capital Mars Mars-capital", ": wrong"]
    lines += ["Greece Iraq Peru Egypt", "Greece Iraq Greece Iraq", "word1 word2 word3 word4"]
    path.write_text("\n".join(lines))
    return path


def test_planted_analogies(tmp_path: Path) -> None:
    vectors = planted()
    found = vectors.most_similar(["Iraq", "Greece-capital"], ["Greece"], restrict_vocab=16)
    assert found[0][0] == "Iraq-capital"
    score, sections = vectors.evaluate_word_analogies(questions(tmp_path / "q.txt"))
    found = [(s["section"], len(s["correct"]), len(s["incorrect"])) for s in sections]
    assert found == [
        ("capitals", 56, 0),
        ("countries", 1, 0),
        ("wrong", 0, 3),
        ("Total accuracy", 57, 3),
    ]
    assert score == 57 / 60
    assert sections[1]["correct"] == [("GREECE-CAPITAL", "GREECE", "IRAQ-CAPITAL", "IRAQ")]
    assert sections[-1]["incorrect"] == sections[2]["incorrect"]


@pytest.mark.parametrize("cosines", [1 << 25, 100, 1])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"restrict_vocab": 9},
        {"restrict_vocab": None},
        {"case_insensitive": False},
        {"dummy4unknown": True},
        {"case_insensitive": False, "dummy4unknown": True, "restrict_vocab": 20},
    ],
    ids=str,
)
def test_analogies_as_gensim(
    settings: Any, cosines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one block of the vocabulary, in several, and word by word."""
    pytest.importorskip("gensim.models")
    monkeypatch.setattr("nnfast.analogies._COSINES", cosines)
    file, vectors = questions(tmp_path / "q.txt"), planted()
    vectors.vectors = vectors.vectors + 0.7 * RANDOM.normal(size=vectors.vectors.shape).astype("f4")
    theirs = vectors.to_gensim()
    assert vectors.evaluate_word_analogies(file, **settings) == theirs.evaluate_word_analogies(
        str(file), **settings
    )


def test_analogies_of_float16_and_packed(tmp_path: Path) -> None:
    import gzip

    file = questions(tmp_path / "q.txt")
    (tmp_path / "q.txt.gz").write_bytes(gzip.compress(file.read_bytes()))
    full = planted()
    half = KeyedVectors(full.index_to_key, full.vectors.astype("f2"))
    assert half.evaluate_word_analogies(tmp_path / "q.txt.gz") == full.evaluate_word_analogies(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "q.txt: expected questions, lines of four words, got none"),
        (b": a\nb c d\n", "q.txt: expected questions, lines of four words, got none"),
        (b"\na b c d\n", "q.txt: line 2: expected a section's name, .* got 'a b c d'"),
        (b": a\na b c \xff\n", r"q.txt: line 2: expected UTF-8, got b'a b c \\xff"),
    ],
)
def test_what_is_no_file_of_questions(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        planted().evaluate_word_analogies(tmp_path / "q.txt")


def test_no_question_is_known(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text(": a\nw x y z\n")
    score, sections = planted().evaluate_word_analogies(tmp_path / "q.txt")
    assert score == 0
    assert sections == [
        {"section": "a", "correct": [], "incorrect": []},
        {"section": "Total accuracy", "correct": [], "incorrect": []},
    ]


# --- pairs ----------------------------------------------------------------------------------------


def pairs(path: Path, delimiter: str = "\t") -> Path:
    random = np.random.default_rng(2)
    rows = [[*random.choice(WORDS, 2), str(random.integers(0, 11))] for _ in range(200)]
    rows += [["WORD1", "Word7", "3.5"], ["word1", "x", "9"], ["y", "word2", "0.5"]]
    lines = ["# a comment", "Word 1" + delimiter + "Word 2" + delimiter + "Human (mean)"]
    lines += [delimiter.join(row) for row in rows] + [
        "only two",
        delimiter.join(["word1", "word2", "nan"]),
    ]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dummy4unknown": True},
        {"case_insensitive": False},
        {"restrict_vocab": 40},
        {"delimiter": ","},
    ],
    ids=str,
)
def test_pairs_as_gensim(settings: Any, ours: KeyedVectors, theirs: Any, tmp_path: Path) -> None:
    file = pairs(tmp_path / "pairs", settings.get("delimiter", "\t"))
    without_nan = tmp_path / "without nan"  # which gensim takes as a number
    without_nan.write_text(file.read_text().rpartition("\n")[0])
    for got, expected in zip(
        ours.evaluate_word_pairs(file, **settings),
        theirs.evaluate_word_pairs(str(without_nan), **settings),
        strict=True,
    ):
        np.testing.assert_allclose(got, tuple(expected) if np.ndim(expected) else expected, 1e-5)


def test_no_pair_is_known(ours: KeyedVectors, tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text("x,word1,1\n")
    with pytest.raises(ValueError, match="got 0 pairs"):
        ours.evaluate_word_pairs(tmp_path / "pairs")
    with pytest.raises(ValueError, match="got 1 pairs, none of known words"):
        ours.evaluate_word_pairs(tmp_path / "pairs", delimiter=",")
    (tmp_path / "pairs").write_bytes(b"word1,word2,1\nw\xff,x,1\n")
    with pytest.raises(
        ValueError, match=r"pairs: line 2: expected utf8, got b'w.*another encoding"
    ):
        ours.evaluate_word_pairs(tmp_path / "pairs")


@settings(deadline=None)
@given(
    st.integers(3, 300).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(-4, 4), min_size=n, max_size=n)] * 2)
    ),
    st.floats(0, 5),
)
def test_correlations_are_scipys(values: tuple[list[int], list[int]], link: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    x, y = np.array(values[0], float), np.array(values[1], float)
    y += link * x
    if np.ptp(x) == 0 or np.ptp(y) < 1e-9:
        assert np.isnan(word_pairs.pearson(x, y * 0)).all()
        return
    for ours, theirs in (
        (word_pairs.pearson, stats.pearsonr),
        (word_pairs.spearman, stats.spearmanr),
    ):
        got, expected = ours(x, y), theirs(x, y)
        np.testing.assert_allclose(got.statistic, expected.statistic, rtol=1e-9, atol=1e-12)
        if abs(got.statistic) < 1 - 1e-9:  # beyond, 1 - r^2 is rounding
            np.testing.assert_allclose(got.pvalue, expected.pvalue, rtol=1e-6, atol=1e-300)


@pytest.mark.parametrize("n", [3, 10, 353, 999, 100_000])
@pytest.mark.parametrize("r", [1e-4, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_how_probable_a_correlation_is(n: int, r: float) -> None:
    special = pytest.importorskip("scipy.special")
    expected = special.betainc(n / 2 - 1, 0.5, 1 - r * r)
    assert word_pairs._beta(n / 2 - 1, 1 - r * r) == pytest.approx(expected, rel=1e-8, abs=1e-300)


# --- the picture ----------------------------------------------------------------------------------


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    vectors, file = planted(), tmp_path / "words.png"
    words = [*PLANTED, "word1", "$x$"]
    vectors.add_vector("$x$", vectors["word1"] * 2)  # on the point of another
    figure = vectors.plot(words, file)
    assert file.read_bytes().startswith(b"\x89PNG")
    (axes,) = figure.axes
    unit = vectors.get_normed_vectors()[[vectors.get_index(word) for word in words]].astype("f8")
    variances = np.sort(np.linalg.eigvalsh(np.cov(unit.T)))[::-1]
    first, second = (f"({share:.0%} of variance)" for share in variances[:2] / variances.sum())
    assert axes.get_xlabel() == f"first principal component {first}"
    assert axes.get_ylabel() == f"second principal component {second}"
    points = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(np.cov(points.T), np.diag(variances[:2]), atol=1e-6)
    labels = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(labels) == {*PLANTED, "word1", r"\$x\$"}
    boxes = list(labels.values())
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = axes.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)


def test_a_picture_of_two_and_of_one_dimension() -> None:
    pytest.importorskip("matplotlib")
    (axes,) = KeyedVectors(["a", "b"], [[1], [-1]]).plot(["a", "b"]).axes
    assert axes.get_xlabel() == "first principal component (100% of variance)"
    (axes,) = KeyedVectors(["a", "b"], [[1, 1], [1, 1]]).plot(["a", "b"]).axes
    assert axes.get_xlabel() == "first principal component (0% of variance)"
    with pytest.raises(KeyError, match="'c' is none of the 2 keys"):
        KeyedVectors(["a", "b"], np.eye(2)).plot(["a", "c"])


def test_the_name_is_found_late() -> None:
    assert "KeyedVectors" in nn.__all__
    assert nn.KeyedVectors is KeyedVectors
