"""A collection on a Ray cluster: its tasks build and time shards of the workloads, this process appends their rows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

from optc.backends.interface import Progress, silent
from optc.costmodel.kernels.machine import target_json
from optc.costmodel.kernels.schema import Row
from optc.costmodel.kernels.store import RowStore
from optc.driver.cluster import cluster, spread
from optc.driver.collection.session import Settings, Summary
from optc.driver.collection.shard import Shard, measure_shard
from optc.driver.collection.workloads import KernelWorkload
from optc.targets.target import Target


def collect_on_cluster(
    store: RowStore,
    workloads: Iterable[KernelWorkload],
    target: Target,
    settings: Settings,
    progress: Progress = silent,
) -> Summary:
    """As `session.collect`, with the same points of the same workloads; one kernel at a time is timed on a machine.

    Raises:
        OptcError: the store is in use or unreadable, Ray is missing, or a shard fails.
    """
    start = time.monotonic()
    summary = Summary()
    with store.lock(), cluster() as ray:
        store.sweep()
        known = store.keys()
        stream = iter(workloads)

        def shards() -> Iterator[tuple[Shard]]:
            while (left := settings.budget - (time.monotonic() - start)) > 0:
                some = tuple(itertools.islice(stream, max(1, settings.batch // settings.points)))
                if not some:
                    return
                limited = Settings(left, settings.points, settings.batch, 1, settings.before_timing)
                yield (Shard(some, target_json(target), limited, frozenset(known)),)

        for _, values in spread(ray, measure_shard, shards()):
            rows = [row for row in (Row(**each) for each in values) if row.key not in known]
            store.append(rows)
            known.update(row.key for row in rows)
            summary.add(rows)
            progress("measuring kernels", int(time.monotonic() - start), int(settings.budget))
    summary.seconds = time.monotonic() - start
    return summary
