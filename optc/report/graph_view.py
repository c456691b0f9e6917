"""The model as two graphs, which the page zooms and colours: as imported, and the kernels that it became."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from optc.report.explanation import COPY, ONNXRUNTIME, Explanation, Step
from optc.report.layered import layered
from optc.report.svg import Element, add
from optc.report.units import seconds_text, size_text

_WIDTH, _HEIGHT = 236, 46  # of a node, in units of the picture
_ACROSS, _DOWN = 260, 84  # from node to node
_MARGIN = 20
_TITLE_LETTERS, _DETAIL_LETTERS = 27, 34
PRECISIONS = ("f32", "int8", "f16", "bf16", ONNXRUNTIME)
"""Those with colours of their own, by class `p0`, `p1` …; the others share the last one."""


@dataclass(frozen=True)
class Node:
    """A box.

    Attributes:
        key: by which the page finds what is known of it.
        title: its first line.
        detail: its second line.
        step: that it is, or is computed in; None for what takes no time.
    """

    key: str
    title: str
    detail: str
    step: Step | None


def kernel_graph(explanation: Explanation) -> Element:
    """One box a step, in an `svg` element of the class `graph`."""
    steps = explanation.steps
    nodes = [Node(f"k{step.index}", _title(step), _cut(step.label, _DETAIL_LETTERS), step) for step in steps]
    maker: dict[str, int] = {}
    aliases = {value["name"]: view["reads"] for view in explanation.views for value in view["results"]}
    edges: dict[tuple[int, int], None] = {}
    for number, step in enumerate(steps):
        for value in step.reads:
            for source in _origins(value["name"], maker, aliases):
                edges[source, number] = None
        maker.update((value["name"], number) for value in step.writes)
    return _drawn(explanation, nodes, list(edges), "kernels")


def source_graph(explanation: Explanation) -> Element:
    """One box an operation of the model, in the colours of the steps that they became part of."""
    nodes: list[Node] = []
    maker: dict[str, int] = {}
    edges: dict[tuple[int, int], None] = {}
    for number, each in enumerate(explanation.source):
        steps = [step for node in each["nodes"] for step in explanation.steps_of.get(node, ())]
        name = ", ".join(each["nodes"])
        title, detail = _cut(each["op"].split(".")[-1], _TITLE_LETTERS), _cut(name, _DETAIL_LETTERS)
        nodes.append(Node(f"s{number}", title, detail, steps[-1] if steps else None))
        edges.update(((maker[value], number), None) for value in each["reads"] if value in maker)
        maker.update((value["name"], number) for value in each["results"])
    return _drawn(explanation, nodes, list(edges), "source")


def _origins(name: str, maker: dict[str, int], aliases: dict[str, Sequence[dict[str, str]]]) -> list[int]:
    """The steps that made a value, or the values whose storage it shares."""
    found, waiting, seen = [], [name], {name}
    while waiting:
        each = waiting.pop()
        if each in maker:
            found.append(maker[each])
            continue
        more = [value["name"] for value in aliases.get(each, ()) if value["name"] not in seen]
        seen.update(more)
        waiting += more
    return found


def _drawn(explanation: Explanation, nodes: Sequence[Node], edges: Sequence[tuple[int, int]], kind: str) -> Element:
    placed = layered(len(nodes), edges)
    width, height = placed.width * _ACROSS + 2 * _MARGIN, placed.layers * _DOWN + 2 * _MARGIN
    root = ElementTree.Element("svg", {"class": f"graph {kind}", "id": kind, "role": "img", "data-colour": "time"})
    root.set("data-width", f"{width:.0f}")
    root.set("data-height", f"{height:.0f}")
    add(root, "title", text=f"{explanation.name}: {kind}")
    scene = add(root, "g", kind="scene")
    lines = add(scene, "g", kind="edges")
    for path in placed.paths:
        add(lines, "path", d=_curve([_point(*corner) for corner in path]))
    slowest = max((step.seconds or 0.0 for step in explanation.steps), default=0.0)
    largest = max((memory_of(step) for step in explanation.steps), default=0)
    for node, (x, layer) in zip(nodes, placed.places, strict=True):
        left, top = _point(x, layer)
        step = node.step
        time = (step.seconds or 0.0) / slowest if step and slowest else 0.0
        memory = memory_of(step) / largest if step and largest else 0.0
        classes = f"node p{precision_slot(step.precision)}" if step else "node free"
        box = add(scene, "g", kind=classes, transform=f"translate({left - _WIDTH / 2:.0f} {top - _HEIGHT / 2:.0f})")
        box.set("data-key", node.key)
        box.set("tabindex", "0")
        box.set("style", f"--time: {time:.3f}; --memory: {memory:.3f}")
        add(box, "title", text=_tooltip(explanation, node))
        add(box, "rect", width=_WIDTH, height=_HEIGHT, rx=6)
        add(box, "text", kind="name", x=10, y=19, text=node.title)
        add(box, "text", x=10, y=36, text=node.detail)
    return root


def _point(x: float, layer: int) -> tuple[float, float]:
    return _MARGIN + x * _ACROSS, _MARGIN + (layer + 0.5) * _DOWN


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """From the lower edge of the first box to the upper edge of the last one, through the points between."""
    (x, y), *rest = points
    y += _HEIGHT / 2
    text = f"M{x:.0f} {y:.0f}"
    for number, (right, bottom) in enumerate(rest):
        if number == len(rest) - 1:
            bottom -= _HEIGHT / 2
        middle = (y + bottom) / 2
        text += f"C{x:.0f} {middle:.0f} {right:.0f} {middle:.0f} {right:.0f} {bottom:.0f}"
        x, y = right, bottom
    return text


def memory_of(step: Step) -> int:
    """Bytes of the arena that hold what a step writes."""
    return sum(value["bytes"] for value in step.writes if value.get("space") == "arena")


def precision_slot(precision: str) -> int:
    """The number of the colour."""
    return PRECISIONS.index(precision) if precision in PRECISIONS else len(PRECISIONS)


def _title(step: Step) -> str:
    if step.template in (ONNXRUNTIME, COPY):
        return f"#{step.index} {step.template}"
    return _cut(f"#{step.index} {', '.join(dict.fromkeys(step.operations))}", _TITLE_LETTERS)


def _tooltip(explanation: Explanation, node: Node) -> str:
    step = node.step
    if step is None:
        return f"{node.title}\nno step of its own"
    basis = "predicted" if step.measured is None else "measured"
    time = "not predicted" if step.seconds is None else f"{seconds_text(step.seconds)} {basis}"
    return f"{step.label}\n{step.template}, {step.precision}\n{time}; writes {size_text(memory_of(step))} of the arena"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
