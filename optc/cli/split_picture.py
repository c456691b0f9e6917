"""The plan of a split, and its replay over a trace, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optc.report.split_plot import Bar, Line, split_plot

if TYPE_CHECKING:
    from optc.driver.split.plan import SplitPlan
    from optc.driver.split.replay import Replay
    from optc.driver.split.simulation import Run


def picture(name: str, plan: SplitPlan, outcome: Replay | None) -> str:
    """An SVG file: latency by cut, and latency and energy over time where a trace was replayed."""
    bars = [
        Bar(way.name, (way.cost.computing[0], way.cost.linking, way.cost.computing[1]), way is plan.chosen)
        for way in plan.ways
    ]
    title = f"{name}: {plan.device} and {plan.server} over {plan.link.name}"
    return split_plot(title, bars, [] if outcome is None else _lines(outcome.runs))


def _lines(runs: Sequence[Run]) -> list[Line]:
    return [
        Line(
            run.name,
            [each.time for each in run.outcomes],
            [each.seconds for each in run.outcomes],
            [each.joules for each in run.outcomes],
        )
        for run in runs
    ]
