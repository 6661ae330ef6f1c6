"""Word2Vec against gensim, on the text that is given with --corpus."""

from __future__ import annotations

from typing import Any

from bench.work import Target, Work

_BOTH = ("nnfast", "gensim")
_SKIP_GRAM = {"sg": 1, "vector_size": 100}
_CBOW = {"sg": 0, "vector_size": 100}
_PART = 2_000_000
_CASES = ("analogies", "WordSim353", "SimLex999")


def _words(name: str, must: float, aim: float, **settings: Any) -> Work:
    """Training in one thread."""
    return Work(
        f"words-{name}",
        "words",
        _BOTH,
        (Target("gensim", must, aim),),
        rows=_PART,
        settings=settings,
    )


def _quality(name: str, rows: int, settings: dict[str, int]) -> Work:
    """Vectors no worse than gensim's by more than a point, or by what seeds make of it."""
    return Work(
        f"words-quality-{name}",
        "quality",
        _BOTH,
        tuple(Target("gensim", -1.0, case=case) for case in _CASES),
        rows=rows,
        epochs=5,
        rounds=3,
        settings=settings,
    )


WORD2VEC: tuple[Work, ...] = (
    _words("skip-gram-100", 9.0, 12.0, **_SKIP_GRAM),
    Work(
        "words-skip-gram-100-x2",
        "words",
        ("nnfast", "nnfast 1thread", "gensim"),
        (Target("nnfast 1thread", 1.8), Target("gensim", None)),
        rows=4 * _PART,
        rounds=3,
        threads=2,
        settings=_SKIP_GRAM,
    ),
    _words("cbow-200", 3.5, 5.0, sg=0, vector_size=200),
    _words("skip-gram-300", 7.0, 9.0, sg=1, vector_size=300),
    _words("hierarchical-100", 3.5, 5.0, **_SKIP_GRAM, hs=1, negative=0),
    Work(
        "words-vocabulary",
        "vocabulary",
        _BOTH,
        (Target("s", 0.8, 0.4), Target("gensim", None)),
        rows=0,
        settings=_SKIP_GRAM,
    ),
    Work(
        "words-analogies",
        "analogies",
        _BOTH,
        (Target("gensim", 5.0, 10.0),),
        rows=0,
        settings=_SKIP_GRAM,
    ),
    Work(
        "words-memory",
        "script",
        _BOTH,
        (Target("gensim", 1.0, time=True), Target("MiB", None)),
        rows=0,
        rounds=3,
        settings=_SKIP_GRAM,
    ),
    *(
        _quality(f"{name}{part}", rows, settings)
        for name, settings in (("skip-gram", _SKIP_GRAM), ("cbow", _CBOW))
        for part, rows in (("", 0), ("-3m", 3_000_000))
    ),
)
