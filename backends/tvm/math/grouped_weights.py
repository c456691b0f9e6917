"""Weights of a convolution in groups as tiles of output channels meet them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class GroupTiles:
    """Which input channels tiles of output channels read.

    Attributes:
        groups: of the convolution.
        outputs: channels of a group.
        inputs: likewise.
        tile: output channels; the last tile may have fewer.
    """

    groups: int
    outputs: int
    inputs: int
    tile: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """The attributes, in order."""
        return astuple(self)

    @property
    def even(self) -> bool:
        """Whether a tile holds whole groups, or a group whole tiles."""
        return self.tile % self.outputs == 0 or self.outputs % self.tile == 0

    @property
    def channels(self) -> int:
        """Input channels of all groups."""
        return self.groups * self.inputs

    @property
    def _step(self) -> int:
        return self._span // self.outputs * self.inputs

    @property
    def _span(self) -> int:
        """The output channels after which others are read."""
        return max(self.tile, self.outputs)

    @property
    def read(self) -> int:
        """The input channels that a tile reads."""
        return min(self._step, self.channels)

    def first(self, channel: Any) -> Any:
        """Of the input channels of the tile from an output channel on; a narrower last tile has to begin before, so
        that it finds as many."""
        return channel // self._span * self._step


def spread_groups(array: np.ndarray, parameters: Sequence[int]) -> np.ndarray:
    """Weights (O, I of a group, taps) → (O, those that its tile reads, taps), zero where a channel is of another group.

    Args:
        array: of any type.
        parameters: the numbers of a `GroupTiles`.
    """
    tiles = GroupTiles(*parameters)
    spread = np.zeros((len(array), tiles.read, *array.shape[2:]), array.dtype)
    for output, weights in enumerate(array):
        begin = min(tiles.first(output // tiles.tile * tiles.tile), tiles.channels - tiles.read)
        place = output // tiles.outputs * tiles.inputs - begin
        spread[output, place : place + tiles.inputs] = weights
    return spread
