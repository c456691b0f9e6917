"""The kernel of a Winograd convolution.

A block of tiles is transformed into scratch that stays in the second-level cache: [position][channels / lanes]
[tile][lanes]. For each position in a tile it meets the transformed weights in one matrix product; the products of one
panel of output channels are transformed back and stored before the next panel starts. See `math/winograd.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.winograd import Program, data_program, result_program
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import KernelDefinition, Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand, data_block
from optc.backends.tvm.templates.window import Window, window_of
from optc.backends.tvm.templates.winograd_tile import transform
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir.core import Operation, Value

if TYPE_CHECKING:
    from tvm.tirx import Buffer, Stmt

    from optc.targets.target import Target


PAD = 64
"""Bytes between the data of two positions, which would otherwise meet in few sets of a cache."""


@dataclass(frozen=True)
class Tiling:
    """How m x m tiles cover the outputs of all images; they are numbered row by row."""

    batch: int
    rows: int
    columns: int

    @classmethod
    def of(cls, group: Group, m: int) -> Tiling:
        shape = anchor_of(group).results[0].shape
        return cls(shape[0], -(-shape[2] // m), -(-shape[3] // m))

    @property
    def total(self) -> int:
        return self.batch * self.rows * self.columns

    def place(self, number: Any) -> tuple[Any, Any, Any]:
        """The image, the row and the column of a tile."""
        column, rest = number % self.columns, number // self.columns
        return (rest // self.rows, rest % self.rows, column) if self.batch > 1 else (0, rest, column)


def anchor_of(group: Group) -> Operation:
    """The convolution."""
    assert group.anchor is not None
    return group.anchor


def idle_share(parts: int, cores: int) -> float:
    """The part of the cores that waits while equal parts of the work are shared evenly."""
    rounds = -(-parts // cores)
    return 1.0 - parts / (rounds * cores)


def data_lanes(data: Value, target: Target) -> int:
    """Input channels that are transformed side by side."""
    block, lanes = data_block(data, target), tiles.lanes_of(target)
    return min(block, lanes) if block > 1 else min(lanes, 8)


class WinogradKernel:
    """Everything that the parts of one kernel share.

    Attributes:
        data_type: of transformed data.
        product_type: of the sums of products.
    """

    data_type: ClassVar[str] = "float32"
    product_type: ClassVar[str] = "float32"

    def __init__(self, group: Group, schedule: Schedule, target: Target, seconds: float) -> None:
        knobs = dict(schedule)
        self.target, self.seconds, self.group = target, seconds, group
        self.m, self.block, self.columns = knobs["m"], knobs["block"], knobs["columns"]
        self.n = self.m + 2
        conv = self.conv = anchor_of(group)
        window, data_value, weight_value = window_of(conv), conv.operands[0], conv.operands[1]
        assert window is not None and data_value is not None and weight_value is not None
        self.window: Window = window
        self.lanes = tiles.lanes_of(target)
        self.width, self.out_channels = epilogue.padded_channels(group, target), conv.results[0].shape[1]
        self.panel = min(self.lanes * knobs["vectors"], self.width)
        self.tiles = Tiling.of(group, self.m)
        self.channels = data_value.shape[1]
        self.data_lanes = self._data_lanes(data_value)
        self.depth = -(-self.channels // self.data_lanes) * self.data_lanes
        self.weight = weight_value
        self.fused = FusedContraction(group, {weight_value.index: (self._weight_elements(),)})
        self.weights = self.fused.inputs[weight_value.index]
        self.data = Operand(self.fused, data_value, data_block(data_value, target))
        self.threads = tiles.worth_threads(seconds, target)
        self.blocks = -(-self.tiles.total // self.block)
        self.full = self.out_channels // self.panel
        self.rest = self.width - self.full * self.panel
        self.panels = self.full + bool(self.rest)
        self.data_stride = self.block * self.depth + PAD // np.dtype(self.data_type).itemsize
        self.product_stride = self.block * self.panel + PAD // np.dtype(self.product_type).itemsize

    def definition(self) -> KernelDefinition:
        """The threads share blocks of tiles, or, within each block, first its tiles and then the panels."""
        cores = self.target.cores
        by_block = self.threads and idle_share(self.blocks, cores) <= idle_share(self.panels, cores)
        slots = min(cores, self.blocks if by_block else self.panels) if self.threads else 1
        data_slots = slots if by_block else 1
        sizes = [data_slots * self.n**2 * self.data_stride, slots * self.n**2 * self.product_stride]
        self.transformed = loops.parameter(sizes[:1], self.data_type, "transformed")
        self.products = loops.parameter(sizes[1:], self.product_type, "products")
        kinds = (self.data_type, self.product_type)
        further = self._scratch(slots)
        if by_block:

            def shared(slot: Any) -> Stmt:
                first, end = slot * self.blocks // slots, (slot + 1) * self.blocks // slots
                return loops.serial(end - first, lambda number: self._block(number, slot, slot), "block", start=first)

            nest = loops.parallel(slots, shared, "slot")
        elif self.threads:
            nest = loops.serial(self.blocks, lambda number: self._spread_block(number, slots), "block")
        else:
            nest = loops.serial(self.blocks, lambda number: self._block(number, 0, 0), "block")
        body = loops.sequence([*self.data.fill(self.target, self.seconds), nest])
        scratch = [*self.data.scratches, self.transformed, self.products, *further]
        return KernelDefinition(
            self.fused.function(body, scratch),
            {self.weight.index: self._packing()},
            (
                *self.data.scratch_bytes,
                *(size * np.dtype(kind).itemsize for size, kind in zip(sizes, kinds, strict=True)),
                *further.values(),
            ),
        )

    def _scratch(self, slots: int) -> dict[Buffer, int]:
        """Further scratch, with its bytes, for so many threads."""
        return {}

    def _prepared(self, channel: Any, size: int, slot: Any) -> list[Stmt]:
        """What comes before the products of the panel of `size` channels from `channel` on."""
        return []

    def _weights_start(self, channel: Any, size: int, position: Any, slot: Any) -> Any:
        """Where the weights of a panel and a position start, for `_sums`."""
        return (channel * self.n**2 + position * size) * self.depth

    def _data_lanes(self, data: Value) -> int:
        return data_lanes(data, self.target)

    def _weight_elements(self) -> int:
        """Of what `_packing` makes."""
        return self.width * self.depth * self.n**2

    def _packing(self) -> Packing:
        return pack_weights(self.m, self.panel, self.width, self.depth)

    def _data_program(self) -> Program:
        return data_program(self.m)

    def _result_program(self) -> Program:
        return result_program(self.m)

    def _read(self, indices: Sequence[Any], within: Any = None) -> Any:
        """One element of the data, as the transforms take it."""
        return self.data.read(indices, within)

    def _block(self, number: Any, data_slot: Any, slot: Any) -> Stmt:
        first = number * self.block
        return loops.sequence(
            [
                loops.serial(self._count(first), lambda tile: self._data(first, tile, data_slot), "tile"),
                loops.serial(self.panels, lambda panel: self._panel(first, panel, data_slot, slot), "panel"),
            ]
        )

    def _spread_block(self, number: Any, slots: int) -> Stmt:
        first = number * self.block

        def tile(index: Any) -> Stmt:
            from tvm import tirx

            return tirx.IfThenElse(index < self._count(first), self._data(first, index, 0), None)

        def panels(slot: Any) -> Stmt:
            start, end = slot * self.panels // slots, (slot + 1) * self.panels // slots
            return loops.serial(end - start, lambda panel: self._panel(first, panel, 0, slot), "panel", start=start)

        return loops.sequence(
            [loops.parallel(min(self.block, self.tiles.total), tile, "tile"), loops.parallel(slots, panels, "slot")]
        )

    def _count(self, first: Any) -> Any:
        """Tiles of the block that starts at tile `first`."""
        from tvm import tirx

        if self.blocks == 1:
            return self.tiles.total
        return self.block if self.tiles.total % self.block == 0 else tirx.min(self.block, self.tiles.total - first)

    def _data(self, first: Any, tile: Any, slot: Any) -> Stmt:
        """Transform one tile of all input channels."""
        from tvm import tirx

        n, lanes, kind, program = self.n, self.data_lanes, self.data_type, self._data_program()
        image, tile_row, tile_column = self.tiles.place(first + tile)
        rows, columns = self.window.rows, self.window.columns
        row, column = tile_row * self.m - rows.before, tile_column * self.m - columns.before
        padded = rows.padded or columns.padded or rows.out % self.m or columns.out % self.m

        def element(vector: Any, i: Any, j: Any, lane: Any) -> Any:
            channel = vector * lanes + lane
            if self.data.block > 1:
                outer = channel // self.data.block if self.data.block != lanes else vector
                within = channel % self.data.block if self.data.block != lanes else lane
                return self._read((image, outer, row + i, column + j), within)
            channel = channel if self.channels % lanes == 0 else tirx.min(channel, self.channels - 1)
            return self._read((image, channel, row + i, column + j))

        def write(vector: Any) -> Any:
            def store(i: int, j: int, value: Any) -> list[Stmt]:
                start = (slot * n**2 + i * n + j) * self.data_stride + (vector * self.block + tile) * lanes
                return [
                    loops.vectorized(lanes, lambda lane: loops.store(self.transformed, value(lane), [start + lane]))
                ]

            return store

        def inside(vector: Any) -> Stmt:
            return transform(program, lanes, lambda i, j, lane: element(vector, i, j, lane), write(vector), kind)

        def at_edge(vector: Any) -> Stmt:
            patch, making = loops.array(n * n * lanes, kind, "patch", lanes)
            first_row, first_column = tirx.max(0, -row), tirx.max(0, -column)
            row_count = tirx.max(0, tirx.min(n, rows.data - row) - first_row)
            column_count = tirx.max(0, tirx.min(n, columns.data - column) - first_column)
            zero = loops.constant(0, kind)

            def copied(i: Any, j: Any) -> Stmt:
                return loops.vectorized(
                    lanes, lambda lane: loops.store(patch, element(vector, i, j, lane), [(i * n + j) * lanes + lane])
                )

            return loops.sequence(
                [
                    *making,
                    loops.serial(
                        n * n,
                        lambda k: loops.vectorized(lanes, lambda lane: loops.store(patch, zero, [k * lanes + lane])),
                    ),
                    loops.serial(
                        row_count,
                        lambda i: loops.serial(column_count, lambda j: copied(i, j), "j", start=first_column),
                        "i",
                        start=first_row,
                    ),
                    transform(
                        program, lanes, lambda i, j, lane: patch[(i * n + j) * lanes + lane], write(vector), kind
                    ),
                ]
            )

        vectors = self.depth // lanes
        interior = loops.serial(vectors, inside, "vector")
        if not padded:
            return interior
        whole = tirx.all(row >= 0, row <= rows.data - n, column >= 0, column <= columns.data - n)
        return tirx.IfThenElse(whole, interior, loops.serial(vectors, at_edge, "vector"))

    def _panel(self, first: Any, panel: Any, data_slot: Any, slot: Any) -> Stmt:
        """The results of a block of tiles in one panel of output channels."""

        def results(channel: Any, size: int) -> Stmt:
            row_tiles = (self._count(first) + self.columns - 1) // self.columns

            def products(position: Any) -> Stmt:
                return loops.serial(
                    row_tiles,
                    lambda number: self._products(position, number * self.columns, channel, size, data_slot, slot),
                    "row",
                )

            return loops.sequence(
                [
                    *self._prepared(channel, size, slot),
                    loops.serial(self.n**2, products, "position"),
                    loops.serial(
                        self._count(first), lambda tile: self._results(first, tile, channel, size, slot), "tile"
                    ),
                ]
            )

        return tiles.either(panel, self.full, self.rest, self.panel, results)

    def _products(self, position: Any, tile: Any, channel: Any, size: int, data_slot: Any, slot: Any) -> Stmt:
        """One register tile of the matrix product at one position."""
        register = tiles.RegisterTile(self.columns, tiles.vectors_of(size, self.lanes), self.product_type)
        data = (data_slot * self.n**2 + position) * self.data_stride
        weights = self._weights_start(channel, size, position, slot)

        def reduction(step: tiles.Step) -> Stmt:
            return self._sums(step, lambda k, column: self._place(data, k, tile + column), weights, size)

        def finish(column: Any, offset: int, lane: Any, value: Any) -> Stmt:
            place = (slot * self.n**2 + position) * self.product_stride + (tile + column) * self.panel
            return loops.store(self.products, value, [place + offset + lane])

        return register.emit(reduction, finish, lambda *_: None, size, self.lanes)

    def _place(self, start: Any, k: Any, tile: Any) -> Any:
        """Where channel `k` of a tile lies in the transformed data of a position, which start there."""
        lanes = self.data_lanes
        return start + (k // lanes * self.block + tile) * lanes + k % lanes

    def _sums(self, step: tiles.Step, place: Callable[[Any, int], Any], weights: Any, size: int) -> Stmt:
        """Add the products of all channels to a tile's accumulators.

        Args:
            step: of the tile.
            place: (channel, column of the tile) -> where in the transformed data.
            weights: where those of the panel and the position start.
            size: of the panel.
        """

        def multiply(k: Any) -> Stmt:
            def product(column: int, offset: int, lane: Any) -> Any:
                return self.transformed[place(k, column)] * self.weights[weights + k * size + offset + lane]

            return step(product)

        return loops.serial(self.depth, multiply, "k")

    def _each_result(self, rows: Any, columns: Any, body: Callable[[Any, Any], Stmt]) -> Stmt:
        """`body(row, column)` for the results of a tile that lie inside the output."""
        return loops.serial(rows, lambda i: loops.serial(columns, lambda j: body(i, j), "j"), "i")

    def _result(self, value: Any, i: int, j: int) -> Any:
        """The sum of the convolution at (i, j) in a tile from what the program makes there."""
        return value

    def _bias(self) -> LogicalTensor | None:
        """By output channel."""
        return self.fused.optional(self.conv.operand(2))

    def _results(self, first: Any, tile: Any, channel: Any, size: int, slot: Any) -> Stmt:
        """Transform the products of one tile back and store them."""
        from tvm import tirx

        m, n, kind, bias = self.m, self.n, self.product_type, self._bias()
        image, tile_row, tile_column = self.tiles.place(first + tile)
        row, column = tile_row * m, tile_column * m
        out = self.conv.results[0].shape
        granule = epilogue.granule(self.group, self.lanes)
        valid = self.out_channels - channel if isinstance(channel, int) else size

        def vector(offset: Any, lanes: int, kept: int) -> Stmt:
            stage, making = loops.array(m * m * lanes, kind, "stage", lanes)

            def read(i: int, j: int, lane: Any) -> Any:
                place = (slot * n**2 + i * n + j) * self.product_stride + tile * self.panel
                return self.products[place + offset + lane]

            def write(i: int, j: int, value: Any) -> list[Stmt]:
                def kept(lane: Any) -> Stmt:
                    return loops.store(stage, self._result(value(lane), i, j), [(i * m + j) * lanes + lane])

                return [loops.vectorized(lanes, kept)]

            def finished(i: Any, j: Any) -> Stmt:
                done = []
                for part, count in tiles.parts_of(0, kept, granule):

                    def final(lane: Any, part: int = part) -> Stmt:
                        out_channel = channel + offset + part + lane
                        value = stage[(i * m + j) * lanes + part + lane]
                        if bias is not None:
                            value = value + bias(out_channel)
                        return self.fused.finish(value, (image, out_channel, row + i, column + j))

                    done.append(loops.vectorized(count, final))
                for part, count in tiles.parts_of(kept, lanes, granule):

                    def blank(lane: Any, part: int = part) -> Stmt | None:
                        return self.fused.blank((image, channel + offset + part + lane, row + i, column + j))

                    if blank(0) is not None:
                        done.append(loops.vectorized(count, blank))
                return loops.sequence(done)

            row_count, column_count = tirx.min(m, out[2] - row), tirx.min(m, out[3] - column)
            return loops.sequence(
                [
                    *making,
                    transform(self._result_program(), lanes, read, write, kind),
                    self._each_result(row_count, column_count, finished),
                ]
            )

        whole, statements = valid // self.lanes, []
        if whole:
            statements.append(loops.serial(whole, lambda v: vector(v * self.lanes, self.lanes, self.lanes), "v"))
        offset = whole * self.lanes
        for lanes in tiles.vectors_of(size - offset, self.lanes):
            statements.append(vector(offset, lanes, max(0, min(lanes, valid - offset))))
            offset += lanes
        return loops.sequence(statements)


def pack_weights(m: int, panel: int, width: int, depth: int) -> Packing:
    """Weights (O, I, 3, 3), transformed, as one run [positions][I][channels of the panel] for each panel.

    Channels are filled up with zeros: outputs to `width`, inputs to `depth`.
    """
    return Packing(
        (
            ("winograd", (m,)),
            ("pad", (width, depth, 0)),
            ("transpose", (2, 1, 0)),
            ("panels", (panel,)),
        )
    )
