"""A mapping as plain data: times by solver, what lies where and when, and each copy with its moment."""

from __future__ import annotations

from typing import Any

from optc.passes.memory.game.agent import Mapped
from optc.passes.memory.game.problem import Problem
from optc.passes.memory.game.simulation import simulate, stays


def mapping_record(problem: Problem, mapped: Mapped) -> dict[str, Any]:
    """What a mapping is, for people and programs; times are seconds from the start of a run.

    A copy is issued when step `issue` begins, moves its bytes from `start` to `end`, and step `deadline` waits for it.
    """
    timeline = simulate(problem, mapped.played)
    names = [memory.name for memory in problem.memories]
    listed = stays(problem, mapped.played)
    fetched = {(copy.tensor, copy.destination, copy.issue) for copy in mapped.played.copies}
    memories = []
    for number, memory in enumerate(problem.memories):
        here = [stay for stay in listed if stay.memory == number]
        offsets = mapped.plans[number].offsets if number in mapped.plans else ()
        rooms = []
        for stay, offset in zip(here, offsets, strict=True):
            tensor = problem.tensors[stay.tensor]
            whole = tensor.constant and (stay.start, stay.end) == (0, len(problem.steps))
            how = "fetched" if (stay.tensor, number, stay.start) in fetched else "held" if whole else "written"
            rooms.append(
                {
                    "tensor": tensor.name,
                    "bytes": tensor.size,
                    "offset": offset,
                    "start": stay.start,
                    "end": stay.end,
                    "how": how,
                }
            )
        used = mapped.plans[number].arena_bytes if number in mapped.plans else 0
        memories.append({"name": memory.name, "bytes": memory.capacity, "used": used, "stays": rooms})
    copies = [
        {
            "tensor": problem.tensors[each.copy.tensor].name,
            "bytes": problem.tensors[each.copy.tensor].size,
            "source": names[each.copy.source],
            "destination": names[each.copy.destination],
            "issue": each.copy.issue,
            "deadline": each.copy.deadline,
            "start": each.start,
            "end": each.end,
        }
        for each in timeline.copies
    ]
    steps = [
        {"name": name, "ready": each.ready, "start": each.start, "end": each.end}
        for name, each in zip(problem.steps, timeline.steps, strict=True)
    ]
    greedy = mapped.seconds["greedy"]
    return {
        "seconds": timeline.seconds,
        "solver": mapped.solver,
        "by_solver": mapped.seconds,
        "gain": 1.0 - timeline.seconds / greedy if greedy else 0.0,
        "arithmetic": sum(problem.compute),
        "stalls": sum(each.start - each.ready for each in timeline.steps),
        "choices": list(mapped.played.choices),
        "memories": memories,
        "copies": copies,
        "steps": steps,
    }
