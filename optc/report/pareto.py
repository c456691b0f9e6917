"""What nothing beats in cost and error, as an SVG picture and as an HTML page with every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optc.report.page import add_picture, add_table, new_page, page_text
from optc.report.svg import Axis, Panel, add, document, to_text

_WIDTH, _HEIGHT, _LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT = 760, 480, 72, 96, 640, 310
_HEADROOM = 1.08
HEADER = ("layer", "format", "why")
POINT_HEADER = ("cost", "signal to noise", "predicted", "layers")


@dataclass(frozen=True)
class FrontPoint:
    """One assignment.

    Attributes:
        cost: in the unit that is shown.
        snr: measured decibels at the worst output; infinite for all in float.
        predicted_snr: the same by the errors of the layers alone.
        counts: layers by format.
        chosen: whether this is the one that was taken.
    """

    cost: float
    snr: float
    predicted_snr: float
    counts: Mapping[str, int]
    chosen: bool = False

    @property
    def text(self) -> str:
        """How many layers have which format."""
        return ", ".join(f"{count} {name}" for name, count in self.counts.items())


def pareto_plot(title: str, unit: str, points: Sequence[FrontPoint]) -> str:
    """A self-contained SVG file: cost to the right, decibels upwards; each point is a circle of the class `point`.

    What has no noise at all stands at the upper edge.
    """
    root = document(_WIDTH, _HEIGHT, title)
    add(root, "text", kind="title", x=_LEFT, y=32, text=title)
    finite = [point.snr for point in points if math.isfinite(point.snr)]
    top = _HEADROOM * max([*finite, 1.0])
    end = _HEADROOM * max([point.cost for point in points] or [1.0])
    panel = Panel(_LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT, end, top)
    axes = Axis(f"predicted cost, {unit} →", 1.0), Axis("signal to noise, dB", 1.0)
    panel.axes(root, f"{len(points)} assignments that nothing beats in both", *axes)
    places = [(panel.x(point.cost), panel.y(max(0.0, min(point.snr, top)))) for point in points]
    line = " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
    add(root, "polyline", kind="axis", points=line, style="fill: none")
    for point, (x, y) in zip(points, places, strict=True):
        mark = add(root, "g", kind="point")
        noise = f"{point.snr:.1f} dB" if math.isfinite(point.snr) else "exact"
        add(mark, "title", text=f"{point.cost:.4g} {unit}, {noise}: {point.text}")
        slot = 1 if point.chosen else 0
        add(mark, "circle", kind=f"c{slot}", cx=x, cy=y, r=6 if point.chosen else 4)
        if point.chosen:
            add(mark, "text", kind="heading", x=x + 10, y=y + 16, text="chosen")
    return to_text(root)


def quantization_page(
    name: str,
    objective: str,
    unit: str,
    facts: Sequence[tuple[str, str]],
    points: Sequence[FrontPoint],
    layers: Sequence[tuple[str, str, str]],
) -> str:
    """An HTML page that needs nothing else.

    Args:
        name: of the model.
        objective: what was made small.
        unit: of costs.
        facts: (name, value) lines at the head.
        points: the front, the cheapest first.
        layers: (layer, format, reason).
    """
    root, body = new_page(f"{name}: mixed precision")
    facts_list = add(body, "dl")
    for key, value in facts:
        add(facts_list, "dt", text=key)
        add(facts_list, "dd", text=value)
    add_picture(body, pareto_plot(f"{name}: {objective} against noise", unit, points))
    rows = [
        [
            f"{point.cost:.4g} {unit}",
            f"{point.snr:.1f} dB" if math.isfinite(point.snr) else "exact",
            f"{point.predicted_snr:.1f} dB" if math.isfinite(point.predicted_snr) else "exact",
            f"{point.text}{' (chosen)' if point.chosen else ''}",
        ]
        for point in points
    ]
    add(body, "h2", text="Assignments")
    add_table(body, POINT_HEADER, rows, (0, 1, 2), "front")
    add(body, "h2", text="Layers")
    add_table(body, HEADER, [list(row) for row in layers], (), "layers")
    return page_text(root)
