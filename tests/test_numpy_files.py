"""Files of arrays: NumPy's own are read as NumPy reads them; what others made is refused before it takes memory."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc import numpy_files
from optc.numpy_files import ArrayFault, ArrayFile

TB = 1 << 40


def header(shape: str, descr: str = "'<f4'", version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little") + text


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


def forged(path: Path) -> None:
    """An archive of some bytes whose directory says that they unfold to 4 GB, and whose array says that it has 1 TB."""
    archive(path, {"x.npy": header(f"({TB // 4},)") + bytes(400)})
    content = bytearray(path.read_bytes())
    for place, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = content.index(place) + offset
        content[at : at + 4] = b"\xfe\xff\xff\xff"
    path.write_bytes(content)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(["<f4", ">i2", "u1", "bool", "<U3", "V2", "c8"]),
    st.sampled_from("CF"),
    st.sampled_from([np.save, np.savez, np.savez_compressed]),
    st.booleans(),
)
def test_what_numpy_writes(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], dtype: str, order: str, save: object, mapped: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("a.npy" if save is np.save else "a.npz")
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).astype("u1").astype(dtype).reshape(shape), order=order)  # type: ignore[call-overload]
    save(path, array)  # type: ignore[operator]
    found = ArrayFile(path, mapped=mapped).only
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(found, array)


def test_arrays_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    arrays = {"images": np.ones((9, 2)), "a/b:0": np.arange(3)}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    found = ArrayFile(tmp_path / "a.npz")
    assert sorted(found) == sorted(arrays) and "labels" not in found
    np.testing.assert_array_equal(found["a/b:0"], arrays["a/b:0"])
    with pytest.raises(ArrayFault, match="it holds 2 arrays in place of one"):
        _ = found.only
    np.save(tmp_path / "b.npy", np.ones((4, 5)))
    assert isinstance(ArrayFile(tmp_path / "b.npy", mapped=True).only, np.memmap)


NPY = {
    "terabyte": (header(f"({TB // 4},)") + bytes(64), "its header promises 1.0 TB, and 64 bytes follow: it was cut"),
    "overflow": (header("(4294967296, 4294967296, 4)"), "its header promises 268435456.0 TB, and 0 bytes follow"),
    "negative": (header("(-1, 4)"), "its header names a negative extent"),
    "wide": (header("(1,)", "'<U500000000'"), "its header promises 1.9 GB, and 0 bytes follow"),
    "empty elements": (header("(9" + "0" * 30 + ",)", "'|S0'"), ""),
    "pickle": (header("(1,)", "'|O'") + pickle.dumps([1]), "its elements are Python objects (pickles), which are not"),
    "bare pickle": (pickle.dumps({"x": 1}), "it begins as no .npy or .npz file; pickles are not read"),
    "no shape": (header("open('/etc/passwd')"), ""),
    "nested": (header("(" * 5000 + ")" * 5000), ""),
    "long": (header("(1,)" + " " * 60_000, version=b"\x02\x00"), "Header info length"),
    "version": (header("(1,)", version=b"\x07\x00"), "version 7.0 of the format is for records with names beyond"),
    "cut": (header("(1,)")[:20], ""),
    "nothing": (b"", "it begins as no .npy or .npz file"),
}


@pytest.mark.parametrize("name", NPY)
def test_headers_that_lie(name: str, tmp_path: Path) -> None:
    content, why = NPY[name]
    archive(tmp_path / "a.npz", {"x.npy": content})
    (tmp_path / "a.npy").write_bytes(content)
    for file in ("a.npy", "a.npz"):
        with pytest.raises(ArrayFault) as caught:
            _ = ArrayFile(tmp_path / file).only
        text = str(caught.value)
        assert 0 < len(text) < 200 and "\n" not in text
        if file == "a.npy" and why:
            assert text.startswith(why)


def test_archives_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that says it is a terabyte; one that is large; several; and what is no array, or encrypted."""
    path = tmp_path / "a.npz"
    forged(path)
    with pytest.raises(
        ArrayFault, match=r"its \d+ bytes would unfold to 4.0 GB, over 100 times as much; numpy.savez wri"
    ):
        ArrayFile(path)
    archive(path, {f"x{number}.npy": header("(3000000,)", "'u1'") + bytes(3_000_000) for number in range(10)})
    assert len(ArrayFile(path)) == 10
    monkeypatch.setattr(numpy_files, "UNFOLDED_BYTES", 1 << 20)
    with pytest.raises(ArrayFault, match=r"would unfold to 28.6 MB"):
        ArrayFile(path)
    archive(path, {"x.npy": header("(3,)"), "notes.txt": b"hello"})
    with pytest.raises(ArrayFault, match=r"'x' in it: its header promises 12 bytes, and 0 bytes follow"):
        ArrayFile(path)
    archive(path, {"notes.txt": b"hello"})
    with pytest.raises(ArrayFault, match=r"'notes.txt' in it is no array, or there twice"):
        ArrayFile(path)
    archive(path, {"x.npy": header("(1,)") + bytes(4)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArrayFault, match="encrypted"):
        ArrayFile(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(ArrayFault, match="it is no regular file"):
        ArrayFile(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        ArrayFile(tmp_path / "none.npy")


def test_a_sparse_file_larger_than_memory(tmp_path: Path) -> None:
    """Whole as it is, it can be mapped, and not read."""
    path = tmp_path / "a.npy"
    content = header(f"({TB}, 8)", "'u1'")
    try:
        with path.open("wb") as file:
            file.write(content)
            file.truncate(len(content) + 8 * TB)
    except OSError:
        pytest.skip("the file system has no such large files")
    with pytest.raises(ArrayFault, match=r"it holds 8.0 TB, and this machine has .* of memory"):
        ArrayFile(path)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(data=st.data())
def test_any_damage_is_a_fault_or_an_array(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    save, name = data.draw(st.sampled_from([(np.save, "d.npy"), (np.savez, "d.npz"), (np.savez_compressed, "d.npz")]))
    with (folder / name).open("wb") as file:
        save(file, np.arange(12, dtype=np.float32).reshape(3, 4))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert all(array.nbytes < 1 << 20 for array in dict(ArrayFile(folder / name)).values())
    except ArrayFault as fault:
        assert "\n" not in str(fault)


def test_commands_refuse_in_little_memory(tmp_path: Path) -> None:
    """Every way in, in an address space of 3 GB: one short error for each, and no traceback."""
    (tmp_path / "lie.npy").write_bytes(header(f"({TB // 4},)") + bytes(64))
    forged(tmp_path / "bomb.npz")
    script = (
        "from optc.cli.arrays import read_inputs; from optc.driver.quantization.data import Data, read_labels\n"
        "from pathlib import Path; from optc.errors import OptcError; import sys\n"
        "for read in (lambda p: read_inputs([f'x={p}']), lambda p: Data(p, []), lambda p: read_labels(Path(p))):\n"
        "  for path in sys.argv[1:]:\n"
        "    try: read(path)\n"
        "    except OptcError as error: print(error.what, '|', error.why)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "lie.npy", "bomb.npz"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
        capture_output=True,
        text=True,
        check=False,
    )
    lie, bomb = "its header promises 1.0 TB, and 64 bytes follow: it was cut, or is damaged", "would unfold to 4.0 GB"
    lines = done.stdout.splitlines()
    starts = ("the input file holds no NumPy array", "the calibration data cannot be read", "the labels cannot be read")
    assert len(lines) == 6 and done.stderr == ""
    for what, (first, second) in zip(starts, zip(lines[::2], lines[1::2], strict=True), strict=True):
        assert first == f"{what} | {lie}" and second.startswith(f"{what} | its ") and bomb in second
