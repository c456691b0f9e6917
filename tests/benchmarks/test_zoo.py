"""The zoo's declarations, wheel unpacking and input generation; nothing here uses the network or torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import wheels, zoo  # noqa: E402

PROMISED = {
    *("resnet18", "resnet50", "mobilenetv2_100", "mobilenetv3_small_100", "efficientnet_b0", "convnext_atto"),
    *("edgenext_xx_small", "ghostnet_100", "vit_tiny_patch16_224", "efficientnet_lite0", "minilm_l6"),
    *("ppocr_det", "ppocr_rec", "ppocr_cls", "nudenet_yolov8n", "silero_vad", "magika"),
}


def relu_model(dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """y = relu(x) with x of shape [batch, 4]."""
    x = helper.make_tensor_value_info("x", dtype, ["batch", 4])
    y = helper.make_tensor_value_info("y", dtype, ["batch", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_zoo_holds_every_promised_model_under_its_own_name():
    assert set(zoo.ZOO) == PROMISED
    assert all(name == model.name for name, model in zoo.ZOO.items())


@pytest.mark.parametrize("model", zoo.ZOO.values(), ids=lambda model: model.name)
def test_declaration_is_pinned_and_complete(model: zoo.ZooModel):
    assert re.fullmatch(r"[a-z0-9-]+==\d+(\.\d+)+", model.package)
    assert model.inputs and model.notes
    for spec in model.inputs.values():
        assert spec.low <= spec.high and all(dim > 0 for dim in spec.shape)


def test_example_inputs_have_the_declared_dtype_shape_and_range():
    floats = zoo.example_inputs(relu_model(), {"x": zoo.Input((3, 4), 2.0, 5.0)})["x"]
    assert floats.dtype == np.float32 and floats.shape == (3, 4)
    assert 2.0 <= floats.min() < floats.max() <= 5.0
    integers = zoo.example_inputs(relu_model(TensorProto.INT32), {"x": zoo.Input((100, 4), 0, 2)})["x"]
    assert integers.dtype == np.int32 and set(np.unique(integers)) == {0, 1, 2}
    again = zoo.example_inputs(relu_model(), {"x": zoo.Input((3, 4), 2.0, 5.0)})["x"]
    assert np.array_equal(floats, again)


def test_build_writes_the_checked_file_and_its_manifest_entry(tmp_path: Path):
    model = zoo.ZooModel("relu", "none==1.0", lambda cache: relu_model(), {"x": zoo.Input((2, 4))}, "one node")
    entry = zoo.build(model, tmp_path, tmp_path)
    assert entry["outputs"] == {"y": [2, 4]} and entry["ops"] == {"Relu": 1} and entry["shapes"] == {"x": [2, 4]}
    assert entry["opset"] == 17 and entry["bytes"] == (tmp_path / "relu.onnx").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["relu.onnx"]


def test_build_refuses_a_model_that_ignores_its_inputs(tmp_path: Path):
    model = zoo.ZooModel("dead", "none==1.0", lambda cache: relu_model(), {"x": zoo.Input((2, 4), -2, -1)}, "all zeros")
    with pytest.raises(RuntimeError, match="the outputs do not depend on the inputs"):
        zoo.build(model, tmp_path, tmp_path)
    assert not (tmp_path / "dead.onnx").exists()


def test_nodes_of_nested_graphs_are_counted():
    branch = helper.make_graph([helper.make_node("Abs", ["x"], ["z"])], "branch", [], [])
    outer = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    assert [node.op_type for node in zoo.nodes_of(helper.make_graph([outer], "outer", [], []))] == ["If", "Abs", "Abs"]


def fake_index(folder: Path, name: str) -> Path:
    """A wheel with one Python file and one compiled file, as pip would lay it down."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "VALUE = 3\n")
        archive.writestr(f"{name}/fast.so", "binary")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return wheel


@pytest.mark.parametrize(("name", "keeps_binaries"), [("silero_vad", True), ("torchvision", False)])
def test_unpack_keeps_compiled_files_only_where_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, keeps_binaries: bool
):
    index = tmp_path / "index"
    index.mkdir()
    fake_index(index, name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    folder = wheels.unpack(f"{name}==1.0", tmp_path / "cache")
    assert (folder / name / "__init__.py").read_text() == "VALUE = 3\n"
    assert (folder / name / "fast.so").exists() == keeps_binaries


def test_unpack_names_a_package_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(RuntimeError, match=re.escape("cannot fetch absent==1.0")):
        wheels.unpack("absent==1.0", tmp_path / "cache")
    assert not (tmp_path / "cache" / "absent==1.0").exists()


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "benchmarks/zoo.py", *arguments], capture_output=True, text=True)


def test_list_names_every_model_without_importing_torch():
    done = command_line("--list")
    assert done.returncode == 0
    assert set(re.findall(r"^(\w+)", done.stdout, re.MULTILINE)) == PROMISED
    probe = "import sys; import benchmarks.zoo; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", probe], cwd=ROOT, text=True) == "False\n"


def test_unknown_model_is_a_usage_error():
    done = command_line("--build", "resnet19")
    assert done.returncode == 2
    assert "no such model: resnet19; there are: mobilenetv2_100, resnet18" in done.stderr


def test_manifest_is_in_zoo_order_and_survives_partial_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    entries = {
        name: zoo.ZooModel(name, "none==1.0", lambda cache: relu_model(), {"x": zoo.Input((2, 4))}, "one node")
        for name in ("first", "second")
    }
    monkeypatch.setattr(zoo, "ZOO", entries)
    monkeypatch.setattr(zoo, "set_one_thread", lambda: None)
    for name in ("second", "first"):
        assert zoo.main(["--build", name, "--out", str(tmp_path)]) == 0
    assert list(json.loads((tmp_path / "manifest.json").read_text())) == ["first", "second"]
