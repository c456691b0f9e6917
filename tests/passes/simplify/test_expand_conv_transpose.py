"""A transposed convolution and its sub-pixel form give the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numerics import assert_same, run
from onnx import TensorProto, helper, numpy_helper

from optc.frontends import load_model
from optc.passes.base import PassContext
from optc.passes.simplify.expand_conv_transpose import ExpandConvTranspose

CASES = {
    "kernel equals stride": ((2, 2), (2, 2), (0, 0, 0, 0), (0, 0)),
    "overlap and cut": ((4, 4), (2, 2), (1, 1, 1, 1), (0, 0)),
    "missing taps": ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "unequal": ((5, 3), (3, 2), (1, 0, 2, 1), (0, 0)),
    "stride one": ((3, 3), (1, 1), (1, 1, 1, 1), (0, 0)),
    "kernel below stride": ((1, 2), (2, 3), (0, 0, 0, 0), (0, 0)),
}


def model(
    kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...], extra: tuple[int, int]
) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weight = random.standard_normal((3, 5, *kernel)).astype(np.float32)
    bias = random.standard_normal(5).astype(np.float32)
    node = helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, output_padding=extra
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 4, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_stay(name: str) -> None:
    source = model(*CASES[name])
    module = load_model(source).module
    context = PassContext()
    assert ExpandConvTranspose().run(module, context), [remark.reason for remark in context.remarks]
    assert all(operation.name != "onnx.ConvTranspose" for operation in module.walk())
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 6)).astype(np.float32)
    assert_same(run(load_model(source).module, {"x": x}), run(module, {"x": x}))


def test_groups_stay_with_the_reason() -> None:
    source = model(*CASES["stride one"])
    source.graph.node[0].attribute.append(helper.make_attribute("group", 3))
    source.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 1, 3, 3), np.float32), "w"))
    source.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ones(3, np.float32), "b"))
    context = PassContext()
    assert not ExpandConvTranspose().run(load_model(source).module, context)
    assert [remark.reason for remark in context.remarks] == ["it has groups or dilations"]
