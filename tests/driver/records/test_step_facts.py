"""What the compiler records of each step, against counts by hand and against what the library calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_kit import model, node, value

import optc
from optc.program import names_of, timed_steps
from optc.report.profile import Machine, measure
from optc.targets import load


def _branching() -> onnx.ModelProto:
    """y = conv(x) + 1 or -conv(x) by the sign of c; d = det(x) in onnxruntime; z = x by a copy."""
    then = helper.make_graph([node("Add", "h one", "a", "plus")], "then", [], [value("a", [1, 4, 6, 6])])
    otherwise = helper.make_graph([node("Neg", "h", "b", "minus")], "else", [], [value("b", [1, 4, 6, 6])])
    nodes = [
        node("Conv", "x w b", "h", "conv", pads=[1, 1, 1, 1]),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=otherwise),
        node("Det", "x", "d", "det"),
        node("Identity", "x", "z", "same"),
    ]
    weights = {"w": np.full((4, 3, 3, 3), 0.1), "b": np.ones(4), "one": np.ones(1)}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    inputs = [value("x", [1, 3, 6, 6]), value("c", [], onnx.TensorProto.BOOL)]
    outputs = [value("y", [1, 4, 6, 6]), value("d", [1, 3]), value("z", [1, 3, 6, 6])]
    return model(nodes, inputs, outputs, weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "branching"
    optc.compile(_branching(), output=path, tune=0, verify=False, threads=1).close()
    return path


def test_steps_stand_in_the_order_of_the_library(folder: Path) -> None:
    with optc.load(folder) as artifact:
        steps = artifact.decisions["steps"]
        assert [(step["label"], step["symbol"]) for step in steps] == list(map(names_of, timed_steps(artifact.program)))
        for step, program_step in zip(steps, timed_steps(artifact.program), strict=True):
            assert ("onnx.Neg" in step["operations"]) == (names_of(program_step)[0] == "minus")
        priced = [step["predicted_seconds"] for step in steps if step["predicted_seconds"] is not None]
        assert sum(priced) == pytest.approx(artifact.manifest.cost["predicted_seconds"])
        assert artifact.decisions["threads"] == 1


def test_counts(folder: Path) -> None:
    with optc.load(folder) as artifact:
        steps = {step["label"]: step for step in artifact.decisions["steps"]}
    convolution = next(step for label, step in steps.items() if label.startswith("conv"))
    positions = 4 * 6 * 6
    assert convolution["flops"] >= positions * (2 * 3 * 3 * 3 + 1)
    assert convolution["dtype"] == "f32" and "onnx.Conv" in convolution["operations"]
    assert convolution["bytes"] >= 4 * (3 * 36 + 4 * 27 + 4 + positions)
    region = next(step for step in steps.values() if step["template"] == "onnxruntime")
    assert region["operations"] == ["onnx.Det"] and region["predicted_seconds"] is None
    assert region["bytes"] == 4 * (3 * 36 + 3)
    copies = [step for step in steps.values() if step["template"] == "copy"]
    assert {"label": "input to output", "symbol": "copy", "template": "copy", "operations": [], "flops": 0,
            "dtype": None, "bytes": 2 * 4 * 3 * 36, "predicted_seconds": None} in copies  # fmt: skip


@pytest.mark.parametrize(("condition", "taken"), [(True, "plus"), (False, "minus")])
def test_only_one_branch_takes_time(folder: Path, condition: bool, taken: str) -> None:
    inputs = {"x": np.ones((1, 3, 6, 6), np.float32), "c": np.array(condition)}
    with optc.load(folder) as artifact:
        profile = measure(artifact, inputs, load("cpu"), runs=2)
    ran = [step.label for step in profile.executed]
    assert taken in ran and not {"plus", "minus"} - {taken} & set(ran)
    assert Machine.of(load("cpu"), 1).peak("f32") == load("cpu").peak_flops["f32"]


def test_the_same_model_gives_the_same_facts(folder: Path, tmp_path: Path) -> None:
    optc.compile(_branching(), output=tmp_path / "again", tune=0, verify=False, threads=1).close()
    assert (tmp_path / "again" / "plan.json").read_bytes() == (folder / "plan.json").read_bytes()


def test_steps_say_what_they_compute_read_and_write(folder: Path) -> None:
    with optc.load(folder) as artifact:
        steps, program = artifact.decisions["steps"], timed_steps(artifact.program)
    makers = {}
    for step, call in zip(steps, program, strict=True):
        if step["template"] == "copy":
            assert "body" not in step
            continue
        assert [each["op"] for each in step["body"]] == step["operations"]
        assert step["nodes"] == list(dict.fromkeys(node for each in step["body"] for node in each["nodes"]))
        places = {(each["space"], each["offset"], each["bytes"]) for each in (*step["reads"], *step["writes"])}
        region = step["template"] == "onnxruntime"
        arguments = [at for _, at in (*call.inputs, *call.outputs)] if region else call.arguments
        assert places <= {(at.space, at.offset, at.bytes) for at in arguments}
        makers.update((each["name"], step["label"]) for each in step["writes"])
    by_node = {step["nodes"][0]: step for step in steps if step.get("nodes")}
    assert [each["name"] for each in by_node["conv"]["reads"]] == ["x"]
    assert by_node["det"]["reason"] == "it has no native lowering"
    assert {"h", "d"} <= set(makers)


def test_the_model_as_imported_is_kept(folder: Path) -> None:
    with optc.load(folder) as artifact:
        source, potential = artifact.decisions["source"], artifact.decisions["int8_potential"]
    assert [(each["op"], each["nodes"]) for each in source] == [
        ("onnx.Conv", ["conv"]),
        ("onnx.Neg", ["minus"]),
        ("onnx.Add", ["plus"]),
        ("onnx.If", ["if"]),
        ("onnx.Det", ["det"]),
        ("onnx.Identity", ["same"]),
    ]
    assert source[0]["reads"] == ["x"] and set(source[3]["reads"]) == {"c", "h", "a", "b"}
    assert source[0]["results"] == [{"name": "h", "type": "tensor<1x4x6x6xf32>"}]
    (layer,) = potential
    assert layer["name"] == "conv" and 0 < layer["integer_seconds"] < layer["float_seconds"]
