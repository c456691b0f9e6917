"""Throughput over time, as it was recorded; transfers take as long as the recorded rates let them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
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

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.times[-1] - self.times[0] + np.median(np.diff(self.times)))

    @property
    def mean_rate(self) -> float:
        """Bytes per second over all of it."""
        return float(self._sent()[-1] / self.seconds)

    def rate_at(self, time: float) -> float:
        """Bytes per second."""
        return float(self.rates[self._index(time)])

    def rtt_at(self, time: float) -> float | None:
        """Seconds; None where they were not recorded."""
        return None if self.rtts is None else float(self.rtts[self._index(time)])

    def transfer_end(self, start: float, size: float) -> float:
        """When `size` bytes that are sent from `start` on have passed."""
        if size <= 0:
            return start
        sent = self._sent()
        laps, offset = divmod(start, self.seconds)
        starts = self.times - self.times[0]
        edges = np.append(starts, self.seconds)
        goal = float(np.interp(offset, edges, sent)) + size
        more, rest = divmod(goal, float(sent[-1]))
        position = int(np.searchsorted(sent, rest, side="left"))
        if position == 0:
            passed = 0.0
        else:
            passed = edges[position - 1] + (rest - sent[position - 1]) / self.rates[position - 1]
        return float((laps + more) * self.seconds + passed)

    def _sent(self) -> np.ndarray:
        """Bytes since the start at each edge; computed once."""
        found = self.__dict__.get("_cumulated")
        if found is None:
            lengths = np.diff(np.append(self.times - self.times[0], self.seconds))
            found = np.concatenate([[0.0], np.cumsum(lengths * self.rates)])
            object.__setattr__(self, "_cumulated", found)
        return np.asarray(found)

    def _index(self, time: float) -> int:
        offset = time % self.seconds
        return int(np.searchsorted(self.times - self.times[0], offset, side="right")) - 1


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
