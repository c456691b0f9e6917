"""Matrix products and convolutions in register tiles on the ordinary lanes of the multiprocessors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optc.backends.cuda.estimate import group_bytes, memory_seconds, overlapped, peak
from optc.backends.cuda.occupancy import CAPABILITIES, MOST_REGISTERS, STATIC_SHARED, residency
from optc.backends.cuda.products import Extents, Product, product_of
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.cuda.tiled import TiledProduct, Tiling, blocks_of, padded_work, shared_bytes
from optc.backends.cuda.workload import architecture
from optc.backends.tvm.fused import epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates.operand import accumulator_of

if TYPE_CHECKING:
    from optc.targets.target import Target

_TILES = (
    (128, 128, 8, 8), (64, 128, 8, 8), (128, 64, 8, 8), (64, 64, 8, 4), (64, 64, 4, 4), (32, 128, 4, 8), (32, 64, 4, 4),
    (64, 32, 4, 4), (32, 32, 4, 2), (16, 128, 4, 4), (16, 64, 4, 2), (16, 32, 2, 2), (8, 128, 2, 4), (8, 64, 1, 4),
    (128, 16, 4, 4), (64, 16, 4, 2), (128, 32, 8, 4), (4, 128, 2, 4), (4, 64, 2, 2), (2, 128, 2, 2), (1, 128, 1, 1),
    (1, 64, 1, 1), (1, 256, 1, 2),
)  # fmt: skip
PARTS = (1, 2, 4, 8, 16)
MOST_BLOCKS = 65_535  # of a grid along y and z
_READ_STEPS = 6.0  # instructions to read one element
_WARPS_TO_HIDE = 8  # resident on a multiprocessor from which the latency of arithmetic and shared memory is hidden


class Simt(CudaTemplate):
    """One group, or several with a few channels each.

    Schedule: a block makes `rows` by `columns` elements, a thread `tile_rows` by `tile_columns` of them, in steps of
    `depth` along k; `parts` blocks share a sum.
    """

    name = "simt"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        product = product_of(group)
        if isinstance(product, str):
            return product
        assert group.anchor is not None
        if any(operand.dtype.name == "bf16" for operand in group.anchor.present_operands):
            return "it multiplies elements of type bf16"
        extents = product.extents(8)
        if extents.batch > MOST_BLOCKS:
            return f"it has more than {MOST_BLOCKS} batches"
        if min(extents.rows, extents.columns) < 2 and product.macs < 4096:
            return "it is too small for tiles"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        product = product_of(group)
        assert not isinstance(product, str)
        found: list[Schedule] = []
        for rows, columns, tile_rows, tile_columns in _TILES:
            for depth in (8, 16):
                for parts in PARTS:
                    schedule = (
                        ("columns", columns), ("depth", depth), ("parts", parts), ("rows", rows),
                        ("tile_columns", tile_columns), ("tile_rows", tile_rows),
                    )  # fmt: skip
                    tiling, extents = tiling_of(group, schedule), product.extents(depth)
                    fits = shared_bytes(tiling) <= STATIC_SHARED
                    if fits and tiling.threads >= 32 and (parts == 1 or worth_parts(extents, tiling, target)):
                        found.append(schedule)
        return found

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        product = product_of(group)
        assert isinstance(product, Product)
        return TiledProduct(group, product, tiling_of(group, schedule), symbol).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        product = product_of(group)
        assert isinstance(product, Product)
        knobs, tiling = dict(schedule), tiling_of(group, schedule)
        tile_rows, tile_columns = knobs["tile_rows"], knobs["tile_columns"]
        held = tile_rows * tile_columns
        # Loads from shared memory take issue slots beside the multiply-adds, and fewer lanes are busy at the edges.
        issue = held / (held + tile_rows + tile_columns)
        dtype = "f64" if tiling.row_element == "float64" else "f32"
        registers = held + 2 * (tile_rows + tile_columns) + 40
        return tile_seconds(group, product, tiling, target, peak(target, dtype) * issue, registers)


def tile_seconds(
    group: Group, product: Product, tiling: Tiling, target: Target, rate: float, registers: int
) -> float:
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


def tiling_of(group: Group, schedule: Schedule) -> Tiling:
    """The tiling of a point of the space."""
    knobs = dict(schedule)
    rows, columns, depth = knobs["rows"], knobs["columns"], knobs["depth"]
    tile_rows, tile_columns = knobs["tile_rows"], knobs["tile_columns"]
    assert group.anchor is not None and group.anchor.operands[0] is not None
    data = group.anchor.operands[0].dtype.numpy_name
    element = data if data.startswith("float") else accumulator_of(data)
    text = f"optc_simt<{rows}, {columns}, {depth}, {tile_rows}, {tile_columns}>"
    threads = (rows // tile_rows) * (columns // tile_columns)
    return Tiling(rows, columns, depth, knobs["parts"], threads, text, element, element, inner_k=False)


def worth_parts(extents: Extents, tiling: Tiling, target: Target) -> bool:
    """Whether sharing a sum may pay: few tiles, and enough steps for each part."""
    whole = blocks_of(tiling, extents) // tiling.parts
    return whole < 2 * target.cores and extents.steps >= 4 * tiling.parts
