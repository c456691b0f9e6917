"""`rans-HASH`: int8 codes of a trained bottleneck, coded with the probabilities that it has learned.

Range coding by asymmetric numeral systems (Duda 2013), constriction's implementation: a few bytes above the entropy.
The probabilities stand in the file `HASH.npy` in the folder of the cut, where HASH is the beginning of the file's
SHA-256: it is part of the encoding's name, so that peers with other tables refuse to talk to each other.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from optc.errors import OptcError
from optc.runtime.split.codec.registry import Codec, CodecFault, Place, encoding
from optc.runtime.split.frames import Buffer

TOTAL = 1 << 16
"""What the frequencies of a channel sum to."""

_SYMBOLS = 256
_LOWEST = -128
_HASH_CHARACTERS = 16
_LIMIT = 64 << 20


class Entropy:
    """Codes int8 arrays of one shape.

    Args:
        frequencies: of the codes -128..127 of each channel, uint16 [channels, 256]; each row sums to 65536, and none
            is 0.
        shape: of the value; channels are axis 1.
    """

    def __init__(self, frequencies: np.ndarray, shape: tuple[int, ...]) -> None:
        from constriction import stream

        self._coder = stream.stack.AnsCoder
        self._shape = shape
        self._order = (1, 0, *range(2, len(shape)))
        self._moved = tuple(shape[axis] for axis in self._order)
        self._models = [stream.model.Categorical(row.astype(np.float64) / TOTAL, perfect=False) for row in frequencies]

    def encode(self, array: np.ndarray) -> Buffer:
        symbols = np.transpose(array, self._order).reshape(len(self._models), -1).astype(np.int32) - _LOWEST
        coder = self._coder()
        for row, model in zip(symbols[::-1], self._models[::-1], strict=True):
            coder.encode_reverse(np.ascontiguousarray(row), model)
        # Words are little-endian and the last is not 0: its upper bytes need not travel.
        return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")

    def decode(self, data: Buffer) -> np.ndarray:
        content = bytes(data)
        count = int(np.prod(self._moved[1:]))
        # No code takes more than 16 bits, but for the two words that the coder may need beside them.
        if len(content) > 2 * count * len(self._models) + 8:
            raise CodecFault(f"{len(content)} bytes are more than the codes can take")
        try:
            coder = self._coder(np.frombuffer(content + bytes(-len(content) % 4), "<u4").astype(np.uint32))
            rows = [coder.decode(model, count) for model in self._models]
        except ValueError as fault:
            raise CodecFault(f"coded bytes cannot be read: {fault}") from fault
        if not coder.is_empty():
            raise CodecFault("coded bytes do not end where the codes end")
        codes = (np.stack(rows) + _LOWEST).astype(np.int8).reshape(self._moved)
        return np.ascontiguousarray(np.transpose(codes, self._order))


def frequencies_of(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities [channels, 256] as uint16 frequencies: each at least 1, each row 65536 in all."""
    shares = probabilities / probabilities.sum(1, keepdims=True)
    frequencies = np.maximum(1, np.floor(shares * (TOTAL - _SYMBOLS)).astype(np.int64) + 1)
    frequencies[np.arange(len(frequencies)), frequencies.argmax(1)] += TOTAL - frequencies.sum(1)
    return frequencies.astype(np.uint16)


def tables_file(frequencies: np.ndarray) -> tuple[str, str, bytes]:
    """The name of the encoding, and the name and the content of the file that it needs."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(frequencies.astype("<u2")), allow_pickle=False)
    digest = hashlib.sha256(stream.getvalue()).hexdigest()[:_HASH_CHARACTERS]
    return f"rans-{digest}", f"{digest}.npy", stream.getvalue()


def read_tables(path: Path, channels: int) -> np.ndarray:
    """The frequencies of a tables file, checked against its name and for a number of channels.

    Raises:
        OptcError: it is missing or damaged, or belongs to another bottleneck.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT)
    except OSError as fault:
        raise OptcError(
            "the tables of a bottleneck cannot be read", where=str(path), why=fault.strerror or ""
        ) from fault
    if hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS] != path.stem:
        raise OptcError("the tables of a bottleneck are damaged", where=str(path), why="the checksum is another one")
    try:
        frequencies = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as fault:
        raise OptcError("the tables of a bottleneck are damaged", where=str(path), why=str(fault)) from fault
    wanted = (channels, _SYMBOLS)
    if frequencies.dtype != np.dtype("<u2") or frequencies.shape != wanted:
        why = f"they are {frequencies.dtype} {frequencies.shape}, and uint16 {wanted} is due"
        raise OptcError("the tables belong to another bottleneck", where=str(path), why=why)
    if (frequencies == 0).any() or (frequencies.sum(1, dtype=np.int64) != TOTAL).any():
        raise OptcError("the tables of a bottleneck are damaged", where=str(path), why="frequencies do not sum up")
    return frequencies


@encoding("rans")
def _entropy(name: str, place: Place) -> Codec:
    tensor = place.tensor
    if tensor.dtype != "int8" or len(tensor.shape) < 2:
        why = f"'{tensor.name}' is {tensor.dtype} of {len(tensor.shape)} dimensions"
        raise OptcError("only int8 values with channels can be coded so", where=name, why=why)
    if place.folder is None or place.way is None:
        raise OptcError(f"the encoding '{name}' needs the folder of its cut, which has its tables", where=tensor.name)
    digest = name.removeprefix("rans").removeprefix("-")
    path = place.folder / "cuts" / place.way.name / f"{digest}.npy"
    return Entropy(read_tables(path, tensor.shape[1]), tensor.shape)
