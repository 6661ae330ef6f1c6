"""Analogies: "a is to b as c is to ...", scored over a file of questions.

The answer is the word whose vector has the greatest cosine with b - a + c, all of length 1, the
three left out (3CosAdd: Mikolov et al., arXiv 1301.3781). Questions have few different words: the
cosines of these with all words are one product of matrices, in blocks, and the scores of a question
are sums of its rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnfast.formats import FormatError, packed

Array = NDArray[Any]
Question = tuple[str, str, str, str]

_COSINES = 1 << 25
"""Cosines in memory at a time: 128 MB."""


@dataclass
class Section:
    """The questions below one ": name" line."""

    name: str
    questions: list[Question] = field(default_factory=list)


def read_questions(path: str | os.PathLike[str], upper: bool) -> list[Section]:
    """Read questions, four words a line, in sections that begin with ": name".

    Lines of other than four words are passed over. `upper` turns words into capitals.

    Raises
    ------
    FormatError
        A question before the first section, no question at all, or bytes that are not UTF-8.
    """
    sections: list[Section] = []
    with packed.reading(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode()
            except UnicodeDecodeError:
                raise FormatError(
                    f"{os.fspath(path)}: line {number}: expected UTF-8, got {raw!r:.60}"
                ) from None
            if line.startswith(": "):
                sections.append(Section(line.lstrip(": ").strip()))
                continue
            words = (line.upper() if upper else line).split()
            if words and not sections:
                raise FormatError(
                    f"{os.fspath(path)}: line {number}: expected a section's name, ': capitals' "
                    f"for example, got {line.strip()!r:.60}"
                )
            if len(words) == 4:
                sections[-1].questions.append((words[0], words[1], words[2], words[3]))
    if not any(section.questions for section in sections):
        raise FormatError(
            f"{os.fspath(path)}: expected questions, lines of four words, got none; a file like "
            "questions-words.txt of word2vec is needed"
        )
    return sections


def first_rows(words: Sequence[object], upper: bool) -> dict[str, int]:
    """Return the row of each word, or of the first of those that are equal in capitals."""
    rows: dict[str, int] = {}
    for row, word in enumerate(_spelled(words, upper)):
        rows.setdefault(word, row)
    return rows


def _spelled(words: Sequence[object], upper: bool) -> list[str]:
    return [str(word).upper() if upper else str(word) for word in words]


def evaluate(
    words: Sequence[object],
    vectors: Array,
    sections: list[Section],
    upper: bool,
    dummy4unknown: bool,
) -> tuple[float, list[dict[str, Any]]]:
    """Return the share of right answers, and which ones they are.

    Parameters
    ----------
    words
    vectors : ndarray, shape (n, size)
        Of length 1.
    sections
        What `read_questions` read.
    upper
        Words that are equal in capitals are one word: its first row stands for it.
    dummy4unknown
        Questions with an unknown word count as wrong; else they do not count.

    Returns
    -------
    share : float
        0 if there was no question to count.
    sections : list of dict
        "section", a name; "correct" and "incorrect", lists of questions. The last one has all.
    """
    rows = first_rows(words, upper)
    same = np.array([rows[word] for word in _spelled(words, upper)], np.intp)
    asked = [[rows.get(word, -1) for word in q] for s in sections for q in s.questions]
    questions = np.array(asked, np.intp).reshape(-1, 4)
    known = (questions >= 0).all(axis=1)
    right = np.zeros(len(questions), bool)
    if known.any():
        right[known] = are_right(vectors, same, questions[known])
    told: list[dict[str, Any]] = []
    answers = iter(zip(right.tolist(), np.logical_or(known, dummy4unknown).tolist(), strict=True))
    for section in sections:
        found: dict[str, Any] = {"section": section.name, "correct": [], "incorrect": []}
        for question, (is_right, counts) in zip(section.questions, answers, strict=False):
            if counts:
                found["correct" if is_right else "incorrect"].append(question)
        told.append(found)
    total: dict[str, Any] = {"section": "Total accuracy"}
    for kind in ("correct", "incorrect"):
        total[kind] = [question for section in told for question in section[kind]]
    counted = len(total["correct"]) + len(total["incorrect"])
    return len(total["correct"]) / max(1, counted), [*told, total]


def are_right(vectors: Array, same: Array, questions: Array) -> Array:
    """Return whether each question is answered rightly.

    Parameters
    ----------
    vectors : ndarray, shape (n, size)
        Of length 1.
    same : ndarray of int, shape (n,)
        For each row the first row of the same word, in capitals or not.
    questions : ndarray of int, shape (m, 4)
        First rows of a, b, c and the answer.

    Returns
    -------
    ndarray of bool, shape (m,)
    """
    words, places = np.unique(questions[:, :3], return_inverse=True)
    asked = places.reshape(-1, 3).tolist()
    found, highest = np.zeros(len(questions), np.intp), np.full(len(questions), -np.inf)
    step = max(1, _COSINES // len(words))
    for start in range(0, len(vectors), step):
        cosines = vectors[words] @ vectors[start : start + step].T
        own = [np.flatnonzero(same[start : start + step] == word) for word in words]
        scores = np.empty_like(cosines[0])
        for question, (a, b, c) in enumerate(asked):
            np.subtract(cosines[b], cosines[a], out=scores)
            scores += cosines[c]
            for word in (a, b, c):
                scores[own[word]] = -np.inf
            best = scores.argmax()
            if scores[best] > highest[question]:
                found[question], highest[question] = start + best, scores[best]
    answers = questions[:, 3]
    possible = (highest > -np.inf) & (questions[:, :3] != answers[:, None]).all(axis=1)
    right: Array = (same[found] == answers) & possible
    return right
