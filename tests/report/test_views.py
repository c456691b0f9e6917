"""The table, the plots and the trace of a profile that was made by hand."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.cli.output import emit_table
from optc.report.plot import efficiency_plot
from optc.report.profile import Profile
from optc.report.svg import ticks
from optc.report.table import HEADER, RIGHT_COLUMNS, rows, shorten, summary
from optc.report.trace import chrome_trace

SVG = "{http://www.w3.org/2000/svg}"


def _table(profile: Profile, capsys: pytest.CaptureFixture[str], **options: object) -> str:
    emit_table(HEADER, rows(profile, **options), right=RIGHT_COLUMNS)  # type: ignore[arg-type]
    return capsys.readouterr().out.replace("\x01", "?")


def test_table_by_time(profile: Profile, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        "\n" + _table(profile, capsys, width=110)
        == """
#  step                             template         ms   share  GFLOP/s  efficiency  GB/s  predicted/measured
0  conv1, relu1                     conv2d       0.1000   50.0%     90.0       90.0%  10.0                0.80
1  …es.3/conv/conv.0/conv.0.0/Conv  conv2d       0.0500   25.0%    480.0      120.0%   8.0                1.50
4  det <&>?                         onnxruntime  0.0400   20.0%                        2.0
3  arena to output                  copy         0.0100    5.0%                       10.0
   4 steps                                       0.2000  100.0%    165.0       75.0%   7.9                1.03
"""
    )


def test_table_in_program_order(profile: Profile, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _table(profile, capsys, order="source", top=3, width=200).splitlines()
    assert [line.split()[0] for line in lines] == ["#", "0", "1", "3", "4"]  # the last one is "4 steps"
    assert "/features/features.3/conv/conv.0/conv.0.0/Conv" in lines[2]
    assert lines[-1].split()[2:4] == ["0.2000", "100.0%"]


def test_summary(profile: Profile) -> None:
    assert summary(profile) == [
        ("latency", "0.220 ms, middle half of 20 runs on 1 thread"),
        ("steps", "0.200 ms; the rest of a run takes 0.020 ms"),
        ("efficiency", "68.2% of the peak over the latency; 75.0% in the steps"),
        ("peak", "100.0 GFLOP/s on 1 thread: measured on paper"),
        ("predictions", "for 2 threads"),
    ]


@pytest.mark.parametrize(
    ("label", "width", "short"),
    [
        ("conv1, relu1", 12, "conv1, relu1"),
        ("conv1, relu1", 11, "conv1 +1"),
        ("conv1, relu1, add", 14, "conv1 +2"),
        ("conv1, relu1, add", 15, "conv1, relu1 +1"),
        ("a/long/name", 6, "…/name"),
        ("a/long/name, relu", 8, "…name +1"),
    ],
)
def test_shorten(label: str, width: int, short: str) -> None:
    assert shorten(label, width) == short


def test_every_step_is_a_mark(profile: Profile) -> None:
    root = ElementTree.fromstring(efficiency_plot(profile))
    assert root.tag == f"{SVG}svg"
    charts = {item.get("class"): item for item in root.findall(f"{SVG}g")}
    marks = {name: chart.findall(f"{SVG}g[@class='step']") for name, chart in charts.items()}
    assert len(marks["efficiency-gap"]) == 4
    assert len(marks["waterline"]) == 2  # those with arithmetic
    titles = [mark.findtext(f"{SVG}title") for mark in marks["efficiency-gap"]]
    assert titles[0] == (
        "#0 conv1, relu1\nconv2d: onnx.Conv, onnx.Relu\n100 µs, 90 GFLOP/s, 90.0% of the peak, 10 GB/s"
    )
    assert titles[3] is not None and titles[3].startswith("#4 det <&>\ufffd\n")
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
    assert not [item for item in root.iter() if any("href" in name for name in item.keys())]


def test_bars_are_as_wide_as_the_steps_take_and_as_high_as_they_compute(profile: Profile) -> None:
    root = ElementTree.fromstring(efficiency_plot(profile))
    chart = root.find(f"{SVG}g[@class='efficiency-gap']")
    assert chart is not None
    bars = [mark.findall(f"{SVG}rect") for mark in chart.findall(f"{SVG}g[@class='step']")]
    starts = [float(group[0].get("x", "")) for group in bars]
    width = 872
    assert starts == pytest.approx([64, 64 + width * 0.5, 64 + width * 0.75, 64 + width * 0.8], abs=0.01)
    full, exceeding = bars[0], bars[1]
    heights = [float(bar.get("height", "")) for bar in full]
    assert heights[0] / sum(heights) == pytest.approx(0.9, abs=1e-3)  # the rest is the gap
    assert len(exceeding) == 1 and len(bars[2]) == 2 and bars[2][0].get("height") == "0"


def test_nothing_to_draw(profile: Profile) -> None:
    empty = Profile("empty", profile.machine, 1, 1e-6, 1, ())
    root = ElementTree.fromstring(efficiency_plot(empty))
    assert not [item for item in root.iter() if item.get("class") == "step"]
    assert rows(empty)[0][1] == "0 steps"
    assert json.loads(chrome_trace(empty))["otherData"]["efficiency"] == 0


def test_trace_events_do_not_overlap(profile: Profile) -> None:
    content = json.loads(chrome_trace(profile))
    events = [event for event in content["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in events] == [step.label for step in profile.executed]
    spans = [(round(event["ts"] * 1000), round(event["dur"] * 1000)) for event in events]
    assert spans == [(0, 100_000), (100_000, 50_000), (150_000, 10_000), (160_000, 40_000)]
    assert all({"name", "ph", "ts", "dur", "pid", "tid", "args"} <= event.keys() for event in events)
    assert events[0]["cat"] == "conv2d" and events[0]["args"]["efficiency"] == pytest.approx(0.9)
    assert events[0]["args"]["predicted_us"] == pytest.approx(80) and events[2]["args"]["predicted_us"] is None


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.floats(1e-12, 1e18))
def test_ticks_are_round_and_few(end: float) -> None:
    found = list(ticks(end))
    assert 2 <= len(found) <= 9 and found[0] == 0
    assert found[-1] <= end * (1 + 1e-9) < found[-1] + 1.01 * found[1]
    mantissa = found[1] / 10.0 ** math.floor(math.log10(found[1]) + 1e-9)
    assert min(abs(mantissa - round_number) for round_number in (1, 2, 5)) < 1e-6
