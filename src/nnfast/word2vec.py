"""Word2Vec: gensim's face over the word kernels. Names and meanings are gensim's."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnfast import (
    backend,
    checks,
    corpus,
    progress,
    rng,
    threads,
    word_training,
)
from nnfast.backups import BackupAndRestore
from nnfast.callbacks import Callback, LambdaCallback
from nnfast.corpus import Corpus
from nnfast.formats import FormatError, safetensors
from nnfast.history import History
from nnfast.listeners import Listeners
from nnfast.sources import AnyPath, PathLineSentences, Source, Text8Corpus
from nnfast.stored_rows import FORMAT
from nnfast.texts import MAX_SENTENCE_LENGTH, LineSentence
from nnfast.vectors import KeyedVectors
from nnfast.vocab import Vocabulary
from nnfast.word_job import Word2VecJob
from nnfast.word_model import WordModel
from nnfast.word_training import CallbackAny2Vec, Course, GensimCallback, Totals
from nnfast.word_weights import Rows, Weights, padded

__all__ = ["CallbackAny2Vec", "LineSentence", "PathLineSentences", "Text8Corpus", "Word2Vec"]

_SETTINGS = (
    "vector_size", "alpha", "window", "min_count", "max_vocab_size", "sample", "seed", "workers",
    "min_alpha", "sg", "hs", "negative", "ns_exponent", "cbow_mean", "epochs", "sorted_vocab",
    "compute_loss", "comment", "max_final_vocab", "shrink_windows", "sharing", "cbow_grad",
    "max_sentence_length", "verbose",
)  # fmt: skip
"""What a file and a copy hold besides the arrays."""

_METADATA = "nnfast.word2vec"

_COUNTS = ("corpus_count", "corpus_total_words", "total_train_time", "epochs_trained")


class Word2Vec(WordModel):
    """Vectors of words from the company they keep.

    With a corpus it is trained at once; without one, call `build_vocab` and `train`.

    Parameters
    ----------
    sentences : iterable of lists of words, or None
        Words are str, or int as in random walks. It is read once: a generator will do.
    corpus_file : path or None
        In its place: a text file, plain, .gz, .xz or .bz2, a sentence a line, words parted by white
        space. Much faster than an iterable.
    vector_size : int
    alpha, min_alpha : float
        Learning rate, which falls linearly from the one to the other.
    window : int
        Most words between a word and one that it predicts.
    min_count : int
        Rarer words are left out.
    max_vocab_size : int or None
        While words are counted, forget the rarest whenever there are more than this.
    sample : float
        Frequent words are passed over at random: threshold as a share of the corpus, or from 1 on
        as a count. 0: none are.
    seed : int or None
        Key of the initial vectors and of all draws. With one worker the same seed gives the same
        bits.
    workers : int or None
        Threads; None: all cores. At most 256.
    sg : {0, 1}
        1: skip-gram, 0: CBOW.
    hs : {0, 1}
        1: hierarchical softmax.
    negative : int
        Words drawn against each true one (negative sampling); 0: none.
    ns_exponent : float
        They are drawn by count to this power.
    cbow_mean : {0, 1}
        CBOW predicts from the mean (1) or the sum (0) of the context.
    hashfxn, batch_words
        Taken for gensim's sake, and unused.
    epochs : int
    null_word : {0}
        Taken for gensim's sake.
    trim_rule : callable or None
        ``rule(word, count, min_count)`` returns 0 (by `min_count`), 1 (discard) or 2 (keep).
    sorted_vocab : {0, 1}
        Frequent words first.
    compute_loss : bool
        Keep the loss; see `history`.
    callbacks : sequence
        Objects with gensim's methods (``on_epoch_end(model)`` ...), or `nnfast.Callback`.
    comment : str or None
        Kept.
    max_final_vocab : int or None
        Raise `min_count` until no more words than this remain.
    shrink_windows : bool
        Each window's size is drawn from 1 to `window`.
    sharing : {"window", "exact"}
        "window": words of a window share the negatives that are drawn. "exact": each pair has its
        own, in the order of word2vec.c; slower.
    cbow_grad : {"word2vec", "corrected"}
        "corrected" divides CBOW's gradient by the context's size (Irsoy et al., arXiv 2012.15332);
        try alpha=0.075 with it.
    cache : path or None
        A file for the encoded corpus, four bytes a word, in place of memory.
    max_sentence_length : int
        Longer sentences are cut.
    checkpoint : path or None
        A folder; see `train`.
    verbose : {"auto", 0, 1, 2}
        1 draws a bar with words/s on stderr if it is a terminal or a notebook, "auto" is 1; 2
        prints a line an epoch on stdout.

    Attributes
    ----------
    wv : KeyedVectors
        The words and their vectors.
    history : History
        Of the last training: "loss" (mean over pairs, float64, if it is computed), "alpha".
    syn1neg, syn1 : ndarray
        Output vectors: of words, shape (n_words, vector_size), with `negative`; of the inner nodes,
        shape (n_words - 1, vector_size), with `hs`.
    corpus_count, corpus_total_words : int
        Sentences and words of the corpus that built the vocabulary.

    Raises
    ------
    TypeError, ValueError
        An argument that does not fit, or a corpus without a word to learn.
    OSError
        A file cannot be read or written.

    Examples
    --------
    >>> model = nn.Word2Vec(corpus_file="corpus.txt", vector_size=100, sg=1, epochs=5)
    >>> model.wv.most_similar("house")
    """

    def __init__(
        self,
        sentences: Iterable[Any] | None = None,
        corpus_file: AnyPath | None = None,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        sample: float = 1e-3,
        seed: int | None = 1,
        workers: int | None = None,
        min_alpha: float = 1e-4,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        hashfxn: Any = None,
        epochs: int = 5,
        null_word: int = 0,
        trim_rule: Any = None,
        sorted_vocab: int = 1,
        batch_words: int = 10_000,
        compute_loss: bool = False,
        callbacks: Any = (),
        comment: str | None = None,
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        *,
        sharing: Literal["window", "exact"] = "window",
        cbow_grad: Literal["word2vec", "corrected"] = "word2vec",
        cache: AnyPath | None = None,
        max_sentence_length: int = MAX_SENTENCE_LENGTH,
        checkpoint: AnyPath | None = None,
        verbose: object = "auto",
    ) -> None:
        if null_word:
            raise ValueError(f"null_word: expected 0, got {null_word!r}; leave it out")
        self.vector_size = checks.integer("vector_size", vector_size, 1)
        self.alpha = _rate("alpha", alpha)
        self.min_alpha = _rate("min_alpha", min_alpha)
        self.window = checks.integer("window", window, 1)
        self.min_count = checks.integer("min_count", min_count, 0)
        self.max_vocab_size = _optional("max_vocab_size", max_vocab_size)
        self.max_final_vocab = _optional("max_final_vocab", max_final_vocab)
        self.sample = _rate("sample", sample)
        self.seed = rng.checked_seed(seed)
        self.workers = _optional("workers", workers)
        self.sg = _flag("sg", sg)
        self.hs = _flag("hs", hs)
        self.negative = checks.integer("negative", negative, 0)
        self.ns_exponent = _number("ns_exponent", ns_exponent, "a finite number", math.isfinite)
        self.cbow_mean = _flag("cbow_mean", cbow_mean)
        self.epochs = checks.integer("epochs", epochs, 1)
        self.sorted_vocab = _flag("sorted_vocab", sorted_vocab)
        self.compute_loss = bool(_flag("compute_loss", compute_loss))
        self.shrink_windows = bool(_flag("shrink_windows", shrink_windows))
        self.comment = comment
        self.sharing = _choice("sharing", sharing, ("window", "exact"))
        self.cbow_grad = _choice("cbow_grad", cbow_grad, ("word2vec", "corrected"))
        self.max_sentence_length = checks.integer("max_sentence_length", max_sentence_length, 1)
        self.verbose = verbose
        progress.listener(verbose)
        self._check_objective()

        self._cache = cache
        super().__init__()
        self.total_train_time = 0.0
        self.history = History()
        self._course: Course | None = None
        self._passed = Totals()

        if sentences is not None or corpus_file is not None:
            source = self._source(sentences, corpus_file, "sentences")
            word_training.checked_callbacks(callbacks)
            self._build(source, False, trim_rule, False)
            self.train(sentences, corpus_file, callbacks=callbacks, checkpoint=checkpoint)
        elif trim_rule is not None or callbacks or checkpoint is not None:
            warnings.warn(
                "trim_rule, callbacks and checkpoint are not kept without a corpus; pass them to "
                "build_vocab and train",
                UserWarning,
                stacklevel=2,
            )

    # --- training ---

    def train(
        self,
        corpus_iterable: Iterable[Any] | None = None,
        corpus_file: AnyPath | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        word_count: int = 0,
        queue_factor: int = 2,
        report_delay: float = 1.0,
        compute_loss: bool | None = None,
        callbacks: Any = (),
        *,
        checkpoint: AnyPath | None = None,
        verbose: object = None,
    ) -> tuple[int, int]:
        """Train; on an exception, Ctrl-C too, the vectors stay as they have become.

        Parameters
        ----------
        corpus_iterable, corpus_file
            As `sentences` and `corpus_file` of the class. A corpus is not read again if it is the
            last one that was: the file of the same path, size and time of change, or the same
            object, with as many sentences.
        total_examples, total_words, word_count, queue_factor, report_delay
            Taken for gensim's sake, and unused: sentences and words are counted.
        epochs, start_alpha, end_alpha, compute_loss, verbose
            None: what the class was given.
        callbacks : sequence
        checkpoint : path or None
            A folder for the checkpoints of this training alone. Killed and started again, training
            goes on from the newest, with one worker to the same bits as if it had never stopped.
            They are written after each epoch and about each minute, and deleted at the end.

        Returns
        -------
        effective_words, raw_words : int
            Of all epochs: words that were trained on, after subsampling, and words of the corpus.

        Raises
        ------
        RuntimeError
            There is no vocabulary.
        TypeError, ValueError
            An argument that does not fit, a corpus without a word of the vocabulary, or a
            checkpoint of another training.
        """
        self._check_objective()
        weights = self._learned
        source = self._source(corpus_iterable, corpus_file, "corpus_iterable")
        listeners = word_training.checked_callbacks(callbacks)
        shown = progress.listener(self.verbose if verbose is None else verbose, progress.WordBar)
        epochs = self.epochs if epochs is None else checks.integer("epochs", epochs, 1)
        encoded = self._encoded(source)
        self._collect()
        job = self._job(
            encoded,
            self.alpha if start_alpha is None else _rate("start_alpha", start_alpha),
            self.min_alpha if end_alpha is None else _rate("end_alpha", end_alpha),
            self.compute_loss if compute_loss is None else bool(compute_loss),
        )
        self.history = History()
        forgets = LambdaCallback(on_epoch_end=self._forget_lengths)
        listeners = [forgets, *listeners, self.history]
        listeners.sort(key=_is_gensims)  # gensim's see the history; ours may add to it
        listeners += [] if shown is None else [shown]
        for listener in listeners:
            listener.model = self
        course = Course(job, epochs, encoded.n_words, Listeners(listeners))
        found = None
        if checkpoint is not None:
            course.backup = BackupAndRestore(checkpoint)
            found = course.backup.find(
                weights,
                lambda: word_training.digest_of(course),
                word_training.fingerprint_of(course, weights.vocabulary.words),
            )
        began = time.perf_counter()
        self._course = course
        try:
            course.run(found)
        finally:
            self._course, self._passed = None, course.passed
            self.epochs_trained = course.epochs_begun
            self.total_train_time += time.perf_counter() - began
            self._forget_lengths()
        if course.backup is not None:
            course.backup.finish()
        return course.passed.effective, encoded.n_raw_words * course.epoch

    def get_latest_training_loss(self) -> float:
        """Return the sum of the losses of all pairs of the last training so far; 0 if not wanted.

        `history` has the means, epoch by epoch.
        """
        return (self._passed if self._course is None else self._course.passed).loss

    def _forget_lengths(self, *_: object) -> None:
        """Let `wv` look at the vectors again, which have changed."""
        self.wv.norms = None

    def _check_objective(self) -> None:
        if not self.hs and not self.negative:
            raise ValueError(
                "hs, negative: expected hs=1 or negative > 0, got neither, and nothing to learn "
                "from; leave out both for negative sampling"
            )

    def _encoded(self, source: Source) -> Corpus:
        """Return a corpus as ids: the one at hand if it is the same, else read it."""
        mark = source.mark()
        if self._corpus is None or not mark.is_same(self._mark):
            self._corpus = self._mark = None
            with progress.reading(self.verbose) as tell:
                self._corpus = corpus.encode(
                    source.read,
                    self._learned.vocabulary,
                    max_sentence_length=source.max_sentence_length,
                    cache=self._cache,
                    progress=tell,
                )
            self._mark = mark
        return self._corpus

    def _job(
        self, encoded: Corpus, alpha: float, min_alpha: float, compute_loss: bool
    ) -> Word2VecJob:
        """Return the first epoch's job."""
        weights = self._learned
        weights.add_outputs(self.negative > 0, self.hs > 0)
        words = weights.vocabulary
        cores = backend.get_num_threads()
        return Word2VecJob(
            ids=encoded.ids,
            keep=words.keep_thresholds(self.sample),
            syn0=weights.syn0,
            syn1=weights.syn1neg if self.negative else None,
            syn1hs=weights.syn1hs if self.hs else None,
            size=weights.size,
            noise=words.noise(self.ns_exponent) if self.negative else None,
            huffman=words.huffman() if self.hs else None,
            sg=bool(self.sg),
            window=self.window,
            negative=self.negative,
            shrink_windows=self.shrink_windows,
            cbow_mean=bool(self.cbow_mean),
            cbow_grad=self.cbow_grad,
            sharing=self.sharing,
            seed=self.seed,
            epoch=self.epochs_trained,
            first_chunk=0,
            alpha=alpha,
            min_alpha=min_alpha,
            progress=(0.0, 1.0),
            compute_loss=compute_loss,
            workers=cores if self.workers is None else min(self.workers, threads.MAX_THREADS),
        )

    def __repr__(self) -> str:
        return f"Word2Vec<vocab={len(self.wv)}, vector_size={self.vector_size}, alpha={self.alpha}>"

    # --- files and copies ---

    def save(self, path: AnyPath) -> None:
        """Write the model as safetensors, which can be trained further. No code, no corpus.

        `KeyedVectors.load` reads the vectors of the file.
        """
        import json

        facts = json.dumps(self._facts())
        safetensors.save(path, self._tensors(), FORMAT | {_METADATA: facts})

    @classmethod
    def load(cls, path: AnyPath) -> Word2Vec:
        """Return the model that `save` wrote.

        Raises
        ------
        FormatError
            Another file, such as a pickle of gensim.
        """
        import json

        try:
            tensors, metadata = safetensors.load(path)
        except FormatError as error:
            raise FormatError(
                f"{error}; expected a model that nnfast.Word2Vec.save wrote. Of a model of gensim, "
                "save the vectors with model.wv.save_word2vec_format"
            ) from None
        model = cls.__new__(cls)
        try:
            facts = json.loads(metadata[_METADATA])
            model._restore(facts, KeyedVectors.of_tensors(path, tensors, metadata), tensors)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise FormatError(
                f"{os.fspath(path)}: expected a model that nnfast.Word2Vec.save wrote, got "
                f"another file, or a damaged one ({type(error).__name__}: {error})"
            ) from None
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {"facts": self._facts(), "tensors": self._tensors()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = state["tensors"]
        self._restore(state["facts"], KeyedVectors.of_tensors("", tensors, FORMAT), tensors)

    def _facts(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        counts = {name: getattr(self, name) for name in _COUNTS}
        return {"settings": settings, "counts": counts, "history": self.history.get_state()}

    def _tensors(self) -> dict[str, NDArray[Any]]:
        """Return the vectors, words and counts, and the outputs, by their names in files."""
        if self._weights is None:
            return self.wv.tensors()
        self._collect()
        return self.wv.tensors() | self._weights.arrays()

    def _restore(
        self, facts: Mapping[str, Any], wv: KeyedVectors, rows: Mapping[str, Rows]
    ) -> None:
        Word2Vec.__init__(self, **facts["settings"])
        for name in _COUNTS:
            setattr(self, name, facts["counts"][name])
        self.history.set_state(facts["history"])
        n, size = len(wv), self.vector_size
        if not n:
            return
        expected = {"vectors": (n, size), "syn1neg": (n, size), "syn1": (n - 1, size)}
        made = {name: rows[name] for name in expected if name in rows}
        for name, array in made.items():
            if array.shape != expected[name] or array.dtype != np.float32:
                raise ValueError(
                    f"{name}: expected float32 of shape {expected[name]}, got {array.dtype} of "
                    f"shape {array.shape}"
                )
        vocabulary = Vocabulary(tuple(map(str, wv.index_to_key)), wv.expandos["count"])
        self._are_integers = isinstance(wv.index_to_key[0], int)
        parts = {name: padded(array) for name, array in made.items()}
        outputs = parts.get("syn1neg"), parts.get("syn1")
        self._take(Weights(vocabulary, size, parts["vectors"], *outputs))
        self.wv.expandos |= wv.expandos


def _is_gensims(callback: Callback) -> bool:
    return isinstance(callback, GensimCallback)


def _rate(name: str, value: Any) -> float:
    return _number(name, value, "a finite number of at least 0", lambda v: 0 <= v < math.inf)


def _number(name: str, value: Any, expected: str, accept: Callable[[float], bool]) -> float:
    checks.number(name, value, expected, accept)
    return float(value)


def _optional(name: str, value: Any) -> int | None:
    return None if value is None else checks.integer(name, value, 1)


def _flag(name: str, value: Any) -> int:
    if value not in (0, 1):
        raise ValueError(f"{name}: expected 0 or 1, got {value!r}")
    return int(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise checks.unknown(name, value, choices)
    return value
