"""What templates have in common that make products by blocks of tiles."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from optc.backends.cuda.estimate import group_bytes, memory_seconds, overlapped, peak
from optc.backends.cuda.occupancy import CAPABILITIES, MOST_REGISTERS, STATIC_SHARED, residency
from optc.backends.cuda.products import Extents, Product, product_of
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.cuda.tiled import TiledProduct, Tiling, blocks_of, padded_work, shared_bytes
from optc.backends.cuda.workload import architecture
from optc.backends.tvm.fused import epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.templates import epilogue

if TYPE_CHECKING:
    from optc.targets.target import Target

_PARTS = (1, 2, 4, 8, 16)
MOST_BLOCKS = 65_535  # of a grid along y and z
_READ_STEPS = 6.0  # instructions to read one element
_WARPS_TO_HIDE = 8  # resident on a multiprocessor from which the latency of arithmetic and shared memory is hidden


class TileTemplate(CudaTemplate):
    """Schedule: a block makes `rows` by `columns` elements, in steps of `depth` along k; `parts` blocks share a sum.

    Attributes:
        part: what of a block makes one tile; its schedule has `part_rows` and `part_columns`.
        tiles: (rows, columns, rows of a part, columns of a part).
    """

    part: ClassVar[str]
    tiles: ClassVar[tuple[tuple[int, int, int, int], ...]]

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        product = product_of(group)
        if isinstance(product, str):
            return product
        refusal = self.product_refusal(group, product, target)
        return refusal or epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        product = known_product(group)
        found: list[Schedule] = []
        for rows, columns, part_rows, part_columns in self.tiles:
            for depth in self.depths(product):
                for parts in _PARTS:
                    schedule = (
                        ("columns", columns), ("depth", depth), ("parts", parts), ("rows", rows),
                        (f"{self.part}_columns", part_columns), (f"{self.part}_rows", part_rows),
                    )  # fmt: skip
                    tiling = self.tiling(group, product, schedule)
                    fits = shared_bytes(tiling) <= STATIC_SHARED and tiling.threads >= 32
                    if fits and (parts == 1 or _worth_parts(product.extents(depth), tiling, target)):
                        found.append(schedule)
        return found

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        product = known_product(group)
        return TiledProduct(group, product, self.tiling(group, product, schedule), symbol).definition()

    @abstractmethod
    def product_refusal(self, group: Group, product: Product, target: Target) -> str | None:
        """None when the template can make this product, else the reason."""

    @abstractmethod
    def depths(self, product: Product) -> Sequence[int]:
        """The steps along k to choose from."""

    @abstractmethod
    def tiling(self, group: Group, product: Product, schedule: Schedule) -> Tiling:
        """The tiling of a point of the space."""


def known_product(group: Group) -> Product:
    """The product of a group that was accepted."""
    product = product_of(group)
    assert isinstance(product, Product)
    return product


def batches_refusal(product: Product, depth: int) -> str | None:
    """Why the grid cannot have as many batches; None when it can."""
    return f"it has more than {MOST_BLOCKS} batches" if product.extents(depth).batch > MOST_BLOCKS else None


def tile_seconds(group: Group, product: Product, tiling: Tiling, target: Target, rate: float, registers: int) -> float:
    """The time of a tiled product on the whole device.

    Args:
        group: what is computed.
        product: its contraction.
        tiling: how it is cut.
        target: whose figures are used.
        rate: FLOP/s of one multiprocessor whose latencies are hidden.
        registers: of a thread, about.
    """
    extents = product.extents(tiling.depth)
    blocks = blocks_of(tiling, extents)
    each = -(-blocks // target.cores)
    limits = CAPABILITIES[architecture(target)]
    fits = residency(limits, tiling.threads, min(registers, MOST_REGISTERS), shared_bytes(tiling))
    resident = max(1, min(each, fits.blocks))
    hidden = min(1.0, resident * tiling.threads / 32 / _WARPS_TO_HIDE)
    compute = 2 * padded_work(tiling, extents) / rate
    steps = math.ceil(extents.steps / tiling.parts)
    # Reading what is not packed takes instructions for addresses and edges, on lanes that do two FLOPs a cycle.
    sides = ((product.rows, tiling.rows), (product.columns, tiling.columns))
    read = sum(width * tiling.depth * steps for side, width in sides if side.constant is None)
    compute = each * (compute + _READ_STEPS * 2 * read / peak(target, "f32")) / hidden
    size = {"float16": 2, "int8": 1, "uint8": 1}.get(tiling.row_element, 4)
    fetched = size * (tiling.rows + tiling.columns) * tiling.depth * steps
    cache = each * fetched / target.caches[-1].bandwidth if target.caches else 0.0
    in_flight = size * (tiling.rows + tiling.columns) * tiling.depth
    memory = memory_seconds(group_bytes(group), blocks, in_flight, target)
    seconds = target.launch_seconds + overlapped(compute, cache, memory)
    if tiling.parts > 1:
        partial = 4 * tiling.parts * extents.batch * extents.rows * extents.columns
        seconds += target.launch_seconds + 2 * partial / target.memory_bandwidth_all
    return seconds


def _worth_parts(extents: Extents, tiling: Tiling, target: Target) -> bool:
    """Whether sharing a sum may pay: few tiles, and enough steps for each part."""
    whole = blocks_of(tiling, extents) // tiling.parts
    return whole < 2 * target.cores and extents.steps >= 4 * tiling.parts
