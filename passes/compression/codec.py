"""Entropy coding of bytes through zstandard, with checksums, and with the size of the result known beforehand."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from optc.errors import OptcError

_LOCAL = threading.local()
"""A decompressor of each thread."""


@lru_cache
def _compressor(matches: bool) -> Any:
    import zstandard

    if matches:
        return zstandard.ZstdCompressor(level=19, write_checksum=True, write_content_size=True)
    # Numbers repeat by chance only: no memory for matches leaves the Huffman coder, which is also the faster to decode.
    parameters = zstandard.ZstdCompressionParameters(
        window_log=18,
        hash_log=6,
        chain_log=6,
        min_match=7,
        target_length=0,
        strategy=zstandard.STRATEGY_FAST,
        write_checksum=True,
        write_content_size=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def encode(content: bytes | np.ndarray, *, matches: bool = False) -> bytes:
    """One zstandard frame.

    Args:
        content: bytes, or an array without gaps.
        matches: whether to look for repetitions too: for text and tables, not for numbers.
    """
    data = content if isinstance(content, bytes) else np.ascontiguousarray(content).view("u1").data
    return _compressor(matches).compress(data) if len(content) else b""


def decode(frame: bytes | memoryview, size: int, where: str) -> bytes:
    """What a frame holds.

    Args:
        frame: made by `encode`.
        size: bytes that must come out; never more memory is taken.
        where: what to name in an error.

    Raises:
        OptcError: the frame is damaged.
    """
    import zstandard

    if size == 0:
        return b""
    try:
        if zstandard.frame_content_size(bytes(frame[:18])) != size:
            raise OptcError("the file is damaged", where=where, why="a part has another size than the header says")
        if not hasattr(_LOCAL, "decompressor"):
            _LOCAL.decompressor = zstandard.ZstdDecompressor()
        return _LOCAL.decompressor.decompress(frame, max_output_size=size)
    except zstandard.ZstdError as fault:
        raise OptcError("the file is damaged", where=where, why=str(fault)) from fault
