"""Which of several figures are not beaten in everything by another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from optc.passes.quantization.search.ilp import solve
from optc.passes.quantization.search.problem import PrecisionProblem

Item = TypeVar("Item")


def front(items: Sequence[Item], key: Callable[[Item], tuple[float, float]]) -> list[Item]:
    """Those that no other equals or beats in both figures (less is better), by the first figure.

    Of items that are equal in both the first stays.
    """
    best = float("inf")
    kept = []
    for item in sorted(items, key=key):
        if key(item)[1] < best:
            best = key(item)[1]
            kept.append(item)
    return kept


def assignments_along(problem: PrecisionProblem, points: int) -> list[dict[str, str]]:
    """The cheapest assignments for budgets that fall evenly in decibels, from no bound to all in float.

    Args:
        problem: what there is to choose.
        points: budgets to solve for; fewer assignments come back where several budgets have the same.

    Returns:
        the different ones, the cheapest first.
    """
    freest = solve(problem, float(2 * problem.outputs * len(problem.choices)) * _largest(problem) + 1.0)
    found = [freest]
    top = max(problem.errors(freest), default=0.0)
    smallest = [
        min((max(option.error) for option in choice.options[1:] if max(option.error) > 0.0), default=top)
        for choice in problem.choices
    ]
    bottom = min(smallest, default=0.0) * 0.99
    if top > 0.0 and 0.0 < bottom < top:
        for step in range(1, points):
            candidate = solve(problem, top * (bottom / top) ** (step / (points - 1)))
            if candidate not in found:
                found.append(candidate)
    if (plain := {choice.layer: choice.options[0].scheme for choice in problem.choices}) not in found:
        found.append(plain)
    return found


def _largest(problem: PrecisionProblem) -> float:
    return max((max(option.error, default=0.0) for choice in problem.choices for option in choice.options), default=0.0)
