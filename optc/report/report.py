"""What became of a model, as one HTML page that needs nothing else: graphs, plan, times, precision, memory, and why."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from optc.passes.quantization.search.pareto import front
from optc.report.cumulative import cumulative_plot
from optc.report.explanation import Explanation
from optc.report.graph_view import PRECISIONS, kernel_graph, precision_slot, source_graph
from optc.report.listing import HEADER, RIGHT_COLUMNS, facts, fallen_back, plan_rows
from optc.report.memory_map import memory_plot
from optc.report.page import (
    PRECISION_HEADER,
    PRECISION_RIGHT,
    REMARK_HEADER,
    add_picture,
    add_table,
    new_page,
    page_text,
    precision_rows,
    remark_rows,
)
from optc.report.pareto import FrontPoint, pareto_plot
from optc.report.plot import efficiency_plot
from optc.report.subject import kernel_facts, own_facts
from optc.report.suggestions import suggestions
from optc.report.svg import Element, add
from optc.report.table import HEADER as STEP_HEADER
from optc.report.table import RIGHT_COLUMNS as STEP_RIGHT
from optc.report.table import rows, summary
from optc.report.units import seconds_text, size_text
from optc.report.waterline import waterline_plot

_UNLIMITED = 10_000  # characters of a label: the browser breaks lines
_TIMES = {4: "predicted", 5: "measured"}
_LEAD = (
    "Every time says what it is. Predicted: by the cost model, for the kernel in its place in the program. Measured: "
    "in a run of the whole on this machine. The reason of a choice and its runner-up have the times of the kernel "
    "alone on one core, its weights not in the caches, which decided: measured while tuning, or predicted."
)


def report_page(explanation: Explanation) -> str:
    """The text of the page; what is not known of an artifact has no section."""
    root, body = new_page(f"{explanation.name}: what became of it", explanation.name)
    body.set("class", "report")
    head = root.find("head")
    assert head is not None
    add(head, "style", text=_resource("report.css"))
    _facts(body, facts(explanation))
    add(body, "p", kind="lead", text=_LEAD)
    bar = add(body, "nav")
    for title, fill in _SECTIONS:
        section = add(body, "section")
        if not fill(section, explanation):
            body.remove(section)
            continue
        name = title.lower().replace(" ", "-")
        section.set("id", name)
        heading = add(section, "h2", text=title)
        section.remove(heading)
        section.insert(0, heading)
        add(bar, "a", href=f"#{name}", text=title)
    add(body, "script", type="application/json", id="known", text=_json(_known(explanation)))
    add(body, "script", text=_resource("report.js"))
    return page_text(root)


def _resource(name: str) -> str:
    return (files("optc.report") / name).read_text(encoding="utf-8")


def _json(content: Any) -> str:
    """As the text of a script element, which nothing in it can end."""
    return json.dumps(content, ensure_ascii=True).replace("<", "\\u003c")


def _known(explanation: Explanation) -> dict[str, Any]:
    """By the key of a box, what the page shows beside the graph."""
    found: dict[str, Any] = {}
    for step in explanation.steps:
        found[f"k{step.index}"] = {
            "title": f"#{step.index} {step.template}",
            "facts": kernel_facts(explanation, step),
            "names": " ".join([*step.nodes, *step.operations, *(value["name"] for value in step.writes)]),
            "seconds": step.seconds or 0.0,
        }
    for number, each in enumerate(explanation.source):
        name = each["nodes"][0] if each["nodes"] else ""
        steps = explanation.steps_of.get(name, [])
        found[f"s{number}"] = {
            "title": f"{each['op'].split('.')[-1]} {', '.join(each['nodes'])}",
            "facts": own_facts(explanation, name, each),
            "names": " ".join([*each["nodes"], *(value["name"] for value in each["results"])]),
            "steps": [f"k{step.index}" for step in steps],
        }
    return found


def _facts(parent: Element, pairs: Sequence[tuple[str, str]]) -> None:
    place = add(parent, "dl")
    for name, value in pairs:
        add(place, "dt", text=name)
        add(place, "dd", text=value)


def _tries(section: Element, explanation: Explanation) -> bool:
    found = suggestions(explanation)
    place = add(section, "ol", kind="tries")
    for each in found:
        item = add(place, "li")
        add(item, "code", text=each.try_)
        add(item, "div", text=each.effect)
        add(item, "div", kind="gain" if each.gain else None, text=each.gain or "worth: only a measurement can tell")
    return bool(found)


def _fallbacks(section: Element, explanation: Explanation) -> bool:
    found = fallen_back(explanation)
    if not found:
        return False
    add_table(section, ("stays in", "why"), [[where, why] for where, why, _ in found], (), "fallbacks")
    return True


def _graph(section: Element, explanation: Explanation) -> bool:
    bar = add(section, "div", kind="bar")
    _switch(bar, "graph", "show", [("kernels", "the kernels"), ("source", "the model as imported")])
    _switch(bar, "colour", "colour by", [("time", "time"), ("precision", "precision"), ("memory", "memory")])
    zoom = add(bar, "div")
    for action, text in (("in", "+"), ("out", "−"), ("fit", "whole"), ("top", "top")):
        button = add(zoom, "button", type="button", text=text)
        button.set("data-zoom", action)
    add(bar, "input", type="search", id="search", placeholder="find a node or value", aria_label="find a node or value")
    add(bar, "span", id="found", role="status")
    _keys(section, explanation)
    stage = add(section, "div", kind="stage")
    canvas = add(stage, "div", kind="canvas")
    canvas.append(kernel_graph(explanation))
    source = source_graph(explanation)
    source.set("class", "graph source hidden")
    canvas.append(source)
    add(stage, "div", id="panel", aria_live="polite")
    return True


def _switch(parent: Element, name: str, legend: str, options: Sequence[tuple[str, str]]) -> None:
    group = add(parent, "fieldset")
    add(group, "legend", text=legend)
    for number, (value, text) in enumerate(options):
        label = add(group, "label")
        button = add(label, "input", type="radio", name=name, value=value)
        if number == 0:
            button.set("checked", "checked")
        button.tail = f" {text}"


def _keys(parent: Element, explanation: Explanation) -> None:
    """What the colours mean, one line a switch."""
    basis = "measured" if explanation.profile is not None else "predicted"
    slowest = max((step.seconds or 0.0 for step in explanation.steps), default=0.0)
    largest = max(
        (value["bytes"] for step in explanation.steps for value in step.writes if "bytes" in value), default=0
    )
    for name, end in (
        ("time", f"{seconds_text(slowest)}, {basis}"),
        ("memory", f"{size_text(largest)} of the arena written"),
    ):
        key = _key(parent, name)
        add(key, "span", text="0")
        add(key, "span", kind=f"swatch ramp {name}")
        add(key, "span", text=f"{end}; dashed: no step of its own")
    key = _key(parent, "precision")
    for precision in dict.fromkeys(step.precision for step in explanation.steps):
        swatch = add(key, "span")
        mark = add(swatch, "span", kind=f"swatch s{precision_slot(precision)}")
        mark.tail = precision if precision in PRECISIONS else f"{precision} (others)"


def _key(parent: Element, name: str) -> Element:
    key = add(parent, "div", kind="key")
    key.set("data-of", name)
    return key


def _plan(section: Element, explanation: Explanation) -> bool:
    header = [f"{name} (measured)" if name == "in a run" else name for name in HEADER]
    cells = plan_rows(explanation, knobs=True)
    kept = [column for column in range(len(HEADER)) if any(row[column] for row in cells)]
    right = [position for position, column in enumerate(kept) if column in RIGHT_COLUMNS]
    shown = [[row[column] for column in kept] for row in cells]
    add(section, "p", text="A click on a head sorts; one on a row shows the kernel in the graph.")
    table = add_table(section, [header[column] for column in kept], shown, right, "plan")
    for row, step in zip(table, explanation.steps, strict=True):
        row.set("data-key", f"k{step.index}")
        values = {0: step.index, 4: step.predicted or 0.0, 5: step.measured or 0.0}
        for column, value in values.items():
            if column in kept:
                row[kept.index(column)].set("data-value", repr(value))
    return True


def _time(section: Element, explanation: Explanation) -> bool:
    if all(step.seconds is None for step in explanation.steps):
        return False
    add_picture(section, cumulative_plot(explanation))
    profile = explanation.profile
    if profile is None:
        return True
    add(section, "h3", text="Measured on this machine")
    _facts(section, summary(profile))
    add_picture(section, efficiency_plot(profile))
    steps = rows(profile, order="time", width=_UNLIMITED)
    table = add_table(section, STEP_HEADER, steps, STEP_RIGHT, "steps")
    table[-1].set("class", "all")
    return True


def _precision(section: Element, explanation: Explanation) -> bool:
    record = explanation.precision
    if record is None:
        return False
    picture = waterline_plot(record)
    if picture is not None:
        add_picture(section, picture)
    points = tried(explanation)
    if len(points) > 1:
        add_picture(
            section, pareto_plot("What was tried: predicted time of the layers against measured noise", "µs", points)
        )
    add_table(section, PRECISION_HEADER, precision_rows(record), PRECISION_RIGHT, "precision")
    return True


def tried(explanation: Explanation) -> list[FrontPoint]:
    """The choices of layers that a bound was tried with and nothing beats; the cheapest first."""
    record = explanation.precision or {}
    layers = {layer["name"]: layer for layer in record.get("layers", ()) if "integer_seconds" in layer}
    chosen = {layer["name"] for layer in record.get("layers", ()) if layer["precision"] == "float"}
    unaffordable = chosen - {name for attempt in record.get("tries", ()) for name in attempt["in_float"]}
    points: dict[frozenset[str], FrontPoint] = {}
    for attempt in record.get("tries", ()):
        in_float = frozenset(attempt["in_float"]) | unaffordable
        prices = [layer["float_seconds" if name in in_float else "integer_seconds"] for name, layer in layers.items()]
        snr = math.inf if attempt["snr_db"] is None else attempt["snr_db"]
        counts = {record["format"]: len(layers) - len(in_float), "float": len(in_float)}
        points[in_float] = FrontPoint(1e6 * sum(prices), snr, math.nan, counts, in_float == chosen)
    return front(list(points.values()), lambda point: (point.cost, -point.snr))


def _memory(section: Element, explanation: Explanation) -> bool:
    add_picture(section, memory_plot(explanation.name, explanation.memory))
    return bool(explanation.memory["buffers"])


def _remarks(section: Element, explanation: Explanation) -> bool:
    remarks = remark_rows(explanation.decisions)
    details = add(section, "details")
    add(details, "summary", text=f"What the passes did, and did not do, in order ({len(remarks)})")
    add_table(details, REMARK_HEADER, remarks, (3,), "remarks")
    return True


_SECTIONS = (
    ("Try next", _tries),
    ("Graph", _graph),
    ("Plan", _plan),
    ("Not native or not quantized", _fallbacks),
    ("Time", _time),
    ("Precision", _precision),
    ("Memory", _memory),
    ("Decisions", _remarks),
)
