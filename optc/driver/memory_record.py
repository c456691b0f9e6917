"""The arena's plan as the artifact states it, and what to say when it is larger than allowed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from optc.driver.assembly import Assembly
from optc.errors import LimitError

_NAMED = 3


def memory_record(assembly: Assembly) -> dict[str, Any]:
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


def check_limit(assembly: Assembly, limit: int | None) -> None:
    """Hold an arena to a limit in bytes; None is none.

    Raises:
        LimitError: it is larger; the message names what it needs and the steps that need most.
    """
    needed = assembly.plan.arena_bytes
    if limit is None or needed <= limit:
        return
    live = [
        sum(each.bytes for each in assembly.buffers if each.start <= moment < each.end)
        for moment in range(len(assembly.moments))
    ]
    worst = sorted(range(len(live)), key=lambda moment: -live[moment])[:_NAMED]
    steps = "; ".join(f"{assembly.moments[moment]} ({live[moment]} bytes live)" for moment in worst)
    raise LimitError(
        f"the model needs an arena of {needed} bytes, and {limit} are allowed",
        where="--memory-limit",
        why=f"most is live in {steps}",
        hint=f"--memory-limit {needed} works",
    )
