"""Winograd convolution with 3 x 3 windows: fewer products for transforms of the data, the weights and the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from optc.backends.tvm.group import Group
from optc.backends.tvm.math.winograd import PAIRS, TAPS, error_bound
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.conv2d import Conv2d
from optc.backends.tvm.templates.operand import data_block
from optc.backends.tvm.templates.window import window_of
from optc.backends.tvm.templates.winograd_kernel import Tiling, WinogradKernel, anchor_of, data_lanes, idle_share
from optc.ir.core import Value

if TYPE_CHECKING:
    from optc.targets.target import Target

LARGEST_ERROR = 1e-4
"""A variant whose error bound (see `error_bound`) exceeds this is not offered."""


class Winograd(Template):
    """Convolutions of one group with 3 x 3 windows that move by one, in single precision.

    Schedule: tiles of `m` by `m` outputs, `block` of them at a time; `columns` tiles by `vectors` of output channels in
    registers.
    """

    name = "winograd"
    priority = 20
    kernel: ClassVar[type[WinogradKernel]] = WinogradKernel
    element_bytes: ClassVar[int] = 4  # of transformed data and weights

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = Template.registry[Conv2d.name].refuses(group, target) or window_refusal(group)
        if refusal is not None:
            return refusal
        if anchor_of(group).results[0].dtype.name != "f32":
            return f"elements of type {anchor_of(group).results[0].dtype}"
        if not self.variants(group):
            return f"the error may exceed {LARGEST_ERROR:.0e}"
        return None

    def variants(self, group: Group) -> list[int]:
        """The tile sizes whose error bound holds and that cover the outputs with fewer tiles than a smaller size."""
        data = anchor_of(group).operands[0]
        assert data is not None
        return [m for m in covering(group, PAIRS) if error_bound(m, data.shape[1]) <= LARGEST_ERROR]

    def products_seconds(self, group: Group, target: Target, tile: tuple[int, int], problem: tuple[int, ...]) -> float:
        """What the products of (positions, tiles, outputs, inputs) take with register tiles of (columns, vectors)."""
        rows, columns, width, steps = problem
        return tiles.estimate(
            target, rows=rows, columns=columns, width=width, steps=steps, tile=tile, weight_sweeps=0, data_bytes=0
        )

    def weights_seconds(self, group: Group, target: Target, knobs: Mapping[str, int]) -> float:
        """What it takes to bring the weights to the products of one block of tiles."""
        data = anchor_of(group).operands[0]
        assert data is not None
        weight_bytes = (
            self.element_bytes * (knobs["m"] + 2) ** 2 * epilogue.padded_channels(group, target) * data.shape[1]
        )
        return tiles.transfer(target, weight_bytes, weight_bytes)

    def held(self, group: Group, target: Target) -> int:
        """Registers that the products keep beside accumulators and operands."""
        return 0

    def data_lanes(self, data: Value, target: Target) -> int:
        """Input channels that are transformed side by side."""
        return data_lanes(data, target)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        width = epilogue.padded_channels(group, target)
        points: set[Schedule] = set()
        for m in self.variants(group):
            total = Tiling.of(group, m).total
            for columns, vectors in tiles.register_shapes(target, total, width, self.held(group, target)):
                if vectors > MOST_VECTORS:
                    continue
                row_tiles = -(-total // columns)
                for limit in self._block_limits(group, m, target):
                    blocks = -(-row_tiles // max(1, limit // columns))
                    for count in {blocks, min(row_tiles, -(-blocks // target.cores) * target.cores)}:
                        block = -(-row_tiles // count) * columns
                        points.add((("block", block), ("columns", columns), ("m", m), ("vectors", vectors)))
        timed = sorted((self.estimate(group, point, target), point) for point in points)
        if tiles.worth_threads(timed[0][0], target):
            idle = {point: self._idle(group, point, target) for _, point in timed}
            return [point for _, point in timed if idle[point] <= min(idle.values()) + TOLERATED_IDLE]
        return [point for _, point in timed]

    def _idle(self, group: Group, schedule: Schedule, target: Target) -> float:
        """The part of the cores that waits for others."""
        knobs = dict(schedule)
        blocks = -(-Tiling.of(group, knobs["m"]).total // knobs["block"])
        panels = -(-epilogue.padded_channels(group, target) // (tiles.lanes_of(target) * knobs["vectors"]))
        return min(idle_share(blocks, target.cores), idle_share(panels, target.cores))

    def _block_limits(self, group: Group, m: int, target: Target) -> list[int]:
        """Tiles whose transformed data take half, a quarter or an eighth of the second-level cache."""
        data = anchor_of(group).operands[0]
        assert data is not None
        cache = target.caches[min(1, len(target.caches) - 1)].bytes if target.caches else 1 << 18
        each = self.element_bytes * (m + 2) ** 2 * data.shape[1]
        return [max(1, cache // share // each) for share in (1, 2, 4, 8)]

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        return self.kernel(group, schedule, target, self.estimate(group, schedule, target)).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        knobs = dict(schedule)
        conv, m = anchor_of(group), knobs["m"]
        assert conv.operands[0] is not None
        width, channels = epilogue.padded_channels(group, target), conv.operands[0].shape[1]
        tiling, lanes, positions = Tiling.of(group, m), tiles.lanes_of(target), (m + 2) ** 2
        step_seconds = 2 * lanes / target.peak_flops.get("f32", 2.0e9)
        problem = (positions, tiling.total, width, channels)
        products = self.products_seconds(group, target, (knobs["columns"], knobs["vectors"]), problem)
        blocks = -(-tiling.total // knobs["block"])
        streaming = self.weights_seconds(group, target, knobs) * blocks
        seconds = max(products, streaming) + SERIAL * min(products, streaming)
        panels = -(-width // (lanes * knobs["vectors"]))
        block_bytes = self.element_bytes * positions * knobs["block"] * channels
        seconds += tiles.traffic(target, block_bytes, block_bytes) * blocks * panels
        across, full = self.data_lanes(conv.operands[0], target), lanes * 4 // self.element_bytes
        moved = MOVE if data_block(conv.operands[0], target) > 1 else GATHER
        vectors = tiling.total * -(-channels // across)
        seconds += vectors * max(across / full, 0.5) * (moved + ARITHMETIC) * positions * step_seconds
        stored = MOVE * positions + ARITHMETIC * positions + STORE * m * m
        seconds += tiling.total * -(-width // lanes) * stored * step_seconds
        return seconds


FEWEST_CHANNELS = 8
MOST_VECTORS = 4
MOVE = 2.0  # one vector read and written, in multiply-adds
GATHER = 12.0  # one vector collected from single elements and written
ARITHMETIC = 5.0  # for each position of a tile
STORE = 4.0  # one vector of results through the epilogue
SERIAL = 0.5  # the share of the shorter of products and loads of weights that the other does not hide
TOLERATED_IDLE = 0.1  # the part of the cores that may wait, beyond what the best point leaves idle


def covering(group: Group, sizes: Iterable[int]) -> list[int]:
    """Of tile sizes those that cover the outputs with fewer tiles than a smaller one."""
    extents = anchor_of(group).results[0].shape[2:]
    return [m for m in sizes if m == min(sizes) or min(extents) > m - 2]


def window_refusal(group: Group) -> str | None:
    """Why a convolution has not the window or the channels that Winograd's algorithms pay for; None where it has."""
    conv = anchor_of(group)
    window = window_of(conv)
    assert window is not None and conv.operands[0] is not None
    if window.spatial != 2 or any(axis.kernel != TAPS for axis in (window.rows, window.columns)):
        return "the window is not 3 x 3"
    if any(axis.stride != 1 or axis.dilation != 1 for axis in (window.rows, window.columns)):
        return "the window has a stride or a dilation"
    if conv.operands[0].shape[1] < FEWEST_CHANNELS or conv.results[0].shape[1] < FEWEST_CHANNELS:
        return "too few channels"
    return None
