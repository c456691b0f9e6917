"""Matrix products with a constant right operand, packed for a register tile of rows times output columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing, Step
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.rows import Geometry, Packed, RowNest, RowTemplate
from optc.backends.tvm.templates.window import Axis
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class ConstantGemm(RowTemplate):
    """`onnx.MatMul` and `onnx.Gemm` whose right operand is a constant matrix; also with a single row.

    Schedule: `columns` rows of the left operand meet `vectors` vectors of the packed matrix in one tile; with
    `channels_outer` one tile of the matrix stays in cache while all rows pass, otherwise the other way round.
    """

    name = "gemm"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        product = group.anchor
        if product is None or product.name not in ("onnx.MatMul", "onnx.Gemm"):
            return "not a matrix product"
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        left, right = product.operands[0], product.operands[1]
        assert left is not None and right is not None
        if right.owner is not group.body or right.index not in group.constants or len(right.shape) != 2:
            return "the right operand is no constant matrix"
        if len(right.uses) != 1:
            return "the right operand is read twice"
        if len(left.shape) < 2:
            return "the left operand is a vector"
        if not product.results[0].dtype.is_float:
            return f"elements of type {product.results[0].dtype}"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        _, rows, columns, _ = _extents(group)
        width = _padded(columns, target)
        points = [
            (("channels_outer", outer), ("columns", tile_rows), ("vectors", vectors))
            for tile_rows, vectors in tiles.register_shapes(target, rows, width)
            for outer in ((0, 1) if rows > tile_rows else (1,))
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        product = _anchor(group)
        *_, columns, depth = _extents(group)
        right = product.operands[1]
        assert right is not None
        width = _padded(columns, target)
        tile_width = min(tiles.lanes_of(target) * dict(schedule)["vectors"], width)
        packing = pack_matrix(tile_width, width, bool(product.attributes.get("transB", 0)))
        return {right.index: Packed((width * depth,), packing)}

    def geometry(self, group: Group, schedule: Schedule) -> Geometry:
        batch, rows, *_ = _extents(group)
        height = dict(schedule)["columns"]
        pieces = -(-rows // height)
        return Geometry(batch, Axis(pieces, pieces, 1), len(batch), height)

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        left = fused.anchor.operands[0]
        assert left is not None
        return Operand(fused, left, 1)

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        knobs = dict(schedule)
        group, product, lanes = fused.group, fused.anchor, tiles.lanes_of(target)
        _, rows, columns, depth = _extents(group)
        right = product.operands[1]
        assert right is not None
        width = _padded(columns, target)
        tile_width = min(lanes * knobs["vectors"], width)
        full, rest = columns // tile_width, width - columns // tile_width * tile_width
        weights = fused.inputs[right.index]
        added = fused.optional(product.operand(2))
        alpha, beta = (float(product.attributes.get(name, 1.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]
        transposed = bool(product.attributes.get("transA", 0))
        result = product.results[0]
        row_full, row_rest = divmod(rows, knobs["columns"])
        granule = epilogue.narrowest_block(group, lanes)

        def tile(lead: tuple[Any, ...], row: Any, count: int, column: Any, size: int) -> Stmt:
            register = tiles.RegisterTile(count, tiles.vectors_of(size, lanes), data.accumulator)

            def reduction(step: tiles.Step) -> Stmt:
                def multiply(k: Any) -> Stmt:
                    def term(number: int, offset: int, lane: Any) -> Any:
                        place = (k, row + number) if transposed else (row + number, k)
                        weight = weights[column * depth + k * size + offset + lane]
                        return data.read((*lead, *place)) * weight.astype(data.accumulator)

                    return step(term)

                return loops.serial(depth, multiply, "k")

            def finish(number: Any, offset: int, lane: Any, value: Any) -> Stmt:
                place = (*lead, row + number, column + offset + lane)
                if alpha != 1.0:
                    value = value * loops.constant(alpha, data.accumulator)
                if added is not None:
                    term = added(*broadcast_indices(added.shape, place)).astype(data.accumulator)
                    value = value + (term if beta == 1.0 else term * loops.constant(beta, data.accumulator))
                return fused.finish(value.astype(result.dtype.numpy_name), place)

            valid = columns - column if isinstance(column, int) else size
            return register.emit(
                reduction, finish, lambda *_: None, valid, granule, staged=epilogue.is_long(group) and count > 1
            )

        def piece(lead: tuple[Any, ...], column_tile: Any, row_tile: Any) -> Stmt:
            return tiles.either(
                column_tile,
                full,
                rest,
                tile_width,
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
        batch, rows, columns, depth = _extents(group)
        left = _anchor(group).operands[0]
        assert left is not None
        return tiles.estimate(
            target,
            rows=int(np.prod(batch)),
            columns=rows,
            width=_padded(columns, target),
            steps=depth,
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else int(np.prod(batch)) * -(-rows // knobs["columns"]),
            data_bytes=left.tensor_type.bytes,
        )


def _anchor(group: Group) -> Operation:
    assert group.anchor is not None
    return group.anchor


def _extents(group: Group) -> tuple[tuple[int, ...], int, int, int]:
    """Batch, rows, columns and the summed depth of the product."""
    product = _anchor(group)
    left, right = product.operands[0], product.operands[1]
    assert left is not None and right is not None
    depth, columns = right.shape[::-1] if product.attributes.get("transB", 0) else right.shape
    rows = left.shape[-1] if product.attributes.get("transA", 0) else left.shape[-2]
    return tuple(left.shape[:-2]), rows, columns, depth


def _padded(columns: int, target: Target) -> int:
    granule = min(8, tiles.lanes_of(target))
    return -(-columns // granule) * granule


def broadcast_indices(shape: tuple[int, ...], place: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where a tensor of the given shape is read for an element at `place` of what it is broadcast to."""
    aligned = place[len(place) - len(shape) :]
    return tuple(0 if extent == 1 else index for extent, index in zip(shape, aligned, strict=True))


def pack_matrix(tile: int, width: int, transposed: bool) -> Packing:
    """A matrix (K, N) as one run [K][tile] per tile of columns, the last filled up with zero columns to `width`."""

    turned: tuple[Step, ...] = (("transpose", (1, 0)),) if transposed else ()
    return Packing((*turned, ("pad", (0, width)), ("panels", (tile,))))
