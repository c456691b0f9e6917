"""Which points of the templates' spaces are worth measuring."""

from __future__ import annotations

from collections.abc import Sequence

from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice, Template
from optc.costmodel.interface import Candidate, SchedulePoint, SchedulePredictor
from optc.targets.target import Target


def ranked(
    templates: Sequence[Template], group: Group, target: Target, schedules: SchedulePredictor | None = None
) -> list[tuple[float, Choice]]:
    """All points of all templates with their estimated seconds, least first; equal ones in the templates' own order.

    Args:
        templates: that compete for the group.
        group: to be a kernel.
        target: what for.
        schedules: predicts the times of points; None, or a space of one point: the templates' own estimates.
    """
    choices = [Choice(template, point) for template in templates for point in template.space(group, target)]
    if schedules is None or len(choices) < 2:
        seconds = [choice.template.estimate(group, choice.schedule, target) for choice in choices]
    else:
        seconds = _predicted(choices, group, target, schedules)
    return sorted(zip(seconds, choices, strict=True), key=lambda each: each[0])


def _predicted(choices: list[Choice], group: Group, target: Target, schedules: SchedulePredictor) -> list[float]:
    figures = schedules.figures(target)
    points = [
        SchedulePoint(each.template.name, each.schedule, each.template.estimate(group, each.schedule, figures))
        for each in choices
    ]
    return schedules.predict(Candidate.of_graph(group.body, group.constants), points, figures)


def diverse(points: list[tuple[float, Choice]], count: int, slack: float = 1.5) -> list[Choice]:
    """Up to `count` of the best points that differ in their template or by more than a small step of one parameter.

    Points whose estimate is more than `slack` times that of their template's best one are left out: estimates compare
    points of one template better than templates.
    """
    best: dict[str, float] = {}
    for seconds, point in points:
        best.setdefault(point.template.name, seconds)
    near = [(seconds, point) for seconds, point in points if seconds <= best[point.template.name] * slack]
    rivals = [next(point for _, point in near if point.template.name == name) for name in best][:count]
    chosen = list(rivals)
    for _, point in near:
        if len(chosen) == count:
            break
        if all(_far(point, other) for other in chosen):
            chosen.append(point)
    return chosen


def _far(point: Choice, other: Choice) -> bool:
    """Whether the templates differ, or some parameter by at least a quarter of its value."""
    if point.template is not other.template:
        return True
    pairs = zip(point.schedule, other.schedule, strict=True)
    return any(4 * abs(a - b) >= max(a, b) for (_, a), (_, b) in pairs if a != b)
