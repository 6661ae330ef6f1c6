"""A text's words to ids, by dict and regular expression: what csrc/corpus.c does."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_WHITE = (b" ", b"\t", b"\n", b"\v", b"\f", b"\r")
_TOKEN = re.compile(rb"[^ \t\n\v\f\r]+|\n")


class CorpusReader:
    """Reads a text in blocks; see `nnfast.backend.CorpusReader`."""

    def __init__(self, max_sentence_length: int, max_words: int) -> None:
        self.n_raw_words = 0
        self.n_sentences = 0
        self._longest = max_sentence_length
        self._max_words = max_words
        self._ids: dict[bytes, int] = {}
        self._counts: list[int] = []
        self._tail: list[bytes] = []  # a token that the end of a block has cut
        self._length = 0  # of the sentence so far

    def feed(self, data: memoryview, out: NDArray[np.int32]) -> tuple[int, int, bool]:
        """Read a block; return the bytes read, the entries of `out`, and whether to prune now."""
        block = bytes(data)
        if not any(white in block for white in _WHITE):
            self._tail.append(block)
            return len(block), 0, False
        cut = 1 + max(block.rfind(white) for white in _WHITE)
        head = b"".join(self._tail)
        ids: list[int] = []
        for match in _TOKEN.finditer(head + block[:cut]):
            ended = self._end(ids) if match[0] == b"\n" else self._take(match[0], ids)
            if ended and len(self._ids) > self._max_words:
                self._tail = []
                out[: len(ids)] = ids
                return match.end() - len(head), len(ids), True
        self._tail = [block[cut:]]
        out[: len(ids)] = ids
        return len(block), len(ids), False

    def finish(self, out: NDArray[np.int32]) -> tuple[int, bool]:
        """End the last token and sentence; return the entries of `out`, and whether to prune."""
        ids: list[int] = []
        last = b"".join(self._tail)
        ended = self._take(last, ids) if last else False
        ended = self._end(ids) or ended
        self._tail = []
        out[: len(ids)] = ids
        return len(ids), ended and len(self._ids) > self._max_words

    def prune(self, least: int) -> NDArray[np.int32]:
        """Forget words of lower counts; return the new id of each, or -1."""
        kept = [word for word, place in self._ids.items() if self._counts[place] >= least]
        places = np.full(len(self._ids), -1, np.int32)
        places[[self._ids[word] for word in kept]] = np.arange(len(kept))
        self._counts = [self._counts[self._ids[word]] for word in kept]
        self._ids = {word: new for new, word in enumerate(kept)}
        return places

    def words(self) -> list[bytes]:
        """Return the words by id."""
        return list(self._ids)

    def counts(self) -> NDArray[np.int64]:
        """Return their counts."""
        return np.array(self._counts, np.int64)

    def _take(self, token: bytes, ids: list[int]) -> bool:
        """Take a token; return whether it fills the sentence."""
        new = len(self._ids)
        place = self._ids.setdefault(token, new)
        if place == new:
            self._counts.append(0)
        self._counts[place] += 1
        ids.append(place)
        self.n_raw_words += 1
        self._length += 1
        return self._length == self._longest and self._end(ids)

    def _end(self, ids: list[int]) -> bool:
        """End the sentence; return whether there was one."""
        if not self._length:
            return False
        ids.append(-1)
        self.n_sentences += 1
        self._length = 0
        return True


def remap_corpus(
    ids: NDArray[np.int32], places: NDArray[np.int32], is_open: bool
) -> tuple[int, int, bool]:
    """Give tokens other ids in place; see `nnfast.backend.Backend.remap_corpus`."""
    new = np.append(places, np.int32(-2))[np.where(ids < 0, len(places), ids)]
    new = new[new != -1]  # left out
    ends = new < 0
    opens = ~np.concatenate(([not is_open], ends))
    new = new[~ends | opens[:-1]]
    new[new < 0] = -1
    ids[: len(new)] = new
    return len(new), int((new < 0).sum()), bool(opens[-1])
