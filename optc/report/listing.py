"""An explanation as rows of text."""

from __future__ import annotations

from collections.abc import Sequence

from optc.report.explanation import COPY, ONNXRUNTIME, Choice, Explanation, Step
from optc.report.table import shorten
from optc.report.units import count_of, seconds_text, size_text

HEADER = ("#", "kernel", "made by", "precision", "predicted", "in a run", "runner-up", "why")
LABEL_COLUMN = 1
RIGHT_COLUMNS = (0, 4, 5)
_LABEL = 60  # characters


def plan_rows(explanation: Explanation, order: str = "source", knobs: bool = False) -> list[list[str]]:
    """The cells below HEADER, a row a step.

    Args:
        order: `source` for the order of the program, `time` for the slowest first.
        knobs: name the schedules whole, not by their templates only.
    """
    steps = list(explanation.steps)
    if order == "time":
        steps.sort(key=lambda step: -(step.seconds or 0.0))
    return [_row(step, knobs) for step in steps]


def _row(step: Step, knobs: bool) -> list[str]:
    return [
        str(step.index),
        step.label,
        step.chosen.text if step.chosen and knobs else step.template,
        step.precision,
        "" if step.predicted is None else seconds_text(step.predicted),
        "" if step.measured is None else seconds_text(step.measured),
        option_text(step.runner_up, knobs) if step.runner_up else "",
        why_text(step),
    ]


def option_text(choice: Choice, knobs: bool) -> str:
    """What was not taken, with its price."""
    name = choice.text if knobs else choice.text.split(" (")[0]
    if choice.measured is not None:
        return f"{name}, {seconds_text(choice.measured)} measured"
    return name if choice.predicted is None else f"{name}, {seconds_text(choice.predicted)} predicted"


def why_text(step: Step) -> str:
    """The reason for the choice, with the price it was made at."""
    if step.chosen is None:
        return "" if step.template == COPY else step.why
    known = step.chosen.measured if step.chosen.measured is not None else step.chosen.predicted
    basis = "measured" if step.chosen.measured is not None else "predicted"
    return step.why if known is None else f"{step.why}: {seconds_text(known)} {basis}"


def facts(explanation: Explanation) -> list[tuple[str, str]]:
    """The whole artifact as (name, value); every time says what it is."""
    kernels = sum(step.is_kernel for step in explanation.steps)
    copies = sum(step.template == COPY for step in explanation.steps)
    counts = [f"{count_of(len(explanation.source), 'operation')} became {count_of(kernels, 'kernel')}"]
    counts += [count_of(copies, "copy", "copies")] if copies else []
    counts += [f"{count_of(len(explanation.regions), 'region')} in onnxruntime"] if explanation.regions else []
    found = [
        ("model", f"{explanation.name} for {explanation.target}, {count_of(explanation.threads, 'thread')}"),
        ("plan", ", ".join(counts)),
    ]
    times = []
    if explanation.predicted is not None:
        times.append(
            f"{seconds_text(explanation.predicted)} predicted ({', '.join(explanation.cost.get('basis', ()))})"
        )
    times.append(
        "not measured here"
        if explanation.measured is None
        else f"{seconds_text(explanation.measured)} measured on this machine"
    )
    found.append(("latency", ", ".join(times)))
    memory = explanation.memory
    found.append(
        ("arena", f"{size_text(memory['arena_bytes'])}; {size_text(memory['lower_bound'])} are live at once at most")
    )
    if explanation.precision is not None:
        found += _precision(explanation)
    return found


def _precision(explanation: Explanation) -> list[tuple[str, str]]:
    record = explanation.precision
    assert record is not None
    found = [("precision", f"{record['quantized']} of {len(record['layers'])} layers in {record['format']}")]
    if record["quality"] is not None and record["quality"]["snr_db"] is not None:
        bound = f" (wanted: {record['bound']})" if record["bound"] else ""
        found.append(("accuracy", f"{record['quality']['snr_db']:.1f} dB at the worst output, measured{bound}"))
    if latency := record.get("latency"):
        times = [seconds_text(latency[f"{kind}_seconds"]) for kind in ("int8", "float")]
        found.append(("int8", f"{times[0]} against {times[1]} in float, {latency['basis']}"))
    return found


def fallen_back(explanation: Explanation) -> list[tuple[str, str, list[Step]]]:
    """What is not as fast as it could be, by reason: (`onnxruntime` or `float`, why, the steps; none for layers)."""
    by_reason: dict[str, list[Step]] = {}
    for step in explanation.regions:
        by_reason.setdefault(step.why, []).append(step)
    found = [(ONNXRUNTIME, f"{reason}: {_labels(steps)}", steps) for reason, steps in by_reason.items()]
    if explanation.precision is not None:
        for layer in explanation.precision["layers"]:
            if layer["precision"] == "float":
                found.append(("float", f"{layer['name']}: {layer['reason']}", []))
    return found


def _labels(steps: Sequence[Step], most: int = 4) -> str:
    more = f" and {len(steps) - most} more" if len(steps) > most else ""
    return "; ".join(shorten(step.label, _LABEL) for step in steps[:most]) + more
