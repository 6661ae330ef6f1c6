"""``nnfast word2vec``: word2vec.c's flags, and questions to the vectors."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nnfast import formats, word_queries
from nnfast.formats import packed
from nnfast.formats import vectors as files
from nnfast.vectors import KeyedVectors
from nnfast.word2vec import Word2Vec

_SENTENCE_LENGTH = 1000  # word2vec.c's
_ALPHA = {0: 0.025, 1: 0.05}  # by -cbow, as in word2vec.c
_LOWEST_ALPHA = 1e-4  # as a share of -alpha, as in word2vec.c
_TEXT = 12  # about the bytes of a number in a text
_BEGIN = 4096
_NOT_IN_TEXT = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")


def add_word2vec(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "word2vec",
        help="train word vectors, with word2vec.c's flags, and ask them",
        description="Train word vectors on a text file, a sentence a line; .gz, .xz and .bz2 will "
        "do. Flags and defaults are word2vec.c's, but -threads.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-train", type=Path, metavar="FILE", help="the text")
    add("-output", type=Path, metavar="FILE", help="where the vectors, or the classes, go")
    add("-size", type=int, default=100, metavar="N", help="numbers of a vector; default: 100")
    add("-window", type=int, default=5, metavar="N", help="default: 5")
    add("-sample", type=float, default=1e-3, metavar="X", help="default: 1e-3")
    add("-hs", type=int, choices=(0, 1), default=0, help="hierarchical softmax; default: 0")
    add("-negative", type=int, default=5, metavar="N", help="default: 5; 0 is none")
    add("-threads", type=int, metavar="N", help="default: all cores")
    add("-iter", type=int, default=5, metavar="N", help="epochs; default: 5")
    add("-min-count", type=int, default=5, metavar="N", help="default: 5")
    add("-alpha", type=float, metavar="X", help="default: 0.05, with -cbow 0 0.025")
    add("-classes", type=int, default=0, metavar="N", help="write classes of words; default: 0")
    add("-debug", type=int, default=2, metavar="N", help="0 is silent, 2 draws a bar; default: 2")
    add("-binary", type=int, choices=(0, 1), default=0, help="default: 0, text")
    add("-save-vocab", type=Path, metavar="FILE", help="where words and counts go")
    add("-read-vocab", type=Path, metavar="FILE", help="words and counts, not counted in the text")
    add("-cbow", type=int, choices=(0, 1), default=1, help="default: 1; 0 is skip-gram")
    add("-seed", type=int, default=1, metavar="N", help="default: 1")
    add("-checkpoint", type=Path, metavar="FOLDER", help="go on from there after a kill")
    parser.set_defaults(run=_train)

    asked = parser.add_subparsers(metavar="nn|analogy|eval")
    nn = asked.add_parser("nn", help="the nearest words of words, or of lines of stdin")
    nn.add_argument("vectors", type=Path, metavar="VECTORS")
    nn.add_argument("words", nargs="*", metavar="WORD")
    nn.set_defaults(run=_nearest)
    analogy = asked.add_parser("analogy", help="what is to C as B is to A, also by lines of stdin")
    analogy.add_argument("vectors", type=Path, metavar="VECTORS")
    analogy.add_argument("words", nargs="*", metavar="A B C")
    analogy.set_defaults(run=_analogies)
    for questioner in (nn, analogy):
        questioner.add_argument("-topn", type=int, default=10, metavar="N", help="default: 10")
    judge = asked.add_parser("eval", help="the share of right answers, the rank correlation")
    judge.add_argument("vectors", type=Path, metavar="VECTORS")
    judge.add_argument("-questions", type=Path, metavar="FILE", help="as questions-words.txt")
    judge.add_argument("-pairs", type=Path, metavar="FILE", help="two words and a number a line")
    judge.set_defaults(run=_evaluate)


def _train(options: argparse.Namespace) -> None:
    if options.train is None or not (options.output or options.save_vocab):
        raise ValueError("word2vec: expected -train FILE and -output FILE; see --help")
    inputs = [file for file in (options.train, options.read_vocab) if file is not None]
    for file in inputs:
        formats.existing(file)
    for file in filter(None, (options.output, options.save_vocab)):
        formats.check_output(file, *inputs)
    alpha = _ALPHA[options.cbow] if options.alpha is None else options.alpha
    model = Word2Vec(
        vector_size=options.size,
        window=options.window,
        sample=options.sample,
        hs=options.hs,
        negative=options.negative,
        workers=options.threads,
        epochs=options.iter,
        min_count=options.min_count,
        alpha=alpha,
        min_alpha=alpha * _LOWEST_ALPHA,
        sg=1 - options.cbow,
        seed=options.seed,
        max_sentence_length=_SENTENCE_LENGTH,
        verbose=int(options.debug > 1),
    )
    if options.read_vocab is None:
        model.build_vocab(corpus_file=options.train)
    else:
        model.build_vocab_from_freq(files.read_counts(options.read_vocab))
    if options.debug > 0:
        print(f"Vocab size: {len(model.wv)}")
        print(f"Words in train file: {model.corpus_total_words}", flush=True)
    words = model.wv.index_to_key
    if options.save_vocab is not None:
        files.write_counts(options.save_vocab, words, model.wv.expandos["count"].tolist())
    if options.output is None:
        return
    if not options.classes and not formats.is_stream(options.output):
        _check_room(options.output, words, options.size * (4 if options.binary else _TEXT))
    model.train(corpus_file=options.train, checkpoint=options.checkpoint)
    if options.classes:
        labels = word_queries.classes(model.wv.vectors, options.classes)
        files.write_counts(options.output, words, labels.tolist())
    else:
        model.wv.save_word2vec_format(options.output, binary=bool(options.binary))


def _check_room(path: Path, words: list[Any], row: int) -> None:
    """Refuse, before training, a disk that cannot hold so many rows of so many bytes."""
    needed = sum(map(len, words)) + len(words) * row
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"{path}: expected room for vectors of about {needed / 1e6:,.1f} MB, got "
            f"{free / 1e6:,.1f} MB; choose another disk"
        )


def _nearest(options: argparse.Namespace) -> None:
    vectors = _load(options.vectors)

    def answer(words: list[str]) -> None:
        for word in words:
            _print_similar(vectors.most_similar(word, topn=options.topn))

    _answer(options.words, answer, "word")


def _analogies(options: argparse.Namespace) -> None:
    vectors = _load(options.vectors)

    def answer(words: list[str]) -> None:
        if len(words) != 3:
            raise ValueError(f"analogy: expected three words A B C, got {' '.join(words)!r:.80}")
        a, b, c = words
        _print_similar(vectors.most_similar([b, c], [a], topn=options.topn))

    _answer(options.words, answer, "A B C")


def _answer(words: list[str], answer: Callable[[list[str]], None], prompt: str) -> None:
    """Answer the words, or without any the lines of stdin, passing over what is not known."""
    if words:
        try:
            answer(words)
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        return
    for line in _lines(prompt):
        try:
            answer(line.split())
        except (KeyError, ValueError) as error:
            print(f"nnfast: {error.args[0]}", file=sys.stderr)


def _lines(prompt: str) -> Iterator[str]:
    shown = sys.stdin.isatty()
    while True:
        if shown:
            print(f"{prompt}? ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line


def _print_similar(found: list[tuple[Any, float]]) -> None:
    for word, similarity in found:
        print(f"{word} {similarity:.4f}", flush=True)


def _evaluate(options: argparse.Namespace) -> None:
    if options.questions is None and options.pairs is None:
        raise ValueError("eval: expected -questions FILE or -pairs FILE; name one")
    vectors = _load(options.vectors)
    if options.questions is not None:
        _, sections = vectors.evaluate_word_analogies(options.questions)
        for section in sections:
            right, wrong = len(section["correct"]), len(section["incorrect"])
            if right + wrong:
                share = f"{right / (right + wrong):.2%}"
                print(f"{section['section']}: {share} ({right} of {right + wrong})")
    if options.pairs is not None:
        pearson, spearman, unknown = vectors.evaluate_word_pairs(options.pairs)
        print(f"Pearson {pearson[0]:.4f}, Spearman {spearman[0]:.4f}, {unknown:.2f} % unknown")


def _load(path: Path) -> KeyedVectors:
    """Read vectors: a model's, or word2vec's, text or binary, told apart by their first bytes."""
    with packed.reading(path) as file:
        line = file.readline(_BEGIN)
        begin = line + file.read(_BEGIN)
    if begin[4:9] == b"\0\0\0\0{":
        return KeyedVectors.load(path)
    binary = not _NOT_IN_TEXT.isdisjoint(begin)
    return KeyedVectors.load_word2vec_format(path, binary=binary, unicode_errors="surrogateescape")
