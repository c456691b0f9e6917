"""Depthwise convolution of unsigned bytes with signed ones: the loops of `depthwise`, sums in 32 bits.

Nothing is summed across channels, so there are no four neighbours to multiply at once. Bytes are widened where they are
read; LLVM multiplies pairs of 16-bit numbers where it sees that both factors fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates.depthwise import Depthwise
from optc.backends.tvm.templates.dot_tile import operands_refusal, zero_of
from optc.backends.tvm.templates.operand import Operand, data_block
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Value

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

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

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        return WIDENING * super().estimate(group, schedule, target)


WIDENING = 1.9  # times as long as multiply-adds of floats, on Zen 4 with 32-byte vectors
