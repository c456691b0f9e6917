"""Predicted against measured as an SVG picture: a dot a row, the diagonal, and the band of ±10% around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from optc.report.svg import SLOTS, Axis, Panel, add, document, to_text

_SIZE, _LEFT, _TOP, _PANEL = 640, 72, 96, 480
_BAND = 0.10
_MOST = 4000  # dots; more make the file large and the picture no clearer


def scatter_plot(
    title: str, measured: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], groups: Sequence[str] = ()
) -> str:
    """A self-contained SVG file; one unit on both axes.

    Args:
        title: of the picture.
        measured: shape (n,), along the horizontal axis.
        predicted: shape (n,), along the vertical axis.
        groups: a label for each row, shown as colours; or nothing.
    """
    root = document(_SIZE, _SIZE, title)
    add(root, "text", kind="title", x=_LEFT, y=32, text=title)
    end = 1.02 * float(max(np.quantile(measured, 0.999), np.quantile(predicted, 0.999)))
    panel = Panel(_LEFT, _TOP, _PANEL, _PANEL, end, end)
    panel.axes(root, f"{len(measured)} measurements", Axis("measured →", 1.0), Axis("predicted", 1.0))
    for slope in (1.0 - _BAND, 1.0, 1.0 + _BAND):
        along = min(end, end / slope)
        kind = "peak" if slope == 1.0 else "axis"
        add(root, "line", kind=kind, x1=panel.x(0), y1=panel.y(0), x2=panel.x(along), y2=panel.y(along * slope))
    labels = list(groups) or [""] * len(measured)
    names = sorted(set(labels), key=lambda name: (-labels.count(name), name))
    colours = {name: min(rank, SLOTS - 1) for rank, name in enumerate(names)}
    dots = add(root, "g", kind="dots")
    for row in range(0, len(measured), -(-len(measured) // _MOST)):
        x, y = float(min(measured[row], end)), float(min(predicted[row], end))
        kind = f"c{colours[labels[row]]}"
        add(dots, "circle", kind=kind, cx=panel.x(x), cy=panel.y(y), r=2, fill_opacity=0.5)
    if len(names) > 1:
        for rank, name in enumerate(names[:SLOTS]):
            add(root, "circle", kind=f"c{rank}", cx=_LEFT + 90 * rank, cy=56, r=4)
            add(root, "text", x=_LEFT + 90 * rank + 8, y=60, text=name if rank < SLOTS - 1 else "others")
    return to_text(root)
