"""The page of an artifact made by hand: what it holds, that nothing gets out of its place, and that it stands alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from optc.errors import OptcError
from optc.report.explanation import Explanation, dtype_of, explanation
from optc.report.page import REMARK_HEADER, remark_rows
from optc.report.profile import Profile
from optc.report.report import report_page
from optc.report.subject import layout_text, subject
from optc.report.table import HEADER as STEP_HEADER

EVIL = "</script><script>alert(1)</script> & 'x'"
F32 = "tensor<1x16x8x8xf32, block(1, 8)>"


def value(name: str, offset: int = 0, size: int = 64) -> dict[str, Any]:
    return {"name": name, "type": F32, "space": "arena", "offset": offset, "bytes": size}


def step(label: str, symbol: str, template: str, operations: list[str], **more: Any) -> dict[str, Any]:
    nodes = [] if template == "copy" else label.split(", ")
    body = [{"op": op, "nodes": nodes[i : i + 1], "results": []} for i, op in enumerate(operations)]
    facts = {"flops": 10, "dtype": None, "bytes": 80, "predicted_seconds": None, "reads": [], "writes": []}
    return {
        "label": label, "symbol": symbol, "template": template, "operations": operations, "nodes": nodes, "body": body,
        **facts, **more,
    }  # fmt: skip


def kernel(symbol: str, **more: Any) -> dict[str, Any]:
    own = {"template": "conv2d", "schedule": {}, "predicted_seconds": 40e-6, "measured_seconds": None}
    return {"symbol": symbol, **own, "runner_up": None, "candidates": 1, "timed": 0, "reason": EVIL, **more}


WINOGRAD = {"template": "winograd", "schedule": {"m": 4}, "predicted_seconds": 70e-6, "measured_seconds": 120e-6}
DECISIONS: dict[str, Any] = {
    "threads": 1,
    "kernels": [
        kernel(
            "k0", schedule={"vectors": 2, "columns": 4}, predicted_seconds=90e-6, measured_seconds=99e-6,
            runner_up=WINOGRAD, candidates=9, timed=2, reason="fastest of 2 measured of 9 points",
        ),
        kernel("k1"),
        kernel("k2", template="pointwise", reason="the only point"),
    ],
    "steps": [
        step("conv1, relu1", "k0", "conv2d", ["onnx.Conv", "onnx.Relu"], predicted_seconds=80e-6, writes=[value("r")]),
        step("b", "k1", "conv2d", ["onnx.ConvInteger"], predicted_seconds=75e-6, reads=[value("r")]),
        step("c", "k2", "pointwise", ["onnx.Neg"], predicted_seconds=1e-6),
        step("arena to output", "copy", "copy", []),
        step(EVIL, "fallback_0.onnx", "onnxruntime", ["onnx.Det"], reason=f"no native code {EVIL}"),
    ],
    "views": [],
    "source": [
        {"op": "onnx.Conv", "nodes": ["conv1"], "reads": ["x"], "results": [{"name": "c1", "type": "tensor<4xf32>"}]},
        {"op": "onnx.Relu", "nodes": ["relu1"], "reads": ["c1"], "results": [{"name": "r", "type": "tensor<4xf32>"}]},
        {"op": "onnx.Det", "nodes": [EVIL], "reads": ["r"], "results": [{"name": "d", "type": "tensor<f32>"}]},
    ],
    "memory": {
        "arena_bytes": 64, "lower_bound": 64, "steps": ["'conv1', 'relu1'", "'b'"],
        "buffers": [{"name": "r", "kind": "value", "start": 0, "end": 2, "offset": 0, "bytes": 64}],
    },
    "remarks": [
        {
            "pass": "fuse", "status": "missed", "what": "boundary", "reason": "Conv and ConvInteger are two loop nests",
            "nodes": ["relu1", "b"], "predicted": {},
        },
        {
            "pass": "fuse", "status": "missed", "what": "merge", "reason": EVIL, "nodes": [f"n{i}" for i in range(8)],
            "predicted": {"seconds": 1 / 3, "count": 2},
        },
    ],
}  # fmt: skip


def explained(profile: Profile | None = None, **more: Any) -> Explanation:
    cost = {"predicted_seconds": 156e-6, "basis": ["roofline"]}
    return explanation("net", "cpu", cost, "optc compile net.onnx", {**DECISIONS, **more}, profile)


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the cells of each table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._rows = self.tables.setdefault(str(dict(attrs)["class"]), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = []

    def handle_data(self, data: str) -> None:
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += data


def test_the_plan_has_a_row_for_each_step(profile: Profile) -> None:
    tables = Reader(report_page(explained(profile))).tables
    assert list(tables) == ["plan", "fallbacks", "steps", "remarks"]
    plan = tables["plan"]
    assert plan[0] == [
        "#", "kernel", "made by", "precision", "predicted", "in a run (measured)", "runner-up", "why",
    ]  # fmt: skip
    assert plan[1] == [
        "0",
        "conv1, relu1",
        "conv2d (columns 4, vectors 2)",
        "f32",
        "80 µs",
        "100 µs",
        "winograd (m 4), 120 µs measured",
        "fastest of 2 measured of 9 points: 99 µs measured",
    ]
    assert plan[2][3:] == ["int8", "75 µs", "50 µs", "", f"{EVIL}: 40 µs predicted"]
    assert plan[4][1:3] == ["copy arena to output", "copy"] and plan[5][7] == f"no native code {EVIL}"
    assert tables["steps"][0] == list(STEP_HEADER) and len(tables["steps"]) == 1 + len(profile.executed) + 1
    assert tables["fallbacks"][1:] == [["onnxruntime", f"no native code {EVIL}: {EVIL}"]]


def test_without_a_profile_nothing_is_called_measured_in_a_run() -> None:
    page = report_page(explained())
    assert Reader(page).tables["plan"][0] == ["#", "kernel", "made by", "precision", "predicted", "runner-up", "why"]
    assert "not measured here" in page and "Measured on this machine" not in page


def test_the_page_needs_nothing_else(profile: Profile) -> None:
    page = report_page(explained(profile))
    tags = Reader(page).tags
    assert {"link", "img", "iframe", "object"}.isdisjoint(tag for tag, _ in tags)
    assert not [name for _, attributes in tags for name in attributes if name in ("src", "xmlns")]
    assert all(str(attributes["href"]).startswith("#") for _, attributes in tags if "href" in attributes)
    assert "url(" not in page and "@import" not in page and "http" not in page and "fetch(" not in page
    assert "prefers-color-scheme: dark" in page and page.startswith("<!doctype html>\n") and "\x01" not in page


def test_no_name_leaves_its_place() -> None:
    page = report_page(explained())
    tags = [tag for tag, _ in Reader(page).tags]
    assert tags.count("script") == 2 and "alert" not in tags
    known = json.loads(re.findall(r'<script type="application/json" id="known">(.*?)</script>', page, re.S)[0])
    assert known["s2"]["title"] == f"Det {EVIL}" and known["s2"]["steps"] == ["k4"]
    assert dict(known["k0"]["facts"])["stored"].startswith(
        "'r' at bytes 0 to 64 of the arena (64 B), live from 'conv1' …"
    )


def test_the_remarks_are_all_there() -> None:
    rows = Reader(report_page(explained())).tables["remarks"]
    assert rows[0] == list(REMARK_HEADER) and len(rows) == 3
    cells = [cell.strip() for cell in rows[2]]
    assert cells == ["fuse", "merge (missed)", "n0, n1, n2, n3, n4, n5 and 2 more", "seconds 0.3333, count 2", EVIL]
    assert remark_rows({}) == []


def test_precisions_have_a_row_for_each_layer() -> None:
    kept = {"name": "first", "precision": "float", "reason": "kept in float by the user", "snr_alone_db": None}
    coded = {
        "name": "second", "precision": "int8", "reason": "", "snr_alone_db": 41.26, "integer_seconds": 1.5e-6,
        "float_seconds": 4e-6,
    }  # fmt: skip
    record = {"format": "int8", "quantized": 1, "layers": [kept, coded], "bound": None, "quality": None}
    page = report_page(explained(precision=record))
    assert Reader(page).tables["precision"][1:] == [
        ["first", "float", "", "", "", "kept in float by the user"],
        ["second", "int8", "41.3 dB", "1.5 µs", "4.0 µs", ""],
    ]
    assert "Accuracy of each layer alone in int8: decibels at the worst output, measured" in page


def test_neighbours_are_named_with_what_parts_them() -> None:
    facts = dict(subject(explained(), "conv1").facts)
    assert facts["apart from #1"] == "'b' (reads its result): Conv and ConvInteger are two loop nests"
    assert facts["time"] == "80 µs predicted, 51.3% of all steps (predicted)"


def test_plans_of_an_older_optc_are_refused() -> None:
    older = {name: value for name, value in DECISIONS.items() if name != "source"}
    with pytest.raises(OptcError) as caught:
        explanation("net", "cpu", {}, "", older)
    assert (caught.value.what, caught.value.hint) == (
        "the artifact does not say where operations went",
        "compile the model again",
    )


@pytest.mark.parametrize(
    ("text", "dtype", "layout"),
    [
        (F32, "f32", "axis 1 in blocks of 8"),
        ("tensor<u8>", "u8", "plain, row by row"),
        ("tensor<batchx(floor(seq/2) + 1)xi64, permute(1, 0)>", "i64", "axes in the order 1, 0"),
    ],
)
def test_types_are_put_in_words(text: str, dtype: str, layout: str) -> None:
    assert (dtype_of(text), layout_text(text)) == (dtype, layout)
