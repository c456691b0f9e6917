"""Which placements are best for some bandwidth, or for some weighing of latency, energy and bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace

from optc.passes.split.limited import Solver, solver
from optc.passes.split.problem import (
    BYTES,
    ENERGY,
    LATENCY,
    Conditions,
    Cost,
    Goal,
    Placement,
    SplitProblem,
    evaluate,
)

_EQUAL = 1e-9
_MOST = 24
"""Placements that one sweep stops at."""


def lower_envelope(
    solve: Callable[[float], Placement], cost: Callable[[Placement, float], float], low: float, high: float
) -> list[Placement]:
    """All placements that are best somewhere between two values of a parameter that every cost is linear in.

    Where the lines of two neighbours meet, either they are best or something else is: Eisner and Severance,
    "Mathematical techniques for efficient record segmentation in large shared databases" (1976).

    Args:
        solve: the best placement for a value.
        cost: of a placement for a value; linear in it.
        low, high: the ends.

    Returns:
        the placements, from that of `low` to that of `high`.
    """
    first, last = solve(low), solve(high)
    found = {low: first, high: last}

    def between(left: float, right: float) -> None:
        one, other = found[left], found[right]
        if one == other or len(found) >= _MOST:
            return
        # one(p) = a + b p and other(p) = c + d p, from their costs at both ends
        one_left, one_right = cost(one, left), cost(one, right)
        other_left, other_right = cost(other, left), cost(other, right)
        rise = (other_left - one_left) - (other_right - one_right)
        if rise <= _EQUAL * max(abs(one_left), abs(other_right), 1e-300):
            return
        middle = left + (right - left) * (other_left - one_left) / rise
        if not left < middle < right:
            return
        best = solve(middle)
        if cost(best, middle) >= cost(one, middle) * (1 - _EQUAL):
            return
        found[middle] = best
        between(left, middle)
        between(middle, right)

    between(low, high)
    return list(dict.fromkeys(found[value] for value in sorted(found)))


def over_bandwidths(
    problem: SplitProblem,
    conditions: Conditions,
    goal: Goal,
    *,
    slower: float,
    faster: float,
    memory: int | None = None,
) -> list[Placement]:
    """The placements that are best when the first link is between `slower` and `faster` times as fast as stated.

    Args:
        problem: to be cut.
        conditions: whose first link is varied.
        goal: what is to be small.
        slower: a factor below 1.
        faster: a factor above 1.
        memory: of the device, in bytes.
    """

    def at(inverse: float) -> Conditions:
        link = conditions.links[0]
        slowed = link.with_rates(uplink=link.uplink / inverse, downlink=link.downlink / inverse)
        return replace(conditions, links=(slowed, *conditions.links[1:]))

    solve = solver(problem, conditions, memory)
    return lower_envelope(
        lambda inverse: solve(at(inverse), goal),
        lambda placement, inverse: evaluate(problem, placement, at(inverse)).under(goal),
        1.0 / faster,
        1.0 / slower,
    )


def pareto_front(
    problem: SplitProblem, conditions: Conditions, memory: int | None = None
) -> list[tuple[Placement, Cost]]:
    """Placements that nothing found beats in latency, energy and bytes, the fastest first.

    Found are all that are best for some weighing of two of the three; those that no weighing makes best are not.
    """
    found: dict[Placement, Cost] = {}
    solve = solver(problem, conditions, memory)

    def mixed(one: Goal, other: Goal) -> list[Placement]:
        scales = [_spread(problem, conditions, each, solve, found) for each in (one, other)]

        def goal(share: float) -> Goal:
            first, second = (1.0 - share) / scales[0], share / scales[1]
            return Goal(*(first * a + second * b for a, b in zip(_weights(one), _weights(other), strict=True)))

        return lower_envelope(
            lambda share: solve(conditions, goal(share)),
            lambda placement, share: evaluate(problem, placement, conditions).under(goal(share)),
            1e-6,
            1.0 - 1e-6,
        )

    for one, other in itertools.combinations((LATENCY, ENERGY, BYTES), 2):
        for placement in mixed(one, other):
            found.setdefault(placement, evaluate(problem, placement, conditions))
    return undominated(found.items())


def undominated(candidates: Iterable[tuple[Placement, Cost]]) -> list[tuple[Placement, Cost]]:
    """Those that no other is at least as good as in all three and better in one; of equals the first."""
    kept: list[tuple[Placement, Cost]] = []
    for placement, cost in sorted(candidates, key=lambda each: (each[1].seconds, each[1].joules, each[1].bytes)):
        if not any(other.joules <= cost.joules and other.bytes <= cost.bytes for _, other in kept):
            kept.append((placement, cost))
    return kept


def _weights(goal: Goal) -> tuple[float, float, float]:
    return goal.seconds, goal.joules, goal.bytes


def _spread(
    problem: SplitProblem,
    conditions: Conditions,
    goal: Goal,
    solve: Solver,
    found: dict[Placement, Cost],
) -> float:
    """The size of a goal, to weigh it against others: what its own best placement costs, or all tasks on the device."""
    best = solve(conditions, goal)
    found.setdefault(best, evaluate(problem, best, conditions))
    nearest = evaluate(problem, (0,) * len(problem.tasks), conditions).under(goal)
    return max(found[best].under(goal), nearest) or 1.0
