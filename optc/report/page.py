"""What the HTML pages are made of: one file each, which needs nothing else, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from optc.report.svg import Element, add

PRECISION_HEADER = ("layer", "precision", "error alone", "integers, predicted", "floats, predicted", "why")
PRECISION_RIGHT = (2, 3, 4)
REMARK_HEADER = ("pass", "what", "nodes", "predicted", "why")
_MICROSECONDS = 1e6
_MOST_NAMES = 6

# The colours are those of the plots, whose variables stand in the page's root.
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 1100px; padding: 24px; background: var(--surface); color: var(--ink);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 12px; }
h2 { font-size: 16px; margin: 32px 0 8px; }
p, dt, caption { color: var(--muted); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0 0 20px; }
dd { margin: 0; }
.wide { overflow-x: auto; }
.wide svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; width: 100%; }
th { text-align: left; color: var(--muted); font-weight: 600; position: sticky; top: 0; background: var(--surface); }
th, td { padding: 4px 8px; border-bottom: 1px solid var(--grid); vertical-align: top; }
td { overflow-wrap: anywhere; }
.right { text-align: right; white-space: nowrap; overflow-wrap: normal; }
.all td { border-top: 2px solid var(--muted); font-weight: 600; }
summary { cursor: pointer; font-size: 16px; font-weight: 600; margin: 32px 0 8px; }
"""


def precision_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """What each layer became with calibration data, and why."""
    return [
        [
            layer["name"],
            layer["precision"],
            "" if layer["snr_alone_db"] is None else f"{layer['snr_alone_db']:.1f} dB",
            *(
                f"{_MICROSECONDS * layer[name]:.1f} µs" if name in layer else ""
                for name in ("integer_seconds", "float_seconds")
            ),
            layer["reason"],
        ]
        for layer in record["layers"]
    ]


def new_page(title: str, heading: str | None = None) -> tuple[Element, Element]:
    """An empty page with the style of all of them: its root and its body."""
    root = ElementTree.Element("html", {"lang": "en"})
    head = add(root, "head")
    add(head, "meta", charset="utf-8")
    add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "title", text=title)
    add(head, "style", text=_STYLE)
    body = add(root, "body")
    add(body, "h1", text=heading or title)
    return root, body


def page_text(root: Element) -> str:
    """The file's content."""
    return "<!doctype html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def add_picture(parent: Element, picture: str) -> None:
    """Append an SVG document."""
    add(parent, "div", kind="wide").append(ElementTree.fromstring(_without_namespace(picture)))


def _without_namespace(picture: str) -> str:
    """HTML knows where svg elements belong; ElementTree would write prefixes."""
    return picture.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)


def add_table(
    parent: Element, header: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[int], kind: str
) -> list[Element]:
    """Append a table and return its rows, the header left out."""
    table = add(add(parent, "div", kind="wide"), "table", kind=kind)
    _row(add(table, "thead"), "th", header, right)
    body = add(table, "tbody")
    return [_row(body, "td", row, right) for row in cells]


def _row(parent: Element, tag: str, cells: Sequence[str], right: Sequence[int]) -> Element:
    row = add(parent, "tr")
    for column, text in enumerate(cells):
        add(row, tag, kind="right" if column in right else None, text=text)
    return row


def remark_rows(decisions: Mapping[str, Any]) -> list[list[str]]:
    """The cells below REMARK_HEADER, in the order in which the passes ran."""
    found = []
    for remark in decisions.get("remarks", ()):
        names = remark["nodes"]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        predicted = ", ".join(f"{name} {_figure(value)}" for name, value in remark["predicted"].items())
        what = remark["what"] if remark["status"] == "applied" else f"{remark['what']} ({remark['status']})"
        found.append([remark["pass"], what, ", ".join(names[:_MOST_NAMES]) + more, predicted, remark["reason"]])
    return found


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
