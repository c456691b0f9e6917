"""split.json: a model over a device and a server, as the ways in which a request can be answered.

The folder that `optc split` writes holds `split.json`, the whole model for the device (`local/`), the whole model for
the server (`remote/`), and for each cut the halves `cuts/N/device/` and `cuts/N/server/`. Both sides need the same
`split.json`; each needs only its own halves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from optc.artifact.program_json import tensor_to_json
from optc.artifact.sealed import digest, seal
from optc.errors import OptcError
from optc.program import TensorInfo

RECORD = "split.json"
SCHEMA = 1
LOCAL = "local"
REMOTE = "remote"
MODEL = "model.onnx"
MANIFEST = "manifest.json"

_STANDS_FOR = {"native": MANIFEST, "onnx": MODEL, "split": RECORD}

HalfKind = Literal["native", "onnx", "split"]


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
            no code for; `split`: a folder with a `split.json` of its own, whose device is this side and whose server is
            the next tier.
        target: the target's name.
        inputs: in the order of its interface.
        outputs: likewise.
        sha256: of the artifact's `manifest.json`, which has the checksums of all other files, or of `model.onnx`, or of
            the inner `split.json`.
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
        leaves: share of the requests that the device's half answers by itself, where the way has an exit.
    """

    device_seconds: float
    server_seconds: float
    device_joules: float | None = None
    device_bytes: int = 0
    leaves: float = 0.0


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
        details: of a trained bottleneck: its width and so on.
        exit: an output of the device half, bool; where all of it is true the outputs that this half made are the
            answer, and nothing is sent.
    """

    name: str
    device: Half | None
    server: Half | None
    sent: tuple[CutTensor, ...]
    returned: tuple[CutTensor, ...]
    predicted: Predicted
    drop: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    exit: str | None = None

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
        return digest(content)

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


def half_digest(folder: Path, half: HalfKind) -> str:
    """SHA-256 of what stands for a half's files; see `Half.sha256`. Raises OSError."""
    with (folder / _STANDS_FOR[half]).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_record(record: SplitRecord) -> bytes:
    """The bytes of split.json: sorted keys, and a checksum of everything else under `checksum`."""
    return seal(_record_to_json(record))


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


def _way_to_json(way: Way) -> dict[str, Any]:
    predicted = way.predicted
    # What few ways have stands there only for them, so that the identities of all others stay as they were.
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
            **({"leaves": predicted.leaves} if predicted.leaves else {}),
        },
        "drop": way.drop,
        "details": dict(way.details),
        **({"exit": way.exit} if way.exit is not None else {}),
    }


def _half_to_json(half: Half) -> dict[str, Any]:
    return {
        "folder": half.folder,
        "kind": half.kind,
        "target": half.target,
        "inputs": [tensor_to_json(info) for info in half.inputs],
        "outputs": [tensor_to_json(info) for info in half.outputs],
        "sha256": half.sha256,
    }


def _cut_to_json(tensor: CutTensor) -> dict[str, Any]:
    shape = list(tensor.shape)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape, "encoding": tensor.encoding} | {
        "bytes": tensor.bytes
    }
