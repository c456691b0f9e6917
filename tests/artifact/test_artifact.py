"""The artifact folder: the same bytes each time, all or nothing on disk, and no trust when it is read."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_kit import SIZE, chain, contents, input_at, output_at, tensor, weighted_sum

from optc import artifact
from optc.artifact import writing
from optc.artifact.host import HostRequirements
from optc.artifact.sealed import seal
from optc.errors import OptcError
from optc.program import FallbackCall, Program
from optc.runtime import load

Build = Callable[..., Path]
X = np.linspace(-1, 1, SIZE, dtype=np.float32)


@pytest.fixture
def model(build: Build) -> Path:
    program, weights = weighted_sum()
    return build(program, weights)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files(model: Path) -> None:
    expected = ["libmodel.so", "manifest.json", "module.mlir", "optc_model.h", "plan.json", "weights.bin"]
    assert names(model) == expected
    files = artifact.read(model)
    assert files.program == weighted_sum()[0]
    assert files.decisions == {"chosen": []}
    assert files.manifest.program == {
        "kernels": 2, "copies": 1, "branches": 0, "fallbacks": 0, "arena_bytes": 4032, "weights_bytes": 4032,
    }  # fmt: skip
    assert files.manifest.command == "optc compile test.onnx"
    assert names(model.parent) == ["model"]


def test_two_writes_give_the_same_bytes(kernels: bytes, tmp_path: Path) -> None:
    program, weights = weighted_sum()
    folders = [artifact.write(tmp_path / name, contents(program, kernels, weights)) for name in ("a", "b/c/d")]
    assert names(folders[0]) == names(folders[1])
    for name in names(folders[0]):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_every_truncation_is_found(model: Path) -> None:
    for path in sorted(model.iterdir()):
        content = path.read_bytes()
        for size in (0, 1, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(OptcError, match="the artifact is damaged"):
                load(model)
        path.unlink()
        with pytest.raises(OptcError, match=r"the artifact is damaged|is no optc artifact"):
            load(model)
        path.write_bytes(content)
    load(model).close()


def test_every_bit_flip_is_found(model: Path) -> None:
    random = np.random.default_rng(0)
    for path in sorted(model.iterdir()):
        content = path.read_bytes()
        for position in [0, len(content) - 1, *random.integers(0, len(content), 20).tolist()]:
            changed = bytearray(content)
            changed[position] ^= 1 << int(random.integers(8))
            path.write_bytes(changed)
            with pytest.raises(OptcError, match="the artifact is damaged"):
                load(model)
        path.write_bytes(content)
    load(model).close()


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change manifest.json as someone who also mends its checksum would."""
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    del record["checksum"]
    change(record)
    path.write_bytes(seal(record))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema=2), "manifest.json: schema version 2, and this optc reads version 1"),
        (lambda r: r.update(schema="1"), "manifest.json: manifest.schema: expected non-negative int, found '1'"),
        (lambda r: r.pop("host"), "manifest.json: manifest: 'host' is missing"),
        (lambda r: r.update(files=[]), "manifest.json: manifest.files: expected dict, found []"),
        (lambda r: r["files"].pop("libmodel.so"), "manifest.json does not list libmodel.so"),
        (
            lambda r: r["files"].update({"../x": {"bytes": 1, "sha256": ""}}),
            "manifest.json: manifest.files: '../x' is not a plain file name",
        ),
        (lambda r: r["files"]["weights.bin"].update(bytes=-1),
         "manifest.json: manifest.files.weights.bin.bytes: expected non-negative int, found -1"),
        (lambda r: r["inputs"][0].update(shape=[7]), "plan.json and manifest.json name different inputs or outputs"),
        (lambda r: r["inputs"][0].update(shape=[True]),
         "manifest.json: manifest.inputs.shape: expected non-negative int, found True"),
    ],
)  # fmt: skip
def test_manifest_faults(model: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    rewrite_manifest(model, change)
    with pytest.raises(OptcError) as failure:
        artifact.read(model)
    assert str(failure.value) == f"the artifact is damaged\n  at {model}\n  {message}\n  hint: compile the model again"


def rewrite_plan(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "plan.json"
    record = json.loads(path.read_bytes())
    change(record["program"])
    path.write_text(json.dumps(record))
    entry = writing._write_file(path, [path.read_bytes()])
    rewrite_manifest(folder, lambda r: r["files"].update({"plan.json": dataclasses.asdict(entry)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["steps"][0]["arguments"][2].__setitem__(2, 64),
         "kernel add uses bytes 64 to 4064 of arena, which has 4032"),
        (lambda p: p["steps"][0]["arguments"][2].__setitem__(2, 2**70),
         f"kernel add uses bytes {2**70} to {2**70 + 4000} of arena, which has 4032"),
        (lambda p: p["steps"][0]["arguments"][0].__setitem__(1, 3), "kernel add uses input 3, which has no buffer"),
        (lambda p: p["steps"][0]["arguments"][0].__setitem__(0, "stack"),
         "program.steps[0].arguments: expected [space, index, offset, bytes]"),
        (lambda p: p["steps"][0].update(kernel="a b"), "kernel name 'a b' is not a C identifier"),
        (lambda p: p["steps"][2]["copy"].reverse(), "a copy writes to weights, which is read-only"),
        (lambda p: p["steps"][2]["copy"][0].__setitem__(3, 64),
         "a copy has a source and a destination of different sizes"),
        (lambda p: p["steps"].append({"jump": 1}),
         "program.steps[3]: neither a kernel, a copy, a branch nor a fallback"),
        (lambda p: p["steps"].append({"fallback": "x.onnx", "inputs": [], "outputs": [], "label": "", "reason": ""}),
         "the program calls x.onnx, which manifest.json does not list"),
        (lambda p: p.update(weights_bytes=8064), "weights.bin has 4032 bytes, and the program uses 8064"),
        (lambda p: p["inputs"][0].update(dtype="float31"), "input 'x' has the unknown element type 'float31'"),
    ],
)  # fmt: skip
def test_plan_faults(model: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    rewrite_plan(model, change)
    with pytest.raises(OptcError) as failure:
        artifact.read(model)
    assert failure.value.why == message


def test_links_are_refused(model: Path) -> None:
    weights = model / "weights.bin"
    weights.rename(model.parent / "elsewhere")
    weights.symlink_to(model.parent / "elsewhere")
    with pytest.raises(OptcError, match=r"weights\.bin is not a regular file"):
        artifact.read(model)


def test_no_artifact(tmp_path: Path) -> None:
    for path, message in [
        (tmp_path / "none", "the artifact does not exist"),
        (Path(__file__), "the artifact is no folder"),
        (tmp_path, "the folder is no optc artifact"),
    ]:
        with pytest.raises(OptcError) as failure:
            load(path)
        assert failure.value.what == message


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (HostRequirements("linux", "riscv64"), "the artifact was compiled for another kind of machine"),
        (
            HostRequirements("linux", os.uname().machine, ("avx9",)),
            "the artifact needs CPU features that this machine lacks",
        ),
    ],
)
def test_other_hosts(kernels: bytes, tmp_path: Path, host: HostRequirements, message: str) -> None:
    made = dataclasses.replace(contents(chain("negate"), kernels), host=host)
    folder = artifact.write(tmp_path / "model", made)
    with pytest.raises(OptcError) as failure:
        load(folder)
    assert failure.value.what == message
    assert artifact.read(folder, check_host=False).manifest.host == host


def test_only_artifacts_are_replaced(model: Path, kernels: bytes, tmp_path: Path) -> None:
    made = contents(chain("negate"), kernels)
    empty = tmp_path / "empty"
    empty.mkdir()
    artifact.write(empty, made)
    artifact.write(model, made)
    assert "negate" in (model / "plan.json").read_text()

    (model / "notes.txt").write_text("mine")
    with pytest.raises(OptcError) as failure:
        artifact.write(model, made)
    assert str(failure.value) == (
        f"the output folder holds files beside an artifact\n  at {model}\n  notes.txt would be lost\n"
        "  hint: choose another output folder, or remove it yourself"
    )
    assert (model / "notes.txt").read_text() == "mine"

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(OptcError, match="the output folder exists and is no optc artifact"):
        artifact.write(foreign, made)
    with pytest.raises(OptcError, match="the output exists and is no folder"):
        artifact.write(foreign / "manifest.json", made)
    assert names(tmp_path) == ["empty", "foreign", "model"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_failed_write_changes_nothing(
    model: Path, kernels: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    real = writing._write_file
    for last in ("libmodel.so", "weights.bin", "manifest.json"):

        def fail(path: Path, pieces: Any, last: str = last) -> Any:
            if path.name == last:
                path.write_bytes(b"half")
                raise OSError(code, os.strerror(code), str(path))
            return real(path, pieces)

        monkeypatch.setattr(writing, "_write_file", fail)
        for folder in (model, tmp_path / "new" / "deep"):
            with pytest.raises(OptcError) as failure:
                artifact.write(folder, contents(chain("negate"), kernels))
            assert failure.value.what == "the artifact cannot be written"
            assert failure.value.where == str(folder)
            assert failure.value.why == os.strerror(code)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert names(tmp_path) == ["model"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError) as failure:
        writing._write_file(Path("/dev/full"), [b"content"])
    assert failure.value.errno == errno.ENOSPC


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders")
def test_a_read_only_folder(kernels: bytes, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OptcError, match="the artifact cannot be written"):
            artifact.write(tmp_path / "model", contents(chain("negate"), kernels))
    finally:
        tmp_path.chmod(0o700)


def test_without_an_atomic_exchange(model: Path, kernels: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda first, second: False)
    artifact.write(model, contents(chain("negate"), kernels))
    assert "negate" in (model / "plan.json").read_text()
    assert names(model.parent) == ["model"]

    before = (model / "plan.json").read_bytes()
    rename = os.rename

    def fail(source: Any, destination: Any) -> None:
        if str(source).endswith(".partial"):
            raise OSError(errno.EIO, "broken disk")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OptcError, match="broken disk"):
        artifact.write(model, contents(chain("twice"), kernels))
    assert (model / "plan.json").read_bytes() == before
    assert names(model.parent) == ["model"]


def test_staging(kernels: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with artifact.stage(folder) as staging:
        staging.fill(contents(chain("negate"), kernels))
        with load(staging.folder) as staged:
            np.testing.assert_array_equal(staged.run({"x": X})["y"], -X)
        staging.annotate(cost={"measured_seconds": 1.5}, verification={"passed": True})
        assert not folder.exists()
        staging.commit()
    read = artifact.read(folder).manifest
    assert read.cost == {"measured_seconds": 1.5}
    assert read.verification == {"passed": True}
    with artifact.stage(folder) as staging:
        staging.fill(contents(chain("twice"), kernels))
    assert artifact.read(folder).manifest == read
    assert names(tmp_path) == ["model"]


def test_fallback_files(kernels: bytes, tmp_path: Path) -> None:
    call = FallbackCall("part.onnx", ((tensor("x"), input_at(0)),), ((tensor("y"), output_at(0)),), "l", "r")
    program = Program((tensor("x"),), (tensor("y"),), 0, 0, (call,))
    folder = artifact.write(tmp_path / "model", contents(program, kernels, fallbacks={"part.onnx": b"onnx"}))
    assert (folder / "part.onnx").read_bytes() == b"onnx"
    assert artifact.read(folder).program == program


def test_files_that_would_fill_the_memory_are_refused(model: Path) -> None:
    plan = model / "plan.json"
    content = plan.read_bytes()
    os.truncate(plan, 1 << 40)  # takes no space
    rewrite_manifest(model, lambda record: record["files"]["plan.json"].update(bytes=1 << 40))
    with pytest.raises(OptcError, match=r"plan\.json is too large"):
        artifact.read(model)
    plan.write_bytes(content)
    os.truncate(model / "manifest.json", 1 << 40)
    with pytest.raises(OptcError, match=r"manifest\.json is too large"):
        artifact.read(model)


def test_pipes_and_folders_in_place_of_files_are_refused(model: Path) -> None:
    for name in ("weights.bin", "manifest.json"):
        content = (model / name).read_bytes()
        (model / name).unlink()
        os.mkfifo(model / name)
        with pytest.raises(OptcError, match=f"{name} is not a regular file"):
            artifact.read(model)
        (model / name).unlink()
        (model / name).mkdir()
        with pytest.raises(OptcError, match=f"{name} is not a regular file"):
            artifact.read(model)
        (model / name).rmdir()
        (model / name).write_bytes(content)
    artifact.read(model)


def test_nothing_is_written_through_a_link_inside_the_output(kernels: bytes, model: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (model / "weights.bin").unlink()
    (model / "weights.bin").symlink_to(victim)
    program, weights = weighted_sum()
    artifact.write(model, contents(program, kernels, weights))
    assert victim.read_text() == "mine" and not (model / "weights.bin").is_symlink()
    artifact.read(model)
