"""Matrix products of unsigned bytes with a constant matrix of signed ones, packed for a register tile."""

from __future__ import annotations

import math
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
from optc.backends.tvm.templates.rows import Geometry, Packed, RowNest, RowTemplate
from optc.backends.tvm.templates.window import Axis
from optc.ir.core import Operation, Value

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class IntegerGemm(RowTemplate):
    """`onnx.MatMulInteger` whose right operand is a constant matrix; also with a single row.

    Schedule: `columns` rows of the left operand meet `vectors` vectors of the packed matrix in one tile; with
    `channels_outer` one tile of the matrix stays in cache while all rows pass, otherwise the other way round.
    """

    name = "integer_gemm"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        product = group.anchor
        if product is None or product.name != "onnx.MatMulInteger":
            return "not a matrix product of integers"
        refusal = static_refusal(group) or operands_refusal(group)
        if refusal is not None:
            return refusal
        if len(weights_of(product).shape) != 2:
            return "the right operand is no matrix"
        if len(_left(product).shape) < 2:
            return "the left operand is a vector"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        product, _, rows, columns = _extents(group)
        width = _padded(columns, target)
        held = kind_of(product, target, width).registers
        points = [
            (("channels_outer", outer), ("columns", tile_rows), ("vectors", vectors))
            for tile_rows, vectors in tiles.register_shapes(target, rows, width, held)
            for outer in ((0, 1) if rows > tile_rows else (1,))
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        packed = _dot_tile(group, schedule, target).packed((("transpose", (1, 0)), ("reshape", (0, 0, 1))))
        return {weights_of(_extents(group)[0]).index: packed}

    def geometry(self, group: Group, schedule: Schedule) -> Geometry:
        _, batch, rows, _ = _extents(group)
        height = dict(schedule)["columns"]
        pieces = -(-rows // height)
        return Geometry(batch, Axis(pieces, pieces, 1), len(batch), height)

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        left = _left(fused.anchor)
        return Quads(fused, left, len(left.shape) - 1)

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        assert isinstance(data, Quads)
        knobs, group, lanes = dict(schedule), fused.group, tiles.lanes_of(target)
        product, _, rows, columns = _extents(group)
        dots = _dot_tile(group, schedule, target)
        full, rest = columns // dots.tile, dots.width - columns // dots.tile * dots.tile
        row_full, row_rest = divmod(rows, knobs["columns"])
        weights = fused.inputs[weights_of(product).index]
        granule = epilogue.narrowest_block(group, lanes)

        def tile(lead: tuple[Any, ...], row: Any, count: int, column: Any, size: int) -> Stmt:
            register = tiles.RegisterTile(count, tiles.vectors_of(size, lanes), data.accumulator)

            def lanes_at(offset: int) -> int:
                return register.vectors[register.offsets.index(offset)]

            def reduction(step: tiles.Step) -> Stmt:
                def start(_: int, offset: int, __: Any) -> Any:
                    return dots.start_of_row(weights, 0, column + offset, lanes_at(offset))

                def place(number: int) -> tuple[Any, ...]:
                    return (*lead, row + number)

                summed = loops.serial(
                    data.count // data.run,
                    lambda turn: dots.turn(step, data, place, None, weights, (column, size), 0, turn),
                    "k",
                )
                return loops.sequence([step.change(start), summed]) if dots.zero else summed

            def finish(number: Any, offset: int, lane: Any, value: Any) -> Stmt:
                return fused.finish(value, (*lead, row + number, column + offset + lane))

            valid = columns - column if isinstance(column, int) else size
            staged = epilogue.is_long(group) and count > 1
            return register.emit(reduction, finish, lambda *_: None, valid, granule, staged=staged)

        def piece(lead: tuple[Any, ...], column_tile: Any, row_tile: Any) -> Stmt:
            return tiles.either(
                column_tile,
                full,
                rest,
                dots.tile,
                lambda column, size: tiles.either(
                    row_tile,
                    row_full,
                    row_rest,
                    knobs["columns"],
                    lambda row, count: tile(lead, row, count, column, size),
                ),
            )

        return RowNest(full + bool(rest), bool(knobs["channels_outer"]), piece)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        product, batch, rows, columns = _extents(group)
        left, width = _left(product), _padded(columns, target)
        kind = kind_of(product, target, width)
        return tiles.estimate(
            target,
            rows=math.prod(batch),
            columns=rows,
            width=width,
            steps=quads_of(left, len(left.shape) - 1),
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else math.prod(batch) * -(-rows // knobs["columns"]),
            data_bytes=left.tensor_type.bytes,
            peak=peak_of(target) * kind.rate,
            depth=FOUR,
            step_bytes=FOUR * kind.weight_bytes,
            held=kind.registers,
        )


def _left(product: Operation) -> Value:
    left = product.operands[0]
    assert left is not None
    return left


def _extents(group: Group) -> tuple[Operation, tuple[int, ...], int, int]:
    """The product, its batch, rows and columns."""
    product = group.anchor
    assert product is not None
    left = _left(product)
    return product, tuple(left.shape[:-2]), left.shape[-2], weights_of(product).shape[1]


def _padded(columns: int, target: Target) -> int:
    granule = min(8, tiles.lanes_of(target))
    return -(-columns // granule) * granule


def _dot_tile(group: Group, schedule: Schedule, target: Target) -> DotTile:
    product, _, _, columns = _extents(group)
    left = _left(product)
    return DotTile.of(
        product,
        target,
        dict(schedule)["vectors"],
        width=_padded(columns, target),
        quads=quads_of(left, len(left.shape) - 1),
    )
