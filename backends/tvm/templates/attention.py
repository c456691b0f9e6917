"""Attention in one pass over keys and values, without a matrix of scores in memory.

Softmax is worked out online: each block of keys raises the running maximum of every query, and what was summed before
is scaled down to it (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
"FlashAttention", 2022; Nayak et al., "FuseMax", 2024). Queries lie across the lanes of the vectors: maxima and sums
need no reduction within a vector, and keys and values are read element by element where they lie, whatever their
order in memory; only the queries of a tile are turned, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.fused import FusedContraction, epilogue_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.attention_kernel import AttentionKernel, Extents, attention_refusal, columns_of, even
from optc.ir.core import CONSTANT, Operation
from optc.ops.declaration import Kind, declaration_of
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from optc.targets.target import Target


class Attention(Template):
    """`onnx.Attention` of f32 operands (batch, heads, sequence, depth), with any mask and movements before it.

    Schedule: `vectors` vectors of queries a tile, `keys` keys a block.
    """

    name = "attention"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = attention_refusal(group)
        if refusal is not None:
            return refusal
        assert group.anchor is not None
        before = _before(group.anchor)
        wrong = [each for each in before if declaration_of(each.name).kind not in (Kind.MOVEMENT, Kind.CONSTANT)]
        if wrong:
            return f"{wrong[0].name} computes what {group.anchor.name} reads"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        assert group.anchor is not None
        extents, lanes = Extents.of(group.anchor), tiles.lanes_of(target)
        most = -(-extents.queries // lanes)
        blocks = {even(extents.keys, limit) for limit in (32, 64, 128, 256, 512)}
        points: list[Schedule] = [
            (("keys", keys), ("vectors", vectors)) for vectors in range(1, min(4, most) + 1) for keys in sorted(blocks)
        ]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        threads = tiles.worth_threads(self.estimate(group, schedule, target), target)
        kernel = AttentionKernel(FusedContraction(group), schedule, target)
        return KernelDefinition(kernel.function(threads))

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        """Multiply-adds by register tiles, exponentials, the turning of queries and results, and what leaves L2."""
        assert group.anchor is not None
        knobs, extents, lanes = dict(schedule), Extents.of(group.anchor), tiles.lanes_of(target)
        multiply_add = 2 * lanes / target.peak_flops.get("f32", 2.0e9)
        vectors, block = knobs["vectors"], knobs["keys"]
        seen = extents.keys if not integer(group.anchor, "is_causal") else (extents.keys + 1) / 2
        blocks = max(1.0, seen / block)
        rows = lanes * vectors
        held = 4 * (rows * (extents.depth + extents.width + min(block, extents.keys)) + block * extents.depth)
        slower = 1.0 if not target.caches or held <= target.caches[min(1, len(target.caches) - 1)].bytes else _BEYOND_L2
        work = 0.0
        for outputs, depth in ((block, extents.depth), (extents.width, block)):
            columns = columns_of(target, vectors, outputs)
            step = max(vectors * columns, tiles.LATENCY, (vectors + columns) * tiles.LOAD) + tiles.STREAM * columns
            work += blocks * -(-outputs // columns) * (depth * step + tiles.TILE_OVERHEAD + 2 * vectors * columns)
        work = work * slower + seen * vectors * _POWER_STEPS
        work += rows * (extents.depth + extents.width) * _TURN_STEPS
        steps = -(-extents.queries // rows) * work
        return extents.batch * extents.heads * steps * multiply_add


_BEYOND_L2 = 1.5
_POWER_STEPS = 9.0  # multiply-adds' worth of one vector of exponentials, with maximum and sum
_TURN_STEPS = 1.2  # likewise of one element that changes between rows and lanes


def _before(attention: Operation) -> list[Operation]:
    """What the body computes for an attention."""
    found: dict[Operation, None] = {}
    waiting = [value.producer for value in attention.present_operands]
    while waiting:
        operation = waiting.pop()
        if operation is not None and operation not in found:
            found[operation] = None
            waiting += [value.producer for value in operation.present_operands]
    return [operation for operation in found if operation.name != CONSTANT]
