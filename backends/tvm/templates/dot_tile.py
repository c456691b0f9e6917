"""What templates of integer contractions share: which dot product, the packed weights, where the sums start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.dot_weights import FOUR, dot_weights_bytes
from optc.backends.tvm.packing import Packing, Step
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.dot_product import DotProduct, kinds_for
from optc.backends.tvm.templates.quads import Quads
from optc.backends.tvm.templates.register_tile import Step as TileStep
from optc.backends.tvm.templates.rows import Packed
from optc.ir.core import Operation, Value
from optc.ops.hints import WEIGHT_LIMIT

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

    from optc.targets.target import Target


def operands_refusal(group: Group) -> str | None:
    """Why the data and weights of an integer contraction are not what dot products take; None when they are."""
    anchor = group.anchor
    assert anchor is not None
    data, weight = anchor.operands[0], anchor.operands[1]
    assert data is not None and weight is not None
    if data.dtype.name != "u8" or weight.dtype.name != "i8":
        return f"{data.dtype} data and {weight.dtype} weights"
    if weight.owner is not group.body or weight.index not in group.constants:
        return "the weights are not constant"
    if len(weight.uses) != 1:
        return "the weights are read twice"
    zero, weight_zero = anchor.operand(2), anchor.operand(3)
    if zero is not None and (zero.constant is None or zero.constant.size != 1):
        return "the zero point of the data is not one constant"
    if weight_zero is not None and (weight_zero.constant is None or weight_zero.constant.any()):
        return "the weights have a zero point"
    return None


def zero_of(anchor: Operation) -> int:
    """The zero point of the data."""
    zero = anchor.operand(2)
    if zero is None:
        return 0
    assert zero.constant is not None
    return int(zero.constant.reshape(-1)[0])


def peak_of(target: Target) -> float:
    """Operations a second on bytes; four for one on f32 where the target does not say."""
    return target.peak_flops.get("i8") or 2 * target.peak_flops.get("f32", 2.0e9)


@dataclass(frozen=True)
class DotTile:
    """The weights of a contraction in tiles of output channels, and the products with them.

    Attributes:
        kind: of dot product.
        width: output channels, rounded up.
        tile: of them, for one tile.
        taps: weights of one input channel for one output channel.
        quads: input channels, in fours.
        columns: taps of a row of the kernel.
        zero: zero point of what is multiplied.
    """

    kind: DotProduct
    width: int
    tile: int
    taps: int
    quads: int
    columns: int
    zero: int

    @staticmethod
    def of(
        anchor: Operation, target: Target, vectors: int, *, width: int, taps: int = 1, quads: int, columns: int = 1
    ) -> DotTile:
        """For tiles of so many `vectors`, with the fastest kind that the weights allow."""
        lanes = tiles.lanes_of(target)
        tile = min(lanes * vectors, width)
        kind = kind_of(anchor, target, width)
        zero = zero_of(anchor) - (128 if kind.signed else 0)
        return DotTile(kind, width, tile, taps, quads, columns, zero)

    def packed(self, before: Sequence[Step]) -> Packed:
        """How the weights are stored; `before` makes them (outputs, inputs, taps)."""
        kind = self.kind
        numbers = (
            self.tile, self.width, self.quads, kind.inner, kind.weight_bytes, self.zero, self.columns, int(self.paired),
        )  # fmt: skip
        return Packed((dot_weights_bytes(numbers, self.taps),), Packing((*before, ("dot", numbers))))

    @property
    def paired(self) -> bool:
        """Whether two quads of a tap may be added in one go."""
        return self.kind.add_two is not None and self.quads % 2 == 0

    def fits(self, weights: Buffer, channel: Any, tap: Any, pair: Any) -> PrimExpr:
        """Whether the sums of two quads fit 16 bits in every lane of the tile that starts at `channel`."""
        from tvm import tirx

        pairs = self.quads // 2
        first = self._header + self.width * self.quads * FOUR * self.taps * self.kind.weight_bytes
        run = channel // self.tile * (self.taps * pairs)
        return tirx.NE(weights[first + run + tap * pairs + pair], loops.constant(0, "int8"))

    @property
    def _header(self) -> int:
        return FOUR * self.width * (self.taps + self.taps // self.columns) if self.zero else 0

    def start_of_tap(self, weights: Buffer, tap: Any, channel: Any, lanes: int) -> PrimExpr:
        """What a tap that meets data adds to the start of the sums of `lanes` channels."""
        return self._start(weights, tap * self.width + channel, lanes)

    def start_of_row(self, weights: Buffer, row: Any, channel: Any, lanes: int) -> PrimExpr:
        """The same for all taps of a row of the kernel."""
        return self._start(weights, (self.taps + row) * self.width + channel, lanes)

    def _start(self, weights: Buffer, position: Any, lanes: int) -> PrimExpr:
        from tvm import tirx

        vector = f"int32x{lanes}" if lanes > 1 else "int32"
        return tirx.reinterpret(vector, weights[loops.ramp(position * FOUR, FOUR * lanes)])

    def parts(
        self, weights: Buffer, channel: Any, size: int, tap: Any, quad: Any, offset: int, lanes: int
    ) -> list[PrimExpr]:
        """The weights of a quad for `lanes` channels from `offset` of a tile of `size` that starts at `channel`."""
        from tvm import tirx

        kind = self.kind
        bytes_of_lane = kind.inner * kind.weight_bytes
        first = channel * (self.taps * self.quads * FOUR * kind.weight_bytes) + self._header
        found = []
        for part in range(kind.parts):
            place = ((tap * self.quads + quad) * kind.parts + part) * (size * bytes_of_lane) + offset * bytes_of_lane
            vector = weights[loops.ramp(first + place, lanes * bytes_of_lane)]
            if kind.weight_bytes > 1:
                vector = tirx.reinterpret(f"int{8 * kind.weight_bytes}x{lanes * kind.inner}", vector)
            found.append(vector)
        return found

    def turn(
        self,
        step: TileStep,
        data: Quads,
        place: Callable[[int], Sequence[Any]],
        columns: Sequence[int] | None,
        weights: Buffer,
        first: tuple[Any, int],
        tap: Any,
        number: Any,
        begin: Any = 0,
    ) -> Stmt:
        """The products of one turn of the loop over the quads of a tap.

        Args:
            step: of the tile.
            data: what is read.
            place: by column, where: the indices of all axes but the summed one.
            columns: that are inside the data; None for all.
            weights: the packed ones.
            first: channel of the tile, and its extent.
            tap: of the kernel.
            number: of the turn.
            begin: the turn of the data that meets the first weights.
        """
        from tvm import tirx

        channel, size = first
        lanes = dict(zip(step.tile.offsets, step.tile.vectors, strict=True))

        def parts(within: int, offset: int) -> list[PrimExpr]:
            return self.parts(weights, channel, size, tap, number * data.run + within, offset, lanes[offset])

        def four(within: int, column: int) -> PrimExpr:
            return self.data(data.quad(place(column), number + begin, within))

        def one(within: int) -> Stmt:
            def change(column: int, offset: int, total: PrimExpr) -> PrimExpr:
                return self.kind.add(lanes[offset], total, four(within, column), parts(within, offset))

            return step.change(change, columns)

        def two(within: int) -> Stmt:
            def change(column: int, offset: int, total: PrimExpr) -> PrimExpr:
                assert self.kind.add_two is not None
                quads = four(within, column), four(within + 1, column)
                ((left,), (right,)) = parts(within, offset), parts(within + 1, offset)
                return self.kind.add_two(lanes[offset], total, quads, (left, right))

            return step.change(change, columns)

        if not self.paired or data.run % 2:
            return loops.sequence(one(within) for within in range(data.run))
        pairs = data.run // 2
        return loops.sequence(
            tirx.IfThenElse(
                self.fits(weights, channel, tap, number * pairs + pair),
                two(2 * pair),
                loops.sequence([one(2 * pair), one(2 * pair + 1)]),
            )
            for pair in range(pairs)
        )

    def data(self, quad: PrimExpr) -> PrimExpr:
        """Four bytes of data as the products take them."""
        from tvm import tirx

        return tirx.bitwise_xor(quad, loops.constant(-0x7F7F7F80)) if self.kind.signed else quad


def kind_of(anchor: Operation, target: Target, width: int) -> DotProduct:
    """The fastest kind of dot product for the weights of a contraction with `width` channels."""
    largest = int(anchor.attributes.get(WEIGHT_LIMIT, 128))  # type: ignore[arg-type]
    return kinds_for(target, tiles.vector_lengths(width, tiles.lanes_of(target)), largest)[0]


def weights_of(anchor: Operation) -> Value:
    """The constant operand."""
    weight = anchor.operands[1]
    assert weight is not None
    return weight
