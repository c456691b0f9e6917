"""What templates of products with a constant matrix share: their pieces are rows of the product."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import accumulator_of
from optc.backends.tvm.templates.rows import Geometry, RowNest, RowTemplate
from optc.backends.tvm.templates.window import Axis

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Stmt

    from optc.targets.target import Target


@dataclass(frozen=True)
class Extents:
    """Those of a product: of its batch, its rows and its columns."""

    batch: tuple[int, ...]
    rows: int
    columns: int


class MatrixTemplate(RowTemplate):
    """A template whose anchor multiplies by a constant matrix; also a single row.

    Schedule: `columns` rows of the left operand meet `vectors` vectors of the packed matrix in one tile; with
    `channels_outer` one tile of the matrix stays in cache while all rows pass, otherwise the other way round.
    """

    priority = 20

    @abstractmethod
    def extents(self, group: Group) -> Extents:
        """Those of the product."""

    def held(self, group: Group, target: Target) -> int:
        """The registers that hold neither sums nor operands."""
        return 0

    def space(self, group: Group, target: Target) -> list[Schedule]:
        extents = self.extents(group)
        shapes = tiles.register_shapes(target, extents.rows, padded(extents.columns, target), self.held(group, target))
        points = [
            (("channels_outer", outer), ("columns", rows), ("vectors", vectors))
            for rows, vectors in shapes
            for outer in ((0, 1) if extents.rows > rows else (1,))
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def geometry(self, group: Group, schedule: Schedule) -> Geometry:
        extents, height = self.extents(group), dict(schedule)["columns"]
        pieces = -(-extents.rows // height)
        return Geometry(extents.batch, Axis(pieces, pieces, 1), len(extents.batch), height)


@dataclass(frozen=True)
class RowTile:
    """Where a tile of a product lies.

    Attributes:
        lead: indices in the batch.
        row: the first.
        column: the first; an int in the last tile of columns where that is narrower.
        size: how many columns, those of the rounding included.
    """

    lead: tuple[Any, ...]
    row: Any
    column: Any
    size: int


@dataclass(frozen=True)
class MatrixNest:
    """The pieces of a product: register tiles of rows times columns.

    Attributes:
        fused: the group around the product.
        target: of the code.
        extents: of the product.
        width: its columns, rounded up to what is computed.
        tile: of them, for one tile.
        reduction: what makes the loops that sum up.
        finish: from a sum and its place in the product to the element.
    """

    fused: FusedContraction
    target: Target
    extents: Extents
    width: int
    tile: int
    reduction: Callable[[RowTile, tiles.RegisterTile], Callable[[tiles.Step], Stmt]]
    finish: Callable[[PrimExpr, tuple[Any, ...]], PrimExpr] = lambda value, place: value

    def rows(self, schedule: Schedule) -> RowNest:
        """In the order and the tiles of a schedule."""
        knobs = dict(schedule)
        full = self.extents.columns // self.tile
        rest = self.width - full * self.tile
        row_full, row_rest = divmod(self.extents.rows, knobs["columns"])

        def piece(lead: tuple[Any, ...], column_tile: Any, row_tile: Any) -> Stmt:
            return tiles.either(
                column_tile,
                full,
                rest,
                self.tile,
                lambda column, size: tiles.either(
                    row_tile,
                    row_full,
                    row_rest,
                    knobs["columns"],
                    lambda row, count: self._tile(RowTile(lead, row, column, size), count),
                ),
            )

        return RowNest(full + bool(rest), bool(knobs["channels_outer"]), piece)

    def _tile(self, place: RowTile, count: int) -> Stmt:
        fused, lanes = self.fused, tiles.lanes_of(self.target)
        left, result = fused.anchor.operands[0], fused.anchor.results[0]
        assert left is not None
        register = tiles.RegisterTile(count, tiles.vectors_of(place.size, lanes), accumulator_of(left.dtype.numpy_name))

        def finish(number: Any, offset: int, lane: Any, value: Any) -> Stmt:
            position = (*place.lead, place.row + number, place.column + offset + lane)
            return fused.finish(self.finish(value, position).astype(result.dtype.numpy_name), position)

        valid = self.extents.columns - place.column if isinstance(place.column, int) else place.size
        granule = epilogue.narrowest_block(fused.group, lanes)
        staged = epilogue.is_long(fused.group) and count > 1
        return register.emit(self.reduction(place, register), finish, lambda *_: None, valid, granule, staged=staged)


def padded(columns: int, target: Target) -> int:
    """The columns that tiles cover: no vector below half the usual width."""
    granule = min(8, tiles.lanes_of(target))
    return -(-columns // granule) * granule
