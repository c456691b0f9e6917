"""The commands on a small set in the format of a public one: train, kill, resume, judge, predict, adapt."""

from __future__ import annotations

import csv
import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optc.cli.app import run
from optc.costmodel import predictors
from optc.costmodel.architectures import nb201

Capture = pytest.CaptureFixture[str]

CONFIG = """name = "small"
set = "help_nb201"
seed = 3
[split]
held_out = 0.3
samples = 120
[model]
folds = 3
"""
COSTS = {"one": (4.0, 0.1, 1.0, 6.0, 0.5), "two": (9.0, -0.2, 2.0, 3.0, 0.4), "three": (2.0, 0.1, 0.5, 2.0, 2.0)}
DEVICES = {"one": "eager", "two": "eager", "three": "pruned", "four": "exported"}


def latency(device: str, indices: np.ndarray) -> np.ndarray:
    """Latencies of a made-up device: counts of work, and 1% of noise."""
    costs = np.array(COSTS.get(device, (3.0, 0.1, 0.8, 5.0, 0.7)))
    counts = nb201.features(nb201.index_table()[indices], DEVICES[device])[:, :4]
    noise = np.random.default_rng(len(device)).normal(size=len(indices))
    return (costs[0] + counts @ costs[1:]) * np.exp(0.01 * noise)


@pytest.fixture
def indices() -> np.ndarray:
    chosen = np.random.default_rng(5).permutation(5**6)[:500]
    return np.sort(chosen[nb201.connected(nb201.index_table()[chosen])])


@pytest.fixture
def data(tmp_path: Path, indices: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(predictors, "shipped_folder", lambda: tmp_path / "shipped")
    folder = tmp_path / "data" / "help_nb201"
    folder.mkdir(parents=True)
    columns = {name: latency(name, indices) for name in COSTS}
    lines = [",".join(["arch_idx", *(f"{name}_ms" for name in columns)])]
    lines += [
        ",".join([str(index), *(f"{columns[name][row]:.6g}" for name in columns)]) for row, index in enumerate(indices)
    ]
    (folder / "latency.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path / "data"


def train(data: Path, *more: str) -> list[str]:
    words = ["costmodel", "train", "--config", str(data.parent / "small.toml"), "--data", str(data)]
    return [*words, "-o", str(data.parent / "shipped"), *more]


def as_json(capsys: Capture, *words: str) -> Any:
    assert run(["costmodel", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_judge_and_predict(data: Path, indices: np.ndarray, tmp_path: Path, capsys: Capture):
    assert run(train(data)) == 0
    capsys.readouterr()
    (card,) = as_json(capsys, "list")["predictors"]
    assert card["rows"] == {"one": 120, "two": 120, "three": 120}
    assert card["figures"]["three"]["within_5"] > 0.95
    assert card["figures"]["three"]["spearman"] > 0.99

    source = str(data / "help_nb201" / "latency.csv.gz")
    plot = tmp_path / "plot.svg"
    found = as_json(capsys, "eval", "--target", "one", "--data", source, "--plot", str(plot))
    assert found["rows"] == len(indices)
    assert 0.8 < found["coverage"] < 1.0
    assert plot.read_text().count("<circle") == len(indices)

    other = np.setdiff1d(np.arange(5**6), indices)[:200]
    wanted = other[nb201.connected(nb201.index_table()[other])]
    (tmp_path / "q.csv").write_text("arch_idx\n" + "\n".join(map(str, wanted)))
    words = ["--arch-csv", str(tmp_path / "q.csv"), "--set", "help_nb201", "--target", "two"]
    assert run(["costmodel", "predict", *words, "-o", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["arch_idx", "latency_ms", "p05", "p95"]
    assert [int(row["arch_idx"]) for row in rows] == wanted.tolist()
    predicted = np.array([float(row["latency_ms"]) for row in rows])
    assert np.abs(predicted / latency("two", wanted) - 1).mean() < 0.03
    assert all(float(row["p05"]) <= float(row["latency_ms"]) <= float(row["p95"]) for row in rows)


KILLED_AFTER_A_CHECKPOINT = """
import os, signal, sys
from optc.cli.app import run
from optc.costmodel.training.checkpoints import Checkpoints

store = Checkpoints.store

def store_and_die(self, key, arrays):
    store(self, key, arrays)
    os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.store = store_and_die
run(sys.argv[1:])
"""


def test_a_killed_training_run_resumes_to_the_same_predictor(data: Path, tmp_path: Path):
    assert run(train(data)) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "shipped" / "small").iterdir()}

    checkpoints = tmp_path / "cache" / "training" / "small"
    killed = subprocess.run([sys.executable, "-c", KILLED_AFTER_A_CHECKPOINT, *train(data)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(checkpoints.glob("*.npz"))) == 1
    assert run(train(data, "--resume")) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "shipped" / "small").iterdir()} == whole
    assert not checkpoints.exists()


def test_ten_measurements_make_a_predictor_of_a_new_device(data: Path, tmp_path: Path, capsys: Capture):
    assert run(train(data)) == 0
    capsys.readouterr()
    samples = tmp_path / "samples.csv"
    words = ["--set", "help_nb201", "--target", "four"]
    chosen = as_json(capsys, "suggest", *words, "-n", "10", "-o", str(samples))["arch_idx"]
    assert len(set(chosen)) == 10
    rows = np.array([int(name) for name in chosen])
    lines = [f"{index},{value:.6g}" for index, value in zip(rows, latency("four", rows), strict=True)]
    samples.write_text("arch_idx,latency_ms\n" + "\n".join(lines))
    card = as_json(capsys, "adapt", *words, "--samples", str(samples))
    assert card["targets"] == ["four"]
    others = np.setdiff1d(np.flatnonzero(nb201.connected(nb201.index_table())), rows)[::40]
    (tmp_path / "q.csv").write_text("arch_idx\n" + "\n".join(map(str, others)))
    found = as_json(capsys, "predict", "--arch-csv", str(tmp_path / "q.csv"), *words)["predictions"]
    predicted = np.array([float(row["latency_ms"]) for row in found])
    assert np.abs(predicted / latency("four", others) - 1).mean() < 0.05


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("\n", "\n,", 1), "error: the row has 5 cells, the header 4\n  at {path}: row 2\n"),
        (lambda text: text.replace(".", "x", 1), "is not a positive number\n  at {path}: row 2, column 'one_ms'\n"),
        (lambda text: text.replace("arch_idx", "arch", 1), "error: there is no column 'arch_idx'\n  at {path}\n"),
        (lambda text: text + "\n" + text.splitlines()[1], "stands in row 2 already\n  at {path}: row "),
    ],
)
def test_damaged_data_is_named_by_file_and_row(data: Path, capsys: Capture, edit: Any, message: str):
    packed = data / "help_nb201" / "latency.csv.gz"
    text = gzip.decompress(packed.read_bytes()).decode()
    packed.unlink()
    path = packed.with_suffix("")
    path.write_text(edit(text))
    assert run(train(data)) == 1
    assert message.format(path=path) in capsys.readouterr().err
    assert not (data.parent / "shipped").exists()


def test_a_truncated_file_is_named(data: Path, capsys: Capture):
    path = data / "help_nb201" / "latency.csv.gz"
    path.write_bytes(path.read_bytes()[:2000])
    assert run(train(data)) == 1
    assert f"error: the file is damaged\n  at {path}: row " in capsys.readouterr().err


def test_targets_that_nobody_predicts(data: Path, capsys: Capture):
    assert run(train(data)) == 0
    capsys.readouterr()
    (data / "q.csv").write_text("arch_idx\n1\n")
    words = ["predict", "--arch-csv", str(data / "q.csv"), "--set", "help_nb201", "--target", "five"]
    assert run(["costmodel", *words]) == 2
    expected = "no predictor knows the target 'five' on 'help_nb201'\n  at --target\n  hint: one of one, three, two\n"
    assert capsys.readouterr().err == f"error: {expected}"
