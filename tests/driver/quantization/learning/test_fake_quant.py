"""What PyTorch computes of formats is what their references say; gradients are those of the methods."""

from __future__ import annotations

import numpy as np
import pytest
from graph_kit import Builder

torch = pytest.importorskip("torch")

from optc.driver.quantization.learning.fake_quant import (  # noqa: E402
    ActivationQuantizer,
    SoftWeight,
    StraightWeight,
    nearest,
)
from optc.passes.quantization.activations import activation_for  # noqa: E402
from optc.passes.quantization.formats import format_of  # noqa: E402
from optc.passes.quantization.layers import Layer, layers_of  # noqa: E402
from optc.passes.quantization.schemes import scheme_of  # noqa: E402
from optc.passes.quantization.weights import quantize_weight  # noqa: E402


def layer_of(rows: int = 70, columns: int = 6) -> Layer:
    b = Builder(x=f"5,{rows}")
    weight = b.constant(np.random.default_rng(0).normal(size=(rows, columns)), np.float32)
    b.graph.set_outputs([b("MatMul", b.input("x"), weight)])
    return layers_of(b.graph)[0]


@pytest.mark.parametrize("name", ["int8", "uint8", "int3", "fp8-e4m3", "fp8-e5m2", "fp4-e2m1", "e3m4"])
def test_numbers_are_those_of_the_reference(name: str) -> None:
    format = format_of(name)
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=500) * 10.0**power for power in range(-6, 6)]).astype(np.float32)
    values = np.concatenate([values, [0.0, 0.5, 1.5, 2.5, -0.5, -1.5]]).astype(np.float32)
    tensor = torch.tensor(values, requires_grad=True)
    found = nearest(tensor, format)
    np.testing.assert_array_equal(found.detach().numpy(), format.round(values).astype(np.float32))
    found.sum().backward()
    inside = (values >= getattr(format, "least", -format.largest)) & (values <= format.largest)
    np.testing.assert_array_equal(tensor.grad.numpy(), inside)


@pytest.mark.parametrize("name", ["uint8", "fp8-e4m3"])
def test_activations_are_those_that_onnx_gives(name: str) -> None:
    how = activation_for(-1.3, 2.9, format_of(name))
    values = np.random.default_rng(1).normal(size=400).astype(np.float32) * 2
    quantizer = ActivationQuantizer(how)
    found = quantizer(torch.from_numpy(values))
    # A scale that went through its logarithm is a rounding error off; ties may fall to the other side.
    assert np.isclose(found.detach().numpy(), how.apply(values), rtol=1e-4, atol=1e-6).mean() > 0.99
    assert quantizer.learned.scale == pytest.approx(how.scale, rel=1e-6)


def test_the_gradient_of_a_scale_is_that_of_learned_step_sizes() -> None:
    how = activation_for(0.0, 2.55, format_of("uint8"))
    quantizer = ActivationQuantizer(how)
    values = torch.tensor([0.014, 0.5, 9.0, -1.0])
    quantizer(values).sum().backward()
    scaled = values.numpy() / how.scale
    expected = np.where(scaled > 255, 255, np.where(scaled < 0, 0, np.rint(scaled) - scaled)).sum() * how.scale
    assert quantizer.log_scale.grad.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["int8", "int4-weights", "fp4"])
def test_weights_start_as_they_were(name: str) -> None:
    layer = layer_of()
    start = quantize_weight(layer, scheme_of(name))
    straight, soft = StraightWeight(layer.weight, start), SoftWeight(layer.weight, start)
    np.testing.assert_allclose(straight().detach().numpy(), start.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(straight.learned.values, start.values, rtol=1e-5, atol=1e-6)
    limit = float(start.format.largest) * start.spread
    kept = np.clip(layer.weight, -limit, limit)
    np.testing.assert_allclose(soft().detach().numpy(), kept, rtol=1e-5, atol=1e-6)
    soft.decide(0.5)
    share = soft.share.detach().numpy()
    assert 0.5 <= soft.decided.numpy().mean() < 0.75 and set(np.unique(share[soft.decided.numpy()])) <= {0.0, 1.0}
    soft.decide(1.0)
    np.testing.assert_allclose(soft().detach().numpy(), soft.learned.values, rtol=1e-5, atol=1e-6)
    assert np.abs(soft.learned.values - kept).max() <= 0.501 * (soft.gap.numpy() * start.spread).max()
