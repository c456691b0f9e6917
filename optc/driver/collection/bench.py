"""Where the kernels of a collection are timed: what makes their files, and what runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from optc.costmodel.state import State, probe
from optc.driver.collection import timing
from optc.driver.collection.building import Buffers, Prepared, link_library, timing_object
from optc.errors import OptcError
from optc.targets.target import Target


class Bench(Protocol):
    """A machine that times kernels."""

    def prepare(self) -> None:
        """Called once, before workers are forked. Raises OptcError where nothing can be timed."""

    def link(self, objects: Mapping[str, bytes], buffers: Mapping[str, Buffers], library: Path) -> None:
        """A `Link`; called in workers. Raises OptcError."""

    def state(self) -> State | None:
        """How fast the machine is right now; None where nothing says it."""

    def times(self, prepared: Sequence[Prepared], folder: Path) -> Iterator[dict[str, Any]]:
        """Time what `link` made.

        Args:
            prepared: workloads, some of whose points were built.
            folder: for files.

        Yields:
            For each kernel the fields of `timing.Times`; `{"library": …, "failed": true}` for a workload that crashed,
            hung or failed.

        Raises:
            OptcError: nothing can be timed any more.
        """


@dataclass(frozen=True)
class ThisMachine:
    """Kernels are timed in a process of its own.

    Attributes:
        target: this machine.
        before: words put before the command that times.
    """

    target: Target
    before: tuple[str, ...] = ()

    def prepare(self) -> None:
        """See Bench."""
        timing_object()

    def link(self, objects: Mapping[str, bytes], buffers: Mapping[str, Buffers], library: Path) -> None:
        """See Bench."""
        link_library(objects, buffers, library)

    def state(self) -> State | None:
        """See Bench."""
        return probe(self.target)

    def times(self, prepared: Sequence[Prepared], folder: Path) -> Iterator[dict[str, Any]]:
        """See Bench."""
        jobs = [
            asdict(timing.Job(each.library, [p.symbol for p in built], [p.buffers for p in built]))
            for each in prepared
            if (built := [point for point in each.points if point.symbol])
        ]
        (folder / timing.JOBS).write_text(json.dumps(jobs), encoding="utf-8")
        sizes = (str(timing.inner_bytes(self.target)), str(timing.outer_bytes(self.target)))
        words = [*self.before, sys.executable, "-m", timing.__name__, str(folder), *sizes]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(words, capture_output=True, text=True, env=environment, start_new_session=True)
        except OSError as error:
            raise OptcError("the timing process cannot be started", where=words[0], why=error.strerror) from error
        path = folder / timing.TIMES
        if not path.exists():
            raise OptcError(
                "the timing process failed", why=(done.stderr.strip() or "it wrote nothing").splitlines()[-1]
            )
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
