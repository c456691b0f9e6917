"""Depthwise convolution in blocked layouts: one channel block a vector, a register tile of output columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand, block_of, data_block
from optc.backends.tvm.templates.rows import Packed, RowNest
from optc.backends.tvm.templates.window import row_steps, window_of
from optc.backends.tvm.templates.windowed import ColumnTile, Reduction, WindowedTemplate, WindowNest
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Buffer, Stmt

    from optc.targets.target import Target


class Depthwise(WindowedTemplate):
    """1-D and 2-D convolutions with one filter for each channel, whose data is blocked by channels.

    Schedule: `columns` output columns a tile; `unrolled` writes out the kernel's columns, so that neighbouring outputs
    share what they load.
    """

    name = "depthwise"
    priority = 20
    convolution: ClassVar[str] = "onnx.Conv"

    def elements_refusal(self, group: Group) -> str | None:
        """Why the template does not multiply elements of these types."""
        result = _anchor(group).results[0]
        return None if result.dtype.is_float else f"elements of type {result.dtype}"

    def bias(self, fused: FusedContraction) -> LogicalTensor | None:
        """What is added to every sum of a channel."""
        return fused.optional(fused.anchor.operand(2))

    def refuses(self, group: Group, target: Target) -> str | None:
        conv = group.anchor
        if conv is None or conv.name != self.convolution:
            return "not a convolution"
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        data, weight, result = conv.operands[0], conv.operands[1], conv.results[0]
        assert data is not None and weight is not None
        if conv.attributes.get("group", 1) != data.shape[1] or result.shape[1] != data.shape[1]:
            return "not one filter for each channel"
        if len(result.shape) not in (3, 4):
            return "neither 1-D nor 2-D"
        refusal = self.elements_refusal(group)
        if refusal is not None:
            return refusal
        if data.producer is None and block_of(data.tensor_type, 1) == 1:
            return "the data is not blocked by channels"
        if data_block(data, target) == 1:
            return "the channels cannot be blocked"
        if weight.owner is not group.body or weight.index not in group.constants or len(weight.uses) != 1:
            return "the weights are not constant"
        if any(data_block(data, target) % factor for factor in epilogue.channel_blocks(group)):
            return "an output has another channel block"
        return epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        window = window_of(_anchor(group))
        assert window is not None
        width = window.columns.out
        most = max(4, target.vector_registers // 2)
        shapes = {-(-width // -(-width // limit)) for limit in range(1, most + 1)}
        points = [
            (("columns", columns), ("unrolled", unrolled))
            for columns in shapes
            if columns >= min(width, 4)
            for unrolled in (1, 0)
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        data, weight = _anchor(group).operands[0], _anchor(group).operands[1]
        assert data is not None and weight is not None
        block = data_block(data, target)
        packing = Packing((("reshape", (0, -1)), ("block", (0, block)), ("transpose", (0, 2, 1))))
        shape = (-(-data.shape[1] // block), math.prod(weight.shape[2:]), block)
        return {weight.index: Packed(shape, packing)}

    def reduction(
        self, data: Operand, weights: Buffer, place: ColumnTile, schedule: Schedule, target: Target
    ) -> Reduction:
        """What makes the loops over the taps of a tile."""
        window, row, start, number = place.window, place.row, place.start, place.channel // data.block
        unrolled = bool(dict(schedule)["unrolled"])
        first_row, row_count = window.rows.taps(row)

        def reduction(step: tiles.Step) -> Stmt:
            def taps_of_row(kh: Any) -> Stmt:
                def tap(kw: Any, inside: list[int]) -> Stmt:
                    def product(column: int, offset: int, lane: Any) -> Any:
                        reads = window.logical(window.rows.reads(row, kh), window.columns.reads(start + column, kw))
                        weight = weights[number, kh * window.columns.kernel + kw, offset + lane]
                        return data.read((place.image, number, *reads), offset + lane) * weight.astype(data.accumulator)

                    return step(product, inside)

                return row_steps(window.columns, start, place.columns, place.interior, tap, unroll=unrolled)

            return loops.serial(row_count, taps_of_row, "kh", start=first_row)

        return reduction

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        conv, block = fused.anchor, data.block
        weight = conv.operands[1]
        assert weight is not None
        weights = fused.inputs[weight.index]

        def reduction(place: ColumnTile, size: int, register: tiles.RegisterTile) -> Reduction:
            return self.reduction(data, weights, place, schedule, target)

        width = -(-data.value.shape[1] // block) * block
        nest = WindowNest(fused, target, width, block, reduction, self.bias(fused))
        return nest.rows(dict(schedule), channels_outer=True)

    def tile_work(self, group: Group, schedule: Schedule, target: Target, vectors: float) -> float:
        """The multiply-adds of whole vectors of floats that take as long as the sums of a tile of so many `vectors`."""
        knobs, window = dict(schedule), window_of(_anchor(group))
        assert window is not None
        columns, taps = knobs["columns"], window.rows.kernel * window.columns.kernel
        shared = knobs["unrolled"] and window.columns.stride == 1
        work = taps * columns * vectors * (1.0 if shared else 1.02) + (CODE if knobs["unrolled"] else 0)
        if columns + (window.columns.kernel if shared else 1) > target.vector_registers - 2:
            work *= tiles.SPILL
        return work

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        conv = _anchor(group)
        window = window_of(conv)
        assert window is not None and conv.operands[0] is not None
        block = data_block(conv.operands[0], target)
        lanes = min(block, tiles.lanes_of(target))
        vector_seconds = 2 * tiles.lanes_of(target) / target.peak_flops.get("f32", 2.0e9)
        vectors = block // lanes * max(lanes / tiles.lanes_of(target), 0.5)
        work = self.tile_work(group, schedule, target, vectors)
        row_work = -(-window.columns.out // knobs["columns"]) * (work + window.rows.kernel * 3 + tiles.TILE_OVERHEAD)
        rows = conv.results[0].shape[0] * -(-conv.results[0].shape[1] // block) * window.rows.out
        moved = conv.operands[0].tensor_type.bytes + conv.results[0].tensor_type.bytes
        return rows * row_work * vector_seconds + tiles.traffic(target, moved, moved)


CODE = 12  # multiply-adds' worth of the larger code


def _anchor(group: Group) -> Operation:
    assert group.anchor is not None
    return group.anchor
