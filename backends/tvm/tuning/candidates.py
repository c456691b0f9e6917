"""Which points of a template's space are worth measuring."""

from __future__ import annotations

from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule, Template
from optc.targets.target import Target


def ranked(template: Template, group: Group, target: Target) -> list[tuple[float, Schedule]]:
    """All points with their estimated seconds, least first; equal ones in the template's own order."""
    points = template.space(group, target)
    return sorted(((template.estimate(group, point, target), point) for point in points), key=lambda each: each[0])


def diverse(points: list[tuple[float, Schedule]], count: int, slack: float = 1.5) -> list[Schedule]:
    """Up to `count` of the best points that differ in more than a small step of one parameter.

    Points whose estimate is more than `slack` times the best one's are left out.
    """
    best = points[0][0]
    chosen: list[Schedule] = []
    for seconds, point in points:
        if len(chosen) == count or seconds > best * slack:
            break
        if all(_far(point, other) for other in chosen):
            chosen.append(point)
    return chosen


def _far(point: Schedule, other: Schedule) -> bool:
    """Whether some parameter differs by at least a quarter of its value."""
    return any(4 * abs(a - b) >= max(a, b) for (_, a), (_, b) in zip(point, other, strict=True) if a != b)
