"""Contractions with constant weights that are made row by row: alone, or as a stage of a block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.window import Axis

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target


@dataclass(frozen=True)
class Packed:
    """How a constant input is stored for a kernel."""

    shape: tuple[int, ...]
    packing: Packing


@dataclass(frozen=True)
class Geometry:
    """What the pieces of a contraction cover.

    Attributes:
        lead: extents of the axes before the rows.
        rows: the pieces along the rows of the result, and which rows of the data each reads.
        axis: the axis of the result along which the rows lie; in the data it is the same.
        height: rows of the result, and of the data, in a piece.
    """

    lead: tuple[int, ...]
    rows: Axis
    axis: int
    height: int = 1


@dataclass(frozen=True)
class RowNest:
    """The code of a contraction in pieces that may run in any order.

    Attributes:
        channels: pieces along the channels of the result.
        channels_outer: whether all rows of one piece of channels come before the next one's.
        piece: (lead indices, number of the piece of channels, number of the row) -> its code.
    """

    channels: int
    channels_outer: bool
    piece: Callable[[tuple[Any, ...], Any, Any], Stmt]


class RowTemplate(Template):
    """A template whose kernels consist of independent pieces of the result's rows and channels."""

    @abstractmethod
    def packed(self, group: Group, schedule: Schedule, target: Target) -> Mapping[int, Packed]:
        """By input position, the constants that are not stored in their plain layout."""

    @abstractmethod
    def geometry(self, group: Group, schedule: Schedule) -> Geometry:
        """What the pieces cover."""

    @abstractmethod
    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        """The data that the weights meet."""

    @abstractmethod
    def nest(self, fused: FusedContraction, data: Operand, schedule: Schedule, target: Target) -> RowNest:
        """The pieces."""

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        """All pieces, in parallel where that pays."""
        packed = self.packed(group, schedule, target)
        fused = FusedContraction(group, {position: each.shape for position, each in packed.items()})
        data = self.operand(fused, target)
        nest = self.nest(fused, data, schedule, target)
        geometry = self.geometry(group, schedule)
        seconds = self.estimate(group, schedule, target)
        threads = tiles.worth_threads(seconds, target)
        rows = geometry.rows.out
        if nest.channels_outer:
            extents: tuple[int, ...] = (*geometry.lead, nest.channels, rows)
            body = loops.outer(extents, lambda i: nest.piece(i[:-2], i[-2], i[-1]), threads=threads)
        else:
            extents = (*geometry.lead, rows, nest.channels)
            body = loops.outer(extents, lambda i: nest.piece(i[:-2], i[-1], i[-2]), threads=threads)
        function = fused.function(loops.sequence([*data.fill(target, seconds), body]), data.scratches)
        packings = {position: each.packing for position, each in packed.items()}
        return KernelDefinition(function, packings, data.scratch_bytes)
