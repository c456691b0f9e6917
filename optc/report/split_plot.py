"""A split model as a picture: latency by cut as stacked bars, and latency and energy over time for each policy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.report.svg import SLOTS, Element, Panel, add, axis, document, to_text

_WIDTH, _LEFT, _PANEL_WIDTH = 960, 72, 864
_BARS_TOP, _BARS_HEIGHT, _LINES_HEIGHT, _GAP = 110, 220, 170, 90
_PARTS = ("device", "link", "server")
_HEADROOM = 1.1
_LETTER = 6.8  # pixels, on average
_POINTS = 400  # of a line; more make the file large and the picture no clearer


@dataclass(frozen=True)
class Bar:
    """A way: its name, the seconds on device, link and server, and whether it was chosen."""

    name: str
    seconds: tuple[float, float, float]
    chosen: bool = False


@dataclass(frozen=True)
class Line:
    """A policy: when requests were issued, and the seconds and joules of each."""

    name: str
    times: Sequence[float]
    seconds: Sequence[float]
    joules: Sequence[float]


def split_plot(title: str, bars: Sequence[Bar], lines: Sequence[Line]) -> str:
    """A self-contained SVG file; each bar is an element of the class `way`, each line one of the class `policy`."""
    panels = 2 if lines else 0
    height = _BARS_TOP + _BARS_HEIGHT + 50 + panels * (_LINES_HEIGHT + _GAP)
    root = document(_WIDTH, height, title)
    add(root, "text", kind="title", x=_LEFT, y=32, text=title)
    _legend(root, 58.0, _PARTS)
    _bars(root, bars)
    if lines:
        top = _BARS_TOP + _BARS_HEIGHT + _GAP
        _legend(root, top - 46.0, [line.name for line in lines])
        seconds = [list(line.seconds) for line in lines]
        _lines(root, top, "Latency over time", "s", lines, seconds)
        joules = [list(line.joules) for line in lines]
        _lines(root, top + _LINES_HEIGHT + _GAP, "Energy of the device over time", "J", lines, joules)
    return to_text(root)


def _bars(root: Element, bars: Sequence[Bar]) -> None:
    end = _HEADROOM * max([sum(bar.seconds) for bar in bars] or [1.0])
    panel = Panel(_LEFT, _BARS_TOP, _PANEL_WIDTH, _BARS_HEIGHT, 0.0, end)
    scale = axis("{}", "s", end)
    panel.axes(root, "Latency by cut", axis("", "", 1.0), scale)
    width = _PANEL_WIDTH / max(len(bars), 1)
    for number, bar in enumerate(bars):
        mark = add(root, "g", kind="way")
        parts = ", ".join(f"{part} {scale.text(each)}" for part, each in zip(_PARTS, bar.seconds, strict=True) if each)
        add(mark, "title", text=f"{bar.name}: {parts}")
        left, low = _LEFT + (number + 0.2) * width, 0.0
        for slot, each in enumerate(bar.seconds):
            y = panel.y(low + each)
            add(mark, "rect", kind=f"c{slot}", x=left, y=y, width=0.6 * width, height=panel.y(low) - y)
            low += each
        middle = left + 0.3 * width
        add(mark, "text", x=middle, y=panel.y(low) - 6, text_anchor="middle", text=scale.text(sum(bar.seconds)))
        name = f"{bar.name} (chosen)" if bar.chosen else bar.name
        add(mark, "text", x=middle, y=_BARS_TOP + _BARS_HEIGHT + 16, text_anchor="middle", text=name)


def _lines(
    root: Element, top: float, heading: str, unit: str, lines: Sequence[Line], values: Sequence[Sequence[float]]
) -> None:
    """One panel; a few requests far above all others do not flatten it."""
    every = np.concatenate([np.asarray(each, float) for each in values])
    end = _HEADROOM * float(max(np.quantile(every, 0.98), 1e-12))
    last = max(max(line.times) for line in lines) or 1.0
    panel = Panel(_LEFT, top, _PANEL_WIDTH, _LINES_HEIGHT, last, end)
    panel.axes(root, heading, axis("{}", "s", last), axis("{}", unit, end))
    for slot, (line, series) in enumerate(zip(lines, values, strict=True)):
        mark = add(root, "g", kind="policy")
        add(mark, "title", text=line.name)
        step = max(1, len(series) // _POINTS)
        points = [
            (panel.x(line.times[index]), panel.y(min(float(np.median(series[index : index + step])), end)))
            for index in range(0, len(series), step)
        ]
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            add(mark, "line", kind=f"s{slot % SLOTS}", x1=x1, y1=y1, x2=x2, y2=y2)


def _legend(root: Element, y: float, names: Sequence[str]) -> None:
    x = float(_LEFT)
    for slot, name in enumerate(names):
        add(root, "rect", kind=f"c{slot % SLOTS}", x=x, y=y, width=10, height=10)
        add(root, "text", x=x + 15, y=y + 9, text=name)
        x += 15 + _LETTER * len(name) + 24
