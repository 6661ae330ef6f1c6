"""The kernels of word2vec beside NumPy: the same draws, the same numbers to rounding, the same bits."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from child import needs_native

from nnfast import word_job
from nnfast.reference import ReferenceBackend
from nnfast.vocab import Vocabulary
from nnfast.word_job import CHUNK, Word2VecJob, aligned_rows

Rows = word_job.Rows
BOUND = 2e-5  # of numbers of about 1, after some thousand windows


def corpus(n_words: int, n: int, length: int = 12, seed: int = 0) -> word_job.Ids:
    """Sentences of about `length` words of a Zipf distribution, some of one word, some empty."""
    random = np.random.default_rng(seed)
    ids = (n_words * random.random(n) ** 3).astype(np.int32)
    ids[random.random(n) < 1 / length] = -1
    ids[-1:] = -1
    return ids


def job_of(
    n_words: int = 40, n: int = 600, size: int = 17, hs: bool = False, **settings: Any
) -> Word2VecJob:
    ids = settings.pop("ids", None)
    ids = corpus(n_words, n) if ids is None else ids
    counts = np.bincount(ids[ids >= 0], minlength=n_words).astype(np.int64) + 1
    words = Vocabulary(tuple(f"w{i}" for i in range(n_words)), counts)
    random = np.random.default_rng(1)
    negative = settings.setdefault("negative", 0 if hs else 5)
    rows: list[Any] = []
    for n_rows in (n_words, n_words if negative else None, n_words - 1 if hs else None):
        made = None if n_rows is None else aligned_rows(n_rows, size)
        if made is not None:
            made[:, :size] = random.normal(0, 0.5, (n_rows, size))
        rows.append(made)
    defaults: dict[str, Any] = {
        "sg": True, "window": 4, "shrink_windows": True, "cbow_mean": True, "alpha": 0.05,
        "cbow_grad": "word2vec", "sharing": "window", "seed": 7, "epoch": 2, "first_chunk": 0,
        "min_alpha": 0.01, "progress": (0.25, 0.5), "compute_loss": True, "workers": 1,
    }  # fmt: skip
    return Word2VecJob(
        ids=ids,
        keep=words.keep_thresholds(0.02),
        syn0=rows[0],
        syn1=rows[1],
        syn1hs=rows[2],
        size=size,
        noise=words.noise(0.75) if negative else None,
        huffman=words.huffman() if hs else None,
        **defaults | settings,
    )


def copied(job: Word2VecJob, **changes: Any) -> Word2VecJob:
    """The job on copies of its rows."""
    rows = {name: getattr(job, name) for name in ("syn0", "syn1", "syn1hs")}
    held = {name: None if a is None else a.copy() for name, a in rows.items()}
    return replace(job, **held | changes)


@needs_native
def test_both_sides_cut_chunks_alike() -> None:
    from nnfast import _native

    assert _native.WORDS_CHUNK == CHUNK


def arrays(job: Word2VecJob) -> list[Rows]:
    return [a for a in (job.syn0, job.syn1, job.syn1hs) if a is not None]


def run(machine: Any, job: Word2VecJob, seconds: float = 10.0) -> Any:
    epoch = machine.word2vec(job)
    while epoch.advance(seconds):
        pass
    return epoch


def bits(job: Word2VecJob) -> bytes:
    return b"".join(a.tobytes() for a in arrays(job))


def agree(machine: Any, job: Word2VecJob) -> None:
    """Both backends make the same of the job, and have done something."""
    ours, theirs = copied(job), copied(job)
    found, expected = run(machine, ours), run(ReferenceBackend(), theirs)
    for name in ("chunk", "words", "effective", "pairs"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    for before, mine, other in zip(arrays(job), arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=BOUND)
        assert not mine[:, job.size :].any()
        assert expected.pairs == 0 or len(before) < 2 or np.abs(before - other).max() > 100 * BOUND


KINDS: list[dict[str, Any]] = [
    {"sg": sg, "sharing": sharing} | kind
    for sg, sharing, kind in itertools.product(
        (True, False),
        ("window", "exact"),
        ({}, {"hs": True}, {"hs": True, "negative": 3}),
    )
]
CASES: list[dict[str, Any]] = [
    *KINDS,
    *({"sg": False, "cbow_mean": mean, "cbow_grad": grad}
      for mean, grad in itertools.product((True, False), ("word2vec", "corrected"))),
    {"size": 1},
    {"size": 100},
    {"window": 1},
    {"window": 40, "shrink_windows": False, "alpha": 0.01},
    *({"negative": k} for k in (1, 2, 3, 7, 10, 15, 24)),
    {"negative": 24, "sg": False},
    {"hs": True, "n_words": 700, "n": 1500},
    {"compute_loss": False},
    {"n_words": 2, "n": 60, "alpha": 0.02},
    {"n_words": 2, "n": 60, "alpha": 0.02, "sharing": "exact"},
    {"n_words": 2, "n": 60, "alpha": 0.02, "hs": True},
    {"n_words": 1, "n": 30},
    {"n_words": 1, "n": 30, "sharing": "exact", "sg": False},
    {"n_words": 1, "n": 30, "hs": True, "negative": 2},
    {"ids": np.array([0, -1, 1, -1, -1, 2, -1], np.int32), "n_words": 3},
    {"ids": np.array([0, 1, 2, 1], np.int32), "n_words": 3},
    {"ids": np.zeros(0, np.int32), "n_words": 3},
]  # fmt: skip


def name_of(case: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in case.items()) or "default"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_agrees_with_numpy(case: dict[str, Any], machine: Any) -> None:
    agree(machine, job_of(**case))


@pytest.mark.parametrize("sg", [True, False])
def test_agrees_over_chunks(sg: bool, fma_machine: Any) -> None:
    agree(fma_machine, job_of(n_words=300, n=CHUNK + 2000, sg=sg, negative=2, alpha=0.02, size=8))


@pytest.mark.parametrize("case", [*KINDS, {"negative": 15, "size": 300}], ids=name_of)
def test_same_bits_on_all_instruction_sets_and_when_cut(
    case: dict[str, Any], fma_machines: list[Any]
) -> None:
    job = job_of(n_words=500, n=2 * CHUNK + 5000, **case)
    whole = copied(job)
    expected = run(fma_machines[0], whole)
    for machine in fma_machines:
        cut = copied(job)
        epoch = machine.word2vec(cut)
        assert epoch.advance(0.0)
        assert epoch.chunk == 1
        resumed = replace(cut, first_chunk=epoch.chunk)
        rest = run(machine, resumed, seconds=0.0)
        assert rest.chunk == 3
        assert bits(cut) == bits(whole)
        assert epoch.pairs + rest.pairs == expected.pairs
        assert epoch.loss + rest.loss == pytest.approx(expected.loss, rel=1e-12)


@pytest.mark.parametrize("change", [{"seed": 8}, {"epoch": 3}])
def test_draws_follow_seed_and_epoch(change: dict[str, int], fma_machine: Any) -> None:
    job = job_of()
    one, same, other = copied(job), copied(job), copied(job, **change)
    for each in (one, same, other):
        run(fma_machine, each)
    assert bits(one) == bits(same)
    assert bits(one) != bits(other)


def test_counts_and_loss_are_right_with_many_workers(fma_machine: Any) -> None:
    job = job_of(n_words=500, n=5 * CHUNK, alpha=0.0, min_alpha=0.0)
    one, four = (run(fma_machine, copied(job, workers=n)) for n in (1, 4))
    assert (four.chunk, four.words, four.effective) == (5, one.words, one.effective)
    assert four.pairs == one.pairs
    assert four.loss == one.loss  # nothing is learned, so rows are the same whoever reads them
    learned = copied(job, alpha=0.025, workers=4)
    run(fma_machine, learned)
    assert all(np.isfinite(a).all() for a in arrays(learned))
    assert bits(learned) != bits(job)


@pytest.mark.parametrize("n_words", [40, 3000])
@pytest.mark.parametrize("hs", [False, True])
def test_a_worker_loses_nothing_of_what_it_learns_in_copies(
    fma_machine: Any, n_words: int, hs: bool
) -> None:
    """One chunk has one worker, which still has copies of the busiest rows where it may be two."""
    job = job_of(n_words=n_words, n=CHUNK, hs=hs, negative=5)
    one, two = copied(job), copied(job, workers=2)
    losses = [run(fma_machine, each).loss for each in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for mine, other in zip(arrays(two), arrays(one), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=10 * BOUND)
        assert (mine != other).any()  # sums of differences round differently


def test_rows_need_no_alignment(fma_machine: Any) -> None:
    job, memory = job_of(), np.zeros(40 * 32 + 1, np.float32)
    shifted = copied(job, syn0=memory[1:].reshape(40, 32))
    shifted.syn0[...] = job.syn0
    plain = copied(job)
    for each in (plain, shifted):
        run(fma_machine, each)
    assert bits(plain) == bits(shifted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([0, 40], np.int32)}, "ids: expected from -1 to 39, got 0 to 40"),
        ({"ids": np.array([-2, 3], np.int32)}, "ids: expected from -1 to 39, got -2 to 3"),
        ({"ids": np.array([0, 1])}, "ids: expected a C-contiguous int32"),
        ({"syn0": np.zeros((40, 17), np.float32)}, "syn0: expected shape"),
        ({"syn0": np.zeros((39, 32), np.float32)}, "syn0: expected shape"),
        ({"syn1": np.zeros((40, 16), np.float32)}, "syn1: expected a C-contiguous float32"),
        ({"noise": None}, "negative: expected noise"),
        ({"negative": 0}, "expected negative or huffman"),
        ({"window": 0}, "expected window"),
    ],
)
def test_refuses_what_would_reach_outside(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(job_of(), **change)


def test_refuses_paths_that_reach_outside() -> None:
    job = job_of(hs=True)
    assert job.huffman is not None
    points = job.huffman.points.copy()
    points[3] = 39
    with pytest.raises(ValueError, match="points: expected from 0 to 38"):
        replace(job, huffman=replace(job.huffman, points=points))
    offsets = job.huffman.offsets.copy()
    offsets[-1] += 1
    with pytest.raises(ValueError, match="offsets: expected"):
        replace(job, huffman=replace(job.huffman, offsets=offsets))


def test_too_much_for_the_memory_is_an_error(fma_machine: Any) -> None:
    with pytest.raises(MemoryError, match="lower them"):
        fma_machine.word2vec(job_of(negative=2**40, window=CHUNK))


def test_aligned_rows() -> None:
    rows = aligned_rows(5, 17)
    assert rows.shape == (5, 32)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert rows.flags.writeable
    assert rows.ctypes.data % 64 == 0
    assert not rows.any()
    assert aligned_rows(0, 4).shape == (0, 16)
    for size in (10**12, 10**20):
        with pytest.raises(MemoryError, match="lower vector_size"):
            aligned_rows(1000, size)
