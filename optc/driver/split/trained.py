"""Halves that were changed at the cut, and trained: as they are given, and kept as a folder.

The folder holds `device.onnx`, `server.onnx`, the tables that the codec reads, and `way.json` about them:

    write_trained(trained_way(model, images, drop=0.006), "narrow/")
    optc split model.onnx --device rpi4 --link wifi --bottleneck narrow/ -o build/
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optc.artifact.checks import FormatFault, expect, member
from optc.artifact.sealed import seal, unseal
from optc.errors import OptcError
from optc.frontends import load_model
from optc.ops.onnx_export import to_onnx_model

WAY = "way.json"
DEVICE, SERVER = "device.onnx", "server.onnx"
SCHEMA = 1
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
_LIMIT = 16 << 20


@dataclass(frozen=True)
class TrainedWay:
    """Halves that were changed at the cut, and trained: ready models with a name each for what crosses.

    Attributes:
        name: of the way.
        device: a model (anything that `load_model` takes) from inputs of the whole model to what is sent.
        server: a model from what is sent to the outputs.
        encodings: by the name of each value that is sent; what is not named is sent raw.
        sizes: bytes by name, measured after encoding; what is not named counts as it lies in memory.
        drop: accuracy lost, as a share; None: not measured.
        details: for people and controllers: width, exit and so on.
        files: for the way's folder, by name: tables that the codec reads.
        exit: an output of `device`, bool: where it is true, the outputs of the model that `device` gives as well are
            the answer, and nothing is sent.
        leaves: share of the requests that leave there, as far as the training knows.
    """

    name: str
    device: Any
    server: Any
    encodings: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    drop: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    exit: str | None = None
    leaves: float = 0.0


def write_trained(way: TrainedWay, folder: str | Path) -> None:
    """Keep a way as a folder.

    Raises:
        OptcError: the disk does not take it, or the folder exists.
    """
    place = Path(folder)
    record = {
        "schema": SCHEMA,
        "name": way.name,
        "encodings": dict(way.encodings),
        "sizes": dict(way.sizes),
        "drop": way.drop,
        "details": dict(way.details),
        "files": sorted(way.files),
        "exit": way.exit,
        "leaves": way.leaves,
    }
    halves = {name: _onnx(half) for name, half in ((DEVICE, way.device), (SERVER, way.server))}
    try:
        place.mkdir(parents=True)
    except OSError as fault:
        raise OptcError("the trained way cannot be written", where=str(folder), why=fault.strerror) from fault
    try:
        for name, content in {**halves, **way.files, WAY: seal(record)}.items():
            (place / name).write_bytes(content)
    except OSError as fault:
        shutil.rmtree(place, ignore_errors=True)
        raise OptcError("the trained way cannot be written", where=str(folder), why=fault.strerror) from fault


def read_trained(folder: str | Path) -> TrainedWay:
    """The inverse of `write_trained`.

    Raises:
        OptcError: it is no such folder, or it was changed.
    """
    place = Path(folder)
    try:
        record = unseal(_content(place / WAY), SCHEMA, "way")
        files = [expect(name, str, "way.files") for name in member(record, "files", list, "way")]
        if unknown := [name for name in files if not _FILE.fullmatch(name)]:
            raise FormatFault(f"way.files: '{unknown[0]}' is no name of a file")
        sizes = member(record, "sizes", dict, "way")
        encodings = member(record, "encodings", dict, "way")
        return TrainedWay(
            member(record, "name", str, "way"),
            place / DEVICE,
            place / SERVER,
            {name: member(encodings, name, str, "way.encodings") for name in encodings},
            {name: member(sizes, name, int, "way.sizes") for name in sizes},
            _share(record.get("drop"), "way.drop"),
            member(record, "details", dict, "way"),
            {name: _content(place / name) for name in files},
            None if record.get("exit") is None else member(record, "exit", str, "way"),
            _share(record.get("leaves"), "way.leaves") or 0.0,
        )
    except OSError as fault:
        why, hint = fault.strerror, "optc.driver.split.trained.write_trained makes one"
        raise OptcError("there is no trained way", where=str(fault.filename), why=why, hint=hint) from fault
    except FormatFault as fault:
        raise OptcError("the trained way is damaged", where=str(place / WAY), why=str(fault)) from fault


def _onnx(half: Any) -> bytes:
    return bytes(to_onnx_model(load_model(half).module).SerializeToString())


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LIMIT:
        raise FormatFault(f"'{path.name}' is larger than {_LIMIT} bytes")
    return path.read_bytes()


def _share(value: Any, where: str) -> float | None:
    """A share that may be missing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise FormatFault(f"{where}: expected a share from 0 to 1, found {value!r}")
    return float(value)
