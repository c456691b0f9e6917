"""The code of the attention template: what one tile of queries does with all keys and values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.math.power import LOG2_E, power_of_two
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.ir.core import Operation, Value
from optc.ops.attention import KEY, MASK, QUERY, VALUE, scale_of, unusual_form
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

    from optc.targets.target import Target

_LOWEST = -3.4028234663852886e38  # the running maximum before any key: differences from it stay finite
_F32 = "float32"


@dataclass(frozen=True)
class Extents:
    """Of an attention: `shared` heads of queries use the same keys and values."""

    batch: int
    heads: int
    queries: int
    keys: int
    depth: int
    width: int
    shared: int

    @staticmethod
    def of(attention: Operation) -> Extents:
        query, key, value = (operand_of(attention, position) for position in (QUERY, KEY, VALUE))
        batch, heads, queries, depth = query.shape
        return Extents(batch, heads, queries, key.shape[2], depth, value.shape[3], heads // key.shape[1])


def columns_of(target: Target, vectors: int, extent: int) -> int:
    """Positions beside `vectors` vectors in a register tile, spread evenly over an axis."""
    limit = max(1, min((max(8, target.vector_registers) - 1 - vectors) // vectors, tiles.MOST_STREAMS))
    return even(extent, limit)


def even(extent: int, limit: int) -> int:
    """The extent of the fewest pieces that are nearly equal and not larger than `limit`."""
    return -(-extent // -(-extent // limit))


def operand_of(attention: Operation, position: int) -> Value:
    value = attention.operand(position)
    assert value is not None
    return value


def attention_refusal(group: Group) -> str | None:
    """Why a group's anchor is no attention of the usual form on static f32 operands; None when it is."""
    attention = group.anchor
    if attention is None or attention.name != "onnx.Attention":
        return "not an attention"
    refusal = static_refusal(group) or unusual_form(attention)
    if refusal is not None:
        return refusal
    if any(operand_of(attention, position).dtype.name != "f32" for position in (QUERY, KEY, VALUE)):
        return "its operands are not f32"
    return None


class AttentionKernel:
    """The code of one schedule."""

    def __init__(self, fused: FusedContraction, schedule: Schedule, target: Target) -> None:
        knobs = dict(schedule)
        self.fused = fused
        self.target = target
        self.attention = fused.anchor
        self.extents = Extents.of(fused.anchor)
        self.lanes = tiles.lanes_of(target)
        self.vectors = knobs["vectors"]
        self.block = min(knobs["keys"], self.extents.keys)
        self.causal = bool(integer(fused.anchor, "is_causal"))
        self.mask = fused.optional(fused.anchor.operand(MASK))
        mask = fused.anchor.operand(MASK)
        self.mask_dtype = "" if mask is None else mask.dtype.numpy_name
        # Scores are kept in units of log₂ unless a mask is added, whose lowest number must not overflow.
        self.scaled_by_log = not self.mask_dtype.startswith("float")
        self.granule = epilogue.narrowest_block(fused.group, self.lanes)

    def function(self, threads: bool) -> Any:
        """A task for each tile of queries of each head; none depends on another."""
        extents = self.extents
        count = -(-extents.queries // (self.vectors * self.lanes))
        nest = loops.outer((extents.batch, extents.heads, count), lambda i: _Tile(self, *i).code(), threads=threads)
        return self.fused.function(nest)


class _Tile:
    """Some queries of one head; the last tile may reach beyond the last query."""

    def __init__(self, kernel: AttentionKernel, batch: Any, head: Any, tile: Any) -> None:
        self.kernel, self.batch, self.head, self.tile = kernel, batch, head, tile
        self.extents = kernel.extents
        self.lanes = kernel.lanes
        self.rows = kernel.vectors * kernel.lanes
        self.vectors = (kernel.lanes,) * kernel.vectors
        self.first = tile * self.rows
        self.full, self.rest = divmod(self.extents.queries, self.rows)
        self.made: list[Stmt] = []
        self.query = self._array(self.extents.depth, "query")
        self.scores = self._array(kernel.block, "scores")
        self.result = self._array(self.extents.width, "result")
        self.highest = self._array(1, "highest")
        self.before = self._array(1, "before")
        self.total = self._array(1, "total")

    def _array(self, columns: int, name: str) -> Buffer:
        """Elements [column][query]."""
        buffer, statements = loops.array(columns * self.rows, _F32, name, self.lanes)
        self.made += statements
        return buffer

    def _read(self, position: int, row: Any, column: Any) -> PrimExpr:
        """An element of the query, of a key or of a value of this head."""
        head = self.head if position == QUERY else self.head // self.extents.shared
        tensor = self.kernel.fused.tensor(operand_of(self.kernel.attention, position))
        return scoped(lambda: tensor(self.batch, head, row, column))

    def _each_vector(self, body: Any) -> list[Stmt]:
        return [loops.vectorized(self.lanes, partial(body, number * self.lanes)) for number in range(len(self.vectors))]

    def code(self) -> Stmt:
        """The whole tile."""
        extents, block = self.extents, self.kernel.block
        full, rest = divmod(extents.keys, block)
        lowest, zero = loops.constant(_LOWEST, _F32), loops.constant(0, _F32)
        statements = [*self.made, *self._turn_queries()]
        statements += self._each_vector(
            lambda offset, lane: loops.sequence(
                [
                    loops.store(self.highest, lowest, [offset + lane]),
                    loops.store(self.before, lowest, [offset + lane]),
                    loops.store(self.total, zero, [offset + lane]),
                ]
            )
        )
        if full + bool(rest) == 1:
            statements.append(self._keys(0, extents.keys, only=True))
        else:

            def cleared(column: Any) -> Stmt:
                def clear(row: int, lane: Any) -> Stmt:
                    return loops.store(self.result, zero, [column * self.rows + row + lane])

                return loops.sequence(self._each_vector(clear))

            statements.append(loops.serial(extents.width, cleared, "column"))
            statements += self._blocks(full, rest)
        statements += self._finish()
        return loops.sequence(statements)

    def _blocks(self, full: int, rest: int) -> list[Stmt]:
        """All blocks of keys; with `is_causal` those that some query of the tile sees."""
        from tvm import tirx

        block = self.kernel.block
        count: Any = full
        tail = self._keys(full * block, rest, only=False) if rest else None
        if self.kernel.causal:
            last = self.first + (self.rows - 1)  # the last query that is in the tile
            count = tirx.min(loops.constant(full), last // block + 1)
            tail = tail if tail is None else tirx.IfThenElse(last >= full * block, tail, None)
        done = [loops.serial(count, lambda number: self._keys(number * block, block, only=False), "block")]
        return done if tail is None else [*done, tail]

    def _turn_queries(self) -> list[Stmt]:
        """The queries as [depth][query], times the scale; zeros beyond the last one."""
        factor = scale_of(self.kernel.attention) * (LOG2_E if self.kernel.scaled_by_log else 1.0)
        scale, zero = loops.constant(factor, _F32), loops.constant(0, _F32)

        def turn(start: Any, valid: int) -> Stmt:
            def column(number: Any) -> Stmt:
                def kept(row: int, lane: Any) -> Stmt:
                    element = self._read(QUERY, start + row + lane, number) * scale
                    return loops.store(self.query, element, [number * self.rows + row + lane])

                def blank(row: int, lane: Any) -> Stmt:
                    return loops.store(self.query, zero, [number * self.rows + row + lane])

                parts = [(kept, row, lanes) for row, lanes in _vectors(0, valid, self.lanes)]
                parts += [(blank, row, lanes) for row, lanes in _vectors(valid, self.rows, self.lanes)]
                return loops.sequence(loops.vectorized(lanes, partial(body, row)) for body, row, lanes in parts)

            return loops.serial(self.extents.depth, column, "depth")

        return [self._by_validity(turn)]

    def _by_validity(self, body: Callable[[Any, int], Stmt]) -> Stmt:
        """`body(first query, queries that exist)` for this tile."""
        return tiles.either(self.tile, self.full, self.rest, self.rows, body)

    def _keys(self, start: Any, count: int, *, only: bool) -> Stmt:
        """One block of keys: scores, their exponentials, and the sum of values; `only`: there is no other block."""
        return loops.sequence(
            [
                self._products(start, count),
                *self._raise_maximum(only),
                self._powers(count),
                self._sum(start, count, only),
            ]
        )

    def _pieces(self, extent: int, body: Any) -> Stmt:
        """`body(start, size)` for the register tiles along an axis."""
        size = columns_of(self.kernel.target, len(self.vectors), extent)
        full, rest = divmod(extent, size)
        done = [loops.serial(full, lambda number: body(number * size, size), "piece")] if full else []
        if rest:
            done.append(body(full * size, rest))
        return loops.sequence(done)

    def _products(self, start: Any, count: int) -> Stmt:
        """Scores of the block as [key][query], and their maxima."""
        from tvm import tirx

        def piece(first: Any, size: int) -> Stmt:
            register = tiles.RegisterTile(size, self.vectors, _F32)

            def reduction(step: tiles.Step) -> Stmt:
                def multiply(depth: Any) -> Stmt:
                    def term(number: int, offset: int, lane: Any) -> PrimExpr:
                        key = self._read(KEY, start + first + number, depth)
                        return self.query[depth * self.rows + offset + lane] * key

                    return step(term)

                return loops.serial(self.extents.depth, multiply, "depth")

            def finish(number: Any, row: int, lane: Any, score: PrimExpr) -> Stmt:
                place = (first + number) * self.rows + row + lane
                masked = self._masked(score, row, lane, start + first + number)
                highest = self.highest[row + lane]
                kept = self.scores[place]
                return loops.sequence(
                    [
                        loops.store(self.scores, masked, [place]),
                        loops.store(self.highest, tirx.Select(highest < kept, kept, highest), [row + lane]),
                    ]
                )

            return register.emit(reduction, finish, lambda *_: None, self.rows, self.lanes)

        return self._pieces(count, piece)

    def _masked(self, score: PrimExpr, row: int, lane: Any, key: Any) -> PrimExpr:
        """A score with the mask and the causal frontier."""
        from tvm import tirx

        kernel = self.kernel
        query = self.first + row + lane
        nothing = loops.constant(-math.inf, _F32)
        if kernel.mask is not None:
            # Lanes beyond the last query repeat it: they are never stored, and the mask has nothing there.
            inside = tirx.min(query, loops.constant(self.extents.queries - 1)) if self.rest else query
            place = (self.batch, self.head, inside, key)[4 - len(kernel.mask.shape) :]
            mask = kernel.mask
            at = tuple(0 if extent == 1 else index for extent, index in zip(mask.shape, place, strict=True))
            element = scoped(lambda: mask(*at))
            score = score + element if kernel.mask_dtype == _F32 else tirx.Select(element, score, nothing)
        return tirx.Select(key <= query, score, nothing) if kernel.causal else score

    def _power(self, difference: PrimExpr) -> PrimExpr:
        factor = 1.0 if self.kernel.scaled_by_log else LOG2_E
        return power_of_two(difference if factor == 1.0 else difference * loops.constant(factor, _F32))

    def _raise_maximum(self, only: bool) -> list[Stmt]:
        """Scale the sums so far down to the new maxima; `before` then holds the factors."""
        if only:
            return []

        def lower(offset: int, lane: Any) -> Stmt:
            place = [offset + lane]
            factor = scoped(lambda: self._power(self.before[offset + lane] - self.highest[offset + lane]))
            return loops.sequence(
                [
                    loops.store(self.before, factor, place),
                    loops.store(self.total, self.total[offset + lane] * self.before[offset + lane], place),
                ]
            )

        return self._each_vector(lower)

    def _powers(self, count: int) -> Stmt:
        """Exponentials of the scores, in their place, and their sums."""
        made, sums, tops = [], {}, {}
        for offset in range(0, self.rows, self.lanes):
            sums[offset], making = loops.local(self.lanes, _F32, f"sum{offset}")
            tops[offset], making_top = loops.local(self.lanes, _F32, f"top{offset}")
            made += [making, making_top]

        def load(offset: int, lane: Any) -> Stmt:
            return loops.sequence(
                [
                    loops.store(sums[offset], self.total[offset + lane], [lane]),
                    loops.store(tops[offset], self.highest[offset + lane], [lane]),
                ]
            )

        def one(key: Any) -> Stmt:
            def raised(offset: int, lane: Any) -> Stmt:
                place = key * self.rows + offset + lane
                power = scoped(lambda: self._power(self.scores[place] - tops[offset][lane]))
                return loops.sequence(
                    [
                        loops.store(self.scores, power, [place]),
                        loops.store(sums[offset], sums[offset][lane] + self.scores[place], [lane]),
                    ]
                )

            return loops.sequence(self._each_vector(raised))

        def keep(offset: int, lane: Any) -> Stmt:
            return loops.store(self.total, sums[offset][lane], [offset + lane])

        return loops.sequence(
            [*made, *self._each_vector(load), loops.serial(count, one, "key"), *self._each_vector(keep)]
        )

    def _sum(self, start: Any, count: int, only: bool) -> Stmt:
        """Add the block's values, weighted; the next block starts from these maxima."""

        def piece(first: Any, size: int) -> Stmt:
            register = tiles.RegisterTile(size, self.vectors, _F32)

            def reduction(step: tiles.Step) -> Stmt:
                def multiply(key: Any) -> Stmt:
                    def term(number: int, offset: int, lane: Any) -> PrimExpr:
                        value = self._read(VALUE, start + key, first + number)
                        return self.scores[key * self.rows + offset + lane] * value

                    return step(term)

                return loops.serial(count, multiply, "key")

            def finish(number: Any, row: int, lane: Any, added: PrimExpr) -> Stmt:
                place = (first + number) * self.rows + row + lane
                if not only:
                    added = added + self.result[place] * self.before[row + lane]
                return loops.store(self.result, added, [place])

            return register.emit(reduction, finish, lambda *_: None, self.rows, self.lanes)

        done = [self._pieces(self.extents.width, piece)]
        if not only:
            done += self._each_vector(
                lambda offset, lane: loops.store(self.before, self.highest[offset + lane], [offset + lane])
            )
        return loops.sequence(done)

    def _finish(self) -> list[Stmt]:
        """Divide by the sums of exponentials (a query that saw no key gives zeros) and store by rows."""
        from tvm import tirx

        zero, one = loops.constant(0, _F32), loops.constant(1, _F32)

        def invert(offset: int, lane: Any) -> Stmt:
            total = self.total[offset + lane]
            inverse = tirx.Select(tirx.EQ(total, zero), zero, one / total)
            return loops.store(self.total, inverse, [offset + lane])

        def rows(start: Any, valid: int) -> Stmt:
            def row(number: Any) -> Stmt:
                def element(column: int, lane: Any) -> Stmt:
                    value = self.result[(column + lane) * self.rows + number] * self.total[number]
                    return self.kernel.fused.finish(value, (self.batch, self.head, start + number, column + lane))

                parts = _vectors(0, self.extents.width, self.kernel.granule)
                return loops.sequence(loops.vectorized(lanes, partial(element, column)) for column, lanes in parts)

            return loops.serial(valid, row, "row")

        return [*self._each_vector(invert), self._by_validity(rows)]


def _vectors(first: int, end: int, granule: int) -> list[tuple[int, int]]:
    """The lanes from `first` to `end` as (first lane, lanes): parts of blocks of `granule`, each a power of two."""
    return [
        (start + sum(sizes[:number]), lanes)
        for start, count in tiles.parts_of(first, end, granule)
        for sizes in [tiles.vectors_of(count, granule)]
        for number, lanes in enumerate(sizes)
    ]
