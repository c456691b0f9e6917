"""How a network was run on a board: threads, which cores, processor or graphics processor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optc.costmodel.datasets.table import Table

PROCESSOR = -1
PROCESSORS, GRAPHICS = "processors", "graphics"
_USUAL_THREADS = 4.0


@dataclass(frozen=True)
class Configuration:
    """One way of running networks on a board.

    Attributes:
        device: the board's name.
        threads: of the processor; 0 if unknown.
        powersave: ncnn's setting: 0 all cores, 1 little ones, 2 big ones; -1 if unknown.
        gpu: number of the graphics processor; -1 is the processor.
        run: the set's number of the run; empty if unknown.
    """

    device: str
    threads: int = 0
    powersave: int = -1
    gpu: int = PROCESSOR
    run: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether Vulkan computes."""
        return self.gpu >= 0

    def distance(self, other: Configuration) -> tuple[float, ...]:
        """How little it resembles another one; what is unknown there does not count."""
        threads = abs(math.log(max(self.threads, 1) / other.threads)) if other.threads > 0 else -float(self.threads)
        power = float(other.powersave >= 0 and self.powersave != other.powersave)
        return (
            float(bool(other.run) and self.run != other.run),
            float(self.on_gpu != other.on_gpu),
            float(other.on_gpu and self.gpu != other.gpu),
            power,
            threads,
        )


def nearest(known: Sequence[Configuration], wanted: Configuration) -> int:
    """The most similar of the known ones; where nothing is asked, the processor with most threads."""
    return min(range(len(known)), key=lambda index: known[index].distance(wanted))


def configurations(table: Table, device: str | None = None) -> tuple[list[Configuration], list[int]]:
    """The different configurations of a table's rows, and which one each row has.

    The columns `run_id`, `num_threads`, `powersave` and `gpu_device` are read where they are.

    Args:
        table: of measurements or of questions.
        device: of all rows; by default the column `device` says it.

    Raises:
        DataError: a cell is no whole number; it names file and row.
    """
    devices = [device] * table.rows if device is not None else table.text("device")
    columns = [
        table.integers(name).tolist() if name in table.columns else [default] * table.rows
        for name, default in (("num_threads", 0), ("powersave", -1), ("gpu_device", PROCESSOR))
    ]
    names = table.columns.get("run_id", [""] * table.rows)
    found: dict[Configuration, int] = {}
    of_row = []
    for board, threads, powersave, gpu, name in zip(devices, *columns, names, strict=True):
        configuration = Configuration(board, threads, powersave, gpu, name)
        of_row.append(found.setdefault(configuration, len(found)))
    return list(found), of_row


def class_of(configuration: Configuration) -> str:
    """The class of boards that a configuration belongs to."""
    return GRAPHICS if configuration.on_gpu else PROCESSORS


def log_threads(configuration: Configuration) -> float:
    """The logarithm of a processor's threads over the usual number; 0 where it is unknown, or on graphics."""
    known = configuration.threads > 0 and not configuration.on_gpu
    return math.log(configuration.threads / _USUAL_THREADS) if known else 0.0
