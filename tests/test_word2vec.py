"""Word2Vec: what it learns, gensim's face, reproducibility, resuming, bad input."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child import needs_native, output

import nnfast as nn
from nnfast import word_training
from nnfast.formats import FormatError
from nnfast.word2vec import (
    CallbackAny2Vec,
    LineSentence,
    PathLineSentences,
    Text8Corpus,
    Word2Vec,
)
from nnfast.word_job import CHUNK

Sentences = list[list[str]]

TOY = [["cat", "say", "meow"], ["dog", "say", "woof"]]


def planted(n_sentences: int = 3000, n_pairs: int = 6) -> Sentences:
    """Countries and their cities: a city is to its country as any other, by topics and roles nearby."""
    random = np.random.default_rng(0)
    sentences = []
    for _ in range(n_sentences):
        pair, role = random.integers(n_pairs), random.integers(2)
        near = [f"topic{pair}.{k}" for k in random.integers(4, size=3)]
        near += [f"role{role}.{k}" for k in random.integers(4, size=3)]
        random.shuffle(near)
        near.insert(random.integers(7), f"{('country', 'city')[role]}{pair}")
        sentences.append(near)
    return sentences


SENTENCES = planted()
SMALL = SENTENCES[:200]
LONG = SENTENCES * -(-4 * CHUNK // (8 * len(SENTENCES)))  # an id a word, one more a sentence


def right(model: Word2Vec, n_pairs: int = 6) -> float:
    """The share of analogies city i - country i + country j that give city j."""
    pairs = list(itertools.permutations(range(n_pairs), 2))
    found = [
        model.wv.most_similar([f"city{i}", f"country{j}"], [f"country{i}"], topn=1)[0][0]
        for i, j in pairs
    ]
    return sum(word == f"city{j}" for word, (_, j) in zip(found, pairs, strict=True)) / len(pairs)


def model_of(sentences: Any = SMALL, **settings: Any) -> Word2Vec:
    defaults = {"vector_size": 20, "min_count": 1, "workers": 1, "sample": 0}
    return nn.Word2Vec(sentences, **defaults | settings)


def bits(model: Word2Vec) -> bytes:
    parts = [model.wv.vectors]
    parts += [getattr(model, name) for name in ("syn1neg", "syn1") if hasattr(model, name)]
    return b"".join(part.tobytes() for part in parts)


# ---- what it learns ----

KINDS = {
    "skip-gram, negative sampling": {"sg": 1},
    "skip-gram, exact": {"sg": 1, "sharing": "exact"},
    "skip-gram, hierarchical softmax": {"sg": 1, "hs": 1, "negative": 0},
    "CBOW, negative sampling": {"sg": 0},
    "CBOW, corrected": {"sg": 0, "cbow_grad": "corrected", "alpha": 0.15},
    "CBOW, sum": {"sg": 0, "cbow_mean": 0},
    "CBOW, hierarchical softmax": {"sg": 0, "hs": 1, "negative": 0},
    "both": {"sg": 1, "hs": 1},
}


@needs_native
@pytest.mark.parametrize("kind", KINDS)
def test_planted_analogies_are_learned(kind: str) -> None:
    settings = {"vector_size": 16, "window": 6, "epochs": 10, "compute_loss": True} | KINDS[kind]
    model = model_of(SENTENCES, **settings)
    assert right(model) > 0.8
    losses = model.history.history["loss"]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()
    untrained = nn.Word2Vec(vector_size=16, min_count=1)
    untrained.build_vocab(SENTENCES)
    assert right(untrained) < 0.3


@pytest.mark.parametrize("kind", ["skip-gram, negative sampling", "CBOW, hierarchical softmax"])
def test_the_reference_backend_learns_them_too(kind: str, use: Callable[[str], Any]) -> None:
    use("reference")
    sentences = planted(240, n_pairs=2)
    settings = {"vector_size": 8, "window": 6, "epochs": 4, "alpha": 0.1} | KINDS[kind]
    model = model_of(sentences, **settings)
    assert right(model, n_pairs=2) == 1


@needs_native
def test_many_workers_learn_as_well_and_count_the_same() -> None:
    models = [model_of(SENTENCES, sg=1, epochs=5, workers=n, compute_loss=True) for n in (1, 4)]
    assert right(models[1]) > 0.8
    one, four = (model.history.history["loss"] for model in models)
    np.testing.assert_allclose(four, one, rtol=0.05)


def test_loss_is_a_mean_over_pairs_and_its_sum_is_gensims() -> None:
    model = model_of(compute_loss=True, epochs=2, negative=5)
    first, second = model.history.history["loss"]
    assert 0.5 < second < first < 6 * np.log(2) + 1e-6  # log 2 for each of 6 outputs at the start
    silent = model_of(epochs=2)
    assert "loss" not in silent.history.history
    assert silent.get_latest_training_loss() == 0
    assert model.get_latest_training_loss() > first
    assert bits(model) == bits(silent)


# ---- gensim's scripts ----


def test_gensims_first_example(tmp_path: Path) -> None:
    model = nn.Word2Vec(sentences=TOY, vector_size=100, window=5, min_count=1, workers=4)
    model.save(str(tmp_path / "word2vec.model"))
    model = nn.Word2Vec.load(str(tmp_path / "word2vec.model"))
    assert model.train([["hello", "world", "say"]], total_examples=1, epochs=1)[1] == 3
    vector = model.wv["cat"]
    assert vector.shape == (100,)
    assert len(model.wv.most_similar("cat", topn=10)) == 4
    assert str(model) == "Word2Vec<vocab=5, vector_size=100, alpha=0.025>"


def test_build_then_train() -> None:
    model = nn.Word2Vec(min_count=1, sample=0)
    model.build_vocab(TOY)
    effective, raw = model.train(TOY, total_examples=model.corpus_count, epochs=model.epochs)
    assert (effective, raw) == (30, 30)
    assert (model.corpus_count, model.corpus_total_words) == (2, 6)
    assert model.layer1_size == model.wv.vector_size == 100
    assert model.wv.index_to_key[0] == "say"
    assert model.wv.get_vecattr("say", "count") == 2
    assert model.syn1neg.shape == (5, 100)
    assert not hasattr(model, "syn1")


def test_a_streamed_corpus(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("\n".join(" ".join(sentence) for sentence in SMALL))

    class Corpus:
        def __iter__(self) -> Iterator[list[str]]:
            with open(file) as lines:
                for line in lines:
                    yield line.split()

    streamed = model_of(Corpus())
    from_list = model_of(SMALL)
    from_file = model_of(None, corpus_file=str(file))
    from_lines = model_of(LineSentence(file))
    from_files = model_of(PathLineSentences(tmp_path))
    for model in (streamed, from_file, from_lines, from_files):
        assert model.wv.index_to_key == from_list.wv.index_to_key
        assert bits(model) == bits(from_list)


def test_callbacks_of_gensims_kind() -> None:
    class EpochLogger(CallbackAny2Vec):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_train_begin(self, model: Word2Vec) -> None:
            self.seen.append("begin")

        def on_epoch_begin(self, model: Word2Vec) -> None:
            self.seen.append(model.get_latest_training_loss())

        def on_epoch_end(self, model: Word2Vec) -> None:
            self.seen.append(model.get_latest_training_loss())
            self.nearest = model.wv.most_similar("city0", topn=1)
            self.losses = list(model.history.history["loss"])

        def on_train_end(self, model: Word2Vec) -> None:
            self.seen.append("end")

    logger = EpochLogger()
    adding = nn.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=epoch))
    model = model_of(callbacks=[logger, adding], compute_loss=True, epochs=2)
    begin, at_0, at_1, still_1, at_2, end = logger.seen
    assert (begin, end) == ("begin", "end")
    assert 0 == at_0 < at_1 == still_1 < at_2 == model.get_latest_training_loss()
    assert logger.nearest == model.wv.most_similar("city0", topn=1)
    assert logger.losses == model.history.history["loss"]
    assert model.history.history["mine"] == [0, 1]


def test_callbacks_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "{epoch}.safetensors"
    epochs = []
    callbacks = [
        nn.EarlyStopping("loss", min_delta=100),
        nn.ModelCheckpoint(path),
        nn.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append((epoch, sorted(logs)))),
    ]
    model = model_of(callbacks=callbacks, compute_loss=True)
    assert epochs == [(0, ["alpha", "loss"]), (1, ["alpha", "loss"])]
    assert bits(nn.Word2Vec.load(tmp_path / "2.safetensors")) == bits(model)
    assert model.history.epoch == [0, 1]


def test_alpha_falls_linearly_over_all_epochs() -> None:
    model = model_of(alpha=0.5, min_alpha=0.1, epochs=4)
    np.testing.assert_allclose(model.history.history["alpha"], [0.4, 0.3, 0.2, 0.1])
    model.train(SMALL, start_alpha=0.04, end_alpha=0.02, epochs=2)
    np.testing.assert_allclose(model.history.history["alpha"], [0.03, 0.02])
    assert model.alpha == 0.5


def test_vocabulary_from_frequencies() -> None:
    model = nn.Word2Vec(min_count=2)
    model.build_vocab_from_freq({"a": 3, "rare": 1, "b": 7})
    assert model.wv.index_to_key == ["b", "a"]
    assert model.train([["a", "b", "a"]], epochs=1)[1] == 3


def test_vocabulary_grows() -> None:
    model = model_of(hs=1)
    before, old = model.wv.vectors.copy(), list(model.wv.index_to_key)
    syn1neg, syn1 = model.syn1neg.copy(), model.syn1.copy()
    more = [["city0", "new"], ["new", "newer", "city1"]]
    count = model.wv.get_vecattr("city0", "count")
    model.build_vocab(more, update=True)
    assert model.wv.index_to_key == [*old, "new", "newer"]
    assert model.wv.get_vecattr("city0", "count") == count + 1
    assert model.wv.get_vecattr("new", "count") == 2
    np.testing.assert_array_equal(model.wv.vectors[:-2], before)
    np.testing.assert_array_equal(model.syn1neg, [*syn1neg, *np.zeros((2, 20))])
    np.testing.assert_array_equal(model.syn1, [*syn1, *np.zeros((2, 20))])
    assert (model.wv.vectors[-2:] != 0).any(axis=1).all()
    assert (abs(model.wv.vectors[-2:]) <= 1 / 20).all()
    model.train(more, total_examples=model.corpus_count, epochs=2)
    assert (model.wv["new"] != before[-1]).any()


def test_words_may_be_integers() -> None:
    walks = np.random.default_rng(0).integers(100, 130, (50, 10))
    from_array = model_of(walks)
    from_lists = model_of(walks.tolist())
    as_words = model_of([[str(node) for node in walk] for walk in walks.tolist()])
    assert sorted(from_array.wv.index_to_key) == list(range(100, 130))
    assert all(type(key) is int for key in from_array.wv.index_to_key)
    assert [str(key) for key in from_array.wv.index_to_key] == as_words.wv.index_to_key
    assert bits(from_array) == bits(from_lists) == bits(as_words)
    assert from_array.wv.most_similar(100, topn=1)[0][0] in range(100, 130)


def test_predict_output_word() -> None:
    model = model_of(SENTENCES[:1000], window=6, epochs=10, alpha=0.1)
    context = ["topic3.0", "topic3.1", "role1.0", "role1.2", "unknown"]
    found = model.predict_output_word(context, topn=100)
    assert found is not None
    assert sum(probability for _, probability in found) == pytest.approx(1)
    names = [word for word, _ in found]
    assert next(word for word in names if word.startswith(("city", "country"))) == "city3"
    known = [model.wv.key_to_index[word] for word in context[:-1]]
    hidden = model.wv.vectors[known].mean(axis=0)
    scores = np.exp(model.syn1neg.astype(float) @ hidden)
    expected = scores / scores.sum()
    np.testing.assert_allclose(
        [probability for _, probability in found], np.sort(expected)[::-1], rtol=1e-4
    )
    assert model.predict_output_word(known, topn=100) == found
    with pytest.warns(UserWarning, match="predict_output_word: expected a word of the vocab"):
        assert model.predict_output_word(["unknown"]) is None


@pytest.mark.parametrize("sg", [0, 1])
def test_score_is_the_log_likelihood_along_the_tree(sg: int) -> None:
    model = model_of(hs=1, negative=0, sg=sg, window=2)
    tree, vectors, nodes = model._learned.vocabulary.huffman(), model.wv.vectors, model.syn1

    def log_p(word: int, hidden: Any) -> float:
        path = range(tree.offsets[word], tree.offsets[word + 1])
        turns = [
            (1 - 2.0 * tree.codes[step]) * (nodes[tree.points[step]] @ hidden) for step in path
        ]
        return -sum(np.log1p(np.exp(-turn)) for turn in turns)

    assert sum(np.exp(log_p(word, vectors[3])) for word in range(len(vectors))) == pytest.approx(1)
    a, b, c = words = ["topic0.0", "city0", "role1.1"]
    x, y, z = (model.wv.key_to_index[word] for word in words)
    if sg:
        pairs = [(x, y), (x, z), (y, x), (y, z), (z, x), (z, y)]
        expected = sum(log_p(word, vectors[near]) for word, near in pairs)
    else:
        near = {x: [y, z], y: [x, z], z: [x, y]}
        expected = sum(log_p(word, vectors[others].mean(axis=0)) for word, others in near.items())
    scores = model.score([[a, "unknown", b, c], [a], [], [a, b, c]], total_sentences=4)
    assert scores[0] == scores[3] == pytest.approx(expected, rel=1e-5)
    assert (scores[1:3] == 0).all()


def test_readers(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"one two three\n\nfour\xff five\n")
    assert list(LineSentence(file)) == [["one", "two", "three"], ["four\udcff", "five"]]
    assert list(LineSentence(file, max_sentence_length=2)) == [
        ["one", "two"], ["three"], ["four\udcff", "five"],
    ]  # fmt: skip
    assert list(LineSentence(str(file), limit=1)) == [["one", "two", "three"]]
    with open(file, "rb") as raw, open(file, encoding="utf-8", errors="replace") as text:
        assert list(LineSentence(raw)) == list(LineSentence(raw)) == list(LineSentence(file))
        assert list(LineSentence(text, limit=3))[1] == ["four\ufffd", "five"]
        assert bits(model_of(LineSentence(raw))) == bits(model_of(list(LineSentence(file))))
    (tmp_path / "b.txt").write_text("six")
    assert list(PathLineSentences(tmp_path))[-1] == ["six"]
    assert list(PathLineSentences(file)) == list(LineSentence(file))
    assert list(Text8Corpus(file, 2)) == [["one", "two"], ["three", "four\udcff"], ["five"]]
    with pytest.raises(FileNotFoundError, match="no such file"):
        PathLineSentences(tmp_path / "none")


def test_vectors_may_be_scaled_for_good() -> None:
    model = model_of()
    expected = model.wv.get_normed_vectors()
    model.init_sims()
    assert (model.wv.get_normed_vectors() == expected).all()
    assert not np.allclose(np.linalg.norm(model.wv.vectors, axis=1), 1)
    model.init_sims(replace=True)
    assert (model.wv.vectors == expected).all()
    model.train(SMALL)
    assert np.shares_memory(model.wv.vectors, model._weights.syn0)


def test_estimate_memory() -> None:
    model = nn.Word2Vec(vector_size=100, hs=1)
    report = model.estimate_memory(vocab_size=1000)
    assert report["vectors"] == report["syn1neg"] == report["syn1"] == 1000 * 112 * 4
    assert report["total"] == sum(size for name, size in report.items() if name != "total")


def test_reset_from() -> None:
    trained = model_of()
    again = nn.Word2Vec(vector_size=20, workers=1, sample=0)
    again.reset_from(trained)
    assert again.wv.index_to_key == trained.wv.index_to_key
    again.train(SMALL)
    assert bits(again) == bits(trained)


# ---- the corpus is read once ----


class Counted:
    """Sentences that count how often they are read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[list[str]]:
        self.read += 1
        yield from SMALL


def test_a_corpus_is_read_once() -> None:
    corpus = Counted()
    model = model_of(corpus, epochs=3)
    assert corpus.read == 1
    model.train(corpus, epochs=2)
    assert corpus.read == 1
    other = Counted()
    model.train(other, epochs=1)
    assert (corpus.read, other.read) == (1, 1)
    model.train(corpus, epochs=1)
    assert corpus.read == 2


def test_a_generator_is_enough() -> None:
    assert bits(model_of(sentence for sentence in SMALL)) == bits(model_of(SMALL))
    model = nn.Word2Vec(min_count=1)
    sentences = iter(SMALL)
    model.build_vocab(sentences)
    model.train(sentences, total_examples=model.corpus_count, epochs=3)
    with pytest.raises(ValueError, match="got an empty corpus"):
        model.train((sentence for sentence in SMALL[:0]), epochs=1)


def test_a_changed_corpus_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("a b c\n" * 10)
    model = nn.Word2Vec(corpus_file=file, min_count=1, epochs=1)
    assert model.train(corpus_file=str(file), epochs=1)[1] == 30
    file.write_text("a b c\n" * 20)
    assert model.train(corpus_file=str(file), epochs=1)[1] == 60
    sentences = [["a", "b"]]
    assert model.train(sentences, epochs=1)[1] == 2
    sentences.append(["c", "a", "b"])
    assert model.train(sentences, epochs=1)[1] == 5


def test_a_corpus_on_disk_has_the_same_bits(tmp_path: Path) -> None:
    model = model_of(cache=tmp_path / "ids")
    assert (tmp_path / "ids").stat().st_size >= 4 * model.corpus_total_words
    assert bits(model) == bits(model_of())
    model.train(SENTENCES[200:300], epochs=1)
    model.train(SMALL, epochs=1)


# ---- the same bits ----


def test_seed_is_all_that_one_worker_depends_on() -> None:
    model = model_of(sg=1, sample=1e-3)
    assert bits(model) == bits(model_of(sg=1, sample=1e-3))
    assert bits(model) != bits(model_of(sg=1, sample=1e-3, seed=2))


def test_initial_vectors() -> None:
    model = nn.Word2Vec(vector_size=50, min_count=1)
    model.build_vocab(SMALL)
    vectors = model.wv.vectors.copy()
    assert abs(vectors).max() <= 1 / 50
    assert abs(vectors.mean()) < 0.002
    assert vectors.std() == pytest.approx(1 / 50 / np.sqrt(3), rel=0.05)
    assert len(np.unique(vectors)) > 0.99 * vectors.size
    assert (model.syn1neg == 0).all()
    model.train(SMALL)
    model.init_weights()
    np.testing.assert_array_equal(model.wv.vectors, vectors)


def test_epochs_draw_anew_in_a_second_train() -> None:
    once = model_of(epochs=2, alpha=0.02, min_alpha=0.02)
    twice = model_of(epochs=1, alpha=0.02, min_alpha=0.02)
    twice.train(SMALL, epochs=1)
    assert bits(once) == bits(twice)


def test_copies_and_files_go_on_alike(tmp_path: Path) -> None:
    model = model_of(hs=1, comment="mine", compute_loss=True)
    model.save(tmp_path / "model")
    copies = [
        pickle.loads(pickle.dumps(model)),
        copy.copy(model),
        copy.deepcopy(model),
        nn.Word2Vec.load(tmp_path / "model"),
    ]
    model.train(SMALL, epochs=2)
    for other in copies:
        assert bits(other) != bits(model)
        other.train(SMALL, epochs=2)
        assert bits(other) == bits(model)
        assert other.wv.get_vecattr("city0", "count") == model.wv.get_vecattr("city0", "count")
        assert (other.corpus_count, other.comment) == (model.corpus_count, "mine")


@pytest.mark.parametrize("words", [["ü", "日本", "a b", "", "\udcff"], [5, 3, 2**40]])
def test_files_hold_any_words(words: list[Any], tmp_path: Path) -> None:
    model = nn.Word2Vec([words] * 3, min_count=1, vector_size=4)
    model.save(tmp_path / "model")
    loaded = nn.Word2Vec.load(tmp_path / "model")
    assert loaded.wv.index_to_key == model.wv.index_to_key
    assert set(loaded.wv.index_to_key) == set(words)
    assert bits(loaded) == bits(model)


def test_vectors_that_the_user_sets_are_trained_on() -> None:
    model = nn.Word2Vec(vector_size=20, min_count=1, workers=1)
    model.build_vocab(SMALL)
    other = copy.deepcopy(model)
    model.wv.vectors = np.ones_like(model.wv.vectors)
    other.wv.vectors[...] = 1
    for each in (model, other):
        each.train(SMALL, epochs=1)
    assert bits(model) == bits(other)
    assert (model.wv.vectors != 1).any()


# ---- interruption ----


class Dies(nn.Callback):
    """Ends the training at an event, as a kill would."""

    def __init__(self, epoch: int, event: str) -> None:
        self.epoch, self.event, self.seen = epoch, event, 0

    def on_progress(self, step: int, logs: dict[str, float]) -> None:
        if self.event == "middle" and self.now == self.epoch and 0 < step < self.params["steps"]:
            self.seen += 1
            if self.seen == 2:  # a checkpoint of the first time is there
                raise InterruptedError

    def on_epoch_begin(self, epoch: int) -> None:
        self.now = epoch
        if (self.event, epoch) == ("begin", self.epoch):
            raise InterruptedError

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if (self.event, epoch) == ("end", self.epoch):
            raise InterruptedError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each call of the backend, which does a chunk, and no waiting for the disk."""
    monkeypatch.setattr(word_training, "SECONDS_OF_A_CHECKPOINT", 0.0)
    monkeypatch.setattr(word_training, "_SHARE_OF_CHECKPOINTS", 1e9)
    monkeypatch.setattr(word_training, "SECONDS_OF_A_CALL", 0.0)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@needs_native
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("settings", [{"sg": 1}, {"hs": 1, "negative": 0, "sample": 1e-3}])
@pytest.mark.parametrize(
    ("epoch", "event"), [(0, "middle"), (1, "begin"), (1, "middle"), (2, "end")]
)
def test_a_killed_training_ends_in_the_same_bits(
    settings: dict[str, Any], epoch: int, event: str, tmp_path: Path
) -> None:
    corpus = LONG
    settings = settings | {"epochs": 3, "compute_loss": True}
    whole = model_of(corpus, **settings)
    dies = Dies(epoch, event)
    with pytest.raises(InterruptedError):
        model_of(corpus, **settings, checkpoint=tmp_path / "kept", callbacks=[dies])
    assert list((tmp_path / "kept").iterdir())
    resumed = model_of(corpus, **settings, checkpoint=tmp_path / "kept")
    assert bits(resumed) == bits(whole)
    assert resumed.history.history["alpha"] == whole.history.history["alpha"]
    losses = (model.history.history["loss"] for model in (resumed, whole))
    np.testing.assert_allclose(*losses, rtol=1e-13)  # the order of sums
    total = whole.get_latest_training_loss()
    assert resumed.get_latest_training_loss() == pytest.approx(total, rel=1e-13)
    assert not (tmp_path / "kept").exists()


@needs_native
@pytest.mark.usefixtures("quick")
def test_a_second_train_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    settings = {"vector_size": 20, "workers": 1, "seed": 3, "epochs": 2}
    corpus = LONG
    whole, model = nn.Word2Vec(**settings), nn.Word2Vec(**settings)
    for each in (whole, model):
        each.build_vocab(corpus)
    whole.train(corpus)
    with pytest.raises(InterruptedError):
        model.train(corpus, checkpoint=tmp_path / "kept", callbacks=[Dies(1, "middle")])
    _, raw = model.train(corpus, checkpoint=tmp_path / "kept")
    assert bits(model) == bits(whole)
    assert raw == 2 * model.corpus_total_words
    assert model.epochs_trained == whole.epochs_trained == 2


@needs_native
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": 3}, "window: expected 5, got 3"),
        ({"seed": 2}, "seed: expected 1, got 2"),
        ({"sample": 1e-3}, "vocabulary: expected"),
        ({"ns_exponent": 0.5}, "vocabulary: expected"),
        ({"epochs": 4}, "epochs: expected 3, got 4"),
        ({"sentences": [*SENTENCES[:199], ["city0", "city1"]]}, "corpus: expected"),
        ({"compute_loss": True}, "compute_loss: expected False"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    kept, settings = tmp_path / "kept", {"epochs": 3, "sentences": SMALL}
    with pytest.raises(InterruptedError):
        model_of(**settings, checkpoint=kept, callbacks=[Dies(1, "begin")])
    with pytest.raises(ValueError, match=f"is of another training; .*{words}.*begin anew"):
        model_of(**settings | change, checkpoint=kept)
    model_of(**settings, checkpoint=kept)


@needs_native
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_the_model(workers: int) -> None:
    script = f"""
        import signal
        random = np.random.default_rng(0)
        walks = random.integers(0, 5000, (30_000, 30))
        model = nn.Word2Vec(min_count=1, sg=1, negative=10, vector_size=100, workers={workers})
        model.build_vocab(walks)
        start = model.wv.vectors.copy()
        sent = []
        def interrupt():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.3, interrupt).start()
        try:
            model.train(walks, epochs=1000)
            raise SystemExit("not interrupted")
        except KeyboardInterrupt:
            print(time.perf_counter() - sent[-1])
        assert np.isfinite(model.wv.vectors).all() and (model.wv.vectors != start).any()
        assert len(model.wv.most_similar(0, topn=5)) == 5
        left = model.wv.vectors.copy()
        assert model.train(walks[:100], epochs=1)[1] == 3000
        assert (model.wv.vectors != left).any()
        """
    assert float(output(script)) < 0.4  # 0.1 on a machine with nothing else to do


def test_the_bar_shows_words_a_second_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nn.progress, "_redraws", lambda stream: True)
    model_of(epochs=2, compute_loss=True)
    drawn = capsys.readouterr().err
    assert "Reading" not in drawn  # it took no time
    assert "Epoch 2/2 [========================] 100% " in drawn
    assert " words/s, 0:00 left  loss " in drawn
    model_of(epochs=2, verbose=0)
    assert capsys.readouterr().err == ""
    model_of(epochs=2, verbose=2)
    assert capsys.readouterr().out.count("Epoch ") == 2


def test_a_line_shows_what_has_been_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "text"
    file.write_text("".join(" ".join(sentence) + "\n" for sentence in SMALL))
    monkeypatch.setattr(nn.progress, "_redraws", lambda stream: True)
    monkeypatch.setattr(nn.progress, "_SECONDS_OF_A_LINE", 0.0)
    model = model_of(None, corpus_file=file)
    line = "Reading 100%, 1,400 words"
    wiped = f"\r{line}\r{' ' * len(line)}\r"
    assert wiped + "\rEpoch 1/5" in capsys.readouterr().err
    model.train(iter(SMALL), epochs=1)
    assert capsys.readouterr().err.startswith("\rReading 1,400 words\r  ")
    model_of(verbose=2)
    assert capsys.readouterr().err == ""


# ---- bad input ----


class NotAnIterable:
    pass


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a text": ({"sentences": "some text"}, TypeError, "pass the path of a text file as corpus_file"),
    "a number": ({"sentences": 5}, TypeError, "expected an iterable of lists of words, got an object of type int"),
    "both": ({"corpus_file": "x"}, TypeError, "expected one of them, got both"),
    "no file": ({"sentences": None, "corpus_file": "nothing.txt"}, FileNotFoundError, "no such file"),
    "a folder": ({"sentences": None, "corpus_file": "."}, IsADirectoryError, "got a folder"),
    "a list as file": ({"sentences": None, "corpus_file": TOY}, TypeError, "expected the path of a text file"),
    "empty": ({"sentences": []}, ValueError, "corpus"),
    "empty sentences": ({"sentences": [[], []]}, ValueError, "corpus"),
    "all rare": ({"min_count": 10**6}, ValueError, "min_count"),
    "nothing to learn from": ({"negative": 0}, ValueError, "expected hs=1 or negative > 0"),
    "size 0": ({"vector_size": 0}, ValueError, "vector_size: expected an integer of at least 1, got 0"),
    "size 1.5": ({"vector_size": 1.5}, TypeError, "vector_size: expected an integer"),
    "window 0": ({"window": 0}, ValueError, "window: expected an integer of at least 1"),
    "window text": ({"window": "5"}, TypeError, "window: expected an integer"),
    "epochs 0": ({"epochs": 0}, ValueError, "epochs: expected an integer of at least 1"),
    "workers 0": ({"workers": 0}, ValueError, "workers: expected an integer of at least 1"),
    "negative -1": ({"negative": -1}, ValueError, "negative: expected an integer of at least 0"),
    "alpha text": ({"alpha": "big"}, TypeError, "alpha: expected a finite number"),
    "alpha nan": ({"alpha": float("nan")}, ValueError, "alpha: expected a finite number"),
    "sample -1": ({"sample": -1}, ValueError, "sample: expected a finite number of at least 0"),
    "sg 2": ({"sg": 2}, ValueError, "sg: expected 0 or 1, got 2"),
    "sharing": ({"sharing": "windows"}, ValueError, "did you mean 'window'"),
    "cbow_grad": ({"cbow_grad": "correct"}, ValueError, "did you mean 'corrected'"),
    "null_word": ({"null_word": 1}, ValueError, "null_word: expected 0"),
    "verbose": ({"verbose": 7}, ValueError, "verbose: expected 0, 1, 2 or 'auto'"),
    "seed -1": ({"seed": -1}, ValueError, "seed: expected an integer of at least 0"),
    "ns_exponent": ({"ns_exponent": float("inf")}, ValueError, "ns_exponent: expected a finite number"),
    "callbacks": ({"callbacks": [5]}, TypeError, "callbacks: expected objects with some of on_train_begin"),
    "a class": ({"callbacks": [nn.EarlyStopping]}, TypeError, "callbacks: expected objects"),
    "a schedule": ({"callbacks": nn.ReduceLROnPlateau()}, TypeError, "ReduceLROnPlateau; use alpha, min_alpha"),
    "a backup": ({"callbacks": nn.BackupAndRestore("x")}, TypeError, "BackupAndRestore; use checkpoint"),
    "strings": ({"sentences": ["one sentence"]}, TypeError, "expected"),
    "floats": ({"sentences": [[0.5]]}, TypeError, "expected str or integers"),
    "below 0": ({"sentences": [[3, -1]]}, ValueError, "expected str or integers >= 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    settings, kind, words = BAD[case]
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        nn.Word2Vec(**{"sentences": TOY, "min_count": 1} | settings)


def test_train_refuses() -> None:
    model = nn.Word2Vec(min_count=1)
    with pytest.raises(RuntimeError, match="call build_vocab first"):
        model.train(TOY, total_examples=2, epochs=1)
    with pytest.raises(RuntimeError, match="expected a model with words, got one without"):
        model.build_vocab(TOY, update=True)
    with pytest.raises(RuntimeError, match="expected a model with words, got one without"):
        model.build_vocab_from_freq({"a": 5}, update=True)
    model.build_vocab(TOY)
    for bad, kind, words in [
        ({}, TypeError, "corpus_iterable, corpus_file: expected one of them, got none"),
        ({"corpus_iterable": [["unknown"]]}, ValueError, "expected words of the corpus among its 5, got none of 1"),
        ({"corpus_iterable": TOY, "epochs": 0}, ValueError, "epochs: expected"),
        ({"corpus_iterable": TOY, "start_alpha": -1}, ValueError, "start_alpha: expected"),
        ({"corpus_iterable": TOY, "verbose": 9}, ValueError, "verbose: expected"),
    ]:  # fmt: skip
        with pytest.raises(kind, match=words):
            model.train(**bad)
    with pytest.raises(ValueError, match=r"wv\.vectors: expected shape \(5, 100\), got \(6, 100\)"):
        model.wv.add_vector("more", np.zeros(100))
        model.train(TOY, epochs=1)


def test_queries_refuse() -> None:
    model = model_of(TOY)
    with pytest.raises(RuntimeError, match="hs=0, negative=5; train one with hs=1, negative=0"):
        model.score(TOY)
    with pytest.raises(TypeError, match="expected a list of words, got 'cat'"):
        model.predict_output_word("cat")
    with pytest.raises(RuntimeError, match="got negative=0"):
        model_of(TOY, hs=1, negative=0).predict_output_word(["cat"])
    with pytest.raises(KeyError, match="cow"):
        model.wv["cow"]


def test_what_is_given_without_a_corpus_and_not_kept() -> None:
    with pytest.warns(UserWarning, match="pass them to build_vocab and train"):
        nn.Word2Vec(callbacks=[nn.LambdaCallback()])


def test_vectors_that_overflow_end_training() -> None:
    ends = pytest.warns(nn.NonFiniteLossWarning, match="no longer finite after epoch 1;")
    with np.errstate(all="ignore"), ends:
        model = model_of(alpha=1e38, min_alpha=1e38, epochs=5, cbow_mean=0)
    assert model.history.epoch == [0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(FormatError, match=r"save the vectors with model\.wv\.save_word2vec_format"):
        nn.Word2Vec.load(path)
    nn.Sequential([nn.Dense(2)]).build(3).save(path)
    with pytest.raises(FormatError, match=r"expected a model that nnfast\.Word2Vec\.save wrote"):
        nn.Word2Vec.load(path)
    with pytest.raises(FileNotFoundError):
        nn.Word2Vec.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        nn.Word2Vec.load(tmp_path)
