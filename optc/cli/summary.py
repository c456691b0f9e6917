"""An artifact in a few lines, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.cli.output import seconds_text, size_text

if TYPE_CHECKING:
    from optc.artifact import Manifest


def artifact_record(path: Path, manifest: Manifest, measured: float | None = None) -> dict[str, Any]:
    """Everything that the manifest says of the result, as plain data.

    Args:
        path: the artifact's folder.
        manifest: what the compiler wrote.
        measured: median latency on this host in seconds, if it was measured.
    """
    return {
        "artifact": str(path),
        "target": manifest.target,
        "inputs": [vars(info) for info in manifest.inputs],
        "outputs": [vars(info) for info in manifest.outputs],
        "program": dict(manifest.program),
        "cost": dict(manifest.cost),
        "measured_seconds": measured,
        "fallbacks": [dict(entry) for entry in manifest.fallbacks],
        "verification": manifest.verification,
        "command": manifest.command,
        "optc": manifest.optc,
    }


def artifact_facts(path: Path, manifest: Manifest, measured: float | None = None) -> list[tuple[str, str]]:
    """The summary table, the place of the artifact last. Arguments as for `artifact_record`."""
    cost, program = manifest.cost, manifest.program
    arena = size_text(program["arena_bytes"])
    if lower := cost.get("arena_lower_bound"):
        arena += f" ({program['arena_bytes'] / lower:.3f}× the lower bound)"
    counts = ", ".join(f"{program[name]} {name}" for name in ("kernels", "copies", "branches") if program.get(name))
    return [
        ("target", manifest.target),
        ("latency", _latency(cost, measured)),
        ("arena", arena),
        ("weights", size_text(program["weights_bytes"])),
        ("program", counts or "no native step"),
        ("native", _native(cost)),
        ("fallbacks", _fallbacks(manifest)),
        ("verified", verification_text(manifest.verification)),
        ("artifact", str(path)),
    ]


def _latency(cost: Any, measured: float | None) -> str:
    parts = []
    if (predicted := cost.get("predicted_seconds")) is not None:
        basis = ", ".join(cost.get("basis", ()))
        parts.append(f"predicted {seconds_text(predicted)}" + (f" ({basis})" if basis else ""))
    parts.append("not measured here" if measured is None else f"measured {seconds_text(measured)}")
    return ", ".join(parts)


def _native(cost: Any) -> str:
    if "native_flops" not in cost:
        return "unknown"
    return f"{100 * cost['native_flops']:.1f}% of FLOPs, {100 * cost['native_nodes']:.1f}% of nodes"


def _fallbacks(manifest: Manifest) -> str:
    if not manifest.fallbacks:
        return "none"
    lines = [f"{len(manifest.fallbacks)} regions run in onnxruntime:"]
    return "\n".join([*lines, *(f"{entry['label']}: {entry['reason']}" for entry in manifest.fallbacks)])


def verification_text(result: Any) -> str:
    """The worst relative error against the source model, or that there was no verification."""
    if result is None:
        return "no"
    worst = max(result["outputs"], key=lambda entry: _number(entry["relative"]), default=None)
    if worst is None:
        return "yes"
    error = _number(worst["relative"])
    verdict = "yes" if result["passed"] else "NO"
    return f"{verdict}, relative error {error:.2e} (tolerance {result['tolerance']:g}), worst output '{worst['name']}'"


def _number(value: float | None) -> float:
    return float("inf") if value is None else value
