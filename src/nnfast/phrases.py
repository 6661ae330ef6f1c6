"""Phrases: words that stand together more often than chance has it become one token.

Mikolov et al., "Distributed representations of words and phrases and their compositionality",
arXiv 1310.4546, section 4; names and results are those of gensim.models.phrases.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, pairwise
from typing import Any, ClassVar, Literal, Self, cast

from nnfast import checks
from nnfast.formats import FormatError, existing, replacing
from nnfast.sentences import tokens_of
from nnfast.texts import LineSentence

_ARTICLES = ("a", "an", "the")
_PREPOSITIONS = ("for", "of", "with", "without", "at", "from", "to", "in", "on", "by")
ENGLISH_CONNECTOR_WORDS = frozenset((*_ARTICLES, *_PREPOSITIONS, "and", "or"))
"""Articles, prepositions and conjunctions, for `Phrases(connector_words=...)`; as in gensim."""

Scoring = Literal["default", "npmi"]
Candidate = tuple[str, ...]


class _Joiner(ABC):
    """Phrases by their words, and what joins them in sentences."""

    _FORMAT: ClassVar[str]
    delimiter: str
    connector_words: frozenset[str]

    def __getitem__(self, sentence: Iterable[Any]) -> Any:
        """Return the sentence with its phrases joined.

        A corpus, an iterable of sentences, gives an iterable of such lists, as often as the corpus
        can be iterated over.
        """
        rest = iter(tokens_of(sentence))
        begin = list(islice(rest, 1))
        whole: Any = chain(begin, rest) if rest is sentence else sentence
        if not begin or isinstance(begin[0], str):
            return [token for token, _ in self.analyze_sentence(whole)]
        return _Joined(self, whole)

    def find_phrases(
        self, sentences: str | os.PathLike[str] | Iterable[Iterable[str]]
    ) -> dict[str, float]:
        """Return the phrases that stand in these sentences, and their scores."""
        return {
            token: score
            for sentence in _lists(sentences)
            for token, score in self.analyze_sentence(sentence)
            if score is not None
        }

    def export_phrases(self) -> dict[str, float]:
        """Return all phrases, and their scores."""
        return {self.delimiter.join(pair): score for pair, score in self._found().items()}

    def analyze_sentence(self, sentence: Iterable[str]) -> Iterator[tuple[str, float | None]]:
        """Yield each phrase with its score, and each other word with None, from left to right."""
        found = self._found()
        waiting: list[str] = []  # a word that may begin a phrase, and connectors behind it
        for word in sentence:
            if word in self.connector_words:
                if waiting:
                    waiting.append(word)
                else:
                    yield word, None
                continue
            score = found.get((*waiting, word)) if waiting else None
            if score is not None:
                yield self.delimiter.join((*waiting, word)), score
                waiting = []
                continue
            for single in waiting:
                yield single, None
            waiting = [word]
        for single in waiting:
            yield single, None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as JSON, whole or not at all.

        Raises
        ------
        OSError
            The file cannot be written; an older one stays as it was.
        """
        import json

        tree = {
            "format": self._FORMAT,
            "delimiter": self.delimiter,
            "connector_words": sorted(self.connector_words),
            **self._tree(),
        }
        with replacing(path) as file:
            file.write(json.dumps(tree).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` has written.

        Raises
        ------
        FormatError
            The file is something else.
        FileNotFoundError, IsADirectoryError, OSError
        """
        import json

        try:
            tree = json.loads(existing(path).read_bytes())
            if tree.pop("format") != cls._FORMAT:
                raise ValueError("of another format")
            return cls._of_tree(tree)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                f"{os.fspath(path)}: expected phrases as {cls.__name__}.save writes them "
                f"({error}); check the name"
            ) from None

    @abstractmethod
    def _found(self) -> dict[Candidate, float]:
        """Return the phrases by their words, and their scores."""

    @abstractmethod
    def _tree(self) -> dict[str, Any]:
        """Return what a file holds besides delimiter and connectors."""

    @classmethod
    @abstractmethod
    def _of_tree(cls, tree: dict[str, Any]) -> Self:
        """Return what a file held."""


class Phrases(_Joiner):
    """Finds phrases of two words by their counts.

    Apply a second model to the sentences of a first one for phrases of three and four words.

    Parameters
    ----------
    sentences
        What to learn from: an iterable of lists of str, or the path of a text with a sentence a
        line; None learns later, by `add_vocab`.
    min_count
        Pairs that occur less often are no phrases; "default" subtracts it from the count of each.
    threshold
        A pair is a phrase if its score is above this: > 0 for "default", -1 to 1 for "npmi".
    max_vocab_size
        Whenever a sentence leaves more words and pairs than this, those with a count below 1 are
        forgotten, the next time those below 2, and so on.
    delimiter
        What stands between the words of a phrase.
    progress_per
        Taken for gensim's sake, and unused.
    scoring
        Of words a, b with counts n_a, n_b, n_ab among N tokens, and L different words and pairs:
        "default" is (n_ab - min_count) / (n_a * n_b) * L, as in Mikolov's paper but for the factor;
        "npmi" is log(p_ab / (p_a * p_b)) / -log(p_ab) where p = n / N (Bouma, 2009).
    connector_words
        Words that may stand inside a phrase, but neither begin nor end one, and do not count.

    Notes
    -----
    gensim counts a pair under its joined text. Here a pair and a word that has the delimiter in it
    stay two things, so phrases of phrases are scored as what they are made of.
    """

    _FORMAT = "nnfast phrases 1"

    def __init__(
        self,
        sentences: str | os.PathLike[str] | Iterable[Iterable[str]] | None = None,
        min_count: float = 5,
        threshold: float = 10.0,
        max_vocab_size: int = 40_000_000,
        delimiter: str = "_",
        progress_per: int = 10_000,
        scoring: Scoring = "default",
        connector_words: Iterable[str] = frozenset(),
    ) -> None:
        if scoring not in _SCORES:
            raise checks.unknown("scoring", scoring, _SCORES)
        if not isinstance(delimiter, str):
            raise TypeError(f"delimiter: expected str, got {delimiter!r}; use a text such as '_'")
        if isinstance(connector_words, str):
            raise TypeError(
                f"connector_words: expected a set of words, got the text {connector_words!r}; "
                "split it"
            )
        checks.number("min_count", min_count, "a finite number > 0", lambda v: 0 < v < math.inf)
        if scoring == "default":
            checks.number("threshold", threshold, "a number > 0", lambda v: v > 0)
        else:
            expected = "a number from -1 to 1 for scoring='npmi'"
            checks.number("threshold", threshold, expected, lambda v: -1 <= v <= 1)
        self.min_count = min_count
        self.threshold = threshold
        self.max_vocab_size = checks.integer("max_vocab_size", max_vocab_size, 1)
        self.delimiter = delimiter
        self.scoring = scoring
        self.connector_words = frozenset(connector_words)
        self.corpus_word_count = 0
        self._words: Counter[str] = Counter()
        self._pairs: Counter[Candidate] = Counter()
        self._least = 1
        self._scores: dict[Candidate, float] | None = None
        if sentences is not None:
            self.add_vocab(sentences)

    def __len__(self) -> int:
        """Return the number of different words and pairs that are known."""
        return len(self._words) + len(self._pairs)

    def add_vocab(self, sentences: str | os.PathLike[str] | Iterable[Iterable[str]]) -> None:
        """Count more sentences.

        Raises
        ------
        TypeError
            Sentences that are no lists of str.
        FileNotFoundError, IsADirectoryError, OSError
        """
        words: Counter[str] = Counter()
        pairs: Counter[Candidate] = Counter()
        least, total = 1, 0
        for sentence in _lists(sentences):
            words.update(self._content(sentence))
            pairs.update(self._candidates(sentence))
            total += len(sentence)
            if len(words) + len(pairs) > self.max_vocab_size:
                words, pairs = _pruned(words, least), _pruned(pairs, least)
                least += 1
        for word in words:
            if not isinstance(word, str):
                raise TypeError(
                    f"sentences: expected str as tokens, got {word!r:.60} of type "
                    f"{type(word).__name__}; convert it with str()"
                )
        more = bool(len(self))
        self._words.update(words)
        self._pairs.update(pairs)
        self.corpus_word_count += total
        self._scores = None
        if more:
            self._least = max(self._least, least)
        if more and len(self) > self.max_vocab_size:
            self._words = _pruned(self._words, self._least)
            self._pairs = _pruned(self._pairs, self._least)
            self._least += 1

    def freeze(self) -> FrozenPhrases:
        """Return the phrases without the counts."""
        return FrozenPhrases(self)

    def _tree(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _SETTINGS},
            "corpus_word_count": self.corpus_word_count,
            "words": self._words,
            "pairs": [[count, *pair] for pair, count in self._pairs.items()],
        }

    @classmethod
    def _of_tree(cls, tree: dict[str, Any]) -> Self:
        words, pairs = Counter(tree.pop("words")), tree.pop("pairs")
        total = checks.integer("corpus_word_count", tree.pop("corpus_word_count"), 0)
        model = cls(None, **tree)
        counted = Counter({tuple(pair): count for count, *pair in pairs})
        for count in chain(words.values(), counted.values()):
            checks.integer("count", count, 1)
        model._words, model._pairs, model.corpus_word_count = words, counted, total
        return model

    def _content(self, sentence: list[str]) -> Iterable[str]:
        connectors = self.connector_words
        return (word for word in sentence if word not in connectors) if connectors else sentence

    def _candidates(self, sentence: list[str]) -> Iterator[Candidate]:
        """Yield each pair of words that no other stands between, and the connectors between."""
        if self.connector_words.isdisjoint(sentence):
            yield from pairwise(sentence)
            return
        waiting: Candidate = ()
        for word in sentence:
            if word not in self.connector_words:
                if waiting:
                    yield (*waiting, word)
                waiting = (word,)
            elif waiting:
                waiting = (*waiting, word)

    def _found(self) -> dict[Candidate, float]:
        if self._scores is None:
            score, words = _SCORES[self.scoring], self._words
            scores = (
                (pair, score(words[pair[0]], words[pair[-1]], count, self))
                for pair, count in self._pairs.items()
                if count >= self.min_count and pair[0] in words and pair[-1] in words
            )
            self._scores = {pair: value for pair, value in scores if value > self.threshold}
        return self._scores


class FrozenPhrases(_Joiner):
    """What `Phrases` has found, without the counts: smaller, and it learns no more.

    Parameters
    ----------
    phrases_model : Phrases
    """

    _FORMAT = "nnfast frozen phrases 1"

    def __init__(self, phrases_model: _Joiner) -> None:
        self.delimiter = phrases_model.delimiter
        self.connector_words = phrases_model.connector_words
        self._scores = phrases_model._found()

    @property
    def phrasegrams(self) -> dict[str, float]:
        """All phrases, and their scores."""
        return self.export_phrases()

    def _found(self) -> dict[Candidate, float]:
        return self._scores

    def _tree(self) -> dict[str, Any]:
        return {"phrases": [[score, *words] for words, score in self._scores.items()]}

    @classmethod
    def _of_tree(cls, tree: dict[str, Any]) -> Self:
        model = cls(
            Phrases(None, delimiter=tree["delimiter"], connector_words=tree["connector_words"])
        )
        model._scores = {tuple(words): float(score) for score, *words in tree["phrases"]}
        return model


Phraser = FrozenPhrases
"""gensim's older name."""

_SETTINGS = ("min_count", "threshold", "max_vocab_size", "scoring")


def _default(a: int, b: int, both: int, model: Phrases) -> float:
    return (both - model.min_count) / (a * b) * len(model)


def _npmi(a: int, b: int, both: int, model: Phrases) -> float:
    total = model.corpus_word_count
    share = both / total
    return math.log(share / ((a / total) * (b / total))) / -math.log(share)


_SCORES: dict[str, Callable[[int, int, int, Phrases], float]] = {
    "default": _default,
    "npmi": _npmi,
}


class _Joined:
    """The sentences of a corpus with their phrases joined."""

    def __init__(self, phrases: _Joiner, corpus: Iterable[Iterable[str]]) -> None:
        self._phrases = phrases
        self._corpus = corpus

    def __iter__(self) -> Iterator[list[str]]:
        analyze = self._phrases.analyze_sentence
        return ([token for token, _ in analyze(sentence)] for sentence in _lists(self._corpus))


def _lists(sentences: str | os.PathLike[str] | Iterable[Iterable[str]]) -> Iterator[list[str]]:
    """Yield each sentence as a list."""
    source = LineSentence(sentences) if isinstance(sentences, (str, os.PathLike)) else sentences
    for sentence in source:
        yield cast("list[str]", list(tokens_of(sentence)))


def _pruned(counts: Counter[Any], least: int) -> Counter[Any]:
    return Counter({item: count for item, count in counts.items() if count >= least})
