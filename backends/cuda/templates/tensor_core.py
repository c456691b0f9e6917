"""Matrix products and convolutions of halves and bytes on tensor cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optc.backends.cuda.estimate import peak
from optc.backends.cuda.products import Product
from optc.backends.cuda.template import Schedule
from optc.backends.cuda.templates.tile import TileTemplate, batches_refusal, known_product, tile_seconds
from optc.backends.cuda.tiled import Tiling
from optc.backends.cuda.workload import architecture
from optc.backends.tvm.group import Group

if TYPE_CHECKING:
    from optc.targets.target import Target

_FIRST = 75  # the compute capability whose tensor cores have these instructions
_TILES = (
    (128, 128, 64, 32), (128, 64, 32, 32), (64, 128, 32, 32), (64, 64, 32, 32), (64, 32, 32, 16), (32, 64, 16, 32),
    (32, 128, 32, 32), (128, 32, 32, 32), (32, 32, 16, 16), (16, 64, 16, 16), (16, 128, 16, 32), (64, 16, 16, 16),
)  # fmt: skip
_KINDS = {"f16": "f16", "i8": "i8", "u8": "i8"}  # what peak their products have


class TensorCore(TileTemplate):
    """Products of two f16 operands, summed in f32, or of two operands of 8-bit integers, summed in 32 bits.

    Schedule: of a block's elements a warp makes `warp_rows` by `warp_columns`; see TileTemplate.
    """

    name = "tensor_core"
    priority = 20
    part = "warp"
    tiles = _TILES

    def refuses(self, group: Group, target: Target) -> str | None:
        if int(architecture(target).removeprefix("sm_") or 0) < _FIRST:
            return "the GPU's tensor cores have no such instructions"
        return super().refuses(group, target)

    def product_refusal(self, group: Group, product: Product, target: Target) -> str | None:
        refusal = batches_refusal(product, 32)
        if refusal is not None:
            return refusal
        sides = (product.rows, product.columns)
        names = {side.value.dtype.name for side in sides}
        if not (names == {"f16"} or names <= {"i8", "u8"}):
            return f"it multiplies elements of type {' and '.join(sorted(names))}"
        zeros = [side.zero for side in sides if side.zero is not None]
        for side, other in (sides, sides[::-1]):
            if side.zero is not None and (other.constant is None or len(zeros) > 1):
                return "both sides have zero points, or the one without is not constant"
            if side.zero is not None and any(extent != 1 for extent in side.zero.shape):
                return "the data has several zero points"
        return None

    def depths(self, product: Product) -> Sequence[int]:
        return (16, 32, 64) if product.rows.value.dtype.name == "f16" else (32, 64, 128)

    def tiling(self, group: Group, product: Product, schedule: Schedule) -> Tiling:
        knobs = dict(schedule)
        rows, columns, depth = knobs["rows"], knobs["columns"], knobs["depth"]
        warp_rows, warp_columns = knobs["warp_rows"], knobs["warp_columns"]
        text = f"optc_mma<{rows}, {columns}, {depth}, {warp_rows}, {warp_columns}>"
        threads = 32 * (rows // warp_rows) * (columns // warp_columns)
        row, column = (side.value.dtype.numpy_name for side in (product.rows, product.columns))
        return Tiling(rows, columns, depth, knobs["parts"], threads, text, row, column, inner_k=True)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        product, knobs = known_product(group), dict(schedule)
        down, across = knobs["warp_rows"] // 16, knobs["warp_columns"] // 8
        # Fragments are loaded for 16 rows, and for 16 columns, at a time.
        issue = down * across / (down * across + down + across / 2)
        rate = peak(target, _KINDS[product.rows.value.dtype.name]) * issue
        return tile_seconds(group, product, self.tiling(group, product, schedule), target, rate, 4 * down * across + 64)
