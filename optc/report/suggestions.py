"""What to try next with an artifact, worked out from what the compile recorded; nothing where nothing is known."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.report.explanation import Explanation
from optc.report.units import count_of, seconds_text

HOST = "cpu"
_DROP_STEP = 1e-3
_LEAST_SHARE = 0.005


@dataclass(frozen=True)
class Suggestion:
    """One thing to try.

    Attributes:
        try_: what to type, or to do.
        effect: what it would change.
        gain: what that is worth, with what the figure rests on; empty where only a measurement can tell.
        seconds: the gain, where it is known.
    """

    try_: str
    effect: str
    gain: str = ""
    seconds: float | None = None


def suggestions(explanation: Explanation) -> list[Suggestion]:
    """The largest known gain first, then what has none that is known."""
    found = [*_looser_bound(explanation), *_calibration(explanation), *_native(explanation), *_tuning(explanation)]
    return sorted(found, key=lambda each: -(each.seconds or 0.0))


def _command(explanation: Explanation, name: str, more: str) -> str:
    """The command that the user typed, of another name and without what only a compile knows."""
    words = shlex.split(explanation.command)
    if words[:2] != ["optc", "compile"]:
        return f"optc {name} MODEL {more}"
    kept = words[2:] if name == "compile" else _shared(words[2:])
    return f"optc {name} {shlex.join(kept)} {more}"


def _shared(words: Sequence[str]) -> list[str]:
    """The model and the options that say its shapes, its target and its threads."""
    kept, wanted = [], ("--shape", "--dim", "--target", "--threads")
    for before, word in zip(["", *words], words, strict=False):
        if word in wanted or before in wanted or (word.endswith((".onnx", ".pt2")) and not before.startswith("-")):
            kept.append(word)
    return kept


def _looser_bound(explanation: Explanation) -> list[Suggestion]:
    """Bounds that were seen not to hold for more layers in int8, at the looser bound that they would hold for."""
    record = explanation.precision
    if not record or not record.get("bound") or not record.get("tries"):
        return []
    layers = {layer["name"]: layer for layer in record["layers"]}
    in_float = {name for name, layer in layers.items() if layer["precision"] == "float"}
    found: dict[int, Suggestion] = {}
    for attempt in sorted(record["tries"], key=lambda each: each["basis"]):
        more = sorted(in_float - set(attempt["in_float"]))
        more = [name for name in more if "integer_seconds" in layers[name]]
        option = _bound_that_holds(attempt)
        if attempt["keeps"] or not more or option is None:
            continue
        saved = sum(layers[name]["float_seconds"] - layers[name]["integer_seconds"] for name in more)
        now = sum(_layer_seconds(layer) for layer in layers.values())
        if saved > 0:
            count = f"{count_of(len(more), 'more layer')} in int8"
            effect = f"{count} ({', '.join(more[:3])}{', …' if len(more) > 3 else ''}); {option[1]}"
            gain = f"{_less(saved / now)} predicted time of the layers ({_from_to(now, saved)})"
            found.setdefault(len(more), Suggestion(option[0], effect, gain, saved))
    return [found[count] for count in sorted({min(found), max(found)})] if found else []


def _bound_that_holds(attempt: Mapping[str, Any]) -> tuple[str, str] | None:
    """The option that would have accepted what was tried, and what it showed."""
    drop, snr = attempt.get("drop"), attempt.get("snr_db")
    if drop is not None:
        bound = math.ceil(drop["bound"] / _DROP_STEP - 1e-9) * _DROP_STEP
        return f"--max-drop {100 * bound:.1f}%", f"{drop['text']} (measured, {attempt['basis']})"
    if snr is None:
        return None
    return (
        f"--min-snr {math.floor(10 * snr) / 10:g}",
        f"{snr:.1f} dB at the worst output (measured, {attempt['basis']})",
    )


def _layer_seconds(layer: Mapping[str, Any]) -> float:
    """By the predictions, in the precision that it has; 0 where there are none."""
    return layer.get("float_seconds" if layer["precision"] == "float" else "integer_seconds", 0.0)


def _calibration(explanation: Explanation) -> list[Suggestion]:
    """Int8 for a model that was compiled in float."""
    native = explanation.precision is None and "--backend onnx" not in explanation.command
    layers = explanation.potential if native else ()
    faster = [each for each in layers if each["integer_seconds"] < each["float_seconds"]]
    now = sum(each["float_seconds"] for each in layers)
    saved = sum(each["float_seconds"] - each["integer_seconds"] for each in faster)
    if not now or saved / now < _LEAST_SHARE:
        return []
    effect = f"int8 in up to {len(faster)} of {len(layers)} layers; conversions between them are not counted"
    gain = f"at most {_less(saved / now)} predicted time of the layers ({_from_to(now, saved)}, roofline)"
    return [Suggestion(_command(explanation, "compile", "--calib DATA"), effect, gain, saved)]


def _native(explanation: Explanation) -> list[Suggestion]:
    """What onnxruntime computes, by the reason."""
    if "--backend onnx" in explanation.command:
        return [Suggestion("compile without --backend onnx", "native kernels, where optc has them")]
    by_reason: dict[str, list[Any]] = {}
    for step in explanation.regions:
        by_reason.setdefault(step.why, []).append(step)
    found = []
    for reason, steps in by_reason.items():
        spent = [step.measured for step in steps if step.measured is not None]
        total = explanation.measured
        gain = f"at most {_less(sum(spent) / total)} time (measured share of these regions)" if spent and total else ""
        kinds = sorted({name for step in steps for name in step.operations})
        count = f"{count_of(len(steps), 'region')} of onnxruntime"
        what = f"export the model without {', '.join(kinds[:3])}{' …' if len(kinds) > 3 else ''} there"
        found.append(Suggestion(what, f"{count} would become native: {reason}", gain, sum(spent) if gain else None))
    return found


def _tuning(explanation: Explanation) -> list[Suggestion]:
    """Schedules that nobody measured, where they can be: on this kind of machine."""
    if explanation.target != HOST:
        return []
    open_ = [step for step in explanation.steps if step.timed < step.points]
    untimed = sum(step.points - step.timed for step in open_)
    if not untimed:
        return []
    points = sum(step.points for step in open_)
    share = sum(explanation.share(step) or 0.0 for step in open_)
    basis = "measured" if explanation.profile else "predicted"
    effect = f"{untimed} of {points} schedules of {count_of(len(open_), 'kernel')} were never measured"
    if share:
        effect += f"; those kernels take {share:.0%} of the {basis} time"
    return [Suggestion(f"{_command(explanation, 'tune', '--budget 60s')}, then compile again", effect)]


def _less(share: float) -> str:
    return f"−{share:.0%}" if share >= 0.1 else f"−{share:.1%}"


def _from_to(now: float, saved: float) -> str:
    return f"{seconds_text(now)} to {seconds_text(now - saved)}"


def rows(found: Sequence[Suggestion]) -> list[list[str]]:
    """Cells of a table: what to try, what it changes, what that is worth."""
    return [[each.try_, each.effect, each.gain or "not known before it is measured"] for each in found]
