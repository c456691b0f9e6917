"""The channels that matter stay on the device, the others are sent, and the answers are joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import split_lab
from learning_kit import scores_of
from onnx_kit import model, node, value
from split_kit import SECRET, InThread

from optc.driver.split.build import SplitOptions, build_split, prepare_split
from optc.errors import UsageError
from optc.runtime.split import Client, Fixed, Limits, Server

torch = pytest.importorskip("torch")

from optc.driver.split.learning.loop import Samples, Schedule  # noqa: E402
from optc.driver.split.learning.prefilter import calibrate_prefilter  # noqa: E402
from optc.driver.split.learning.routing import (  # noqa: E402
    Routed,
    importance,
    routed_scores,
    routed_way,
    train_routed,
    unevenness,
)

MATTER = (1, 4)


def network() -> onnx.ModelProto:
    """Of six features, two carry most of what the scores of three classes rest on."""
    random = np.random.default_rng(2)
    weights = {
        "w1": random.normal(0, 0.4, (6, 3, 3, 3)),
        "w2": random.normal(0, 0.02, (8, 6, 3, 3)),
        "w3": random.normal(0, 1.0, (3, 8)),
    }
    weights["w2"][:, MATTER] *= 20
    nodes = [
        node("Conv", "image w1", "c1", pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1] * 4),
        node("Relu", "c2", "r2"),
        node("GlobalAveragePool", "r2", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f w3", "scores", transB=1),
    ]
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    return model(nodes, [value("image", (1, 3, 12, 12))], [value("scores", (1, 3))], arrays)


def pictures(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(0, 0.3, (count, 3, 12, 12)) + random.normal(0, 1.0, (count, 3, 1, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def before() -> Routed:
    torch.manual_seed(0)
    return Routed.of(network(), "r1", torch.from_numpy(pictures(64, 1)), local=2, hidden=8)


@pytest.fixture(scope="module")
def trained() -> Routed:
    torch.manual_seed(0)
    images = torch.from_numpy(pictures(256, 1))
    made = Routed.of(network(), "r1", images[:64], local=2, hidden=8)
    train_routed(made, Samples(images), Schedule(12, batch=32, rate=1e-2, trained_rate=1e-3), goal=0.95)
    return made


def test_what_matters_stays(before: Routed) -> None:
    shares = importance(before, torch.from_numpy(pictures(64, 1)))
    assert float(shares.sum()) == pytest.approx(1.0)
    assert before.chosen.tolist() == list(MATTER)
    assert float(shares[list(MATTER)].sum()) > 0.7
    with pytest.raises(UsageError, match="6 of 6 channels cannot stay while others are sent"):
        Routed.of(network(), "r1", torch.from_numpy(pictures(8, 1)), local=6)


def test_training_joins_the_answers_and_makes_importance_uneven(before: Routed, trained: Routed) -> None:
    images = pictures(128, 7)
    wanted = scores_of(network(), images).argmax(1)
    local, joint = routed_scores(trained, torch.from_numpy(images))
    agreement = float(np.mean(joint.numpy().argmax(1) == wanted))
    assert agreement > 0.85
    assert float(np.mean(local.numpy().argmax(1) == wanted)) > 0.7

    def mean(model: Routed) -> float:
        features = model.front(torch.from_numpy(images)).detach().requires_grad_()
        return float(unevenness(model, features).mean())

    assert mean(trained) > mean(before)


def test_the_way_answers_as_trained_and_keeps_sure_answers(trained: Routed, tmp_path: Path) -> None:
    images = pictures(48, 9)
    held = torch.from_numpy(pictures(64, 8))
    rule = calibrate_prefilter(*routed_scores(trained, held), None, bound=0.02)
    assert 0 < rule.leaves < 1
    ways = (
        routed_way(trained, held, "all", encoding="lossless"),
        routed_way(trained, held, "sure", encoding="q4", rule=rule),
    )
    device, server = split_lab.targets(tmp_path)
    np.save(tmp_path / "samples.npy", images)
    options = SplitOptions(
        device=device,
        server=server,
        link=split_lab.LINK,
        encodings=("lossless",),
        calib=str(tmp_path / "samples.npy"),
        bottlenecks=ways,
        tune=0,
    )
    record = build_split(prepare_split(network(), options), options, tmp_path / "split")
    assert record.way("sure").sent_bytes < 0.5 * record.way("all").sent_bytes
    local, joint = routed_scores(trained, torch.from_numpy(images))
    leaving = (rule.sureness(local) >= rule.threshold).numpy()
    assert record.way("sure").predicted.leaves == leaving.mean()
    first = np.array([*np.flatnonzero(leaving)[:3], *np.flatnonzero(~leaving)[:3]])
    assert len(first) == 6
    with InThread(Server(tmp_path / "split", secret=SECRET, limits=Limits(workers=1))) as running:
        for name, wanted in (("all", joint), ("sure", torch.where(torch.from_numpy(leaving)[:, None], local, joint))):
            with Client(tmp_path / "split", running.address, secret=SECRET, chooser=Fixed(name), threads=1) as client:
                assert client.connect()
                for place in first:
                    answer = client.run({"image": images[place : place + 1]})
                    assert answer.report.left == (name == "sure" and bool(leaving[place]))
                    found = answer.outputs["scores"][0]
                    exact = name == "all" or leaving[place]
                    np.testing.assert_allclose(found, wanted[place].numpy(), atol=1e-4 if exact else 0.2)
