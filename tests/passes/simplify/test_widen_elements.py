"""What has no bfloat16 kernel anywhere is computed in f32 and rounded once."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

import optc
from optc.frontends.onnx_frontend import load
from optc.passes.base import PassContext
from optc.passes.simplify.widen_elements import WidenElements

BF16 = onnx.TensorProto.BFLOAT16
INPUTS = [value("x", [3, 5], BF16), value("w", [5, 4], BF16)]
NODES = [node("MatMul", "x w", "t"), node("Transpose", "t", "y")]


def names(operations: object) -> list[str]:
    return [operation.name.removeprefix("onnx.") for operation in operations]  # type: ignore[attr-defined]


def test_only_what_has_no_native_code_is_widened() -> None:
    module = load(model(NODES, INPUTS, [value("y", None, BF16)]))
    context = PassContext(supports=lambda operation: "no" if operation.name == "onnx.MatMul" else None)
    assert WidenElements().run(module, context)
    assert names(module.main) == ["Cast", "Cast", "MatMul", "Cast", "Transpose"]
    assert [str(operation.results[0].dtype) for operation in module.main] == ["f32", "f32", "f32", "bf16", "bf16"]
    assert not WidenElements().run(module, context)


def test_single_precision_is_left_alone() -> None:
    module = load(model(NODES, [value("x", [3, 5]), value("w", [5, 4])], ["y"]))
    assert not WidenElements().run(module, PassContext(supports=lambda _: "no"))


def test_conversions_stay() -> None:
    """They have no other type to be computed in."""
    nodes = [node("Cast", "x", "t", to=BF16), node("CastLike", "t w", "y")]
    module = load(model(nodes, [value("x", [3]), value("w", [1], BF16)], [value("y", None, BF16)]))
    assert not WidenElements().run(module, PassContext(supports=lambda _: "no"))


@pytest.mark.parametrize("equation", ["ij,jk->ki", "ij,jk->i"])
def test_products_are_native(equation: str) -> None:
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((3, 5), (5, 4)))
    made = model([node("Einsum", "x w", "y", equation=equation)], INPUTS, [value("y", None, BF16)])
    artifact = optc.compile(made, tune=0, verify=False)
    assert artifact.manifest.fallbacks == ()
    expected = np.einsum(equation, x.astype(np.float32), w.astype(np.float32)).astype(ml_dtypes.bfloat16)
    found = artifact.run({"x": x, "w": w})["y"]
    np.testing.assert_allclose(found.astype(np.float32), expected.astype(np.float32), rtol=2**-7)
