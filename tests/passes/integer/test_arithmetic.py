"""Quantized models after the pass compute what onnxruntime says that they computed before it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_kit import model, node, value

from optc.frontends import load_model
from optc.ir.core import Module
from optc.ir.verifier import verify
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext, Remark
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline

U8, I8, I32 = onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.INT32


def oracle(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime makes of the model as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def rewritten(proto: onnx.ModelProto) -> tuple[Module, list[Remark]]:
    module, context = load_model(proto).module, PassContext()
    run_pipeline(module, parse_pipeline("simplify,integer-arithmetic"), context, verify_each=True)
    return module, [remark for remark in context.remarks if remark.pass_name == "integer-arithmetic"]


def kinds(module: Module) -> Counter[str]:
    return Counter(operation.name.removeprefix("onnx.") for operation in module.walk())


def check(proto: onnx.ModelProto, feeds: dict[str, np.ndarray], step: float = 0.0) -> Module:
    """Codes may differ by one where the sums round to another side of a tie; reals by `step`, what one code is."""
    wanted = oracle(proto, feeds)
    module, _ = rewritten(proto)
    found = evaluate_graph(module.main, [feeds[each.name] for each in module.main.inputs])
    for expected, got in zip(wanted, found, strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        difference = np.abs(got.astype(np.float64) - expected.astype(np.float64))
        if expected.dtype.kind == "f":
            assert difference.max(initial=0.0) <= step + 1e-5 * max(1.0, np.abs(expected).max(initial=0.0))
        else:
            assert difference.max(initial=0.0) <= 1
        assert np.mean(difference > (step / 2 if step else 0.5)) <= 0.02
    return module


def codes(seed: int, shape: tuple[int, ...], kind: type = np.uint8) -> np.ndarray:
    limits = np.iinfo(kind)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(kind)


def f32(number: float) -> np.ndarray:
    return np.asarray(number, np.float32)


def scales(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.001, 0.01, count).astype(np.float32)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    signed=st.booleans(),
    signed_weights=st.booleans(),
    per_channel=st.booleans(),
    zero=st.integers(0, 255),
    weight_zero=st.integers(-1, 1),
    group=st.sampled_from([1, 2, 4]),
    bias=st.sampled_from(["none", "codes", "float"]),
    activation=st.sampled_from(["none", "Relu", "Clip", "Sigmoid", "LeakyRelu"]),
    residual=st.booleans(),
    result_zero=st.integers(0, 255),
)
def test_any_convolution_between_codes(
    signed: bool, signed_weights: bool, per_channel: bool, zero: int, weight_zero: int, group: int, bias: str,
    activation: str, residual: bool, result_zero: int,
) -> None:  # fmt: skip
    kind, weight_kind = (np.int8 if signed else np.uint8), (np.int8 if signed_weights else np.uint8)
    shift = 128 if signed else 0
    # Every weight less its zero point fits int8; others stay in float.
    held = (np.clip(codes(1, (4, 4 // group, 3, 3), np.int8), -126, 126)).astype(np.int16)
    weight_zero += 0 if signed_weights else 128
    count = 4 if per_channel else 1
    weight_scale = scales(2, count)
    weights: dict[str, object] = {
        "sx": f32(0.02),
        "zx": np.asarray(zero - shift, kind),
        "w": (held + (0 if signed_weights else 128)).astype(weight_kind),
        "sw": weight_scale if per_channel else weight_scale.reshape(()),
        "zw": np.full(4, weight_zero, weight_kind) if per_channel else np.asarray(weight_zero, weight_kind),
        "sy": f32(0.031),
        "zy": np.asarray(result_zero - shift, kind),
        "b": codes(3, (4,), np.int8).astype(np.int32) * 100,
        "sb": (np.float32(0.02) * weight_scale).astype(np.float32).reshape(weight_scale.shape if per_channel else ()),
        "fb": scales(4, 4),
        "low": f32(0.0),
        "high": f32(1.0),
    }
    inputs = "xd wd" + {"none": "", "codes": " bd", "float": " fb"}[bias]
    nodes = [
        node("DequantizeLinear", "x sx zx", "xd"),
        node("DequantizeLinear", "w sw zw", "wd", **({"axis": 0} if per_channel else {})),
        node("DequantizeLinear", "b sb", "bd", **({"axis": 0} if per_channel else {})),
        node("Conv", inputs, "c", "conv", pads=[1, 1, 1, 1], group=group, strides=[1, 2]),
    ]
    last = "c"
    if residual:
        nodes += [node("DequantizeLinear", "r sx zx", "rd"), node("Add", "c rd", "sum")]
        last = "sum"
    if activation != "none":
        nodes.append(node(activation, f"{last} low high" if activation == "Clip" else last, "a"))
        last = "a"
    nodes.append(node("QuantizeLinear", f"{last} sy zy", "y"))
    code = I8 if signed else U8
    extra = [value("r", [1, 4, 5, 3], code)] if residual else []
    proto = model(nodes, [value("x", [1, 4, 5, 5], code), *extra], [value("y", None, code)], weights)
    feeds = {"x": codes(5, (1, 4, 5, 5), kind)}
    if residual:
        feeds["r"] = codes(6, (1, 4, 5, 3), kind)
    found = kinds(check(proto, feeds))
    assert found["ConvInteger"] == 1 and not found["Conv"]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_products(transposed: bool, signed: bool) -> None:
    kind = np.int8 if signed else np.uint8
    axis = 0 if transposed else 1
    weights = {
        "sx": f32(0.02), "zx": np.asarray(3, kind), "w": codes(1, (6, 5) if transposed else (5, 6), np.int8),
        "sw": scales(2, 6), "b": scales(3, 6), "sy": f32(0.05), "zy": np.asarray(100, kind),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x sx zx", "q"),
        node("DequantizeLinear", "q sx zx", "xd"),
        node("DequantizeLinear", "w sw", "wd", axis=axis),
        node("Gemm", "xd wd b", "g", "gemm", transB=int(transposed)),
        node("QuantizeLinear", "g sy zy", "yq"),
        node("DequantizeLinear", "yq sy zy", "y"),
    ]
    proto = model(nodes, [value("x", [3, 5])], ["y"], weights)
    x = np.random.default_rng(4).normal(size=(3, 5)).astype(np.float32)
    found = kinds(check(proto, {"x": x}, step=0.05))
    assert found["MatMulInteger"] == 1 and not found["MatMul"] and not found["Transpose"]


def test_what_moves_codes_moves_bytes() -> None:
    weights = {
        "s": f32(0.1), "z": np.asarray(-5, np.int8), "shape": np.array([1, 8, 18]), "pads": np.array([0, 0, 1, 1] * 2),
        "w": codes(1, (18, 3), np.int8), "sw": f32(0.01), "sizes": np.array([1, 8, 6, 6]),
    }  # fmt: skip
    nodes = [node("QuantizeLinear", "x s z", "q0"), node("DequantizeLinear", "q0 s z", "d0")]
    chain = [
        ("MaxPool", "", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Transpose", "", {"perm": [0, 1, 3, 2]}),
        ("Concat", " d{0}", {"axis": 1}),
        ("Pad", " pads", {}),
        ("Reshape", " shape", {}),
    ]
    for number, (kind, more, attributes) in enumerate(chain):
        inputs = f"d{number}" + more.format(number)
        nodes += [
            node(kind, inputs, f"t{number}", **attributes),
            node("QuantizeLinear", f"t{number} s z", f"q{number + 1}"),
            node("DequantizeLinear", f"q{number + 1} s z", f"d{number + 1}"),
        ]
    nodes += [node("DequantizeLinear", "w sw", "wd"), node("MatMul", f"d{len(chain)} wd", "y")]
    proto = model(nodes, [value("x", [1, 4, 2, 8])], ["y"], weights | {"shape": np.array([1, -1, 18])}, opset=18)
    x = np.random.default_rng(4).normal(size=(1, 4, 2, 8)).astype(np.float32)
    module = check(proto, {"x": x})
    found = kinds(module)
    assert found["QuantizeLinear"] == 1 and not found["DequantizeLinear"] and found["MatMulInteger"] == 1
    moved = [each for each in module.walk() if each.name in ("onnx.MaxPool", "onnx.Pad", "onnx.Concat")]
    assert [each.result.dtype.name for each in moved] == ["u8"] * 3


def test_quantizing_moves_in_front_of_pooling_and_joins() -> None:
    weights = {"s": f32(0.1), "z": np.asarray(7, np.uint8), "t": f32(0.2)}
    nodes = [
        node("DequantizeLinear", "a s z", "ad"),
        node("DequantizeLinear", "b t z", "bd"),
        node("Concat", "ad bd", "c", axis=1),
        node("MaxPool", "c", "m", kernel_shape=[2, 2]),
        node("QuantizeLinear", "m s z", "y"),
    ]
    shape = [1, 2, 4, 4]
    proto = model(nodes, [value("a", shape, U8), value("b", shape, U8)], [value("y", None, U8)], weights)
    module = check(proto, {"a": codes(0, (1, 2, 4, 4)), "b": codes(1, (1, 2, 4, 4))})
    pool = next(each for each in module.walk() if each.name == "onnx.MaxPool")
    assert pool.result.dtype.name == "u8" and kinds(module)["DequantizeLinear"] == 1


QOPERATORS = {
    "QLinearAdd": ("x s z r t z t z", {}),
    "QLinearMul": ("x s z r t z t z", {}),
    "QLinearSigmoid": ("x s z t z", {}),
    "QLinearLeakyRelu": ("x s z t z", {"alpha": 0.1}),
    "QLinearGlobalAveragePool": ("x s z t z", {"channels_last": 0}),
    "QLinearConcat": ("t z x s z r t z", {"axis": 1}),
    "QLinearAveragePool": ("x s z t z", {"kernel_shape": [2, 2]}),
    "QLinearSoftmax": ("x s z small z0", {"axis": -1, "opset": 13}),
}


@pytest.mark.parametrize("name", QOPERATORS)
def test_operations_of_onnxruntime_on_codes(name: str) -> None:
    inputs, attributes = QOPERATORS[name]
    weights = {
        "s": f32(0.03), "t": f32(0.05), "z": np.asarray(120, np.uint8), "small": f32(1 / 256), "z0": np.uint8(0),
    }  # fmt: skip
    shape = [1, 4, 6, 6]
    proto = model(
        [node(name, inputs, "y", domain="com.microsoft", **attributes)],
        [value("x", shape, U8), *([value("r", shape, U8)] if " r " in inputs else [])],
        [value("y", None, U8)],
        weights,
        com_microsoft=1,
    )
    feeds = {"x": codes(0, (1, 4, 6, 6)), "r": codes(1, (1, 4, 6, 6))}
    module = check(proto, {key: feeds[key] for key in feeds if key in [i.name for i in proto.graph.input]})
    assert not any(each.name.startswith("com.microsoft") for each in module.walk())


@pytest.mark.parametrize("per_channel", [False, True])
def test_qlinear_conv_and_matmul(per_channel: bool) -> None:
    weights = {
        "s": f32(0.03), "t": f32(0.05), "z": np.asarray(120, np.uint8), "w": codes(2, (4, 4, 3, 3), np.int8),
        "sw": scales(3, 4) if per_channel else f32(0.004), "zw": np.zeros(4 if per_channel else (), np.int8),
        "b": codes(4, (4,), np.int8).astype(np.int32) * 50, "m": codes(5, (4, 3), np.int8), "sm": f32(0.01),
        "zm": np.int8(0),
    }  # fmt: skip
    nodes = [
        node("QLinearConv", "x s z w sw zw t z b", "c", pads=[1, 1, 1, 1]),
        node("QLinearMatMul", "c t z m sm zm t z", "y"),
    ]
    proto = model(nodes, [value("x", [1, 4, 6, 4], U8)], [value("y", None, U8)], weights)
    found = kinds(check(proto, {"x": codes(0, (1, 4, 6, 4))}))
    assert found["ConvInteger"] == found["MatMulInteger"] == 1 and not found["QLinearConv"]


REASONS = {
    "its data have 16 bits": {"zx": np.uint16(3)},
    "its data have a scale for each slice": {"sx": scales(1, 5), "zx": np.zeros(5, np.uint8)},
    "its weights have scales along an axis that is summed over": {"sw": scales(1, 5), "zw": np.zeros(5, np.int8)},
    "its weights have zero points, and 8 bits do not hold the differences": {
        "w": np.arange(0, 210, 7).reshape(5, 6).astype(np.uint8),
        "zw": np.uint8(20),
    },
    "its sums do not fit into 32 bits": {"w": np.full((70000, 1), 127, np.int8)},
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_be_integer_says_why(reason: str) -> None:
    weights: dict[str, object] = {
        "sx": f32(0.02), "zx": np.uint8(3), "w": codes(1, (5, 6), np.int8), "sw": f32(0.01), "zw": np.int8(0),
    }  # fmt: skip
    weights |= REASONS[reason]
    nodes = [
        node("QuantizeLinear", "x sx zx", "q", axis=1),
        node("DequantizeLinear", "q sx zx", "xd", axis=1),
        node("DequantizeLinear", "w sw zw", "wd", axis=0),
        node("MatMul", "xd wd", "y", "product"),
    ]
    rows = np.shape(weights["w"])[0]
    proto = model(nodes, [value("x", [2, rows])], ["y"], weights, opset=21)
    module, remarks = rewritten(proto)
    verify(module)
    (missed,) = [remark for remark in remarks if remark.status == "missed" and remark.what == "integer"]
    assert missed.reason == f"kept in float: {reason}" and "product" in missed.location.nodes
    x = np.random.default_rng(4).normal(size=(2, rows)).astype(np.float32)
    (expected,) = oracle(proto, {"x": x})
    (found,) = evaluate_graph(module.main, [x])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_alone_become_floats() -> None:
    nodes = [node("DequantizeLinear", "w sw", "wd", axis=0), node("MatMul", "x wd", "y")]
    weights = {"w": codes(1, (5, 6), np.int8), "sw": scales(2, 5)}
    module = check(model(nodes, [value("x", [2, 5])], ["y"], weights), {"x": np.ones((2, 5), np.float32)})
    assert not kinds(module)["DequantizeLinear"]


def test_a_result_that_is_signed_stays_signed() -> None:
    weights = {"s": f32(0.1), "z": np.int8(-4)}
    nodes = [
        node("Relu", "x", "r"),
        node("QuantizeLinear", "r s z", "y"),
        node("DequantizeLinear", "y s z", "d"),
        node("Sigmoid", "d", "e"),
    ]
    proto = model(nodes, [value("x", [2, 5])], [value("y", None, I8), "e"], weights)
    x = np.random.default_rng(4).normal(size=(2, 5)).astype(np.float32)
    module = check(proto, {"x": x})
    assert [each.dtype.name for each in module.main.outputs] == ["i8", "f32"]
    (dequantize,) = [each for each in module.walk() if each.name == "onnx.DequantizeLinear"]
    assert dequantize.operands[0] is not None and dequantize.operands[0].dtype.name == "u8"


@pytest.mark.parametrize("weight_kind", [np.int8, np.uint8])
@pytest.mark.parametrize("per_column", [False, True])
def test_dynamic_quantization_has_its_zero_point_behind_the_product(weight_kind: type, per_column: bool) -> None:
    shift = 128 if weight_kind is np.uint8 else 0
    held = codes(1, (6, 5), np.int8).astype(np.int16) // 2 + shift
    zeros = np.array([3, -4, 0, 1, 2]) if per_column else np.array(5)
    weights = {"w": held.astype(weight_kind), "zw": (zeros + shift).astype(weight_kind), "s": f32(0.01)}
    nodes = [
        node("DynamicQuantizeLinear", "x", "q sx zx"),
        node("MatMulInteger", "q w zx zw", "i"),
        node("Cast", "i", "c", to=1),
        node("Mul", "sx s", "f"),
        node("Mul", "c f", "y"),
    ]
    proto = model(nodes, [value("x", [3, 6])], ["y"], weights)
    module = check(proto, {"x": np.random.default_rng(4).normal(size=(3, 6)).astype(np.float32)})
    (product,) = [each for each in module.walk() if each.name == "onnx.MatMulInteger"]
    assert all(each is not None for each in product.operands) and len(product.operands) == 3
    _, weight, zero = product.operands
    assert weight is not None and weight.dtype.name == "i8" and zero is not None and zero.constant == 0


def test_convolutions_of_integers_get_unsigned_data_and_signed_weights() -> None:
    weights = {"w": codes(1, (4, 3, 3, 3)) // 2 + np.uint8(60), "zx": np.uint8(9), "zw": np.uint8(128)}
    nodes = [node("ConvInteger", "x w zx zw", "y", pads=[1, 1, 1, 1])]
    proto = model(nodes, [value("x", [1, 3, 5, 5], U8)], [value("y", None, I32)], weights)
    x = codes(2, (1, 3, 5, 5))
    module = check(proto, {"x": x})
    (product,) = [each for each in module.walk() if each.name == "onnx.ConvInteger"]
    assert [each.dtype.name for each in product.present_operands] == ["u8", "i8", "u8"]


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 2, 1)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("zero", [8, 121])
def test_dynamic_quantization_has_its_zero_point_behind_the_convolution(
    pads: tuple[int, ...], strides: tuple[int, ...], zero: int
) -> None:
    """Also with weights whose distances from their zero point need nine bits."""
    weights = {"w": codes(1, (4, 3, 3, 2)), "zw": np.uint8(zero), "s": f32(0.01)}
    nodes = [
        node("DynamicQuantizeLinear", "x", "q sx zx"),
        node("ConvInteger", "q w zx zw", "i", pads=list(pads), strides=list(strides), dilations=[2, 1]),
        node("Cast", "i", "c", to=1),
        node("Mul", "sx s", "f"),
        node("Mul", "c f", "y"),
    ]
    proto = model(nodes, [value("x", [2, 3, 9, 8])], ["y"], weights)
    module = check(proto, {"x": np.random.default_rng(4).normal(size=(2, 3, 9, 8)).astype(np.float32)})
    for product in (each for each in module.walk() if each.name == "onnx.ConvInteger"):
        assert len(product.operands) == 3
        _, weight, point = product.operands
        assert weight is not None and weight.dtype.name == "i8" and point is not None and point.constant == 0


def test_products_with_weights_of_nine_bits() -> None:
    weights = {"w": codes(1, (6, 5)), "zw": np.uint8(100), "zx": np.uint8(7)}
    nodes = [node("MatMulInteger", "x w zx zw", "y")]
    proto = model(nodes, [value("x", [3, 6], U8)], [value("y", None, I32)], weights)
    module = check(proto, {"x": codes(2, (3, 6))})
    products = [each for each in module.walk() if each.name == "onnx.MatMulInteger"]
    assert len(products) == 2 and all(each.operands[1].dtype.name == "i8" for each in products)  # type: ignore[union-attr]


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_of_codes(transposed: int) -> None:
    weights = {
        "s": f32(0.03), "t": f32(0.05), "z": np.uint8(120), "sw": scales(3, 6), "zw": np.zeros(6, np.int8),
        "w": codes(2, (6, 5) if transposed else (5, 6), np.int8), "b": codes(4, (6,), np.int8).astype(np.int32) * 50,
    }  # fmt: skip
    attributes = {"transB": transposed, "alpha": 1.0}
    nodes = [node("QGemm", "x s z w sw zw b t z", "y", domain="com.microsoft", **attributes)]
    proto = model(nodes, [value("x", [3, 5], U8)], [value("y", None, U8)], weights, com_microsoft=1)
    found = kinds(check(proto, {"x": codes(0, (3, 5))}))
    assert found["MatMulInteger"] == 1 and not found["Gemm"] and not found["MatMul"]
