"""What the plots are drawn with: an SVG document that stands alone, and panels with axes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

Element = ElementTree.Element

SLOTS = 7
"""Series colours; the last one is for what is left over."""

LIGHT = ("#2f6fc4", "#d9702a", "#1f8a70", "#8a56b8", "#b8981c", "#c24a7a", "#6b7a8f")
_DARK = ("#6aa5f2", "#f09a5c", "#46b99c", "#b48be0", "#d8bc4a", "#e684ab", "#94a3b8")
LIGHT_INKS = {"surface": "#ffffff", "ink": "#1c2128", "muted": "#5b6572", "grid": "#e3e7ec", "peak": "#b3261e"}
_DARK_INKS = {"surface": "#14181d", "ink": "#e8ecf1", "muted": "#9aa5b1", "grid": "#2b323a", "peak": "#ff8a80"}
_RULES = """
svg { background: var(--surface); font-family: system-ui, sans-serif; font-size: 12px; }
text { fill: var(--muted); }
.title { fill: var(--ink); font-size: 16px; font-weight: 600; }
.heading { fill: var(--ink); font-size: 13px; font-weight: 600; }
.number { font-size: 9px; text-anchor: middle; }
.inside { fill: var(--surface); }
.grid { stroke: var(--grid); }
.axis { stroke: var(--muted); }
.peak { stroke: var(--peak); stroke-width: 1.5; }
.gap { fill-opacity: 0.18; }
.step:hover { opacity: 0.75; }
"""

# Characters that XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(width: int, height: int, title: str) -> Element:
    """An empty picture with colours for light and for dark surroundings."""
    size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img"})
    add(root, "title", text=title)
    dark = f"@media (prefers-color-scheme: dark) {{ {_variables(_DARK, _DARK_INKS)} }}"
    fills = "\n".join(
        f".c{slot} {{ fill: var(--c{slot}); }}\n.s{slot} {{ stroke: var(--c{slot}); stroke-width: 1.3; }}"
        for slot in range(SLOTS)
    )
    add(root, "style", text=f"\n{_variables(LIGHT, LIGHT_INKS)}\n{dark}{_RULES}{fills}\n")
    add(root, "rect", width=width, height=height, style="fill: var(--surface)")
    return root


def _variables(series: tuple[str, ...], inks: dict[str, str]) -> str:
    named = {**inks, **{f"c{slot}": colour for slot, colour in enumerate(series)}}
    return f":root {{ {' '.join(f'--{name}: {colour};' for name, colour in named.items())} }}"


def add(
    parent: Element, tag: str, *, text: str | None = None, kind: str | None = None, **attributes: object
) -> Element:
    """Append an element of the class `kind`; numbers are rounded to a hundredth, `_` in names stands for `-`."""
    named = {"class": kind, **attributes} if kind else attributes
    element = ElementTree.SubElement(
        parent, tag, {name.replace("_", "-"): _plain(value) for name, value in named.items()}
    )
    if text is not None:
        element.text = _FORBIDDEN.sub("\ufffd", text)
    return element


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def to_text(root: Element) -> str:
    """The file's content."""
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


@dataclass(frozen=True)
class Panel:
    """A rectangle with data coordinates from 0 to `x_end` and from 0 to `y_end`."""

    left: float
    top: float
    width: float
    height: float
    x_end: float
    y_end: float

    def x(self, value: float) -> float:
        return self.left + self.width * (value / self.x_end if self.x_end else 0.0)

    def y(self, value: float) -> float:
        return self.top + self.height * (1.0 - (value / self.y_end if self.y_end else 0.0))

    def bar(self, parent: Element, begin: float, end: float, low: float, high: float, kind: str) -> Element:
        """A rectangle in data coordinates; a narrow gap parts it from the next one where there is room."""
        width = self.x(end) - self.x(begin)
        width -= 0.5 if width > 3 else 0.0
        height = self.y(low) - self.y(high)
        return add(parent, "rect", kind=kind, x=self.x(begin), y=self.y(high), width=width, height=height)

    def axes(self, parent: Element, heading: str, x_axis: Axis, y_axis: Axis) -> None:
        """The heading, grid lines with their values, and the names of the axes."""
        right, bottom = self.left + self.width, self.top + self.height
        add(parent, "text", kind="heading", x=self.left, y=self.top - 14, text=heading)
        for value in ticks(self.y_end):
            y = self.y(value)
            add(parent, "line", kind="grid", x1=self.left, x2=right, y1=y, y2=y)
            add(parent, "text", x=self.left - 6, y=y + 4, text_anchor="end", text=y_axis.text(value))
        for value in ticks(self.x_end):
            add(parent, "text", x=self.x(value), y=bottom + 16, text_anchor="middle", text=x_axis.text(value))
        add(parent, "line", kind="axis", x1=self.left, x2=right, y1=bottom, y2=bottom)
        add(parent, "text", x=right, y=bottom + 32, text_anchor="end", text=x_axis.name)
        add(parent, "text", x=right, y=self.top - 14, text_anchor="end", text=f"↑ {y_axis.name}")


@dataclass(frozen=True)
class Axis:
    """A name, and the unit that its values are shown in."""

    name: str
    unit: float

    def text(self, value: float) -> str:
        return f"{value / self.unit:.4g}"


def axis(name: str, unit: str, end: float) -> Axis:
    """`name` (with `{}` for the unit) in the decimal multiple of a unit that suits values up to `end`."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6)):
        if end >= factor:
            return Axis(name.format(prefix + unit), factor)
    return Axis(name.format("n" + unit), 1e-9)


def ticks(end: float, most: int = 8) -> Iterator[float]:
    """Multiples of 1, 2 or 5 times a power of ten from 0 to `end`, about `most` of them at most."""
    if not end > 0 or not math.isfinite(end):
        return
    power = 10.0 ** math.floor(math.log10(end / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if end / (factor * power) <= most)
    for count in range(int(end / step * (1 + 1e-9)) + 1):
        yield count * step
