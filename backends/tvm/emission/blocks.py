"""One loop nest: element-wise stores over a box of indices, or a reduction for each index of a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.emission.analysis import Analysis, Ranges, analyse
from optc.backends.tvm.lowering.binding import bind, dtype_of, scoped_all
from optc.backends.tvm.lowering.context import Combiner, Elements

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

Indices = tuple[Any, ...]

_MOST_BOXES = 12


@dataclass(frozen=True)
class Store:
    """`buffer[offset] = value`."""

    buffer: Buffer
    offset: PrimExpr
    value: PrimExpr

    @property
    def statement(self) -> Stmt:
        return loops.store(self.buffer, stored(self.value, str(self.buffer.dtype)), [self.offset])

    @property
    def item_bytes(self) -> int:
        return item_bytes(str(self.buffer.dtype))


def stored(value: PrimExpr, dtype: str) -> PrimExpr:
    """A value as a buffer of type `dtype` holds it: bools are bytes, bfloat16 the upper half of an f32."""
    from tvm import tirx

    if dtype_of(value) == "bool":
        return tirx.Cast("uint8", value)
    if dtype_of(value) == "bfloat16" and dtype == "uint16":
        return tirx.reinterpret("uint16", value)
    if dtype_of(value) == "float32" and dtype == "uint16":
        return tirx.shift_right(tirx.reinterpret("uint32", value), tirx.const(16, "uint32")).astype("uint16")
    return value


def item_bytes(dtype: str) -> int:
    """Bytes of one element of a TIR type."""
    digits = "".join(filter(str.isdigit, dtype))
    return max(1, int(digits) // 8) if digits and dtype != "bool" else 1


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

    def map(
        self, extents: Sequence[int], build: Callable[[Indices], Sequence[Store]], *, whole: bool = True
    ) -> Stmt:
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
        groups = collapse(found)
        found, expand = merged(found, groups)

        def statement(indices: Sequence[Any]) -> Stmt:
            return loops.sequence([store.statement for store in build(full(expand(indices)))])

        return self._nest(found, statement)

    def _box(
        self,
        part: Sequence[tuple[int, int]],
        full: Callable[[Sequence[Any]], Indices],
        build: Callable[[Indices], Sequence[Store]],
    ) -> Stmt:
        """The nest over one part of a box, given by start and end along each axis."""
        extents = [end - start for start, end in part]

        def shifted(indices: Indices) -> Sequence[Store]:
            return build(full([_plus(start, index) for (start, _), index in zip(part, indices, strict=True)]))

        return self.map(extents, shifted, whole=False)

    def _transposed(self, found: Analysis) -> int | None:
        """The axis along which everything read is contiguous, when nothing read is along the last axis."""
        loads = found.strides[found.stores :]
        last = len(found.extents) - 1
        if last < 1 or not loads or found.stores != 1 or any(found.cuts) or found.item_bytes < 4 or self.vector_bytes < 16:
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
                    (store,) = build(place(own, _plus(across, lane), along + column))
                    return loops.store(local, stored(store.value, dtype), [lane + column * rows])

                return loops.vectorized(rows, one)

            def save(row: int) -> Stmt:
                def one(lane: Any) -> Stmt:
                    (store,) = build(place(own, across + row, _plus(along, lane)))
                    return tirx.BufferStore(store.buffer, local[lane * rows + row], [store.offset])

                return loops.vectorized(columns, one)

            return loops.sequence([allocation, *map(load, range(columns)), *map(save, range(rows))])

        def body(own: Indices) -> Stmt:
            def columns(width: int) -> Callable[[Any], Stmt]:
                def rows(height: int, along: Any) -> Callable[[Any], Stmt]:
                    return lambda across: tile(own, across, height, along, width)

                return lambda along: pieces(found.extents[axis], side, (), lambda height: rows(height, along), smallest=4)

            return pieces(found.extents[last], side, (), columns, smallest=4)

        extents = [found.extents[other] for other in others]
        return loops.outer(extents, body, threads=self.threads and _product(extents) > 1)

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
            while depth < len(outer) and _product(outer[:depth]) < 64:
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
        count = sum(1 for group in groups if group and group[0] < count)

        def values(own: Indices, over: Indices) -> Elements:
            return body(*full(expand((*own, *over))))

        def done(own: Indices, results: Elements) -> list[Stmt]:
            placed, _ = full(expand((*own, *(0 for _ in found.extents[count:]))))
            return [store.statement for store in finish(placed, results)]

        nest = _Reduction(self, found, count, values, combiner, tuple(dtypes), done)
        return nest.emit()


@dataclass(frozen=True)
class _Reduction:
    """A reduction nest whose axes are `count` kept ones, then the reduced ones."""

    emitter: Emitter
    found: Analysis
    count: int
    values: Callable[[Indices, Indices], Elements]
    combiner: Combiner
    dtypes: tuple[str, ...]
    done: Callable[[Indices, Elements], list[Stmt]]

    def emit(self) -> Stmt:
        extents, count = self.found.extents, self.count
        widest = max([self.found.item_bytes, *(item_bytes(dtype) for dtype in self.dtypes)])
        lanes = self.emitter.lanes(widest)
        kept = [axis for axis in range(count) if extents[axis] >= 4 and self.found.contiguous(axis)]
        if kept and lanes > 1:
            return self._vector_of_results(kept[-1], lanes)
        last = len(extents) - 1
        along = last >= count and extents[last] >= 2 * lanes and lanes > 1 and not self.found.cuts[last]
        if along and all(step in (0, 1) for step in (s[last] for s in self.found.strides)):
            return self._vector_of_terms(lanes)
        return self._kept_loops(range(count), lambda own: self._accumulate(own, None, 1, 1))

    def _kept_loops(self, axes: Sequence[int], body: Callable[[Indices], Stmt]) -> Stmt:
        extents = [self.found.extents[axis] for axis in axes]
        threads = self.emitter.threads and _product(extents) > 1
        return loops.outer(extents, body, threads=threads)

    def _vector_of_results(self, axis: int, lanes: int) -> Stmt:
        """Lanes are neighbouring results; each step of the reduction updates all of them."""
        others = [other for other in range(self.count) if other != axis]
        extent = self.found.extents[axis]
        terms = _product(self.found.extents[self.count :])
        widest = self.emitter.accumulators * lanes

        def chunk(own: Indices, width: int) -> Callable[[Any], Stmt]:
            def at(start: Any) -> Stmt:
                place = list(own)
                place.insert(axis, start)
                copies = max(1, min(self.emitter.accumulators, widest // width)) if terms >= 16 else 1
                return self._accumulate(tuple(place), axis, width, copies)

            return at

        def columns(own: Indices) -> Stmt:
            return pieces(extent, widest, self.found.cuts[axis], lambda width: chunk(own, width), smallest=4)

        return self._kept_loops(others, columns)

    def _accumulate(self, own: Indices, axis: int | None, width: int, copies: int) -> Stmt:
        """Results at `own` (and the `width - 1` next ones along `axis`), with `copies` partial results of each."""
        reduced = self.found.extents[self.count :]
        buffers, statements = zip(
            *(loops.local(width * copies, dtype, f"sum{i}") for i, dtype in enumerate(self.dtypes)), strict=True
        )
        identity = self.combiner.identity(self.dtypes)

        def place(lane: Any) -> Indices:
            return own if axis is None else (*own[:axis], own[axis] + lane, *own[axis + 1 :])

        def update(copy: int, over: Indices) -> Stmt:
            return loops.vectorized(
                width,
                lambda lane: self._combine(
                    buffers, _plus(copy * width, lane), lambda: self.values(place(lane), over)
                ),
            )

        clear = loops.vectorized(
            width * copies,
            lambda lane: loops.sequence([loops.store(b, v, [lane]) for b, v in zip(buffers, identity, strict=True)]),
        )
        parts = [*statements, clear]
        if copies > 1 and reduced[-1] >= copies:
            whole = reduced[-1] // copies

            def steps(over: Indices) -> Stmt:
                inner = [
                    loops.serial(
                        whole,
                        lambda k: loops.sequence([update(c, (*over, k * copies + c)) for c in range(copies)]),
                        "k",
                    )
                ]
                inner += [update(0, (*over, index)) for index in range(whole * copies, reduced[-1])]
                return loops.sequence(inner)

            parts.append(_nested(reduced[:-1], steps))
        else:
            parts.append(_nested(reduced, lambda over: update(0, over)))
        for copy in range(1, copies):
            parts.append(self._merge(buffers, width, copy * width))

        def finish(lane: Any) -> Stmt:
            return loops.sequence(self.done(place(lane), tuple(buffer[lane] for buffer in buffers)))

        return loops.sequence([*parts, loops.vectorized(width, finish)])

    def _merge(self, buffers: Sequence[Buffer], width: int, start: int) -> Stmt:
        def one(lane: Any) -> Stmt:
            return self._combine(buffers, lane, lambda: tuple(buffer[_plus(start, lane)] for buffer in buffers))

        return loops.vectorized(width, one)

    def _combine(self, buffers: Sequence[Buffer], position: Any, new: Callable[[], Elements]) -> Stmt:
        """Update one partial result. The first component, on which the others depend, is stored last."""
        old = tuple(buffer[position] for buffer in buffers)
        results = scoped_all(lambda: self.combiner.combine(old, tuple(bind(value) for value in new())), lambda v: v)
        stores = [loops.store(b, v, [position]) for b, v in zip(buffers, results, strict=True)]
        return loops.sequence(reversed(stores))

    def _vector_of_terms(self, lanes: int) -> Stmt:
        """Lanes are neighbouring terms of one result, combined pairwise at the end."""
        extents, count = self.found.extents, self.count
        last = extents[-1]
        copies = max(1, min(self.emitter.accumulators, last // lanes))
        step = lanes * copies

        def result(own: Indices) -> Stmt:
            buffers, statements = zip(
                *(loops.local(step, dtype, f"sum{i}") for i, dtype in enumerate(self.dtypes)), strict=True
            )
            identity = self.combiner.identity(self.dtypes)

            def update(offset: Any, copy: int, over: Indices, width: int) -> Stmt:
                return loops.vectorized(
                    width,
                    lambda lane: self._combine(
                        buffers, _plus(copy * lanes, lane), lambda: self.values(own, (*over, _plus(offset, lane)))
                    ),
                )

            def row(over: Indices) -> Stmt:
                whole = last // step
                parts = [
                    loops.serial(
                        whole,
                        lambda k: loops.sequence([update(k * step + c * lanes, c, over, lanes) for c in range(copies)]),
                        "k",
                    )
                ]
                done = whole * step
                while last - done >= lanes:
                    parts.append(update(done, (done // lanes) % copies, over, lanes))
                    done += lanes
                width = lanes // 2
                while done < last:
                    if last - done >= width:
                        parts.append(update(done, 0, over, width))
                        done += width
                    width = max(1, width // 2)
                return loops.sequence(parts)

            clear = loops.vectorized(
                step,
                lambda lane: loops.sequence([loops.store(b, v, [lane]) for b, v in zip(buffers, identity, strict=True)]),
            )
            parts = [*statements, clear, _nested(extents[count:-1], row)]
            for copy in range(1, copies):
                parts.append(self._merge(buffers, lanes, copy * lanes))
            width = lanes // 2
            while width >= 1:
                parts.append(self._merge(buffers, width, width))
                width //= 2
            zero = loops.constant(0)
            return loops.sequence([*parts, *self.done(own, tuple(buffer[zero] for buffer in buffers))])

        return self._kept_loops(range(count), result)


def _plus(start: Any, lane: Any) -> Any:
    return lane if isinstance(start, int) and start == 0 else start + lane


def _nested(extents: Sequence[int], body: Callable[[Indices], Stmt]) -> Stmt:
    return loops.outer(list(extents), body, threads=False)


def _product(extents: Sequence[int]) -> int:
    result = 1
    for extent in extents:
        result *= extent
    return result


def vector_loop(extent: int, lanes: int, cuts: Sequence[int], statement: Callable[[Any], Stmt]) -> Stmt:
    """`statement(index)` for each index below `extent`, `lanes` at a time as far as they go."""

    def at_width(width: int) -> Callable[[Any], Stmt]:
        return lambda start: loops.vectorized(width, lambda lane: statement(_plus(start, lane)))

    return pieces(extent, lanes, cuts, at_width)


def pieces(
    extent: int,
    width: int,
    cuts: Sequence[int],
    at_width: Callable[[int], Callable[[Any], Stmt]],
    *,
    smallest: int = 2,
) -> Stmt:
    """Cover `[0, extent)` by runs of `width` and, at the end of each segment, of smaller powers of two.

    No run crosses a cut. `at_width(w)(start)` handles `w` indices from `start`.
    """
    parts: list[Stmt] = []
    edges = [0, *cuts, extent] if len(cuts) <= 8 else [0, extent]
    for start, end in zip(edges, edges[1:], strict=False):
        current, run = start, width
        while current < end:
            count = (end - current) // run
            if count:
                body = at_width(run)
                parts.append(_runs(current, count, run, body))
                current += count * run
            run = run // 2 if run // 2 >= smallest else 1
    return loops.sequence(parts)


def _runs(start: int, count: int, width: int, body: Callable[[Any], Stmt]) -> Stmt:
    return loops.serial(count, lambda i: body(start + i * width if start else i * width), "run")


def boxes(found: Analysis) -> list[tuple[tuple[int, int], ...]]:
    """The parts into which the cuts of all axes but the last divide the box; the last axis stays whole.

    One part when there would be too many.
    """
    parts: list[tuple[tuple[int, int], ...]] = [()]
    for axis, extent in enumerate(found.extents):
        inner = axis == len(found.extents) - 1
        edges = [0, extent] if inner else [0, *found.cuts[axis], extent]
        parts = [(*part, segment) for part in parts for segment in zip(edges, edges[1:], strict=False)]
    return parts if len(parts) <= _MOST_BOXES else [tuple((0, extent) for extent in found.extents)]


def collapse(found: Analysis, boundary: int | None = None) -> list[list[int]]:
    """Groups of neighbouring axes that every access walks as if they were one; none reaches over `boundary`."""
    groups: list[list[int]] = []
    for axis in range(len(found.extents)):
        if groups and axis != boundary and not found.cuts[axis] and not found.cuts[axis - 1]:
            steps = [(s[axis - 1], s[axis]) for s in found.strides]
            extent = found.extents[axis]
            if all(a is not None and b is not None and a == b * extent for a, b in steps):
                groups[-1].append(axis)
                continue
        groups.append([axis])
    return groups


def merged(found: Analysis, groups: list[list[int]]) -> tuple[Analysis, Callable[[Sequence[Any]], Indices]]:
    """The analysis under one axis for each group, and how its indices become those of the original axes."""
    extents = tuple(_product([found.extents[axis] for axis in group]) for group in groups)
    result = replace(
        found,
        extents=extents,
        strides=tuple(tuple(strides[group[-1]] for group in groups) for strides in found.strides),
        cuts=tuple(found.cuts[group[0]] if len(group) == 1 else () for group in groups),
    )

    def expand(indices: Sequence[Any]) -> Indices:
        placed: list[Any] = [0] * len(found.extents)
        for group, index in zip(groups, indices, strict=True):
            for axis in reversed(group[1:]):
                placed[axis] = index % found.extents[axis]
                index = index // found.extents[axis]
            placed[group[0]] = index
        return tuple(placed)

    return result, expand
