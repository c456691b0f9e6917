"""The loop nest of a reduction, vectorised over neighbouring results or over the terms of one result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.emission.analysis import Analysis
from optc.backends.tvm.emission.cover import Indices, item_bytes, pieces, plus, product
from optc.backends.tvm.lowering.binding import bind, scoped_all
from optc.backends.tvm.lowering.context import Combiner, Elements

if TYPE_CHECKING:
    from tvm.tirx import Buffer, Stmt

    from optc.backends.tvm.emission.blocks import Emitter


@dataclass(frozen=True)
class ReductionNest:
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
        while lanes > 4 and last >= count and extents[last] < 2 * lanes:
            lanes //= 2
        along = last >= count and extents[last] >= 2 * lanes and lanes > 1 and not self.found.cuts[last]
        if along and all(step in (0, 1) for step in (s[last] for s in self.found.strides)):
            return self._vector_of_terms(lanes)
        return self._kept_loops(range(count), lambda own: self._accumulate(own, None, 1, 1))

    def _kept_loops(self, axes: Sequence[int], body: Callable[[Indices], Stmt]) -> Stmt:
        extents = [self.found.extents[axis] for axis in axes]
        threads = self.emitter.threads and product(extents) > 1
        return loops.outer(extents, body, threads=threads)

    def _vector_of_results(self, axis: int, lanes: int) -> Stmt:
        """Lanes are neighbouring results; each step of the reduction updates all of them."""
        others = [other for other in range(self.count) if other != axis]
        extent = self.found.extents[axis]
        terms = product(self.found.extents[self.count :])
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
                lambda lane: self._combine(buffers, plus(copy * width, lane), lambda: self.values(place(lane), over)),
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
            return self._combine(buffers, lane, lambda: tuple(buffer[plus(start, lane)] for buffer in buffers))

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
                        buffers, plus(copy * lanes, lane), lambda: self.values(own, (*over, plus(offset, lane)))
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
                lambda lane: loops.sequence(
                    [loops.store(b, v, [lane]) for b, v in zip(buffers, identity, strict=True)]
                ),
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


def _nested(extents: Sequence[int], body: Callable[[Indices], Stmt]) -> Stmt:
    return loops.outer(list(extents), body, threads=False)
