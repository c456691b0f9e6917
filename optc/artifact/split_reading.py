"""Reading split.json, which may be damaged: each value is checked, and that every way can answer a request."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from optc.artifact.checks import FormatFault, expect, member
from optc.artifact.program_json import tensor_from_json
from optc.artifact.sealed import unseal
from optc.artifact.split_record import (
    RECORD,
    SCHEMA,
    CutTensor,
    Half,
    HalfKind,
    Predicted,
    SplitRecord,
    Way,
    half_digest,
)
from optc.errors import OptcError
from optc.program import TensorInfo

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
_ENCODING = re.compile(r"[a-z][a-z0-9-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMIT = 16 << 20


def read_record(folder: str | Path) -> SplitRecord:
    """Read and check split.json.

    Args:
        folder: what `optc split` wrote.

    Raises:
        OptcError: there is none, it was changed after it was written, or another version of optc wrote it.
    """
    path = Path(folder) / RECORD
    try:
        if path.stat().st_size > _LIMIT:
            raise FormatFault(f"larger than {_LIMIT} bytes")
        return decode_record(path.read_bytes())
    except OSError as fault:
        raise OptcError(
            "there is no split model", where=str(path), why=fault.strerror, hint="optc split makes one"
        ) from fault
    except FormatFault as fault:
        raise OptcError("the record of the split is damaged", where=str(path), why=str(fault)) from fault


def check_half(folder: str | Path, half: Half) -> Path:
    """The folder of a half whose files are those that the record was made with.

    Args:
        folder: that of the record.
        half: one of its halves.

    Raises:
        OptcError: the half is missing, or belongs to another split.
    """
    place = Path(folder) / half.folder
    try:
        found = half_digest(place, half.kind)
    except OSError as fault:
        raise OptcError("a half of the split model is missing", where=str(place), why=fault.strerror) from fault
    if found != half.sha256:
        raise OptcError(
            "a half does not belong to the split model",
            where=str(place),
            why="its checksum is not the one that split.json states",
            hint="copy the whole folder again, or run optc split again",
        )
    return place


def decode_record(content: bytes) -> SplitRecord:
    """The inverse of `encode_record`. Raises FormatFault."""
    return _record_from_json(unseal(content, SCHEMA, "split"))


def _record_from_json(data: Any) -> SplitRecord:
    ways = tuple(
        _way_from_json(each, f"split.ways[{index}]") for index, each in enumerate(member(data, "ways", list, "split"))
    )
    record = SplitRecord(
        model=member(data, "model", str, "split"),
        source=_matching(data, "source", _DIGEST, "split"),
        device=member(data, "device", str, "split"),
        server=member(data, "server", str, "split"),
        idle_watts=_number(data, "idle_watts", "split"),
        link=member(data, "link", dict, "split"),
        objective=member(data, "objective", str, "split"),
        inputs=_tensors(data, "inputs", "split"),
        outputs=_tensors(data, "outputs", "split"),
        ways=ways,
        chosen=member(data, "chosen", str, "split"),
        command=member(data, "command", str, "split"),
    )
    names = [way.name for way in ways]
    if len(set(names)) != len(names):
        raise FormatFault("split.ways: two have the same name")
    if record.chosen not in names:
        raise FormatFault(f"split.chosen: '{record.chosen}' is none of {', '.join(names)}")
    for way in ways:
        _check_way(way, record)
    if member(data, "identity", str, "split") != record.identity:
        raise FormatFault("split.identity: not that of the ways")
    return record


def _check_way(way: Way, record: SplitRecord) -> None:
    """Raise FormatFault when a request could not be answered in this way."""
    where = f"split.ways '{way.name}'"
    if way.device is None and way.server is None:
        raise FormatFault(f"{where}: neither side does anything")
    known = {info.name for info in record.inputs}
    made = set() if way.device is None else {info.name for info in way.device.outputs}
    if way.device is not None and not {info.name for info in way.device.inputs} <= known:
        raise FormatFault(f"{where}: the device half reads what is no input of the model")
    sent, returned = {tensor.name for tensor in way.sent}, {tensor.name for tensor in way.returned}
    if not sent <= known | made:
        raise FormatFault(f"{where}: a value is sent that nothing makes")
    if way.server is None:
        if sent or returned:
            raise FormatFault(f"{where}: values are sent to a server that does nothing")
    else:
        if sent != {info.name for info in way.server.inputs}:
            raise FormatFault(f"{where}: what is sent is not what the server half reads")
        if returned != {info.name for info in way.server.outputs}:
            raise FormatFault(f"{where}: what returns is not what the server half makes")
    if way.exit is not None:
        _check_exit(way, record, made, where)
    missing = {info.name for info in record.outputs} - made - returned
    if missing:
        raise FormatFault(f"{where}: the output '{min(missing)}' is made by neither half")


def _check_exit(way: Way, record: SplitRecord, made: set[str], where: str) -> None:
    if way.exit not in made:
        raise FormatFault(f"{where}: the device half does not make its exit '{way.exit}'")
    if absent := {info.name for info in record.outputs} - made:
        raise FormatFault(f"{where}: who leaves at the exit has no output '{min(absent)}'")


def _way_from_json(data: Any, where: str) -> Way:
    predicted = member(data, "predicted", dict, where)
    joules = predicted.get("device_joules")
    drop = data.get("drop")
    leaves = _number(predicted, "leaves", f"{where}.predicted") if "leaves" in predicted else 0.0
    if leaves > 1:
        raise FormatFault(f"{where}.predicted.leaves: {leaves} is no share")
    return Way(
        name=_matching(data, "name", _NAME, where),
        device=None if data.get("device") is None else _half_from_json(data["device"], f"{where}.device"),
        server=None if data.get("server") is None else _half_from_json(data["server"], f"{where}.server"),
        sent=_cuts(data, "sent", where),
        returned=_cuts(data, "returned", where),
        predicted=Predicted(
            device_seconds=_number(predicted, "device_seconds", f"{where}.predicted"),
            server_seconds=_number(predicted, "server_seconds", f"{where}.predicted"),
            device_joules=None if joules is None else _number(predicted, "device_joules", f"{where}.predicted"),
            device_bytes=member(predicted, "device_bytes", int, f"{where}.predicted"),
            leaves=leaves,
        ),
        drop=None if drop is None else _number(data, "drop", where),
        details=member(data, "details", dict, where),
        exit=member(data, "exit", str, where) if "exit" in data else None,
    )


def _half_from_json(data: Any, where: str) -> Half:
    folder = member(data, "folder", str, where)
    parts = PurePosixPath(folder).parts
    if not parts or len(parts) > 4 or not all(_NAME.fullmatch(part) for part in parts):
        raise FormatFault(f"{where}.folder: '{folder}' is no folder inside of the split model")
    kind = member(data, "kind", str, where)
    if kind not in get_args(HalfKind):
        raise FormatFault(f"{where}.kind: '{kind}' is none of {', '.join(get_args(HalfKind))}")
    return Half(
        folder=folder,
        kind=kind,  # type: ignore[arg-type]
        target=member(data, "target", str, where),
        inputs=_tensors(data, "inputs", where),
        outputs=_tensors(data, "outputs", where),
        sha256=_matching(data, "sha256", _DIGEST, where),
    )


def _cuts(data: Any, key: str, where: str) -> tuple[CutTensor, ...]:
    found = []
    for index, each in enumerate(member(data, key, list, where)):
        here = f"{where}.{key}[{index}]"
        found.append(
            CutTensor(
                name=member(each, "name", str, here),
                dtype=member(each, "dtype", str, here),
                shape=tuple(expect(extent, int, f"{here}.shape") for extent in member(each, "shape", list, here)),
                encoding=_matching(each, "encoding", _ENCODING, here),
                bytes=member(each, "bytes", int, here),
            )
        )
    return tuple(found)


def _tensors(data: Any, key: str, where: str) -> tuple[TensorInfo, ...]:
    entries = member(data, key, list, where)
    return tuple(tensor_from_json(entry, f"{where}.{key}[{index}]") for index, entry in enumerate(entries))


def _matching(data: Any, key: str, pattern: re.Pattern[str], where: str) -> str:
    text = member(data, key, str, where)
    if not pattern.fullmatch(text):
        raise FormatFault(f"{where}.{key}: '{text[:80]}' is not of the form that is expected there")
    return text


def _number(data: Any, key: str, where: str) -> float:
    if key not in expect(data, dict, where):
        raise FormatFault(f"{where}: '{key}' is missing")
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise FormatFault(f"{where}.{key}: expected a number that is not negative, found {value!r}")
    return float(value)
