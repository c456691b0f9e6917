"""`raw` and `lossless`: the bytes as they lie in memory, and those compressed."""

from __future__ import annotations

import math

import numpy as np

from optc.runtime.split.codec.registry import Codec, CodecFault, Place, encoding
from optc.runtime.split.frames import Buffer
from optc.runtime.split.tensors import numpy_dtype


class Raw:
    """Little-endian, C order."""

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.bytes = math.prod(shape) * dtype.itemsize

    def encode(self, array: np.ndarray) -> Buffer:
        # A byte view, because memoryviews do not know the types of ml_dtypes.
        return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]

    def decode(self, data: Buffer) -> np.ndarray:
        if memoryview(data).nbytes != self.bytes:
            raise CodecFault(f"{memoryview(data).nbytes} bytes are no value of {self.bytes}")
        values = np.frombuffer(data, np.uint8)
        if self.dtype.kind == "b" and values.max(initial=0) > 1:
            raise CodecFault("a truth value is neither 0 nor 1")
        return values.view(self.dtype).reshape(self.shape)


class Lossless:
    """Zstandard over the first bytes of all elements, then the second bytes, and so on.

    The bytes that hold exponents repeat and those of mantissas do not; apart they compress better.
    """

    LEVEL = 3

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        import zstandard  # noqa: F401 - the first request should not wait for it

        self._raw = Raw(dtype, shape)

    def encode(self, array: np.ndarray) -> Buffer:
        planes = np.frombuffer(self._raw.encode(array), np.uint8).reshape(-1, self._raw.dtype.itemsize).T
        return compress(planes.tobytes(), self.LEVEL)

    def decode(self, data: Buffer) -> np.ndarray:
        planes = np.frombuffer(decompress(data, self._raw.bytes), np.uint8)
        return self._raw.decode(planes.reshape(self._raw.dtype.itemsize, -1).T.tobytes())


def compress(data: Buffer, level: int) -> bytes:
    """A Zstandard frame that states its content's size."""
    import zstandard

    return zstandard.ZstdCompressor(level=level).compress(data)


def decompress(data: Buffer, size: int) -> bytes:
    """The content of a Zstandard frame.

    Args:
        data: the frame and nothing after it.
        size: of the content; a frame that states another size is refused before anything is allocated for it.

    Raises:
        CodecFault: it is no such frame.
    """
    import zstandard

    try:
        stated = zstandard.frame_content_size(data)
        if stated != size:
            raise CodecFault(f"compressed bytes state a content of {stated} bytes, and {size} are due")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as fault:
        raise CodecFault(f"compressed bytes cannot be read: {fault}") from fault


@encoding("raw")
def _raw(_: str, place: Place) -> Codec:
    return Raw(numpy_dtype(place.tensor.dtype), place.tensor.shape)


@encoding("lossless")
def _lossless(_: str, place: Place) -> Codec:
    return Lossless(numpy_dtype(place.tensor.dtype), place.tensor.shape)
