"""Codes of weights take as few bits as they need, and the numbers stay what they were."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

from optc.costmodel.analytical import AnalyticalCostModel
from optc.frontends import load_model
from optc.ir.core import Module
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext
from optc.passes.integer.pack_weights import PackWeights, bits_of
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline
from optc.targets import load

CODES = np.random.default_rng(0).integers(-4, 4, (16, 8)).astype(np.int8)


def product(codes: np.ndarray, *, readers: int = 1) -> onnx.ModelProto:
    scale = np.linspace(0.1, 0.8, codes.shape[1], dtype=np.float32)
    nodes = [node("DequantizeLinear", "codes scale", "w", axis=1)]
    nodes += [node("MatMul", "x w", f"y{i}") for i in range(readers)]
    outputs = [value(f"y{i}", (3, codes.shape[1])) for i in range(readers)]
    return model(nodes, [value("x", (3, codes.shape[0]))], outputs, {"codes": codes, "scale": scale})


def packed(proto: onnx.ModelProto) -> tuple[Module, Module, PassContext]:
    """The module before and after the pass."""
    before, after = load_model(proto).module, load_model(proto).module
    context = PassContext(supports=lambda _: None)
    run_pipeline(after, parse_pipeline("pack-weights"), context, verify_each=True)
    return before, after, context


def test_codes_of_three_bits_take_three_bits() -> None:
    before, after, context = packed(product(CODES))
    (unpack,) = [operation for operation in after.main if operation.name == "optc.unpack"]
    assert unpack.attributes["bits"] == 3 and unpack.attributes["signed"] == 1
    assert unpack.operands[0] is not None and unpack.operands[0].shape == (16 * 8 * 3 // 8,)
    assert [remark.reason for remark in context.remarks] == ["the codes of 'w' need 3 bits"]
    x = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    np.testing.assert_array_equal(evaluate_graph(after.main, [x])[0], evaluate_graph(before.main, [x])[0])


@pytest.mark.parametrize(
    "proto",
    [product(np.concatenate([CODES, np.full((1, 8), -128, np.int8)])), product(CODES, readers=2)],
    ids=["all eight bits", "two readers"],
)
def test_others_stay_as_they_are(proto: onnx.ModelProto) -> None:
    _, after, context = packed(proto)
    assert all(operation.name != "optc.unpack" for operation in after.main) and not context.remarks


def test_integer_arithmetic_leaves_packed_codes_as_they_are() -> None:
    module = load_model(product(CODES)).module
    run_pipeline(module, parse_pipeline("pack-weights,integer-arithmetic"), PassContext(supports=lambda _: None))
    names = [operation.name for operation in module.main if operation.name != "optc.constant"]
    assert names == ["optc.unpack", "onnx.DequantizeLinear", "onnx.MatMul"]


def test_decoding_is_part_of_the_products_kernel() -> None:
    module = load_model(product(CODES)).module
    context = PassContext(load("jetson-orin"), AnalyticalCostModel(), lambda _: None)
    run_pipeline(module, parse_pipeline("pack-weights,integer-arithmetic,fuse"), context)
    (fused,) = [operation for operation in module.main if operation.name == "optc.fused"]
    names = [operation.name for operation in fused.graphs["body"] if operation.name != "optc.constant"]
    assert names == ["optc.unpack", "onnx.DequantizeLinear", "onnx.MatMul"]


def test_nothing_is_packed_for_what_no_kernel_computes() -> None:
    module = load_model(product(CODES)).module
    assert not PackWeights().run(module, PassContext())


@pytest.mark.parametrize(
    ("numbers", "dtype", "bits"),
    [
        ([0], "int8", 1), ([-1, 0], "int8", 1), ([1], "int8", 2), ([-2, 1], "int8", 2), ([-3], "int8", 3),
        ([-4, 3], "int8", 3), ([4], "int8", 4), ([-128], "int8", 8), ([127], "int8", 8), ([63, -64], "int8", 7),
        ([0], "uint8", 1), ([1], "uint8", 1), ([2], "uint8", 2), ([15], "uint8", 4), ([128], "uint8", 8),
    ],
)  # fmt: skip
def test_the_fewest_bits_that_hold_all_codes(numbers: list[int], dtype: str, bits: int) -> None:
    assert bits_of(np.array(numbers, dtype)) == bits
