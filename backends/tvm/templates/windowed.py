"""What templates of convolutions in channel blocks share: their pieces are rows of windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand, accumulator_of, data_block
from optc.backends.tvm.templates.rows import Geometry, RowNest, RowTemplate
from optc.backends.tvm.templates.window import Window, row_tiles, window_of
from optc.backends.tvm.tensor import LogicalTensor

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


class WindowedTemplate(RowTemplate):
    """A template whose anchor is a convolution; its data is read in blocks of channels."""

    def geometry(self, group: Group, schedule: Schedule) -> Geometry:
        conv = group.anchor
        assert conv is not None
        window = window_of(conv)
        assert window is not None
        return Geometry(conv.results[0].shape[:1], window.rows, 2)

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        data = fused.anchor.operands[0]
        assert data is not None
        return Operand(fused, data, data_block(data, target))


@dataclass(frozen=True)
class ColumnTile:
    """Where a tile of outputs lies.

    Attributes:
        window: of the convolution.
        image: its number in the batch.
        channel: the first of the result; an int in the last tile of channels where that is narrower.
        row: of the result.
        start: the first column; an int unless the tile is `interior`.
        columns: how many.
        interior: whether all their taps lie inside the columns of the data.
    """

    window: Window
    image: Any
    channel: Any
    row: Any
    start: Any
    columns: int
    interior: bool


Reduction = Callable[[tiles.Step], "Stmt"]


@dataclass(frozen=True)
class WindowNest:
    """The pieces of a convolution: a row of outputs for a tile of channels each, in register tiles of columns.

    Attributes:
        fused: the group around the convolution.
        target: of the code.
        width: output channels, rounded up to what is computed.
        tile: of them, for one tile.
        reduction: (place, channels, register tile) -> what makes the loops that sum up.
        bias: by channel, what is added to the sums.
    """

    fused: FusedContraction
    target: Target
    width: int
    tile: int
    reduction: Callable[[ColumnTile, int, tiles.RegisterTile], Reduction]
    bias: LogicalTensor | None = None

    def rows(self, knobs: Mapping[str, int], *, channels_outer: bool) -> RowNest:
        """With so many `columns` a tile."""
        window = window_of(self.fused.anchor)
        assert window is not None
        full = self.fused.anchor.results[0].shape[1] // self.tile
        rest = self.width - full * self.tile

        def row_of(image: Any, channel: Any, size: int, row: Any) -> Stmt:
            return row_tiles(
                window.columns,
                knobs["columns"],
                lambda start, columns, interior: self._tile(
                    ColumnTile(window, image, channel, row, start, columns, interior), size
                ),
            )

        def piece(lead: tuple[Any, ...], number: Any, row: Any) -> Stmt:
            return tiles.either(
                number, full, rest, self.tile, lambda channel, size: row_of(lead[0], channel, size, row)
            )

        return RowNest(full + bool(rest), channels_outer, piece)

    def _tile(self, place: ColumnTile, size: int) -> Stmt:
        fused, window, lanes = self.fused, place.window, tiles.lanes_of(self.target)
        (data, *_), result = fused.anchor.operands, fused.anchor.results[0]
        assert data is not None
        accumulator = accumulator_of(data.dtype.numpy_name)
        register = tiles.RegisterTile(place.columns, tiles.vectors_of(size, lanes), accumulator)

        def position(column: Any, channel: Any) -> tuple[Any, ...]:
            return (place.image, channel, *window.logical(place.row, place.start + column))

        def finish(column: Any, offset: int, lane: Any, value: Any) -> Stmt:
            channel = place.channel + offset + lane
            if self.bias is not None:
                value = value + self.bias(channel).astype(accumulator)
            return fused.finish(value.astype(result.dtype.numpy_name), position(column, channel))

        def blank(column: Any, offset: int, lane: Any) -> Stmt | None:
            return fused.blank(position(column, place.channel + offset + lane))

        valid = result.shape[1] - place.channel if isinstance(place.channel, int) else size
        granule, staged = epilogue.granule(fused.group, lanes), epilogue.is_long(fused.group)
        return register.emit(self.reduction(place, size, register), finish, blank, valid, granule, staged=staged)
