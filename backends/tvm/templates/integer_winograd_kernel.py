"""The kernel of a Winograd convolution in integers: that of `winograd_kernel` on pairs of input channels.

Transformed bytes and weights are 16-bit numbers, their sums 32-bit ones that wrap around; see
`math/winograd_integers.py` for why the results are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.winograd import Program
from optc.backends.tvm.math.winograd_integers import division, integer_data_program, integer_result_program
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.dot_pair import PairProduct, pair_kind
from optc.backends.tvm.templates.dot_tile import zero_of
from optc.backends.tvm.templates.operand import data_block
from optc.backends.tvm.templates.winograd_kernel import WinogradKernel
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Value

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Stmt

    from optc.targets.target import Target

PAIR = 2  # input channels that meet in one product
WORD = 2  # bytes


class IntegerWinogradKernel(WinogradKernel):
    """See `WinogradKernel`."""

    data_type = "int16"
    product_type = "int32"

    def __init__(self, group: Group, schedule: Schedule, target: Target, seconds: float) -> None:
        super().__init__(group, schedule, target, seconds)
        kind = kind_of(group, target)
        assert kind is not None
        self.kind = kind
        self.zero = zero_of(self.conv)
        self.data.accumulator = self.data_type

    def _data_lanes(self, data: Value) -> int:
        return word_lanes(data, self.target)

    def _weight_elements(self) -> int:
        return WORD * super()._weight_elements()

    def _packing(self) -> Packing:
        return pack_integer_weights(self.m, self.panel, self.width, self.depth)

    def _data_program(self) -> Program:
        return integer_data_program(self.m)

    def _result_program(self) -> Program:
        return integer_result_program(self.m)[0]

    def _read(self, indices: Sequence[Any], within: Any = None) -> Any:
        value = super()._read(indices, within)
        return value - loops.constant(self.zero, self.data_type) if self.zero else value

    def _sums(self, step: tiles.Step, place: Callable[[Any, int], Any], weights: Any, size: int) -> Stmt:
        from tvm import tirx

        lanes = dict(zip(step.tile.offsets, step.tile.vectors, strict=True))

        def multiply(pair: Any) -> Stmt:
            def change(column: int, offset: int, total: PrimExpr) -> PrimExpr:
                both = self.transformed[loops.ramp(place(pair * PAIR, column), PAIR)]
                first = (weights + pair * (PAIR * size) + PAIR * offset) * WORD
                count = PAIR * lanes[offset]
                words = tirx.reinterpret(f"int16x{count}", self.weights[loops.ramp(first, WORD * count)])
                return self.kind.add(lanes[offset], total, tirx.reinterpret("int32", both), words)

            return step.change(change)

        return loops.serial(self.depth // PAIR, multiply, "k")

    def _result(self, value: Any, i: int, j: int) -> Any:
        from tvm import tirx

        _, multiples = integer_result_program(self.m)
        factor, shift = division(multiples[i] * multiples[j])
        value = value if factor == 1 else value * loops.constant(factor)
        return tirx.shift_right(value, loops.constant(shift)) if shift else value

    def _bias(self) -> LogicalTensor | None:
        return None


def kind_of(group: Group, target: Target) -> PairProduct | None:
    """The dot product for all vectors of a group's channels; None where the target has none."""
    width, lanes = epilogue.padded_channels(group, target), tiles.lanes_of(target)
    return pair_kind(target, tuple(sorted({min(lanes, width), *tiles.vectors_of(width, lanes)})))


def word_lanes(data: Value, target: Target) -> int:
    """Input channels that are transformed side by side."""
    block, lanes = data_block(data, target), tiles.lanes_of(target, 8 * WORD)
    return min(block, lanes) if block > 1 else min(lanes, 8)


def pack_integer_weights(m: int, panel: int, width: int, depth: int) -> Packing:
    """Weights (O, I, 3, 3), transformed, as bytes: [positions][I / 2][channels of the panel][2] for each panel.

    Channels are filled up with zeros: outputs to `width`, inputs to `depth`.
    """
    return Packing(
        (
            ("winograd_integers", (m,)),
            ("pad", (width, depth, 0)),
            ("block", (1, PAIR)),
            ("transpose", (3, 1, 0, 2)),
            ("reshape", (0, 0, -1)),
            ("panels", (PAIR * panel,)),
            ("bytes", ()),
        )
    )
