"""The command ``nnfast``: models of tables, scripts with scikit-learn, a demonstration.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 interrupted. Errors take one line on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import nnfast as nn
from nnfast import activations, demo, formats, optimizers, readers, report, sequential, word_cli
from nnfast.tables import Table
from nnfast.tabular import TableModel

_ACTIVATIONS = tuple(sorted(set(activations.NAMES) - activations.WITHOUT_SLOPE - {"softmax"}))
_OPTIMIZERS = tuple(name for name in optimizers.NAMES if name != "rprop")  # for full batches
_BAD_INPUT = (
    ValueError,
    TypeError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    ModuleNotFoundError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments
        The words after ``nnfast``; None: those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    script = _script(words)
    if script is not None and (script[0] == "-m" or Path(script[0]).is_file()):
        _run_script(script)  # its errors are its own
        return 0
    try:
        if script is not None:
            formats.existing(Path(script[0]))
        options = _parser().parse_args(words)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 gets "?"
        with _warnings_in_a_line():
            options.run(options)
        sys.stdout.flush()
        return 0
    except SystemExit as end:  # argparse: --help, --version or bad usage
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader, for example `head`, has seen enough
        _abandon_stdout()
        return 1
    except _BAD_INPUT as error:
        return _fail(error, 2)
    except (OSError, RuntimeError, MemoryError) as error:
        _abandon_stdout()
        return _fail(error, 1)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nnfast", description="Neural networks at the speed of the processor.")
    parser.add_argument("--version", action="version", version=f"nnfast {nn.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for add in _COMMANDS.values():
        add(commands)
    return parser


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="make a model of a table: CSV, Parquet, npz or IDX")
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the table; an IDX file is one of images")
    add("--target", metavar="COL", help="the column to learn; for IDX images the file of labels")
    add("--task", choices=("classification", "regression"), help="default: by the target's values")
    add("--drop", type=_names, default=[], metavar="COL,...", help="columns to leave out")
    add("--layers", type=_sizes, default=(64, 64), metavar="N,...", help="hidden units: 64,64")
    add("--activation", choices=_ACTIVATIONS, default="relu", metavar="NAME", help="default: relu")
    add("--optimizer", choices=_OPTIMIZERS, default="adam", help="default: adam")
    add("--lr", type=float, metavar="X", help="learning rate; default: adam 0.001, sgd 0.01")
    add("--epochs", type=_positive, metavar="N", help="at most; default: 50, small tables more")
    add("--batch-size", type=_positive, default=32, metavar="N", help="default: 32")
    add("--validation", type=float, default=0.2, metavar="X", help="share held out; default: 0.2")
    add(
        "--patience",
        type=_positive,
        metavar="N",
        help="epochs without gain before the end; default: 5, small tables more",
    )
    add("--seed", type=int, default=0, metavar="N", help="default: 0")
    add("--threads", type=_positive, metavar="N", help="default: all cores")
    add("-o", "--output", type=Path, metavar="MODEL", help="default: FILE's name + .safetensors")
    add("--plot", type=Path, metavar="PICTURE", help="draw losses and validation; needs matplotlib")
    parser.set_defaults(run=_train)


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser("predict", help="write a model's predictions of a table as CSV")
    parser.add_argument("model", type=Path, metavar="MODEL", help="what train has written")
    parser.add_argument("file", type=Path, metavar="FILE", help="a table with the same columns")
    parser.add_argument("-o", "--output", default="-", metavar="OUT", help="default: - (stdout)")
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: all cores")
    parser.set_defaults(run=_predict)


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="compare a model's predictions with the truth")
    parser.add_argument("model", type=Path, metavar="MODEL", help="what train has written")
    parser.add_argument("file", type=Path, metavar="FILE", help="a table with target")
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: all cores")
    parser.set_defaults(run=_evaluate)


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        usage="nnfast run [-m] SCRIPT [ARGUMENT ...]",
        help="run a Python script, scikit-learn's perceptrons on nnfast",
        description="Run a Python script or, with -m, a module, unchanged: MLPClassifier and "
        "MLPRegressor of scikit-learn compute on nnfast. NNFAST_VERBOSE=INFO says of each call "
        "whether they do. `nnfast SCRIPT.py` is `nnfast run SCRIPT.py`.",
    )
    parser.add_argument("words", nargs="+", metavar="SCRIPT", help="with its arguments behind it")
    parser.set_defaults(run=lambda options: parser.error("expected a script to run"))


def _add_info(commands: Any) -> None:
    parser = commands.add_parser("info", help="show the installation, or a model")
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="a safetensors file")
    parser.set_defaults(run=_info)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser("demo", help="train on handwritten digits, say how fast it went")
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="a folder of four files in MNIST's format in place of the bundled 8x8 digits",
    )
    add("--epochs", type=_positive, metavar="N", help="default: 50, with --data 3")
    add("--threads", type=_positive, default=1, metavar="N", help="default: 1")
    parser.set_defaults(run=lambda options: demo.run(options.data, options.epochs, options.threads))


_COMMANDS = {
    "train": _add_train,
    "predict": _add_predict,
    "evaluate": _add_evaluate,
    "run": _add_run,
    "info": _add_info,
    "demo": _add_demo,
    "word2vec": word_cli.add_word2vec,
}


def _script(words: list[str]) -> list[str] | None:
    """Return the words of a script to run, "-m" of a module in front; None for other commands."""
    if words[:1] == ["run"]:
        rest = words[1:]
        wanted = rest[1:] if rest[:1] == ["-m"] else rest
        return rest if wanted and not wanted[0].startswith("-") else None
    if not words or words[0] in _COMMANDS or words[0].startswith("-"):
        return None
    return words if words[0].endswith(".py") or Path(words[0]).is_file() else None


def _run_script(words: list[str]) -> None:
    """Run a script or a module as Python does, with scikit-learn patched."""
    import runpy

    try:
        from nnfast.patching import patch_sklearn

        patch_sklearn()
    except ImportError as error:
        _note(f"{error}. The script runs without nnfast")
    by_name = words[0] == "-m"
    sys.argv = words[1:] if by_name else words
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd() if by_name else str(Path(words[0]).resolve().parent)
    if by_name:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_positive(size) for size in text.split(",")) if text.strip() else ()


def _names(text: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([text]), [])]


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_more, **_named: _note(str(message))
        yield


def _note(words: str) -> None:
    print(f"nnfast: {' '.join(words.split())}", file=sys.stderr)


def _fail(error: BaseException | str, code: int) -> int:
    _note(str(error) or type(error).__name__)
    return code


def _abandon_stdout() -> None:
    """Let the flush at the interpreter's exit succeed, whatever has become of stdout."""
    try:
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)
    except (OSError, ValueError):  # stdout is no file
        pass


# --- the commands ---------------------------------------------------------------------------------


class _Progress(nn.ProgressBar):
    """One line for all epochs."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._draw(self.params["steps"], logs)


def _train(options: argparse.Namespace) -> None:
    output = options.output or Path(f"{options.file.stem}.safetensors")
    formats.check_output(output, options.file)
    if options.plot is not None:
        from nnfast import plots

        plots.check(options.plot)
        formats.check_output(options.plot, options.file, output)
    model = TableModel(
        layers=options.layers,
        activation=options.activation,
        optimizer=options.optimizer,
        lr=options.lr,
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation=options.validation,
        patience=options.patience,
        seed=options.seed,
        threads=options.threads,
    )
    began = time.perf_counter()
    table, target = _training_table(options)
    read = time.perf_counter() - began
    model.fit(table, target, options.task, callbacks=[_Progress()])
    model.save(output)
    print(*report.model_lines(model), sep="\n")
    print("\nvalidation", *report.score_lines(model.target, model.score), sep="\n")
    if options.plot is not None:
        plots.plot(model, options.plot)
    seconds = time.perf_counter() - began
    fit = model.facts.seconds
    print(f"\nseconds    {seconds:.2f}: reading {read:.2f}, training {fit:.2f}")
    print(f"saved      {output}", *([] if options.plot is None else [options.plot]), sep="  ")


def _training_table(options: argparse.Namespace) -> tuple[Table, str]:
    """Read the table and find the target in it."""
    file, target = formats.existing(options.file), options.target
    if readers.is_idx(file) and target != "label":
        table, target = readers.read_table(file, labels=target), "label"
        if target not in table.columns:
            raise ValueError(f"{file}: no file of labels beside it; name one with --target FILE")
    else:
        table = readers.read_table(file)
    if target is None:
        names = ", ".join(list(table.columns)[:8])
        raise ValueError(f"{file}: expected the column to learn; add --target, one of: {names}")
    table[target]
    if target in options.drop:
        raise ValueError(f"--drop: expected other columns than the target {target!r}; leave it out")
    return table.without(options.drop) if options.drop else table, target


def _predict(options: argparse.Namespace) -> None:
    to_stdout = options.output == "-"
    if not to_stdout:
        formats.check_output(Path(options.output), options.file, options.model)
    model = TableModel.load(options.model, options.threads)
    table = _table_for(model, options.file)
    outputs = model.outputs(table)
    header = ["prediction"]
    columns: list[Any] = [model.target.decode(outputs).tolist()]
    if model.target.classes:
        probabilities = model.target.probabilities(outputs)
        labels = model.target.labels
        columns = [[labels[index] for index in probabilities.argmax(axis=1).tolist()]]
        columns += [[f"{p:.6g}" for p in column.tolist()] for column in probabilities.T]
        header += [f"probability {label}" for label in labels]
    if to_stdout:
        _write_csv(sys.stdout, header, columns)
        return
    with formats.replacing(options.output) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        _write_csv(text, header, columns)
        text.detach()


def _write_csv(file: IO[str], header: list[str], columns: list[Any]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    file.flush()


def _evaluate(options: argparse.Namespace) -> None:
    model = TableModel.load(options.model, options.threads)
    score = model.evaluate(_table_for(model, options.file))
    print(f"{options.model} on {options.file}: {model.target.name}")
    print(*report.score_lines(model.target, score), sep="\n")


def _table_for(model: TableModel, file: Path) -> Table:
    table = readers.read_table(file, model.text_columns)
    for name, count in model.encoder.unseen(table).items():
        _note(
            f"{file}: column {name!r}: {report.counted(count, 'row')} with a value that training "
            "has not seen, which counts as none of the known"
        )
    return table


def _info(options: argparse.Namespace) -> None:
    if options.model is None:
        print(*report.aligned({"nnfast": nn.__version__, **nn.info()}), sep="\n")
        return
    formats.existing(options.model)
    net = sequential.load(options.model)
    net.summary()
    if TableModel.is_model(options.model):
        print("", *report.fact_lines(TableModel.load(options.model)), sep="\n")
