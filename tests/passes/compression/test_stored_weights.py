"""Packed weights: every bit comes back through a decoder that was written from the format's description alone."""

from __future__ import annotations

import heapq
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.passes.compression.stored_weights import BLOCK, LONGEST, code_lengths, pack_weights


def unpacked(content: bytes) -> bytes:
    """The weights of a file, bit by bit."""
    magic, total, block, count = struct.unpack_from("<8sQII", content)
    assert magic == b"OPTCPW\x00\x01" and content[-8:] == bytes(8)
    begin, found = 24 + 8 * count, []
    for number in range(count):
        (end,) = struct.unpack_from("<Q", content, 24 + 8 * number)
        size = min(block, total - number * block)
        found.append(one(content[begin:end], size))
        assert len(found[-1]) == size
        begin = end
    assert begin == len(content) - 8
    return b"".join(found)


def one(block: bytes, size: int) -> bytes:
    width, *zeros = block[:4]
    assert zeros == [0, 0, 0]
    if not width:
        return block[4:]
    lengths = [block[4 + symbol // 2] >> (symbol % 2 * 4) & 15 for symbol in range(256)]
    codes, code = {}, 0
    for length in range(1, LONGEST + 1):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[f"{code:0{LONGEST}b}"[:length]] = symbol
                code += 1 << (LONGEST - length)
    assert code == 1 << LONGEST
    count = size // width
    quarter = -(-count // 4)
    at = 148 + size - count
    symbols: list[int] = []
    for stream, bytes_ in enumerate(struct.unpack_from("<4I", block, 132)):
        bits = "".join(f"{octet:08b}"[::-1] for octet in block[at : at + bytes_])
        at += bytes_
        place = 0
        for _ in range(max(0, min(quarter, count - stream * quarter))):
            end = next(end for end in range(place + 1, place + LONGEST + 1) if bits[place:end] in codes)
            symbols.append(codes[bits[place:end]])
            place = end
        assert len(bits) - place < 8
    assert at == len(block)
    rest, found = block[148 : 148 + size - count], bytearray()
    for number, symbol in enumerate(symbols):
        below = {
            1: b"",
            2: rest[number : number + 1],
            4: rest[2 * number : 2 * number + 2] + rest[2 * count + number : 2 * count + number + 1],
        }[width]
        turned = int.from_bytes(below + bytes([symbol]), "little")
        value = turned >> 1 | (turned & 1) << (8 * width - 1) if width > 1 else turned
        found += value.to_bytes(width, "little")
    return bytes(found)


RANDOM = np.random.default_rng(0)
SAMPLES = {
    "floats": (RANDOM.normal(size=1003) / 20).astype(np.float32).tobytes(),
    "halves": (RANDOM.normal(size=2001) / 20).astype(np.float16).tobytes(),
    "codes": np.clip(np.rint(RANDOM.normal(size=4001) * 20), -127, 127).astype(np.int8).tobytes(),
    "zeros": bytes(3000),
    "noise": RANDOM.bytes(1000),
    "nothing": b"",
    "few": b"abc",
    "two blocks": np.repeat(RANDOM.normal(size=64).astype(np.float32), 1100).tobytes(),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_bit_comes_back(name: str) -> None:
    content = SAMPLES[name]
    assert unpacked(b"".join(pack_weights([content[:500], memoryview(content)[500:]]))) == content


def test_exponents_shrink_and_noise_does_not_grow() -> None:
    size = {name: len(b"".join(pack_weights([content]))) for name, content in SAMPLES.items()}
    assert size["two blocks"] < 0.95 * len(SAMPLES["two blocks"]) and len(SAMPLES["two blocks"]) > BLOCK
    assert size["floats"] < 0.9 * len(SAMPLES["floats"]) and size["zeros"] < 600
    assert size["noise"] == 1000 + 24 + 8 + 4 + 8


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=256).filter(any))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_codes_are_complete_and_no_longer_than_needed(counts: list[int]) -> None:
    lengths = code_lengths(np.array(counts + [0] * (256 - len(counts))))
    used = lengths[lengths > 0]
    assert used.max() <= LONGEST and sum(2.0 ** -int(length) for length in used) == 1.0
    assert all(lengths[symbol] > 0 for symbol, count in enumerate(counts) if count)
    free = unlimited([count for count in counts if count])
    total = int((lengths[: len(counts)] * np.array(counts, object)).sum())
    if free and max(free) <= LONGEST:
        assert total == sum(length * count for length, count in zip(free, [c for c in counts if c], strict=True))


def unlimited(counts: list[int]) -> list[int]:
    """The code lengths of Huffman's own algorithm."""
    if len(counts) < 2:
        return []
    heap = [(count, number, [number]) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    lengths, tie = [0] * len(counts), len(counts)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        for number in (merged := first[2] + second[2]):
            lengths[number] += 1
        heapq.heappush(heap, (first[0] + second[0], tie, merged))
        tie += 1
    return lengths
