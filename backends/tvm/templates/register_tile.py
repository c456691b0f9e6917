"""The register tile: columns times vectors of accumulators that stay in SIMD registers during a whole reduction.

This is the micro-kernel of every contraction here (Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", 2008): in each step a few vectors of one operand meet a few broadcast scalars or vectors of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

    from optc.targets.target import Target

Product = Callable[[int, int, Any], "PrimExpr"]  # (column, first lane of the vector, lane) -> what is added
Change = Callable[[int, int, "PrimExpr"], "PrimExpr"]  # (column, first lane, whole vector) -> the vector afterwards
Finish = Callable[[Any, int, Any, "PrimExpr"], "Stmt"]  # (column, first lane, lane, accumulated) -> stores


@dataclass(frozen=True)
class Step:
    """Makes the statements that change the accumulators of a tile.

    Attributes:
        tile: whose they are.
        totals: by column and first lane.
    """

    tile: RegisterTile
    totals: Mapping[tuple[int, int], Buffer]

    def __call__(self, product: Product, columns: Iterable[int] | None = None) -> Stmt:
        """Add one product to each accumulator of these columns (default: all), lane by lane."""

        def add(column: int, offset: int, lane: Any) -> Stmt:
            total = self.totals[column, offset]
            return loops.store(total, total[lane] + product(column, offset, lane), [lane])

        return loops.sequence(
            loops.vectorized(lanes, partial(add, column, offset)) for column, offset, lanes in self._places(columns)
        )

    def change(self, new: Change, columns: Iterable[int] | None = None) -> Stmt:
        """Replace each accumulator of these columns (default: all), a whole vector at once."""
        statements = []
        for column, offset, lanes in self._places(columns):
            total, every = self.totals[column, offset], loops.ramp(0, lanes)
            statements.append(loops.store(total, new(column, offset, total[every]), [every]))
        return loops.sequence(statements)

    def _places(self, columns: Iterable[int] | None) -> list[tuple[int, int, int]]:
        chosen = range(self.tile.columns) if columns is None else columns
        return [
            (column, offset, lanes)
            for column in chosen
            for offset, lanes in zip(self.tile.offsets, self.tile.vectors, strict=True)
        ]


@dataclass(frozen=True)
class RegisterTile:
    """Accumulators of `columns` positions times the lanes of `vectors`, in order."""

    columns: int
    vectors: tuple[int, ...]
    dtype: str

    @property
    def width(self) -> int:
        return sum(self.vectors)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first lane of each vector."""
        return tuple(sum(self.vectors[:i]) for i in range(len(self.vectors)))

    def emit(
        self,
        reduction: Callable[[Step], Stmt],
        finish: Finish,
        blank: Callable[[Any, int, Any], Stmt | None],
        valid: int,
        granule: int,
        *,
        staged: bool = False,
    ) -> Stmt:
        """The code of one tile.

        Args:
            reduction: given what makes the steps on accumulators that start as zero, returns the loops around them.
            finish: what to do with an accumulated element.
            blank: what to do with a lane beyond the valid ones.
            valid: the lanes that hold elements of the result.
            granule: the most lanes that `finish` can take as one vector.
            staged: pass the accumulators through memory and loop over the columns, which keeps long epilogues short.
        """
        places = list(zip(self.offsets, self.vectors, strict=True))
        made, accumulators = [], {}
        for column in range(self.columns):
            for offset, lanes in places:
                accumulators[column, offset], allocation = loops.local(lanes, self.dtype, f"sum{column}_{offset}")
                made.append(allocation)

        def each(statement: Callable[[int, int, Any], Stmt], columns: Iterable[int]) -> list[Stmt]:
            return [
                loops.vectorized(lanes, partial(statement, column, offset))
                for column in columns
                for offset, lanes in places
            ]

        zero = loops.constant(0, self.dtype)
        cleared = each(
            lambda column, offset, lane: loops.store(accumulators[column, offset], zero, [lane]), range(self.columns)
        )
        statements = [*made, *cleared, reduction(Step(self, accumulators))]

        def finished(column: Any, read: Callable[[int, Any], PrimExpr]) -> Stmt:
            def kept(first: int, offset: int, lane: Any) -> Stmt:
                return finish(column, first, lane, read(offset, first - offset + lane))

            def rounding(first: int, lane: Any) -> Stmt:
                statement = blank(column, first, lane)
                assert statement is not None
                return statement

            done = [
                loops.vectorized(size, partial(kept, first, offset))
                for offset, lanes in places
                for first, size in parts_of(offset, min(valid, offset + lanes), granule)
            ]
            for first, size in parts_of(valid, self.width, granule):
                if blank(column, first, 0) is not None:
                    done.append(loops.vectorized(size, partial(rounding, first)))
            return loops.sequence(done)

        if staged and self.columns > 1 and self.columns * max(self.vectors) * 4 <= STACK_BYTES:
            stages = {}
            for offset, lanes in places:
                stages[offset], making = loops.array(self.columns * lanes, self.dtype, f"stage{offset}", lanes)
                statements += making
            extents = dict(places)

            def keep(column: int, offset: int, lane: Any) -> Stmt:
                return loops.store(
                    stages[offset], accumulators[column, offset][lane], [column * extents[offset] + lane]
                )

            statements += each(keep, range(self.columns))
            statements.append(
                loops.serial(
                    self.columns,
                    lambda column: finished(
                        column, lambda offset, lane: stages[offset][column * extents[offset] + lane]
                    ),
                    "column",
                )
            )
        else:

            def kept_in_registers(column: int, offset: int, lane: Any) -> PrimExpr:
                return accumulators[column, offset][lane]

            statements += [finished(column, partial(kept_in_registers, column)) for column in range(self.columns)]
        return loops.sequence(statements)


STACK_BYTES = 16384  # what one tile may keep on the stack


def lanes_of(target: Target, bits: int = 32) -> int:
    """Elements of a SIMD register; 1 where the target has none."""
    return max(1, target.vector_bytes * 8 // bits)


def vectors_of(width: int, lanes: int) -> tuple[int, ...]:
    """Split `width` elements into vectors of `lanes`, then of smaller powers of two."""
    vectors = []
    while width > 0:
        while lanes > width:
            lanes //= 2
        vectors.append(lanes)
        width -= lanes
    return tuple(vectors)


def vector_lengths(width: int, lanes: int) -> tuple[int, ...]:
    """The different lanes of the vectors that tiles of `width` channels have, the fewest first."""
    return tuple(sorted({min(lanes, width), *vectors_of(width, lanes)}))


def parts_of(first: int, end: int, granule: int) -> list[tuple[int, int]]:
    """The lanes from `first` to `end` as (first lane, lanes) that do not cross a multiple of `granule`."""
    parts = []
    while first < end:
        size = min(granule - first % granule, end - first)
        parts.append((first, size))
        first += size
    return parts


def either(index: Any, full: int, rest: int, tile: int, body: Callable[[Any, int], Stmt]) -> Stmt:
    """`body(start, size)` for the tile number `index` of an axis with `full` tiles and one of `rest` elements after.

    The start of the last, other tile is an int, the starts of full tiles are expressions.
    """
    from tvm import tirx

    if not rest:
        return body(index * tile, tile)
    if not full:
        return body(0, rest)
    return tirx.IfThenElse(index < full, body(index * tile, tile), body(full * tile, rest))


def worth_threads(seconds: float, target: Target) -> bool:
    """Whether sharing `seconds` of work among the cores gains more than waking the threads costs."""
    return target.cores > 1 and seconds * (1 - 1 / target.cores) > target.parallel_seconds


def register_shapes(target: Target, columns: int, width: int, held: int = 0) -> list[tuple[int, int]]:
    """The (columns, vectors) tiles that fit the registers, for rows of `columns` positions and `width` channels.

    Columns are spread evenly over the tiles of a row. Registers are kept for the operands of one step, and `held` more.
    """
    lanes, registers = lanes_of(target), max(8, target.vector_registers - held)
    most = -(-width // lanes)
    shapes = set()
    for vectors in {*range(1, 5), 6, 8, 12, 16}:
        if vectors > most or (columns > 3 and vectors > 4):
            continue
        streams = MOST_STREAMS if most > 1 else registers
        for limit in range(1, min(streams, registers - 1) + 1):
            if vectors * limit + vectors + 1 > registers and limit > 1:
                break
            tiles = -(-columns // limit)
            shapes.add((-(-columns // tiles), vectors))
    enough = {shape for shape in shapes if shape[0] * shape[1] >= LATENCY}
    return sorted(enough or shapes)


def estimate(
    target: Target,
    *,
    rows: int,
    columns: int,
    width: int,
    steps: int,
    tile: tuple[int, int],
    weight_sweeps: int,
    data_bytes: int,
    spare: int = 8,
    peak: float = 0.0,
    depth: int = 1,
    step_bytes: int = 4,
    held: int = 0,
) -> float:
    """Seconds on one core for `rows` of `columns` positions by `width` channels, each a sum of `steps` products.

    A step of a tile costs the larger of its multiply-adds and its loads; too few accumulators wait for the latency of
    the multiply-add; without 1/`spare` of the registers free the register allocator spills. Weights come from the cache
    level that holds what is swept between two uses: all of them, `weight_sweeps` times, or (0) those of one tile.

    Other than for f32: `peak` operations a second, of which a lane makes 2 `depth` in a step with `step_bytes` of
    weights; `held` registers hold something else.
    """
    lanes = lanes_of(target)
    # One multiply-add of a whole vector.
    step_seconds = 2 * depth * lanes / (peak or target.peak_flops.get("f32", 2.0e9))
    tile_columns, vectors = tile
    tile_width = min(width, vectors * lanes)
    channel_tiles = [tile_width] * (width // tile_width) + ([width % tile_width] if width % tile_width else [])
    column_tiles = -(-columns // tile_columns)
    seconds = 0.0
    for size in set(channel_tiles):
        parts = vectors_of(size, lanes)
        share = sum(max(part / lanes, 0.5) for part in parts)  # half a vector takes half the time, less gains nothing
        for count in {tile_columns, columns - (column_tiles - 1) * tile_columns}:
            times = channel_tiles.count(size) * rows * (column_tiles - 1 if count == tile_columns else 1)
            if count == tile_columns == columns - (column_tiles - 1) * tile_columns:
                times = channel_tiles.count(size) * rows * column_tiles
            work = max(share * count, LATENCY, (len(parts) + count) * LOAD) + STREAM * count
            if len(parts) * (count + 1) + 1 + held > target.vector_registers * (1 - 1 / spare):
                work *= SPILL
            seconds += times * (steps * work + TILE_OVERHEAD + 2 * len(parts) * count) * step_seconds
    weight_bytes = step_bytes * width * steps
    seconds += traffic(target, weight_bytes + data_bytes, weight_bytes + data_bytes)
    if weight_sweeps:
        seconds += traffic(target, weight_bytes, weight_bytes) * (weight_sweeps - 1)
    else:
        tile_bytes = step_bytes * tile_width * steps
        seconds += traffic(target, tile_bytes, weight_bytes) * (rows * column_tiles - 1)
        seconds += traffic(target, data_bytes, data_bytes) * (len(channel_tiles) - 1)
    return seconds


SPILL = 1.25  # what a register file without slack costs
MOST_STREAMS = 16  # rows of data read side by side: more evict each other from a cache of few ways
LATENCY = 8  # multiply-adds that must be under way: latency times throughput, in whole vectors
STREAM = 0.05  # address and load ports of one broadcast
LOAD = 0.6  # a load's share of the time of a multiply-add
TILE_OVERHEAD = 24  # multiply-adds' worth of loop and address code around one tile


def traffic(target: Target, working_set: int, moved: int) -> float:
    """Seconds by which moving `moved` bytes delays the multiply-adds, from the cache that holds `working_set`."""
    level = _level(target, working_set)
    return transfer(target, working_set, moved) * (HIDDEN[min(level, 2)] if level < len(target.caches) else 1.0)


def transfer(target: Target, working_set: int, moved: int) -> float:
    """Seconds that moving `moved` bytes takes from the cache that holds `working_set`, or from memory; none from L1."""
    level = _level(target, working_set)
    if level == 0 and target.caches:
        return 0.0
    bandwidth = target.caches[level].bandwidth if level < len(target.caches) else target.memory_bandwidth
    return moved / bandwidth if bandwidth else 0.0


def _level(target: Target, working_set: int) -> int:
    """The number of the cache that holds `working_set`; one more than the last for memory."""
    return next((i for i, cache in enumerate(target.caches) if working_set <= cache.bytes * 0.75), len(target.caches))


HIDDEN = (0.0, 0.15, 0.5)  # the share of the traffic from L1, L2, L3 that prefetching does not hide
