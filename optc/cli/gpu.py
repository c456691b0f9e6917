"""What the summary of a GPU's artifact says beside the others'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optc.cli.output import seconds_text, size_text


def gpu_facts(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Energy, memory, power modes and the kernels' resources; `cost` is the manifest's."""
    gpu = cost["gpu"]
    facts = [("GPU memory", f"{size_text(gpu['memory_bytes'])} of arena, weights, inputs and outputs")]
    if cost.get("predicted_joules") is not None:
        facts.append(("energy", f"predicted {1e3 * cost['predicted_joules']:.3g} mJ a run, not measured"))
    if cost.get("modes"):
        facts.append(("power modes", "\n".join(f"{name}: {_mode(mode)}" for name, mode in cost["modes"].items())))
    spills = size_text(gpu["spill_bytes"]) if gpu["spill_bytes"] else "none"
    resources = (
        f"{gpu['functions']} functions, at most {gpu['most_registers']} registers and "
        f"{size_text(gpu['most_shared_bytes'])} of shared memory, spills {spills}, occupancy {gpu['occupancy']:.0%}"
    )
    return [*facts, ("GPU code", f"{', '.join(gpu['code'])}: {resources}")]


def _mode(mode: Mapping[str, Any]) -> str:
    joules = mode["predicted_joules"]
    energy = "" if joules is None else f", {1e3 * joules:.3g} mJ"
    return f"predicted {seconds_text(mode['predicted_seconds'])}{energy} (budget {mode['watts']:g} W)"
