"""Direct convolution (one group) with a register tile of output channels times output columns.

Data is read where it lies (any layout), one scalar a step; the padding is never materialised: rows outside the data
shorten the loop over the kernel's rows, and columns outside are left out of the unrolled steps at both ends of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand, data_block
from optc.backends.tvm.templates.rows import Packed, RowNest
from optc.backends.tvm.templates.window import row_steps, window_of
from optc.backends.tvm.templates.windowed import ColumnTile, Reduction, WindowedTemplate, WindowNest
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class Conv2d(WindowedTemplate):
    """1-D and 2-D convolutions of one group with constant weights.

    Schedule: `columns` by `vectors` accumulators; `channels_outer` sweeps all rows with one tile of channels (its
    weights stay in cache) instead of all channels with one row; `taps_outer` puts the input channels innermost.
    """

    name = "conv2d"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        conv = group.anchor
        if conv is None or conv.name != "onnx.Conv":
            return "not a convolution"
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        if conv.attributes.get("group", 1) != 1:
            return "more than one group"
        if len(conv.results[0].shape) not in (3, 4):
            return "neither 1-D nor 2-D"
        if not conv.results[0].dtype.is_float:
            return f"elements of type {conv.results[0].dtype}"
        weight = conv.operands[1]
        if weight is None or weight.owner is not group.body or weight.index not in group.constants:
            return "the weights are not constant"
        if len(weight.uses) != 1:
            return "the weights are read twice"
        return epilogue.blocks_refusal(group, target) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        conv = _anchor(group)
        window = window_of(conv)
        assert window is not None
        width = epilogue.padded_channels(group, target)
        shapes = tiles.register_shapes(target, window.columns.out, width)
        long_rows = int(conv.operands[0].shape[1] >= LONG_ROW)  # type: ignore[union-attr]
        points = [
            (("channels_outer", outer), ("columns", columns), ("taps_outer", long_rows), ("vectors", vectors))
            for columns, vectors in shapes
            for outer in (0, 1)
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        conv, knobs = _anchor(group), dict(schedule)
        data, weight = conv.operands[0], conv.operands[1]
        assert data is not None and weight is not None
        block, width = data_block(data, target), epilogue.padded_channels(group, target)
        steps = -(-data.shape[1] // block) * block * math.prod(weight.shape[2:])
        tile_width = min(tiles.lanes_of(target) * knobs["vectors"], width)
        packing = pack_weights(tile_width, width, block, bool(knobs["taps_outer"]))
        return {weight.index: Packed((width * steps,), packing)}

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        knobs = dict(schedule)
        group, conv = fused.group, fused.anchor
        window = window_of(conv)
        weight_value = conv.operands[1]
        assert window is not None and weight_value is not None
        channels = data.value.shape[1]
        lanes = tiles.lanes_of(target)
        width = epilogue.padded_channels(group, target)
        tile_width = min(lanes * knobs["vectors"], width)
        block = data.block
        blocks, taps = -(-channels // block), window.rows.kernel * window.columns.kernel
        steps = blocks * taps * block
        weights = fused.inputs[weight_value.index]

        def reduction(place: ColumnTile, size: int, register: tiles.RegisterTile) -> Reduction:
            n, channel, row, start = place.image, place.channel, place.row, place.start
            first_row, row_count = window.rows.taps(row)

            def summed(step: tiles.Step) -> Stmt:
                def multiply(channel_in: Any, kh: Any, kw: Any, valid: list[int]) -> Stmt:
                    tap = kh * window.columns.kernel + kw
                    outer, within = channel_in // block, channel_in % block
                    if knobs["taps_outer"]:
                        position = tap * (blocks * block) + channel_in
                    else:
                        position = (outer * taps + tap) * block + within

                    def product(column: int, offset: int, lane: Any) -> Any:
                        reads = window.logical(window.rows.reads(row, kh), window.columns.reads(start + column, kw))
                        weight = weights[channel * steps + position * size + offset + lane]
                        return data.read((n, outer, *reads), within) * weight.astype(data.accumulator)

                    return step(product, valid)

                def kernel_rows(body: Callable[[Any], Stmt]) -> Stmt:
                    return loops.serial(row_count, body, "kh", start=first_row)

                def kernel_columns(body: Callable[[Any, list[int]], Stmt]) -> Stmt:
                    return row_steps(window.columns, start, place.columns, place.interior, body)

                # One loop over all input channels: LLVM would unroll a loop over one block, and take long over it.
                def input_channels(body: Callable[[Any], Stmt]) -> Stmt:
                    return loops.serial(blocks * block, body, "ci")

                if knobs["taps_outer"]:
                    return kernel_rows(
                        lambda kh: kernel_columns(
                            lambda kw, valid: input_channels(lambda c: multiply(c, kh, kw, valid))
                        )
                    )
                return input_channels(
                    lambda c: kernel_rows(lambda kh: kernel_columns(lambda kw, valid: multiply(c, kh, kw, valid)))
                )

            return summed

        nest = WindowNest(fused, target, width, tile_width, reduction, fused.optional(conv.operand(2)))
        return nest.rows(knobs, channels_outer=bool(knobs["channels_outer"]))

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        conv = _anchor(group)
        window = window_of(conv)
        assert window is not None and conv.operands[0] is not None
        channels = conv.operands[0].shape[1]
        width = epilogue.padded_channels(group, target)
        steps = channels * window.rows.kernel * window.columns.kernel
        return tiles.estimate(
            target,
            rows=conv.results[0].shape[0] * window.rows.out,
            columns=window.columns.out,
            width=width,
            steps=steps,
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else conv.results[0].shape[0] * window.rows.out,
            data_bytes=conv.operands[0].tensor_type.bytes,
            spare=8 if knobs["taps_outer"] or steps == channels else UNROLLED_SPARE,
        )


UNROLLED_SPARE = 3  # LLVM needs a third of the registers where it unrolls the loop over the taps
LONG_ROW = 16  # channels from which the loop over them is long enough to be the innermost one


def _anchor(group: Group) -> Operation:
    assert group.anchor is not None
    return group.anchor


def pack_weights(tile: int, width: int, block: int, taps_outer: bool) -> Packing:
    """Weights (O, I, …taps) as one run per tile of output channels: [I/block][taps][block][channels of the tile].

    With `taps_outer` the first two change places.

    Channels are filled up with zeros: outputs to `width`, inputs to a multiple of `block`.
    """

    return Packing(
        (
            ("reshape", (0, 0, -1)),
            ("pad", (width, 0, 0)),
            ("block", (1, block)),
            ("transpose", (3, 1, 2, 0) if taps_outer else (1, 3, 2, 0)),
            ("panels", (tile,)),
        )
    )
