"""A profile as two pictures in one SVG: the waterline plot and the efficiency-gap plot.

After Lavin, "On the Efficiency of Convolutional Neural Networks" (2024). Waterline: each step stands where its FLOPs
come in the model, as high as it computes; the waterline is the machine's peak. Gap: the same over time, so that the
area between a step and the peak is the arithmetic that its time would have been enough for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from optc.report.profile import Machine, Profile, Step
from optc.report.svg import SLOTS, Axis, Element, Panel, add, axis, document, to_text

_WIDTH, _HEIGHT = 960, 720
_LEFT, _PANEL_WIDTH, _PANEL_HEIGHT = 64, 872, 230
_WATERLINE_TOP, _GAP_TOP = 118, 430
_GAP = "gap to the peak"
_HEADROOM = 1.12
_NUMBERED = 14.0  # pixels that the number of a step needs
_SMALL_LETTER = 6.6  # pixels, on average


def efficiency_plot(profile: Profile) -> str:
    """A self-contained SVG file, legible on light and dark ground; each step is an element of the class `step`."""
    total, machine = profile.total, profile.machine
    headline = f"{profile.name}: {profile.latency * 1e3:.3g} ms, {profile.efficiency:.1%} of the machine's peak"
    root = document(_WIDTH, _HEIGHT, headline)
    add(root, "text", kind="title", x=_LEFT, y=32, text=headline)
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    about = f"{threads}, middle half of {profile.runs} runs; peak {machine.basis}"
    add(root, "text", x=_LEFT, y=52, text=about)
    colours = _colours(profile)
    _legend(root, colours, f"peak, {machine.peak('f32') * 1e-9:.4g} GFLOP/s")

    steps = profile.executed
    rates = [machine.peak("f32"), *(step.flops_per_second for step in steps), *(_peak(step, machine) for step in steps)]
    y_end = _HEADROOM * max(rates)
    y_axis = axis("{}", "FLOP/s", y_end)

    counted = [step for step in steps if step.flops]
    waterline = Panel(_LEFT, _WATERLINE_TOP, _PANEL_WIDTH, _PANEL_HEIGHT, total.flops, y_end)
    x_axis = axis("{} of the steps before, in program order →", "FLOP", total.flops)
    _chart(root, waterline, "Waterline", (x_axis, y_axis), counted, lambda step: step.flops, machine, colours)

    gap = Panel(_LEFT, _GAP_TOP, _PANEL_WIDTH, _PANEL_HEIGHT, total.seconds, y_end)
    x_axis = axis("{} since the start →", "s", total.seconds)
    _chart(root, gap, "Efficiency gap", (x_axis, y_axis), steps, lambda step: step.seconds, machine, colours)
    return to_text(root)


def _chart(
    root: Element,
    panel: Panel,
    heading: str,
    axes: tuple[Axis, Axis],
    steps: Sequence[Step],
    extent: Callable[[Step], float],
    machine: Machine,
    colours: dict[str, int],
) -> None:
    """One bar a step, as wide as its `extent`, with the gap to its peak, under the waterline."""
    chart = add(root, "g", kind=heading.lower().replace(" ", "-"))
    panel.axes(chart, heading, *axes)
    begin = 0.0
    for step in steps:
        end = begin + extent(step)
        mark = add(chart, "g", kind="step")
        add(mark, "title", text=_tooltip(step))
        colour = f"c{colours[step.template]}"
        rate, peak = step.flops_per_second, _peak(step, machine)
        panel.bar(mark, begin, end, 0.0, rate, colour)
        if rate < peak:
            panel.bar(mark, begin, end, rate, peak, f"{colour} gap")
        if panel.x(end) - panel.x(begin) >= _NUMBERED:
            middle, foot = (panel.x(begin) + panel.x(end)) / 2, panel.y(0.0) - 4
            tall = foot - panel.y(rate) > _NUMBERED
            kind, y = ("number inside", foot) if tall else ("number", panel.y(rate) - 4)
            add(mark, "text", kind=kind, x=middle, y=y, text=str(step.index))
        begin = end
    level = panel.y(machine.peak("f32"))
    right = panel.left + panel.width
    add(chart, "line", kind="peak", x1=panel.left, x2=right, y1=level, y2=level)


def _peak(step: Step, machine: Machine) -> float:
    """What the machine could reach on the step's element type."""
    return step.flops / step.ideal_seconds if step.ideal_seconds else machine.peak("f32")


def _tooltip(step: Step) -> str:
    efficiency = "" if step.efficiency is None else f", {step.efficiency:.1%} of the peak"
    return (
        f"#{step.index} {step.label}\n{step.template}: {', '.join(step.operations) or 'bytes moved'}\n"
        f"{step.seconds * 1e6:.4g} µs, {step.flops_per_second * 1e-9:.4g} GFLOP/s{efficiency}, "
        f"{step.bytes_per_second * 1e-9:.4g} GB/s"
    )


def _colours(profile: Profile) -> dict[str, int]:
    """A colour for each template: the ones that take longest get their own, the rest share the last."""
    spent: Counter[str] = Counter()
    for step in profile.executed:
        spent[step.template] += step.seconds  # type: ignore[assignment]
    return {name: min(rank, SLOTS - 1) for rank, (name, _) in enumerate(spent.most_common())}


def _legend(root: Element, colours: dict[str, int], peak: str) -> None:
    legend = add(root, "g", kind="legend")
    names = [name for name, slot in colours.items() if slot < SLOTS - 1]
    last = [name for name, slot in colours.items() if slot == SLOTS - 1]
    x = float(_LEFT)
    for slot, name in enumerate([*names, ", ".join(last)] if last else names):
        add(legend, "rect", kind=f"c{slot}", x=x, y=66, width=10, height=10)
        add(legend, "text", x=x + 15, y=75, text=name)
        x += 15 + _SMALL_LETTER * len(name) + 20
    add(legend, "rect", kind="c0 gap", x=x, y=66, width=10, height=10)
    add(legend, "text", x=x + 15, y=75, text=_GAP)
    x += 15 + _SMALL_LETTER * len(_GAP) + 20
    add(legend, "line", kind="peak", x1=x, x2=x + 12, y1=71, y2=71)
    add(legend, "text", x=x + 17, y=75, text=peak)
