"""An epoch of word2vec in NumPy. The draws are those of csrc/word2vec.c, word for word.

A chunk has two streams of xoshiro256++, seeded by Philox: one word of 64 bits a token, whose upper
half decides whether the token stays and whose lower half is the size of its window; and one word
for each negative drawn, whose upper half is a place of the alias table and whose lower half
decides between that and the alias.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nnfast import rng
from nnfast.word_job import CHUNK, Rows, Word2VecJob

DRAWS = 4
"""How often a shared negative is drawn for each that is wanted, before fewer must do."""

_MASK = 2**64 - 1
Numbers = NDArray[np.float32]


class Word2VecRun:
    """See `nnfast.backend.Word2VecRun`."""

    def __init__(self, job: Word2VecJob) -> None:
        self.job = job
        self.chunk = job.first_chunk
        self.words = self.effective = self.pairs = 0
        self.loss = 0.0

    def advance(self, seconds: float) -> bool:
        """Learn chunks for about so many seconds; True while there is more to do."""
        end = time.monotonic() + seconds
        while self.chunk < self.job.n_chunks:
            self._learn_chunk()
            self.chunk += 1
            if time.monotonic() >= end:
                break
        return self.chunk < self.job.n_chunks

    def _learn_chunk(self) -> None:
        job = self.job
        words = [int(w) for w in rng.words(job.seed, rng.WINDOWS, job.epoch, 8, self.chunk)]
        draws, noise = xoshiro(words[:4]), xoshiro(words[4:])
        begin, end = job.progress
        progress = begin + (end - begin) * (self.chunk * CHUNK / job.ids.size)
        alpha = np.float32(job.alpha + (job.min_alpha - job.alpha) * progress)
        loss = 0.0
        for sentence in self._sentences(draws):
            words_of = [word for word, _ in sentence]
            for place, (centre, size) in enumerate(sentence):
                left = words_of[max(0, place - size) : place]
                context = left + words_of[place + 1 : place + 1 + size]
                if context:
                    loss += self._learn_window(centre, context, alpha, noise)
        self.loss += loss

    def _sentences(self, draws: Iterator[int]) -> Iterator[list[tuple[int, int]]]:
        """Yield the tokens that stay, and the sizes of their windows, by sentence."""
        job = self.job
        sentence: list[tuple[int, int]] = []
        for word in job.ids[self.chunk * CHUNK : (self.chunk + 1) * CHUNK].tolist():
            if word < 0:
                yield sentence
                sentence = []
                continue
            self.words += 1
            draw = next(draws)
            if draw >> 32 <= job.keep[word]:
                self.effective += 1
                size = ((draw & 0xFFFFFFFF) * job.window >> 32) + 1
                sentence.append((word, size if job.shrink_windows else job.window))
        yield sentence

    def _learn_window(
        self, centre: int, context: list[int], alpha: np.float32, noise: Iterator[int]
    ) -> float:
        job = self.job
        exact = job.sharing == "exact"
        groups = [[word] for word in context] if job.sg and exact else [context]
        loss = 0.0
        for group in groups:
            self.pairs += len(group) if job.sg else 1
            inputs, counts = distinct(group)
            if job.huffman is not None and job.syn1hs is not None:
                path = slice(job.huffman.offsets[centre], job.huffman.offsets[centre + 1])
                nodes = job.huffman.points[path].tolist()
                labels = [1.0 - code for code in job.huffman.codes[path].tolist()]
                loss += self._learn(job.syn1hs, inputs, counts, nodes, labels, alpha)
            if job.negative and job.syn1 is not None:
                negatives = self._exact(centre, noise) if exact else self._shared(centre, noise)
                outputs = [centre, *negatives]
                labels = [1.0] + [0.0] * len(negatives)
                loss += self._learn(job.syn1, inputs, counts, outputs, labels, alpha)
        return loss

    def _draw(self, noise: Iterator[int]) -> int:
        assert self.job.noise is not None
        threshold, alias = self.job.noise
        draw = next(noise)
        place = (draw >> 32) * len(threshold) >> 32
        return place if draw & 0xFFFFFFFF <= threshold[place] else int(alias[place])

    def _exact(self, centre: int, noise: Iterator[int]) -> list[int]:
        """Draw as word2vec.c does: the centre is passed over."""
        drawn = [self._draw(noise) for _ in range(self.job.negative)]
        return [word for word in drawn if word != centre]

    def _shared(self, centre: int, noise: Iterator[int]) -> list[int]:
        """Draw until there are enough different words, or for long enough."""
        found: list[int] = []
        for _ in range(DRAWS * self.job.negative):
            word = self._draw(noise)
            if word != centre and word not in found:
                found.append(word)
                if len(found) == self.job.negative:
                    break
        return found

    def _learn(
        self,
        syn1: Rows,
        inputs: list[int],
        counts: Numbers,
        outputs: list[int],
        labels: list[float],
        alpha: np.float32,
    ) -> float:
        """Learn a window: `counts` says how often each of the inputs stands in it."""
        job = self.job
        x = job.syn0[inputs]
        total = counts.sum()
        hidden = x
        if not job.sg:
            hidden = (counts @ x)[None, :]
            if job.cbow_mean:
                hidden = hidden / total
        error = np.zeros_like(hidden)
        weights = counts[:, None] if job.sg else np.ones((1, 1), np.float32)
        loss = 0.0
        repeated = len(set(outputs)) < len(outputs)
        places = list(range(len(outputs)))
        steps = [[place] for place in places] if repeated else [places]
        for step in steps:  # of a word drawn twice the second time sees what the first has left
            rows = [outputs[place] for place in step]
            label = np.array([labels[place] for place in step], np.float32)
            y = syn1[rows]
            z = hidden @ y.T
            if job.compute_loss:
                signed = np.where(label > 0, -z, z).astype(np.float64)
                loss += float((weights * np.logaddexp(0, signed)).sum())
            gradient = (label - 1 / (1 + np.exp(-z))) * alpha * weights
            error += gradient @ y
            syn1[rows] = y + gradient.T @ hidden
        if job.sg:
            job.syn0[inputs] = x + error
        else:
            if (job.cbow_grad == "corrected") == job.cbow_mean:
                error = error / total
            job.syn0[inputs] = x + counts[:, None] * error
        return loss


def xoshiro(state: list[int]) -> Iterator[int]:
    """Yield the words of xoshiro256++ (Blackman and Vigna, arXiv 1805.01407) from this state on."""
    a, b, c, d = state
    while True:
        yield (_rotated((a + d) & _MASK, 23) + a) & _MASK
        shifted = b << 17 & _MASK
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= shifted
        d = _rotated(d, 45)


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & _MASK


def distinct(words: list[int]) -> tuple[list[int], Numbers]:
    """Return the different words in the order of their first places, and how often each stands."""
    found = dict.fromkeys(words)
    return list(found), np.array([words.count(word) for word in found], np.float32)
