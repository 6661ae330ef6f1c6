"""gensim: corpus_file, which leaves the interpreter out of it, and as many workers as threads."""

from __future__ import annotations

from typing import Any

import gensim
from gensim.models import KeyedVectors, Word2Vec
from gensim.models.word2vec import CORPUSFILE_VERSION, FAST_VERSION

from bench.data import Data
from bench.peers import word_vectors
from bench.peers.contestant import Contestant


def _contestant(data: Data, **more: Any) -> Contestant:
    if min(FAST_VERSION, CORPUSFILE_VERSION) < 0:
        raise RuntimeError("gensim has come without its compiled code")
    return Contestant(threads=data.work.threads, version=gensim.__version__, **more)


def words(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.train(Word2Vec, data))


def vocabulary(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.read(Word2Vec, data))


def analogies(data: Data) -> Contestant:
    return _contestant(data, **word_vectors.answer(KeyedVectors, data))


def script(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.script(Word2Vec, data))


def quality(data: Data) -> Contestant:
    return _contestant(data, run=word_vectors.quality(Word2Vec, data))
