"""The command: train, predict, evaluate, demo, info, exit codes, one-line errors."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_datasets import mnist

import nnfast as nn
from nnfast import cli, plots

NATIVE = nn.info()["backend"] == "native"


def run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nnfast", *arguments],
        capture_output="stdout" not in more,
        text=True,
        timeout=120,
        **more,
    )


def test_demo_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    before = nn.info()["backend"]
    assert cli.main(["demo", "--epochs", "3", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "UCI 8x8 digits: 1,437 to train, 360 to test" in out
    assert "3 epochs, 2 threads" in out
    for words in ("test accuracy", "samples/s", "GFLOP/s", "of FMA peak", "reference"):
        assert words in out
    assert ("times as long" in out) == NATIVE
    assert nn.info()["backend"] == before


def test_demo_learns_the_digits() -> None:
    out = run("demo").stdout
    lines = [line.split() for line in out.splitlines()]
    rows = [words for words in lines if words and words[0] in ("native", "reference")]
    accuracy = {words[0]: float(words[1][:-1]) for words in rows}
    assert set(accuracy) == ({"native", "reference"} if NATIVE else {"reference"})
    assert all(percent > 97 for percent in accuracy.values())


@pytest.mark.parametrize("packed", [False, True])
def test_demo_with_data(packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--data", str(mnist(tmp_path, packed=packed)), "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path.name}: 40 to train, 20 to test" in out
    assert "16-128-4 relu, 2,692 parameters" in out


def test_info() -> None:
    done = run("info")
    assert done.returncode == 0
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert facts["nnfast"] == nn.__version__
    assert facts["backend"] == nn.info()["backend"]
    forced = run("info", env={**os.environ, "NNFAST_BACKEND": "reference"})
    assert forced.stdout.count("reference") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "COMMAND"),
        (["paint"], 2, "invalid choice"),
        (["demo", "--epochs", "0"], 2, "whole number of at least 1"),
        (["demo", "--epochs", "many"], 2, "whole number of at least 1"),
        (["demo", "--threads", "1.5"], 2, "whole number of at least 1"),
        (["demo", "--threads", "9999", "--epochs", "1"], 2, "at most 256"),
        (["demo", "--what"], 2, "unrecognized"),
        (["demo", "--data", "no-such-folder"], 2, "expected the four files"),
        (["demo", "--data"], 2, "expected one argument"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nnfast")


DAMAGED = {
    "images": {"train_images_idx3_ubyte": b"\0\0\x08\x03no"},
    "no images": {
        "train_images_idx3_ubyte": b"\0\0\x08\x03" + bytes(12),
        "train_labels_idx1_ubyte": b"\0\0\x08\x01" + bytes(4),
    },
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_data_is_one_line_and_code_2(what: str, tmp_path: Path) -> None:
    done = run("demo", "--data", str(mnist(tmp_path, **DAMAGED[what])))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("NNFAST_BACKEND", "cuda"), ("NNFAST_ISA", "sse9"), ("NNFAST_NUM_THREADS", "no")],
)
def test_a_bad_setting_is_one_line_and_code_2(name: str, value: str) -> None:
    if name == "NNFAST_ISA" and not NATIVE:
        pytest.skip("needs the compiled kernels")
    done = run("info", env={**os.environ, name: value})
    assert done.returncode == 2
    assert value in done.stderr
    assert done.stderr.count("\n") == 1


def test_version_and_help() -> None:
    assert run("--version").stdout == f"nnfast {nn.__version__}\n"
    for arguments in (["--help"], ["demo", "--help"]):
        done = run(*arguments)
        assert done.returncode == 0
        assert "usage: nnfast" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_code_1() -> None:
    with open("/dev/full", "w") as full:
        done = run("info", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_reader_that_has_seen_enough() -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    with open(ours, "w") as pipe:
        done = run("info", stdout=pipe, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nn, "info", interrupt)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "nnfast: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def heed_interrupts() -> None:
    """Where the tests themselves run in the background, interrupts are ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_with_130() -> None:
    command = [sys.executable, "-m", "nnfast", "demo", "--epochs", "100000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = subprocess.Popen(command, **pipes, text=True, preexec_fn=heed_interrupts)
    assert running.stdout is not None
    running.stdout.readline()
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=10)
    assert (running.returncode, errors) == (130, "nnfast: interrupted\n")


def test_a_terminal_without_utf_8() -> None:
    done = run("demo", "--epochs", "2", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout


# --- train, predict, evaluate, info MODEL ---------------------------------------------------------


def flowers(path: Path, n: int = 150, header: str = "id,length,width,colour,kind") -> Path:
    """Three kinds of flowers; the length tells all of them apart, the colour one."""
    random = np.random.default_rng(0)
    lines = [header]
    for i in range(n):
        kind = i % 3
        width = "" if i % 10 == 0 else f"{random.normal():.3f}"
        colour = ("red", '"light, blue"', "red")[kind]
        lines.append(f"n{i},{kind + random.normal(0, 0.1):.3f},{width},{colour},{'xyz'[kind]}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, the current one, with flowers.csv."""
    monkeypatch.chdir(tmp_path)
    return flowers(tmp_path / "flowers.csv").parent


@pytest.fixture
def model(here: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["train", "flowers.csv", "--target", "kind", "--epochs", "50"]) == 0
    capsys.readouterr()
    return "flowers.safetensors"


def test_train_says_what_it_did(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "flowers.csv", "--target", "kind"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in (
        "flowers.csv",
        "150: 120 to train, 30 held out",
        "2 numbers and 1 category, 1 with missing values -> 5 inputs",
        "'id': text that differs from row to row",
        "'kind': 3 classes: x, y, z",
        "5-64-64-3 relu",
        "always the most frequent class: 33.3%",
        "predicted",
        "flowers.safetensors",
        "seconds",
    ):
        assert words in out
    assert float(out.split("accuracy")[1].split("%")[0]) > 90
    assert nn.load("flowers.safetensors").predict(np.zeros((2, 5))).shape == (2, 3)


def test_train_with_all_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--target length --task regression --drop id,kind --layers 8 --activation tanh"
    words += " --optimizer sgd --lr 0.05 --epochs 30 --batch-size 16 --seed 3 --threads 1"
    words += " --validation 0.3 --patience 4 -o out.safetensors"
    assert cli.main(["train", "flowers.csv", *words.split()]) == 0
    out = capsys.readouterr().out
    assert "4-8-1 tanh" in out
    assert "sgd, learning rate 0.05, batches of 16, seed 3" in out
    assert "105 to train, 45 held out" in out
    for words in ("R2", "MAE", "RMSE", "at 50%"):
        assert words in out
    assert Path("out.safetensors").exists()
    assert not Path("flowers.safetensors").exists()


def test_a_linear_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "flowers.csv", "--target", "kind", "--layers", ""]) == 0
    assert "5-3, 18 parameters" in capsys.readouterr().out


def test_predict(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", model, "flowers.csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 150
    assert sum(row["prediction"] == "xyz"[i % 3] for i, row in enumerate(rows)) > 140
    for row in rows:
        shares = {name: float(row[f"probability {name}"]) for name in "xyz"}
        assert abs(sum(shares.values()) - 1) < 1e-4
        assert max(shares, key=shares.__getitem__) == row["prediction"]
    assert cli.main(["predict", model, "flowers.csv", "-o", "out.csv"]) == 0
    assert capsys.readouterr().out == ""
    assert list(csv.DictReader(Path("out.csv").read_text().splitlines())) == rows


def test_predict_without_target_and_with_unseen_values(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new.csv").write_text("colour;more;length;width\ngreen;1;0;\n;1;2;0.5\nred;;2;NA\n")
    assert cli.main(["predict", model, "new.csv"]) == 0
    out, err = capsys.readouterr()
    assert [line[0] for line in out.splitlines()[1:]] == ["x", "z", "z"]
    assert err.count("\n") == 1
    assert "column 'colour': 2 rows with a value that training has not seen" in err


def test_predict_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "flowers.csv", "--target", "length"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", "flowers.safetensors", "flowers.csv", "-o", "-"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "prediction"
    error = [abs(float(row) - i % 3) for i, row in enumerate(rows)]
    assert np.mean(error) < 0.3


def test_evaluate(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", model, "flowers.csv"]) == 0
    out = capsys.readouterr().out
    assert float(out.split("accuracy")[1].split("%")[0]) > 90
    assert "of 150 rows" in out


def test_info_of_a_model_and_of_a_network(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", model]) == 0
    out = capsys.readouterr().out
    for words in (
        "Dense(64, ",
        "total",
        "'kind': 3 classes: x, y, z",
        "120 to train",
        "baseline 0.3333",
    ):
        assert words.replace("64, ", "units=64") in out
    nn.Sequential([nn.Dense(3)]).build(2).save("net.safetensors")
    assert cli.main(["info", "net.safetensors"]) == 0
    assert "(3,)" in capsys.readouterr().out


@pytest.mark.parametrize("target", [[], ["--target", "label"], ["--target", "mine"]])
def test_train_on_images(
    target: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(mnist(tmp_path, n=80))
    if "mine" in target:
        Path("train-labels-idx1-ubyte").rename("mine")
    assert cli.main(["train", "train-images-idx3-ubyte", *target, "-o", "m"]) == 0
    assert "4 classes: 0, 1, 2, 3" in capsys.readouterr().out
    assert cli.main(["evaluate", "m", "t10k-images-idx3-ubyte"]) == 0
    assert "accuracy  100.0% of 40 rows" in capsys.readouterr().out


def test_train_on_npz_and_parquet(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(100, 3))
    np.savez("t.npz", x=x, y=x[:, 0] > 0)
    assert cli.main(["train", "t.npz", "--target", "y"]) == 0
    assert "2 classes: False, True" in capsys.readouterr().out
    parquet = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    parquet.write_table(pa.table({"a": x[:, 0], "y": x[:, 0] > 0}), "t.parquet")
    assert cli.main(["train", "t.parquet", "--target", "y"]) == 0
    assert "2 classes: False, True" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["kind", "length"])
def test_plot(target: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    for name in ("p.png", "p.svg"):
        command = ["train", "flowers.csv", "--target", target, "--epochs", "1", "--plot", name]
        assert cli.main(command) == 0
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path("p.svg").read_text()
    assert "p.svg" in capsys.readouterr().out


def test_plot_without_matplotlib_fails_before_training(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["train", "flowers.csv", "--target", "kind", "--plot", "p.png"]) == 2
    assert 'pip install "nnfast[plot]"' in capsys.readouterr().err
    assert not Path("flowers.safetensors").exists()


def test_plot_of_another_format(here: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="expected a name that ends in"):
        plots.check("p.doc")


BAD_TRAINING = {
    "no file": ("no.csv --target kind", "no.csv: no such file"),
    "a folder": (". --target kind", ".: expected a file, got a folder"),
    "no target": ("flowers.csv", "add --target, one of: id, length, width, colour, kind"),
    "another target": ("flowers.csv --target Knd", "no column 'Knd'; did you mean 'kind'?"),
    "another column": ("flowers.csv --target kind --drop colr", "did you mean 'colour'?"),
    "the target dropped": ("flowers.csv --target kind --drop kind", "other columns than the target"),
    "all dropped": ("flowers.csv --target kind --drop id,length,width,colour", "expected some columns besides kind"),
    "no folder": ("flowers.csv --target kind -o no/m", "there is no folder no; create it"),
    "output is a folder": ("flowers.csv --target kind -o .", "expected a file to write"),
    "output is input": ("flowers.csv --target kind -o ./flowers.csv", "expected another file"),
    "text to regress": ("flowers.csv --target kind --task regression", "row 1, column 'kind'"),
    "identifiers": ("flowers.csv --target id", "expected few classes, got 150"),
    "layers": ("flowers.csv --target kind --layers 8,x", "whole number of at least 1"),
    "rate": ("flowers.csv --target kind --lr -1", "lr: expected a finite number > 0"),
    "share": ("flowers.csv --target kind --validation 1", "validation: expected a number in (0, 1)"),
    "ragged": ("ragged.csv --target b", "ragged.csv: line 3: expected 2 cells"),
    "one class": ("one.csv --target b", "target 'b': expected at least two different values"),
    "constant": ("one.csv --target a", "expected a column to learn from, got none: 'b' is constant"),
    "infinite": ("infinite.csv --target a", "row 2, column 'b': expected a finite number, got inf"),
    "a model": ("net.safetensors --target a -o m", "expected text in UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_TRAINING)
def test_bad_training(what: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nn.Sequential([nn.Dense(3)]).build(2).save("net.safetensors")
    Path("ragged.csv").write_text("a,b\n1,2\n3\n")
    Path("one.csv").write_text("a,b\n" + "1,x\n2,x\n" * 20)
    Path("infinite.csv").write_text("a,b\n1,2\n2,inf\n3,3\n")
    command, words = BAD_TRAINING[what]
    files = {*here.iterdir()}
    arguments = command.split(" ")
    assert cli.main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert {*here.iterdir()} == files


BAD_MODELS = {
    "no model": ("no.safetensors flowers.csv", "no.safetensors: no such file"),
    "no model but a table": ("flowers.csv flowers.csv", "no safetensors file"),
    "a network": ("net.safetensors flowers.csv", "knows no columns"),
    "no file": ("flowers.safetensors no.csv", "no.csv: no such file"),
    "a column lacks": ("flowers.safetensors few.csv", "no column 'width'; did you mean 'widht'?"),
    "text for a number": ("flowers.safetensors text.csv", "row 2, column 'length': expected a number, got 'long'"),
    "infinite": ("flowers.safetensors infinite.csv", "row 1, column 'width': expected a finite number"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize("what", BAD_MODELS)
def test_bad_models(
    command: str, what: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nn.Sequential([nn.Dense(3)]).build(2).save("net.safetensors")
    Path("few.csv").write_text("length,widht,colour,kind\n1,2,red,x\n")
    Path("text.csv").write_text("length,width,colour,kind\n1,2,red,x\nlong,2,red,x\n")
    Path("infinite.csv").write_text("length,width,colour,kind\n1,-inf,red,x\n")
    arguments, words = BAD_MODELS[what]
    assert cli.main([command, *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_bad_outputs_and_truths(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for output, words in {
        "no/out.csv": "there is no folder no",
        "flowers.csv": "expected another file",
        model: "expected another file",
    }.items():
        assert cli.main(["predict", model, "flowers.csv", "-o", output]) == 2
        assert words in capsys.readouterr().err
    rows = "length,width,colour,kind\n1,2,red,x\n1,2,red,w\n"
    for text, words in {
        rows: "row 2, column 'kind': expected one of x, y, z, got 'w'",
        rows.replace("x\n", "\n").replace("w\n", "\n"): "no row has a value",
        rows.replace("kind", "kin"): "no column 'kind'; did you mean 'kin'?",
    }.items():
        Path("bad.csv").write_text(text)
        assert cli.main(["evaluate", model, "bad.csv"]) == 2
        assert words in capsys.readouterr().err


def test_an_infinite_loss_is_code_1(here: Path) -> None:
    words = "train flowers.csv --target length --optimizer sgd --lr 1e30"
    done = run(*words.split())
    assert done.returncode == 1
    assert "try a smaller learning rate" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not Path("flowers.safetensors").exists()


def test_ctrl_c_in_training_leaves_no_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli._Progress, "on_epoch_end", interrupt)
    assert cli.main(["train", "flowers.csv", "--target", "kind"]) == 130
    assert capsys.readouterr().err == "nnfast: interrupted\n"
    assert [path.name for path in here.iterdir()] == ["flowers.csv"]
