"""How many blocks one multiprocessor holds: the rules of each compute capability, as data."""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65_536  # of a multiprocessor, in every capability below
MOST_REGISTERS = 255  # of a thread
_REGISTER_UNIT = 256  # a warp's registers are given out in such pieces
STATIC_SHARED = 49_152  # bytes that a block may have without asking for more


@dataclass(frozen=True)
class Capability:
    """Limits of one multiprocessor (CUDA C++ programming guide, "Technical specifications per compute capability").

    Attributes:
        threads: resident at most.
        blocks: resident at most.
        shared_bytes: shared memory of a multiprocessor.
        block_shared_bytes: of one block, with the opt-in.
        reserved_bytes: that the system takes from each block's share.
    """

    threads: int
    blocks: int
    shared_bytes: int
    block_shared_bytes: int
    reserved_bytes: int = 1024


CAPABILITIES = {
    "sm_53": Capability(2048, 32, 65_536, 49_152, 0),
    "sm_62": Capability(2048, 32, 65_536, 49_152, 0),
    "sm_72": Capability(2048, 32, 98_304, 98_304, 0),
    "sm_75": Capability(1024, 16, 65_536, 65_536, 0),
    "sm_80": Capability(2048, 32, 167_936, 166_912),
    "sm_86": Capability(1536, 16, 102_400, 101_376),
    "sm_87": Capability(1536, 16, 167_936, 166_912),
    "sm_88": Capability(1536, 16, 102_400, 101_376),
    "sm_89": Capability(1536, 24, 102_400, 101_376),
    "sm_90": Capability(2048, 32, 233_472, 232_448),
    "sm_100": Capability(2048, 32, 233_472, 232_448),
    "sm_103": Capability(2048, 32, 233_472, 232_448),
    "sm_110": Capability(1536, 24, 233_472, 232_448),
    "sm_120": Capability(1536, 24, 102_400, 101_376),
    "sm_121": Capability(1536, 24, 102_400, 101_376),
}


@dataclass(frozen=True)
class Residency:
    """What fits on one multiprocessor.

    Attributes:
        blocks: at a time.
        occupancy: resident warps as a fraction of the most there may be.
        limiter: `threads`, `registers`, `shared memory` or `blocks`.
    """

    blocks: int
    occupancy: float
    limiter: str


def residency(capability: Capability, threads: int, registers: int, shared_bytes: int) -> Residency:
    """The residency of a kernel.

    Args:
        capability: of the device.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic.
    """
    warps = -(-threads // WARP)
    per_warp = -(-max(registers, 1) * WARP // _REGISTER_UNIT) * _REGISTER_UNIT
    # Registers belong to the four partitions of a multiprocessor, so warps are counted in fours.
    resident_warps = REGISTERS // per_warp // 4 * 4
    limits = {
        "threads": capability.threads // (warps * WARP),
        "blocks": capability.blocks,
        "registers": resident_warps // warps,
        "shared memory": capability.shared_bytes // (shared_bytes + capability.reserved_bytes)
        if shared_bytes + capability.reserved_bytes
        else capability.blocks,
    }
    limiter = min(limits, key=lambda name: limits[name])
    blocks = limits[limiter]
    return Residency(blocks, blocks * warps / (capability.threads // WARP), limiter)
