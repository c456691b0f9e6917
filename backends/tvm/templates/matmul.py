"""Products of two computed matrices, batched or not, as attention needs them: nothing is packed ahead of time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand, contiguous, only_moved
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class ComputedMatMul(Template):
    """`onnx.MatMul` of operands with at least two axes each.

    Transposes and reshapes before the product become strides of its reads, where the right operand's rows stay
    contiguous; otherwise that operand is first written out in order.

    Schedule: `columns` rows of the left operand by `vectors` vectors of the right one in a tile; `channels_outer`
    keeps the columns of the right operand while all rows pass.
    """

    name = "matmul"
    priority = 10

    def refuses(self, group: Group, target: Target) -> str | None:
        product = group.anchor
        if product is None or product.name != "onnx.MatMul":
            return "not a matrix product"
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        left, right = product.operands[0], product.operands[1]
        assert left is not None and right is not None
        if min(len(left.shape), len(right.shape)) < 2:
            return "an operand is a vector"
        if not product.results[0].dtype.is_float:
            return f"elements of type {product.results[0].dtype}"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        *_, rows, columns = _anchor(group).results[0].shape
        points = [
            (("channels_outer", outer), ("columns", tile_rows), ("vectors", vectors))
            for tile_rows, vectors in tiles.register_shapes(target, rows, columns)
            for outer in ((0, 1) if rows > tile_rows else (1,))
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        knobs = dict(schedule)
        product, lanes = _anchor(group), tiles.lanes_of(target)
        *batch, rows, columns = product.results[0].shape
        left, right = product.operands[0], product.operands[1]
        assert left is not None and right is not None
        depth = left.shape[-1]
        fused = FusedContraction(group)
        a = Operand(fused, left, 1, moved=only_moved(left))
        b = Operand(fused, right, 1, moved=only_moved(right) and contiguous(fused, right), name="right")
        tile_width = min(lanes * knobs["vectors"], columns)
        full, rest = divmod(columns, tile_width)
        row_full, row_rest = divmod(rows, knobs["columns"])
        granule = epilogue.narrowest_block(group, lanes)
        result = product.results[0]

        def tile(lead: tuple[Any, ...], row: Any, count: int, column: Any, size: int) -> Stmt:
            register = tiles.RegisterTile(count, tiles.vectors_of(size, lanes), a.accumulator)

            def reduction(step: tiles.Step) -> Stmt:
                def multiply(k: Any) -> Stmt:
                    def term(number: int, offset: int, lane: Any) -> Any:
                        x = a.read((*_aligned(left.shape, lead), row + number, k))
                        return x * b.read((*_aligned(right.shape, lead), k, column + offset + lane))

                    return step(term)

                return loops.serial(depth, multiply, "k")

            def finish(number: Any, offset: int, lane: Any, value: Any) -> Stmt:
                place = (*lead, row + number, column + offset + lane)
                return fused.finish(value.astype(result.dtype.numpy_name), place)

            return register.emit(
                reduction, finish, lambda *_: None, size, granule, staged=epilogue.is_long(group) and count > 1
            )

        def task(lead: tuple[Any, ...], row_tile: Any, column_tile: Any) -> Stmt:
            def at_column(column: Any, size: int) -> Stmt:
                return tiles.either(
                    row_tile,
                    row_full,
                    row_rest,
                    knobs["columns"],
                    lambda row, count: tile(lead, row, count, column, size),
                )

            return tiles.either(column_tile, full, rest, tile_width, at_column)

        row_tiles, column_tiles = row_full + bool(row_rest), full + bool(rest)
        seconds = self.estimate(group, schedule, target)
        threads = tiles.worth_threads(seconds, target)
        if knobs["channels_outer"]:
            nest = loops.outer((*batch, column_tiles, row_tiles), lambda i: task(i[:-2], i[-1], i[-2]), threads=threads)
        else:
            nest = loops.outer((*batch, row_tiles, column_tiles), lambda i: task(i[:-2], i[-2], i[-1]), threads=threads)
        body = loops.sequence([*a.fill(target, seconds), *b.fill(target, seconds), nest])
        function = fused.function(body, [*a.scratches, *b.scratches])
        return KernelDefinition(function, {}, a.scratch_bytes + b.scratch_bytes)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        product = _anchor(group)
        *batch, rows, columns = product.results[0].shape
        left = product.operands[0]
        assert left is not None
        return tiles.estimate(
            target,
            rows=math.prod(batch),
            columns=rows,
            width=columns,
            steps=left.shape[-1],
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else math.prod(batch) * -(-rows // knobs["columns"]),
            data_bytes=left.tensor_type.bytes,
        )


def _anchor(group: Group) -> Operation:
    assert group.anchor is not None
    return group.anchor


def _aligned(shape: tuple[int, ...], lead: tuple[Any, ...]) -> tuple[Any, ...]:
    """The batch indices of an operand that is broadcast to the result's batch."""
    outer = shape[:-2]
    return tuple(0 if e == 1 else i for e, i in zip(outer, lead[len(lead) - len(outer) :], strict=True))
