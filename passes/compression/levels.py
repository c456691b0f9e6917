"""Whole numbers as the bytes that an entropy coder of bytes does best on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optc.errors import OptcError
from optc.passes.compression.codec import decode, encode

_WIDTHS = (1, 2, 4)


def _plain(levels: np.ndarray) -> np.ndarray:
    """A byte each; the higher bytes of wider numbers stand behind all lower ones."""
    width = next(each for each in _WIDTHS if _fits(levels, each))
    octets = levels.astype(f"<i{width}").view("u1").reshape(-1, width)
    return np.ascontiguousarray(octets.T).reshape(-1)


def _fits(levels: np.ndarray, width: int) -> bool:
    end = 1 << (8 * width - 1)
    return not levels.size or (int(levels.min()) >= -end and int(levels.max()) < end)


def _from_plain(octets: np.ndarray, count: int) -> np.ndarray:
    width = len(octets) // max(1, count) or 1
    return np.ascontiguousarray(octets.reshape(width, count).T).reshape(-1).view(f"<i{width}").astype(np.int32)


def _packing(per_byte: int) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray, int], np.ndarray]]:
    """Several small numbers in a byte: a Huffman code of the groups comes nearer to the entropy of frequent zeros."""
    base = {2: 15, 3: 5, 5: 3}[per_byte]

    def pack(levels: np.ndarray) -> np.ndarray:
        digits = np.pad(levels + base // 2, (0, -len(levels) % per_byte), constant_values=base // 2)
        groups = digits.reshape(-1, per_byte)
        return (groups * base ** np.arange(per_byte)).sum(axis=1).astype("u1")

    def unpack(octets: np.ndarray, count: int) -> np.ndarray:
        digits = octets[:, None].astype(np.int32) // base ** np.arange(per_byte) % base
        return digits.reshape(-1)[:count] - base // 2

    return pack, unpack


@dataclass(frozen=True)
class _Packing:
    largest: int
    pack: Callable[[np.ndarray], np.ndarray]
    unpack: Callable[[np.ndarray, int], np.ndarray]


_PACKINGS = {
    "plain": _Packing(2**31, _plain, _from_plain),
    "pairs": _Packing(7, *_packing(2)),
    "triples": _Packing(2, *_packing(3)),
    "quintuples": _Packing(1, *_packing(5)),
}


@dataclass(frozen=True)
class CodedLevels:
    """Levels as a frame.

    Attributes:
        frame: of zstandard.
        packing: how many numbers a byte holds, by name.
        size: bytes in the frame.
    """

    frame: bytes
    packing: str
    size: int


def encode_levels(levels: np.ndarray) -> CodedLevels:
    """int32 levels in the packing that takes the fewest bytes."""
    flat = levels.reshape(-1)
    largest = int(np.abs(flat.astype(np.int64)).max(initial=0))
    found = []
    for name, packing in _PACKINGS.items():
        if largest <= packing.largest:
            octets = packing.pack(flat)
            found.append(CodedLevels(encode(octets), name, len(octets)))
    return min(found, key=lambda coded: len(coded.frame))


def decode_levels(frame: bytes | memoryview, packing: str, size: int, count: int, where: str) -> np.ndarray:
    """The levels of a frame, int32 of one dimension.

    Raises:
        OptcError: it is damaged.
    """
    if packing not in _PACKINGS:
        raise OptcError("the file is damaged", where=where, why=f"'{packing}' is no packing")
    octets = np.frombuffer(decode(frame, size, where), "u1")
    try:
        levels = _PACKINGS[packing].unpack(octets, count)
    except (ValueError, TypeError) as fault:
        raise OptcError("the file is damaged", where=where, why="levels are missing") from fault
    if len(levels) != count:
        raise OptcError("the file is damaged", where=where, why="levels are missing")
    return levels
