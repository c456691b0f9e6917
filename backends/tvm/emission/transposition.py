"""Square tiles of operands that lie transposed: loaded along their own rows, read along those of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.emission.analysis import Analysis, strides_of
from optc.backends.tvm.emission.cover import Indices, Store, pieces, plus, product, vector_loop
from optc.backends.tvm.lowering.recording import fetching, recording

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

Build = Callable[[Indices], Sequence[Store]]
SIDE = 8  # rows and columns of a tile


def mixed_axis(found: Analysis) -> int | None:
    """The axis along which some of what is read is contiguous, when the rest is contiguous along the last axis."""
    last = len(found.extents) - 1
    if last < 1 or any(found.cuts) or found.item_bytes < 4 or found.extents[last] < 4:
        return None
    across = [strides for strides in found.strides[found.stores :] if strides[last] not in (0, 1)]
    for axis in range(last):
        if across and found.extents[axis] >= 4 and all(strides[axis] == 1 for strides in across):
            return axis
    return None


def mixed_nest(found: Analysis, axis: int, build: Build, *, threads: bool) -> Stmt | None:
    """The nest of element-wise stores in tiles along `axis` and the last axis; None where a branch guards a read."""
    last = len(found.extents) - 1
    others = [other for other in range(last) if other != axis]

    def place(own: Indices, across: Any, along: Any) -> Indices:
        indices = dict(zip(others, own, strict=True)) | {axis: across, last: along}
        return tuple(indices[position] for position in range(last + 1))

    transposed = _transposed_reads(found, axis, build)
    if transposed is None:
        return None

    def stores(own: Indices, across: Any, along: Any, element: Callable[[int, Buffer, PrimExpr], PrimExpr]) -> Stmt:
        numbers = iter(range(len(transposed)))

        def fetch(buffer: Buffer, offset: PrimExpr) -> PrimExpr:
            number = next(numbers)
            return element(number, buffer, offset) if transposed[number] else buffer[offset]

        with fetching(fetch):
            return loops.sequence([store.statement for store in build(place(own, across, along))])

    def reads(own: Indices, across: Any, along: Any) -> list[PrimExpr]:
        """The transposed elements that one result is made of."""
        found_reads: list[PrimExpr] = []

        def fetch(buffer: Buffer, offset: PrimExpr) -> PrimExpr:
            found_reads.append(buffer[offset])
            return buffer[offset]

        with fetching(fetch):
            build(place(own, across, along))
        return [element for element, kept in zip(found_reads, transposed, strict=True) if kept]

    def tile(own: Indices, across: Any, rows: int, along: Any, columns: int) -> Stmt:
        if rows == 1 or columns == 1:
            return vector_loop(
                rows * columns,
                1,
                (),
                lambda i: stores(own, across + i // columns, along + i % columns, lambda _, b, offset: b[offset]),
            )
        sample = reads(own, across, along)
        made = [loops.local(rows * columns, str(element.ty), f"tile{n}") for n, element in enumerate(sample)]
        slots = {number: n for n, number in enumerate(n for n, kept in enumerate(transposed) if kept)}

        def loads(column: int) -> Iterator[Stmt]:
            for n, (local, _) in enumerate(made):

                def one(lane: Any, n: int = n, local: Buffer = local) -> Stmt:
                    element = reads(own, plus(across, lane), along + column)[n]
                    return loops.store(local, element, [lane + column * rows])

                yield loops.vectorized(rows, one)

        def save(row: int) -> Stmt:
            def one(lane: Any) -> Stmt:
                return stores(
                    own, across + row, plus(along, lane), lambda number, *_: made[slots[number]][0][lane * rows + row]
                )

            return loops.vectorized(columns, one)

        parts = [allocation for _, allocation in made]
        parts += [statement for column in range(columns) for statement in loads(column)]
        return loops.sequence([*parts, *map(save, range(rows))])

    def body(own: Indices) -> Stmt:
        def columns(width: int) -> Callable[[Any], Stmt]:
            def rows(height: int, along: Any) -> Callable[[Any], Stmt]:
                return lambda across: tile(own, across, height, along, width)

            return lambda along: pieces(found.extents[axis], SIDE, (), lambda height: rows(height, along), smallest=4)

        return pieces(found.extents[last], SIDE, (), columns, smallest=4)

    extents = [found.extents[other] for other in others]
    return loops.outer(extents, body, threads=threads and product(extents) > 1)


def _transposed_reads(found: Analysis, axis: int, build: Build) -> list[bool] | None:
    """Of each read in order whether it lies transposed; None where a branch guards a read."""
    from tvm import tirx

    variables = [tirx.Var(f"axis{i}", loops.INDEX) for i in range(len(found.extents))]
    offsets: list[PrimExpr] = []

    def fetch(buffer: Buffer, offset: PrimExpr) -> PrimExpr:
        offsets.append(offset)
        return buffer[offset]

    with recording() as record, fetching(fetch):
        build(tuple(variables))
    if record.conditions or len(offsets) != len(record.reads):
        return None
    steps = [strides_of(offset, variables) for offset in offsets]
    return [strides[-1] not in (0, 1) and strides[axis] == 1 for strides in steps]
