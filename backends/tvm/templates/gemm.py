"""Matrix products with a constant right operand, packed for a register tile of rows times output columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing, Step
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.matrix import Extents, MatrixNest, MatrixTemplate, RowTile, padded
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.rows import Packed, RowNest
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class ConstantGemm(MatrixTemplate):
    """`onnx.MatMul` and `onnx.Gemm` whose right operand is a constant matrix; see `MatrixTemplate`."""

    name = "gemm"

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

    def extents(self, group: Group) -> Extents:
        product = _anchor(group)
        left, right = product.operands[0], product.operands[1]
        assert left is not None and right is not None
        columns = right.shape[0 if product.attributes.get("transB", 0) else 1]
        rows = left.shape[-1 if product.attributes.get("transA", 0) else -2]
        return Extents(tuple(left.shape[:-2]), rows, columns)

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        product = _anchor(group)
        right = product.operands[1]
        assert right is not None
        width = padded(self.extents(group).columns, target)
        tile_width = min(tiles.lanes_of(target) * dict(schedule)["vectors"], width)
        packing = pack_matrix(tile_width, width, bool(product.attributes.get("transB", 0)))
        return {right.index: Packed((width * _depth(product),), packing)}

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        left = fused.anchor.operands[0]
        assert left is not None
        return Operand(fused, left, 1)

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        product, extents, depth = fused.anchor, self.extents(fused.group), _depth(fused.anchor)
        right = product.operands[1]
        assert right is not None
        weights = fused.inputs[right.index]
        added = fused.optional(product.operand(2))
        alpha, beta = (float(product.attributes.get(name, 1.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]
        transposed = bool(product.attributes.get("transA", 0))

        def reduction(place: RowTile, register: tiles.RegisterTile) -> Callable[[tiles.Step], Stmt]:
            def summed(step: tiles.Step) -> Stmt:
                def multiply(k: Any) -> Stmt:
                    def term(number: int, offset: int, lane: Any) -> Any:
                        row = place.row + number
                        weight = weights[place.column * depth + k * place.size + offset + lane]
                        element = data.read((*place.lead, *((k, row) if transposed else (row, k))))
                        return element * weight.astype(data.accumulator)

                    return step(term)

                return self.terms(data, depth, multiply)

            return summed

        def finish(value: Any, place: tuple[Any, ...]) -> Any:
            if alpha != 1.0:
                value = value * loops.constant(alpha, data.accumulator)
            if added is None:
                return value
            term = added(*broadcast_indices(added.shape, place)).astype(data.accumulator)
            return value + (term if beta == 1.0 else term * loops.constant(beta, data.accumulator))

        width = padded(extents.columns, target)
        tile = min(tiles.lanes_of(target) * dict(schedule)["vectors"], width)
        return MatrixNest(fused, target, extents, width, tile, reduction, finish).rows(schedule)

    def terms(self, data: Operand, depth: int, add: Callable[[Any], Stmt]) -> Stmt:
        """The loop over the terms of the sums; `add` takes a place along the summed axis."""
        return loops.serial(depth, add, "k")

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        extents = self.extents(group)
        images = math.prod(extents.batch)
        left = _anchor(group).operands[0]
        assert left is not None
        return tiles.estimate(
            target,
            rows=images,
            columns=extents.rows,
            width=padded(extents.columns, target),
            steps=_depth(_anchor(group)),
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else images * -(-extents.rows // knobs["columns"]),
            data_bytes=left.tensor_type.bytes,
        )


def _anchor(group: Group) -> Operation:
    assert group.anchor is not None
    return group.anchor


def _depth(product: Operation) -> int:
    """The extent of the summed axis."""
    right = product.operands[1]
    assert right is not None
    return right.shape[1 if product.attributes.get("transB", 0) else 0]


def broadcast_indices(shape: tuple[int, ...], place: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where a tensor of the given shape is read for an element at `place` of what it is broadcast to."""
    aligned = place[len(place) - len(shape) :]
    return tuple(0 if extent == 1 else index for extent, index in zip(shape, aligned, strict=True))


def pack_matrix(tile: int, width: int, transposed: bool) -> Packing:
    """A matrix (K, N) as one run [K][tile] per tile of columns, the last filled up with zero columns to `width`."""

    turned: tuple[Step, ...] = (("transpose", (1, 0)),) if transposed else ()
    return Packing((*turned, ("pad", (0, width)), ("panels", (tile,))))
