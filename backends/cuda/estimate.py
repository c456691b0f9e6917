"""Seconds on a GPU from its figures: bytes, arithmetic, and how full the multiprocessors are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optc.backends.tvm.group import Group
from optc.ops.declaration import declaration_of

if TYPE_CHECKING:
    from optc.targets.target import Target

_RESIDENT_BYTES = 32 * 1024  # in flight on one multiprocessor to keep its share of the memory busy (Little's law)


def group_bytes(group: Group) -> int:
    """What a group's kernel must read and write at least."""
    return sum(value.tensor_type.bytes for value in (*group.body.inputs, *group.body.outputs))


def group_flops(group: Group) -> int:
    """The arithmetic of a group."""
    return sum(declaration_of(operation.name).flops(operation) for operation in group.body)


def peak(target: Target, dtype: str) -> float:
    """FLOP/s of one multiprocessor for an element type; what is not stated runs as f32 does."""
    return target.peak_flops.get(dtype) or target.peak_flops["f32"]


def waves(blocks: int, resident: int, target: Target) -> float:
    """How often the device is filled, the last time counted as a whole one."""
    return math.ceil(blocks / max(1, target.cores * resident))


def memory_seconds(bytes: float, blocks: int, bytes_in_flight: float, target: Target) -> float:
    """Time to move bytes by blocks that each keep some of them in flight."""
    busy = min(1.0, blocks / target.cores)
    depth = min(1.0, bytes_in_flight * max(1.0, blocks / target.cores) / _RESIDENT_BYTES)
    return bytes / (target.memory_bandwidth_all * busy * max(depth, 1 / 16))
