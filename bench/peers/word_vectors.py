"""What is asked of Word2Vec, nnfast's and gensim's, whose names and meanings are the same."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.data import Data


def train(cls: Any, data: Data) -> Callable[[], float]:
    """An epoch of the part: the seconds that so many effective words take."""
    work = data.work
    model = cls(workers=work.threads, **work.settings)
    model.build_vocab(corpus_file=data.corpus)

    def run() -> float:
        begin = time.perf_counter()
        effective, _ = model.train(corpus_file=data.part, total_words=work.rows, epochs=1)
        return (time.perf_counter() - begin) * work.rows / effective

    return run


def read(cls: Any, data: Data) -> Callable[[], None]:
    """A new model reads the corpus."""

    def run() -> None:
        cls(**data.work.settings).build_vocab(corpus_file=data.corpus)

    return run


def script(cls: Any, data: Data) -> Callable[[], float]:
    """A script that trains, in a process of its own: its peak."""
    arguments = {"corpus_file": data.part, "workers": 1, "epochs": 1, **data.work.settings}
    code = (
        f"from {cls.__module__} import Word2Vec\nmodel = Word2Vec(**{arguments!r})\n"
        "from bench.memory import peak\nprint(peak())"
    )
    return lambda: float(subprocess.check_output([sys.executable, "-c", code], text=True))


def answer(keyed_vectors: Any, data: Data) -> dict[str, Callable[[], Any]]:
    """A round of word2vec's questions to vectors from a file, and how many were answered right."""
    vectors = keyed_vectors.load_word2vec_format(data.vectors, binary=True)
    questions = _file("questions-words.txt")
    return {
        "run": lambda: vectors.evaluate_word_analogies(questions),
        "score": lambda: {"accuracy": vectors.evaluate_word_analogies(questions)[0]},
    }


def quality(cls: Any, data: Data) -> Callable[[], dict[str, float]]:
    """A round trains from the next seed, and gensim says how good the vectors are, in percent."""
    work, seeds = data.work, itertools.count(1)

    def run() -> dict[str, float]:
        arguments = {"workers": work.threads, "epochs": work.epochs, "seed": next(seeds)}
        vectors = cls(corpus_file=data.part, **arguments, **work.settings).wv
        if hasattr(vectors, "to_gensim"):
            vectors = vectors.to_gensim()
        accuracy, _ = vectors.evaluate_word_analogies(_file("questions-words.txt"))
        scores = {"analogies": 100 * accuracy}
        for name in ("WordSim353", "SimLex999"):
            _, spearman, _ = vectors.evaluate_word_pairs(_file(_PAIRS[name]))
            scores[name] = 100 * float(spearman[0])
        return scores

    return run


_PAIRS = {"WordSim353": "wordsim353.tsv", "SimLex999": "simlex999.txt"}


def _file(name: str) -> str:
    """One of gensim's test files."""
    from gensim.test.utils import datapath

    path: str = datapath(name)
    return path
