"""A replay of a mapping game: when steps and copies run, and what lies where in each fast memory meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.report.svg import Axis, Panel, add, axis, document, to_text

_WIDTH, _LEFT, _PANEL_WIDTH = 1060, 84, 950
_LANE, _MEMORY, _GAP, _TOP = 26, 150, 52, 96
_FETCHED, _HELD, _WRITTEN, _STEP, _STALL, _COPY = 1, 3, 2, 6, 4, 5
_LEGEND = (
    (_STEP, "step"),
    (_STALL, "waits for a copy"),
    (_COPY, "copy"),
    (_WRITTEN, "written in place"),
    (_FETCHED, "fetched"),
    (_HELD, "held for all runs"),
)


def mapping_plot(name: str, record: Mapping[str, Any]) -> str:
    """A self-contained SVG file.

    Args:
        name: of the model.
        record: what `optc memory map --json` prints.
    """
    fast = [each for each in record["memories"] if each["stays"]]
    end = record["seconds"]
    height = _TOP + 2 * (_LANE + _GAP) + len(fast) * (_MEMORY + _GAP) + 24
    headline = f"{name}: {end * 1e3:.4g} ms, {record['gain']:.1%} less than the greedy mapping's"
    root = document(_WIDTH, height, headline)
    add(root, "text", kind="title", x=_LEFT, y=32, text=headline)
    x = float(_LEFT)
    for slot, text in _LEGEND:
        add(root, "rect", kind=f"c{slot}", x=x, y=50, width=10, height=10)
        add(root, "text", x=x + 15, y=59, text=text)
        x += 15 + 6.6 * len(text) + 20
    times = axis("time in {}", "s", end)
    top = float(_TOP)
    steps = Panel(_LEFT, top, _PANEL_WIDTH, _LANE, end, 1.0)
    for each in record["steps"]:
        if each["start"] > each["ready"]:
            _bar(root, steps, each["ready"], each["start"], _STALL, f"waits before {each['name']}")
        _bar(root, steps, each["start"], each["end"], _STEP, each["name"])
    add(root, "text", kind="heading", x=_LEFT, y=top - 6, text="steps")
    top += _LANE + _GAP
    copies = Panel(_LEFT, top, _PANEL_WIDTH, _LANE, end, 1.0)
    for each in record["copies"]:
        what = f"{each['tensor']}: {each['bytes']} bytes from {each['source']} to {each['destination']}"
        _bar(root, copies, each["start"], each["end"], _COPY, what)
    add(root, "text", kind="heading", x=_LEFT, y=top - 6, text="copies")
    top += _LANE + _GAP
    for memory in fast:
        panel = Panel(_LEFT, top, _PANEL_WIDTH, _MEMORY, end, memory["bytes"] * 1.02)
        panel.axes(root, memory["name"], times if memory is fast[-1] else Axis("", times.unit), _bytes_axis(memory))
        for each in memory["stays"]:
            mark = add(root, "g", kind="step")
            add(mark, "title", text=f"{each['tensor']}\n{each['bytes']} bytes at {each['offset']}, {each['how']}")
            slot = {"written": _WRITTEN, "fetched": _FETCHED, "held": _HELD}[each["how"]]
            begin, until = _moment(record, each["start"]), _moment(record, each["end"])
            panel.bar(mark, begin, until, each["offset"], each["offset"] + each["bytes"], f"c{slot}")
        top += _MEMORY + _GAP
    return to_text(root)


def _bytes_axis(memory: Mapping[str, Any]) -> Axis:
    return axis("{}, address", "B", memory["bytes"])


def _moment(record: Mapping[str, Any], step: int) -> float:
    """When a step begins; the end of all for the one after the last."""
    steps = record["steps"]
    return steps[step]["ready"] if step < len(steps) else record["seconds"]


def _bar(root: Any, panel: Panel, begin: float, end: float, slot: int, text: str) -> None:
    mark = add(root, "g", kind="step")
    add(mark, "title", text=f"{text}\n{begin * 1e6:.4g} to {end * 1e6:.4g} µs")
    panel.bar(mark, begin, end, 0.0, 1.0, f"c{slot}")
