"""Matrix products of unsigned bytes with a constant matrix of signed ones, packed for a register tile."""

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
from optc.backends.tvm.templates.dot_product import DotProduct
from optc.backends.tvm.templates.dot_tile import DotTile, kind_of, operands_refusal, peak_of, weights_of
from optc.backends.tvm.templates.matrix import Extents, MatrixNest, MatrixTemplate, RowTile, padded
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.quads import Quads, quads_of
from optc.backends.tvm.templates.rows import Packed, RowNest
from optc.ir.core import Operation, Value

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class IntegerGemm(MatrixTemplate):
    """`onnx.MatMulInteger` whose right operand is a constant matrix; see `MatrixTemplate`."""

    name = "integer_gemm"

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

    def extents(self, group: Group) -> Extents:
        product = _anchor(group)
        left = _left(product)
        return Extents(tuple(left.shape[:-2]), left.shape[-2], weights_of(product).shape[1])

    def held(self, group: Group, target: Target) -> int:
        return self._kind(group, target).registers

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        packed = self._dots(group, schedule, target).packed((("transpose", (1, 0)), ("reshape", (0, 0, 1))))
        return {weights_of(_anchor(group)).index: packed}

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        left = _left(fused.anchor)
        return Quads(fused, left, len(left.shape) - 1)

    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        assert isinstance(data, Quads)
        dots = self._dots(fused.group, schedule, target)
        weights = fused.inputs[weights_of(fused.anchor).index]

        def reduction(place: RowTile, register: tiles.RegisterTile) -> Callable[[tiles.Step], Stmt]:
            lanes = dict(zip(register.offsets, register.vectors, strict=True))

            def sums(step: tiles.Step) -> Stmt:
                def start(_: int, offset: int, __: Any) -> Any:
                    return dots.start_of_row(weights, 0, place.column + offset, lanes[offset])

                def row(number: int) -> tuple[Any, ...]:
                    return (*place.lead, place.row + number)

                summed = loops.serial(
                    data.count // data.run,
                    lambda turn: dots.turn(step, data, row, None, weights, (place.column, place.size), 0, turn),
                    "k",
                )
                return loops.sequence([step.change(start), summed]) if dots.zero else summed

            return sums

        return MatrixNest(fused, target, self.extents(fused.group), dots.width, dots.tile, reduction).rows(schedule)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        extents, left, kind = self.extents(group), _left(_anchor(group)), self._kind(group, target)
        images = math.prod(extents.batch)
        return tiles.estimate(
            target,
            rows=images,
            columns=extents.rows,
            width=padded(extents.columns, target),
            steps=quads_of(left, len(left.shape) - 1),
            tile=(knobs["columns"], knobs["vectors"]),
            weight_sweeps=0 if knobs["channels_outer"] else images * -(-extents.rows // knobs["columns"]),
            data_bytes=left.tensor_type.bytes,
            peak=peak_of(target) * kind.rate,
            depth=FOUR,
            step_bytes=FOUR * kind.weight_bytes,
            held=kind.registers,
        )

    def _kind(self, group: Group, target: Target) -> DotProduct:
        return kind_of(_anchor(group), target, padded(self.extents(group).columns, target))

    def _dots(self, group: Group, schedule: Schedule, target: Target) -> DotTile:
        product, width = _anchor(group), padded(self.extents(group).columns, target)
        left = _left(product)
        quads = quads_of(left, len(left.shape) - 1)
        return DotTile.of(product, target, dict(schedule)["vectors"], width=width, quads=quads)


def _anchor(group: Group) -> Operation:
    assert group.anchor is not None
    return group.anchor


def _left(product: Operation) -> Value:
    left = product.operands[0]
    assert left is not None
    return left
