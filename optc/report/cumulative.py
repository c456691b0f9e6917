"""Where the time goes, step by step, as an SVG picture: running totals of the predictions and of a measured run."""

from __future__ import annotations

from collections.abc import Sequence

from optc.report.explanation import Explanation, Step
from optc.report.svg import Axis, Element, Panel, add, axis, document, to_text
from optc.report.units import seconds_text

_WIDTH, _HEIGHT, _LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT = 960, 380, 64, 96, 872, 230
_HEADROOM = 1.05


def cumulative_plot(explanation: Explanation) -> str:
    """A self-contained SVG file: steps to the right, seconds upwards; each step is an element of the class `step`.

    The bars under the running total are the steps by themselves.
    """
    steps = explanation.steps
    lines = [("predicted", 0, [step.predicted or 0.0 for step in steps])]
    if explanation.profile is not None:
        lines.append(("measured in a run", 1, [step.measured or 0.0 for step in steps]))
    end = max((sum(times) for _, _, times in lines), default=0.0)
    shown = " and ".join(f"{seconds_text(sum(times))} {name}" for name, _, times in lines)
    root = document(_WIDTH, _HEIGHT, f"Time over the kernels: {shown}")
    add(root, "text", kind="title", x=_LEFT, y=32, text=f"Time over the kernels: {shown}")
    panel = Panel(_LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT, max(1, len(steps)), end * _HEADROOM or 1.0)
    axes = Axis("step, in execution order →", 1.0), axis("{}, running total", "s", end)
    panel.axes(root, "", *axes)
    for name, slot, times in lines:
        _line(root, panel, name, slot, times, steps, len(lines))
    _legend(root, [(name, slot) for name, slot, _ in lines])
    return to_text(root)


def _line(
    root: Element, panel: Panel, name: str, slot: int, times: Sequence[float], steps: Sequence[Step], lines: int
) -> None:
    """The running total as a stair, and each step's own time as a bar in its share of the step's width."""
    total, points = 0.0, [(panel.x(0), panel.y(0))]
    width = 0.8 / lines
    for number, (step, seconds) in enumerate(zip(steps, times, strict=True)):
        mark = add(root, "g", kind="step")
        add(mark, "title", text=f"#{step.index} {step.label}\n{seconds_text(seconds)} {name}")
        begin = number + 0.1 + width * slot
        panel.bar(mark, begin, begin + width, 0.0, seconds, f"c{slot}")
        points.append((panel.x(number), panel.y(total)))
        total += seconds
        points.append((panel.x(number + 1), panel.y(total)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    add(root, "polyline", points=path, style=f"fill: none; stroke: var(--c{slot}); stroke-width: 2")


def _legend(root: Element, entries: Sequence[tuple[str, int]]) -> None:
    x = float(_LEFT)
    for name, slot in entries:
        add(root, "rect", kind=f"c{slot}", x=x, y=56, width=10, height=10)
        add(root, "text", x=x + 15, y=65, text=name)
        x += 15 + 6.6 * len(name) + 20
