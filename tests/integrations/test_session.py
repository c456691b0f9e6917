"""InferenceSession against onnxruntime's: the same description, the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

import optc
from optc.errors import ModelError, UsageError
from optc.integrations import session


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One free dimension, two inputs, two outputs."""
    path = tmp_path_factory.mktemp("session") / "net.onnx"
    nodes = [node("Add", "x b", "s"), node("Cast", "i", "f", to=1), node("Mul", "s f", "y"), node("Neg", "i", "n")]
    inputs = [value("x", ["batch", 3]), value("i", ["batch", 3], onnx.TensorProto.INT64)]
    outputs = [value("y", ["batch", 3]), value("n", ["batch", 3], onnx.TensorProto.INT64)]
    onnx.save(model(nodes, inputs, outputs, {"b": np.arange(3, dtype=np.float32)}), path)
    return path


def feed(batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch)
    return {
        "x": random.standard_normal((batch, 3)).astype(np.float32),
        "i": random.integers(-9, 9, (batch, 3)),
    }


def test_as_onnxruntime(net: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    mine = optc.InferenceSession(str(net), options, providers=["CPUExecutionProvider"], tune=0)
    theirs = onnxruntime.InferenceSession(str(net), options, providers=["CPUExecutionProvider"])
    for ours, other in ((mine.get_inputs(), theirs.get_inputs()), (mine.get_outputs(), theirs.get_outputs())):
        assert [(each.name, each.type, each.shape) for each in ours] == [(e.name, e.type, e.shape) for e in other]
    for batch in (1, 4, 1):
        for names in (None, ["n"], ["n", "y"]):
            for found, expected in zip(mine.run(names, feed(batch)), theirs.run(names, feed(batch)), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert mine.get_providers() == ["OptcExecutionProvider"]


def test_artifacts_and_bytes(net: Path, tmp_path: Path) -> None:
    optc.compile(net, shapes={"x": (2, 3), "i": (2, 3)}, output=tmp_path / "out", tune=0, verify=False)
    from_folder = optc.InferenceSession(tmp_path / "out")
    assert [each.shape for each in from_folder.get_inputs()] == [[2, 3], [2, 3]]
    from_bytes = optc.InferenceSession(net.read_bytes(), tune=0, verify=False)
    for one, other in zip(from_folder.run(None, feed(2)), from_bytes.run(None, feed(2)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_artifacts_of_few_shapes_are_kept(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_SHAPES", 2)
    mine = optc.InferenceSession(net, tune=0, verify=False)
    for batch in (1, 2, 1, 3):
        mine.run(None, feed(batch))
    assert list(mine._artifacts) == [((1, 3), (1, 3)), ((3, 3), (3, 3))]


def test_refusals(net: Path, tmp_path: Path) -> None:
    mine = optc.InferenceSession(net, tune=0)
    with pytest.raises(UsageError, match="the model has no output 'z'"):
        mine.run(["z"], feed(1))
    with pytest.raises(UsageError, match="the input 'i' is missing"):
        mine.run(None, {"x": feed(1)["x"]})
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    for bad in (str(tmp_path / "bad.onnx"), b"bad", tmp_path / "none.onnx"):
        with pytest.raises(ModelError, match="the model cannot be read"):
            optc.InferenceSession(bad)
