"""Passes on codes keep what a model computes, and change how it is stored."""

from __future__ import annotations

import numpy as np
import pytest
from c_kit import Quantized

from optc.frontends import load_model
from optc.ir.core import Module
from optc.ir.types import Quantization
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline

SHAPE = (1, 4, 6, 6)


def small() -> tuple[Module, np.ndarray]:
    q = Quantized(seed=9)
    weights, scales = q.weights((5, 4, 3, 3), 0)
    x = q.coded("x", 0.05, 140)
    y = q.coded(q.add("Conv", [x, weights, q.bias(scales, 0.05)]), 0.4, 120)
    moved = q.coded(q.add("Flatten", [y]), 0.4, 120)
    matrix, _ = q.weights((7, 80), 0)
    product = q.add("Gemm", [moved, matrix], transB=1)
    model = q.model(SHAPE, q.coded(product, 0.9, 128))
    module = load_model(model, {}, {}).module
    return module, q.random.uniform(-6, 6, SHAPE).astype(np.float32)


def run(module: Module, passes: str) -> None:
    run_pipeline(module, parse_pipeline(passes), PassContext(), verify_each=True)


def names(module: Module) -> list[str]:
    return [operation.name for operation in module.main]


@pytest.mark.parametrize("passes", ["signed-codes", "signed-codes,channels-last", "simplify,signed-codes,dce"])
def test_the_results_stay(passes: str) -> None:
    module, x = small()
    (before,) = evaluate_graph(module.main, [x])
    run(module, passes)
    (after,) = evaluate_graph(module.main, [x])
    np.testing.assert_array_equal(before, after)


def test_codes_become_signed_and_are_moved_themselves() -> None:
    module, _ = small()
    run(module, "simplify,signed-codes,dce")
    made = [operation for operation in module.main if operation.name == "onnx.QuantizeLinear"]
    assert len(made) == 3 and {operation.results[0].dtype.name for operation in made} == {"i8"}
    assert names(module).count("onnx.Transpose") == 0
    (flatten,) = [op for op in module.main if op.name in ("onnx.Flatten", "onnx.Reshape")]
    assert flatten.results[0].dtype.name == "i8"


def test_the_interface_becomes_codes() -> None:
    module, x = small()
    (before,) = evaluate_graph(module.main, [x])
    run(module, "signed-codes,code-interface,dce")
    (entering,), (leaving,) = module.main.inputs, module.main.outputs
    scale = np.float32(0.05)
    assert entering.tensor_type.quantization == Quantization((float(scale),), (12,))
    assert leaving.dtype.name == "i8"
    codes = np.clip(np.rint(x / scale) + 12, -128, 127).astype(np.int8)
    (after,) = evaluate_graph(module.main, [codes])
    np.testing.assert_array_equal(before, after.astype(np.float32) * np.float32(0.9))


def test_an_input_that_is_read_twice_stays_float() -> None:
    q = Quantized(seed=1)
    total = q.add("Add", [q.coded("x", 0.05, 128), "x"])
    module = load_model(q.model(SHAPE, total), {}, {}).module
    run(module, "signed-codes,code-interface")
    assert module.main.inputs[0].dtype.name == "f32" and module.main.inputs[0].tensor_type.quantization is None


def test_channels_last_leaves_the_interface_plain() -> None:
    module, _ = small()
    run(module, "signed-codes,channels-last")
    assert module.main.inputs[0].tensor_type.layout.is_plain
    assert names(module)[:20].count("optc.relayout") == 1
    (convolution,) = [op for op in module.main if op.name == "onnx.Conv"]
    assert convolution.result.tensor_type.layout.permutation == (0, 2, 3, 1)
