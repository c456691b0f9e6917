"""Matrix products and convolutions of halves and bytes on tensor cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.cuda.estimate import peak
from optc.backends.cuda.occupancy import STATIC_SHARED
from optc.backends.cuda.products import Product, product_of
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.cuda.templates.simt import MOST_BLOCKS, PARTS, tile_seconds, worth_parts
from optc.backends.cuda.tiled import TiledProduct, Tiling, shared_bytes
from optc.backends.cuda.workload import architecture
from optc.backends.tvm.fused import epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.templates import epilogue

if TYPE_CHECKING:
    from optc.targets.target import Target

_FIRST = 75  # the compute capability whose tensor cores have these instructions
_TILES = (
    (128, 128, 64, 32), (128, 64, 32, 32), (64, 128, 32, 32), (64, 64, 32, 32), (64, 32, 32, 16), (32, 64, 16, 32),
    (32, 128, 32, 32), (128, 32, 32, 32), (32, 32, 16, 16), (16, 64, 16, 16), (16, 128, 16, 32), (64, 16, 16, 16),
)  # fmt: skip
_KINDS = {"f16": "f16", "i8": "i8", "u8": "i8"}  # what peak their products have


class TensorCore(CudaTemplate):
    """Products of two f16 operands, summed in f32, or of two operands of 8-bit integers, summed in 32 bits.

    Schedule: a block makes `rows` by `columns` elements, a warp `warp_rows` by `warp_columns` of them, in steps of
    `depth` along k; `parts` blocks share a sum.
    """

    name = "tensor_core"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        if int(architecture(target).removeprefix("sm_") or 0) < _FIRST:
            return "the GPU's tensor cores have no such instructions"
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        product = product_of(group)
        if isinstance(product, str):
            return product
        if product.extents(32).batch > MOST_BLOCKS:
            return f"it has more than {MOST_BLOCKS} batches"
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
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        product = product_of(group)
        assert isinstance(product, Product)
        halves = product.rows.value.dtype.name == "f16"
        found: list[Schedule] = []
        for rows, columns, warp_rows, warp_columns in _TILES:
            for depth in (16, 32, 64) if halves else (32, 64, 128):
                for parts in PARTS:
                    schedule = (
                        ("columns", columns), ("depth", depth), ("parts", parts), ("rows", rows),
                        ("warp_columns", warp_columns), ("warp_rows", warp_rows),
                    )  # fmt: skip
                    tiling = _tiling(product, schedule)
                    if shared_bytes(tiling) > STATIC_SHARED:
                        continue
                    if parts == 1 or worth_parts(product.extents(depth), tiling, target):
                        found.append(schedule)
        return found

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        product = product_of(group)
        assert isinstance(product, Product)
        return TiledProduct(group, product, _tiling(product, schedule), symbol).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        product = product_of(group)
        assert isinstance(product, Product)
        knobs = dict(schedule)
        down, across = knobs["warp_rows"] // 16, knobs["warp_columns"] // 8
        # Fragments are loaded for 16 rows, and for 16 columns, at a time.
        issue = down * across / (down * across + down + across / 2)
        rate = peak(target, _KINDS[product.rows.value.dtype.name]) * issue
        return tile_seconds(group, product, _tiling(product, schedule), target, rate, 4 * down * across + 64)


def _tiling(product: Product, schedule: Schedule) -> Tiling:
    knobs = dict(schedule)
    rows, columns, depth = knobs["rows"], knobs["columns"], knobs["depth"]
    warp_rows, warp_columns = knobs["warp_rows"], knobs["warp_columns"]
    text = f"optc_mma<{rows}, {columns}, {depth}, {warp_rows}, {warp_columns}>"
    threads = 32 * (rows // warp_rows) * (columns // warp_columns)
    row, column = (side.value.dtype.numpy_name for side in (product.rows, product.columns))
    return Tiling(rows, columns, depth, knobs["parts"], threads, text, row, column, inner_k=True)
