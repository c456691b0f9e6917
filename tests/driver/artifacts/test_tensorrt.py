"""What goes to TensorRT: the same numbers in floats, ranges that are those of the codes, and settings that fit."""

from __future__ import annotations

import json
import struct

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.driver.artifacts.tensorrt import CACHE_HEAD, tensorrt_files
from optc.frontends import load_model

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
SCALES = RANDOM.uniform(0.01, 0.02, 8).astype(np.float32)


def quantized(dtype: type[np.generic], zero: int) -> onnx.ModelProto:
    """relu(conv(x)) with codes of `x` and of the product, and weights in codes for each channel."""
    given = {
        "w": WEIGHTS, "w_scale": SCALES, "w_zero": np.zeros(8, np.int8),
        "x_scale": np.float32(0.02), "x_zero": np.array(zero, dtype), "y_scale": np.float32(0.05),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "x_scale", "x_zero"], ["x_again"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_floats"], axis=0),
        helper.make_node("Conv", ["x_again", "w_floats"], ["product"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["product"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "y_scale", "x_zero"], ["y_codes"]),
        helper.make_node("DequantizeLinear", ["y_codes", "y_scale", "x_zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def packaged(model: onnx.ModelProto) -> dict[str, bytes]:
    files = tensorrt_files(load_model(model, None, None).module)
    assert all(name.startswith("tensorrt/") for name in files)
    return {name.removeprefix("tensorrt/"): content for name, content in files.items()}


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_codes_that_tensorrt_does_not_read_become_ranges() -> None:
    files = packaged(quantized(np.uint8, 100))
    model = onnx.load_from_string(files["model.onnx"])
    onnx.checker.check_model(model)
    assert {node.op_type for node in model.graph.node} == {"Conv", "Relu", "Identity"}
    x = RANDOM.uniform(-1, 1, (1, 3, 6, 6)).astype(np.float32)
    floats = numpy_helper.from_array(WEIGHTS * SCALES[:, None, None, None], "w")
    plain = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["p"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["p"], ["y"])],
            "plain", list(model.graph.input), list(model.graph.output), [floats],
        ),
        opset_imports=[helper.make_opsetid("", 21)], ir_version=10,
    )  # fmt: skip
    np.testing.assert_allclose(run(files["model.onnx"], x), run(plain.SerializeToString(), x), rtol=1e-6)

    ranges = json.loads(files["ranges.json"])
    relu = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    assert ranges == pytest.approx({"x": 0.02 * 155, relu: 0.05 * 155})
    head, *lines = files["calibration.cache"].decode().splitlines()
    scales = dict(line.split(": ") for line in lines)
    assert head == CACHE_HEAD and scales.keys() == ranges.keys()
    for name, digits in scales.items():
        assert struct.unpack(">f", bytes.fromhex(digits))[0] * 127 == pytest.approx(ranges[name])
    assert b"--int8 --calib=calibration.cache" in files["build.sh"]
    (_, tensorrt), *_ = json.loads(files["providers.json"])
    assert tensorrt["trt_int8_enable"] and tensorrt["trt_int8_calibration_table_name"] == "calibration.cache"


def test_codes_that_tensorrt_reads_stay() -> None:
    model = quantized(np.int8, 0)
    files = packaged(model)
    x = RANDOM.uniform(-1, 1, (1, 3, 6, 6)).astype(np.float32)
    assert np.array_equal(run(files["model.onnx"], x), run(model.SerializeToString(), x))
    assert "QuantizeLinear" in {node.op_type for node in onnx.load_from_string(files["model.onnx"]).graph.node}
    assert b"--int8" in files["build.sh"] and b"--calib" not in files["build.sh"]
    assert "calibration.cache" not in files and "ranges.json" not in files


def test_models_in_floats_have_nothing_to_calibrate() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "floats",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    files = packaged(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    assert b"--int8" not in files["build.sh"] and set(files) == {
        "model.onnx", "build.sh", "providers.json", "README.md"
    }  # fmt: skip
    names = [name for name, _ in json.loads(files["providers.json"])]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
