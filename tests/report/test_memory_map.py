"""The picture of an arena: every buffer at its place, the worst step marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from optc.report.memory_map import bytes_by_kind, kinds_text, memory_plot, worst_step
from optc.report.raster import write_png
from optc.report.svg import LIGHT

SVG = "{http://www.w3.org/2000/svg}"


def _buffer(name: str, start: int, end: int, offset: int, size: int, kind: str = "value") -> dict[str, Any]:
    return {"name": name, "kind": kind, "start": start, "end": end, "offset": offset, "bytes": size}


MEMORY = {
    "arena_bytes": 3072,
    "lower_bound": 3072,
    "least": 3072,
    "solver": "by-size",
    "steps": ["conv <1>", "relu", "add"],
    "buffers": [
        _buffer("x", 0, 2, 0, 1024),
        _buffer("work", 1, 2, 1024, 1024, "scratch"),
        _buffer("y", 1, 3, 2048, 1024),
        _buffer("z", 2, 4, 0, 512),
    ],
}


def test_each_buffer_lies_where_the_plan_puts_it() -> None:
    root = ElementTree.fromstring(memory_plot("net", MEMORY))
    marks = [each for each in root.iter(f"{SVG}g") if each.get("class") == "step"]
    titles = [mark.findtext(f"{SVG}title") for mark in marks]
    assert titles[1] == "work\n1.02 kB at 1024, step 1"
    assert titles[2] == "y\n1.02 kB at 2048, steps 1 to 2"
    boxes = [mark.find(f"{SVG}rect") for mark in marks]
    x, work, y, z = ({name: float(box.get(name, 0)) for name in ("x", "y", "width", "height")} for box in boxes)  # type: ignore[union-attr]
    assert x["x"] < work["x"] == y["x"] < z["x"]
    assert y["y"] < work["y"] < x["y"]
    assert abs(x["width"] - 2 * (work["width"] + 0.5) + 0.5) < 0.1
    assert [box.get("class") for box in boxes] == ["c1", "c4", "c1", "c6"]  # type: ignore[union-attr]


def test_the_worst_step() -> None:
    assert worst_step(MEMORY) == 1
    assert worst_step({**MEMORY, "buffers": [], "steps": []}) is None


def test_an_arena_without_buffers_is_drawn() -> None:
    empty = {**MEMORY, "buffers": [], "steps": [], "arena_bytes": 0, "lower_bound": 0}
    assert "an arena of 0 B" in memory_plot("net", empty)


def test_bytes_by_kind() -> None:
    assert bytes_by_kind(MEMORY, 1) == {"value": 2048, "scratch": 1024}
    assert kinds_text(MEMORY, 1) == "2.05 kB of values, 1.02 kB of scratch"
    assert "step 1, relu: 2.05 kB of values, 1.02 kB of scratch" in memory_plot("net", MEMORY)


def test_a_png_shows_the_same_boxes(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = memory_plot("net", MEMORY)
    write_png(tmp_path / "m.png", picture, scale=1)
    with image.open(tmp_path / "m.png") as drawn:
        root = ElementTree.fromstring(picture)
        assert drawn.size == (int(root.get("width", "0")), int(root.get("height", "0")))
        for mark in root.iter(f"{SVG}g"):
            box = mark.find(f"{SVG}rect")
            if mark.get("class") == "step" and box is not None:
                x, y, width, height = (float(box.get(name, 0)) for name in ("x", "y", "width", "height"))
                slot = int((box.get("class") or "c0")[1:])
                expected = tuple(int(LIGHT[slot][i : i + 2], 16) for i in (1, 3, 5))
                assert drawn.getpixel((int(x + width / 4), int(y + height / 4))) == expected
