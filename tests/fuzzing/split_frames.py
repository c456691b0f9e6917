"""The protocol of split models: any bytes are frames, tensors and codes, or a fault in one sentence; never more memory
than was agreed on.

The first byte of an input says what it is: a stream, the payload of a kind of frame, or the codes of an encoding.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable

import numpy as np
from fuzzing.surface import Surface

from optc.artifact.split_record import CutTensor
from optc.errors import OptcError
from optc.runtime.split import handshake, messages
from optc.runtime.split.codec.entropy import Entropy, frequencies_of
from optc.runtime.split.codec.registry import Codec, CodecFault, Place, open_codec
from optc.runtime.split.frames import FrameFault, Kind, Reader, Seals, pack
from optc.runtime.split.tensors import CodedTensor

_FRAME_LIMIT, _TENSOR_LIMIT = 1 << 16, 1 << 20
_MODEL = bytes(range(8))
_SHAPE = (1, 3, 4, 5)
_ENCODINGS = ("raw", "lossless", "q2", "q8")
_PARSERS: dict[Kind, Callable[[bytes], object]] = {
    Kind.REQUEST: lambda payload: messages.parse_request(payload, _TENSOR_LIMIT),
    Kind.REPLY: lambda payload: messages.parse_reply(payload, _TENSOR_LIMIT),
    Kind.READY: messages.parse_ready,
    Kind.BUSY: messages.parse_busy,
    Kind.ERROR: messages.parse_text,
    Kind.GOODBYE: messages.parse_text,
    Kind.CHALLENGE: lambda payload: handshake.answer(bytes(32), bytes(16), payload, bytes(32)),
    Kind.PROOF: lambda payload: handshake.check(bytes(32), bytes(16), bytes(16), payload),
}


@functools.cache
def _codecs() -> list[tuple[Codec, str]]:
    """Each with the element type that it takes."""
    places = [Place(CutTensor("cut", "float32", _SHAPE, name, 4 * math.prod(_SHAPE))) for name in _ENCODINGS]
    skewed = frequencies_of(np.exp(-np.abs(np.arange(-128, 128)))[None].repeat(_SHAPE[1], 0))
    return [*((open_codec(place), "float32") for place in places), (Entropy(skewed, _SHAPE), "int8")]


def seeds() -> list[bytes]:
    """A stream of a few frames, a payload of each kind, and codes of each encoding."""
    value = np.linspace(-1, 1, 60, dtype=np.float32).reshape(_SHAPE)
    tensors = [CodedTensor("float32", _SHAPE, value.tobytes()), CodedTensor("int8", (2, 2), b"1234")]
    statistics = messages.Statistics(3, 1, 200, 4000)
    payloads: dict[Kind, list[bytes | bytearray | memoryview]] = {
        Kind.REQUEST: messages.Request(1, 50, tensors).pack(),
        Kind.REPLY: messages.Reply(statistics, tensors).pack(),
        Kind.READY: [messages.Ready(1 << 16, 1 << 20, 4, 2, 3).pack()],
        Kind.BUSY: [messages.pack_busy(20, statistics)],
        Kind.ERROR: [messages.pack_text("it does not fit")],
        Kind.CHALLENGE: [handshake.challenge(bytes(32), bytes(16), bytes(16))],
    }
    seals, stream = Seals(), b""
    for number, (kind, pieces) in enumerate(payloads.items()):
        stream += b"".join(bytes(piece) for piece in pack(seals, kind, number, _MODEL, pieces))
    found = [b"\0" + stream]
    found += [bytes([kind]) + b"".join(bytes(piece) for piece in pieces) for kind, pieces in payloads.items()]
    codes = [codec.encode((3 * value).astype(dtype)) for codec, dtype in _codecs()]
    return found + [bytes([128 + index]) + bytes(code) for index, code in enumerate(codes)]


def run(data: bytes) -> None:
    """Parse what the first byte says."""
    if not data:
        return
    what, content = data[0], data[1:]
    try:
        if what == 0:
            _stream(content)
        elif what >= 128:
            codec, dtype = _codecs()[what % len(_codecs())]
            array = codec.decode(content)
            assert (array.shape, array.dtype) == (_SHAPE, dtype)
        elif what in _PARSERS:
            _PARSERS[Kind(what)](content)
    except (FrameFault, CodecFault, OptcError) as fault:
        assert 0 < len(str(fault)) < 1000 and "\n" not in str(fault).split("hint")[0].strip()


def _stream(content: bytes) -> None:
    reader, at = Reader(Seals(), _FRAME_LIMIT), 0
    while at < len(content):
        step = 1 + content[at] % 97
        for header, payload in reader.feed(content[at : at + step]):
            if header.kind in _PARSERS:
                _PARSERS[header.kind](payload)
        assert reader.pending <= _FRAME_LIMIT + 256
        at += step


def mutate(data: bytes, choices: random.Random) -> bytes:
    """Change numbers of 1, 2 and 4 bytes to extreme ones; in streams also seal the frames anew."""
    changed = bytearray(data)
    for _ in range(choices.randint(1, 4)):
        if len(changed) < 2:
            break
        at, width = choices.randrange(1, len(changed)), choices.choice([1, 2, 4])
        number = choices.choice([0, 1, 255, 256, 65535, 1 << 24, (1 << 31) - 1, (1 << 32) - 1, choices.getrandbits(32)])
        changed[at : at + width] = (number & (256**width - 1)).to_bytes(width, "big")
        if choices.random() < 0.2:
            del changed[at : at + choices.randint(1, 40)]
    if changed and changed[0] == 0 and choices.random() < 0.7:
        kind = choices.choice(list(_PARSERS))
        payload = bytes(changed[1 : 1 + choices.randint(0, 400)])
        changed = bytearray(b"\0" + b"".join(bytes(piece) for piece in pack(Seals(), kind, 7, _MODEL, [payload])))
    return bytes(changed)


SURFACE = Surface("split_frames", seeds, run, mutate)
