"""What is planned is what is built: the ways run, answer as the whole model does, and keep the limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import split_lab

from optc.artifact.split_reading import check_half, read_record
from optc.artifact.split_record import SplitRecord
from optc.driver.split.build import Prepared, SplitOptions, TrainedWay, add_ways, build_split, prepare_split
from optc.errors import LimitError, OptcError, UsageError
from optc.runtime.split.ways import open_way


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return split_lab.targets(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def options(lab: tuple[str, str]) -> SplitOptions:
    return SplitOptions(device=lab[0], server=lab[1], link=split_lab.LINK, encodings=("lossless", "q4"), tune=0)


@pytest.fixture(scope="session")
def prepared(options: SplitOptions) -> Prepared:
    return prepare_split(split_lab.network(), options)


@pytest.fixture(scope="session")
def built(prepared: Prepared, options: SplitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "split"
    build_split(prepared, options, folder)
    return folder


def whole(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(split_lab.network().SerializeToString(), providers=["CPUExecutionProvider"])
    return {"scores": session.run(["scores"], inputs)[0]}


def answer(folder: Path, record: SplitRecord, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    entry = [way.name for way in record.ways].index(name)
    device, server = (open_way(folder, record, entry, server=side) for side in (False, True))
    values = dict(inputs)
    if device.engine is not None:
        values |= device.engine.run(inputs)
    if server.engine is not None:
        received = server.sent.decode(device.sent.encode(values))
        values |= device.returned.decode(server.returned.encode(server.engine.run(received)))
    return {info.name: values[info.name] for info in record.outputs}


def test_a_cut_is_chosen_where_it_pays(prepared: Prepared) -> None:
    plan = prepared.plan
    costs = {way.name: way.cost.seconds for way in plan.ways}
    assert plan.chosen.sent == ("r2",) and plan.chosen.name not in ("local", "remote")
    assert costs[plan.chosen.name] == min(seconds for name, seconds in costs.items() if not name.endswith("-q4"))
    assert costs[plan.chosen.name] < 0.6 * min(costs["local"], costs["remote"])
    assert plan.runner_up is not None and plan.runner_up.name != plan.chosen.name


def test_the_costs_of_operations_add_up(prepared: Prepared, lab: tuple[str, str]) -> None:
    from optc.driver.split.costs import operation_costs

    prices = operation_costs(prepared.plan.module, lab[0])
    assert sum(prices.seconds.values()) == pytest.approx(prices.prediction.seconds)
    local = next(way for way in prepared.plan.ways if way.name == "local")
    assert local.cost.seconds == pytest.approx(prices.prediction.seconds)


def test_all_ways_answer_as_the_model_does(built: Path) -> None:
    record = read_record(built)
    assert [way.name for way in record.ways[:3]] == ["local", "remote", "remote-q4"]
    inputs = {"image": np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    expected = whole(inputs)["scores"]
    for way in record.ways:
        found = answer(built, record, way.name, inputs)["scores"]
        exact = "-q4" not in way.name
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 if exact else 0.15)
        for half in (way.device, way.server):
            if half is not None:
                check_half(built, half)


def test_the_record_says_what_the_plan_said(built: Path, prepared: Prepared) -> None:
    record = read_record(built)
    assert (record.device, record.server, record.chosen) == ("slow", "fast", prepared.plan.chosen.name)
    cut = record.way(record.chosen)
    assert [tensor.name for tensor in cut.sent] == ["r2"] and cut.sent[0].encoding == "lossless"
    assert cut.predicted.device_seconds == pytest.approx(prepared.plan.chosen.cost.computing[0])
    assert cut.details["snr_db"] is None
    assert record.way(f"{record.chosen}-q4").details["snr_db"] > 10
    assert record.way(f"{record.chosen}-q4").sent_bytes < cut.sent_bytes < record.way("remote").sent_bytes


def test_a_split_takes_the_place_of_a_split_and_of_nothing_else(
    prepared: Prepared, options: SplitOptions, tmp_path: Path
) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("...")
    with pytest.raises(OptcError) as error:
        build_split(prepared, options, other)
    assert str(error.value) == (
        f"the output folder exists and is no split model\n  at {other}\n"
        "  hint: choose another output folder, or remove it yourself"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
    again = tmp_path / "split"
    first = build_split(prepared, options, again)
    assert build_split(prepared, options, again).identity == first.identity
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mine", "split"]


def test_private_inputs_and_little_memory(lab: tuple[str, str], options: SplitOptions) -> None:
    plan = prepare_split(split_lab.network(), replace(options, private=("inputs",))).plan
    assert "remote" not in {way.name for way in plan.ways}
    assert plan.missing == {"remote": "values that must stay on the device would leave it"}
    held = next(way.device_bytes for way in plan.ways if way.name == "local")
    small = prepare_split(split_lab.network(), replace(options, memory_limit=held - 1)).plan
    assert small.missing == {"local": f"it needs {held} bytes of the device, and {held - 1} are allowed"}
    assert all(way.device_bytes < held for way in small.ways)
    with pytest.raises(LimitError, match="no split fits into 100 bytes of the device"):
        prepare_split(split_lab.network(), replace(options, memory_limit=100, private=("inputs",)))
    with pytest.raises(UsageError) as error:
        prepare_split(split_lab.network(), replace(options, private=("r22",)))
    assert str(error.value) == "no value is called 'r22'\n  at --private\n  hint: did you mean 'r2'?"


def test_a_bound_on_changed_answers(lab: tuple[str, str], options: SplitOptions, tmp_path: Path) -> None:
    samples = np.random.default_rng(5).standard_normal((64, 3, 32, 32)).astype(np.float32)
    path = tmp_path / "samples.npy"
    np.save(path, samples)
    strict = replace(options, encodings=("lossless", "q2"), calib=str(path), max_drop=0.0)
    prepared = prepare_split(split_lab.network(), strict)
    record = build_split(prepared, strict, tmp_path / "split")
    assert all(way.drop in (None, 0.0) for way in record.ways)
    assert "remote-q2" not in {way.name for way in record.ways}
    only = replace(strict, encodings=("q2",), private=("inputs",), memory_limit=17_000, cuts=1)
    coarse = prepare_split(split_lab.network(), only)
    assert {way.name for way in coarse.plan.ways} == {"1"}
    with pytest.raises(LimitError, match="no way keeps the accuracy that was asked for"):
        build_split(coarse, only, tmp_path / "coarse")
    assert not (tmp_path / "coarse").exists()


def test_trained_halves_are_added(built: Path, options: SplitOptions) -> None:
    from optc.driver.split.halves import cut
    from optc.frontends import load_model
    from optc.ops.onnx_export import to_onnx_model
    from optc.passes.split.graph import operations_of

    module = load_model(split_lab.network()).module
    parts = cut(module, operations_of(module.main)[:2])
    assert parts.device is not None and parts.server is not None
    trained = TrainedWay(
        "narrow",
        to_onnx_model(parts.device),
        to_onnx_model(parts.server),
        encodings={"r1": "q8"},
        sizes={"r1": 77},
        drop=0.004,
        details={"width": 0.5},
    )
    before = read_record(built)
    record = add_ways(built, [trained], options)
    way = read_record(built).way("narrow")
    assert (way.sent_bytes, way.sent[0].encoding, way.drop, way.details["width"]) == (77, "q8", 0.004, 0.5)
    assert record.identity != before.identity
    inputs = {"image": np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    found = answer(built, record, "narrow", inputs)["scores"]
    np.testing.assert_allclose(found, whole(inputs)["scores"], atol=0.02)
