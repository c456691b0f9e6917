"""The artifact loader: a folder in which one file was replaced, its checksum made right, is read or refused."""

from __future__ import annotations

import atexit
import copy
import hashlib
import json
import random
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import native_kit
from fuzzing.surface import Surface

from optc import artifact
from optc.artifact.host import HostRequirements
from optc.artifact.manifest import MANIFEST
from optc.artifact.reading import read
from optc.artifact.sealed import seal
from optc.artifact.writing import PLAN
from optc.errors import OptcError
from optc.program import FallbackCall
from optc.targets.host import detect

_FILES = (MANIFEST, PLAN)
_VALUES = (None, True, -1, 0, 1 << 31, 1 << 63, 1 << 200, 1.5, 1e400, "", "../x", "\ud800", [], {})


@cache
def _folder() -> Path:
    """A valid artifact, written once."""
    parent = Path(tempfile.mkdtemp(prefix="optc-fuzz-"))
    atexit.register(shutil.rmtree, parent, True)
    program, weights = native_kit.weighted_sum()
    ends = (native_kit.tensor("a"), native_kit.slot(0)), (native_kit.tensor("b"), native_kit.output_at(0))
    cut = FallbackCall("region0.onnx", ends[:1], ends[1:], "sort", "no kernel")
    steps = (*program.steps[:1], cut, *program.steps[2:])
    contents = artifact.Contents(
        program=replace(program, steps=steps),
        target="cpu",
        host=HostRequirements("linux", detect().architecture),
        library=b"never loaded",
        header=b"",
        weights=[weights],
        module="module {}\n",
        decisions={"chosen": []},
        fallbacks={"region0.onnx": b"never loaded"},
        command="optc compile test.onnx",
    )
    artifact.write(parent / "model", contents)
    return parent / "model"


@cache
def _originals() -> dict[str, bytes]:
    return {name: (_folder() / name).read_bytes() for name in _FILES}


def seeds() -> list[bytes]:
    """One byte that names the file, then its content."""
    return [bytes([index]) + _originals()[name] for index, name in enumerate(_FILES)]


def run(data: bytes) -> None:
    """Put the content in place, with the checksums that it should have, and read the folder."""
    if not data:
        return
    folder, name, content = _folder(), _FILES[data[0] % len(_FILES)], data[1:]
    for other, original in _originals().items():
        (folder / other).write_bytes(original)
    (folder / name).write_bytes(content)
    if name != MANIFEST:
        record = json.loads(_originals()[MANIFEST])
        record["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        content = json.dumps(record).encode()
    (folder / MANIFEST).write_bytes(_sealed(content))
    try:
        read(folder)
    except OptcError as error:
        assert 0 < len(str(error)) < 4000, str(error)


def _sealed(content: bytes) -> bytes:
    """A manifest with the checksum that belongs to it, where it is one."""
    try:
        record = json.loads(content)
        record.pop("checksum", None)
        return seal(record)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return content


def mutate(data: bytes, choices: random.Random) -> bytes:
    """Change one member of the JSON, anywhere in it."""
    try:
        record = json.loads(data[1:])
    except (ValueError, RecursionError):
        return data
    for _ in range(choices.randint(1, 3)):
        _change(record, choices)
    return data[:1] + json.dumps(record).encode()


def _change(record: object, choices: random.Random) -> None:
    places: list[tuple[dict | list, object]] = []
    waiting = [record]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            places += [(item, key) for key in item]
            waiting += item.values()
        elif isinstance(item, list):
            places += [(item, index) for index in range(len(item))]
            waiting += item
    if not places:
        return
    container, key = choices.choice(places)
    if choices.random() < 0.2:
        del container[key]  # type: ignore[arg-type]
        return
    other, name = choices.choice(places)
    values = [*_VALUES, copy.deepcopy(other[name])]  # type: ignore[index]
    container[key] = choices.choice(values)  # type: ignore[index]


SURFACE = Surface("artifact_folder", seeds, run, mutate)
