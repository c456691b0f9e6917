"""The HTML page of a profile: what it holds, and that it needs nothing else."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from optc.report.page import PLAN_HEADER, REMARK_HEADER, html_page, plan_rows, remark_rows
from optc.report.profile import Profile
from optc.report.table import HEADER

EVIL = "<script>alert(1)</script> & 'x'"
DECISIONS: dict[str, Any] = {
    "kernels": [
        {
            "symbol": "k0",
            "template": "conv2d",
            "schedule": {"vectors": 2, "columns": 4},
            "predicted_seconds": 90e-6,
            "measured_seconds": 99e-6,
            "runner_up": {
                "template": "winograd",
                "schedule": {"m": 4},
                "predicted_seconds": 70e-6,
                "measured_seconds": 120e-6,
            },
            "candidates": 9,
            "timed": 2,
            "reason": "fastest of 2 measured of 9 points",
        },
        {
            "symbol": "k1",
            "template": "conv2d",
            "schedule": {},
            "predicted_seconds": 40e-6,
            "measured_seconds": None,
            "runner_up": None,
            "reason": EVIL,
        },
        {"symbol": "k2", "template": "pointwise", "schedule": {}},
    ],
    "remarks": [
        {
            "pass": "fuse",
            "status": "missed",
            "what": "merge",
            "reason": EVIL,
            "nodes": [f"n{i}" for i in range(8)],
            "predicted": {"seconds": 1 / 3, "count": 2},
        }
    ],
}


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


def test_the_tables(profile: Profile) -> None:
    tables = Reader(html_page(profile, DECISIONS)).tables
    assert list(tables) == ["steps", "plan", "remarks"]
    steps, plan, remarks = tables.values()
    assert steps[0] == list(HEADER) and len(steps) == 1 + len(profile.executed) + 1
    assert plan[0] == list(PLAN_HEADER) and remarks[0] == list(REMARK_HEADER)
    assert plan[1] == [
        "0 conv1, relu1",
        "Conv, Relu",
        "conv2d (columns 4, vectors 2)",
        "90 µs",
        "99 µs",
        "winograd (m 4)",
        "120 µs",
        "fastest of 2 measured of 9 points",
    ]
    assert plan[2][2:8] == ["conv2d", "40 µs", "", "", "", EVIL]
    assert len(plan) == 3  # the branch that was not taken, the copy and the fallback have no kernel to choose
    cells = [cell.strip() for cell in remarks[1]]
    assert cells == ["fuse", "merge (missed)", "n0, n1, n2, n3, n4, n5 and 2 more", "seconds 0.3333, count 2", EVIL]


def test_the_page_needs_nothing_else(profile: Profile) -> None:
    page = html_page(profile, DECISIONS)
    tags = Reader(page).tags
    assert [tag for tag, _ in tags].count("svg") == 1
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in tags)
    assert not [name for _, attributes in tags for name in attributes if name in ("src", "href", "xmlns")]
    assert "url(" not in page and "@import" not in page and "http" not in page
    assert "prefers-color-scheme: dark" in page and page.startswith("<!doctype html>\n")
    assert "\x01" not in page


def test_artifacts_that_say_less(profile: Profile) -> None:
    assert plan_rows(profile, {}) == [] == remark_rows({})
    assert "Decisions of the passes (0)" in html_page(profile, {})


def test_precisions_have_a_row_for_each_layer(profile: Profile) -> None:
    kept = {"name": "first", "precision": "float", "reason": "kept in float by the user", "snr_alone_db": None}
    coded = {
        "name": "second", "precision": "int8", "reason": "", "snr_alone_db": 41.26, "integer_seconds": 1.5e-6,
        "float_seconds": 4e-6,
    }  # fmt: skip
    page = html_page(profile, {"precision": {"layers": [kept, coded]}})
    assert Reader(page).tables["precision"][1:] == [
        ["first", "float", "", "", "", "kept in float by the user"],
        ["second", "int8", "41.3 dB", "1.5 µs", "4.0 µs", ""],
    ]
