"""Decisions in the cache, so that a workload is measured once on a machine, whatever model it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator

from optc import cache
from optc.backends.tvm.tuning import records
from optc.backends.tvm.tuning.decision import Decision
from optc.backends.tvm.tuning.hardware import hardware_of
from optc.backends.tvm.tuning.records import Record, RecordFault
from optc.backends.tvm.workload import Workload, code_version, digest, group_digest
from optc.targets.target import Target

KIND = "schedules"


def record_of(workload: Workload, target: Target, decision: Decision) -> Record:
    """A decision with what it is for."""
    hardware = digest(hardware_of(target))
    return Record(group_digest(workload.group), target.cores, hardware, code_version(), decision)


def find(workload: Workload, target: Target) -> Decision | None:
    """What was decided before, if anything; a schedule of other hardware that is no point here counts as nothing."""
    nothing = Decision((), 0)
    entry = cache.get(KIND, record_of(workload, target, nothing).key)
    if entry is None:
        return None
    try:
        decision = records.decode(json.loads(entry)).decision
    except (ValueError, RecordFault):
        return None
    if decision.foreign and not _is_point(decision, workload, target):
        return None
    return decision


def _is_point(decision: Decision, workload: Workload, target: Target) -> bool:
    choice = decision.chosen.choice
    return choice.template in workload.templates and choice.schedule in choice.template.space(workload.group, target)


def store(record: Record) -> None:
    """Keep a decision."""
    cache.put(KIND, record.key, json.dumps(records.encode(record)).encode())


def merge(record: Record) -> bool:
    """Keep a decision unless a settled one is there, or the new one is not settled either; whether it was kept."""
    entry = cache.get(KIND, record.key)
    if entry is not None:
        try:
            known = records.decode(json.loads(entry)).decision
        except (ValueError, RecordFault):
            known = None
        if known is not None and (known.settled or not record.decision.settled):
            return False
    store(record)
    return True


def stored(target: Target) -> Iterator[Record]:
    """All decisions for a target's hardware, on any number of cores, that this code's templates understand."""
    hardware = digest(hardware_of(target))
    for entry in cache.entries(KIND):
        try:
            record = records.decode(json.loads(entry))
        except (ValueError, RecordFault):
            continue
        if (record.hardware, record.code) == (hardware, code_version()):
            yield record
