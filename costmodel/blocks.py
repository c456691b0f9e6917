"""The price of a block: several contractions in one kernel, tile by tile of rows, with what lies between them in cache.

What a block saves is the traffic between its stages; what it costs are the rows that every thread computes again where
its share of them begins, and the weights, which every tile reads ("On the efficiency of convolutional neural
networks", Lavin, 2024; Alwani et al., "Fused-layer CNN accelerators", 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optc.costmodel.interface import Candidate
from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.stages import chain, is_contraction
from optc.targets.target import Target


@dataclass(frozen=True)
class StageCost:
    """One stage.

    Attributes:
        arithmetic: seconds of one core for all rows once.
        read: bytes from outside the block, without weights.
        written: bytes to outside.
        weights: bytes.
        handed: bytes that the next stage reads.
        rows: of the result, all images or matrices together.
        images: how many of them there are.
        window: rows of the stage before that one row reads.
        stride: rows of the stage before between two rows.
    """

    arithmetic: float
    read: int
    written: int
    weights: int
    handed: int
    rows: int
    images: int
    window: int = 1
    stride: int = 1


def stages_of(candidate: Candidate) -> list[Candidate] | None:
    """The stages of a kernel with several contractions; None for other kernels."""
    if sum(map(is_contraction, candidate.operations)) < 2:
        return None
    found = chain(candidate.operations, candidate.outputs)
    if isinstance(found, str):
        return None
    stages = []
    for stage in found:
        outside = list(candidate.outputs) if stage.result is None else [stage.result]
        stages.append(Candidate.of_operations(stage.operations, outside))
    return stages


def stage_cost(stage: Candidate, block: Candidate, arithmetic: float) -> StageCost:
    """What a stage moves, beside its arithmetic."""
    inside = {result for operation in block.operations for result in operation.results}
    anchor = next(operation for operation in stage.operations if is_contraction(operation))
    weights = set(anchor.present_operands[1:])
    images, rows, window, stride = _geometry(anchor)
    return StageCost(
        arithmetic,
        read=sum(_bytes(value) for value in stage.inputs if value not in inside and value not in weights),
        written=sum(_bytes(value) for value in stage.outputs if value in block.outputs),
        weights=sum(map(_bytes, weights)),
        handed=sum(_bytes(value) for value in stage.outputs if value not in block.outputs),
        rows=rows,
        images=images,
        window=window,
        stride=stride,
    )


def _geometry(anchor: Operation) -> tuple[int, int, int, int]:
    """Images, their rows, and the rows and the stride of the window."""
    shape = anchor.results[0].shape
    if anchor.name != "onnx.Conv":
        return math.prod(shape[:-2]), shape[-2] if len(shape) > 1 else 1, 1, 1
    weight, strides, dilations = (
        anchor.operands[1],
        anchor.attributes.get("strides"),
        anchor.attributes.get("dilations"),
    )
    assert weight is not None
    stride = int(strides[0]) if isinstance(strides, tuple) and strides else 1  # type: ignore[arg-type]
    dilation = int(dilations[0]) if isinstance(dilations, tuple) and dilations else 1  # type: ignore[arg-type]
    return shape[0], shape[2], (weight.shape[2] - 1) * dilation + 1, stride


def _bytes(value: Value) -> int:
    return value.type.bytes if isinstance(value.type, TensorType) else 0


def block_seconds(stages: Sequence[StageCost], target: Target, threads: int, overlap_loss: float) -> float:
    """Seconds of one core, with the rows that `threads` compute twice, in tiles of the best height."""
    return min(_seconds(stages, rows, target, threads, overlap_loss) for rows in _heights(stages[-1], threads))


def _heights(last: StageCost, threads: int) -> list[int]:
    most = max(1, -(-last.rows // threads))
    return sorted({min(most, 1 << power) for power in range(most.bit_length() + 1)})


def _seconds(stages: Sequence[StageCost], rows: int, target: Target, threads: int, overlap_loss: float) -> float:
    spans, halos = [rows], [0]  # rows of each stage that a tile needs, and those of them that the one before needed too
    for stage in reversed(stages[1:]):
        spans.insert(0, (spans[0] - 1) * stage.stride + stage.window)
        halos.insert(0, halos[0] * stage.stride + max(0, stage.window - stage.stride))
    last = stages[-1]
    tiles = last.images * -(-last.rows // rows)
    weights = sum(stage.weights for stage in stages)
    rings = sum(
        stage.handed // stage.images * min(span, stage.rows) // stage.rows
        for stage, span in zip(stages[:-1], spans, strict=False)
    )
    outside = sum(stage.read + stage.written for stage in stages) + weights
    seconds, received = 0.0, 0
    for stage, halo in zip(stages, halos, strict=True):
        again = 1 + max(0, threads - stage.images) * halo / (stage.images * stage.rows)
        memory = (stage.read + stage.written) / bandwidth(outside, target)
        memory += (received + stage.handed + (tiles - 1) * stage.weights) / bandwidth(rings + weights, target)
        memory += stage.weights / bandwidth(outside, target)
        arithmetic = stage.arithmetic
        seconds += again * (max(arithmetic, memory) + overlap_loss * min(arithmetic, memory))
        received = stage.handed
    return seconds


def bandwidth(working_set: int, target: Target) -> float:
    """Bytes a second of one core for a working set: that of the smallest cache that holds it.

    L1 is left out: what a kernel reads was written by another one and has usually left L1.
    """
    for cache in target.caches[1:]:
        if working_set <= cache.bytes:
            return cache.bandwidth
    return target.memory_bandwidth or 1e9
