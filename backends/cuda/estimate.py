"""Seconds on a GPU from its figures: bytes, arithmetic, and how full the multiprocessors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.group import Group

if TYPE_CHECKING:
    from optc.targets.target import Target

_LATENCY = 7.0e-7  # seconds that a read of main memory takes, about, on all GPUs since Volta
_MOST_BLOCKS = 8  # that run on a multiprocessor at a time, about


def group_bytes(group: Group) -> int:
    """What a group's kernel must read and write at least."""
    return sum(value.tensor_type.bytes for value in (*group.body.inputs, *group.body.outputs))


def peak(target: Target, dtype: str) -> float:
    """FLOP/s of one multiprocessor for an element type; what is not stated runs as f32 does."""
    return target.peak_flops.get(dtype) or target.peak_flops["f32"]


def memory_seconds(bytes: float, blocks: int, bytes_in_flight: float, target: Target) -> float:
    """Time to move bytes by blocks that each keep some of them in flight."""
    # Little's law: bandwidth times latency is what must be in flight to keep the memory busy.
    needed = _LATENCY * target.memory_bandwidth_all
    resident = min(blocks, _MOST_BLOCKS * target.cores) * bytes_in_flight
    return bytes / (target.memory_bandwidth_all * min(1.0, resident / needed))


def overlapped(*seconds: float) -> float:
    """The time of what mostly happens at once: the longest, and a fifth of the rest."""
    longest = max(seconds)
    return longest + 0.2 * (sum(seconds) - longest)
