"""A device, an edge server and a cloud: the edge is the cloud's device, and goes on without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import split_lab
from split_kit import SECRET, InThread

from optc.artifact.split_reading import read_record
from optc.driver.split.build import SplitOptions, build_split, prepare_split
from optc.errors import OptcError
from optc.runtime.split import Client, Fixed, Limits, NextTier, Server, Timing
from optc.runtime.split.served import next_folders

LIMITS = Limits(workers=1)
QUICK = replace(split_lab.LINK, uplink=1e9, downlink=1e9, rtt=1e-4)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiers")
    device, cloud = split_lab.targets(folder)
    options = SplitOptions(
        device=device,
        server=device,
        link=QUICK,
        encodings=("lossless",),
        beyond=cloud,
        beyond_link=QUICK,
        tune=0,
    )
    prepared = prepare_split(split_lab.network(), options)
    assert prepared.plan.chosen.name == "local"  # an edge server that is no faster than the device is of no use
    build_split(prepared, options, folder / "split")
    return folder / "split"


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def cloud(built: Path) -> Iterator[InThread]:
    with InThread(Server(built, secret=SECRET, limits=LIMITS, last=True)) as running:
        yield running


def whole(image: np.ndarray) -> np.ndarray:
    proto = split_lab.network().SerializeToString()
    session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], {"image": image})[0])


def test_the_halves_of_the_edge_are_split_models(built: Path) -> None:
    record = read_record(built)
    remote = record.way("remote")
    assert remote.server is not None and remote.server.kind == "split"
    inner = read_record(built / remote.server.folder)
    assert (inner.device, inner.server) == ("slow", "fast")
    assert remote.predicted.server_seconds < 0.1 * record.way("local").predicted.device_seconds
    assert record.chosen == "remote"
    assert {place.name for place in next_folders(built)} >= {"remote"}


def test_a_request_goes_through_all_tiers_and_without_the_last(built: Path, cloud: InThread, image: np.ndarray) -> None:
    beyond = NextTier(cloud.address, SECRET, chooser=partial(Fixed, "remote"))
    patient = Timing(connect=1.0, backoff=0.01, backoff_most=0.1)
    with (
        InThread(Server(built, secret=SECRET, limits=LIMITS, beyond=beyond)) as edge,
        Client(
            built, edge.address, secret=SECRET, chooser=Fixed("remote"), threads=1, timing=patient, timeout=20.0
        ) as device,
    ):
        assert device.connect()
        (served,) = edge.server._served.values()
        for way in served.ways.values():
            assert way.engine._client.connect()  # type: ignore[union-attr]
        answer = device.run({"image": image})
        assert answer.report.remote
        np.testing.assert_allclose(answer.outputs["scores"], whole(image), rtol=1e-4, atol=1e-5)
        assert cloud.server.totals.answered == 1
        cloud.stop()
        answer = device.run({"image": image})
        assert answer.report.remote
        np.testing.assert_allclose(answer.outputs["scores"], whole(image), rtol=1e-4, atol=1e-5)


def test_a_split_of_two_tiers_has_no_third(split: Path) -> None:
    with pytest.raises(OptcError) as error:
        Server(split, secret=SECRET, last=True)
    assert str(error.value) == (
        f"the split model has nothing for a next tier to do\n  at {split}\n"
        "  hint: optc split --beyond makes one that has"
    )
