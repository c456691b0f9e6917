"""Schedules that other machines measure for this one: what is still to be measured, and decisions on their way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from optc.backends.tvm.acceptance import accepting_templates
from optc.backends.tvm.group import Group
from optc.backends.tvm.tuning import database, records
from optc.backends.tvm.tuning.decision import Decision
from optc.backends.tvm.tuning.hardware import hardware_of
from optc.backends.tvm.tuning.records import RecordFault
from optc.backends.tvm.workload import Workload, code_version, digest, group_digest, workload_key
from optc.errors import OptcError
from optc.targets.target import Target


def outstanding(groups: Iterable[Group], target: Target) -> dict[str, Group]:
    """Distinct groups that a template takes and whose schedules are not all measured, by their `group_digest`."""
    return {
        key: workload.group
        for key, workload, decision in _decided(groups, target)
        if decision is None or not decision.settled
    }


def decisions_of(groups: Iterable[Group], target: Target) -> list[dict[str, Any]]:
    """What this machine decided for the groups that it knows, as plain data."""
    return [
        records.encode(database.record_of(workload, target, decision))
        for _, workload, decision in _decided(groups, target)
        if decision is not None
    ]


def _decided(groups: Iterable[Group], target: Target) -> Iterator[tuple[str, Workload, Decision | None]]:
    seen: set[str] = set()
    for group in groups:
        key = group_digest(group)
        if key in seen:
            continue
        seen.add(key)
        name = workload_key(group, target)
        templates = accepting_templates(name, group, target)
        if not isinstance(templates, str):
            workload = Workload(name, group, templates)
            yield key, workload, database.find(workload, target)


def take(decisions: Sequence[Any], target: Target) -> list[str]:
    """Keep what another machine measured, unless this one knows as much; returns the `group_digest` of all.

    Args:
        decisions: what `decisions_of` gave there.
        target: what they were measured for.

    Raises:
        OptcError: they have another form, or are for other hardware or code. None is kept then.
    """
    try:
        found = [records.decode(each) for each in decisions]
    except RecordFault as fault:
        raise OptcError("a worker sent schedules that cannot be read", why=str(fault)) from fault
    expected = digest(hardware_of(target)), code_version()
    if any((record.hardware, record.code) != expected for record in found):
        hint = "install the same version on all machines"
        raise OptcError("a worker sent schedules for another target or build of optc", hint=hint)
    for record in found:
        database.merge(record)
    return [record.group for record in found]
