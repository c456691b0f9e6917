"""The energy counters of the processor, as the operating system shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.costmodel.energy import PackageEnergy


def zone(folder: Path, name: str, joules: float) -> None:
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (place / "max_energy_range_uj").write_text("262143328850\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 10.0)
    zone(tmp_path, "intel-rapl:1", 5.0)
    zone(tmp_path, "intel-rapl:0:0", 3.0)
    counter = PackageEnergy(tmp_path)
    assert counter.available and counter.read() == pytest.approx(15.0)


def test_a_counter_may_begin_again(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 262143.0)
    counter = PackageEnergy(tmp_path)
    start = counter.read()
    zone(tmp_path, "intel-rapl:0", 2.0)
    end = counter.read()
    assert start is not None and end is not None
    assert counter.between(start, end) == pytest.approx(2.32885, abs=1e-4)


def test_a_machine_without_counters_says_nothing(tmp_path: Path) -> None:
    assert not PackageEnergy(tmp_path).available and PackageEnergy(tmp_path / "none").read() is None
