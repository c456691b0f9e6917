"""Modules in QDQ form: what onnxruntime computes with them is what the quantizers say."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from graph_kit import Builder

from optc.ir.core import Module
from optc.ir.verifier import verify
from optc.ops.onnx_export import to_onnx_model
from optc.passes.quantization.activations import activation_for
from optc.passes.quantization.bias import corrected_bias
from optc.passes.quantization.formats import IntegerFormat
from optc.passes.quantization.layers import layers_of
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.schemes import scheme_of
from optc.passes.quantization.sites import sites_of
from optc.passes.quantization.weights import quantize_weight


def run(module: Module, **feeds: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = to_onnx_model(module).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def product(rows: int = 40, columns: int = 6) -> Module:
    b = Builder(x=f"5,{rows}")
    weight = b.constant(np.random.default_rng(0).normal(size=(rows, columns)), np.float32)
    b.graph.set_outputs([b("MatMul", b.input("x"), weight)])
    return Module(b.graph)


@pytest.mark.parametrize("name", ["int8", "int7", "int4", "int3/uint8", "fp8-e4m3", "fp8-e5m2", "fp4", "int4-weights"])
def test_onnxruntime_computes_what_the_quantizers_say(name: str) -> None:
    module, scheme = product(), scheme_of(name)
    x = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    (layer,) = layers_of(module.main)
    weight = quantize_weight(layer, scheme)
    plan = QuantizationPlan({layer.name: QuantizedLayer(layer, scheme, weight)})
    read = x
    if scheme.activations is not None:
        how = activation_for(float(x.min()), float(x.max()), scheme.activations)
        plan.activations[layer.data] = how
        read = how.apply(x)
    quantized = quantized_module(module, plan)
    verify(quantized)
    np.testing.assert_allclose(run(quantized, x=x), read @ weight.values, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(run(module, x=x), x @ layer.weight, rtol=1e-5, atol=1e-5)


def test_group_scales_divide_the_summed_axis() -> None:
    module = product(rows=70)
    (layer,) = layers_of(module.main)
    weight = quantize_weight(layer, scheme_of("int4-weights"), search=False)
    assert weight.scale.shape == (3, 6)
    expected = np.stack([np.abs(layer.weight[start : start + 32]).max(axis=0) / 7 for start in (0, 32, 64)])
    np.testing.assert_allclose(weight.scale, expected, rtol=1e-6)
    assert np.abs(weight.values - layer.weight).max() <= expected.max() / 2 + 1e-6


def test_searched_scales_err_less() -> None:
    (layer,) = layers_of(product(rows=300).main)
    plain = quantize_weight(layer, scheme_of("int4"), search=False)
    searched = quantize_weight(layer, scheme_of("int4"))
    errors = [((weight.values - layer.weight) ** 2).sum(axis=0) for weight in (plain, searched)]
    assert (errors[1] <= errors[0] + 1e-6).all() and errors[1].sum() < 0.95 * errors[0].sum()


def residual() -> tuple[Module, dict[str, object]]:
    b = Builder(x="1,4,8,8")
    random = np.random.default_rng(3)
    first = b("Conv", b.input("x"), b.constant(random.normal(size=(4, 4, 3, 3)), np.float32), pads=(1, 1, 1, 1))
    relu = b("Relu", first)
    second = b("Conv", relu, b.constant(random.normal(size=(4, 1, 3, 3)), np.float32), group=4, pads=(1, 1, 1, 1))
    added = b("Add", second, relu)
    pooled = b("MaxPool", added, kernel_shape=(2, 2), strides=(2, 2))
    last = b("Conv", pooled, b.constant(random.normal(size=(2, 4, 1, 1)), np.float32))
    b.graph.set_outputs([last])
    return Module(b.graph), {"relu": relu, "second": second, "added": added, "pooled": pooled, "x": b.input("x")}


def test_activations_are_quantized_where_codes_are_read() -> None:
    module, values = residual()
    sites = sites_of(module.main, layers_of(module.main))
    assert set(sites.sources) == {values[name] for name in ("x", "relu", "second", "added", "pooled")}
    assert sites.sources[values["pooled"]] is values["added"]  # type: ignore[index]


def test_a_layer_alone_leaves_the_others_in_float() -> None:
    module, values = residual()
    sites = sites_of(module.main, layers_of(module.main)[1:2])
    assert set(sites.sources) == {values["relu"]}


def test_bias_correction_keeps_the_mean_of_each_channel() -> None:
    b = Builder(x="64,4,1,1")
    random = np.random.default_rng(4)
    b.graph.set_outputs([b("Conv", b.input("x"), b.constant(random.normal(size=(6, 2, 1, 1)), np.float32), group=2)])
    module = Module(b.graph)
    (layer,) = layers_of(module.main)
    x = random.normal(1.0, 1.0, size=(64, 4, 1, 1)).astype(np.float32)
    scheme = scheme_of("int3/float")
    weight = quantize_weight(layer, scheme)
    bias = corrected_bias(layer, weight.values, x.mean(axis=(0, 2, 3), dtype=np.float64))
    plan = QuantizationPlan({layer.name: QuantizedLayer(layer, scheme, weight, bias)})
    found, wanted = run(quantized_module(module, plan), x=x), run(module, x=x)
    np.testing.assert_allclose(found.mean(axis=(0, 2, 3)), wanted.mean(axis=(0, 2, 3)), atol=1e-5)
    plan.layers[layer.name].bias = None
    assert np.abs(run(quantized_module(module, plan), x=x).mean(axis=0) - wanted.mean(axis=0)).max() > 1e-3


def test_integer_activations_have_a_code_for_zero() -> None:
    how = activation_for(0.5, 3.0, IntegerFormat(8, signed=False))
    assert how.zero_point == 0 and how.bounds == pytest.approx((0.0, 3.0))
    assert how.apply(np.zeros(1))[0] == 0.0
