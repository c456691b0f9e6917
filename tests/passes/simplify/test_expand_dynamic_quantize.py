"""Codes, scale and zero point are those that onnxruntime finds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numerics import run

from optc.frontends import load_model
from optc.passes.base import PassContext
from optc.passes.simplify.expand_dynamic_quantize import ExpandDynamicQuantize

RANDOM = np.random.default_rng(3)
INPUTS = {
    "both signs": RANDOM.normal(size=(4, 6)),
    "positive": RANDOM.uniform(2, 3, (4, 6)),
    "negative": RANDOM.uniform(-3, -2, (4, 6)),
    "zero": np.zeros((4, 6)),
    "wide": RANDOM.normal(size=(4, 6)) * 1e20,
}


def model(shape: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        main (float[{shape}] x) => (uint8[{shape}] y, float scale, uint8 zero) {{
            y, scale, zero = DynamicQuantizeLinear (x)
        }}
    """)


@pytest.mark.parametrize("name", INPUTS)
def test_the_numbers_stay(name: str) -> None:
    before, after = load_model(model("4, 6")).module, load_model(model("4, 6")).module
    assert ExpandDynamicQuantize().run(after, PassContext())
    assert "onnx.DynamicQuantizeLinear" not in {item.name for item in after.walk()}
    inputs = {"x": INPUTS[name].astype(np.float32)}
    wanted, found = run(before, inputs), run(after, inputs)
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array)


def test_a_shape_that_only_the_run_knows() -> None:
    module, context = load_model(model("N, 6")).module, PassContext()
    assert not ExpandDynamicQuantize().run(module, context)
    assert [remark.reason for remark in context.remarks] == ["its shape is known only at run time"]
