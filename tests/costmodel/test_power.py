"""Energy of an inference as latency times the system's power."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.costmodel import power, predictors
from optc.costmodel.datasets.table import DataError, read_table
from optc.costmodel.training.config import Config
from optc.costmodel.training.run import Run
from optc.errors import UsageError

RESULTS = """system,benchmark,latency_ms,energy_uJ,throughput_energy_mode_ips
board,ic,10,200,
board,kws,5,104,
board,ad,2,30,625
board,sww,2,9999,
board,vww,7,,
fast,ic,1,300,
fast,kws,1,290,
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "results.csv").write_text(RESULTS)
    return tmp_path


@pytest.fixture
def card(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> predictors.Card:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    return power.train(Run(Config("made_up", "mlperf_tiny"), tmp_path / "out"), data)[0]


def test_energy_is_latency_times_power(card: predictors.Card, tmp_path: Path) -> None:
    milliwatts = (20.0 * 20.8 * 18.75) ** (1 / 3)  # the energy run of `ad` took 1.6 ms, not 2
    path = tmp_path / "rows.csv"
    path.write_text("benchmark,latency_ms\nnew,3\n")
    found = power.predict(card, "board", read_table(path))
    assert found.value[0] == pytest.approx(3 * milliwatts)
    assert found.low[0] < found.value[0] < found.high[0]


def test_figures_leave_the_judged_network_out(card: predictors.Card) -> None:
    errors = [abs(290 / 300 - 1), abs(300 / 290 - 1)]
    assert card.figures["fast"]["mape"] == pytest.approx(50 * sum(errors))
    assert card.figures[power.ALL]["rows"] == 5


def test_evaluation_takes_measured_energies(card: predictors.Card, data: Path) -> None:
    found = power.evaluate(card, "board", read_table(data / "results.csv"))
    assert list(found.ids) == ["ic", "kws", "ad"]
    with pytest.raises(UsageError, match="no energy was measured on 'absent'"):
        power.evaluate(card, "absent", read_table(data / "results.csv"))


def test_a_damaged_row_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    (data / "results.csv").write_text(RESULTS.replace("5,104", "5,-104"))
    with pytest.raises(DataError, match="'-104' is not a positive number") as caught:
        power.train(Run(Config("made_up", "mlperf_tiny"), tmp_path / "out"), data)
    assert caught.value.where == f"{data / 'results.csv'}: row 3, column 'energy_uJ'"
