"""The vocabulary, and the three tables that word2vec makes of its counts."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nnfast.vocab import RULE_DEFAULT, RULE_DISCARD, RULE_KEEP, Huffman, Vocabulary, select

TEXT = Path(__file__).parents[1] / "ARCHITECTURE.md"  # some text, with many ties among its counts


def make(counts: list[int]) -> Vocabulary:
    return Vocabulary(tuple(f"w{i}" for i in range(len(counts))), np.array(counts, np.int64))


def real() -> tuple[list[str], list[int]]:
    counter = Counter(TEXT.read_text().split())
    return list(counter), list(counter.values())


descending = st.lists(st.integers(1, 30) | st.integers(1, 10**6), min_size=1, max_size=60).map(
    lambda counts: sorted(counts, reverse=True)
)


# ---- words ----


def test_a_vocabulary_knows_its_words() -> None:
    vocabulary = Vocabulary(("b", "a"), np.array([3, 1]))
    assert len(vocabulary) == 2
    assert vocabulary.index == {"b": 0, "a": 1}
    assert "a" in vocabulary
    assert "c" not in vocabulary


@pytest.mark.parametrize(
    ("words", "counts", "message"),
    [
        ((), np.zeros(0, np.int64), "vocabulary: expected words, got none"),
        (
            ("a",),
            np.array([1, 2]),
            r"expected an int64 array of shape \(1,\), .* got int64 of shape \(2,\)",
        ),
        (("a",), np.array([1.0]), "got float64 of shape"),
        (("a", "b"), np.array([1, 0]), "expected at least 1 for each word, got 0 for 'b'"),
        (("a", "b", "a"), np.array([1, 1, 1]), "expected different ones, got 'a' twice"),
    ],
)
def test_what_is_no_vocabulary(words: tuple[str, ...], counts: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary(words, counts)


# ---- selection ----


def test_order_is_by_count_then_by_first_sight() -> None:
    words, counts = ["x", "y", "z", "u", "v"], [2, 5, 2, 5, 1]
    vocabulary = select(words, counts, min_count=2)
    assert vocabulary.words == ("y", "u", "x", "z")
    assert vocabulary.counts.tolist() == [5, 5, 2, 2]
    assert select(words, counts, min_count=2, sorted_vocab=False).words == ("x", "y", "z", "u")
    assert select(words, counts, min_count=0).words[-1] == "v"


def test_max_final_vocab_raises_min_count_and_drops_ties() -> None:
    words, counts = list("abcdef"), [9, 7, 5, 5, 5, 1]
    assert select(words, counts, min_count=1, max_final_vocab=2).words == ("a", "b")
    assert select(words, counts, min_count=1, max_final_vocab=3).words == (
        "a",
        "b",
    )  # c, d, e are equal
    assert select(words, counts, min_count=1, max_final_vocab=5).words == tuple("abcde")
    assert select(words, counts, min_count=6, max_final_vocab=5).words == ("a", "b")
    assert len(select(words, counts, min_count=1, max_final_vocab=6)) == 6


def test_trim_rule_decides() -> None:
    seen = []

    def rule(word: str, count: int, min_count: int) -> int | None:
        seen.append((word, count, min_count))
        return {"rare": RULE_KEEP, "often": RULE_DISCARD, "some": RULE_DEFAULT}.get(word)

    vocabulary = select(["rare", "often", "some", "few", "more"], [1, 9, 5, 2, 6], trim_rule=rule)
    assert vocabulary.words == ("more", "some", "rare")
    assert seen[1] == ("often", 9, 5)


@pytest.mark.parametrize("answer", [3, -1, "keep"])
def test_trim_rule_must_answer_by_a_constant(answer: object) -> None:
    with pytest.raises(ValueError, match=r"RULE_KEEP \(2\) for 'a', got"):
        select(["a"], [9], trim_rule=lambda *_: answer)


def test_known_words_keep_their_ids() -> None:
    known = Vocabulary(("b", "a"), np.array([3, 1]))
    vocabulary = select(["c", "a", "d", "e"], [6, 1, 8, 4], known=known)
    assert vocabulary.words == ("b", "a", "d", "c")
    assert vocabulary.counts.tolist() == [3, 2, 8, 6]
    assert known.counts.tolist() == [3, 1]
    assert select(["x"], [1], known=known).words == known.words


@pytest.mark.parametrize(
    ("words", "counts", "settings", "message"),
    [
        ([], [], {}, "got an empty corpus"),
        (
            ["a", "b"],
            [4, 2],
            {},
            "expected at most 4, the count of the most frequent of 2 words, got 5",
        ),
        (
            ["a", "b"],
            [4, 4],
            {"min_count": 1, "max_final_vocab": 1},
            "max_final_vocab: expected at least 2",
        ),
        (["a"], [9], {"trim_rule": lambda *_: RULE_DISCARD}, "trim_rule: expected some of 1 words"),
        (["a"], [9], {"min_count": -1}, "min_count: expected an integer of at least 0, got -1"),
        (
            ["a"],
            [9],
            {"max_final_vocab": 0},
            "max_final_vocab: expected an integer of at least 1, got 0",
        ),
    ],
)
def test_nothing_left(words: list[str], counts: list[int], settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(words, counts, **settings)


# ---- subsampling ----


def test_keep_thresholds() -> None:
    vocabulary = make([900, 90, 10])
    assert vocabulary.keep_thresholds(0).tolist() == [2**32 - 1] * 3
    share = vocabulary.keep_thresholds(0.01) / 2**32  # t = 10
    assert share == pytest.approx([math.sqrt(10 / 900) + 10 / 900, math.sqrt(1 / 9) + 1 / 9, 1.0])
    t = int(20 * (3 + math.sqrt(5)) / 2)
    share = vocabulary.keep_thresholds(20) / 2**32
    assert share == pytest.approx([math.sqrt(t / 900) + t / 900, 1.0, 1.0])


@pytest.mark.parametrize("sample", [-1e-3, math.nan, math.inf])
def test_sample_out_of_range(sample: float) -> None:
    with pytest.raises(ValueError, match="sample: expected a finite number >= 0"):
        make([1]).keep_thresholds(sample)


# ---- noise ----


@given(descending, st.sampled_from([0.75, 1.0, 0.5, 0.0, -0.5]))
@example([1], 0.75)
@example([7] * 9, 0.75)
@example([10**6] + [1] * 59, 1.0)
def test_alias_table_has_the_distribution(counts: list[int], exponent: float) -> None:
    threshold, alias = make(counts).noise(exponent)
    assert (threshold.dtype, alias.dtype) == (np.uint32, np.int32)
    assert ((alias >= 0) & (alias < len(counts))).all()
    own = (threshold.astype(float) + 1) / 2**32
    drawn = own + np.bincount(alias, 1 - own, minlength=len(counts))
    weights = np.array(counts, float) ** exponent
    np.testing.assert_allclose(drawn / len(counts), weights / weights.sum(), atol=1e-9)


@pytest.mark.parametrize("exponent", [math.nan, math.inf, 1e4, -1e4])
def test_noise_out_of_range(exponent: float) -> None:
    with pytest.raises(ValueError, match="ns_exponent: expected"):
        make([2**40, 9]).noise(exponent)


# ---- Huffman ----


def paths(tree: Huffman) -> list[tuple[list[int], list[int]]]:
    spans = zip(tree.offsets[:-1], tree.offsets[1:], strict=True)
    return [(tree.codes[a:b].tolist(), tree.points[a:b].tolist()) for a, b in spans]


def word2vec_c(counts: list[int]) -> list[tuple[list[int], list[int]]]:
    """The tree by the rule alone: merge the two lightest nodes; equal ones: inner first, then the last word."""
    n = len(counts)
    nodes = {i: (count, 1, n - i) for i, count in enumerate(counts)}
    children: dict[int, tuple[int, int]] = {}
    for made in range(n, 2 * n - 1):
        first, second = sorted(nodes, key=nodes.__getitem__)[:2]
        children[made] = first, second
        nodes[made] = nodes.pop(first)[0] + nodes.pop(second)[0], 0, made
    found: dict[int, tuple[list[int], list[int]]] = {}

    def walk(node: int, codes: list[int], points: list[int]) -> None:
        if node < n:
            found[node] = codes, points
        else:
            for side, child in enumerate(children[node]):
                walk(child, [*codes, side], [*points, node - n])

    walk(max(children, default=0), [], [])
    return [found[i] for i in range(n)]


@given(descending)
@example([1])
@example([1, 1])
@example([2, 1, 1, 1, 1])
@example([8, 5, 3, 2, 1, 1])
def test_huffman_tree_is_that_of_word2vec_c(counts: list[int]) -> None:
    assert paths(make(counts).huffman()) == word2vec_c(counts)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40))
def test_huffman_codes_of_any_order_are_a_best_prefix_code(counts: list[int]) -> None:
    tree = make(counts).huffman()
    lengths = np.diff(tree.offsets)
    assert sum(2.0**-length for length in lengths.tolist()) == 1  # Kraft: a full tree
    best = sum(
        len(codes) * count
        for (codes, _), count in zip(
            word2vec_c(sorted(counts)[::-1]), sorted(counts)[::-1], strict=True
        )
    )
    assert int((lengths * counts).sum()) == best
    assert all(points[0] == len(counts) - 2 for _, points in paths(tree))


def test_longest_path_of_counts_that_fit() -> None:
    fibonacci = [1, 1]
    while sum(fibonacci) + fibonacci[-1] + fibonacci[-2] < 2**63:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    assert np.diff(make(fibonacci[::-1]).huffman().offsets).max() <= 91


# ---- gensim ----


def test_gensim_agrees() -> None:
    word2vec = pytest.importorskip("gensim.models.word2vec")
    words, counts = real()
    vocabulary = select(words, counts, min_count=2)
    model = word2vec.Word2Vec(min_count=2, sample=1e-3, hs=1)
    model.build_vocab_from_freq(dict(zip(words, counts, strict=True)))
    theirs = model.wv
    assert set(theirs.index_to_key) == set(vocabulary.words)
    assert [
        theirs.get_vecattr(word, "count") for word in vocabulary.words
    ] == vocabulary.counts.tolist()
    assert [
        theirs.get_vecattr(word, "count") for word in theirs.index_to_key
    ] == vocabulary.counts.tolist()
    keep = np.array([theirs.get_vecattr(word, "sample_int") for word in vocabulary.words], np.int64)
    assert np.abs(vocabulary.keep_thresholds(1e-3).astype(np.int64) - keep).max() <= 1
    lengths = np.array([len(theirs.get_vecattr(word, "code")) for word in vocabulary.words])
    ours = np.diff(vocabulary.huffman().offsets)
    assert (lengths * vocabulary.counts).sum() == (
        ours * vocabulary.counts
    ).sum()  # both are best; ties differ
    share = np.diff(model.cum_table, prepend=0) / model.cum_table[-1]
    threshold, alias = vocabulary.noise(0.75)
    own = (threshold.astype(float) + 1) / 2**32
    drawn = (own + np.bincount(alias, 1 - own, minlength=len(vocabulary))) / len(vocabulary)
    np.testing.assert_allclose(np.sort(drawn), np.sort(share), atol=1e-8)


@pytest.mark.parametrize("limit", [3, 20, 100])
def test_gensim_agrees_on_max_final_vocab(limit: int) -> None:
    word2vec = pytest.importorskip("gensim.models.word2vec")
    words, counts = real()
    model = word2vec.Word2Vec(min_count=2, max_final_vocab=limit)
    model.build_vocab_from_freq(dict(zip(words, counts, strict=True)))
    ours = select(words, counts, min_count=2, max_final_vocab=limit)
    assert set(ours.words) == set(model.wv.index_to_key)
