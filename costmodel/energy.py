"""Energy of a kernel from the target's coefficients, and the energy counter that some machines have."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from optc.costmodel.interface import Estimate
from optc.errors import OptcError
from optc.targets.target import Target

JOULES_OF_A_KILOWATT_HOUR = 3.6e6
POWERCAP = Path("/sys/class/powercap")


def joules(estimate: Estimate, target: Target) -> float | None:
    """Arithmetic, operands moved, and what a core draws meanwhile; None where the target states no coefficients.

    All multiprocessors of an accelerator draw while one of its kernels runs.

    The coefficients' source stands in the target's figures: it says whether they were measured.
    """
    table = target.energy
    if not table:
        return None
    watts = table["watts"] * (target.cores if target.host else 1)
    return estimate.flops * table["flop"] + estimate.bytes * table["byte"] + estimate.seconds * watts


def grams(joules: float, intensity: float) -> float:
    """CO2-equivalents of an energy, where the grid emits `intensity` grams for each kilowatt-hour."""
    return joules / JOULES_OF_A_KILOWATT_HOUR * intensity


def joules_per_run(run: Callable[[], object], seconds: float, counter: PackageEnergy) -> float:
    """What the processor's packages draw while `run` is repeated for `seconds`, idle cores included, over the runs.

    Raises:
        OptcError: the machine shows no energy counter.
    """
    start = counter.read()
    if start is None:
        raise OptcError(
            "the energy of a run cannot be measured",
            where=str(counter.folder),
            why="this machine shows no energy counter (RAPL) that this user may read",
            hint="`optc costmodel predict` estimates it from the target's coefficients",
        )
    runs, deadline = 0, time.perf_counter() + seconds
    while runs == 0 or time.perf_counter() < deadline:
        run()
        runs += 1
    return counter.between(start, counter.read() or start) / runs


class PackageEnergy:
    """The processor's running average power limit counters (RAPL), where the operating system shows them."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        self.folder = folder
        self._zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]

    @property
    def available(self) -> bool:
        """Whether a counter can be read."""
        return self.read() is not None

    def read(self) -> float | None:
        """Joules of all packages since some moment; None where there is no counter that this user may read."""
        try:
            counts = [int((zone / "energy_uj").read_text(encoding="ascii")) for zone in self._zones]
        except (OSError, ValueError):
            return None
        return sum(counts) * 1e-6 if counts else None

    def between(self, start: float, end: float) -> float:
        """Joules from one reading to a later one; counters that began again from zero in between are allowed for."""
        return end - start if end >= start else end - start + self._range()

    def _range(self) -> float:
        try:
            return sum(int((z / "max_energy_range_uj").read_text(encoding="ascii")) for z in self._zones) * 1e-6
        except (OSError, ValueError):
            return 0.0
