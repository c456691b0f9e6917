"""An artifact in a few lines, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.cli.calibration import precision_facts
from optc.cli.gpu import gpu_facts
from optc.cli.output import seconds_text, size_text

if TYPE_CHECKING:
    from optc.artifact import Manifest
    from optc.runtime.expectation import Expectation

SHOWN = 4
"""Labels of a reason, and reasons, that the summary lists."""


def artifact_record(
    path: Path, manifest: Manifest, measured: float | None = None, expected: Expectation | None = None
) -> dict[str, Any]:
    """Everything that the manifest says of the result, as plain data.

    Args:
        path: the artifact's folder.
        manifest: what the compiler wrote.
        measured: median latency on this host in seconds, if it was measured.
        expected: what a run here should take now, if that was asked.
    """
    return {
        "artifact": str(path),
        "target": manifest.target,
        "inputs": [vars(info) for info in manifest.inputs],
        "outputs": [vars(info) for info in manifest.outputs],
        "program": dict(manifest.program),
        "cost": dict(manifest.cost),
        "expected": None if expected is None else expected.to_dict(),
        "measured_seconds": measured,
        "fallbacks": [dict(entry) for entry in manifest.fallbacks],
        "verification": manifest.verification,
        "command": manifest.command,
        "optc": manifest.optc,
    }


def artifact_facts(
    path: Path, manifest: Manifest, measured: float | None = None, expected: Expectation | None = None
) -> list[tuple[str, str]]:
    """The summary table, the place of the artifact last. Arguments as for `artifact_record`."""
    cost, program = manifest.cost, manifest.program
    arena = size_text(program["arena_bytes"])
    if lower := cost.get("arena_lower_bound"):
        arena += f" ({program['arena_bytes'] / lower:.3f}× the lower bound)"
    if "ram_bytes" in cost:
        return _microcontroller_facts(path, manifest)
    counts = ", ".join(f"{program[name]} {name}" for name in ("kernels", "copies", "branches") if program.get(name))
    return [
        ("target", manifest.target),
        ("latency", _latency(manifest, measured)),
        *([("expected", expectation_text(expected))] if expected is not None and expected.state is not None else ()),
        ("arena", arena),
        ("weights", _weights(program["weights_bytes"], cost.get("packed_weights", {}))),
        *([("stored", _stored(cost["weights_stored"], program["weights_bytes"]))] if "weights_stored" in cost else ()),
        *(stream_facts(cost["weight_stream"]) if "weight_stream" in cost else ()),
        *(gpu_facts(cost) if "gpu" in cost else ()),
        ("program", counts or "no native step"),
        ("native", _native(cost)),
        *(precision_facts(cost["precision"]) if "precision" in cost else ()),
        ("fallbacks", _fallbacks(manifest)),
        ("verified", verification_text(manifest.verification)),
        ("artifact", str(path)),
    ]


def _stored(stored: int, whole: int) -> str:
    return f"{size_text(stored)} of weights in the folder, {1 - stored / whole:.1%} fewer"


def stream_facts(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of the weights stays in memory, and what a run reads."""
    waiting = f", {seconds_text(cost['stall_seconds'])} of it waiting for loads" if cost["streamed_bytes"] else ""
    return [
        (
            "in memory",
            f"{size_text(cost['memory_bytes'])} of weights at most, {size_text(cost['locked_bytes'])} of them always; "
            f"{size_text(cost['streamed_bytes'])} read in each run",
        ),
        ("with reading", f"predicted {seconds_text(cost['predicted_seconds'])}{waiting}"),
    ]


def _microcontroller_facts(path: Path, manifest: Manifest) -> list[tuple[str, str]]:
    """The summary of a model in C: what it takes of the device, and the files to compile."""
    cost = manifest.cost
    bound = cost["arena_lower_bound"]
    sources = [name for name in manifest.files if name.endswith((".c", ".h")) and name != "optc_model.h"]
    return [
        ("target", manifest.target),
        ("RAM", f"{size_text(cost['ram_bytes'])} ({cost['ram_bytes'] / bound:.3f}× the lower bound), all static"),
        ("flash", f"{size_text(cost['flash_bytes'])} of constants, and the code"),
        ("sources", ", ".join(sorted(sources))),
        ("verified", verification_text(manifest.verification)),
        ("artifact", str(path)),
    ]


def expectation_text(expected: Expectation) -> str:
    """What a run should take now, and how the machine differs from when its kernels were measured."""
    why = f" ({expected.why}, against when kernels were measured)" if expected.why else ""
    return f"{seconds_text(expected.now)} with the call{why}"


def _latency(manifest: Manifest, measured: float | None) -> str:
    parts = []
    cost = manifest.cost
    if (predicted := cost.get("predicted_seconds")) is not None:
        scope = " for the native part" if manifest.fallbacks else ""
        basis = ", ".join(cost.get("basis", ()))
        parts.append(f"predicted {seconds_text(predicted)}{scope}" + (f" ({basis})" if basis else ""))
    parts.append("not measured" if measured is None else f"measured {seconds_text(measured)}")
    return ", ".join(parts)


def _weights(total: int, packed: Mapping[str, int]) -> str:
    """All bytes, and how many of them are Winograd's transforms, which are larger than what they are made from."""
    transforms = packed.get("winograd", 0)
    return size_text(total) + (f", of which {size_text(transforms)} Winograd transforms" if transforms else "")


def _native(cost: Mapping[str, Any]) -> str:
    if "native_flops" not in cost:
        return "unknown"
    return f"{100 * cost['native_flops']:.1f}% of FLOPs, {100 * cost['native_nodes']:.1f}% of nodes"


def _fallbacks(manifest: Manifest) -> str:
    """The regions that onnxruntime runs, by reason; the list does not grow with the model (--json has them all)."""
    if not manifest.fallbacks:
        return "none"
    by_reason: dict[str, list[str]] = {}
    for entry in manifest.fallbacks:
        by_reason.setdefault(entry["reason"], []).append(entry["label"])
    count = len(manifest.fallbacks)
    lines = [f"{count} region{'s' if count > 1 else ''} in onnxruntime:"]
    for reason, labels in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:SHOWN]:
        more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
        lines.append(f"{reason}: {'; '.join(labels[:SHOWN])}{more}")
    if len(by_reason) > SHOWN:
        lines.append(f"and {len(by_reason) - SHOWN} more reasons (--json lists all)")
    return "\n".join(lines)


def verification_text(result: Any) -> str:
    """The worst relative error against the source model, or that there was no verification."""
    if result is None:
        return "no"
    if "skipped" in result:
        return f"no: {result['skipped']}"
    worst = max(result["outputs"], key=lambda entry: _number(entry["relative"]), default=None)
    if worst is None:
        return "yes"
    error = _number(worst["relative"])
    verdict = ("yes" if result["passed"] else "NO") + (f", in {result['emulator']}" if "emulator" in result else "")
    return f"{verdict}, relative error {error:.2e} ({_why_it_passes(worst, result)}), worst output '{worst['name']}'"


def _why_it_passes(worst: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """What the relative error of an output is held against."""
    from optc.runtime.verify import REFERENCE_NOISE

    if not result["passed"] or _number(worst["relative"]) <= result["tolerance"]:
        return f"tolerance {result['tolerance']:g}"
    if _number(worst["max_abs"]) <= REFERENCE_NOISE:
        return f"{worst['max_abs']:.1e} absolute: rounding of float32"
    return f"codes that round otherwise: signal-to-noise ratio {_number(worst['snr_db']):.0f} dB"


def _number(value: float | None) -> float:
    return float("inf") if value is None else value
