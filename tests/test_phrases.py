"""Phrases: by hand, against gensim, and files of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnfast.formats import FormatError
from nnfast.phrases import ENGLISH_CONNECTOR_WORDS, FrozenPhrases, Phraser, Phrases
from nnfast.texts import LineSentence

CITY = [
    ["new", "york", "is", "big"],
    ["in", "new", "york"],
    ["a", "new", "york", "day"],
    ["new", "day"],
]


def test_scores_by_hand() -> None:
    phrases = Phrases(CITY, min_count=1, threshold=1.0)
    # 7 words; new york, york is, is big, in new, a new, york day, new day
    assert len(phrases) == 14
    assert phrases.export_phrases() == {"new_york": (3 - 1) / (4 * 3) * 14}
    assert phrases[["new", "york", "new", "york", "new"]] == ["new_york", "new_york", "new"]
    assert phrases[["york", "new"]] == ["york", "new"]
    assert phrases[[]] == []
    npmi = Phrases(CITY, min_count=3, threshold=0.5, scoring="npmi")
    score = math.log((3 / 13) / (4 / 13 * (3 / 13))) / -math.log(3 / 13)
    assert npmi.export_phrases() == {"new_york": pytest.approx(score)}
    assert Phrases(CITY, min_count=4, threshold=-1, scoring="npmi").export_phrases() == {}


def test_min_count_and_threshold_are_bounds() -> None:
    score = Phrases(CITY, min_count=1, threshold=1.0).export_phrases()["new_york"]
    assert Phrases(CITY, min_count=1, threshold=score).export_phrases() == {}
    assert Phrases(CITY, min_count=3, threshold=1e-9).export_phrases() == {}


def test_connector_words_stand_inside() -> None:
    sentences = [
        ["the", "bank", "of", "america", "of"],
        ["bank", "of", "america"],
        ["of", "bank", "bank"],
    ]
    phrases = Phrases(sentences, min_count=1, threshold=0.1, connector_words={"of", "the"})
    assert list(phrases.export_phrases()) == ["bank_of_america"]
    assert len(phrases) == 4  # bank, america, bank of america, bank bank
    assert phrases[["of", "bank", "of", "america", "of", "the", "bank", "the"]] == [
        "of",
        "bank_of_america",
        "of",
        "the",
        "bank",
        "the",
    ]
    assert phrases[["bank", "of", "the", "america"]] == ["bank", "of", "the", "america"]
    assert phrases.find_phrases(sentences) == phrases.export_phrases()
    assert phrases.find_phrases([["america"]]) == {}


def test_corpora(tmp_path: Path) -> None:
    phrases = Phrases(CITY, min_count=1, threshold=1.0)
    expected = [
        ["new_york", "is", "big"],
        ["in", "new_york"],
        ["a", "new_york", "day"],
        ["new", "day"],
    ]
    joined = phrases[CITY]
    assert list(joined) == list(joined) == expected

    def generate() -> Iterator[list[str]]:
        yield from CITY

    assert list(phrases[generate()]) == expected
    assert phrases[iter(["new", "york"])] == ["new_york"]
    path = tmp_path / "text"
    path.write_text("\n".join(map(" ".join, CITY)))
    assert list(phrases[LineSentence(path)]) == expected
    assert Phrases(path, min_count=1, threshold=1.0).export_phrases() == phrases.export_phrases()
    assert (
        Phrases(generate(), min_count=1, threshold=1.0).export_phrases() == phrases.export_phrases()
    )


def test_learning_more() -> None:
    phrases = Phrases(CITY, min_count=1, threshold=1.0)
    assert phrases[["fine", "day"]] == ["fine", "day"]
    phrases.add_vocab([["fine", "day"]] * 9)
    assert phrases.corpus_word_count == 31
    assert phrases.export_phrases()["fine_day"] == (9 - 1) / (9 * 11) * 16


def test_phrases_of_phrases() -> None:
    sentences = [
        ["new", "york", "times", "new", "york", "times", "x", "y"],
        ["new", "york", "times", "z"],
    ]
    first = Phrases(sentences, min_count=1, threshold=2.0)
    assert first[sentences[1]] == ["new_york", "times", "z"]
    second = Phrases(first[sentences], min_count=1, threshold=2.0)
    assert second[first[sentences[1]]] == ["new_york_times", "z"]
    assert list(second.export_phrases()) == ["new_york_times"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sentences": ["new york"]}, TypeError, "got the text 'new york'"),
        ({"sentences": [["new", 1]]}, TypeError, "expected str as tokens, got 1 of type int"),
        ({"min_count": 0}, ValueError, "min_count: expected a finite number > 0"),
        ({"threshold": 0}, ValueError, "threshold: expected a number > 0"),
        (
            {"threshold": 2, "scoring": "npmi"},
            ValueError,
            "threshold: expected a number from -1 to 1",
        ),
        ({"scoring": "nmpi"}, ValueError, "did you mean 'npmi'"),
        ({"max_vocab_size": 0}, ValueError, "max_vocab_size: expected an integer of at least 1"),
        ({"delimiter": b"_"}, TypeError, "delimiter: expected str"),
        ({"connector_words": "of the"}, TypeError, "connector_words: expected a set of words"),
        ({"sentences": "no such file"}, FileNotFoundError, "no such file"),
    ],
)
def test_what_cannot_be_learned(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Phrases(**arguments)


def test_a_text_is_no_sentence() -> None:
    with pytest.raises(TypeError, match="split it"):
        Phrases(CITY)["new york"]


def test_files(tmp_path: Path) -> None:
    phrases = Phrases([*CITY, ["caf\udce9", "é"]], 1, 1.0, connector_words=["of"])
    phrases.save(tmp_path / "phrases.json")
    again = Phrases.load(tmp_path / "phrases.json")
    assert vars(again) | {"_scores": None} == vars(phrases) | {"_scores": None}
    assert again[["new", "york"]] == ["new_york"]
    again.add_vocab(CITY)


def test_frozen_phrases_keep_no_counts(tmp_path: Path) -> None:
    phrases = Phrases([*CITY, *[["bank", "of", "america"]] * 2], 1, 0.1, connector_words=["of"])
    frozen = phrases.freeze()
    assert Phraser is FrozenPhrases
    assert not hasattr(frozen, "add_vocab")
    frozen.save(tmp_path / "frozen.json")
    found = phrases.export_phrases()
    phrases.add_vocab([["york", "new"]] * 99)
    for each in (frozen, FrozenPhrases(frozen), FrozenPhrases.load(tmp_path / "frozen.json")):
        assert each.phrasegrams == found != phrases.export_phrases()
        assert list(each[[["new", "york"], ["bank", "of", "america"]]]) == [
            ["new_york"],
            ["bank_of_america"],
        ]
    with pytest.raises(FormatError, match=r"as Phrases\.save writes them"):
        Phrases.load(tmp_path / "frozen.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.pop("words"),
        lambda tree: tree.update(format="another"),
        lambda tree: tree.update(scoring="none"),
        lambda tree: tree["words"].update(new="often"),
        lambda tree: tree["words"].update(new=0),
        lambda tree: tree.update(pairs=[5]),
        lambda tree: tree.update(more=1),
    ],
)
def test_files_of_something_else(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "phrases.json"
    Phrases(CITY).save(path)
    tree = json.loads(path.read_text())
    change(tree)
    for text in (json.dumps(tree), "[]", "no JSON", "\udcff"):
        path.write_text(text, errors="surrogateescape")
        with pytest.raises(
            FormatError, match=r"phrases\.json: expected phrases as Phrases\.save writes them"
        ):
            Phrases.load(path)


# ---- gensim ----


SETTINGS = [
    {},
    {"min_count": 1, "threshold": 0.1},
    {"scoring": "npmi", "threshold": 0.3},
    {"connector_words": ENGLISH_CONNECTOR_WORDS, "threshold": 1.0, "delimiter": "~~"},
    {"max_vocab_size": 3000, "threshold": 0.5, "min_count": 2},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gensim_finds_the_same(settings: dict[str, Any]) -> None:
    theirs = pytest.importorskip("gensim.models.phrases").Phrases
    sentences = list(
        LineSentence(pytest.importorskip("gensim.test.utils").datapath("lee_background.cor"))
    )
    assert not any("_" in token or "~~" in token for sentence in sentences for token in sentence)
    ours, gensim = Phrases(**settings), theirs(**settings)
    for part in (sentences[:200], sentences[200:]):
        ours.add_vocab(part)
        gensim.add_vocab(part)
        assert len(ours) == len(gensim.vocab)
        assert ours.export_phrases() == gensim.export_phrases()
        assert len(ours.export_phrases()) > 5
    assert list(ours[sentences]) == list(gensim[sentences])
    assert ours.freeze().phrasegrams == gensim.freeze().phrasegrams
    assert list(Phraser(ours)[sentences]) == list(gensim.freeze()[sentences])
    assert ours.find_phrases(sentences) == gensim.find_phrases(sentences)
    assert ours.corpus_word_count == gensim.corpus_word_count


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "of", "the"]), max_size=8), max_size=12),
    st.integers(1, 9),
)
def test_gensim_finds_the_same_anywhere(sentences: list[list[str]], limit: int) -> None:
    theirs = pytest.importorskip("gensim.models.phrases").Phrases
    settings: dict[str, Any] = {
        "min_count": 1,
        "threshold": 0.01,
        "connector_words": {"of", "the"},
        "max_vocab_size": limit,
    }
    ours, gensim = Phrases(sentences, **settings), theirs(sentences, **settings)
    assert ours.export_phrases() == gensim.export_phrases()
    assert list(ours[sentences]) == list(gensim[sentences])
