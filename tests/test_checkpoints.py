"""Checkpoint files: what is written is read, or refused; the one before is never lost."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child import output

from nnfast import checkpoints
from nnfast.checkpoints import Folder
from nnfast.formats import FormatError, safetensors

TREE = {
    "numbers": [1, 0.1, 2**70, float("inf"), True, None],
    "nested": {"a.b": np.arange(3), "a": {"b": np.eye(2, dtype="f4")}, "text": "é\ud800"},
    "empty": [np.empty(0), {}, []],
    "flags": np.array([True, False]),
}


def test_a_tree_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    scalars = {"half": np.float16(0.5), "tuple": (np.int8(3), "x")}
    checkpoints.write(file, TREE | scalars)
    found = checkpoints.read(file)
    assert found["numbers"] == TREE["numbers"]
    assert found["half"] == 0.5
    assert found["tuple"] == [3, "x"]
    for mine, theirs in (
        (found["nested"]["a.b"], np.arange(3)),
        (found["nested"]["a"]["b"], np.eye(2, dtype="f4")),
        (found["flags"], np.array([True, False])),
        (found["empty"][0], np.empty(0)),
    ):
        assert np.array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert found["nested"]["text"] == "é\ud800"
    safetensors.load(file)  # any reader of the format can read it


@pytest.mark.parametrize("value", [{1: 2}, {"x": {1, 2}}, {"x": [object()]}, {"x": 1j}])
def test_what_is_no_tree_is_named(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"checkpoint, state(\.x(\.0)?)?: expected JSON values"):
        checkpoints.write(tmp_path / "file", {"state": value})
    assert not list(tmp_path.iterdir())


def test_every_altered_byte_and_every_length_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "file"
    checkpoints.write(file, {"theta": np.arange(4, dtype="f4"), "step": 7})
    good = file.read_bytes()
    assert 100 < len(good) < 500
    bad = [good[:n] for n in range(len(good))] + [good + b"\0"]
    for place in range(len(good)):
        for bit in (1, 128):
            bad.append(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
    for data in bad:
        file.write_bytes(data)
        with pytest.raises(FormatError, match=re.escape(str(file))):
            checkpoints.read(file)
    file.write_bytes(good)
    assert checkpoints.read(file)["step"] == 7


def folder(path: Path, saves: int = 3) -> Folder:
    made = Folder(path / "backup")
    made.open()
    for step in range(saves):
        made.save({"step": step})
    return made


def files(path: Path) -> list[Path]:
    return sorted((path / "backup").iterdir())


def test_two_are_kept(tmp_path: Path) -> None:
    assert folder(tmp_path, 0).newest() is None
    made = folder(tmp_path, 12)
    assert [file.name[-14:-12] for file in files(tmp_path)] == ["11", "12"]
    assert made.newest() == {"step": 11}
    assert Folder(tmp_path / "backup").newest() == {"step": 11}
    made.clear()
    assert not (tmp_path / "backup").exists()


def test_other_files_stay(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (tmp_path / "backup" / "notes.txt").write_text("mine")
    (tmp_path / "backup" / ".nnfast-0123456789abcdef.tmp").write_text("of a killed process")
    made.open()
    assert len(files(tmp_path)) == 3
    made.clear()
    assert [file.name for file in files(tmp_path)] == ["notes.txt"]


def test_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    made = folder(tmp_path)
    older, newer = files(tmp_path)
    newer.write_bytes(newer.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match=f"{newer}: the checksum is wrong.*{older.name}"):
        assert made.newest() == {"step": 1}
    made.save({"step": 9})
    assert files(tmp_path)[0] == older  # the damaged one takes no place
    assert made.newest() == {"step": 9}
    for file in files(tmp_path):
        file.write_bytes(b"")
    with pytest.raises(FormatError, match=r"damaged ones alone.*delete the folder"):
        made.newest()
    safetensors.save(files(tmp_path)[1], {"sha256": np.zeros(32, "u1")})
    with pytest.raises(FormatError, match="damaged ones alone"):
        made.newest()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a folder for checkpoints, got a file"):
        folder(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_those_before(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path)
    before = {file: file.read_bytes() for file in files(tmp_path)}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left") as refusal:
            made.save({"step": 3})
    assert "those before it are intact" in refusal.value.__notes__[0]
    assert {file: file.read_bytes() for file in files(tmp_path)} == before
    made.save({"step": 4})
    assert made.newest() == {"step": 4}


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_full_disk_stops_training_and_loses_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes writes fail in the middle of a file, as a full disk does."""
    script = f"""
        import resource, signal
        from nnfast import checkpoints
        path = {str(tmp_path / "backup")!r}
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def limit(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        class Full(nn.Callback):
            def on_epoch_end(self, epoch, logs):
                if epoch == 2:
                    limit(20_000)
        def fit(*callbacks):
            net = network()
            backup = nn.BackupAndRestore(path)
            try:
                net.fit(X, Y, optimizer="adam", epochs=5, batch_size=500, callbacks=[*callbacks, backup])
            except OSError as error:
                print(error.errno, error.__notes__[0].split(";")[1])
            finally:
                limit(resource.RLIM_INFINITY)
            return net
        whole = fit(nn.Callback())
        cut = fit(Full())
        found = sorted(os.listdir(path))
        print(len(found), [checkpoints.read(os.path.join(path, f))["epoch"] for f in found])
        assert np.isfinite(cut.predict(X)).all()
        print(fit(nn.Callback()).theta.tobytes() == whole.theta.tobytes(), os.path.exists(path))
        """
    lines = output(script).splitlines()
    assert (
        lines[0]
        == "27  those before it are intact: make room and start the training again to go on from the last one"
    )
    assert lines[1:] == ["2 [1, 2]", "True False"]
