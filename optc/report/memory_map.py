"""A picture of the arena: which buffer lies at which addresses, from which step to which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.report.svg import Axis, Panel, add, axis, document, to_text

_WIDTH, _HEIGHT = 960, 560
_LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT = 64, 96, 872, 400
_COLOURS = {"value": 6, "scratch": 4}
_NAMES = {"value": "values", "scratch": "scratch"}
_NAMED_WIDTH, _NAMED_HEIGHT, _SMALL_LETTER = 60.0, 14.0, 5.6  # pixels


def memory_plot(name: str, memory: Mapping[str, Any]) -> str:
    """A self-contained SVG file; each buffer is an element of the class `step`, the worst step is marked.

    Args:
        name: of the model.
        memory: the record `memory` of an artifact's decisions.
    """
    buffers, steps = memory["buffers"], memory["steps"]
    arena, bound = memory["arena_bytes"], memory["lower_bound"]
    headline = f"{name}: an arena of {_size(arena)}, {_size(bound)} live at once"
    root = document(_WIDTH, _HEIGHT, headline)
    add(root, "text", kind="title", x=_LEFT, y=32, text=headline)
    peak = worst_step(memory)
    about = f"{len(buffers)} buffers over {len(steps)} steps"
    if peak is not None:
        about += f"; most is live in step {peak}, {_short(steps[peak], 45)}: {kinds_text(memory, peak)}"
    add(root, "text", x=_LEFT, y=52, text=about)
    panel = Panel(_LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT, len(steps), max(1, arena) * 1.04)
    chart = add(root, "g", kind="memory-map")
    panel.axes(chart, "", Axis("step, in execution order →", 1.0), axis("{}, address", "B", arena))
    for each in buffers:
        mark = add(chart, "g", kind="step")
        add(mark, "title", text=_tooltip(each))
        begin, end = each["start"], min(each["end"], len(steps))
        low, high = each["offset"], each["offset"] + each["bytes"]
        panel.bar(mark, begin, end, low, high, f"c{_colour(each, peak)}")
        width, height = panel.x(end) - panel.x(begin), panel.y(low) - panel.y(high)
        if width > _NAMED_WIDTH and height > _NAMED_HEIGHT:
            text = _short(each["name"], int(width / _SMALL_LETTER))
            x, y = (panel.x(begin) + panel.x(end)) / 2, (panel.y(low) + panel.y(high)) / 2 + 3
            add(mark, "text", kind="number inside", x=x, y=y, text=text)
    level = panel.y(bound)
    add(chart, "line", kind="peak", x1=_LEFT, x2=_LEFT + _PANEL_WIDTH, y1=level, y2=level)
    _legend(root)
    return to_text(root)


def bytes_by_kind(memory: Mapping[str, Any], step: int) -> dict[str, int]:
    """Bytes that are live in a step, by kind of buffer; kinds without any are left out."""
    found: dict[str, int] = {}
    for each in memory["buffers"]:
        if each["start"] <= step < each["end"]:
            found[each["kind"]] = found.get(each["kind"], 0) + each["bytes"]
    return found


def kinds_text(memory: Mapping[str, Any], step: int) -> str:
    """`bytes_by_kind` for people."""
    return ", ".join(f"{_size(count)} of {_NAMES[kind]}" for kind, count in bytes_by_kind(memory, step).items())


def worst_step(memory: Mapping[str, Any]) -> int | None:
    """The first step in which most bytes are live; None without any."""
    live = [0] * len(memory["steps"])
    for each in memory["buffers"]:
        for moment in range(each["start"], min(each["end"], len(live))):
            live[moment] += each["bytes"]
    return max(range(len(live)), key=lambda moment: live[moment], default=None)


def _colour(buffer: Mapping[str, Any], peak: int | None) -> int:
    """What is live in the worst step stands out."""
    at_peak = peak is not None and buffer["start"] <= peak < buffer["end"]
    return 1 if at_peak and buffer["kind"] == "value" else _COLOURS[buffer["kind"]]


def _legend(root: Any) -> None:
    x = float(_LEFT)
    for slot, text in ((1, "live in the worst step"), (6, "other values"), (4, "scratch of a kernel")):
        add(root, "rect", kind=f"c{slot}", x=x, y=66, width=10, height=10)
        add(root, "text", x=x + 15, y=75, text=text)
        x += 15 + 6.6 * len(text) + 20
    add(root, "line", kind="peak", x1=x, x2=x + 12, y1=71, y2=71)
    add(root, "text", x=x + 17, y=75, text="most bytes live at once: no arena can be lower")


def _tooltip(buffer: Mapping[str, Any]) -> str:
    last = buffer["end"] - 1
    when = f"step {buffer['start']}" if last == buffer["start"] else f"steps {buffer['start']} to {last}"
    return f"{buffer['name']}\n{_size(buffer['bytes'])} at {buffer['offset']}, {when}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def _size(count: int) -> str:
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"
