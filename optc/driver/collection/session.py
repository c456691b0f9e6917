"""The collection: workloads in batches, each built by workers, then timed alone, then appended to the store."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from optc.backends.interface import Progress, silent
from optc.backends.tvm.codegen import load_tvm
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.costmodel.kernels.features import TARGET_FEATURES, WORKLOAD_FEATURES, target_vector
from optc.costmodel.kernels.machine import fingerprint_of, target_from_json, target_json
from optc.costmodel.kernels.schema import MEASURED, Row, digest
from optc.costmodel.kernels.store import RowStore
from optc.driver.collection.bench import Bench, ThisMachine
from optc.driver.collection.building import Point, Prepared, prepare
from optc.driver.collection.workloads import KernelWorkload, Note, workload_class
from optc.errors import OptcError
from optc.targets import load
from optc.targets.host import measured_host
from optc.targets.library import HOST
from optc.targets.target import Target
from optc.version import __version__

BUILD_SECONDS = 90.0  # after which building a workload is taken to hang


@dataclass(frozen=True)
class Settings:
    """How to collect.

    Attributes:
        budget: seconds after which no further batch is begun.
        points: of each workload's space.
        batch: kernels that are timed together; a killed run loses at most so many.
        processes: that build at once.
        before_timing: words put before the command that times here, for instance `taskset -c 1`.
    """

    budget: float
    points: int = 10
    batch: int = 200
    processes: int = 1
    before_timing: tuple[str, ...] = ()


@dataclass
class Summary:
    """What a run added."""

    workloads: int = 0
    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    noise: list[float] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows that were stored."""
        measured = [row for row in rows if row.status == MEASURED]
        self.workloads += len({row.workload for row in rows})
        self.rows += len(measured)
        self.failed += len(rows) - len(measured)
        self.noise += [row.noise for row in measured]


def machine_of(store: RowStore) -> Target:
    """This machine with the figures that the store's rows of it state, so that all are comparable; else measured."""
    here = load(HOST)
    fingerprint = fingerprint_of(here)
    facts = store.table(["fingerprint", "target"])
    for found, figures in zip(facts.column("fingerprint").to_pylist(), facts.column("target").to_pylist(), strict=True):
        if found == fingerprint:
            return replace(target_from_json(figures), cores=here.cores, llvm=here.llvm)
    return measured_host()


def noting(store: RowStore) -> Note:
    """A `note` for `sample` that keeps in the store of which kernels each model consists."""

    def note(name: str, pipeline: int, workloads: Sequence[KernelWorkload]) -> None:
        pairs = [(workload.key, workload_class(workload.group().body)) for workload in workloads]
        store.note_model(name, pipeline, pairs)

    return note


def collect(
    store: RowStore,
    workloads: Iterable[KernelWorkload],
    target: Target,
    settings: Settings,
    progress: Progress = silent,
    known: Iterable[str] = (),
    bench: Bench | None = None,
) -> Summary:
    """Measure workloads until they or the budget end. What the store holds already is not measured again.

    Args:
        store: gets the rows.
        workloads: taken one by one.
        target: the machine.
        settings: see there.
        progress: told the seconds that passed.
        known: keys of further rows that need not be measured.
        bench: where kernels are timed; None: here.

    Raises:
        OptcError: the store is in use or unreadable, there is no C compiler, or the timing process fails.
    """
    start = time.monotonic()
    summary = Summary()
    bench = ThisMachine(target, settings.before_timing) if bench is None else bench
    bench.prepare()
    load_tvm()
    fingerprint = fingerprint_of(target)
    with store.lock():
        store.sweep()
        stored = store.keys() | set(known)
        stream = iter(workloads)
        while time.monotonic() - start < settings.budget:
            folder = Path(tempfile.mkdtemp(prefix="optc-collect-"))
            try:
                prepared, exhausted = _build_batch(stream, target, fingerprint, stored, settings, bench, start, folder)
                if prepared:
                    state = bench.state()
                    rows, fault = _time_batch(prepared, target, fingerprint, bench, folder)
                    store.append(rows)
                    if state is not None:
                        store.note_state(fingerprint, state.fastest)
                    stored.update(row.key for row in rows)
                    summary.add(rows)
                    if fault is not None:
                        raise fault
                progress("measuring kernels", int(time.monotonic() - start), int(settings.budget))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            if exhausted:
                break
    summary.seconds = time.monotonic() - start
    return summary


def _build_batch(
    stream: Iterator[KernelWorkload], target: Target, fingerprint: str, known: set[str], settings: Settings,
    bench: Bench, start: float, folder: Path,
) -> tuple[list[Prepared], bool]:  # fmt: skip
    """Built workloads of about `settings.batch` kernels, and whether the stream has ended."""
    prepared: list[Prepared] = []
    exhausted = False
    while sum(len(each.points) for each in prepared) < settings.batch:
        some = list(itertools.islice(stream, max(4, 2 * settings.processes)))
        exhausted = not some

        def tasks(some: list[KernelWorkload] = some) -> Iterator[tuple[int, Task]]:
            for number, workload in enumerate(some):
                own = partial(prepare, workload, target, fingerprint, known, settings.points, folder, bench.link)
                yield number, own

        deadline = start + settings.budget
        for _, made in run_isolated(tasks(), settings.processes, BUILD_SECONDS, deadline):
            if made is not None:
                prepared.append(made)
        if exhausted or time.monotonic() >= deadline:
            break
    return prepared, exhausted


def _time_batch(
    prepared: Sequence[Prepared], target: Target, fingerprint: str, bench: Bench, folder: Path
) -> tuple[list[Row], OptcError | None]:
    """The rows of what was timed, and why that ended early if it did."""
    times: dict[tuple[str, str], dict[str, Any]] = {}
    lost: set[str] = set()
    fault = None
    try:
        for timed in bench.times(prepared, folder):
            if timed.get("failed"):
                lost.add(timed["library"])
            else:
                times[timed["library"], timed["symbol"]] = timed
    except OptcError as error:
        fault = error
    anchors = sorted(record["anchor"] for record in times.values())
    usual = anchors[len(anchors) // 2] if anchors else 0.0
    rows = []
    for each in prepared:
        for point in each.points:
            record = times.get((each.library, point.symbol))
            if record is not None or not point.symbol or each.library in lost:
                rows.append(_row(each, point, record, usual, target, fingerprint))
    return rows, fault


def _row(
    prepared: Prepared,
    point: Point,
    record: dict[str, Any] | None,
    usual_anchor: float,
    target: Target,
    fingerprint: str,
) -> Row:
    near = sorted(record["near"]) if record else []
    far = sorted(record["far"]) if record else []
    anchor = float(record["anchor"]) if record else 0.0
    return Row(
        key=point.key,
        fingerprint=fingerprint,
        target=target_json(target),
        workload=prepared.workload.key,
        workload_class=prepared.workload_class,
        sources=prepared.workload.source,
        ir=prepared.workload.ir,
        constants=list(prepared.workload.constants),
        template=point.template,
        schedule=point.schedule,
        code=point.code,
        compiler=compiler_version(),
        status=MEASURED if record else "failed",
        names=digest(WORKLOAD_FEATURES, TARGET_FEATURES)[:16],
        features=[*prepared.features, *target_vector(target), point.best],
        roofline=prepared.roofline,
        estimate=point.estimate,
        flops=prepared.flops,
        bytes=prepared.bytes,
        near_least=_quantile(near, 0.0),
        near_median=_quantile(near, 0.5),
        near_high=_quantile(near, 0.9),
        far_least=_quantile(far, 0.0),
        far_median=_quantile(far, 0.5),
        far_high=_quantile(far, 0.9),
        rounds=len(near),
        noise=_noise(near, anchor, usual_anchor),
        anchor=anchor,
        anchor_memory=float(record["anchor_memory"]) if record else 0.0,
        measured_again=int(record["again"]) if record else 0,
        day=time.strftime("%Y-%m-%dT%H:%M:%S"),
    )


def compiler_version() -> str:
    """optc's and TVM's versions."""
    from importlib.metadata import version

    return f"optc {__version__}, tvm {version('apache-tvm')}"


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _noise(near: Sequence[float], anchor: float, usual: float) -> float:
    """The spread of the lower quarter of the rounds, and how far the machine's speed was from its usual one."""
    if not near:
        return 0.0
    scatter = near[len(near) // 4] / near[0] - 1.0
    return float((scatter**2 + ((anchor / usual - 1.0) if usual else 0.0) ** 2) ** 0.5)
