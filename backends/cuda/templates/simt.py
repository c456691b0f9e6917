"""Matrix products and convolutions in register tiles on the ordinary lanes of the multiprocessors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optc.backends.cuda.estimate import peak
from optc.backends.cuda.products import Product
from optc.backends.cuda.template import Schedule
from optc.backends.cuda.templates.tile import TileTemplate, batches_refusal, known_product, tile_seconds
from optc.backends.cuda.tiled import Tiling
from optc.backends.tvm.group import Group
from optc.backends.tvm.templates.operand import accumulator_of

if TYPE_CHECKING:
    from optc.targets.target import Target

_TILES = (
    (128, 128, 8, 8), (64, 128, 8, 8), (128, 64, 8, 8), (64, 64, 8, 4), (64, 64, 4, 4), (32, 128, 4, 8), (32, 64, 4, 4),
    (64, 32, 4, 4), (32, 32, 4, 2), (16, 128, 4, 4), (16, 64, 4, 2), (16, 32, 2, 2), (8, 128, 2, 4), (8, 64, 1, 4),
    (128, 16, 4, 4), (64, 16, 4, 2), (128, 32, 8, 4), (4, 128, 2, 4), (4, 64, 2, 2), (2, 128, 2, 2), (1, 128, 1, 1),
    (1, 64, 1, 1), (1, 256, 1, 2),
)  # fmt: skip


class Simt(TileTemplate):
    """One group, or several with a few channels each.

    Schedule: of a block's elements a thread makes `tile_rows` by `tile_columns`; see TileTemplate.
    """

    name = "simt"
    priority = 20
    part = "tile"
    tiles = _TILES

    def product_refusal(self, group: Group, product: Product, target: Target) -> str | None:
        assert group.anchor is not None
        if any(operand.dtype.name == "bf16" for operand in group.anchor.present_operands):
            return "it multiplies elements of type bf16"
        refusal = batches_refusal(product, 8)
        if refusal is not None:
            return refusal
        extents = product.extents(8)
        if min(extents.rows, extents.columns) < 2 and product.macs < 4096:
            return "it is too small for tiles"
        return None

    def depths(self, product: Product) -> Sequence[int]:
        return (8, 16)

    def tiling(self, group: Group, product: Product, schedule: Schedule) -> Tiling:
        knobs = dict(schedule)
        rows, columns, depth = knobs["rows"], knobs["columns"], knobs["depth"]
        tile_rows, tile_columns = knobs["tile_rows"], knobs["tile_columns"]
        assert group.anchor is not None and group.anchor.operands[0] is not None
        data = group.anchor.operands[0].dtype.numpy_name
        element = data if data.startswith("float") else accumulator_of(data)
        text = f"optc_simt<{rows}, {columns}, {depth}, {tile_rows}, {tile_columns}>"
        threads = (rows // tile_rows) * (columns // tile_columns)
        return Tiling(rows, columns, depth, knobs["parts"], threads, text, element, element, inner_k=False)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        product = known_product(group)
        knobs, tiling = dict(schedule), self.tiling(group, product, schedule)
        tile_rows, tile_columns = knobs["tile_rows"], knobs["tile_columns"]
        held = tile_rows * tile_columns
        # Loads from shared memory take issue slots beside the multiply-adds, and fewer lanes are busy at the edges.
        issue = held / (held + tile_rows + tile_columns)
        dtype = "f64" if tiling.row_element == "float64" else "f32"
        registers = held + 2 * (tile_rows + tile_columns) + 40
        return tile_seconds(group, product, tiling, target, peak(target, dtype) * issue, registers)
