"""Learned rounding: against all roundings of a small layer, and on a network with a residual block."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx.parser
import pytest
from graph_kit import Builder

pytest.importorskip("torch")

from optc.driver.quantization.data import Data
from optc.driver.quantization.learning.block_learning import Recipe
from optc.driver.quantization.learning.blocks import blocks_of
from optc.driver.quantization.learning.rounding import learn_rounding
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.errors import ModelError
from optc.ir.core import Module, Value
from optc.ops.onnx_export import to_onnx_model
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.schemes import scheme_of
from optc.passes.quantization.weights import quantize_weight


@pytest.mark.parametrize("name", ["int3/float", "fp4-e2m1/float"])
def test_it_comes_near_the_best_of_all_roundings(name: str) -> None:
    random = np.random.default_rng(2)
    b = Builder(x="batch,10")
    b.graph.set_outputs([b("MatMul", b.input("x"), b.constant(random.normal(size=(10, 16)), np.float32))])
    module = Module(b.graph)
    (layer,) = layers_of(module.main)
    data = (random.normal(size=(128, 4)) @ random.normal(size=(4, 10))).astype(np.float32)
    scheme = scheme_of(name)
    nearest = quantize_weight(layer, scheme)
    scaled = np.asarray(layer.weight, np.float64) / nearest.spread
    low, high = (nearest.format.round(scaled, mode) for mode in ("down", "up"))

    def errors(numbers: np.ndarray) -> np.ndarray:
        return np.square(data @ (numbers * nearest.spread - layer.weight)).mean(axis=0)

    every = np.stack([errors(np.where(np.array(bits)[:, None], high, low)) for bits in product((0, 1), repeat=10)])
    plan = QuantizationPlan({layer.name: QuantizedLayer(layer, scheme, nearest)})
    batches = [{"x": part} for part in np.split(data, 4)]
    learn_rounding(module, plan, Data(batches, module.main.inputs), Recipe(steps=200, end_steps=0))
    numbers = plan.layers[layer.name].weight.numbers
    assert ((numbers == low) | (numbers == high)).all()
    found = errors(numbers)
    better = (every < found * (1 - 1e-6)).mean(axis=0)
    assert found.sum() < 0.5 * errors(nearest.numbers).sum()
    assert better.mean() < 0.05


def residual() -> tuple[Module, dict[str, Value]]:
    b = Builder(x="batch,4,6,6")
    random = np.random.default_rng(3)

    def conv(data: Value, outputs: int, inputs: int, size: int, **attributes: int) -> Value:
        weight = b.constant(random.normal(size=(outputs, inputs, size, size)) / size, np.float32)
        bias = b.constant(random.normal(size=outputs), np.float32)
        return b("Conv", data, weight, bias, pads=(size // 2,) * 4, **attributes)

    first = b("Relu", conv(b.input("x"), 8, 4, 3))
    deep = b("Clip", conv(first, 8, 1, 3, group=8), b.constant(0.0, np.float32), b.constant(6.0, np.float32))
    added = b("Add", conv(deep, 8, 8, 1), first)
    pooled = b("GlobalAveragePool", added)
    flat = b("Flatten", pooled)
    out = b(
        "Add", b("MatMul", flat, b.constant(random.normal(size=(8, 5)), np.float32)), b.constant(np.ones(5), np.float32)
    )
    b.graph.set_outputs([out])
    return Module(b.graph), {"first": first, "added": added, "out": out}


def test_blocks_end_where_all_data_pass_through_one_value() -> None:
    module, values = residual()
    layers = [layer.operation for layer in layers_of(module.main)]
    blocks = blocks_of(module.main, layers)
    assert [block.gives for block in blocks] == [(values["first"],), (values["added"],), (values["out"],)]
    assert [sum(operation in layers for operation in block.operations) for block in blocks] == [1, 2, 1]
    assert sum(len(block.operations) for block in blocks) == sum(
        1 for each in module.main if "constant" not in each.name
    )


def test_a_block_without_gradients_is_divided_into_its_layers() -> None:
    b = Builder(x="batch,4")
    random = np.random.default_rng(3)
    first = b("Relu", b("MatMul", b.input("x"), b.constant(random.normal(size=(4, 4)), np.float32)))
    sorted_ = b("TopK", first, b.constant([2]), results=("values", "indices"))
    both = b("Add", b("ReduceSum", first, b.constant([1])), sorted_)
    b.graph.set_outputs([b("MatMul", both, b.constant(random.normal(size=(2, 3)), np.float32))])
    blocks = blocks_of(b.graph, [layer.operation for layer in layers_of(b.graph)])
    assert blocks[0].gives == (first,) and len(blocks[0].operations) == 2


@pytest.mark.parametrize("name", ["int4", "int3/uint8", "fp4", "int4-weights"])
def test_the_outputs_err_less_than_with_the_nearest_numbers(name: str) -> None:
    module, _ = residual()
    random = np.random.default_rng(5)
    x = random.normal(size=(160, 4, 6, 6)).astype(np.float32)
    batches = [{"x": part} for part in np.split(x[:128], 8)]
    quantizer = Quantizer.of(to_onnx_model(module), batches)
    plan = quantizer.plan(name)
    exact = Runner(quantizer.module).run({"x": x[128:]})[0]

    def error() -> float:
        return float(np.square(Runner(quantizer.write(plan)).run({"x": x[128:]})[0] - exact).mean())

    before = error()
    learn_rounding(quantizer.module, plan, quantizer.data, Recipe(steps=80, end_steps=80))
    assert error() < 0.6 * before


def test_the_order_of_samples_is_all_that_is_random() -> None:
    module, _ = residual()
    x = np.random.default_rng(5).normal(size=(32, 4, 6, 6)).astype(np.float32)
    written = []
    for _ in range(2):
        quantizer = Quantizer.of(to_onnx_model(module), [{"x": part} for part in np.split(x, 4)])
        plan = quantizer.plan("int4")
        learn_rounding(quantizer.module, plan, quantizer.data, Recipe(steps=10, end_steps=5))
        written.append(to_onnx_model(quantized_module(quantizer.module, plan)).SerializeToString(deterministic=True))
    assert written[0] == written[1]


BRANCHES = """
<ir_version: 10, opset_import: ["" : 21]>
model (float[N, 4] x, bool chosen) => (float[N, 4] y)
<float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}> {
    h = MatMul (x, w)
    [branch] y = If (chosen) <
        then_branch = yes () => (float[N, 4] a) { a = Relu (h) },
        else_branch = no () => (float[N, 4] b) { b = Neg (h) }
    >
}
"""


def test_a_model_with_branches_is_refused_by_name() -> None:
    batches = [{"x": np.ones((16, 4), np.float32) * scale, "chosen": np.array(True)} for scale in (1, 2)]
    quantizer = Quantizer.of(onnx.parser.parse_model(BRANCHES), batches)
    with pytest.raises(ModelError, match="a model with branches or loops cannot be trained in PyTorch\n  at 'branch'"):
        learn_rounding(quantizer.module, quantizer.plan("int4"), quantizer.data)
