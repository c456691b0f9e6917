"""`q2` to `q8`: codes of that many bits between each channel's least and greatest value, compressed losslessly.

Values that no such code stands for (not finite, or integers) travel as `lossless` does, under the same name.

    byte 0     0: Zstandard over ranges and codes     1: as `lossless`
    ranges     least and greatest value of each channel, bfloat16, rounded outwards
    codes      one byte each, channel by channel
"""

from __future__ import annotations

import math

import numpy as np

from optc.runtime.split.codec.plain import Lossless, compress, decompress
from optc.runtime.split.codec.registry import Codec, CodecFault, Place, encoding
from optc.runtime.split.frames import Buffer
from optc.runtime.split.tensors import numpy_dtype

_CODES, _LOSSLESS = 0, 1
RANGE_BYTES = 4
LEVEL = 3
# A range costs 4 bytes; over fewer values than this it would cost more than it saves at 8 bits.
_VALUES_PER_CHANNEL = 32


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis whose positions get a range each: 1 of images and volumes, the last of sequences; None for one range."""
    axis = {0: None, 1: None, 2: 1, 3: 2}.get(len(shape), 1)
    count = math.prod(shape)
    if axis is None or not count or count // shape[axis] < _VALUES_PER_CHANNEL:
        return None
    return axis


class Affine:
    """Codes of `bits` bits with a range for each channel.

    Args:
        bits: 2 to 8.
        dtype: the element type of the value.
        shape: of the value.
    """

    def __init__(self, bits: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.levels = (1 << bits) - 1
        self._dtype = dtype
        self._shape = shape
        self._axis = channel_axis(shape)
        self.channels = 1 if self._axis is None else shape[self._axis]
        self.count = math.prod(shape)
        self._lossless = Lossless(dtype, shape)
        self._is_float = dtype.kind == "f" or dtype.name == "bfloat16"

    def encode(self, array: np.ndarray) -> Buffer:
        planes = self._planes(array) if self._is_float and self.count else None
        ranges = None if planes is None else _ranges(planes)
        if planes is None or ranges is None:
            return bytes([_LOSSLESS]) + bytes(self._lossless.encode(array))
        low, step = self._steps(ranges)
        with np.errstate(all="ignore"):
            codes = np.rint((planes - low[:, None]) / np.where(step == 0, 1, step)[:, None])
        codes = np.clip(codes, 0, self.levels).astype(np.uint8)
        return bytes([_CODES]) + self._pack(ranges.tobytes(), codes)

    def decode(self, data: Buffer) -> np.ndarray:
        view = memoryview(data)
        if not view or view[0] not in (_CODES, _LOSSLESS):
            raise CodecFault("quantized values begin with an unknown byte")
        if view[0] == _LOSSLESS:
            return self._lossless.decode(view[1:])
        packed, codes = self._unpack(view[1:])
        ranges = np.frombuffer(packed, "<u2").reshape(2, self.channels)
        if codes.max(initial=0) > self.levels:
            raise CodecFault(f"a code is above {self.levels}")
        low, step = self._steps(ranges)
        if not np.isfinite(low).all() or not np.isfinite(step).all() or (step < 0).any():
            raise CodecFault("the range of a channel is none")
        planes = codes.reshape(self.channels, -1).astype(np.float32) * step[:, None] + low[:, None]
        return self._whole(planes.astype(self._dtype))

    def _pack(self, ranges: bytes, codes: np.ndarray) -> bytes:
        """Ranges and codes (channels, values of a channel), compressed."""
        return compress(ranges + codes.tobytes(), LEVEL)

    def _unpack(self, data: Buffer) -> tuple[bytes, np.ndarray]:
        """The inverse of `_pack`. Raises CodecFault."""
        size = RANGE_BYTES * self.channels
        content = decompress(data, size + self.count)
        return content[:size], np.frombuffer(content, np.uint8, offset=size)

    def _steps(self, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The value of code 0 and the distance of two codes, of each channel, in float32."""
        low, high = (ranges.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(all="ignore"):
            return low, high / np.float32(self.levels) - low / np.float32(self.levels)

    def _planes(self, array: np.ndarray) -> np.ndarray:
        """float32, a row for each channel."""
        with np.errstate(over="ignore"):
            values = np.asarray(array).astype(np.float32)
        if self._axis is not None:
            values = np.moveaxis(values, self._axis, 0)
        return values.reshape(self.channels, -1)

    def _whole(self, planes: np.ndarray) -> np.ndarray:
        if self._axis is None:
            return planes.reshape(self._shape)
        rest = tuple(extent for axis, extent in enumerate(self._shape) if axis != self._axis)
        return np.ascontiguousarray(np.moveaxis(planes.reshape(self.channels, *rest), 0, self._axis))


def _ranges(planes: np.ndarray) -> np.ndarray | None:
    """Least and greatest value of each row as bfloat16 bits (2, rows), rounded outwards; None where not finite."""
    low, high = planes.min(1), planes.max(1)
    bounds = np.stack([_outwards(low, up=False), _outwards(high, up=True)])
    finite = (bounds & 0x7F80) != 0x7F80
    return bounds if finite.all() else None


def _outwards(values: np.ndarray, *, up: bool) -> np.ndarray:
    """float32 as bfloat16 bits, not below (`up`) or not above the value."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    short = bits >> 16
    away = (bits >> 31 == 0) if up else (bits >> 31 == 1)
    return (short + (away & ((bits & 0xFFFF) != 0))).astype("<u2")


@encoding(*(f"q{bits}" for bits in range(2, 9)))
def _affine(name: str, place: Place) -> Codec:
    return Affine(int(name[1:]), numpy_dtype(place.tensor.dtype), place.tensor.shape)
