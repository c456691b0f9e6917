"""Tuning on a Ray cluster: its tasks measure shards of the kernels, this process keeps what they decide."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from optc.backends.interface import Selection
from optc.backends.tvm.group import Group
from optc.backends.tvm.tuning.sharing import outstanding, take
from optc.backends.tvm.workload import group_digest
from optc.driver.cluster import cluster, spread
from optc.driver.tuning.planning import Planned
from optc.driver.tuning.session import Phase, by_target
from optc.driver.tuning.shard import Shard, figures, measure_shard
from optc.ir.printer import canonical_text

MOST_KERNELS = 8
"""Of a shard: what a killed run loses at most, and what the start of a process is spread over."""

RESOURCE = "optc-"
"""A node with the Ray resource `optc-TARGET` is such a device: the target's kernels are measured on those alone."""


def measure_on_ray(
    units: Sequence[Planned], budget: float, phase: Phase, *, address: str | None = None, workers: int | None = None
) -> None:
    """As `measure_here`, on a cluster; no shard is started after `budget` seconds.

    Args:
        units: whose kernels are measured, those first that the models spend most time in.
        budget: seconds of wall time.
        phase: told how many of a unit's kernels are done.
        address: of the cluster; see `cluster`.
        workers: shards at a time.

    Raises:
        OptcError: the cluster cannot be reached, or a worker fails. What came before is kept.
    """
    with cluster(address, workers) as ray:
        known = ray.cluster_resources()
        at_once = min(workers or math.inf, max(1, int(known.get("CPU", 1))))
        batches = [_Batch(some, phase, int(at_once)) for some in by_target(units)]

        def devices(_number: int, shard: Shard) -> dict[str, float]:
            """What a task needs to run on such a device; nothing where no node says that it is one."""
            return {RESOURCE + shard.name: 0.001} if RESOURCE + shard.name in known else {}

        tasks = _in_turn(batches, time.monotonic() + budget)
        for _, (number, decisions) in spread(ray, _measure, tasks, most=workers, resources=devices):
            batches[number].keep(decisions)


def _measure(number: int, shard: Shard) -> tuple[int, list[dict[str, Any]]]:
    """The decisions on a shard of a batch."""
    return number, measure_shard(shard)


def _in_turn(batches: Sequence[_Batch], end: float) -> Iterator[tuple[int, Shard]]:
    """A shard of each batch after the other, until there is none or the time is over."""
    streams = [(number, batch.shards(end)) for number, batch in enumerate(batches)]
    while streams:
        for number, stream in list(streams):
            shard = next(stream, None)
            if shard is None:
                streams.remove((number, stream))
            else:
                yield number, shard


class _Batch:
    """The kernels of some units for one target that are still to be measured."""

    def __init__(self, units: Sequence[Planned], phase: Phase, workers: int) -> None:
        self._target, self._threads = units[0].target, units[0].threads
        self._groups = outstanding((group for each in units for group in each.groups), self._target)
        seconds = _predicted(units)
        self._order = sorted(self._groups, key=lambda key: -seconds.get(key, 0.0))
        self._size = max(1, min(MOST_KERNELS, len(self._order) // (2 * workers)))
        self._board = _Board(units, set(self._groups), phase)

    def shards(self, end: float) -> Iterator[Shard]:
        """What takes most time first, as long as there is time."""
        text = figures(self._target)
        for start in range(0, len(self._order), self._size):
            if (left := end - time.monotonic()) <= 0:
                return
            groups = tuple(_plain(self._groups[key]) for key in self._order[start : start + self._size])
            yield Shard(groups, self._target.name, text, self._threads, left)

    def keep(self, decisions: Sequence[dict[str, Any]]) -> None:
        """Take over what a worker decided. Raises OptcError where that makes no sense."""
        self._board.done(take(decisions, self._target))


def _plain(group: Group) -> tuple[str, tuple[int, ...]]:
    return canonical_text(group.body), tuple(sorted(group.constants))


def _predicted(units: Sequence[Planned]) -> dict[str, float]:
    """The seconds of one run of all models that each kernel takes, as far as is known."""
    seconds: dict[str, float] = {}
    for unit in units:
        made = unit.backend.tune(unit.groups, unit.target, budget=0.0, threads=unit.threads)
        for group, selection in zip(unit.groups, made, strict=True):
            if isinstance(selection, Selection):
                key = group_digest(group)
                seconds[key] = seconds.get(key, 0.0) + selection.chosen.seconds
    return seconds


class _Board:
    """How many kernels of each unit are measured."""

    def __init__(self, units: Sequence[Planned], left: set[str], phase: Phase) -> None:
        self._phase = phase
        self._left = {each.unit.name: left & {group_digest(group) for group in each.groups} for each in units}
        self._totals = {name: len(keys) for name, keys in self._left.items()}
        self.done(())

    def done(self, keys: Sequence[str]) -> None:
        """Some kernels are measured."""
        for name, left in self._left.items():
            if not keys or not left.isdisjoint(keys):
                left.difference_update(keys)
                total = self._totals[name]
                self._phase(name, f"measured {total - len(left)} of {total} kernels" if total else "nothing to measure")
