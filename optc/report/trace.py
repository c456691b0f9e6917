"""A profile as a Chrome trace, for chrome://tracing and Perfetto.

Format: "Trace Event Format", complete events (`ph` is `X`), times in microseconds.
"""

from __future__ import annotations

import json
from typing import Any

from optc.report.profile import Profile, Step

_PROCESS = 1
_THREAD = 1


def chrome_trace(profile: Profile) -> str:
    """JSON with one event for each step that ran, one after the other in program order.

    Times are whole nanoseconds, so that no event ends after the next one begins.
    """
    events: list[dict[str, Any]] = [_name("process_name", profile.name), _name("thread_name", "steps")]
    start = 0
    for step in profile.executed:
        duration = round(step.seconds * 1e9)
        events.append(_event(step, start, duration))
        start += duration
    content = {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "model": profile.name,
            "threads": profile.machine.threads,
            "latency_us": profile.latency * 1e6,
            "efficiency": profile.efficiency,
            "peak_gflops": profile.machine.peak("f32") * 1e-9,
            "peak_basis": profile.machine.basis,
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _name(kind: str, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": _PROCESS, "tid": _THREAD, "args": {"name": name}}


def _event(step: Step, start: int, duration: int) -> dict[str, Any]:
    """An event at `start` nanoseconds."""
    return {
        "name": step.label,
        "cat": step.template,
        "ph": "X",
        "pid": _PROCESS,
        "tid": _THREAD,
        "ts": start / 1000,
        "dur": duration / 1000,
        "args": {
            "step": step.index,
            "symbol": step.symbol,
            "operations": list(step.operations),
            "flops": step.flops,
            "bytes": step.bytes,
            "gflops": step.flops_per_second * 1e-9,
            "gigabytes_per_second": step.bytes_per_second * 1e-9,
            "efficiency": step.efficiency,
            "predicted_us": None if step.predicted_seconds is None else step.predicted_seconds * 1e6,
        },
    }
