"""Training on a made-up set, prediction on seen and unseen GPUs, and what is said of unfit files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from gpu_kit import write_set

from optc.costmodel import predictors
from optc.costmodel.datasets import neusight_gpu_ops
from optc.costmodel.datasets.table import DataError, read_table
from optc.costmodel.evaluation import summary
from optc.costmodel.gpu_operators import kind
from optc.costmodel.gpu_operators.families import FAMILIES, alignment, columns_of, family_of
from optc.costmodel.gpu_operators.features import START_MS, describe
from optc.costmodel.gpu_operators.forest import Forest
from optc.costmodel.gpu_operators.specifications import Specifications
from optc.costmodel.training.config import Config
from optc.costmodel.training.run import Run
from optc.errors import UsageError

NEW_GPU = """
bandwidth_gb_s = 1000
multiprocessors = 90
cores_per_multiprocessor = 64
clock_mhz = 1400
gflops = 15000
l2_mb = 8
"""
OPTIONS = {"gemm_rounds": 60, "conv_rounds": 60, "vector_rounds": 60, "leaves": 15, "rate": 0.2,
           "transfer_rounds": 40, "transfer_leaves": 7, "transfer_rate": 0.2}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def card(data: Path, tmp_path_factory: pytest.TempPathFactory) -> predictors.Card:
    pytest.importorskip("lightgbm")
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        run = Run(Config("made_up", "neusight_gpu_ops", 0, {"trees": OPTIONS}), out)
        kind.train(run, data)
    return predictors.read_card(out / "made_up")


def test_trees_say_what_lightgbm_says() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(1)
    rows = random.normal(size=(500, 4)).astype(np.float32)
    target = np.sin(rows[:, 0]) + rows[:, 1] * (rows[:, 2] > 0)
    options = {"num_leaves": 9, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    model = lightgbm.train(options, lightgbm.Dataset(rows, target), 20)
    forest = Forest.of_lightgbm(model.dump_model())
    again = Forest.of_arrays(forest.arrays("x"), "x")
    np.testing.assert_allclose(again.predict(rows), model.predict(rows), rtol=1e-5, atol=1e-6)
    assert again.predict(rows[:0]).shape == (0,)


def test_a_constant_target_makes_trees_without_nodes() -> None:
    leaf = {"leaf_index": 0, "leaf_value": 2.5}
    forest = Forest.of_lightgbm({"tree_info": [{"num_leaves": 1, "tree_structure": leaf}] * 2})
    np.testing.assert_array_equal(forest.predict(np.zeros((3, 1), np.float32)), [5.0, 5.0, 5.0])


def test_figures_of_a_matrix_product() -> None:
    columns = {"op": np.zeros(1), "B": np.array([4.0]), "M": np.array([100.0]), "N": np.array([64.0])}
    columns["K"] = np.array([32.0])
    sheet = Specifications(100.0, 10, 64, 1000, 2000.0, 4)
    found, guess = describe(FAMILIES["gemm"], columns, [sheet])
    flops, moved = 2 * 4 * 100 * 64 * 32, 4 * 4 * (100 * 32 + 32 * 64 + 100 * 64)
    assert guess[0] == pytest.approx(START_MS + max(flops / 2000e6, moved / 100e6))
    assert found["waves_64x64"][0] == pytest.approx(math.log(4 * 2 / 10))  # two tiles cover 100 rows
    assert found["last_wave_64x64"][0] == pytest.approx(10 / 8)
    assert found["padding_64x64"][0] == pytest.approx(128 / 100)


def test_alignment() -> None:
    np.testing.assert_array_equal(alignment(np.array([1.0, 2, 12, 64, 192, 256])), [0, 1, 2, 6, 6, 6])


def test_what_was_learned_holds_on_shapes_that_were_held_out(card: predictors.Card) -> None:
    for name in ("Small", "Large", "Larger"):
        assert card.figures[name]["median_ape"] < 10.0
        assert 0.7 <= card.figures[name]["coverage"] <= 1.0
    assert card.figures["unseen: Large"]["median_ape"] < 25.0


def test_the_same_seed_gives_the_same_bytes(
    card: predictors.Card, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    run = Run(Config("made_up", "neusight_gpu_ops", 0, {"trees": OPTIONS}), tmp_path / "out")
    kind.train(run, data)
    again = tmp_path / "out" / "made_up" / predictors.ARRAYS
    assert again.read_bytes() == (card.folder / predictors.ARRAYS).read_bytes()


def test_evaluation_takes_the_rows_of_one_gpu(card: predictors.Card, data: Path) -> None:
    found = kind.evaluate(card, "Large", read_table(data / "gemm.csv"))
    content = summary(found)
    assert content["rows"] == 240
    assert content["median_ape"] < 10.0
    assert set(found.groups) == {"bmm"}
    with pytest.raises(UsageError, match="there is no measurement on 'Absent'"):
        kind.evaluate(card, "Absent", read_table(data / "gemm.csv"))


def test_a_gpu_from_a_file_of_its_figures(card: predictors.Card, data: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new.toml"
    sheet.write_text(NEW_GPU)
    as_json = tmp_path / "new.json"
    values = dict(line.split(" = ") for line in NEW_GPU.strip().splitlines())
    as_json.write_text(json.dumps({name: float(value) for name, value in values.items()}))
    table = read_table(data / "vector.csv")
    found, same = kind.predict(card, str(sheet), table), kind.predict(card, str(as_json), table)
    np.testing.assert_array_equal(found.value, same.value)
    assert (found.low < found.value).all() and (found.value < found.high).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NEW_GPU.replace("l2_mb = 8", ""), "the GPU's 'l2_mb' must be a positive number"),
        (NEW_GPU.replace("l2_mb = 8", "l2_mb = -1"), "the GPU's 'l2_mb' must be a positive number"),
        (NEW_GPU + "colour = 3", "a GPU has no 'colour'"),
        ("[", "the GPU's description cannot be read"),
    ],
)
def test_incomplete_figures_of_a_gpu(
    card: predictors.Card, data: Path, tmp_path: Path, text: str, message: str
) -> None:
    sheet = tmp_path / "new.toml"
    sheet.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        kind.predict(card, str(sheet), read_table(data / "vector.csv"))
    assert caught.value.where == str(sheet)


def test_an_unknown_gpu(card: predictors.Card, data: Path) -> None:
    with pytest.raises(UsageError, match="no GPU is called 'Voodoo 2'") as caught:
        kind.predict(card, "Voodoo 2", read_table(data / "vector.csv"))
    assert caught.value.hint == "one of Small, Large, Larger, or a .toml file with a GPU's figures"


def test_a_shape_far_outside_is_flagged(card: predictors.Card, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("op,B,H\nrelu,64,64\nrelu,64,1000000\n")
    np.testing.assert_array_equal(kind.predict(card, "Large", read_table(path)).known, [True, False])


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("op,B,H\nrelu,64,x\n", "'x' is not a number", "rows.csv: row 2, column 'H'"),
        ("op,B,H\nrelu,64,1\nrelu,0,1\n", "'0' is not a positive number", "rows.csv: row 3, column 'B'"),
        ("op,B,H\nsin,64,1\n", "'sin' is none of add, ", "rows.csv: row 2, column 'op'"),
    ],
)
def test_unfit_rows(tmp_path: Path, text: str, message: str, place: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    table = read_table(path)
    with pytest.raises(DataError, match=message) as caught:
        columns_of(table, family_of(table))
    assert str(caught.value.where).endswith(place)


def test_columns_of_no_family(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="the columns describe no GPU operators"):
        family_of(read_table(path))


def test_measurements_of_a_gpu_without_data_sheet(data: Path, tmp_path: Path) -> None:
    folder = write_set(tmp_path, rows=2)
    path = folder / "vector.csv"
    path.write_text(path.read_text().replace("relu,Large", "relu,Huge", 1))
    with pytest.raises(DataError, match=r"'Huge' has no row in device_specs\.csv") as caught:
        neusight_gpu_ops.read(folder)
    assert str(caught.value.where) == f"{path}: row 3, column 'device'"
