"""Chosen templates and schedules in the cache, so that a workload is measured once on a machine."""

from __future__ import annotations

import json

from optc import cache
from optc.backends.tvm.template import Choice, Template

KIND = "schedules"


def find(workload: str) -> Choice | None:
    """What was chosen before, if anything."""
    entry = cache.get(KIND, workload)
    if entry is None:
        return None
    template, schedule = json.loads(entry)
    return Choice(Template.registry[template], tuple((name, value) for name, value in schedule))


def store(workload: str, choice: Choice) -> None:
    """Keep a choice."""
    cache.put(KIND, workload, json.dumps([choice.template.name, choice.schedule]).encode())
