"""Direct convolution of unsigned bytes with signed ones (one group): the register tile of `conv2d` in dot products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.dot_weights import FOUR
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.dot_tile import DotTile, kind_of, operands_refusal, peak_of, weights_of
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.quads import Quads, quads_of
from optc.backends.tvm.templates.rows import Packed, RowNest
from optc.backends.tvm.templates.window import Window, row_steps, window_of
from optc.backends.tvm.templates.windowed import ColumnTile, Reduction, WindowedTemplate, WindowNest
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class IntegerConv(WindowedTemplate):
    """1-D and 2-D `onnx.ConvInteger` of one group with constant weights.

    Padding is the zero point of the data, whose products come to nothing: taps outside the data are left out, of the
    loops as of what the sums start from.

    Schedule: `columns` by `vectors` accumulators; `channels_outer` sweeps all rows with one tile of channels (its
    weights stay in cache) instead of all channels with one row.
    """

    name = "integer_conv"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        conv = group.anchor
        if conv is None or conv.name != "onnx.ConvInteger":
            return "not a convolution of integers"
        refusal = static_refusal(group) or operands_refusal(group)
        if refusal is not None:
            return refusal
        if len(conv.results[0].shape) not in (3, 4):
            return "neither 1-D nor 2-D"
        return self._groups_refusal(group, target) or epilogue.blocks_refusal(group, target) or epilogue_refusal(group)

    def _groups_refusal(self, group: Group, target: Target) -> str | None:
        return "more than one group" if groups_of(group) != 1 else None

    def space(self, group: Group, target: Target) -> list[Schedule]:
        conv, window = _conv(group)
        width = epilogue.padded_channels(group, target)
        held = kind_of(conv, target, width).registers
        points = [
            (("channels_outer", outer), ("columns", columns), ("vectors", vectors))
            for columns, vectors in tiles.register_shapes(target, window.columns.out, width, held)
            for outer in (0, 1)
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        conv, _ = _conv(group)
        packed = self.dots(group, schedule, target).packed((("reshape", (0, 0, -1)),))
        return {weights_of(conv).index: packed}

    def dots(self, group: Group, schedule: Schedule, target: Target) -> DotTile:
        """The products of a schedule's point."""
        conv, window = _conv(group)
        data = conv.operands[0]
        assert data is not None
        return DotTile.of(
            conv,
            target,
            dict(schedule)["vectors"],
            width=epilogue.padded_channels(group, target),
            taps=math.prod(weights_of(conv).shape[2:]),
            quads=quads_of(data, 1),
            columns=window.columns.kernel,
        )

    def begin(self, group: Group, schedule: Schedule, target: Target, channel: Any) -> Any:
        """The input channel that the first weights of the tile of channels from `channel` on meet."""
        return 0

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        data = fused.anchor.operands[0]
        assert data is not None
        return Quads(fused, data, 1)

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        assert isinstance(data, Quads)
        knobs, group = dict(schedule), fused.group
        conv, window = _conv(group)
        dots = self.dots(group, schedule, target)
        weights = fused.inputs[weights_of(conv).index]

        def reduction(place: ColumnTile, size: int, register: tiles.RegisterTile) -> Reduction:
            n, channel, row, start = place.image, place.channel, place.row, place.start
            columns, interior = place.columns, place.interior
            first_row, row_count = window.rows.taps(row)
            begin = self.begin(group, schedule, target, channel) // (FOUR * data.run)

            def lanes_at(offset: int) -> int:
                return register.vectors[register.offsets.index(offset)]

            def rows_of_kernel(body: Callable[[Any], Stmt]) -> Stmt:
                return loops.serial(row_count, body, "kh", start=first_row)

            def starts(step: tiles.Step) -> Stmt:
                def all_taps(kh: Any) -> Stmt:
                    def add(column: int, offset: int, total: Any) -> Any:
                        return total + dots.start_of_row(weights, kh, channel + offset, lanes_at(offset))

                    return step.change(add)

                def taps_inside(kh: Any) -> Stmt:
                    def add(kw: Any, valid: list[int]) -> Stmt:
                        tap = kh * window.columns.kernel + kw
                        return step.change(
                            lambda column, offset, total: (
                                total + dots.start_of_tap(weights, tap, channel + offset, lanes_at(offset))
                            ),
                            valid,
                        )

                    return row_steps(window.columns, start, columns, interior, add)

                return rows_of_kernel(all_taps if interior else taps_inside)

            def sums(step: tiles.Step) -> Stmt:
                def products(kh: Any, kw: Any, valid: list[int], number: Any) -> Stmt:
                    def reads(column: int) -> tuple[Any, ...]:
                        at = window.rows.reads(row, kh), window.columns.reads(start + column, kw)
                        return (n, *window.logical(*at))

                    tap = kh * window.columns.kernel + kw
                    return dots.turn(step, data, reads, valid, weights, (channel, size), tap, number, begin)

                def kernel_row(kh: Any) -> Stmt:
                    return row_steps(
                        window.columns,
                        start,
                        columns,
                        interior,
                        lambda kw, valid: loops.serial(
                            dots.quads // data.run, lambda number: products(kh, kw, valid, number), "ci"
                        ),
                    )

                summed = rows_of_kernel(kernel_row)
                return loops.sequence([starts(step), summed]) if dots.zero else summed

            return sums

        nest = WindowNest(fused, target, dots.width, dots.tile, reduction)
        return nest.rows(knobs, channels_outer=bool(knobs["channels_outer"]))

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        conv, window = _conv(group)
        data = conv.operands[0]
        assert data is not None
        width = epilogue.padded_channels(group, target)
        kind = kind_of(conv, target, width)
        rows = conv.results[0].shape[0] * window.rows.out
        return tiles.estimate(
            target,
            rows=rows,
            columns=window.columns.out,
            width=width,
            steps=self.dots(group, schedule, target).quads * window.rows.kernel * window.columns.kernel,
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else rows,
            data_bytes=data.tensor_type.bytes,
            peak=peak_of(target) * kind.rate,
            depth=FOUR,
            step_bytes=FOUR * kind.weight_bytes,
            held=kind.registers,
        )


def _conv(group: Group) -> tuple[Operation, Window]:
    assert group.anchor is not None
    window = window_of(group.anchor)
    assert window is not None
    return group.anchor, window


def groups_of(group: Group) -> int:
    """Of the convolution."""
    assert group.anchor is not None
    return int(group.anchor.attributes.get("group", 1))  # type: ignore[arg-type]
