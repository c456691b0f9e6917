"""A model with a trained bottleneck becomes a way of the split: priced, compiled, and answered over a socket."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import split_lab
from onnx_kit import model, node, value
from split_kit import SECRET, InThread

from optc.artifact.split_reading import read_record
from optc.driver.split.build import Prepared, SplitOptions, build_split, prepare_split
from optc.driver.split.replay import way_costs
from optc.driver.split.trained import WAY, TrainedWay, read_trained, write_trained
from optc.errors import ModelError, OptcError, UsageError
from optc.runtime.split import Client, Fixed, Limits, Server

SAMPLES = 64


def narrow(classes: int = 10, bottleneck: str = "codes") -> onnx.ModelProto:
    """The interface of the lab's network around 2x8x8 codes, most of which are 0."""
    random = np.random.default_rng(9)
    weights = {
        "w1": random.normal(0, 0.2, (2, 3, 4, 4)),
        "low": np.array(-8.0),
        "high": np.array(7.0),
        "w2": random.normal(0, 0.3, (8, 2, 3, 3)),
        "w3": random.normal(0, 0.05, (classes, 512)),
    }
    nodes = [
        node("Conv", "image w1", "c1", strides=[4, 4]),
        node("Round", "c1", "rounded"),
        node("Clip", "rounded low high", "held"),
        node("Cast", "held", bottleneck, to=onnx.TensorProto.INT8),
        node("Cast", bottleneck, "real", to=onnx.TensorProto.FLOAT),
        node("Conv", "real w2", "c2", pads=[1] * 4),
        node("Relu", "c2", "r2"),
        node("Flatten", "r2", "f"),
        node("Gemm", "f w3", "scores", transB=1),
    ]
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    return model(nodes, [value("image", (1, 3, 32, 32))], [value("scores", (1, classes))], arrays)


def ran(proto: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], {"image": image})[0])


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((SAMPLES, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> SplitOptions:
    folder = tmp_path_factory.mktemp("lab")
    device, server = split_lab.targets(folder)
    np.save(folder / "samples.npy", samples)
    onnx.save(narrow(), folder / "narrow.onnx")
    return SplitOptions(
        device=device,
        server=server,
        link=split_lab.LINK,
        encodings=("lossless",),
        calib=str(folder / "samples.npy"),
        bottlenecks=(str(folder / "narrow.onnx"),),
        tune=0,
    )


@pytest.fixture(scope="module")
def prepared(options: SplitOptions) -> Prepared:
    return prepare_split(split_lab.network(), options)


@pytest.fixture(scope="module")
def built(prepared: Prepared, options: SplitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "split"
    build_split(prepared, options, folder)
    return folder


def test_it_is_priced_beside_the_plain_cuts(prepared: Prepared) -> None:
    plan = prepared.plan
    way = next(way for way in plan.ways if way.fitted is not None)
    assert (way.name, way.sent) == ("bottleneck", ("codes",))
    assert way.cost.bytes < 0.2 * min(other.cost.bytes for other in plan.plain if other.sent)
    (near, far), link = way.fitted.problem.tasks, split_lab.LINK  # type: ignore[union-attr]
    moving = link.up_seconds(way.cost.bytes - 40) + link.down_seconds(40) + link.rtt
    coding = way.cost.computing[0] - near.seconds[0]
    assert way.cost.seconds == pytest.approx(near.seconds[0] + coding + moving + far.seconds[1])
    assert 0 < coding < 1e-5
    assert plan.chosen is way
    assert plan.runner_up in plan.plain
    costs = next(each for each in way_costs(plan) if each.name == "bottleneck")
    assert (costs.sent_bytes + costs.returned_bytes, costs.uses_server) == (way.cost.bytes, True)
    assert costs.device_joules == near.joules > 0


def test_what_it_changes_and_how_many_bytes_it_takes_are_measured(built: Path, samples: np.ndarray) -> None:
    way = read_record(built).way("bottleneck")
    whole, narrowed = (
        [int(ran(proto, image[None]).argmax()) for image in samples] for proto in (split_lab.network(), narrow())
    )
    assert way.drop == np.mean(np.not_equal(whole, narrowed)) == way.details["changed"]
    assert way.sent[0].dtype == "int8"
    assert way.sent[0].encoding.startswith("rans-")
    assert way.sent_bytes < 128  # two channels of 8x8, a byte each, before coding


def test_it_answers_over_a_socket(built: Path, samples: np.ndarray) -> None:
    record = read_record(built)
    assert record.chosen == "bottleneck"
    with InThread(Server(built, secret=SECRET, limits=Limits(workers=1))) as server:
        sent = {}
        for name in ("bottleneck", "remote"):
            with Client(built, server.address, secret=SECRET, chooser=Fixed(name), threads=1) as client:
                assert client.connect()
                wanted = narrow() if name == "bottleneck" else split_lab.network()
                for image in samples[:4]:
                    answer = client.run({"image": image[None]})
                    assert (answer.report.way, answer.report.remote) == (name, True)
                    np.testing.assert_allclose(answer.outputs["scores"], ran(wanted, image[None]), rtol=1e-4, atol=1e-5)
                sent[name] = answer.report.sent_bytes
    assert sent["bottleneck"] < 0.1 * sent["remote"]
    with Client(built, None, threads=1) as alone:
        answer = alone.run({"image": samples[:1]})
    np.testing.assert_allclose(answer.outputs["scores"], ran(split_lab.network(), samples[:1]), rtol=1e-4, atol=1e-5)


def test_without_samples_nothing_is_said_of_accuracy(options: SplitOptions) -> None:
    plan = prepare_split(split_lab.network(), replace(options, calib=None)).plan
    way = next(way for way in plan.ways if way.fitted is not None)
    assert way.fitted is not None
    assert way.fitted.sent[0].encoding == "lossless"
    assert way.fitted.drop is None


def test_a_bound_on_changed_answers_holds_for_it(options: SplitOptions, tmp_path: Path) -> None:
    strict = replace(options, max_drop=0.01)
    record = build_split(prepare_split(split_lab.network(), strict), strict, tmp_path / "split")
    assert "bottleneck" not in {way.name for way in record.ways}
    assert record.chosen != "bottleneck"


def test_little_memory_leaves_it_out(options: SplitOptions, prepared: Prepared) -> None:
    held = next(way.device_bytes for way in prepared.plan.ways if way.fitted is not None)
    plan = prepare_split(split_lab.network(), replace(options, memory_limit=held - 1)).plan
    assert plan.missing["bottleneck"] == f"it needs {held} bytes of the device, and {held - 1} are allowed"
    assert all(way.fitted is None for way in plan.ways)


def test_a_kept_way_comes_back_as_it_was(built: Path, options: SplitOptions, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in (built / "cuts" / "bottleneck").glob("*.npy")}
    coding = read_record(built).way("bottleneck").sent[0].encoding
    halves = (built / "cuts" / "bottleneck" / side / "model.onnx" for side in ("device", "server"))
    way = TrainedWay("thin", *halves, {"codes": coding}, {"codes": 30}, drop=0.004, details={"width": 2}, files=files)
    write_trained(way, tmp_path / "thin")
    found = read_trained(tmp_path / "thin")
    assert (found.name, found.encodings, found.sizes, found.drop) == (way.name, way.encodings, way.sizes, way.drop)
    assert (found.details, found.files) == (way.details, files)
    given = replace(options, bottlenecks=(tmp_path / "thin",), max_drop=0.01)
    record = build_split(prepare_split(split_lab.network(), given), given, tmp_path / "split")
    thin = record.way("thin")
    assert (thin.drop, thin.sent_bytes, thin.details["width"]) == (0.004, 30, 2)
    assert thin.details["changed"] > 0.01
    with pytest.raises(OptcError) as error:
        write_trained(way, tmp_path / "thin")
    assert str(error.value) == f"the trained way cannot be written\n  at {tmp_path / 'thin'}\n  File exists"


def _text(path: Path, old: bytes, new: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(old, new))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: _text(folder / WAY, b"0.25", b"0.01"), "the checksum does not match: the file was changed"),
        (lambda folder: (folder / WAY).write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "table.npy").unlink(), "there is no trained way"),
    ],
)
def test_a_damaged_folder_is_refused(harm: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    halves = split_lab.network(), split_lab.network()
    write_trained(TrainedWay("thin", *halves, drop=0.25, files={"table.npy": b"table"}), tmp_path / "thin")
    harm(tmp_path / "thin")
    with pytest.raises(OptcError, match=message):
        read_trained(tmp_path / "thin")


def test_what_is_no_bottleneck_is_refused(options: SplitOptions, tmp_path: Path) -> None:
    def message(proto: onnx.ModelProto, suffix: str = "", **more: object) -> str:
        path = tmp_path / "other.onnx"
        onnx.save(proto, path)
        given = replace(options, bottlenecks=(f"{path}{suffix}",), calib=None, **more)  # type: ignore[arg-type]
        with pytest.raises((ModelError, UsageError)) as error:
            prepare_split(split_lab.network(), given)
        return str(error.value).replace(str(tmp_path), "")

    assert message(narrow(bottleneck="coded")) == (
        "no value is called 'codes'\n  at --bottleneck /other.onnx\n  hint: did you mean 'coded' or 'scores'?"
    )
    assert message(narrow(classes=7)) == (
        "the way 'bottleneck' does not fit the model\n  at it should give 'scores'\n"
        "  it is float32 [1, 10] on one side and float32 [1, 7] on the other"
    )
    wide = narrow()
    wide.graph.node[-2].input[0] = "c2"
    wide.graph.node.insert(7, node("Add", "r2 held2", "sum"))
    wide.graph.node.insert(3, node("Conv", "held w2", "held2", pads=[1] * 4))
    wide.graph.node[-2].input[0] = "sum"
    assert message(wide).startswith("'codes' is no bottleneck\n  at ")
    assert "'held' would have to be sent as well" in message(wide)
    assert "the way 'bottleneck' is not allowed\n  at --private\n  it sends 'scaled'" in message(
        _scaled(), "@scaled", private=("inputs",)
    )
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", ["../elsewhere", "", "remote"])
def test_a_way_is_called_as_a_folder_can_be(name: str, options: SplitOptions) -> None:
    given = replace(options, bottlenecks=(TrainedWay(name, split_lab.network(), split_lab.network()),), calib=None)
    with pytest.raises(UsageError) as error:
        prepare_split(split_lab.network(), given)
    assert str(error.value) == (
        f"'{name}' is no name for a trained way\n"
        "  hint: letters, digits and _.@+-, at most 64, and neither local nor remote"
    )


def _scaled() -> onnx.ModelProto:
    nodes = [
        node("Mul", "image half", "scaled"),
        node("Flatten", "scaled", "f"),
        node("Gemm", "f w", "scores", transB=1),
    ]
    weights: dict[str, object] = {"half": np.array(0.5, np.float32), "w": np.zeros((10, 3072), np.float32)}
    return model(nodes, [value("image", (1, 3, 32, 32))], [value("scores", (1, 10))], weights)
