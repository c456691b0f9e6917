"""The kernel of a Winograd convolution in integers: that of `winograd_kernel` on pairs of input channels.

Transformed bytes and weights are 16-bit numbers, their sums 32-bit ones that wrap around; see
`math/winograd_integers.py` for why the results are exact. Transformed weights are eight times as large as they are
stored: those of a panel are made in scratch for each block of tiles, which takes less than to read them from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.winograd import TAPS, Program
from optc.backends.tvm.math.winograd_integers import (
    division,
    integer_data_program,
    integer_result_program,
    integer_weight_program,
)
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.dot_pair import PairProduct, pair_kind
from optc.backends.tvm.templates.dot_tile import zero_of
from optc.backends.tvm.templates.operand import data_block
from optc.backends.tvm.templates.winograd_kernel import PAD, WinogradKernel
from optc.backends.tvm.templates.winograd_tile import transform
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Value

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

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
        return self.width * self.depth * TAPS**2

    def _scratch(self, slots: int) -> dict[Buffer, int]:
        self.weight_stride = self.panel * self.depth + PAD // WORD
        size = slots * self.n**2 * self.weight_stride
        self.factors = loops.parameter((size,), self.data_type, "factors")
        return {self.factors: WORD * size}

    def _prepared(self, channel: Any, size: int, slot: Any) -> list[Stmt]:
        def pair(number: Any) -> Stmt:
            return loops.sequence(
                self._factors(
                    (channel * self.depth + number * (PAIR * size)) * TAPS**2, number, size, first, lanes, slot
                )
                for first, lanes in parts
            )

        widest = tiles.lanes_of(self.target, 8 * WORD)
        lengths = tiles.vectors_of(PAIR * size, widest)
        parts = [(sum(lengths[:i]), lanes) for i, lanes in enumerate(lengths)]
        return [loops.serial(self.depth // PAIR, pair, "pair")]

    def _factors(self, start: Any, pair: Any, size: int, first: int, lanes: int, slot: Any) -> Stmt:
        """Transform the weights of `lanes` neighbours, from `first` on, of a pair of input channels."""

        def read(i: int, j: int, lane: Any) -> Any:
            return self.weights[start + (i * TAPS + j) * (PAIR * size) + first + lane].astype(self.data_type)

        def write(i: int, j: int, value: Any) -> list[Stmt]:
            place = self._weights_start(0, size, i * self.n + j, slot) + pair * (PAIR * size) + first
            return [loops.vectorized(lanes, lambda lane: loops.store(self.factors, value(lane), [place + lane]))]

        return transform(integer_weight_program(self.m), lanes, read, write, self.data_type)

    def _weights_start(self, channel: Any, size: int, position: Any, slot: Any) -> Any:
        return (slot * self.n**2 + position) * self.weight_stride

    def _packing(self) -> Packing:
        return pack_integer_weights(self.panel, self.width, self.depth)

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

        def multiply(channel: Any) -> Stmt:
            def change(column: int, offset: int, total: PrimExpr) -> PrimExpr:
                both = self.transformed[loops.ramp(place(channel, column), PAIR)]
                first = weights + channel * size + PAIR * offset
                words = self.factors[loops.ramp(first, PAIR * lanes[offset])]
                return self.kind.add(lanes[offset], total, tirx.reinterpret("int32", both), words)

            return step.change(change)

        # Written out within a vector of channels, so that each turn adds only one distance to the places.
        def vector(number: Any) -> Stmt:
            first = number * self.data_lanes
            return loops.sequence(multiply(first + k) for k in range(0, self.data_lanes, PAIR))

        return loops.serial(self.depth // self.data_lanes, vector, "vector")

    def _result(self, value: Any, i: int, j: int) -> Any:
        from tvm import tirx

        _, multiples = integer_result_program(self.m)
        factor, shift = division(multiples[i] * multiples[j])
        value = value if factor == 1 else value * loops.constant(factor)
        return tirx.shift_right(value, loops.constant(shift)) if shift else value

    def _each_result(self, rows: Any, columns: Any, body: Callable[[Any, Any], Stmt]) -> Stmt:
        # Written out: in loops deeper than that of the products, constants would take the registers of the sums.
        from tvm import tirx

        def row(i: int) -> Stmt:
            return loops.sequence(tirx.IfThenElse(columns > j, body(i, j), None) for j in range(self.m))

        return loops.sequence(tirx.IfThenElse(rows > i, row(i), None) for i in range(self.m))

    def _bias(self) -> LogicalTensor | None:
        return None


def kind_of(group: Group, target: Target) -> PairProduct | None:
    """The dot product for all vectors of a group's channels; None where the target has none."""
    return pair_kind(target, tiles.vector_lengths(epilogue.padded_channels(group, target), tiles.lanes_of(target)))


def word_lanes(data: Value, target: Target) -> int:
    """Input channels that are transformed side by side."""
    block, lanes = data_block(data, target), tiles.lanes_of(target, 8 * WORD)
    return min(block, lanes) if block > 1 else min(lanes, 8)


def pack_integer_weights(panel: int, width: int, depth: int) -> Packing:
    """Weights (O, I, 3, 3) as one run [I / 2][taps][channels of the panel][2] for each panel.

    Channels are filled up with zeros: outputs to `width`, inputs to `depth`.
    """
    return Packing(
        (
            ("reshape", (0, 0, -1)),
            ("pad", (width, depth, 0)),
            ("block", (1, PAIR)),
            ("transpose", (1, 3, 0, 2)),
            ("reshape", (0, 0, -1)),
            ("panels", (PAIR * panel,)),
        )
    )
