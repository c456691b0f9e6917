"""Weights read while a model runs: in C, under the compiler's race and memory checkers, and the generated text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sanitizer_kit
from native_kit import BYTES, SLOT, input_at, output_at, slot, tensor

from optc.backends.host.entry import emit_entry
from optc.backends.host.link import runtime_sources
from optc.backends.host.stream import Piece, StreamedPiece, WeightStream
from optc.errors import InternalError
from optc.program import Branch, CopyStep, KernelCall, Location, Program

WEIGHTS = 6
STREAMED = Path(__file__).parent / "streamed.c"
KERNELS = r"""
#include <stdint.h>
typedef int (*body)(int, void*, void*);
typedef struct { void* sync; int32_t tasks; } environment;
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(body, void*, int);
struct operands { const float *a, *b; float* c; };
static int add_share(int task, void* env, void* data) {
  const struct operands* o = data;
  for (int i = task; i < 1000; i += ((environment*)env)->tasks) o->c[i] = o->a[i] + o->b[i];
  return 0;
}
int32_t add(const float* a, const float* b, float* c) {
  struct operands o = {a, b, c};
  return __TVMBackendParallelLaunch(add_share, &o, 0);
}
int32_t checked(const float* x, const float* b, float* c) {
  return x[0] == 13 ? -1 : add(x, b, c);
}
"""


def weight(number: int) -> Location:
    return Location("weights", number * SLOT, BYTES)


def sums() -> Program:
    """y = x + w0 + ... + w5; the third step, `checked`, sees x, and adds what was added before it afterwards."""
    steps = [
        KernelCall("add", (weight(0), weight(1), slot(0)), "first"),
        KernelCall("add", (slot(0), weight(2), slot(1)), "second"),
        KernelCall("checked", (input_at(0), weight(3), slot(0)), "third"),
        KernelCall("add", (slot(0), slot(1), slot(2)), "fourth"),
        KernelCall("add", (slot(2), weight(4), slot(0)), "fifth"),
        KernelCall("add", (slot(0), weight(5), output_at(0)), "sixth"),
    ]
    return Program((tensor("x"),), (tensor("y"),), 3 * SLOT, WEIGHTS * SLOT, tuple(steps))


def piece(number: int, place: int, step: int, after: int, earlier: bool = False) -> StreamedPiece:
    return StreamedPiece(number * SLOT, place * SLOT, SLOT, step, after, earlier)


def stream(locked: int) -> WeightStream:
    """The first weight stays, or none; two places for those from w2 on."""
    loads = [piece(2, 2, 1, 4, True), piece(3, 3, 2, 5, True), piece(4, 2, 4, 1), piece(5, 3, 5, 2)]
    if locked:
        return WeightStream(4 * SLOT, [Piece(0, 0, 2 * SLOT)], loads)
    return WeightStream(4 * SLOT, [], [piece(0, 0, 0, 0, True), piece(1, 1, 0, 0, True), *loads])


@pytest.mark.parametrize(("check", "locked"), [("races", 1), ("memory", 0)])
def test_streamed(check: str, locked: int, tmp_path: Path) -> None:
    sanitizer_kit.require(check)
    entry = emit_entry(sums(), "streamed", stream=stream(locked))
    sources = {**runtime_sources(), "model.c": entry, "streamed.c": STREAMED.read_text()}
    out, err, code = sanitizer_kit.run(sanitizer_kit.build(tmp_path, check, sources, KERNELS))
    assert (err, code) == ("", 0)
    missing = 2 * SLOT if locked else SLOT + 64
    assert out.splitlines() == [
        f"the weights of {('first', 'second')[locked]} cannot be loaded: weights.bin no longer has byte {missing}",
        f"cannot open ./weights.bin: {os.strerror(2)}",
        f"./weights.bin has 64 bytes, and the code expects {WEIGHTS * SLOT}: the files are not of one artifact",
        "the model reads its weights from weights.bin while it runs: open it with optc_model_init",
    ]


def test_the_generated_steps() -> None:
    text = emit_entry(sums(), "streamed", stream=stream(1))
    body = text[text.index("static int run") : text.index("static const optc_load")]
    lines = [line.strip().split(" /*")[0] for line in body.splitlines()[1:-2]]
    assert lines[:4] == [
        f"OPTC_KERNEL(0, add(OPTC_WEIGHTS(0), OPTC_WEIGHTS({SLOT}), OPTC_ARENA(0)));",
        "OPTC_AWAIT(1, 1);",
        f"OPTC_KERNEL(1, add(OPTC_ARENA(0), OPTC_WEIGHTS({2 * SLOT}), OPTC_ARENA({SLOT})));",
        "OPTC_ENDED(1);",
    ]
    assert f"{{{4 * SLOT}, {2 * SLOT}, {SLOT}, 1, 0}}," in text
    assert f"static const optc_stream_table stream = {{{4 * SLOT}, 1, 5, stream_loads}};" in text
    assert f".weights_bytes = {WEIGHTS * SLOT}," in text


def test_copies_of_a_part() -> None:
    """A copy may begin anywhere inside of a piece."""
    copy = CopyStep(Location("weights", SLOT + 68, 8), Location("output", 4, 8))
    program = Program((), (tensor("y"),), 0, 2 * SLOT, (copy,))
    moved = WeightStream(SLOT, [], [piece(1, 0, 0, 0, True)]).placed(program).steps[0]
    assert isinstance(moved, CopyStep) and moved.source.offset == 68
    with pytest.raises(InternalError, match=f"no load brings the weights at {SLOT + 68}"):
        WeightStream(SLOT, [Piece(0, 0, SLOT)], []).placed(program)


def test_branches_are_refused() -> None:
    program = Program((tensor("x"),), (), 0, 0, (Branch(input_at(0), (), (), "if"),))
    with pytest.raises(InternalError, match="every run makes the same calls"):
        WeightStream(0, [], []).placed(program)
