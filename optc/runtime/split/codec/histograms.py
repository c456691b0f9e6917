"""`r2` to `r8`: the codes of `q2` to `q8`, coded with how often each of them occurs, without any training.

Range coding by asymmetric numeral systems (Duda 2013), constriction's implementation. Channels whose mean codes are
alike share a histogram; the histograms travel in front of the codes.

    2 bytes    length of what follows, big-endian
    Zstandard  the ranges of `q2`, the histogram of each channel (1 byte), the histograms (1 byte for each code)
    codes      channel by channel; little-endian words without the last zeros
"""

from __future__ import annotations

import numpy as np

from optc.errors import OptcError
from optc.runtime.split.codec.affine import LEVEL, RANGE_BYTES, Affine
from optc.runtime.split.codec.plain import compress, decompress
from optc.runtime.split.codec.registry import Codec, CodecFault, Place, encoding
from optc.runtime.split.frames import Buffer
from optc.runtime.split.tensors import numpy_dtype

_LENGTH_BYTES = 2
_MOST = 8  # histograms
# A histogram must be of so many values for each of its entries, or it would cost more than it saves.
_VALUES_PER_ENTRY = 32


class Counted(Affine):
    """`Affine` with entropy coding in place of Zstandard; arguments as there."""

    def __init__(self, bits: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        from constriction import stream

        super().__init__(bits, dtype, shape)
        self._stream = stream
        self._groups = max(1, min(_MOST, self.channels, self.count // (_VALUES_PER_ENTRY << bits)))
        self._entries = 1 << bits

    def _pack(self, ranges: bytes, codes: np.ndarray) -> bytes:
        order = np.argsort(codes.mean(1), kind="stable")
        group_of = np.empty(self.channels, np.uint8)
        group_of[order] = np.arange(self.channels) * self._groups // self.channels
        counts = np.stack(
            [np.bincount(codes[group_of == group].ravel(), minlength=self._entries) for group in range(self._groups)]
        )
        most = counts.max(1, keepdims=True)
        # Rounded up: what occurs stays above zero.
        tables = (-(-counts * 255 // most)).astype(np.uint8)
        coder = self._stream.stack.AnsCoder()
        for group in reversed(range(self._groups)):
            symbols = codes[group_of == group].ravel().astype(np.int32)
            coder.encode_reverse(symbols, self._model(tables[group]))
        side = compress(ranges + group_of.tobytes() + tables.tobytes(), LEVEL)
        words = coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
        return len(side).to_bytes(_LENGTH_BYTES, "big") + side + words

    def _unpack(self, data: Buffer) -> tuple[bytes, np.ndarray]:
        view = memoryview(data)
        end = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "big")
        size = RANGE_BYTES * self.channels
        side = decompress(view[_LENGTH_BYTES:end], size + self.channels + self._groups * self._entries)
        group_of = np.frombuffer(side, np.uint8, self.channels, size)
        tables = np.frombuffer(side, np.uint8, offset=size + self.channels).reshape(self._groups, self._entries)
        if group_of.max(initial=0) >= self._groups or not tables.any(1).all():
            raise CodecFault("a histogram is missing or empty")
        words = bytes(view[end:])
        values = self.count // self.channels
        codes = np.empty((self.channels, values), np.uint8)
        try:
            coder = self._stream.stack.AnsCoder(np.frombuffer(words + bytes(-len(words) % 4), "<u4").astype(np.uint32))
            for group in range(self._groups):
                channels = np.flatnonzero(group_of == group)
                symbols = coder.decode(self._model(tables[group]), values * len(channels))
                codes[channels] = symbols.reshape(len(channels), values)
        except ValueError as fault:
            raise CodecFault(f"coded bytes cannot be read: {fault}") from fault
        if not coder.is_empty():
            raise CodecFault("coded bytes do not end where the codes end")
        return side[:size], codes

    def _model(self, table: np.ndarray) -> object:
        return self._stream.model.Categorical(table.astype(np.float64) / int(table.sum()), perfect=False)


@encoding(*(f"r{bits}" for bits in range(2, 9)))
def _counted(name: str, place: Place) -> Codec:
    try:
        return Counted(int(name[1:]), numpy_dtype(place.tensor.dtype), place.tensor.shape)
    except ModuleNotFoundError as fault:
        hint = "pip install optc[split], or split with q2 to q8"
        raise OptcError(f"the encoding '{name}' needs constriction, which is not installed", hint=hint) from fault
