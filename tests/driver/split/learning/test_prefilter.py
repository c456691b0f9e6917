"""A head on the device's half says that there is nothing to send: nothing is sent, and the answer is the head's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import split_lab
from learning_kit import scores_of
from onnx_kit import model, node, value
from split_kit import SECRET, InThread

from optc.artifact.split_reading import read_record
from optc.driver.split.bottlenecks import cut_at
from optc.driver.split.build import SplitOptions, build_split, prepare_split
from optc.driver.split.replay import way_costs
from optc.driver.split.trained import TrainedWay, read_trained, write_trained
from optc.ops.onnx_export import to_onnx_model
from optc.runtime.split import Client, Fixed, Limits, Server
from optc.runtime.split.control import ModelPredictive
from optc.runtime.split.observation import Observation

torch = pytest.importorskip("torch")

from optc.driver.split.learning.loop import Samples, Schedule  # noqa: E402
from optc.driver.split.learning.prefilter import (  # noqa: E402
    Prefilter,
    Rule,
    calibrate_prefilter,
    filtered,
    prefilter_scores,
    train_prefilter,
)

NOTHING = 0


def network() -> onnx.ModelProto:
    """Bright pictures are of class 1 or 2, dark ones of class 0, which means that there is nothing."""
    random = np.random.default_rng(0)
    weights = {
        "w1": np.abs(random.normal(0, 0.1, (4, 3, 3, 3))),
        "w2": np.abs(random.normal(0, 0.1, (6, 4, 3, 3))),
        "w3": np.concatenate([np.zeros((1, 6)), random.normal(0, 0.05, (2, 6)) + 0.15]),
        "b3": np.array([4.0, 0.0, 0.0]),
    }
    nodes = [
        node("Conv", "image w1", "c1", pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c2", "r2"),
        node("GlobalAveragePool", "r2", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f w3 b3", "scores", transB=1),
    ]
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    return model(nodes, [value("image", (1, 3, 16, 16))], [value("scores", (1, 3))], arrays)


def pictures(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    brightness = np.where(np.arange(count) % 2, 1.5, 0.0)[:, None, None, None]
    return (np.abs(random.normal(0, 0.3, (count, 3, 16, 16))) + brightness).astype(np.float32)


@pytest.fixture(scope="module")
def prefilter() -> Prefilter:
    torch.manual_seed(0)
    parts = cut_at(network(), "r2", {})
    assert parts.device is not None and parts.server is not None
    way = TrainedWay("plain", to_onnx_model(parts.device), to_onnx_model(parts.server), {"r2": "q8"}, {"r2": 60})
    made = Prefilter.of(way, network(), "r1", channels=4)
    train_prefilter(made, Samples(torch.from_numpy(pictures(128, 1))), Schedule(12, batch=32, rate=2e-2))
    return made


@pytest.fixture(scope="module")
def rule(prefilter: Prefilter) -> Rule:
    held = torch.from_numpy(pictures(64, 2))
    return calibrate_prefilter(*prefilter_scores(prefilter, held), None, bound=0.0, nothing=[NOTHING])


def test_half_of_the_pictures_hold_nothing(rule: Rule) -> None:
    wanted = scores_of(network(), pictures(64, 2)).argmax(1)
    assert 0.3 < np.mean(wanted == NOTHING) < 0.7
    assert rule.drop <= 0.0
    assert abs(rule.leaves - np.mean(wanted == NOTHING)) < 0.1


def test_a_bound_lets_as_many_leave_as_it_allows() -> None:
    early = torch.tensor([[4.0, 0.0], [3.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    late = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
    none = calibrate_prefilter(early, late, None, 0.0, [0])
    assert (none.leaves, none.drop) == (0.25, 0.0)
    some = calibrate_prefilter(early, late, None, 0.25, [0])
    assert (some.leaves, some.drop) == (0.75, 0.25)
    labels = torch.tensor([0, 0, 0, 0])
    assert calibrate_prefilter(early, late, labels, 0.0, [0]).leaves == 0.75  # the last is likely something
    assert calibrate_prefilter(early, late, labels, 0.0).leaves == 1.0


def test_who_leaves_sends_nothing(prefilter: Prefilter, rule: Rule, tmp_path: Path) -> None:
    write_trained(filtered(prefilter, rule), tmp_path / "filtered")
    assert read_trained(tmp_path / "filtered").exit == "left_early"
    device, server = split_lab.targets(tmp_path)
    images = pictures(64, 3)
    np.save(tmp_path / "samples.npy", images)
    options = SplitOptions(
        device=device,
        server=server,
        link=split_lab.LINK,
        encodings=("lossless",),
        calib=str(tmp_path / "samples.npy"),
        bottlenecks=(tmp_path / "filtered",),
        tune=0,
    )
    prepared = prepare_split(network(), options)
    build_split(prepared, options, tmp_path / "split")
    way = read_record(tmp_path / "split").way("filtered")
    early = prefilter(torch.from_numpy(images)).detach()
    leaving = (rule.sureness(early) >= rule.threshold).numpy()
    assert way.predicted.leaves == leaving.mean()
    planned = next(each for each in prepared.plan.ways if each.fitted is not None)
    assert planned.cost.bytes == round((1 - leaving.mean()) * (way.sent_bytes + way.returned_bytes))
    with (
        InThread(Server(tmp_path / "split", secret=SECRET, limits=Limits(workers=1))) as server_side,
        Client(tmp_path / "split", server_side.address, secret=SECRET, chooser=Fixed("filtered"), threads=1) as client,
    ):
        assert client.connect()
        for picture, stays, wanted in zip(images[:8], ~leaving, scores_of(network(), images[:8]), strict=False):
            answer = client.run({"image": picture[None]})
            report = answer.report
            assert (report.left, report.remote, report.way, report.reason) == (not stays, stays, "filtered", "")
            assert (report.sent_bytes > 0) == stays
            assert answer.outputs["scores"].argmax() == wanted.argmax()
            if stays:
                np.testing.assert_allclose(answer.outputs["scores"][0], wanted, atol=0.05)
        assert server_side.server.totals.answered == int((~leaving)[:8].sum()) == 4
    with Client(tmp_path / "split", None, chooser=Fixed("filtered"), threads=1) as alone:
        found = [alone.run({"image": picture[None]}).report for picture in images[:2]]
    assert [(report.way, report.left) for report in found] == [("filtered", True), ("local", False)]
    _the_controller_counts_on_it(prepared.plan, leaving.mean())


def _the_controller_counts_on_it(plan, leaves: float) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    ways = way_costs(plan)
    never = [replace(way, leaves=0.0) for way in ways]
    known, unknown = (
        ModelPredictive(each, split_lab.LINK).costs(Observation(connected=True))["filtered"] for each in (ways, never)
    )
    own = next(way for way in ways if way.name == "filtered").device_seconds
    local = next(way for way in ways if not way.uses_server).device_seconds
    assert known == pytest.approx(leaves * own / local + (1 - leaves) * unknown)
