"""Lists of tokens to ids, as `nnfast.backend.CorpusReader` does for a text."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class SentenceReader:
    """Gives tokens ids in the order in which they are first seen.

    Parameters
    ----------
    max_sentence_length
        In tokens; longer sentences are cut.
    max_words
        With more words a sentence asks for a prune.
    """

    def __init__(self, max_sentence_length: int, max_words: int) -> None:
        self.n_raw_words = 0
        self.n_sentences = 0
        self._longest = max_sentence_length
        self._max_words = max_words
        self._ids = _Ids()
        self._counts = np.zeros(0, np.int64)
        self._waiting = array("i")

    @property
    def n_waiting(self) -> int:
        """Ids, and -1 behind sentences, that `take` would return."""
        return len(self._waiting)

    def read(self, sentence: object) -> bool:
        """Read a sentence of str or integers; return whether to take and prune now.

        Raises
        ------
        TypeError, ValueError
            A text for a sentence, other tokens, integers below 0.
        """
        tokens = tokens_of(sentence)
        waiting, ids = self._waiting, self._ids
        begin = len(waiting)
        waiting.extend(map(ids.__getitem__, tokens))
        n = len(waiting) - begin
        if not n:
            return False
        if n > self._longest:
            whole = waiting[begin:]
            del waiting[begin:]
            for place in range(0, n, self._longest):
                waiting.extend(whole[place : place + self._longest])
                waiting.append(-1)
        else:
            waiting.append(-1)
        self.n_raw_words += n
        self.n_sentences += len(waiting) - begin - n
        return len(ids.words) > self._max_words

    def take(self) -> NDArray[np.int32]:
        """Return what has been read since the last call."""
        block = np.array(self._waiting, np.int32)
        counts = np.bincount(block[block >= 0], minlength=len(self._ids.words))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self._waiting = array("i")
        return block

    def prune(self, least: int) -> NDArray[np.int32]:
        """Forget words of lower counts; return the new id of each, or -1. `take` first."""
        kept = self._counts >= least
        places = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        old = self._ids.words
        self._ids = _Ids(old[place] for place in np.flatnonzero(kept).tolist())
        self._counts = self._counts[kept]
        return places

    def words(self) -> list[str]:
        """Return the words by id."""
        return self._ids.words

    def counts(self) -> NDArray[np.int64]:
        """Return their counts, of what has been taken."""
        return self._counts


def tokens_of(sentence: object) -> Iterable[object]:
    """Return the tokens of a sentence; TypeError if it is a text, or no iterable."""
    if isinstance(sentence, (str, bytes)):
        raise TypeError(
            f"sentences: expected lists of tokens, got the text {sentence!r:.60}, whose characters "
            "would be the tokens; split it: text.split()"
        )
    if not isinstance(sentence, Iterable):
        raise TypeError(
            f"sentences: expected lists of tokens, got {sentence!r:.60} of type "
            f"{type(sentence).__name__}; put the tokens of a sentence in a list"
        )
    return sentence.tolist() if isinstance(sentence, np.ndarray) else sentence


class _Ids(dict[object, int]):
    """The id of each token; a new one gets the next. An integer and its digits are one word."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = list(words)
        super().__init__(zip(self.words, range(len(self.words)), strict=True))

    def __missing__(self, token: object) -> int:
        if isinstance(token, str):
            place = len(self.words)
            self.words.append(str(token))
        elif hasattr(token, "__index__") and not isinstance(token, bool):
            number = operator.index(token)
            if number < 0:
                raise ValueError(
                    f"sentences: expected str or integers >= 0 as tokens, got {number}; leave out "
                    "what marks padding"
                )
            place = self[str(number)]
        else:
            raise TypeError(
                f"sentences: expected str or integers >= 0 as tokens, got {token!r:.60} of type "
                f"{type(token).__name__}; convert it with str()"
            )
        self[token] = place
        return place
