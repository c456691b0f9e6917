"""The precision waterline as an SVG picture: the error of each layer alone; what is above the line is in int8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.report.svg import Axis, Panel, add, document, to_text

_WIDTH, _HEIGHT, _LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT = 960, 380, 64, 96, 872, 230
_HEADROOM = 1.1
_COLOURS = {"float": 1}


def waterline_plot(record: Mapping[str, Any]) -> str | None:
    """A self-contained SVG file, or None where no layer's error alone was measured.

    Each layer is a bar of the class `step`, those that lose most first.

    Args:
        record: `precision` of an artifact's decisions.
    """
    known = [layer for layer in record["layers"] if layer["snr_alone_db"] is not None]
    if not known:
        return None
    known.sort(key=lambda layer: layer["snr_alone_db"])
    title = f"Accuracy of each layer alone in {record['format']}: decibels at the worst output, measured"
    root = document(_WIDTH, _HEIGHT, title)
    add(root, "text", kind="title", x=_LEFT, y=32, text=title)
    x = float(_LEFT)
    for text, slot in ((f"in {record['format']}", 0), ("left in float", 1)):
        add(root, "rect", kind=f"c{slot}", x=x, y=56, width=10, height=10)
        add(root, "text", x=x + 15, y=65, text=text)
        x += 15 + 6.6 * len(text) + 20
    end = _HEADROOM * max(layer["snr_alone_db"] for layer in known)
    panel = Panel(_LEFT, _TOP, _PANEL_WIDTH, _PANEL_HEIGHT, len(known), end)
    panel.axes(root, "", Axis("layer, the one that loses most first →", 1.0), Axis("dB, signal to noise", 1.0))
    for number, layer in enumerate(known):
        mark = add(root, "g", kind="step")
        add(mark, "title", text=f"{layer['name']}\n{layer['snr_alone_db']:.1f} dB alone, in {layer['precision']}")
        panel.bar(mark, number, number + 0.9, 0.0, layer["snr_alone_db"], f"c{_COLOURS.get(layer['precision'], 0)}")
    kept = [layer["snr_alone_db"] for layer in known if layer["precision"] == "float"]
    if kept and len(kept) < len(known):
        line = panel.y(max(kept))
        add(root, "line", kind="peak", x1=_LEFT, x2=_LEFT + _PANEL_WIDTH, y1=line, y2=line)
        bound = f" for {record['bound']}" if record["bound"] else ""
        add(root, "line", kind="peak", x1=x, x2=x + 12, y1=61, y2=61)
        add(root, "text", x=x + 17, y=65, text=f"{len(kept)} of {len(known)} layers stay in float{bound}")
    return to_text(root)
