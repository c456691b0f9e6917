"""Weights in fewer bytes, in a form that the runtime decodes when it opens a model (`backends/host/runtime/unpack.c`).

    8 bytes   "OPTCPW" 0 1
    8         bytes of the weights, little-endian as all numbers here
    4 + 4     bytes of a block of them (the last may have fewer), and how many blocks there are
    8 each    where the blocks end in the file
    blocks    one behind the other
    8         zeros

A block begins with what its bytes are seen as, and three zeros. 0: they follow as they are. 1: bytes; 2 and 4: halves
and words, which are turned left by one bit so that the exponents of floats are their upper bytes. Of these the upper
bytes are coded, in which few values are frequent (Hershcovitch et al., "ZipNN", 2024), and the rest is kept: for halves
a byte each, for words two bytes each and then a byte each. There follow

    128       the lengths of the codes of 256 symbols, four bits each, 0 where a symbol does not occur
    16        bytes of four streams of codes, each of which holds a quarter of the symbols, rounded up
    rest      what is not coded
    streams   canonical Huffman codes of at most 11 bits, the first bit lowest

The code is Huffman's alone and not zstandard's, so that the runtime needs no library: its decoder is some hundred lines
of C for every target.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import numpy as np

MAGIC = b"OPTCPW\x00\x01"
BLOCK = 1 << 18
LONGEST = 11
STREAMS = 4
_HEAD = struct.Struct("<8sQII")
_PADDING = bytes(8)
_LEAST_GAIN = 0.02
"""Of a block's bytes; a block that gains less is kept as it is."""


def pack_weights(pieces: Iterable[bytes | memoryview]) -> list[bytes]:
    """The parts of a file of packed weights.

    Args:
        pieces: the weights, one behind the other.
    """
    blocks, total = [], 0
    for content in _blocks(pieces):
        total += len(content)
        blocks.append(_packed(np.frombuffer(content, np.uint8)))
    start = _HEAD.size + 8 * len(blocks)
    ends = start + np.cumsum([len(block) for block in blocks], dtype=np.uint64)
    return [_HEAD.pack(MAGIC, total, BLOCK, len(blocks)), ends.astype("<u8").tobytes(), *blocks, _PADDING]


def _blocks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while len(view):
            room = BLOCK - len(held)
            held += view[:room]
            view = view[room:]
            if len(held) == BLOCK:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


def _packed(content: np.ndarray) -> bytes:
    """One block, seen as what takes the fewest bytes."""
    best, size = None, (1.0 - _LEAST_GAIN) * len(content)
    for width in (1, 2, 4):
        if len(content) % width:
            continue
        symbols, rest = _parts(content, width)
        counts = np.bincount(symbols, minlength=256)
        shares = counts[counts > 0] / len(symbols)
        found = len(rest) + 148 - len(symbols) * float((shares * np.log2(shares)).sum()) / 8
        if found < size:
            best, size = (width, symbols, rest, counts), found
    if best is None:
        return bytes(4) + content.tobytes()
    width, symbols, rest, counts = best
    lengths = code_lengths(counts)
    quarter = -(-len(symbols) // STREAMS)
    codes = _codes(lengths)
    streams = [_stream(symbols[at * quarter : (at + 1) * quarter], codes, lengths) for at in range(STREAMS)]
    sizes = np.array([len(stream) for stream in streams], "<u4").tobytes()
    nibbles = (lengths[0::2] | lengths[1::2] << 4).astype(np.uint8).tobytes()
    return b"".join([bytes([width, 0, 0, 0]), nibbles, sizes, rest, *streams])


def _parts(content: np.ndarray, width: int) -> tuple[np.ndarray, bytes]:
    """The symbols, and the bytes that are not coded."""
    if width == 1:
        return content, b""
    numbers = content.view(f"<u{width}")
    turned = (numbers << 1) | (numbers >> (8 * width - 1))
    octets = np.ascontiguousarray(turned).view(np.uint8).reshape(-1, width)
    symbols = np.ascontiguousarray(octets[:, width - 1])
    if width == 2:
        return symbols, octets[:, 0].tobytes()
    return symbols, octets[:, :2].tobytes() + octets[:, 2].tobytes()


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """The lengths of a prefix code of the least total length with none above LONGEST, int64; 0 for what never occurs.

    Package-merge (Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", 1990).

    Args:
        counts: of each symbol; one occurs at least, and one that is alone gets a companion to make the code complete.
    """
    present: list[tuple[int, tuple[int, ...]]] = [
        (int(count), (symbol,)) for symbol, count in enumerate(counts) if count
    ]
    if len(present) == 1:
        present.append((0, ((present[0][1][0] + 1) % len(counts),)))
    present.sort()
    packages = present
    for _ in range(LONGEST - 1):
        pairs = [
            (packages[place][0] + packages[place + 1][0], packages[place][1] + packages[place + 1][1])
            for place in range(0, len(packages) - 1, 2)
        ]
        packages = sorted([*present, *pairs], key=lambda package: package[0])
    lengths = np.zeros(len(counts), np.int64)
    for _, symbols in packages[: 2 * len(present) - 2]:
        np.add.at(lengths, list(symbols), 1)
    return lengths


def _codes(lengths: np.ndarray) -> np.ndarray:
    """Canonical codes with their first bit lowest, uint64."""
    codes, code = np.zeros(len(lengths), np.uint64), 0
    for length in range(1, LONGEST + 1):
        for symbol in np.flatnonzero(lengths == length):
            codes[symbol] = int(f"{code:0{LONGEST}b}"[:length][::-1], 2)
            code += 1 << (LONGEST - length)
    return codes


def _stream(symbols: np.ndarray, codes: np.ndarray, lengths: np.ndarray) -> bytes:
    """The codes of symbols one behind the other."""
    if not len(symbols):
        return b""
    own = lengths[symbols]
    ends = np.cumsum(own)
    starts = ends - own
    places = starts >> 5
    shifted = codes[symbols] << (starts & 31).astype(np.uint64)
    words = int(ends[-1] + 31 >> 5)
    # Codes do not overlap, so their sum is their union; below 2^32 it is exact in float64.
    low = np.bincount(places, (shifted & np.uint64(0xFFFFFFFF)).astype(np.float64), words + 1)
    high = np.bincount(places + 1, (shifted >> np.uint64(32)).astype(np.float64), words + 1)
    return (low + high).astype("<u4").tobytes()[: int(ends[-1] + 7 >> 3)]
