"""The pictures of this package as PNG: rectangles, lines and text in the colours for light surroundings."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from optc.errors import OptcError
from optc.report.svg import LIGHT, LIGHT_INKS, Element

_SIZES = {"title": 16, "heading": 13, "number": 9}
_PLAIN_SIZE = 12
_MISSING = dict.fromkeys(map(ord, "↑→"))  # from Pillow's font
_NAMESPACE = "{http://www.w3.org/2000/svg}"


def write_png(path: Path, picture: str, scale: int = 2) -> None:
    """Draw a picture of `optc.report.svg`.

    Args:
        path: of the PNG file.
        picture: the SVG text.
        scale: pixels for each unit of the picture.

    Raises:
        OptcError: Pillow is missing, or the file cannot be written.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as fault:
        hint = "pip install 'optc[memory]', or write .svg"
        raise OptcError("PNG files need Pillow", why=str(fault), hint=hint) from fault
    root = ElementTree.fromstring(picture)
    size = (int(root.get("width", "0")) * scale, int(root.get("height", "0")) * scale)
    image = Image.new("RGB", size, LIGHT_INKS["surface"])
    canvas = ImageDraw.Draw(image)
    for element in root.iter():
        kinds = (element.get("class") or "").split()
        tag = element.tag.removeprefix(_NAMESPACE)
        if tag == "rect" and (colour := _fill(kinds)):
            left, top = _number(element, "x") * scale, _number(element, "y") * scale
            right = left + max(1.0, _number(element, "width") * scale) - 1
            bottom = top + max(1.0, _number(element, "height") * scale) - 1
            canvas.rectangle((left, top, right, bottom), fill=colour)
        elif tag == "line":
            ends = tuple(_number(element, name) * scale for name in ("x1", "y1", "x2", "y2"))
            name = next((kind for kind in kinds if kind in ("grid", "peak")), "muted")
            series = [int(kind[1:]) for kind in kinds if kind[:1] == "s" and kind[1:].isdecimal()]
            canvas.line(ends, fill=LIGHT[series[0]] if series else LIGHT_INKS[name], width=scale)
        elif tag == "text" and element.text:
            letters = next((_SIZES[kind] for kind in kinds if kind in _SIZES), _PLAIN_SIZE)
            font = ImageFont.load_default(letters * scale)
            anchor = {"middle": "ms", "end": "rs"}.get(element.get("text-anchor", ""), "ls")
            anchor = "ms" if "number" in kinds else anchor
            ink = "surface" if "inside" in kinds else "ink" if {"title", "heading"} & set(kinds) else "muted"
            at = (_number(element, "x") * scale, _number(element, "y") * scale)
            text = element.text.translate(_MISSING).strip()
            canvas.text(at, text, fill=LIGHT_INKS[ink], font=font, anchor=anchor)
    try:
        image.save(path, "PNG")
    except OSError as fault:
        raise OptcError("the file cannot be written", where=str(path), why=fault.strerror) from fault


def _fill(kinds: list[str]) -> str | None:
    slots = [int(kind[1:]) for kind in kinds if kind[:1] == "c" and kind[1:].isdecimal()]
    return LIGHT[slots[0]] if slots else None


def _number(element: Element, name: str) -> float:
    return float(element.get(name, "0"))
