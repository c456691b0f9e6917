"""Throughput over time, as it was recorded; transfers take as long as the recorded rates let them."""

from __future__ import annotations

import bisect
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from optc.errors import OptcError

_LEAST_ROWS = 2


@dataclass(frozen=True)
class Trace:
    """A recorded link; it begins anew when it ends.

    Attributes:
        name: for people.
        times: seconds, increasing; sample i holds until sample i + 1, the last one as long as the median sample.
        rates: bytes per second; 0 in an outage.
        rtts: seconds; None where they were not recorded.
    """

    name: str
    times: np.ndarray
    rates: np.ndarray
    rtts: np.ndarray | None = None

    @cached_property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.times[-1] - self.times[0] + np.median(np.diff(self.times)))

    @property
    def mean_rate(self) -> float:
        """Bytes per second over all of it."""
        return self._course.sent[-1] / self.seconds

    def rate_at(self, time: float) -> float:
        """Bytes per second."""
        return self._course.rates[self._course.sample(time)]

    def rtt_at(self, time: float) -> float | None:
        """Seconds; None where they were not recorded."""
        return None if self.rtts is None else float(self.rtts[self._course.sample(time)])

    def transfer_end(self, start: float, size: float) -> float:
        """When `size` bytes that are sent from `start` on have passed."""
        if size <= 0:
            return start
        course = self._course
        edges, sent, rates = course.edges, course.sent, course.rates
        laps, offset = divmod(start, edges[-1])
        first = course.sample(start)
        goal = sent[first] + (offset - edges[first]) * rates[first] + size
        more, rest = divmod(goal, sent[-1])
        last = max(bisect.bisect_left(sent, rest) - 1, 0)
        passed = edges[last] + ((rest - sent[last]) / rates[last] if rest > 0 else 0.0)
        return (laps + more) * edges[-1] + passed

    @cached_property
    def _course(self) -> _Course:
        edges = [*(self.times - self.times[0]).tolist(), self.seconds]
        sent = np.concatenate([[0.0], np.cumsum(np.diff(edges) * self.rates)])
        return _Course(edges, sent.tolist(), self.rates.tolist())


@dataclass(frozen=True)
class _Course:
    """A trace for quick access: edges of the samples in seconds, bytes since the start at each edge, the rates."""

    edges: list[float]
    sent: list[float]
    rates: list[float]

    def sample(self, time: float) -> int:
        """The sample that holds at a time."""
        return min(bisect.bisect_right(self.edges, time % self.edges[-1]) - 1, len(self.rates) - 1)


def trace_of(name: str, times: Sequence[float], mbps: Sequence[float], rtts: Sequence[float] | None = None) -> Trace:
    """A trace from seconds, Mbit/s and, where known, RTTs in milliseconds.

    Raises:
        ValueError: it is too short, its times do not increase, or nothing can be sent in it.
    """
    seconds, rates = np.asarray(times, float), np.asarray(mbps, float) * 1e6 / 8
    if len(seconds) < _LEAST_ROWS:
        raise ValueError(f"{len(seconds)} samples are no trace")
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        raise ValueError("the seconds do not increase")
    if not np.isfinite(rates).all() or (rates < 0).any():
        raise ValueError("a rate is negative or no number")
    if not rates.any():
        raise ValueError("nothing can be sent in it")
    distances = None if rtts is None else np.asarray(rtts, float) / 1e3
    if distances is not None and (not np.isfinite(distances).all() or (distances < 0).any()):
        raise ValueError("an RTT is negative or no number")
    return Trace(name, seconds, rates, distances)


def read_trace(path: Path) -> Trace:
    """A CSV file of seconds, Mbit/s and, if wanted, RTT in milliseconds; a header line may stand first.

    Raises:
        OptcError: it cannot be read; the message names the line.
    """
    rows: list[list[float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, cells in enumerate(csv.reader(file), 1):
                if not cells:
                    continue
                try:
                    row = [float(cell) for cell in cells[:3]]
                except ValueError:
                    if not rows and number == 1:
                        continue
                    raise OptcError(
                        "the trace cannot be read", where=f"{path}:{number}", why="a cell is no number"
                    ) from None
                if len(row) < 2 or (rows and len(row) != len(rows[0])):
                    why = "2 or 3 columns are due in all lines: seconds, Mbit/s, milliseconds of RTT"
                    raise OptcError("the trace cannot be read", where=f"{path}:{number}", why=why)
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        reason = str(fault.strerror if isinstance(fault, OSError) else fault)
        raise OptcError("the trace cannot be read", where=str(path), why=reason) from fault
    columns = list(zip(*rows, strict=True)) or [(), ()]
    try:
        return trace_of(path.stem, columns[0], columns[1], columns[2] if len(columns) > 2 else None)
    except ValueError as fault:
        raise OptcError("the trace cannot be used", where=str(path), why=str(fault)) from fault
