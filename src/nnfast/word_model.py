"""The words of a Word2Vec, their rows, and what it says of them: the part that does not train."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast import checks, corpus, progress, vocab, word_queries
from nnfast.corpus import Corpus
from nnfast.sources import AnyPath, Mark, Source, checked_source
from nnfast.vectors import KeyedVectors
from nnfast.vocab import Vocabulary
from nnfast.word_job import aligned_rows
from nnfast.word_weights import Rows, Weights

_BYTES_OF_A_WORD = 300
"""About what a word, its count and its places in lists take."""


class WordModel:
    """Words and rows; `nnfast.Word2Vec` documents and sets the settings, and trains."""

    vector_size: int
    window: int
    min_count: int
    max_vocab_size: int | None
    max_final_vocab: int | None
    seed: int
    sg: int
    hs: int
    negative: int
    cbow_mean: int
    sorted_vocab: int
    max_sentence_length: int
    verbose: object
    _cache: AnyPath | None

    def __init__(self) -> None:
        self.corpus_count = self.corpus_total_words = 0
        self.epochs_trained = 0
        self.raw_vocab: dict[Any, int] = {}
        self._corpus: Corpus | None = None
        self._mark: Mark | None = None
        self._are_integers = False
        self._weights: Weights | None = None
        self.wv = KeyedVectors((), np.empty((0, self.vector_size), np.float32))

    # --- vocabulary ---

    def build_vocab(
        self,
        corpus_iterable: Iterable[Any] | None = None,
        corpus_file: AnyPath | None = None,
        update: bool = False,
        progress_per: int = 10_000,
        keep_raw_vocab: bool = False,
        trim_rule: Any = None,
    ) -> None:
        """Read a corpus once: count its words, choose the vocabulary, draw the initial vectors.

        A `train` of the same corpus does not read it again.

        Parameters
        ----------
        corpus_iterable, corpus_file
            As `sentences` and `corpus_file` of the class.
        update : bool
            Keep words and vectors, add the corpus's new words behind them, and add up the counts.
        progress_per
            Taken for gensim's sake, and unused.
        keep_raw_vocab : bool
            Leave all counts in `raw_vocab`.
        trim_rule : callable or None

        Raises
        ------
        RuntimeError
            `update` of a model without words.
        ValueError
            No word is left.
        """
        source = self._source(corpus_iterable, corpus_file, "corpus_iterable")
        self._build(source, update, trim_rule, keep_raw_vocab)

    def build_vocab_from_freq(
        self,
        word_freq: Mapping[Any, int],
        keep_raw_vocab: bool = False,
        corpus_count: int | None = None,
        trim_rule: Any = None,
        update: bool = False,
    ) -> None:
        """Choose the vocabulary from counts by word; see `build_vocab`."""
        self._check_update(update)
        self._set_kind(all(isinstance(word, int) for word in word_freq), update)
        words, counts = list(map(str, word_freq)), list(word_freq.values())
        self._choose(words, counts, update, trim_rule, keep_raw_vocab)
        self.corpus_count = corpus_count or 0
        self.corpus_total_words = sum(counts)

    def init_weights(self) -> None:
        """Begin anew with the vocabulary: draw the vectors that it began with."""
        self._draw(self._learned.vocabulary)

    def init_sims(self, replace: bool = False) -> None:
        """See `KeyedVectors.init_sims`."""
        self.wv.init_sims(replace)

    def reset_from(self, other_model: WordModel) -> None:
        """Take another model's vocabulary and corpus, and begin anew."""
        self._draw(other_model._learned.vocabulary)
        self.corpus_count = other_model.corpus_count
        self.corpus_total_words = other_model.corpus_total_words
        self._corpus, self._mark = other_model._corpus, other_model._mark

    @property
    def _learned(self) -> Weights:
        if self._weights is None:
            raise RuntimeError(
                "vocabulary: expected a model with words, got one without; call build_vocab first"
            )
        return self._weights

    def _source(self, iterable: Any, file: Any, name: str) -> Source:
        return checked_source(iterable, file, name, self.max_sentence_length)

    def _build(self, source: Source, update: bool, trim_rule: Any, keep_raw_vocab: bool) -> None:
        self._check_update(update)
        mark = source.mark()
        self._corpus = self._mark = None
        with progress.reading(self.verbose) as tell:
            counted = corpus.count(
                source.read,
                max_sentence_length=source.max_sentence_length,
                max_vocab_size=self.max_vocab_size,
                cache=self._cache,
                progress=tell,
            )
            self._set_kind(source.are_integers, update)
            self._choose(counted.words, counted.counts.tolist(), update, trim_rule, keep_raw_vocab)
            self._corpus, self._mark = counted.encode(self._learned.vocabulary), mark
        self.corpus_count = counted.n_sentences
        self.corpus_total_words = counted.n_raw_words

    def _check_update(self, update: bool) -> None:
        if update:
            _ = self._learned

    def _set_kind(self, are_integers: bool, update: bool) -> None:
        """Note whether words are integers, which a vocabulary holds by their digits."""
        if update and are_integers != self._are_integers:
            kinds = ("integers", "text") if self._are_integers else ("text", "integers")
            raise TypeError(
                "update: expected {} for words, as the vocabulary has, got {}; convert them".format(
                    *kinds
                )
            )
        self._are_integers = are_integers

    def _choose(
        self,
        words: Sequence[Any],
        counts: Sequence[int],
        update: bool,
        trim_rule: Any,
        keep_raw_vocab: bool,
    ) -> None:
        """Choose the words, and make their vectors."""
        chosen = vocab.select(
            words,
            counts,
            min_count=self.min_count,
            max_final_vocab=self.max_final_vocab,
            trim_rule=trim_rule,
            sorted_vocab=bool(self.sorted_vocab),
            known=self._learned.vocabulary if update else None,
        )
        self.raw_vocab = dict(zip(words, counts, strict=True)) if keep_raw_vocab else {}
        self._corpus = self._mark = None
        if update:
            self._collect()
            self._take(self._learned.grown(chosen, self.seed))
        else:
            self._draw(chosen)

    def _draw(self, vocabulary: Vocabulary) -> None:
        """Begin with initial vectors."""
        self._take(Weights.drawn(vocabulary, self.vector_size, self.seed))
        self.epochs_trained = 0

    def _take(self, weights: Weights) -> None:
        weights.add_outputs(self.negative > 0, self.hs > 0)
        self._weights, words = weights, weights.vocabulary
        keys = [int(word) for word in words.words] if self._are_integers else words.words
        self.wv = KeyedVectors(keys, weights.vectors, words.counts)

    def _collect(self) -> None:
        """Copy the vectors to their place, if `wv` has got others."""
        weights, vectors = self._learned, self.wv.vectors
        if vectors.shape != weights.vectors.shape:
            raise ValueError(
                f"wv.vectors: expected shape {weights.vectors.shape}, got {vectors.shape}; "
                "new words come by build_vocab(update=True)"
            )
        if not np.may_share_memory(vectors, weights.syn0):
            weights.vectors[...] = vectors
            self.wv.vectors = weights.vectors

    # --- what it knows ---

    @property
    def syn1neg(self) -> Rows:
        """Output vectors of the words, a view, shape (n_words, vector_size)."""
        return self._outputs("syn1neg", "negative=5")

    @property
    def syn1(self) -> Rows:
        """Vectors of the inner nodes, a view, shape (n_words - 1, vector_size)."""
        return self._outputs("syn1", "hs=1")

    def _outputs(self, name: str, needs: str) -> Rows:
        rows = None if self._weights is None else self._weights.arrays().get(name)
        if rows is None:
            raise AttributeError(f"{name}: expected a model trained with {needs}")
        return rows

    @property
    def layer1_size(self) -> int:
        """Numbers of a hidden vector: `vector_size`."""
        return self.vector_size

    def predict_output_word(
        self, context_words_list: Iterable[Any], topn: int = 10
    ) -> list[tuple[Any, float]] | None:
        """Return the likeliest words amid others, with their probabilities.

        Parameters
        ----------
        context_words_list : iterable
            Words, or their indices. Unknown ones are passed over.
        topn : int

        Returns
        -------
        list of (word, probability) or None
            None, with a warning, if no word is known.

        Raises
        ------
        RuntimeError
            A model without negative sampling.
        """
        if isinstance(context_words_list, str):
            raise TypeError(
                f"context_words_list: expected a list of words, got {context_words_list!r:.80}; "
                "split it"
            )
        if not self.negative:
            raise RuntimeError(
                "predict_output_word: expected a model of negative sampling, got negative=0; "
                "train one with negative > 0"
            )
        topn = checks.integer("topn", topn, 1)
        known = [self.wv.get_index(word) for word in context_words_list if word in self.wv]
        if not known:
            warnings.warn(
                "predict_output_word: expected a word of the vocabulary, got none",
                UserWarning,
                stacklevel=2,
            )
            return None
        likely = word_queries.output_probabilities(
            self.wv.vectors, self.syn1neg, known, bool(self.cbow_mean)
        )
        best = np.argsort(-likely, kind="stable")[:topn].tolist()
        return [(self.wv.index_to_key[index], float(likely[index])) for index in best]

    def score(
        self,
        sentences: Iterable[Iterable[Any]],
        total_sentences: int = 1_000_000,
        chunksize: int = 100,
        queue_factor: int = 2,
        report_delay: float = 1,
    ) -> NDArray[np.float64]:
        """Return the log likelihood of each sentence by hierarchical softmax, shape (n,).

        The model needs ``hs=1, negative=0``. Unknown words are passed over. The other arguments are
        taken for gensim's sake, and unused.
        """
        if not self.hs or self.negative:
            raise RuntimeError(
                "score: expected a model of hierarchical softmax alone, got "
                f"hs={self.hs}, negative={self.negative}; train one with hs=1, negative=0"
            )
        huffman = self._learned.vocabulary.huffman()
        index = self.wv.key_to_index
        return np.array(
            [
                word_queries.log_likelihood(
                    self.wv.vectors,
                    self.syn1,
                    huffman,
                    [index[word] for word in sentence if word in index],
                    self.window,
                    bool(self.sg),
                    bool(self.cbow_mean),
                )
                for sentence in sentences
            ]
        )

    def estimate_memory(
        self, vocab_size: int | None = None, report: dict[str, int] | None = None
    ) -> dict[str, int]:
        """Return about how many bytes the parts of a model of so many words take, and "total"."""
        n = len(self.wv) if vocab_size is None else checks.integer("vocab_size", vocab_size, 0)
        row = aligned_rows(1, self.vector_size).nbytes
        found = dict(report or {}) | {"vocab": n * _BYTES_OF_A_WORD, "vectors": n * row}
        if self.hs:
            found["syn1"] = n * row
        if self.negative:
            found["syn1neg"] = n * row
        return found | {"total": sum(found.values())}
