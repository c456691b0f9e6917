"""What a compile can be told, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optc.backends.interface import Progress, silent
from optc.errors import UsageError
from optc.sizes import parse_size

__all__ = ["AUTOMATIC_BUDGET", "CompileOptions", "check_threads", "parse_budget", "parse_size"]

AUTOMATIC_BUDGET = 10.0
"""Seconds that `tune="auto"` may spend on measuring schedules."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class CompileOptions:
    """The options of `optc.compile`; see there for their meaning.

    `budget` is `tune` in seconds, or None for the automatic one; `precision` is what quantization decided.
    """

    target: str = "cpu"
    output: Path | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    threads: int | None = None
    budget: float | None = None
    cost_model: str = "auto"
    memory_limit: int | None = None
    guard_weights: bool = False
    compress_weights: bool = False
    weight_memory: int | None = None
    storage: int | None = None
    verify: bool = True
    inputs: Mapping[str, Any] | None = None
    passes: str | None = None
    backend: str | None = None
    verify_each: bool = False
    dump_ir: Path | None = None
    command: str | None = None
    progress: Progress = silent
    precision: Mapping[str, Any] | None = None
    emit: tuple[str, ...] = ()
    library_name: str | None = None


def parse_budget(tune: str | float | int) -> float | None:
    """Seconds from `auto` (None), a number, or text such as `30s` or `5m`.

    Raises:
        UsageError: anything else, or a negative number.
    """
    if tune == "auto":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(tune).strip())
    if match is None:
        raise UsageError(f"'{tune}' is no tuning budget", hint="give seconds (30s, 5m), 0 for none, or auto")
    return float(match[1]) * _UNITS[match[2]]


def check_threads(threads: int | None) -> int | None:
    """The thread count itself. Raises UsageError when it is below one."""
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} is no thread count", hint="give a number of at least 1")
    return threads
