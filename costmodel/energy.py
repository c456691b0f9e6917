"""Energy of a kernel from the target's coefficients, and the energy counter that some machines have."""

from __future__ import annotations

from pathlib import Path

from optc.costmodel.interface import Estimate
from optc.targets.target import Target

POWERCAP = Path("/sys/class/powercap")


def joules(estimate: Estimate, target: Target) -> float | None:
    """Arithmetic, operands moved, and what a core draws meanwhile; None where the target states no coefficients.

    The coefficients' source stands in the target's figures: it says whether they were measured.
    """
    table = target.energy
    if not table:
        return None
    return estimate.flops * table["flop"] + estimate.bytes * table["byte"] + estimate.seconds * table["watts"]


class PackageEnergy:
    """The processor's running average power limit counters (RAPL), where the operating system shows them."""

    def __init__(self, folder: Path = POWERCAP) -> None:
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
