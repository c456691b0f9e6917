"""The arena's plan as the artifact states it, and what to say when it is larger than allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from optc.driver.program.assembly import ArenaBuffer
from optc.errors import LimitError
from optc.passes.memory.plan import MemoryPlan

_NAMED = 3


class Planned(Protocol):
    """An arena: its plan, what the plan placed, and the names of the steps as the plan counts them."""

    @property
    def plan(self) -> MemoryPlan: ...
    @property
    def buffers(self) -> Sequence[ArenaBuffer]: ...
    @property
    def moments(self) -> list[str]: ...


def memory_record(assembly: Planned) -> dict[str, Any]:
    """The arena in bytes, how sure its size is, the steps in execution order, and what lies where and when."""
    plan = assembly.plan
    return {
        "arena_bytes": plan.arena_bytes,
        "lower_bound": plan.lower_bound,
        "least": plan.least,
        "solver": plan.solver,
        "steps": assembly.moments,
        "buffers": [asdict(buffer) for buffer in assembly.buffers],
    }


def check_limit(assembly: Planned, limit: int | None) -> None:
    """Hold an arena to a limit in bytes; None is none.

    Raises:
        LimitError: it is larger; the message names what it needs and the steps that need most.
    """
    needed = assembly.plan.arena_bytes
    if limit is None or needed <= limit:
        return
    live = [_covered(assembly.buffers, moment) for moment in range(len(assembly.moments))]
    worst = sorted(range(len(live)), key=lambda moment: -live[moment])[:_NAMED]
    steps = "; ".join(f"{assembly.moments[moment]} ({live[moment]} bytes live)" for moment in worst)
    raise LimitError(
        f"the model needs an arena of {needed} bytes, and {limit} are allowed",
        where="--memory-limit",
        why=f"most is live in {steps}",
        hint=f"--memory-limit {needed} works",
    )


def _covered(buffers: Sequence[ArenaBuffer], moment: int) -> int:
    """Bytes of the arena in use at a step; those that a result takes over from an operand count once."""
    covered = end = 0
    for offset, size in sorted((each.offset, each.bytes) for each in buffers if each.start <= moment < each.end):
        covered += max(0, offset + size - max(end, offset))
        end = max(end, offset + size)
    return covered
