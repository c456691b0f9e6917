"""The energy counters of the processor, as the operating system shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.cli.carbon import carbon, carbon_facts
from optc.costmodel.energy import PackageEnergy, grams, joules_per_run
from optc.errors import OptcError


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


def test_energy_of_a_run_is_what_the_counter_says_over_the_runs(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 1.0)
    drawn = [1.0]

    def run() -> None:
        drawn[0] += 0.25
        zone(tmp_path, "intel-rapl:0", drawn[0])

    assert joules_per_run(run, 0.0, PackageEnergy(tmp_path)) == pytest.approx(0.25)
    with pytest.raises(OptcError, match="the energy of a run cannot be measured") as caught:
        joules_per_run(run, 0.0, PackageEnergy(tmp_path / "none"))
    assert "no energy counter (RAPL)" in str(caught.value) and caught.value.where == str(tmp_path / "none")


def test_carbon_is_energy_times_the_grids_intensity() -> None:
    assert grams(3.6e6, 400.0) == pytest.approx(400.0)
    assert carbon(None, 400.0) is None and carbon(1.0, None) is None
    assert carbon_facts(0.0036, 500.0) == [("carbon", "0.0005 kg CO2e a million inferences, at 500 g/kWh")]
    assert carbon_facts(None, 500.0) == [("carbon", "unknown, as the energy is")] and carbon_facts(1.0, None) == []
