"""Training the kernel predictor: figures that do not depend on how often a run was killed, or on how many share it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optc.errors import OptcError

pytest.importorskip("pyarrow")
pytest.importorskip("catboost")
pytest.importorskip("torch")

CONFIG = """
name = "small"
set = "cpu_kernels"
[split]
folds = 2
[model]
trees = 12
rank_trees = 6
epochs = 3
text_epochs = 1
"""

SCRIPT = """
import sys
import time
from dataclasses import replace
from pathlib import Path
import catboost, torch  # before processes are forked
torch.set_num_threads(1)
from kill_kit import killed_and_resumed
from kernel_rows import make_rows
from optc.costmodel import kinds
from optc.costmodel.kernels.store import RowStore
from optc.costmodel.training.config import read_config
from optc.costmodel.training.run import Run

folder = Path(sys.argv[1])
RowStore(folder / "rows").append(make_rows())
config = read_config(folder / "config.toml")
train = kinds.load("kernels").train

def work(out, resume):
    train(Run(config, folder / out, resume), folder / "rows")

start = time.monotonic()
killed_and_resumed(lambda: work("whole", False), 0, 0.0)
took = time.monotonic() - start
print(killed_and_resumed(lambda: work("killed", True), 5, 0.7 * took))
"""


def run(words: list[str], folder: Path) -> str:
    here = Path(__file__).resolve()
    path = os.pathsep.join([str(here.parent), str(here.parents[2]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "OPTC_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    (made / "config.toml").write_text(CONFIG)
    made.joinpath("killed.txt").write_text(run(["-c", SCRIPT, str(made)], made).split()[-1])
    return made


def cards(*folders: Path) -> list[dict[str, Any]]:
    return [json.loads((each / "small" / "card.json").read_text()) for each in folders]


def test_a_training_that_is_killed_at_any_moment_ends_with_the_same_predictor(folder: Path) -> None:
    assert int((folder / "killed.txt").read_text()) > 0
    whole, killed = folder / "whole", folder / "killed"
    assert (whole / "small" / "model.npz").read_bytes() == (killed / "small" / "model.npz").read_bytes()
    first, second = cards(whole, killed)
    assert first["figures"] == second["figures"] and first["details"] == second["details"]
    assert not (folder / "cache" / "training" / "small").exists()


def test_two_processes_train_the_same_predictor_as_one(folder: Path) -> None:
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "optc", "costmodel"]
    words += [
        "train",
        "--config",
        str(folder / "config.toml"),
        "--data",
        str(folder / "rows"),
        "-o",
        str(folder / "two"),
    ]
    printed = run(words, folder)
    assert printed.count("written to") == 1
    one, two = (
        dict(np.load(folder / name / "small" / "model.npz", allow_pickle=False).items()) for name in ("whole", "two")
    )
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=2e-3, atol=2e-4, err_msg=name)
    first, second = cards(folder / "whole", folder / "two")
    for figures in ("point", "group", "text"):
        for name, value in first["details"]["figures"][figures].items():
            other = second["details"]["figures"][figures][name]
            assert other == value or other == pytest.approx(value, rel=0.02, abs=0.02), name


def test_a_predictor_is_judged_on_a_store_or_on_one_part(folder: Path, tmp_path: Path) -> None:
    from optc.costmodel.kernels import kind
    from optc.costmodel.kernels.store import RowStore
    from optc.costmodel.predictors import read_card

    card = read_card(folder / "whole" / "small")
    rows = kind.read_rows(card, folder / "rows")
    found = kind.evaluate(card, card.targets[0], rows)
    measured = {row.key: row.near_least for row in RowStore(folder / "rows").rows()}
    assert dict(zip(found.ids, found.measured.tolist(), strict=True)) == measured and set(found.groups) == {"conv2d"}
    assert np.median(np.abs(found.prediction.value / found.measured - 1)) < 0.5
    assert (found.prediction.low < found.prediction.value).all() and (
        found.prediction.value < found.prediction.high
    ).all()
    (part,) = RowStore(folder / "rows").parts()
    assert kind.read_rows(card, part).columns["key"] == rows.columns["key"] == list(found.ids)
    with pytest.raises(OptcError, match="a part of the store cannot be read"):
        kind.read_rows(card, tmp_path / "none.parquet")
