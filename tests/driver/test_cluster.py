"""Work spread over a local Ray cluster of two workers gives what one process gives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_kit import model, node, value

from optc import artifact
from optc.backends.tvm.tuning.sharing import outstanding, take
from optc.cli.app import run
from optc.costmodel.training.config import Config, read_config
from optc.costmodel.training.sweep import in_turn, sweep, to_toml, trials
from optc.driver.tuning.planning import Unit, planned
from optc.driver.tuning.session import tune_all
from optc.driver.tuning.shard import Shard, figures, measure_shard
from optc.driver.tuning.spreading import measure_on_ray
from optc.errors import OptcError, UsageError
from optc.targets import load

RESULTS = """system,benchmark,latency_ms,energy_uJ,throughput_energy_mode_ips
board,ic,10,200,
board,kws,5,104,
fast,ic,1,300,
fast,kws,1,290,
"""


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'optc[cluster]'")
    before = os.environ.get("OPTC_CACHE_DIR")
    os.environ["OPTC_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))  # the workers inherit it
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # a busy machine starts it slowly
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()
    os.environ.pop("OPTC_CACHE_DIR")
    if before is not None:
        os.environ["OPTC_CACHE_DIR"] = before


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "results.csv").write_text(RESULTS)
    (tmp_path / "power.toml").write_text('name = "power"\nset = "mlperf_tiny"\n')
    return tmp_path


def named(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run([*words, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["trials"]
    return found


def test_a_sweep_on_two_workers_finds_what_one_process_finds(
    two_workers: Any, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["costmodel", "sweep", "--config", str(data / "power.toml"), "--data", str(data), "--vary", "seed=3,4"]
    alone = named([*words, "-o", str(data / "alone")], capsys)
    together = named([*words, "-o", str(data / "together"), "--ray"], capsys)
    assert alone == together
    assert [(row["predictor"], row["options"]) for row in alone if row["target"] == "fast"] == [
        ("power-0", {"seed": 3}), ("power-1", {"seed": 4}),
    ]  # fmt: skip


def test_a_collection_on_two_workers_has_the_rows_of_one_process(two_workers: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from collection_kit import small_workloads

    from optc.costmodel.kernels.store import RowStore
    from optc.driver.collection.session import Settings, collect
    from optc.driver.collection.spreading import collect_on_cluster

    workloads, settings = small_workloads(), Settings(budget=300.0, points=2, batch=2)
    alone, together = RowStore(tmp_path / "alone"), RowStore(tmp_path / "together")
    collect(alone, workloads, load("cpu"), settings)
    summary = collect_on_cluster(together, workloads, load("cpu"), settings)
    stored = [row.key for row in together.rows()]
    assert sorted(stored) == sorted(alone.keys()) and summary.rows == len(stored) > 0
    assert len(together.parts()) == len(workloads)
    again = collect_on_cluster(together, workloads, load("cpu"), settings)
    assert (again.rows, len(list(together.rows()))) == (0, len(stored))


def test_an_error_on_a_worker_is_told(two_workers: Any, data: Path) -> None:
    from optc.driver.cluster import cluster, spread

    (data / "results.csv").write_text(RESULTS.replace("5,104", "5,-104"))
    found = trials(read_config(data / "power.toml"), {"seed": [0]})
    with cluster() as ray, pytest.raises(OptcError, match="a trial of the sweep failed") as caught:
        list(sweep(found, data, data / "out", lambda work, tasks: spread(ray, work, tasks)))
    assert "'-104' is not a positive number" in str(caught.value)


def test_trials_are_all_combinations(tmp_path: Path) -> None:
    config = Config("a", "b", 7, {"model": {"trees": 5, "kind": "x"}})
    found = trials(config, {"model.trees": [1, 2], "model.rate": [0.5], "seed": [7, 8]})
    assert [(t.config.tables["model"], t.config.seed) for t in found] == [
        ({"trees": trees, "kind": "x", "rate": 0.5}, seed) for trees in (1, 2) for seed in (7, 8)
    ]
    path = tmp_path / "c.toml"
    path.write_text(to_toml(found[0].config))
    assert read_config(path).digest() == found[0].config.digest()
    with pytest.raises(UsageError, match="'trees = 1' cannot be varied"):
        trials(config, {"trees": [1]})


def test_trials_in_turn_are_numbered() -> None:
    assert list(in_turn(lambda a, b: a + b, [(1, 2), (3, 4)])) == [(0, 3), (1, 7)]


@pytest.mark.usefixtures("two_workers")
def test_a_project_is_built_on_workers_that_share_no_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        net = model([node("Relu", "x", "y")], [value("x", [2, 3])], ["y"])
        (tmp_path / f"{name}.onnx").write_bytes(net.SerializeToString() if name == "one" else b"no model")
    lines = ["[defaults]", "tune = 0", "verify = false"]
    lines += [f'[models.{name}]\nfile = "{name}.onnx"' for name in ("one", "two")]
    (tmp_path / "optc.toml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    assert run(["build", "--ray", "--json"]) == 1
    captured = capsys.readouterr()
    units = {each["model"]: each for each in json.loads(captured.out)["units"]}
    assert (units["one"]["status"], units["two"]["status"]) == ("compiled", "failed")
    assert "two/cpu failed with code 1:\nerror: The file is not an ONNX model" in captured.err
    found = artifact.read(tmp_path / "optc-out" / "one" / "cpu")
    assert found.manifest.command == "optc compile one.onnx --target cpu --tune 0 --no-verify"


def networks(folder: Path) -> list[Path]:
    """Two models that have a product of matrices in common."""
    weights = {"w": np.ones((64, 64), np.float32)}
    ends = [value("x", [96, 64])], [value("y", [96, 64])]
    made = {
        "soft": model([node("MatMul", "x w", "a", "product"), node("Softmax", "a", "y", "soft")], *ends, weights),
        "twice": model(
            [node("MatMul", "x w", "a"), node("Softmax", "a", "b"), node("MatMul", "b w", "y")], *ends, weights
        ),
    }
    for name, proto in made.items():
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    return [folder / f"{name}.onnx" for name in made]


@pytest.mark.usefixtures("two_workers")
def test_workers_measure_for_a_machine_that_shares_no_cache_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "mine"))
    models = list(map(str, networks(tmp_path)))
    words = ["tune", *models, "--threads", "1", "--budget", "100s", "--workers", "2", "--ray"]
    assert run([*words, "--json"]) == 0
    captured = capsys.readouterr()
    records = json.loads(captured.out)["models"]
    assert [(each["model"], each["target"]) for each in records] == [("soft", "cpu"), ("twice", "cpu")]
    for each in records:
        assert each["seconds"] <= each["untuned_seconds"]
        chosen = [
            (kernel["selection"]["points"], kernel["selection"]["chosen"]["measured"]) for kernel in each["kernels"]
        ]
        assert chosen and all(points == 1 or measured is not None for points, measured in chosen)
    assert [line.split(":")[0] for line in captured.err.splitlines()] == [
        f"[{number}] {path} for cpu" for number, path in enumerate(models, start=1)
    ]
    assert run(["compile", models[0], "-o", str(tmp_path / "out"), "--threads", "1", "--no-verify"]) == 0
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())["decisions"]["kernels"]
    assert any(kernel["reason"].startswith("fastest of ") for kernel in plan)
    measured = sorted(path.name for path in (tmp_path / "mine" / "schedules").rglob("*") if path.is_file())
    units = [Unit(path, name=path, threads=1) for path in models]
    seen: list[tuple[str, str]] = []
    tune_all(units, budget="1s", measure=measure_on_ray, phase=lambda *words: seen.append(words))
    assert [words for words in seen if "measure" in words[1]] == [(path, "nothing to measure") for path in models]
    assert measured == sorted(path.name for path in (tmp_path / "mine" / "schedules").rglob("*") if path.is_file())


@pytest.mark.usefixtures("two_workers")
def test_a_tuning_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "mine"))
    units = [Unit(str(path), name=path.stem, threads=1) for path in networks(tmp_path)]
    every = [planned(unit) for unit in units]
    groups, target = [group for each in every for group in each.groups], every[0].target
    before = outstanding(groups, target)
    seen: list[tuple[str, str]] = []

    def cut_off(name: str, text: str) -> None:
        seen.append((name, text))
        if text.startswith("measured 1 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_on_ray(every, 100.0, cut_off, workers=1)
    between = outstanding(groups, target)
    assert set(between) < set(before)
    measure_on_ray(every, 100.0, lambda *words: seen.append(words), workers=1)
    assert outstanding(groups, target) == {} and len(between) >= 1


def test_what_is_measured_on_other_hardware_is_no_answer() -> None:
    target = load("cpu")
    other = replace(target, vector_registers=target.vector_registers + 1)
    with pytest.raises(OptcError, match="kernels cannot be measured on a worker") as caught:
        measure_shard(Shard((), "cpu", figures(other), 1, 1.0))
    assert caught.value.why is not None and "; the schedules are for " in caught.value.why
    with pytest.raises(OptcError, match="a worker sent schedules that cannot be read"):
        take([{"group": "x"}], target)


def test_addresses_and_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", "--ray", "model.onnx"]) == 2
    assert capsys.readouterr().err == (
        "error: 'model.onnx' is no address of a Ray cluster\n  at --ray\n"
        "  hint: --ray HOST:PORT, or --ray behind all other words for the cluster of $RAY_ADDRESS or of this machine\n"
    )
    assert run(["tune", "model.onnx", "--workers", "2"]) == 2
    assert capsys.readouterr().err == "error: --workers needs --ray\n"
