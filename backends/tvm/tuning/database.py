"""Chosen schedules in the cache, so that a workload is measured once on a machine."""

from __future__ import annotations

import json

from optc import cache
from optc.backends.tvm.template import Schedule

KIND = "schedules"


def find(workload: str, template: str) -> Schedule | None:
    """The schedule that was chosen before, if any."""
    entry = cache.get(KIND, f"{workload}/{template}")
    return None if entry is None else tuple((name, value) for name, value in json.loads(entry))


def store(workload: str, template: str, schedule: Schedule) -> None:
    """Keep a choice."""
    cache.put(KIND, f"{workload}/{template}", json.dumps(schedule).encode())
