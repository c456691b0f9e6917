"""Frames, tensors and messages: what is written is read again, and nothing else is taken for it."""

from __future__ import annotations

import dataclasses
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.artifact.split_record import CutTensor
from optc.runtime.split.frames import (
    HEADER_BYTES,
    OVERHEAD,
    FrameFault,
    Header,
    Kind,
    Reader,
    Seals,
    pack,
    pack_header,
    parse_header,
)
from optc.runtime.split.messages import (
    Ready,
    Reply,
    Request,
    Statistics,
    pack_busy,
    pack_text,
    parse_busy,
    parse_ready,
    parse_reply,
    parse_request,
    parse_text,
)
from optc.runtime.split.tensors import CodedTensor, check_type, pack_tensors, parse_tensors

EXACT = settings(derandomize=True, deadline=None, max_examples=60)
KEY = b"k" * 32
MODEL = b"model  1"
LIMIT = 1 << 16

_frames = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=200)), min_size=1, max_size=5
)
_tensors = st.lists(
    st.builds(
        CodedTensor,
        st.sampled_from(["float32", "uint8", "bool", "int64", "bfloat16"]),
        st.lists(st.integers(0, 9), max_size=8).map(tuple),
        st.binary(max_size=50),
    ),
    max_size=4,
)


def stream(frames: list[tuple[Kind, int, bytes]], key: bytes = KEY) -> bytes:
    seals = Seals(key)
    return b"".join(b"".join(pack(seals, kind, number, MODEL, [payload])) for kind, number, payload in frames)


@EXACT
@given(_frames, st.data())
def test_frames_survive_any_portions(frames: list[tuple[Kind, int, bytes]], data: st.DataObject) -> None:
    content = stream(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    reader = Reader(Seals(KEY), LIMIT)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        found += reader.feed(content[begin:end])
    assert [(header.kind, header.request, payload) for header, payload in found] == frames
    assert all(header.model == MODEL for header, _ in found)
    assert reader.pending == 0


@EXACT
@given(_frames, st.data())
def test_any_changed_bit_is_noticed(frames: list[tuple[Kind, int, bytes]], data: st.DataObject) -> None:
    content = bytearray(stream(frames))
    at = data.draw(st.integers(0, 8 * len(content) - 1))
    content[at // 8] ^= 1 << at % 8
    reader = Reader(Seals(KEY), LIMIT)
    with pytest.raises(FrameFault):
        reader.feed(bytes(content))


@EXACT
@given(_frames, st.data())
def test_missing_bytes_make_no_frame(frames: list[tuple[Kind, int, bytes]], data: st.DataObject) -> None:
    """A stream that ends early gives the frames before its end; one with a hole gives those before the hole."""
    content = stream(frames)
    begin = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(begin + 1, len(content)))
    found = []
    reader = Reader(Seals(KEY), LIMIT)
    try:
        found += reader.feed(content[:begin])
        found += reader.feed(content[end:])
    except FrameFault:
        pass
    whole = [(header.kind, header.request, payload) for header, payload in found]
    assert whole == frames[: len(whole)]


@EXACT
@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_refused(garbage: bytes, begins_well: bool) -> None:
    reader = Reader(Seals(KEY), LIMIT)
    content = stream([(Kind.PING, 1, b"")]) + garbage if begins_well else garbage
    try:
        frames = reader.feed(content)
    except FrameFault:
        return
    assert len(frames) == begins_well
    assert reader.pending < HEADER_BYTES


def test_a_frame_cannot_be_repeated_moved_or_forged() -> None:
    first, second = stream([(Kind.REQUEST, 1, b"a")]), stream([(Kind.REQUEST, 1, b"a"), (Kind.REQUEST, 2, b"b")])
    for content in (first + first, second[len(first) :], stream([(Kind.REQUEST, 1, b"a")], key=b"j" * 32)):
        with pytest.raises(FrameFault, match="the seal of a frame does not match"):
            Reader(Seals(KEY), LIMIT).feed(content)


def test_headers_are_refused_with_a_reason() -> None:
    good = Header(Kind.PING, 1, MODEL, 10)
    assert parse_header(pack_header(good), 10) == good
    cases = {
        "a frame announces 10 bytes, and at most 9 are taken": (pack_header(good), 9),
        "the peer does not speak the protocol of split models": (b"GET / HTTP/1.1\r\nHost: x\r\n", 10),
        "the header of a frame is damaged": (pack_header(good)[:-1] + b"\0", 10),
        "a frame is of the unknown kind 99": (pack_header(dataclasses.replace(good, kind=99)), 10),  # type: ignore[arg-type]
    }
    for text, (content, limit) in cases.items():
        with pytest.raises(FrameFault) as caught:
            parse_header(content, limit)
        assert str(caught.value) == text


def test_announced_bytes_are_not_allocated() -> None:
    tracemalloc.start()
    reader = Reader(Seals(KEY), 1 << 30)
    reader.feed(pack_header(Header(Kind.REQUEST, 1, MODEL, 1 << 30)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.announced == 1 << 30
    assert peak < 1 << 16


def test_the_overhead_is_stated() -> None:
    assert len(stream([(Kind.REQUEST, 1, b"payload")])) == len(b"payload") + OVERHEAD


@EXACT
@given(_tensors)
def test_tensors_round_trip(tensors: list[CodedTensor]) -> None:
    size = sum(tensor.decoded_bytes for tensor in tensors)
    content = b"".join(map(bytes, pack_tensors(tensors)))
    found = parse_tensors(content, size)
    assert [dataclasses.replace(tensor, data=bytes(tensor.data)) for tensor in found] == tensors
    if size:
        with pytest.raises(FrameFault, match=f"take more than {size - 1} bytes"):
            parse_tensors(content, size - 1)


@EXACT
@given(_tensors, st.binary(max_size=8), st.data())
def test_damaged_lists_are_refused(tensors: list[CodedTensor], extra: bytes, data: st.DataObject) -> None:
    content = b"".join(map(bytes, pack_tensors(tensors)))
    end = data.draw(st.integers(0, len(content)))
    damaged = content[:end] + extra
    if damaged != content:
        try:
            found = parse_tensors(damaged, LIMIT)
        except FrameFault:
            return
        assert b"".join(map(bytes, pack_tensors(found))) == damaged


@EXACT
@given(st.binary(max_size=120))
def test_garbage_is_no_message(garbage: bytes) -> None:
    for parse in (partial(parse_request, limit=LIMIT), partial(parse_reply, limit=LIMIT), parse_busy, parse_ready):
        try:
            parse(garbage)
        except FrameFault as fault:
            assert str(fault)
    assert parse_text(garbage).isprintable()


def test_messages_round_trip() -> None:
    tensor = CodedTensor("uint8", (2,), b"ab")
    request = Request(3, 250, [tensor])
    assert parse_request(b"".join(map(bytes, request.pack())), 2) == request
    statistics = Statistics(7, 2, 1500, 900)
    reply = Reply(statistics, [tensor])
    assert parse_reply(b"".join(map(bytes, reply.pack())), 2) == reply
    ready = Ready(1 << 20, 1 << 19, 8, 2, 5)
    assert parse_ready(ready.pack()) == ready
    assert parse_busy(pack_busy(12, statistics)) == (12, statistics)
    assert parse_text(pack_text("a reason")) == "a reason"
    assert parse_text(b"\x1b[31mred\n\xff") == " [31mred \ufffd"


def test_a_tensor_of_another_type_is_refused() -> None:
    wanted = CutTensor("h", "float32", (1, 4), "raw", 16)
    check_type(CodedTensor("float32", (1, 4), b""), wanted)
    with pytest.raises(FrameFault) as caught:
        check_type(CodedTensor("uint8", (4, 1), b""), wanted)
    assert str(caught.value) == "'h' is float32 1×4, not uint8 4×1"
    with pytest.raises(FrameFault, match="tensors of type object cannot be sent"):
        pack_tensors([CodedTensor("object", (), b"")])
    assert np.dtype("float32").itemsize * 4 == CodedTensor("float32", (1, 4), b"").decoded_bytes
