"""Convolutions of bytes in groups: a tile of output channels meets the input channels of its groups, and no others.

A tile that holds several groups reads the inputs of all of them, and the weights between different groups are zero: a
vector of 16 outputs in groups of four multiplies four times what is needed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.math.dot_weights import FOUR
from optc.backends.tvm.math.grouped_weights import GroupTiles
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates.dot_tile import DotTile, weights_of
from optc.backends.tvm.templates.integer_conv import IntegerConv, groups_of
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.quads import Quads, quads_together
from optc.backends.tvm.templates.rows import Packed

if TYPE_CHECKING:
    from optc.targets.target import Target


class IntegerGroupedConv(IntegerConv):
    """1-D and 2-D `onnx.ConvInteger` in groups of several channels, whose tiles read whole quads of the data."""

    name = "integer_grouped_conv"

    def _groups_refusal(self, group: Group, target: Target) -> str | None:
        assert group.anchor is not None
        if groups_of(group) == 1:
            return "one group"
        if weights_of(group.anchor).shape[1] == 1:
            return "one input channel in each group"
        return None if self.space(group, target) else "its groups do not fill tiles of channels"

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [point for point in super().space(group, target) if self._fits(group, point, target)]

    def _fits(self, group: Group, schedule: Schedule, target: Target) -> bool:
        assert group.anchor is not None and group.anchor.operands[0] is not None
        tiles, data = self._tiles(group, schedule, target), group.anchor.operands[0]
        together = FOUR * max(1, quads_together(data, 1))
        return tiles.even and tiles.read % together == 0 and data.shape[1] % together == 0

    def _tiles(self, group: Group, schedule: Schedule, target: Target) -> GroupTiles:
        assert group.anchor is not None
        count, weight = groups_of(group), weights_of(group.anchor)
        tile = super().dots(group, schedule, target).tile
        return GroupTiles(count, weight.shape[0] // count, weight.shape[1], tile)

    def dots(self, group: Group, schedule: Schedule, target: Target) -> DotTile:
        read = self._tiles(group, schedule, target).read
        return replace(super().dots(group, schedule, target), quads=read // FOUR)

    def packed(self, group: Group, schedule: Schedule, target: Target) -> dict[int, Packed]:
        assert group.anchor is not None
        steps = (("reshape", (0, 0, -1)), ("grouped", self._tiles(group, schedule, target).numbers))
        return {weights_of(group.anchor).index: self.dots(group, schedule, target).packed(steps)}

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        data, group = fused.anchor.operands[0], fused.group
        assert data is not None
        reads = (self._tiles(group, point, target).read // FOUR for point in self.space(group, target))
        return Quads(fused, data, 1, math.gcd(*reads))

    def begin(self, group: Group, schedule: Schedule, target: Target, channel: Any) -> Any:
        from tvm import tirx

        tiles = self._tiles(group, schedule, target)
        found, last = tiles.first(channel), tiles.channels - tiles.read
        return (min if isinstance(channel, int) else tirx.min)(found, last)
