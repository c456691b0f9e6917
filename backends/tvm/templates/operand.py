"""The streamed operand of a contraction: where a template reads the data that its weights meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.templates import register_tile as tiles
from optc.ir.core import Value
from optc.ir.types import Layout, TensorType

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

    from optc.targets.target import Target


def accumulator_of(dtype: str) -> str:
    """The type in which products of elements of a type are summed."""
    return {"float64": "float64", "float32": "float32", "float16": "float32", "bfloat16": "float32"}.get(dtype, "int32")


def block_of(type: TensorType, axis: int) -> int:
    """How many neighbours along `axis` a layout keeps together innermost; 1 for every other layout."""
    layout = type.layout
    if len(layout.blocks) == 1 and layout.blocks[0][0] == axis and not layout.permutation:
        return layout.blocks[0][1]
    return 1


class Operand:
    """Elements by (batch, channel block, channel within the block, spatial place).

    An input of the group is read where it lies. Operations before the contraction are evaluated once per element into
    a scratch buffer, blocked by channels, which `fill` makes.
    """

    def __init__(self, fused: FusedContraction, value: Value, target: Target) -> None:
        self.value = value
        self.fused = fused
        self.dtype = value.dtype.numpy_name
        self.accumulator = accumulator_of(self.dtype)
        self.buffer = fused.buffer_of(value)
        self.block = data_block(value, target)
        self.scratch: Buffer | None = None
        layout = value.tensor_type.layout
        if self.buffer is None:
            layout = Layout(blocks=((1, self.block),)) if self.block > 1 else Layout()
            shape = value.tensor_type.with_layout(layout).stored_shape
            self.buffer = self.scratch = loops.parameter(shape, self.dtype, "scratch")
        self.direct = layout.is_plain or (self.block > 1 and block_of(value.tensor_type.with_layout(layout), 1) > 1)

    def read(self, batch: Any, outer: Any, within: Any, place: Sequence[Any]) -> PrimExpr:
        """One element, in the accumulator's type."""
        assert self.buffer is not None
        if not self.direct:
            element = self.fused.tensor(self.value)(batch, outer * self.block + within, *place)
        elif self.block > 1:
            element = self.buffer[(batch, outer, *place, within)]
        else:
            element = self.buffer[(batch, outer, *place)]
        return element if self.dtype == self.accumulator else element.astype(self.accumulator)

    @property
    def scratch_bytes(self) -> tuple[int, ...]:
        if self.scratch is None:
            return ()
        extent = self.value.dtype.bytes
        for size in self.scratch.shape:
            extent *= int(size)
        return (extent,)

    def fill(self, target: Target, seconds: float) -> list[Stmt]:
        """The loops that evaluate the prologue; none when the operand is an input of the group."""
        if self.scratch is None:
            return []
        batch, outer, *spatial = (int(size) for size in self.scratch.shape)
        place = spatial[:-1] if self.block > 1 else spatial
        rows, columns = place[:-1], place[-1]
        scratch, tensor = self.scratch, self.fused.tensor(self.value)
        lanes = self.block if self.block > 1 else next(v for v in (16, 8, 4, 2, 1) if columns % v == 0)

        def row(indices: tuple[Any, ...]) -> Stmt:
            n, co, *above = indices

            def blocked(column: Any, lane: Any) -> Stmt:
                element = scoped(lambda: tensor(n, co * self.block + lane, *above, column))
                return loops.store(scratch, element, (n, co, *above, column, lane))

            def plain(column: Any) -> Stmt:
                return loops.store(scratch, scoped(lambda: tensor(n, co, *above, column)), (n, co, *above, column))

            if self.block > 1:
                return loops.serial(
                    columns, lambda column: loops.vectorized(lanes, lambda lane: blocked(column, lane)), "w"
                )
            return loops.serial(
                columns // lanes,
                lambda tile: loops.vectorized(lanes, lambda lane: plain(tile * lanes + lane)),
                "w",
            )

        return [loops.outer((batch, outer, *rows), row, threads=tiles.worth_threads(seconds, target))]


def data_block(value: Value, target: Target) -> int:
    """The channel block in which a contraction reads its data: the layout's, or what a scratch buffer would have."""
    if value.producer is None:
        return block_of(value.tensor_type, 1)
    block = max(1, target.channel_block)
    while value.shape[1] % block:
        block //= 2
    return block
