"""Depthwise convolution of unsigned bytes with signed ones: the tiles of `depthwise`, sums in 32 bits.

Nothing is summed across channels, so that dot products add four taps. Where they gain nothing bytes are widened as they
are read; LLVM multiplies pairs of 16-bit numbers where it sees that both factors fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.dot_weights import FOUR
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates.depthwise import Depthwise
from optc.backends.tvm.templates.dot_product import DotProduct, has_feature
from optc.backends.tvm.templates.dot_tile import kind_of, operands_refusal, weights_of, zero_of
from optc.backends.tvm.templates.operand import Operand, data_block
from optc.backends.tvm.templates.rows import Packed
from optc.backends.tvm.templates.tap_quads import TapQuads, packed_quads
from optc.backends.tvm.templates.window import window_of
from optc.backends.tvm.templates.windowed import ColumnTile, Reduction
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation, Value

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr

    from optc.targets.target import Target


class Centered(Operand):
    """Bytes less their zero point, in 32 bits."""

    def __init__(self, fused: FusedContraction, value: Value, block: int, zero: int) -> None:
        super().__init__(fused, value, block)
        self._zero = zero

    def read(self, indices: Sequence[Any], within: Any = None) -> PrimExpr:
        element = super().read(indices, within)
        return element - loops.constant(self._zero) if self._zero else element


class IntegerDepthwise(Depthwise):
    """`onnx.ConvInteger` with one filter for each channel, whose data is blocked by channels; see `Depthwise`."""

    name = "integer_depthwise"
    convolution = "onnx.ConvInteger"

    def elements_refusal(self, group: Group) -> str | None:
        return operands_refusal(group)

    def bias(self, fused: FusedContraction) -> LogicalTensor | None:
        return None

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        data = fused.anchor.operands[0]
        assert data is not None
        return Centered(fused, data, data_block(data, target), zero_of(fused.anchor))

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        conv = group.anchor
        assert conv is not None
        if dots_of(conv, target) is None:
            return super().packed(group, schedule, target)
        data, window = conv.operands[0], window_of(conv)
        assert data is not None and window is not None
        return {weights_of(conv).index: packed_quads(data.shape[1], window, data_block(data, target))}

    def reduction(
        self, data: Operand, weights: Buffer, place: ColumnTile, schedule: Schedule, target: Target
    ) -> Reduction:
        conv = data.fused.anchor
        kind = dots_of(conv, target)
        if kind is None:
            return super().reduction(data, weights, place, schedule, target)
        return TapQuads(data, weights, place, kind, zero_of(conv), has_feature(BYTES_OF_TWO, target))

    def space(self, group: Group, target: Target) -> list[Schedule]:
        points = super().space(group, target)
        if group.anchor is None or dots_of(group.anchor, target) is None:
            return points
        return [point for point in points if dict(point)["unrolled"]]  # dot products are always written out

    def tile_work(self, group: Group, schedule: Schedule, target: Target, vectors: float) -> float:
        conv = group.anchor
        assert conv is not None
        kind, window = dots_of(conv, target), window_of(conv)
        assert window is not None
        if kind is None:
            return super().tile_work(group, schedule, target, vectors)
        axis, columns, taps = window.columns, dict(schedule)["columns"], range(window.columns.kernel)
        places = {axis.reads(column, tap) for column in range(columns) for tap in taps}
        together, product = WORK[kind.name]
        return vectors * -(-window.rows.kernel // FOUR) * (len(places) * together + columns * len(taps) * product)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        assert group.anchor is not None
        seconds = super().estimate(group, schedule, target)
        return seconds if dots_of(group.anchor, target) else WIDENING * seconds


def dots_of(conv: Operation, target: Target) -> DotProduct | None:
    """The dot product of taps; None where none gains anything."""
    data = conv.operands[0]
    assert data is not None
    kind = kind_of(conv, target, data_block(data, target))
    return kind if kind.add_by_lane else None


BYTES_OF_TWO = "avx512vbmi"  # the extension that picks any bytes of two registers

# By kind, in multiply-adds of floats on Zen 4 with 32-byte vectors: to put four taps together, and a product with them.
WORK = {
    "vpdpbusd": (3.0, 0.4),
    "vpdpbusd-vex": (5.0, 0.4),
    "vpmaddubsw": (5.0, 1.45),
    "vpmaddwd": (3.3, 2.35),
}
WIDENING = 1.9  # times as long as multiply-adds of floats, likewise
