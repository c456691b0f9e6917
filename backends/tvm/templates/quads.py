"""The data of an integer contraction: unsigned bytes, read four neighbours of the summed axis at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.math.dot_weights import FOUR
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand, block_of
from optc.ir.core import Value

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

    from optc.targets.target import Target


class Quads(Operand):
    """Four bytes as one int32, the first lowest.

    An input whose channels lie in blocks of a multiple of four, or whose rows have a multiple of four elements where
    those are summed, is read where it lies. Anything else is gathered into scratch: [lead][quads][the other axes] for
    channels, [rows][quads] for rows.

    Args:
        fused: the kernel.
        value: the data.
        axis: the summed one, 1 or the last.
        part: quads that may be read without the others, from a multiple of so many on; 0 where all are.

    Attributes:
        axis: the summed one.
        count: quads along it.
        run: quads that make one turn of a loop.
    """

    def __init__(self, fused: FusedContraction, value: Value, axis: int, part: int = 0) -> None:
        self.value, self.fused, self.axis = value, fused, axis
        self.dtype, self.accumulator, self.moved = value.dtype.numpy_name, "int32", False
        self.layout = value.tensor_type.layout
        self.buffer: Any = fused.buffer_of(value)
        together = quads_together(value, axis)
        self.count = quads_of(value, axis)
        self.run = together if together and self.rows_apart else self._run_within(part)
        self.block = FOUR
        self.scratches: list[Buffer] = []
        if together:
            return
        shape = list(value.shape)
        shape[axis] = self.count
        self.buffer = loops.parameter(shape, "int32", "quads_scratch")
        self.scratches = [self.buffer]

    def _run_within(self, part: int) -> int:
        """The longest run that divides the quads and, unless that is 0, a part of them that is read by itself."""
        return next(run for run in RUNS if math.gcd(self.count, part) % run == 0)

    @property
    def rows_apart(self) -> bool:
        """Whether the summed axis is not the last."""
        return self.axis != len(self.value.shape) - 1

    def quad(self, place: Sequence[Any], number: Any, within: Any = 0) -> PrimExpr:
        """The quad `within` the run that starts at quad `number * run`; `place` holds the indices of the other axes."""
        from tvm import tirx

        position = list(place)
        if self.scratches:
            position.insert(self.axis, number * self.run + within)
            return self.buffer[tuple(position)]
        if self.rows_apart:
            position.insert(self.axis, number)
            position.append(loops.ramp(within * FOUR, FOUR))
        else:
            position.append(loops.ramp((number * self.run + within) * FOUR, FOUR))
        return tirx.reinterpret("int32", self.buffer[tuple(position)])

    @property
    def scratch_bytes(self) -> tuple[int, ...]:
        return tuple(4 * math.prod(int(e) for e in scratch.shape) for scratch in self.scratches)

    def fill(self, target: Target, seconds: float) -> list[Stmt]:
        """The loops that gather the quads; none when they lie together."""
        return [self._gather(scratch, target, seconds) for scratch in self.scratches]

    def _gather(self, scratch: Buffer, target: Target, seconds: float) -> Stmt:
        tensor, extent = self.fused.tensor(self.value), self.value.shape[self.axis]
        shape = [int(each) for each in scratch.shape]
        whole = extent // FOUR
        lanes = tiles.lanes_of(target)

        def store(place: Sequence[Any], present: int) -> Stmt:
            def together() -> PrimExpr:
                from tvm import tirx

                value = None
                for byte in range(present):
                    index = list(place)
                    index[self.axis] = place[self.axis] * FOUR + byte
                    wide = tensor(*index).astype("int32")
                    wide = tirx.shift_left(wide, loops.constant(8 * byte)) if byte else wide
                    value = wide if value is None else tirx.bitwise_or(value, wide)
                return value

            return loops.store(scratch, scoped(together), place)

        def line(lead: tuple[Any, ...], count: int, at: Callable[[Any], tuple[Sequence[Any], int]]) -> Stmt:
            """Vectors along the last stored axis."""
            pieces, rest = divmod(count, lanes)
            done = []
            if pieces:
                done.append(
                    loops.serial(
                        pieces, lambda n: loops.vectorized(lanes, lambda lane: store(*at(n * lanes + lane))), "piece"
                    )
                )
            if rest:
                done.append(loops.vectorized(rest, lambda lane: store(*at(pieces * lanes + lane))))
            return loops.sequence(done)

        def rows_of(quads: range, present: int) -> Stmt:
            if self.rows_apart:
                extents = [*shape[: self.axis], len(quads), *shape[self.axis + 1 : -1]]

                def row(lead: tuple[Any, ...]) -> Stmt:
                    moved = [*lead]
                    moved[self.axis] = lead[self.axis] + quads.start
                    return line(lead, shape[-1], lambda last: ((*moved, last), present))
            else:
                extents = shape[:-1]

                def row(lead: tuple[Any, ...]) -> Stmt:
                    return line(lead, len(quads), lambda last: ((*lead, last + quads.start), present))

            threads = tiles.worth_threads(seconds, target)
            return loops.outer(extents, row, threads=threads)

        parts = [(range(whole), FOUR), (range(whole, self.count), extent - whole * FOUR)]
        return loops.sequence(rows_of(quads, present) for quads, present in parts if len(quads))


RUNS = (4, 2, 1)  # steps that are written out where the loop is free to choose


def quads_of(value: Value, axis: int) -> int:
    """Quads along an axis, those of the rounding of blocks included."""
    count, together = -(-value.shape[axis] // FOUR), quads_together(value, axis)
    rows = axis == len(value.shape) - 1
    return count if rows or not together else -(-count // together) * together


def quads_together(value: Value, axis: int) -> int:
    """How many quads along an axis of a group's input lie together innermost; 0 where they have to be gathered."""
    if value.producer is not None:
        return 0
    kind = value.tensor_type
    if axis == len(value.shape) - 1:
        plain = not kind.layout.blocks and not kind.layout.permutation
        return value.shape[axis] // FOUR if plain and value.shape[axis] % FOUR == 0 else 0
    block = block_of(kind, axis)
    return block // FOUR if block % FOUR == 0 else 0
