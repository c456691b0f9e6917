"""The Pareto plot and its page."""

from __future__ import annotations

from xml.etree import ElementTree

from optc.report.pareto import FrontPoint, pareto_plot, quantization_page

POINTS = (
    FrontPoint(1.0, 20.0, 21.0, {"int8": 2}),
    FrontPoint(2.0, 30.0, 29.0, {"int8": 1, "float": 1}, chosen=True),
    FrontPoint(4.0, float("inf"), float("inf"), {"float": 2}),
)


def test_cheaper_is_left_and_more_exact_is_higher() -> None:
    root = ElementTree.fromstring(pareto_plot("<m> & co", "ms", POINTS))
    space = {"svg": "http://www.w3.org/2000/svg"}
    marks = root.findall(".//svg:g[@class='point']/svg:circle", space)
    places = [(float(mark.get("cx", "nan")), float(mark.get("cy", "nan"))) for mark in marks]
    assert len(places) == 3
    assert places == sorted(places) and [y for _, y in places] == sorted((y for _, y in places), reverse=True)
    titles = [title.text for title in root.findall(".//svg:g[@class='point']/svg:title", space)]
    assert titles == ["1 ms, 20.0 dB: 2 int8", "2 ms, 30.0 dB: 1 int8, 1 float", "4 ms, exact: 2 float"]


def test_the_page_lists_points_and_layers() -> None:
    page = quantization_page("m", "latency", "ms", [("noise", "30 dB")], POINTS, [("conv<1>", "int8", "cheapest")])
    assert page.startswith("<!doctype html>") and "conv&lt;1&gt;" in page and "1 int8, 1 float (chosen)" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
