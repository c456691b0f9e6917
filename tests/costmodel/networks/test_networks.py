"""Training on a made-up set of boards, prediction, adaptation to a new board, and what is said of unfit files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ncnn_kit import SHAPES, param, write_set

from optc.costmodel import predictors
from optc.costmodel.datasets import dataset, ncnn_bench
from optc.costmodel.datasets.table import DataError, read_table
from optc.costmodel.networks import kind
from optc.costmodel.networks.population import complete
from optc.costmodel.networks.runs import Configuration, nearest
from optc.costmodel.training.config import Config
from optc.costmodel.training.run import Run
from optc.errors import UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def card(data: Path, tmp_path_factory: pytest.TempPathFactory) -> predictors.Card:
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return kind.train(Run(Config("made_up", "ncnn_bench", 0, {"model": {"board_folds": 4}}), out), data)[0]


def test_held_out_networks_and_boards(card: predictors.Card) -> None:
    assert card.figures["all boards, unseen networks"]["median_ape"] < 15.0
    assert card.figures["unseen boards"]["median_ape"] < 6.0
    assert 0.8 <= card.figures["unseen boards"]["coverage"] <= 1.0


def test_the_same_seed_gives_the_same_bytes(
    card: predictors.Card, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    config = Config("made_up", "ncnn_bench", 0, {"model": {"board_folds": 4}})
    again = kind.train(Run(config, tmp_path / "out"), data)[0]
    for name in (predictors.ARRAYS, predictors.CARD):
        assert (again.folder / name).read_bytes() == (card.folder / name).read_bytes()


def test_seen_networks_on_seen_boards(card: predictors.Card, data: Path) -> None:
    found = kind.evaluate(card, "Board 3", read_table(data / "ncnn_latency.csv"))
    assert len(found.ids) == 2 * len(SHAPES)
    np.testing.assert_allclose(found.prediction.value, found.measured, rtol=0.15)
    assert (found.prediction.low <= found.prediction.value).all()
    assert (found.prediction.value <= found.prediction.high).all()


def test_a_graph_beside_the_table(card: predictors.Card, tmp_path: Path) -> None:
    (tmp_path / "mine.param").write_text(param(*SHAPES["middle"]))
    table = tmp_path / "rows.csv"
    table.write_text("model,gpu_device\nmine.param,-1\nmiddle,-1\nmiddle,0\n")
    mine, middle, on_gpu = kind.predict(card, "Board 5", read_table(table)).value
    assert mine == pytest.approx(middle)
    assert on_gpu < 0.8 * middle


def test_a_new_board_from_three_networks(
    card: predictors.Card, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictors, "user_folder", lambda: card.folder.parent)
    monkeypatch.setattr(predictors, "shipped_folder", lambda: tmp_path / "none")
    source = dataset.load("ncnn_bench")
    names, rows, facts = kind.suggest(source, "mine", 3, (), None)
    assert len(set(names)) == 3 and len(facts) == len(SHAPES) and len(rows) == 3
    with (data / "ncnn_latency.csv").open(encoding="utf-8") as file:
        truth = {
            row["model"]: 1.7 * float(row["min_ms"])
            for row in csv.DictReader(file)
            if row["device"] == "Board 2" and row["gpu_device"] == "-1"
        }
    samples = tmp_path / "samples.csv"
    samples.write_text("model,latency_ms\n" + "".join(f"{name},{truth[name]}\n" for name in names))
    adapted = kind.adapt(source, "mine", read_table(samples), (), tmp_path / "out")
    others = [name for name in SHAPES if name not in names]
    table = tmp_path / "rows.csv"
    table.write_text("model\n" + "\n".join(others) + "\n")
    found = kind.predict(adapted, "mine", read_table(table))
    np.testing.assert_allclose(found.value, [truth[name] for name in others], rtol=0.15)


def test_samples_of_unknown_networks(card: predictors.Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictors, "user_folder", lambda: card.folder.parent)
    samples = tmp_path / "samples.csv"
    samples.write_text("model,latency_ms\nmiddle,3\nabsent,4\n")
    with pytest.raises(DataError, match="'absent' is no network of 'ncnn_bench'") as caught:
        kind.adapt(dataset.load("ncnn_bench"), "mine", read_table(samples), (), tmp_path / "out")
    assert caught.value.where == f"{samples}: row 3, column 'model'"
    with pytest.raises(UsageError, match="are adapted to from all of them"):
        kind.adapt(dataset.load("ncnn_bench"), "mine", read_table(samples), ("Board 1",), tmp_path / "out")


def test_rows_of_unknown_networks(card: predictors.Card, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("model\nmiddle\nabsent\n")
    with pytest.raises(DataError, match="'absent' is no network of the set") as caught:
        kind.predict(card, "Board 1", read_table(table))
    assert caught.value.where == f"{table}: row 3, column 'model'"
    with pytest.raises(UsageError, match="there is no measurement on 'Absent'"):
        kind.evaluate(card, "Absent", read_table(_measured(tmp_path)))


def _measured(folder: Path) -> Path:
    path = folder / "measured.csv"
    path.write_text("model,device,min_ms\nmiddle,Board 1,3\n")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the file holds no graphs by name"),
        ("{", "the graphs cannot be read"),
        ('{"net": {"input_whc": [1, 2, 3], "layers": [{"type": "ReLU"}]}}', "this is no graph"),
    ],
)
def test_foreign_graphs(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "models.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        ncnn_bench.read_networks(path)
    assert str(caught.value.where).startswith(str(path))


def test_damaged_measurements(data: Path, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_bytes((data / "models.json").read_bytes())
    path = tmp_path / "ncnn_latency.csv"
    path.write_text("model,device,min_ms,family\nmiddle,Board 1,3.5,middle\nmiddle,Board 2,3.x,middle\n")
    with pytest.raises(DataError, match=r"'3\.x' is not a number") as caught:
        ncnn_bench.read(tmp_path)
    assert caught.value.where == f"{path}: row 3, column 'min_ms'"


def test_the_nearest_configuration() -> None:
    known = [Configuration("b", 1), Configuration("b", 4), Configuration("b", 8, 2), Configuration("b", 1, 0, 0, "7")]
    assert nearest(known, Configuration("b")) == 2
    assert nearest(known, Configuration("b", 3)) == 1
    assert nearest(known, Configuration("b", gpu=0)) == 3
    assert nearest(known, Configuration("b", 4, run="7")) == 3


def test_completion_recovers_a_low_rank() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(size=(60, 1)) + 0.3 * random.normal(size=(60, 1)) * np.linspace(-1, 1, 6)
    gaps = np.where(random.random(truth.shape) < 0.2, np.nan, truth)
    found = complete(gaps)
    given = np.full(6, np.nan)
    given[[0, 5]] = truth[0, [0, 5]]
    mean, variance = found.given(given)
    np.testing.assert_allclose(mean, truth[0], atol=0.1)
    assert (variance[[0, 5]] < variance[[2, 3]]).all()
