"""The streamed operand of a contraction: where a template reads the data that its weights meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.tensor import logical_indices, stored_indices
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
    """Elements by logical indices, in the type in which products are summed.

    An input of the group is read where it lies; with `moved`, so is one that only movements separate from the
    contraction. Other operations before it are evaluated once per element into a scratch buffer, with axis 1 in blocks
    of `block`, which the loops of `fill` make.
    """

    def __init__(
        self, fused: FusedContraction, value: Value, block: int, *, moved: bool = False, name: str = "left"
    ) -> None:
        self.value = value
        self.fused = fused
        self.block = block
        self.dtype = value.dtype.numpy_name
        self.accumulator = accumulator_of(self.dtype)
        buffer = fused.buffer_of(value)
        self.layout = value.tensor_type.layout
        self.scratches: list[Buffer] = []
        self.moved = moved and buffer is None
        if buffer is None and not self.moved:
            self.layout = Layout(blocks=((1, block),)) if block > 1 else Layout()
            shape = value.tensor_type.with_layout(self.layout).stored_shape
            buffer = loops.parameter(shape, self.dtype, f"{name}_scratch")
            self.scratches = [buffer]
        self.buffer: Any = buffer

    def read(self, indices: Sequence[Any], within: Any = None) -> PrimExpr:
        """One element; `within` is the place in the block where axis 1 of `indices` counts blocks."""
        if self.moved:
            element = scoped(lambda: self.fused.tensor(self.value)(*indices))
        elif within is not None and self.block > 1:
            element = self.buffer[(*indices, within)]
        else:
            element = self.buffer[stored_indices(self.layout, indices)]
        return element if self.dtype == self.accumulator else element.astype(self.accumulator)

    @property
    def scratch_bytes(self) -> tuple[int, ...]:
        return tuple(self.value.dtype.bytes * math.prod(int(e) for e in scratch.shape) for scratch in self.scratches)

    def fill(self, target: Target, seconds: float) -> list[Stmt]:
        """The loops that evaluate the prologue; none when the operand is an input of the group."""
        return [self._fill(scratch, target, seconds) for scratch in self.scratches]

    def _fill(self, scratch: Buffer, target: Target, seconds: float) -> Stmt:
        tensor, layout, rank = self.fused.tensor(self.value), self.layout, len(self.value.shape)
        shape = [int(extent) for extent in scratch.shape]
        threads = tiles.worth_threads(seconds, target)

        def element(*position: Any) -> Stmt:
            place = logical_indices(layout, rank, position)
            return loops.store(scratch, scoped(lambda: tensor(*place)), position)

        if self.block > 1:
            lanes, row_axes = self.block, shape[:-2]
            pieces = shape[-2]

            def piece(i: tuple[Any, ...], number: Any, lane: Any) -> Stmt:
                return element(*i, number, lane)

            rest = 0
        else:
            lanes, row_axes = tiles.lanes_of(target), shape[:-1]
            pieces, rest = divmod(shape[-1], lanes)

            def piece(i: tuple[Any, ...], number: Any, lane: Any) -> Stmt:
                return element(*i, number * lanes + lane)

        def row(i: tuple[Any, ...]) -> Stmt:
            done = []
            if pieces:
                done.append(
                    loops.serial(pieces, lambda number: loops.vectorized(lanes, lambda lane: piece(i, number, lane)))
                )
            if rest:
                done.append(loops.vectorized(rest, lambda lane: piece(i, pieces, lane)))
            return loops.sequence(done)

        return loops.outer(row_axes, row, threads=threads)


def only_moved(value: Value) -> bool:
    """Whether nothing but movements of single elements stands between a value and the group's inputs."""
    operation = value.producer
    if operation is None:
        return True
    source = operation.operands[0]
    return operation.name in _MOVES and source is not None and only_moved(source)


_MOVES = frozenset(f"onnx.{name}" for name in ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"))


def contiguous(fused: FusedContraction, value: Value) -> bool:
    """Whether neighbours along the last axis of a value that was only moved are neighbours in memory."""
    from tvm import ir, sym, tirx

    analyzer = sym.Analyzer()
    indices = [tirx.Var(f"i{axis}", "int32") for axis in range(len(value.shape))]
    for index, extent in zip(indices, value.shape, strict=True):
        analyzer.bind(index, ir.Range(0, max(extent, 2) - 1))

    def offset(last: Any) -> Any:
        load = scoped(lambda: fused.tensor(value)(*indices[:-1], last))
        flat: Any = 0
        for position, extent in zip(load.indices, load.source.shape, strict=True):
            flat = flat * extent + position
        return flat

    step = analyzer.simplify(offset(indices[-1] + 1) - offset(indices[-1]))
    return isinstance(step, tirx.IntImm) and int(step) == 1


def data_block(value: Value, target: Target) -> int:
    """The channel block in which a contraction reads its data: the layout's, or what a scratch buffer would have."""
    if value.producer is None:
        return block_of(value.tensor_type, 1)
    block = max(1, target.channel_block)
    while value.shape[1] % block:
        block //= 2
    return block
