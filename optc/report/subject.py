"""One value or operation of the user's model: where it went, as what, and why it is not with its neighbours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.errors import UsageError
from optc.ir.source import near
from optc.report.explanation import ONNXRUNTIME, Choice, Explanation, Step, dtype_of, parts_of
from optc.report.units import seconds_text, size_text

_BLOCK = re.compile(r"block\((\d+), (\d+)\)")
_PERMUTED = re.compile(r"permute\(([^)]*)\)")
_BOUNDARY = "boundary"
_MOST_NAMES = 4


@dataclass(frozen=True)
class Subject:
    """What is known of one name.

    Attributes:
        name: as the user gave it.
        kind: `operation`, `value`, `input` or `kernel`.
        facts: (what, text), in reading order; times say whether they are predicted or measured.
        steps: that compute it or a part of it.
    """

    name: str
    kind: str
    facts: list[tuple[str, str]]
    steps: list[int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        facts = [{"what": what, "text": text} for what, text in self.facts]
        return {"name": self.name, "kind": self.kind, "steps": self.steps, "facts": facts}


def subject(explanation: Explanation, name: str) -> Subject:
    """Explain a node, a value, or a kernel by its number (`#3`).

    Raises:
        UsageError: nothing has that name; the message has close ones.
    """
    by_node = {part: each for each in explanation.source for node in each["nodes"] for part in parts_of(node)}
    values = {value["name"]: each for each in explanation.source for value in each["results"]}
    made = set(explanation.writer_of)
    read = {value for each in explanation.source for value in each["reads"]} - set(values)
    if name in by_node:
        return _operation(explanation, name, by_node[name])
    if name in explanation.steps_of:
        steps = explanation.steps_of[name]
        return Subject(name, "operation", list(_placed(explanation, steps, [name])), _numbers(steps))
    if name in values:
        return _value(explanation, name, values[name])
    if name in made:
        return _value(explanation, name, None)
    if name in read:
        return _input(explanation, name)
    if name.lstrip("#").isdigit() and int(name.lstrip("#")) < len(explanation.steps):
        step = explanation.steps[int(name.lstrip("#"))]
        return Subject(name, "kernel", kernel_facts(explanation, step), [step.index])
    known = list(dict.fromkeys([*by_node, *values, *explanation.writer_of, *sorted(read), *explanation.steps_of]))
    hint = near(name, known) or f"optc explain {explanation.name} lists the kernels; names are those of the model"
    raise UsageError(f"nothing in the model is called '{name}'", where=explanation.name, hint=hint)


def _operation(explanation: Explanation, name: str, record: Mapping[str, Any]) -> Subject:
    steps = explanation.steps_of.get(name, [])
    own = own_facts(explanation, name, record)
    return Subject(name, "operation", [*own[:1], *_placed(explanation, steps, [name]), *own[1:]], _numbers(steps))


def own_facts(explanation: Explanation, name: str, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of an operation of the model besides its steps.

    Args:
        name: of the node.
        record: of the operation, as imported.
    """
    results = ", ".join(f"'{value['name']}': {value['type']}" for value in record["results"])
    facts = [("in the model", f"{_plain(record['op'])} makes {results}")]
    views = [each for each in explanation.views if name in each["nodes"]]
    if views and name not in explanation.steps_of:
        facts.append(("went to", f"no code: {_view(views[0])}"))
    elif name not in explanation.steps_of:
        facts.append(("went to", _vanished(explanation, name, record)))
    return [*facts, *_accuracy(explanation, name), *_decisions(explanation, name)]


def kernel_facts(explanation: Explanation, step: Step) -> list[tuple[str, str]]:
    """What is known of a step, and of each value that it stores."""
    stored = [fact for value in step.writes for fact in _stored(explanation, step, value["name"])]
    return [*_step_facts(explanation, step), *stored]


def _numbers(steps: Sequence[Step]) -> list[int]:
    return [step.index for step in steps]


def _value(explanation: Explanation, name: str, record: Mapping[str, Any] | None) -> Subject:
    facts = []
    if record is not None:
        type_text = next(value["type"] for value in record["results"] if value["name"] == name)
        facts.append(("in the model", f"{type_text}, made by {_plain(record['op'])} '{', '.join(record['nodes'])}'"))
    step = explanation.writer_of.get(name)
    view = next((each for each in explanation.views if any(value["name"] == name for value in each["results"])), None)
    if step is not None:
        facts += _stored(explanation, step, name)
        facts += _step_facts(explanation, step)
    elif view is not None:
        facts.append(("stored", f"in the storage of what it is made from: {_view(view)}"))
        root = view["reads"][0]["name"] if view["reads"] else None
        if root in explanation.writer_of:
            facts += _stored(explanation, explanation.writer_of[root], root)
    elif record is not None and record["nodes"]:
        found = _operation(explanation, record["nodes"][0], record)
        facts.append(("stored", "nowhere: it was merged away, see what became of the operation that made it"))
        return Subject(name, "value", [*facts, *found.facts[1:]], found.steps)
    return Subject(name, "value", facts, [] if step is None else [step.index])


def _input(explanation: Explanation, name: str) -> Subject:
    readers = [step for step in explanation.steps if any(value["name"] == name for value in step.reads)]
    facts = [("in the model", "an input: it lies in the caller's buffer")]
    facts += [("read by", f"{_kernel(step)}") for step in readers]
    return Subject(name, "input", facts, _numbers(readers))


def _placed(explanation: Explanation, steps: Sequence[Step], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Everything about the steps that compute some nodes."""
    if len(steps) > 1:
        yield "went to", f"parts of it are in {len(steps)} kernels"
    for step in steps:
        results = [value for each in step.body if set(each["nodes"]) & set(names) for value in each["results"]]
        yield from _step_facts(explanation, step, names)
        written = {value["name"] for value in step.writes}
        stored = [value for value in results if value["name"] in written] or results[:1]
        for value in stored:
            yield from _stored(explanation, step, value["name"])


def _step_facts(explanation: Explanation, step: Step, names: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """A step: what it is, how it was chosen, its times and its neighbours."""
    yield "went to" if names else "made in", _kernel(step)
    others = [node for node in step.nodes if node not in names]
    if others and step.is_kernel:
        yield "fused with", _names(others) + _fusion(explanation, step)
    if step.template == ONNXRUNTIME:
        yield "not native", step.why
    yield "precision", step.precision
    if step.chosen is not None:
        yield "chosen", f"{_price(step.chosen)}: {step.why}"
        if step.runner_up is not None:
            yield "runner-up", _price(step.runner_up)
    yield "time", _times(explanation, step)
    for what, other, reason in neighbours(explanation, step):
        yield f"apart from #{other.index}", f"{_names(other.nodes)} ({what}): {reason}"


def neighbours(explanation: Explanation, step: Step) -> Iterator[tuple[str, Step, str]]:
    """The kernels beside one (`reads its result`, `makes what it reads`), and why they are not one kernel with it."""
    makers = {value["name"]: other for other in explanation.steps for value in other.writes}
    beside = [("makes what it reads", makers[value["name"]]) for value in step.reads if value["name"] in makers]
    written = {value["name"] for value in step.writes}
    for other in explanation.steps:
        if written & {value["name"] for value in other.reads}:
            beside.append(("reads its result", other))
    for what, other in dict.fromkeys(beside):
        reason = _boundary(explanation, step, other)
        if reason is not None and step.is_kernel:
            yield what, other, reason


def _boundary(explanation: Explanation, first: Step, second: Step) -> str | None:
    """What the fusion recorded of a pair of kernels."""
    if ONNXRUNTIME in (first.template, second.template):
        return "one of the two runs in onnxruntime"
    one, two = set(first.nodes), set(second.nodes)
    reasons = []
    for remark in explanation.remarks:
        nodes = set(remark["nodes"])
        if remark["what"] == _BOUNDARY and nodes <= one | two and nodes & one and nodes & two:
            basis = " (as fusion predicted)" if remark["predicted"] else ""
            reasons.append(f"{remark['reason']}{basis}")
        elif remark["status"] == "missed" and remark["what"].startswith("block-") and nodes == one | two:
            reasons.append(f"as one block, {remark['reason']}")
    return "; ".join(reasons) or None


def _stored(explanation: Explanation, step: Step, name: str) -> Iterator[tuple[str, str]]:
    """Where a value of a step lies, for how long, and in which layout."""
    place = next((value for value in step.writes if value["name"] == name), None)
    if place is None:
        yield "stored", f"'{name}' is never stored: it stays inside kernel #{step.index}"
        return
    yield "layout", f"{layout_text(place['type'])}; {dtype_of(place['type'])}"
    why = next((each for each in explanation.remarks if each["pass"] == "layout" and _about(each, step.nodes)), None)
    if why is not None:
        yield "why so", why["reason"] + _widened(explanation, place["type"], why["reason"])
    if place.get("space") == "arena":
        first, end = place["offset"], place["offset"] + place["bytes"]
        text = f"'{name}' at bytes {first} to {end} of the arena ({size_text(place['bytes'])})"
        yield "stored", text + _lifetime(explanation, place)
    elif place.get("space") == "output":
        yield "stored", f"'{name}' in the caller's output buffer ({size_text(place['bytes'])})"


def _widened(explanation: Explanation, type_text: str, reason: str) -> str:
    """What made blocks larger than those that the layout was chosen with."""
    sizes = {size for _, size in _BLOCK.findall(type_text)}
    if not sizes or any(f"blocks of {size} " in reason for size in sizes):
        return ""
    found = [each["reason"] for each in explanation.remarks if each["pass"] == "widen-blocks"]
    return f"; then widened: {found[0]}" if found else ""


def _lifetime(explanation: Explanation, place: Mapping[str, Any]) -> str:
    """From and to which moment of the run the bytes are in use."""
    moments = explanation.memory["steps"]
    for buffer in explanation.memory["buffers"]:
        inside = buffer["offset"] <= place["offset"] < buffer["offset"] + buffer["bytes"]
        if inside and buffer["name"] == place["name"] and moments:
            last = min(buffer["end"], len(moments)) - 1
            begin, end = (_shortened(moments[moment]) for moment in (min(buffer["start"], last), last))
            return f", live while {begin} runs" if begin == end else f", live from {begin} to {end}"
    return ", inside the storage of another value" if explanation.memory["buffers"] else ""


def layout_text(type_text: str) -> str:
    """A memory layout in words."""
    blocks = _BLOCK.findall(type_text)
    permuted = _PERMUTED.search(type_text)
    parts = [f"axis {axis} in blocks of {size}" for axis, size in blocks]
    if permuted:
        parts.insert(0, f"axes in the order {permuted.group(1)}")
    return " and ".join(parts) if parts else "plain, row by row"


def _accuracy(explanation: Explanation, name: str) -> Iterator[tuple[str, str]]:
    """What calibration found of a layer."""
    record = explanation.precision
    layer = next((each for each in record["layers"] if each["name"] == name), None) if record else None
    if layer is None:
        return
    yield "calibrated", f"{layer['precision']}" + (f": {layer['reason']}" if layer["reason"] else "")
    if layer["snr_alone_db"] is not None:
        yield "accuracy", f"alone in int8 it leaves {layer['snr_alone_db']:.1f} dB at the output (measured)"
    if "integer_seconds" in layer:
        times = (seconds_text(layer[key]) for key in ("integer_seconds", "float_seconds"))
        yield "int8 or float", "{} in int8, {} in float (predicted)".format(*times)


def _decisions(explanation: Explanation, name: str) -> Iterator[tuple[str, str]]:
    """Other remarks about a node."""
    said = {"layout", "order", "fuse-blocks"}
    for remark in explanation.remarks:
        if name in remark["nodes"] and remark["pass"] not in said and remark["what"] != _BOUNDARY:
            if not remark["what"].startswith("fuse-") or remark["status"] == "missed":
                reason = "" if remark["reason"] == "once" else f": {remark['reason']}"
                yield f"pass {remark['pass']}", f"{remark['what']} ({remark['status']}){reason}"


def _vanished(explanation: Explanation, name: str, record: Mapping[str, Any]) -> str:
    if record["results"] and all(value["name"] in _constants(explanation) for value in record["results"]):
        return "no code: all that it reads is known, so it was computed when the model was compiled"
    done = [each for each in explanation.remarks if name in each["nodes"] and each["status"] == "applied"]
    if done:
        return f"no code of its own: the pass {done[-1]['pass']} did {done[-1]['what']}"
    return "no code: it changes nothing, or nothing that the outputs need reads it"


def _constants(explanation: Explanation) -> set[str]:
    """Results of the model's operations that need no input of it; shapes are known too."""
    known: set[str] = set()
    for each in explanation.source:
        if each["op"] in ("onnx.Shape", "onnx.Size") or all(value in known for value in each["reads"]):
            known.update(value["name"] for value in each["results"])
    return known


def _fusion(explanation: Explanation, step: Step) -> str:
    """What the fusion was predicted to gain."""
    for remark in explanation.remarks:
        applied = remark["pass"].startswith("fuse") and remark["status"] == "applied"
        if applied and remark["nodes"] and set(remark["nodes"]) == set(step.nodes):
            return f" ({remark['reason']}{', as fusion predicted' if remark['predicted'] else ''})"
    return ""


def _times(explanation: Explanation, step: Step) -> str:
    parts = []
    if step.predicted is not None:
        parts.append(f"{seconds_text(step.predicted)} predicted")
    if step.measured is not None:
        parts.append(f"{seconds_text(step.measured)} measured in a run")
    share = explanation.share(step)
    basis = "predicted" if step.measured is None else "measured"
    if share is not None:
        parts.append(f"{share:.1%} of all steps ({basis})")
    return ", ".join(parts) or "not predicted"


def _price(choice: Choice) -> str:
    known = []
    if choice.predicted is not None:
        known.append(f"{seconds_text(choice.predicted)} predicted")
    if choice.measured is not None:
        known.append(f"{seconds_text(choice.measured)} measured alone (one core, cold weights)")
    return f"{choice.text}, {', '.join(known)}" if known else choice.text


def _kernel(step: Step) -> str:
    place = "region" if step.template == ONNXRUNTIME else "kernel"
    return f"{place} #{step.index} ({step.template}: {', '.join(dict.fromkeys(step.operations)) or 'copy'})"


def _view(view: Mapping[str, Any]) -> str:
    whole = ", ".join(f"'{value['name']}'" for value in view["reads"])
    return f"{_plain(view['op'])} shares storage with {whole}, and moves at most what cannot lie in place"


def _about(remark: Mapping[str, Any], nodes: Sequence[str]) -> bool:
    return bool(set(remark["nodes"]) & set(nodes))


def _names(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - _MOST_NAMES} more" if len(nodes) > _MOST_NAMES else ""
    return ", ".join(f"'{node}'" for node in nodes[:_MOST_NAMES]) + more


def _shortened(moment: str) -> str:
    first, *rest = moment.split(", ")
    return f"{first} …" if rest else first


def _plain(operation: str) -> str:
    return operation.split(".")[-1]
