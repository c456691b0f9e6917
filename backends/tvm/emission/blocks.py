"""One loop nest: element-wise stores over a box of indices, or a reduction for each index of a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.emission.analysis import Analysis, Ranges, analyse
from optc.backends.tvm.emission.cover import (
    Indices,
    Store,
    boxes,
    collapse,
    merged,
    pieces,
    plus,
    product,
    stored,
    vector_loop,
)
from optc.backends.tvm.emission.reduction import ReductionNest
from optc.backends.tvm.emission.transposition import mixed_axis, mixed_nest
from optc.backends.tvm.lowering.binding import scoped_all
from optc.backends.tvm.lowering.context import Combiner, Elements

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Stmt


@dataclass(frozen=True)
class Emitter:
    """Settings of the nests that it makes.

    Attributes:
        vector_bytes: of a SIMD register; below 8 the loops stay scalar.
        ranges: the loops around.
        threads: whether the outermost loops may run in parallel.
        lanes_scale: vectors that one vectorised statement spans.
        accumulators: independent partial results of a reduction.
    """

    vector_bytes: int
    ranges: Ranges = ()
    threads: bool = False
    lanes_scale: int = 1
    accumulators: int = 4

    def inside(self, ranges: Ranges) -> Emitter:
        """The same under further loops, which settle the parallelism."""
        return replace(self, ranges=(*self.ranges, *ranges), threads=False)

    def lanes(self, widest: int) -> int:
        """Elements of `widest` bytes that one statement handles."""
        return max(1, self.vector_bytes // widest) * self.lanes_scale

    def map(self, extents: Sequence[int], build: Callable[[Indices], Sequence[Store]], *, whole: bool = True) -> Stmt:
        """`build(indices)` for every index of a box; the last axis is the one stored contiguously.

        Where a branch is settled within a part of the box (the operands of Concat, the inside of Pad), `whole` lets
        each such part have a nest of its own.
        """
        axes = [axis for axis, extent in enumerate(extents) if extent > 1]

        def full(indices: Sequence[Any]) -> Indices:
            placed: list[Any] = [0] * len(extents)
            for axis, index in zip(axes, indices, strict=True):
                placed[axis] = index
            return tuple(placed)

        def touch(indices: Sequence[Any]) -> list[tuple[PrimExpr, int]]:
            return [(store.offset, store.item_bytes) for store in build(full(indices))]

        found = analyse([extents[axis] for axis in axes], touch, self.ranges)
        if whole and any(found.cuts):
            parts = boxes(found)
            if len(parts) > 1:
                return loops.sequence([self._box(part, full, build) for part in parts])
        if self._transposed(found) is not None:
            return self._transpose(found, lambda indices: build(full(indices)))
        mixed = mixed_axis(found) if self.vector_bytes >= 16 else None
        if mixed is not None:
            nest = mixed_nest(found, mixed, lambda indices: build(full(indices)), threads=self.threads)
            if nest is not None:
                return nest
        groups = collapse(found, self._apart(found, lambda indices: build(full(indices))))
        found, expand = merged(found, groups)

        def statement(indices: Sequence[Any]) -> Stmt:
            return loops.sequence([store.statement for store in build(full(expand(indices)))])

        return self._nest(found, statement)

    def _apart(self, found: Analysis, build: Callable[[Indices], Sequence[Store]]) -> int | None:
        """The last axis where bytes are computed on and vectors of numbers of 4 bytes fill it; else None.

        A vector of bytes would reach over its end, into another place of every operand.
        """
        if found.item_bytes > 1 or not found.extents or found.extents[-1] % max(1, self.vector_bytes // 4):
            return None
        from tvm import ir

        stores = build((0,) * len(found.extents))
        moved = all(isinstance(store.value, ir.expr.TensorLoad) for store in stores)
        return None if moved else len(found.extents) - 1

    def _box(
        self,
        part: Sequence[tuple[int, int]],
        full: Callable[[Sequence[Any]], Indices],
        build: Callable[[Indices], Sequence[Store]],
    ) -> Stmt:
        """The nest over one part of a box, given by start and end along each axis."""
        extents = [end - start for start, end in part]

        def shifted(indices: Indices) -> Sequence[Store]:
            return build(full([plus(start, index) for (start, _), index in zip(part, indices, strict=True)]))

        return self.map(extents, shifted, whole=False)

    def _transposed(self, found: Analysis) -> int | None:
        """The axis along which everything read is contiguous, when nothing read is along the last axis."""
        loads = found.strides[found.stores :]
        last = len(found.extents) - 1
        if (
            last < 1
            or not loads
            or found.stores != 1
            or any(found.cuts)
            or found.item_bytes < 4
            or self.vector_bytes < 16
        ):
            return None
        if not any(strides[last] not in (0, 1) for strides in loads) or found.extents[last] < 4:
            return None
        for axis in range(last):
            if found.extents[axis] >= 4 and all(s[axis] in (0, 1) for s in loads) and any(s[axis] == 1 for s in loads):
                return axis
        return None

    def _transpose(self, found: Analysis, build: Callable[[Indices], Sequence[Store]]) -> Stmt:
        """Square tiles: computed along the axis that is contiguous in what is read, stored along the last one."""
        from tvm import tirx

        axis, last = self._transposed(found), len(found.extents) - 1
        assert axis is not None
        side = max(4, min(8, self.lanes(found.item_bytes)))
        others = [other for other in range(last) if other != axis]

        def place(own: Indices, across: Any, along: Any) -> Indices:
            indices = dict(zip(others, own, strict=True)) | {axis: across, last: along}
            return tuple(indices[position] for position in range(last + 1))

        def tile(own: Indices, across: Any, rows: int, along: Any, columns: int) -> Stmt:
            if rows == 1 or columns == 1:
                return vector_loop(
                    rows * columns,
                    1,
                    (),
                    lambda i: loops.sequence(
                        [s.statement for s in build(place(own, across + i // columns, along + i % columns))]
                    ),
                )
            (sample,) = build(place(own, across, along))
            dtype = str(sample.buffer.dtype)
            local, allocation = loops.local(rows * columns, dtype, "tile")

            def load(column: int) -> Stmt:
                def one(lane: Any) -> Stmt:
                    (store,) = build(place(own, plus(across, lane), along + column))
                    return loops.store(local, stored(store.value, dtype), [lane + column * rows])

                return loops.vectorized(rows, one)

            def save(row: int) -> Stmt:
                def one(lane: Any) -> Stmt:
                    (store,) = build(place(own, across + row, plus(along, lane)))
                    return tirx.BufferStore(store.buffer, local[lane * rows + row], [store.offset])

                return loops.vectorized(columns, one)

            return loops.sequence([allocation, *map(load, range(columns)), *map(save, range(rows))])

        def body(own: Indices) -> Stmt:
            def columns(width: int) -> Callable[[Any], Stmt]:
                def rows(height: int, along: Any) -> Callable[[Any], Stmt]:
                    return lambda across: tile(own, across, height, along, width)

                return lambda along: pieces(
                    found.extents[axis], side, (), lambda height: rows(height, along), smallest=4
                )

            return pieces(found.extents[last], side, (), columns, smallest=4)

        extents = [found.extents[other] for other in others]
        return loops.outer(extents, body, threads=self.threads and product(extents) > 1)

    def _nest(self, found: Analysis, statement: Callable[[Sequence[Any]], Stmt]) -> Stmt:
        """Loops over all axes, the last one vectorised."""
        extents = found.extents
        if not extents:
            return statement(())
        outer, last = extents[:-1], extents[-1]
        lanes = self.lanes(found.item_bytes)

        def row(indices: Indices) -> Stmt:
            return vector_loop(last, lanes, found.cuts[-1], lambda index: statement((*indices, index)))

        if self.threads and not outer and last >= 4 * lanes:
            chunk = -(-last // (lanes * 8)) * lanes  # eight pieces: enough to balance a few cores
            pieces = -(-last // chunk)

            def piece(position: Any) -> Stmt:
                return vector_loop(chunk, lanes, (), lambda i: statement((position * chunk + i,)))

            if last % chunk == 0:
                return loops.parallel(pieces, piece)
            rest = last - (pieces - 1) * chunk
            tail = vector_loop(rest, lanes, (), lambda i: statement(((pieces - 1) * chunk + i,)))
            return loops.sequence([loops.parallel(pieces - 1, piece), tail])
        if self.threads and outer:
            depth = 1
            while depth < len(outer) and product(outer[:depth]) < 64:
                depth += 1

            def inner(indices: Indices) -> Stmt:
                return loops.outer(outer[depth:], lambda rest: row((*indices, *rest)), threads=False)

            return loops.outer(outer[:depth], inner, threads=True)
        return loops.outer(outer, row, threads=False)

    def reduce(
        self,
        kept: Sequence[int],
        reduced: Sequence[int],
        body: Callable[[Indices, Indices], Elements],
        combiner: Combiner,
        dtypes: Sequence[str],
        finish: Callable[[Indices, Elements], Sequence[Store]],
    ) -> Stmt:
        """For every index of the box `kept`, combine `body(index, reduction index)` and hand the result to `finish`."""
        kept_axes = [axis for axis, extent in enumerate(kept) if extent > 1]
        reduced_axes = [axis for axis, extent in enumerate(reduced) if extent > 1]
        count = len(kept_axes)

        def full(indices: Sequence[Any]) -> tuple[Indices, Indices]:
            own: list[Any] = [0] * len(kept)
            over: list[Any] = [0] * len(reduced)
            for axis, index in zip(kept_axes, indices[:count], strict=True):
                own[axis] = index
            for axis, index in zip(reduced_axes, indices[count:], strict=True):
                over[axis] = index
            return tuple(own), tuple(over)

        def touch(indices: Sequence[Any]) -> list[tuple[PrimExpr, int]]:
            scoped_all(lambda: body(*full(indices)), lambda v: v)
            return []

        found = analyse([kept[a] for a in kept_axes] + [reduced[a] for a in reduced_axes], touch, self.ranges)
        groups = collapse(found, boundary=count)
        found, expand = merged(found, groups)
        kept_groups = sum(1 for group in groups if group and group[0] < count)

        def values(own: Indices, over: Indices) -> Elements:
            return body(*full(expand((*own, *over))))

        def done(own: Indices, results: Elements) -> list[Stmt]:
            placed, _ = full(expand((*own, *(0 for _ in found.extents[kept_groups:]))))
            return [store.statement for store in finish(placed, results)]

        nest = ReductionNest(self, found, kept_groups, values, combiner, tuple(dtypes), done)
        return nest.emit()
