"""Depthwise convolution of bytes in dot products: a lane sums four taps of its channel that lie below each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.math.dot_weights import FOUR
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.templates.dot_product import DotProduct
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.register_tile import Step
from optc.backends.tvm.templates.rows import Packed
from optc.backends.tvm.templates.window import Window
from optc.backends.tvm.templates.windowed import ColumnTile

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt


def packed_quads(channels: int, window: Window, block: int) -> Packed:
    """Weights as [blocks][quads of kernel rows][kernel columns][channels of a block][4], filled up with zeros."""
    rows, columns = window.rows.kernel, window.columns.kernel
    quads = -(-rows // FOUR)
    steps = (
        ("reshape", (0, rows, columns)),
        ("pad", (0, quads * FOUR, 0)),
        ("block", (1, FOUR)),
        ("block", (0, block)),
        ("transpose", (0, 2, 4, 1, 3)),
        ("reshape", (0, 0, 0, -1)),
    )
    return Packed((-(-channels // block), quads, columns, block * FOUR), Packing(steps))


@dataclass(frozen=True)
class TapQuads:
    """The loops over the taps of one tile.

    The taps of a column of data are put together once for all outputs that read it. Rows outside the data meet weights
    of zero, columns outside read the zero point, and the sums start from what the zero point contributes to them.

    Attributes:
        data: unsigned bytes in blocks of channels.
        weights: those of `packed_quads`.
        place: the tile.
        kind: of dot product.
        zero: zero point of the data.
        shuffled: see `together`.
    """

    data: Operand
    weights: Buffer
    place: ColumnTile
    kind: DotProduct
    zero: int
    shuffled: bool

    def __call__(self, step: Step) -> Stmt:
        """Add all products to the accumulators."""
        whole, rest = divmod(self.place.window.rows.kernel, FOUR)
        done = [loops.serial(whole, lambda quad: self._quad(step, quad, FOUR), "quad")] if whole else []
        return loops.sequence([*done, *([self._quad(step, whole, rest)] if rest else [])])

    @property
    def _number(self) -> Any:
        """Of the block of channels."""
        return self.place.channel // self.data.block

    def _quad(self, step: Step, quad: Any, present: int) -> Stmt:
        """The products of up to four rows of the kernel."""
        return loops.sequence(
            statement
            for offset, lanes in zip(step.tile.offsets, step.tile.vectors, strict=True)
            for statement in self._vector(step, quad, present, offset, lanes)
        )

    def _vector(self, step: Step, quad: Any, present: int, offset: int, lanes: int) -> Iterator[Stmt]:
        from tvm import tirx

        columns, every = self.place.window.columns, loops.ramp(0, lanes)
        size = self.kind.weight_bytes
        zeros = [loops.spread(loops.constant(repeated(self.zero, size)), lanes)] * self.kind.parts

        def keep(values: list[PrimExpr], name: str) -> tuple[list[PrimExpr], list[Stmt]]:
            """Their places, and what computes them there."""
            made, reads = [], []
            for value in values:
                buffer, making = loops.local(lanes, "int32", name)
                made += [making, loops.store(buffer, value, [every])]
                reads.append(buffer[every])
            return reads, made

        def product(total: PrimExpr, data: list[PrimExpr], tap: int) -> PrimExpr:
            stored = [tirx.reinterpret(f"int{8 * size}x{lanes * FOUR // size}", part) for part in weights[tap]]
            assert self.kind.add_by_lane is not None
            return self.kind.add_by_lane(lanes, total, data, stored)

        def add(column: int, new: Callable[[PrimExpr], PrimExpr]) -> Stmt:
            total = step.totals[column, offset]
            return loops.store(total, new(total[every]), [every])

        weights = []
        for tap in range(columns.kernel):
            reads, made = keep(self._weights(quad, present, tap, offset, lanes), "weight")
            weights.append(reads)
            yield from made
        if self.zero:
            start = none = tirx.Broadcast(loops.constant(0), lanes)
            for tap in range(columns.kernel):
                start = product(start, zeros, tap)
            (start,), made = keep([none - start], "start")
            yield from made
            yield from (add(column, lambda total: total + start) for column in range(step.tile.columns))
        readers: dict[int, list[tuple[int, int]]] = {}
        for column in range(step.tile.columns):
            for tap in range(columns.kernel):
                readers.setdefault(column * columns.stride + tap * columns.dilation, []).append((column, tap))
        for _, reading in sorted(readers.items()):
            column, tap = reading[0]
            inside = self.place.interior or columns.inside(self.place.start + column, tap)
            if not inside and not self.zero:
                continue
            four = zeros
            if inside:
                read = columns.reads(self.place.start + column, tap)
                four, made = keep(self._data(quad, present, read, offset, lanes), "four")
                yield from made
            yield from (add(column, partial(product, data=four, tap=tap)) for column, tap in reading)

    def _weights(self, quad: Any, present: int, tap: int, offset: int, lanes: int) -> list[PrimExpr]:
        """The weights of four taps as the products take them, in int32 vectors."""
        from tvm import tirx

        rows, row = self.place.window.rows, self.place.row
        bytes_of = self.weights[self._number, quad, tap, loops.ramp(offset * FOUR, lanes * FOUR)]
        vector = tirx.reinterpret(f"int32x{lanes}", bytes_of)
        if rows.padded:
            mask = loops.constant(0)
            for byte in range(present):
                read = rows.reads(row, quad * FOUR + byte)
                inside = tirx.all(read >= 0, read < rows.data)
                here = loops.constant((255 << 8 * byte) - (1 << 32 if byte == FOUR - 1 else 0))
                mask = tirx.bitwise_or(mask, tirx.Select(inside, here, loops.constant(0)))
            vector = tirx.bitwise_and(vector, loops.spread(mask, lanes))
        if self.kind.weight_bytes == 1:
            return [vector]
        words = tirx.reinterpret(f"int16x{2 * lanes}", vector)
        eight = tirx.Broadcast(loops.constant(8, "int16"), 2 * lanes)
        even, odd = tirx.shift_right(tirx.shift_left(words, eight), eight), tirx.shift_right(words, eight)
        return [tirx.reinterpret(f"int32x{lanes}", half) for half in (even, odd)]

    def _data(self, quad: Any, present: int, column: Any, offset: int, lanes: int) -> list[PrimExpr]:
        """The bytes that four taps of one column meet, as the products take them, in int32 vectors."""
        from tvm import tirx

        window, row = self.place.window, self.place.row
        taps = []
        for byte in range(present):
            read = window.rows.reads(row, quad * FOUR + byte)
            if window.rows.padded:
                read = tirx.max(0, tirx.min(read, window.rows.data - 1))
            where = (self.place.image, self._number, *window.logical(read, column), loops.ramp(offset, lanes))
            taps.append(self.data.buffer[where])
        parts, size = self.kind.parts, self.kind.weight_bytes
        return [together(taps[part::parts], size, lanes, self.shuffled) for part in range(parts)]


def together(taps: Sequence[PrimExpr], size: int, lanes: int, shuffled: bool) -> PrimExpr:
    """Bytes of every lane in its 32 bits, each in `size` bytes, the first lowest; what is missing does not matter.

    Bytes of two vectors are interleaved and widened, which is cheaper than to widen and shift both; four at once where
    instructions pick any bytes of two registers (`shuffled`).
    """
    from tvm import tirx

    def interleaved(vectors: Sequence[PrimExpr]) -> PrimExpr:
        places = [number * lanes + lane for lane in range(lanes) for number in range(len(vectors))]
        return tirx.Shuffle(list(vectors), [loops.constant(place) for place in places])

    wide = f"int32x{lanes}"
    if not taps:
        return tirx.Broadcast(loops.constant(0), lanes)
    if len(taps) == 1:
        return taps[0].astype(wide)
    if len(taps) == 2:
        pairs = interleaved(taps)
        if size == 1:
            return tirx.reinterpret(f"uint16x{lanes}", pairs).astype(wide)
        return tirx.reinterpret(wide, pairs.astype(f"uint16x{2 * lanes}"))
    if shuffled:
        return tirx.reinterpret(wide, interleaved([*taps, *[taps[-1]] * (FOUR - len(taps))]))
    high = together(taps[2:], size, lanes, shuffled)
    sixteen = tirx.Broadcast(loops.constant(16), lanes)
    return tirx.bitwise_or(together(taps[:2], size, lanes, shuffled), tirx.shift_left(high, sixteen))


def repeated(byte: int, size: int) -> int:
    """The int32 that holds a byte once every `size` bytes."""
    return int.from_bytes(byte.to_bytes(size, "little") * (FOUR // size), "little", signed=True)
