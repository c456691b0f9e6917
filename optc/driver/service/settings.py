"""What a compile service allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The limits of a service.

    Attributes:
        folder: where jobs lie, each in a folder of its own.
        token: what clients must know; not empty.
        workers: compiles at a time.
        queued: jobs that may wait; more are refused.
        kept: finished jobs whose artifacts are kept; the oldest go first.
        model_bytes: of an uploaded model.
        memory_bytes: of address space, for each process of a compile.
        seconds: of wall time for a compile, and of processor time for each of its processes on each core.
        disk_bytes: of any file that a compile writes.
    """

    folder: Path
    token: str
    workers: int = 1
    queued: int = 64
    kept: int = 256
    model_bytes: int = 2 << 30
    memory_bytes: int = 8 << 30
    seconds: float = 900.0
    disk_bytes: int = 8 << 30
