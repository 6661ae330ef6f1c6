"""Safetensors: our files in the official reader and back, hostile files, and writing whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnfast import formats
from nnfast.formats import FormatError
from nnfast.formats import safetensors as st

RANDOM = np.random.default_rng(0)
TENSORS = {
    "a": RANDOM.normal(size=(3, 4)),
    "swapped": RANDOM.normal(size=5).astype(">f4"),
    "strided": RANDOM.normal(size=(4, 6)).astype("f4").T[::2],
    "reversed": np.arange(7, dtype="f4")[::-1],
    "Fortran": np.asfortranarray(RANDOM.normal(size=(3, 2))),
    "scalar": np.array(3, "i2"),
    "bool": np.array([True, False, True]),
    "empty": np.zeros((0, 3), "f2"),
    "": np.ones(1),
    '\u00fc\u20ac \U0001f600 "\\\n\0': np.ones(2, "f4"),
    "special": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]),
    **{
        code: np.arange(3).astype(code)
        for code in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", ">u8"]
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype.newbyteorder("=")
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.astype(got[name].dtype).tobytes()


def test_round_trip(file: Path) -> None:
    st.save(file, TENSORS, {"k": "v\u20ac", "": ""})
    got, metadata = st.load(file)
    same(got, TENSORS)
    assert list(got) == list(TENSORS)
    assert metadata == {"k": "v\u20ac", "": ""}
    assert all(array.flags.writeable and array.flags.aligned for array in got.values())
    st.save(file, {})
    assert st.load(file) == ({}, {})


def test_the_official_library_reads_our_files_and_we_read_its(file: Path) -> None:
    official = pytest.importorskip("safetensors.numpy")
    st.save(file, TENSORS, {"k": "v"})
    same(official.load_file(file), TENSORS)
    native = {name: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("=")).reshape(a.shape))
              for name, a in TENSORS.items()}  # fmt: skip
    native["scalar"] = native["scalar"].reshape(())
    official.save_file(native, file, {"k": "v"})
    got, metadata = st.load(file)
    same(got, TENSORS)
    assert metadata == {"k": "v"}


def test_the_same_arrays_give_the_same_file(file: Path) -> None:
    st.save(file, TENSORS, {"k": "v"})
    first = file.read_bytes()
    st.save(file, TENSORS, {"k": "v"})
    assert file.read_bytes() == first
    assert int.from_bytes(first[:8], "little") % 8 == 0


UNSAVABLE = {
    "the name of the metadata": {"__metadata__": np.ones(1)},
    "complex": {"x": np.ones(1, complex)},
    "objects": {"x": np.array([object()])},
    "texts": {"x": np.array(["a"])},
    "dates": {"x": np.array(["2020-01-01"], "M8[D]")},
    "records": {"x": np.zeros(1, [("a", "f4")])},
    "long doubles": {"x": np.ones(1, np.longdouble)},
    "half a surrogate": {"\ud800": np.ones(1)},
    "a number as a name": {1: np.ones(1)},
}


@pytest.mark.parametrize("what", UNSAVABLE)
def test_what_cannot_be_saved_leaves_the_old_file(what: str, file: Path) -> None:
    st.save(file, {"old": np.ones(3)})
    with pytest.raises(FormatError):
        st.save(file, UNSAVABLE[what])
    assert list(st.load(file)[0]) == ["old"]
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize("metadata", [{"k": 1}, {"k": "\ud800"}, {1: "v"}, {"k": None}])
def test_metadata_is_text(metadata: Any, file: Path) -> None:
    with pytest.raises(FormatError, match="metadata"):
        st.save(file, {}, metadata)
    assert not file.exists()


# ---- hostile files ----


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}


def write(path: Path, header: Any, data: bytes = b"abcd", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


GOOD = json.dumps({"x": entry()}).encode()
HOSTILE: dict[str, tuple[Any, ...]] = {
    # header, data, length of the header as the file says it
    "no header": (b"",),
    "a list": (b"[]",),
    "a space first": (b" " + GOOD,),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD,),
    "cut off": (GOOD[:-1],),
    "words behind": (GOOD + b"x",),
    "two objects": (GOOD + GOOD,),
    "nested objects": (b'{"a":' * 100_000,),
    "nested lists": (b'{"a":' + b"[" * 100_000,),
    "UTF-16": (GOOD.decode().encode("utf-16"),),
    "broken UTF-8": (b'{"\xff":' + GOOD[5:],),
    "half a surrogate": (b'{"\\ud800' + GOOD[3:],),
    "a control character": (b'{"\n' + GOOD[3:],),
    "NaN": (b'{"x":NaN}',),
    "Infinity": (GOOD.replace(b"[1]", b"[Infinity]"),),
    "1e999": (GOOD.replace(b"[1]", b"[1e999]"),),
    "-0 as a float": (GOOD.replace(b"[0, 4]", b"[-0.0, 4]"),),
    "a number of 5000 digits": (GOOD.replace(b"[1]", b"[" + b"9" * 5000 + b"]"),),
    "a name twice": (b'{"x":' + GOOD[5:-1] + b"," + GOOD[1:],),
    "a key twice": (GOOD.replace(b'"shape"', b'"dtype": "F32", "shape"'),),
    "metadata twice": (b'{"__metadata__":{"a":"b","a":"c"}}', b""),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b""),
    "metadata as a list": ({"__metadata__": ["a"]}, b""),
    "metadata null": ({"__metadata__": None}, b""),
    "metadata half a surrogate": (b'{"__metadata__":{"a":"\\ud800"}}', b""),
    "an entry is a number": ({"x": 3},),
    "an entry is null": ({"x": None},),
    "a field too many": ({"x": entry(q=1)},),
    "a field is missing": ({"x": {"dtype": "F32", "shape": [1]}},),
    "dtype bfloat16": ({"x": entry(dtype="BF16", shape=[2])},),
    "dtype of four bits": ({"x": entry(dtype="F4", shape=[8])},),
    "dtype unknown": ({"x": entry(dtype="f32")},),
    "dtype a list": ({"x": entry(dtype=["F32"])},),
    "dtype null": ({"x": entry(dtype=None)},),
    "BOOL of other bytes": ({"x": entry(dtype="BOOL", shape=[4])},),
    "shape wrong": ({"x": entry(shape=[2])},),
    "shape negative": ({"x": entry(shape=[-1])},),
    "both negative": ({"x": entry(shape=[-1, -1])},),
    "shape of a float": ({"x": entry(shape=[1.0])},),
    "shape of a truth": ({"x": entry(shape=[True])},),
    "shape of a text": ({"x": entry(shape="1")},),
    "shape null": ({"x": entry(shape=None)},),
    "many axes": ({"x": entry(shape=[1] * 40)},),
    "an overflow to nothing": ({"x": entry(shape=[2**32, 2**32], data_offsets=[0, 0])}, b""),
    "zero times much": ({"x": entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0])}, b""),
    "beyond 64 bits": ({"x": entry(shape=[2**64 + 1])},),
    "offsets of floats": ({"x": entry(data_offsets=[0, 4.0])},),
    "offsets of truths": ({"x": entry(shape=[], data_offsets=[False, 4])},),
    "offsets swapped": ({"x": entry(data_offsets=[4, 0])},),
    "offsets negative": ({"x": entry(data_offsets=[-4, 0])},),
    "offsets three": ({"x": entry(data_offsets=[0, 4, 4])},),
    "offsets one": ({"x": entry(data_offsets=[4])},),
    "a hole before": ({"x": entry(data_offsets=[4, 8])}, b"abcdabcd"),
    "a hole between": ({"x": entry(), "y": entry(data_offsets=[8, 12])}, b"abcd" * 3),
    "an overlap": ({"x": entry(), "y": entry()},),
    "half an overlap": ({"x": entry(), "y": entry(data_offsets=[2, 6])}, b"abcdef"),
    "beyond the file": ({"x": entry(shape=[2], data_offsets=[0, 8])},),
    "bytes behind": ({"x": entry()}, b"abcde"),
    "bytes of nobody": ({},),
    "header length 2**63": (GOOD, b"abcd", 2**63),
    "header length 2**64 - 1": (GOOD, b"abcd", 2**64 - 1),
    "header length over the file": (GOOD, b"abcd", len(GOOD) + 5),
    "header length over 16 MiB": (GOOD + b" " * (17 << 20),),
    "header length short": (GOOD, b"abcd", 3),
    "header length 0": (GOOD, b"abcd", 0),
    "65,537 tensors": ({str(i): entry(shape=[0], data_offsets=[0, 0]) for i in range(65_537)}, b""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused(what: str, file: Path) -> None:
    write(file, *HOSTILE[what])
    begin = time.perf_counter()
    with pytest.raises(FormatError) as refusal:
        st.load(file)
    assert time.perf_counter() - begin < 2
    message = str(refusal.value)
    assert message.startswith(str(file))
    assert len(message) < 600 + len(str(file))


STRICTER = {  # than the official reader, on purpose
    "a name twice", "a key twice", "metadata twice", "bytes of nobody", "an entry is a number",
    "dtype bfloat16", "dtype of four bits", "BOOL of other bytes", "many axes", "65,537 tensors",
    "a field too many", "header length over 16 MiB", "zero times much", "metadata null",
    "offsets of truths", "header length 0", "nested lists", "a space first",
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(set(HOSTILE) - STRICTER))
def test_the_official_library_refuses_them_too(what: str, file: Path) -> None:
    official = pytest.importorskip("safetensors")
    write(file, *HOSTILE[what])
    with pytest.raises(official.SafetensorError), official.safe_open(file, "np") as opened:
        opened.keys()


def test_every_truncation_is_refused(file: Path) -> None:
    write(file, GOOD)
    whole = file.read_bytes()
    assert st.load(file)[0]["x"].tobytes() == b"abcd"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            st.load(file)


def test_a_flipped_bit_never_does_more_than_change_numbers(file: Path) -> None:
    st.save(file, {"x": np.ones(3, "f4"), "y": np.ones((2, 2))}, {"k": "v"})
    whole = file.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[position] ^= 1 << bit
            file.write_bytes(broken)
            try:
                tensors, _ = st.load(file)
            except FormatError:
                continue
            assert sum(array.nbytes for array in tensors.values()) == 44


def test_a_small_file_claims_no_memory(file: Path) -> None:
    import tracemalloc

    size = 1 << 40
    write(file, {"x": entry(dtype="U8", shape=[size], data_offsets=[0, size])})
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            st.load(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["missing", "."])
def test_a_path_that_is_no_file_is_an_os_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=path):
        st.load(tmp_path / path)


# ---- whole or not at all ----


@pytest.mark.parametrize("step", ["fsync", "replace", "open", "write"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file(
    step: str, error: BaseException, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.save(file, {"old": np.ones(3)})
    before = file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise error

    if step == "open":
        monkeypatch.setattr(formats, "open", fail, raising=False)
    elif step != "write":
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)), formats.replacing(file) as temporary:
        temporary.write(b"new")
        if step == "write":
            raise error
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_order_of_the_system_calls(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def spy(*arguments: Any, name: str = name, original: Any = original) -> Any:
            folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            calls.append("fsync folder" if folder else name)
            return original(*arguments)

        monkeypatch.setattr(os, name, spy)
    st.save(file, {"x": np.ones(3)})
    assert calls == ["fsync", "replace", "fsync folder"]


@pytest.mark.skipif(os.name != "posix", reason="needs modes")
def test_mode_and_links(file: Path) -> None:
    umask = os.umask(0o027)
    try:
        st.save(file, {})
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
    finally:
        os.umask(umask)
    file.chmod(0o600)
    link = file.with_name("link")
    link.symlink_to(file.name)
    st.save(link, {"new": np.ones(1)})
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(st.load(file)[0]) == ["new"]


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x: there is no folder .*none; create it first"):
        st.save(tmp_path / "none" / "x", {"x": np.ones(1)})
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder: expected a file to write, got a folder"):
        st.save(tmp_path / "folder", {"x": np.ones(1)})
    assert [file.name for file in tmp_path.rglob("*")] == ["folder"]


def test_a_full_disk_says_which_file_was_written(file: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=f"'{file}'"), formats.replacing(file):
        raise full


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_written_to_and_stays(file: Path) -> None:
    """As is a device: /dev/null, replaced by a file, would break the machine."""
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        st.save(file, {"x": np.ones(3)})
        written = os.read(reader, 1 << 12)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(file.stat().st_mode)
    file.unlink()
    st.save(file, {"x": np.ones(3)})
    assert file.read_bytes() == written


def test_reading_runs_no_code() -> None:
    """No module of the formats knows how to run what a file says."""
    import ast

    for source in Path(formats.__file__).parent.glob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(source.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import | ast.ImportFrom)
                else [node.id] if isinstance(node, ast.Name) else []
            )
        }  # fmt: skip
        assert not names & {
            "pickle",
            "marshal",
            "shelve",
            "eval",
            "exec",
            "importlib",
            "__import__",
        }
