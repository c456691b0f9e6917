"""A decision as plain JSON data, and back: what the database holds, and what a schedule file carries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optc.backends.tvm import workload
from optc.backends.tvm.template import Choice, Template
from optc.backends.tvm.tuning.decision import Decision, Rated

_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_RATED, _MOST_KNOBS, _MOST_CORES = 64, 32, 1 << 16
_LARGEST = 1 << 40  # of a knob's value, and of the points of a space


class RecordFault(Exception):
    """A record does not have the form that `decode` expects; says where and why."""


@dataclass(frozen=True)
class Record:
    """A decision and what it is for.

    Attributes:
        group: the `group_digest` of the workload.
        cores: that the kernel may use.
        hardware: a hash of `hardware_of` the target.
        code: the `code_version` whose templates the schedule belongs to.
        decision: what was chosen.
    """

    group: str
    cores: int
    hardware: str
    code: str
    decision: Decision

    @property
    def key(self) -> str:
        """The name of the entry: equal for decisions about the same workload."""
        return workload.digest("schedule", self.group, self.cores, self.hardware, self.code)


def encode(record: Record) -> dict[str, Any]:
    """Plain data."""
    decision = record.decision
    return {
        "group": record.group,
        "cores": record.cores,
        "hardware": record.hardware,
        "code": record.code,
        "points": decision.points,
        "foreign": decision.foreign,
        "rated": [
            {
                "template": each.choice.template.name,
                "schedule": dict(each.choice.schedule),
                "predicted": each.predicted,
                "measured": each.measured,
                "failed": each.failed,
            }
            for each in decision.rated
        ],
    }


def decode(content: Any) -> Record:
    """The record that `encode` made; trusts nothing.

    Raises:
        RecordFault: the data have another form, or name a template that does not exist.
    """
    fields = _fields(content, "the schedule", ("group", "cores", "hardware", "code", "points", "foreign", "rated"))
    for name in ("group", "hardware", "code"):
        if not (isinstance(fields[name], str) and _DIGEST.fullmatch(fields[name])):
            raise RecordFault(f"'{name}' is no SHA-256 digest")
    rated = fields["rated"]
    if not isinstance(rated, list) or not 1 <= len(rated) <= _MOST_RATED:
        raise RecordFault(f"'rated' is no list of 1 to {_MOST_RATED} points")
    if not isinstance(fields["foreign"], bool):
        raise RecordFault("'foreign' is neither true nor false")
    decision = Decision(
        tuple(_rated(each) for each in rated), _count(fields["points"], "points", _LARGEST), fields["foreign"]
    )
    cores = _count(fields["cores"], "cores", _MOST_CORES)
    return Record(fields["group"], cores, fields["hardware"], fields["code"], decision)


def _rated(content: Any) -> Rated:
    fields = _fields(content, "a point", ("template", "schedule", "predicted", "measured", "failed"))
    name, schedule = fields["template"], fields["schedule"]
    if not isinstance(name, str) or name not in Template.registry:
        raise RecordFault(f"there is no template {name!r:.60}")
    if not isinstance(schedule, Mapping) or len(schedule) > _MOST_KNOBS:
        raise RecordFault(f"'schedule' is no set of up to {_MOST_KNOBS} parameters")
    for knob, value in schedule.items():
        if type(value) is not int or not 0 <= value <= _LARGEST:
            raise RecordFault(f"the parameter {knob!r:.60} is no number from 0 to {_LARGEST}")
    if not isinstance(fields["failed"], bool):
        raise RecordFault("'failed' is neither true nor false")
    predicted, measured = _seconds(fields["predicted"], "predicted"), fields["measured"]
    choice = Choice(Template.registry[name], tuple(sorted(schedule.items())))
    return Rated(choice, predicted, None if measured is None else _seconds(measured, "measured"), fields["failed"])


def _fields(content: Any, what: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(content, dict) or sorted(content) != sorted(names):
        raise RecordFault(f"{what} does not have the fields {', '.join(names)}")
    return content


def _count(value: Any, name: str, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise RecordFault(f"'{name}' is no number from 1 to {most}")
    return value


def _seconds(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise RecordFault(f"'{name}' is no time in seconds")
    return float(value)
