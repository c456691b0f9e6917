"""split.json: a model over a device and a server, as the ways in which a request can be answered.

The folder that `optc split` writes holds `split.json`, the whole model for the device (`local/`), the whole model for
the server (`remote/`), and for each cut the halves `cuts/N/device/` and `cuts/N/server/`. Both sides need the same
`split.json`; each needs only its own halves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from optc.artifact.checks import FormatFault, expect, member
from optc.artifact.program_json import tensor_from_json, tensor_to_json
from optc.errors import OptcError
from optc.program import TensorInfo

RECORD = "split.json"
SCHEMA = 1
LOCAL = "local"
REMOTE = "remote"
MODEL = "model.onnx"
MANIFEST = "manifest.json"

HalfKind = Literal["native", "onnx"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
_ENCODING = re.compile(r"[a-z][a-z0-9-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMIT = 16 << 20


@dataclass(frozen=True)
class CutTensor:
    """A value that crosses the link.

    Attributes:
        name: the user's name; the same in both halves.
        dtype: NumPy's name.
        shape: static.
        encoding: `raw` (the bytes as they lie in memory), `lossless` (those, compressed), `q8` … `q2` (codes of so many
            bits with a scale for each channel, compressed), or what another coder calls itself.
        bytes: predicted, after encoding.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    bytes: int


@dataclass(frozen=True)
class Half:
    """A part of the model that one side runs.

    Attributes:
        folder: relative to that of the record, with `/`.
        kind: `native`: an artifact of `optc compile`; `onnx`: a folder with `model.onnx`, for targets that optc makes
            no code for.
        target: the target's name.
        inputs: in the order of its interface.
        outputs: likewise.
        sha256: of the artifact's `manifest.json`, which has the checksums of all other files, or of `model.onnx`.
    """

    folder: str
    kind: HalfKind
    target: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    sha256: str


@dataclass(frozen=True)
class Predicted:
    """What a way is predicted to cost.

    Attributes:
        device_seconds: computing on the device.
        server_seconds: computing on the server.
        device_joules: of computing on the device; None where the target states no energy figures.
        device_bytes: weights and the most intermediate values at once on the device.
    """

    device_seconds: float
    server_seconds: float
    device_joules: float | None = None
    device_bytes: int = 0


@dataclass(frozen=True)
class Way:
    """One way to answer a request.

    The device runs its half on the model's inputs, encodes the values `sent` (outputs of that half, or inputs of the
    model), and the server runs its half on them; its outputs come back as `returned`. Outputs of the model that the
    device half makes are not sent. A side without a half does nothing.

    Attributes:
        name: `local`, `remote`, or the cut's.
        device: None where the inputs are sent as they are.
        server: None where the device does everything.
        sent: device to server.
        returned: server to device.
        predicted: its cost.
        drop: accuracy that it is known to lose, as a share; None: not measured.
        details: of a trained bottleneck: its width, its exit and so on.
    """

    name: str
    device: Half | None
    server: Half | None
    sent: tuple[CutTensor, ...]
    returned: tuple[CutTensor, ...]
    predicted: Predicted
    drop: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sent_bytes(self) -> int:
        """Predicted bytes up the link."""
        return sum(tensor.bytes for tensor in self.sent)

    @property
    def returned_bytes(self) -> int:
        """Predicted bytes down the link."""
        return sum(tensor.bytes for tensor in self.returned)


@dataclass(frozen=True)
class SplitRecord:
    """The content of split.json.

    Attributes:
        model: its name.
        source: SHA-256 (hexadecimal) of the source model's bytes.
        device: the device's target.
        server: the server's target.
        idle_watts: what the device draws while it waits.
        link: the figures of the link that was planned for, as `optc.targets.links` has them.
        objective: `latency` or `energy`.
        inputs: of the model.
        outputs: of the model.
        ways: all that were built; `local` is missing where the device has no memory for it, `remote` where inputs
            must stay private.
        chosen: the name of the best way for that link.
        command: what the user typed.
    """

    model: str
    source: str
    device: str
    server: str
    idle_watts: float
    link: Mapping[str, Any]
    objective: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ways: tuple[Way, ...]
    chosen: str
    command: str = ""

    @property
    def identity(self) -> str:
        """SHA-256 (hexadecimal) of the source model and of all halves and cuts: what peers must agree on.

        Predictions, the link and the command are no part of it.
        """
        ways = [replace(way, predicted=Predicted(0.0, 0.0), drop=None, details={}) for way in self.ways]
        content = [[_way_to_json(way) for way in ways], self.source]
        return hashlib.sha256(_dump(content)).hexdigest()

    def way(self, name: str) -> Way:
        """The way called `name`. Raises KeyError."""
        for way in self.ways:
            if way.name == name:
                return way
        raise KeyError(name)

    @property
    def local(self) -> Way | None:
        """Everything on the device."""
        return next((way for way in self.ways if way.name == LOCAL), None)

    @property
    def remote(self) -> Way | None:
        """Everything on the server."""
        return next((way for way in self.ways if way.name == REMOTE), None)


def write_record(folder: Path, record: SplitRecord) -> None:
    """Write split.json. Raises OptcError when the disk does not take it."""
    path = folder / RECORD
    try:
        path.write_bytes(encode_record(record))
    except OSError as fault:
        raise OptcError("the record of the split cannot be written", where=str(path), why=fault.strerror) from fault


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


def half_digest(folder: Path, half: HalfKind) -> str:
    """SHA-256 of what stands for a half's files; see `Half.sha256`. Raises OSError."""
    name = MANIFEST if half == "native" else MODEL
    with (folder / name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def encode_record(record: SplitRecord) -> bytes:
    """The bytes of split.json: sorted keys, and a checksum of everything else under `checksum`."""
    content = _record_to_json(record)
    content["checksum"] = hashlib.sha256(_dump(content)).hexdigest()
    return _dump(content)


def decode_record(content: bytes) -> SplitRecord:
    """The inverse of `encode_record`. Raises FormatFault."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise FormatFault(f"not valid JSON: {fault}") from fault
    schema = member(data, "schema", int, "split")
    if schema != SCHEMA:
        raise FormatFault(f"schema version {schema}, and this optc reads version {SCHEMA}")
    checksum = member(data, "checksum", str, "split")
    rest = {key: value for key, value in data.items() if key != "checksum"}
    if checksum != hashlib.sha256(_dump(rest)).hexdigest():
        raise FormatFault("the checksum does not match: the file was changed")
    return _record_from_json(data)


def _record_to_json(record: SplitRecord) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": record.model,
        "source": record.source,
        "identity": record.identity,
        "device": record.device,
        "server": record.server,
        "idle_watts": record.idle_watts,
        "link": dict(record.link),
        "objective": record.objective,
        "inputs": [tensor_to_json(info) for info in record.inputs],
        "outputs": [tensor_to_json(info) for info in record.outputs],
        "ways": [_way_to_json(way) for way in record.ways],
        "chosen": record.chosen,
        "command": record.command,
    }


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
    missing = {info.name for info in record.outputs} - made - returned
    if missing:
        raise FormatFault(f"{where}: the output '{min(missing)}' is made by neither half")


def _way_to_json(way: Way) -> dict[str, Any]:
    predicted = way.predicted
    return {
        "name": way.name,
        "device": None if way.device is None else _half_to_json(way.device),
        "server": None if way.server is None else _half_to_json(way.server),
        "sent": [_cut_to_json(tensor) for tensor in way.sent],
        "returned": [_cut_to_json(tensor) for tensor in way.returned],
        "predicted": {
            "device_seconds": predicted.device_seconds,
            "server_seconds": predicted.server_seconds,
            "device_joules": predicted.device_joules,
            "device_bytes": predicted.device_bytes,
        },
        "drop": way.drop,
        "details": dict(way.details),
    }


def _way_from_json(data: Any, where: str) -> Way:
    predicted = member(data, "predicted", dict, where)
    joules = predicted.get("device_joules")
    drop = data.get("drop")
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
        ),
        drop=None if drop is None else _number(data, "drop", where),
        details=member(data, "details", dict, where),
    )


def _half_to_json(half: Half) -> dict[str, Any]:
    return {
        "folder": half.folder,
        "kind": half.kind,
        "target": half.target,
        "inputs": [tensor_to_json(info) for info in half.inputs],
        "outputs": [tensor_to_json(info) for info in half.outputs],
        "sha256": half.sha256,
    }


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


def _cut_to_json(tensor: CutTensor) -> dict[str, Any]:
    shape = list(tensor.shape)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape, "encoding": tensor.encoding} | {
        "bytes": tensor.bytes
    }


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


def _dump(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
