"""A vocabulary: words, how often each stands in a corpus, and what word2vec derives from that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast import checks

RULE_DEFAULT, RULE_DISCARD, RULE_KEEP = 0, 1, 2
"""What a `trim_rule` returns, as in gensim.utils: `min_count` decides, leave out, keep."""

TrimRule = Callable[[str, int, int], int]
"""``trim_rule(word, count, min_count)`` returns one of the three above."""

_TOP = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Huffman:
    """The paths of a binary tree whose leaves are the words; frequent words have short ones.

    The path of word w, from the root on, is ``[offsets[w]:offsets[w + 1]]`` of the other two. One
    word alone has no inner node and an empty path; no path is longer than 91.

    Attributes
    ----------
    codes : array of uint8, shape (n,)
        The branch taken at each inner node, 0 or 1.
    points : array of int32, shape (n,)
        The inner nodes passed, in [0, V - 1); the root is V - 2.
    offsets : array of int64, shape (V + 1,)
    """

    codes: NDArray[np.uint8]
    points: NDArray[np.int32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words by id, and their counts.

    Parameters
    ----------
    words : tuple of str
        All different; the place is the id.
    counts : array of int64, shape (V,)
        At least 1 each.

    Raises
    ------
    ValueError
        No words, a word twice, or counts that do not fit.
    """

    words: tuple[str, ...]
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("vocabulary: expected words, got none; give at least one")
        if self.counts.dtype != np.int64 or self.counts.shape != (len(self.words),):
            raise ValueError(
                f"counts: expected an int64 array of shape ({len(self.words)},), one count a word, "
                f"got {self.counts.dtype} of shape {self.counts.shape}; convert it with "
                "numpy.asarray(counts, numpy.int64)"
            )
        if self.counts.min() < 1:
            word = self.words[int(self.counts.argmin())]
            raise ValueError(
                f"counts: expected at least 1 for each word, got {self.counts.min()} for {word!r}; "
                "leave the word out"
            )
        if len(self.index) < len(self.words):
            twice = next(word for place, word in enumerate(self.words) if self.index[word] != place)
            raise ValueError(f"words: expected different ones, got {twice!r} twice; add its counts")

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of each word."""
        return dict(zip(self.words, range(len(self.words)), strict=True))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def keep_thresholds(self, sample: float) -> NDArray[np.uint32]:
        """Return for each word the largest 32-bit random word with which a token of it is kept.

        A word of count f among N tokens is kept with probability min(1, sqrt(t / f) + t / f),
        where t = sample * N.

        Parameters
        ----------
        sample
            0 keeps everything. Below 1 it is a share of all tokens. From 1 on it is a count, as in
            gensim: more frequent words are thinned out, and t = int(sample * (3 + sqrt(5)) / 2).

        Returns
        -------
        array of uint32, shape (V,)

        Raises
        ------
        TypeError, ValueError
            Not a finite number >= 0.

        Notes
        -----
        As in word2vec.c and gensim; Mikolov et al., arXiv 1310.4546, section 2.3, has another
        formula.
        """
        checks.number("sample", sample, "a finite number >= 0", lambda v: 0 <= v < math.inf)
        if sample == 0:
            return np.full(len(self), _TOP, np.uint32)
        if sample < 1:
            threshold = sample * int(self.counts.sum())
        else:
            threshold = float(int(sample * (3 + math.sqrt(5)) / 2))
        probability = (np.sqrt(self.counts / threshold) + 1) * (threshold / self.counts)
        return (np.minimum(probability, 1.0) * _TOP).astype(np.uint32)

    def noise(self, ns_exponent: float) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """Return the alias table of the noise distribution, count ** `ns_exponent`.

        To draw a word: k uniform in [0, V), u a 32-bit random word; k if u <= threshold[k], else
        alias[k].

        Parameters
        ----------
        ns_exponent
            1 draws words as often as they occur, 0 all alike, below 0 the rare ones more often.

        Returns
        -------
        threshold : array of uint32, shape (V,)
        alias : array of int32, shape (V,)

        Raises
        ------
        TypeError, ValueError
            Not a number, or one so large that the weights overflow.

        Notes
        -----
        Walker's method (A. J. Walker, ACM TOMS 3, 1977). The table is that of the sequential sweep
        over light and heavy words (Hübschle-Schneider and Sanders, arXiv 1903.00227, section 3.2),
        found here from the running sums of what the light ones lack and the heavy ones have over.
        """
        weights = _weights(self.counts, ns_exponent)
        is_light = weights <= 1
        light, heavy = np.flatnonzero(is_light), np.flatnonzero(~is_light)
        share, alias = np.ones(len(self)), np.arange(len(self), dtype=np.int32)
        if len(heavy):
            lack = np.concatenate(([0.0], np.cumsum(1 - weights[light])))
            over = np.cumsum(weights[heavy] - 1)
            last = len(heavy) - 1
            giver = np.minimum(np.searchsorted(over, lack[:-1], side="right"), last)
            share[light], alias[light] = weights[light], heavy[giver]
            empty = np.minimum(np.searchsorted(lack, over[:-1], side="left"), len(light))
            share[heavy[:-1]] = np.clip(1 + over[:-1] - lack[empty], 0, 1)
            alias[heavy[:-1]] = heavy[1:]
        threshold = np.clip(np.rint(share * 2**32) - 1, 0, _TOP).astype(np.uint32)
        return threshold, alias

    def huffman(self) -> Huffman:
        """Return the Huffman tree of the counts, as word2vec.c builds it.

        Equal counts leave several best trees. This one is word2vec.c's: of a word and an inner
        node that weigh the same the node is merged first, and of equal words the last one.
        """
        order = np.argsort(-self.counts, kind="stable")
        parent, branch = _merge(self.counts[order[::-1]].tolist())
        n = len(self)
        depth = np.zeros(len(parent), np.int64)
        for node in range(len(parent) - 2, -1, -1):
            depth[node] = depth[parent[node]] + 1
        lengths = np.empty(n, np.int64)
        lengths[order[::-1]] = depth[:n]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        codes = np.empty(offsets[-1], np.uint8)
        points = np.empty(offsets[-1], np.int32)
        at, place = np.arange(n), offsets[1:][order[::-1]]  # from the leaves up, all at once
        for _ in range(int(lengths.max())):
            up = depth[at] > 0
            at, place = at[up], place[up] - 1
            codes[place] = branch[at]
            at = parent[at]
            points[place] = at - n
        return Huffman(codes, points, offsets)


def select(
    words: Sequence[str],
    counts: ArrayLike,
    *,
    min_count: int = 5,
    max_final_vocab: int | None = None,
    trim_rule: TrimRule | None = None,
    sorted_vocab: bool = True,
    known: Vocabulary | None = None,
) -> Vocabulary:
    """Return the vocabulary of the words that are kept.

    Parameters
    ----------
    words, counts
        Different words in the order in which they were first seen, and their counts.
    min_count
        Words that occur less often are left out.
    max_final_vocab
        At most so many words: `min_count` is raised as far as that takes. Words as frequent as
        the first one too many are left out with it, as in gensim.
    trim_rule
        A function of (word, count, min_count) that decides by `RULE_KEEP`, `RULE_DISCARD` or
        leaves it to `min_count` by `RULE_DEFAULT` (or None).
    sorted_vocab
        Order by descending count, equal ones by first sight; otherwise by first sight alone.
    known
        An older vocabulary: its words keep their ids, counts are added to theirs whatever
        `min_count` is, and new words come after them (gensim's ``build_vocab(update=True)``).

    Raises
    ------
    ValueError
        No word is left, or `trim_rule` returns something else.
    TypeError, ValueError
        `min_count` or `max_final_vocab` is no integer from 0 or 1 on.
    """
    min_count = checks.integer("min_count", min_count, 0)
    numbers = np.asarray(counts, np.int64)
    least = min_count
    if max_final_vocab is not None:
        limit = checks.integer("max_final_vocab", max_final_vocab, 1)
        if limit < len(words):
            least = max(least, int(np.partition(numbers, -limit - 1)[-limit - 1]) + 1)
    keep = numbers >= least
    if trim_rule is not None:
        keep = np.array(
            [
                _decided(trim_rule(word, count, least), bool(default), word)
                for word, count, default in zip(words, numbers.tolist(), keep, strict=True)
            ],
            bool,
        )
    if known is not None:
        keep &= np.array([word not in known for word in words], bool)
    places = np.flatnonzero(keep)
    if sorted_vocab:
        places = places[np.argsort(-numbers[places], kind="stable")]
    kept = tuple(words[place] for place in places.tolist())
    if known is not None:
        older = known.counts.copy()
        for word, count in zip(words, numbers.tolist(), strict=True):
            if (place := known.index.get(word)) is not None:
                older[place] += count
        return Vocabulary(known.words + kept, np.concatenate((older, numbers[places])))
    if not kept:
        raise _nothing_left(numbers, min_count, max_final_vocab, trim_rule)
    return Vocabulary(kept, numbers[places])


def _decided(rule: object, default: bool, word: str) -> bool:
    if rule is None or rule == RULE_DEFAULT:
        return default
    if rule not in (RULE_DISCARD, RULE_KEEP):
        raise ValueError(
            "trim_rule: expected RULE_DEFAULT (0), RULE_DISCARD (1) or RULE_KEEP (2) for "
            f"{word!r}, got {rule!r}; return one of the constants of nnfast.vocab"
        )
    return rule == RULE_KEEP


def _nothing_left(
    counts: NDArray[np.int64], min_count: int, max_final_vocab: int | None, trim_rule: object
) -> ValueError:
    if not len(counts):
        return ValueError("vocabulary: expected words, got an empty corpus; check the source")
    most = int(counts.max())
    if most < min_count:
        return ValueError(
            f"min_count: expected at most {most}, the count of the most frequent of {len(counts)} "
            f"words, got {min_count}, which leaves none; lower it, or read more text"
        )
    if trim_rule is not None:
        return ValueError(
            f"trim_rule: expected some of {len(counts)} words to be kept, got none; return "
            "RULE_DEFAULT where min_count shall decide"
        )
    ties = int((counts == most).sum())
    return ValueError(
        f"max_final_vocab: expected at least {ties}, as many as the most frequent words, which "
        f"are equal, got {max_final_vocab}, which leaves none; raise it"
    )


def _weights(counts: NDArray[np.int64], exponent: float) -> NDArray[np.float64]:
    """Return count ** exponent, scaled to a mean of 1.

    One libm power for each different count: NumPy's vector power depends on the processor.
    """
    checks.number("ns_exponent", exponent, "a finite number", math.isfinite)
    different, place = np.unique(counts, return_inverse=True)
    try:
        powers = np.array([float(count) ** exponent for count in different.tolist()])
        weights: NDArray[np.float64] = powers[place]
        total = math.fsum(weights.tolist())
    except OverflowError:
        total = math.inf
    if not 0 < total < math.inf:
        raise ValueError(
            f"ns_exponent: expected weights count ** ns_exponent within the range of a float, got "
            f"{exponent}; choose one nearer to 0.75"
        )
    return weights * (len(counts) / total)


def _merge(counts: list[int]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return parent and branch of each node of the tree over ascending `counts`.

    Leaves are the nodes 0 .. n - 1, then come the inner ones in the order in which they are made;
    the root is the last. Two queues: the leaves, and the inner nodes, which come out ascending.
    """
    n = len(counts)
    total = counts + [0] * (n - 1)
    parent, branch = [0] * len(total), bytearray(len(total))
    leaf, inner = 0, n
    for made in range(n, 2 * n - 1):
        for side in (0, 1):
            if leaf < n and (inner == made or counts[leaf] < total[inner]):
                least, leaf = leaf, leaf + 1
            else:
                least, inner = inner, inner + 1
            total[made] += total[least]
            parent[least], branch[least] = made, side
    return np.array(parent, np.int64), np.frombuffer(branch, np.uint8)
