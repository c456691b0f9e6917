"""Short ways to make ONNX models for the tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT


def value(name: str, shape: Sequence[int | str | None] | None, code: int = FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return helper.make_tensor_value_info(name, code, shape)


def node(op_type: str, inputs: str, outputs: str, name: str = "", domain: str = "", **attributes) -> onnx.NodeProto:  # type: ignore[no-untyped-def]
    """A node; names are separated by spaces, `-` stands for an absent input."""
    split = ["" if item == "-" else item for item in inputs.split()]
    return helper.make_node(op_type, split, outputs.split(), name=name, domain=domain, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str | onnx.ValueInfoProto],
    weights: dict[str, object] | None = None,
    opset: int = 17,
    **domains: int,
) -> onnx.ModelProto:
    """A model; weights are arrays (or lists, as float32) by name, outputs without a type are float."""
    arrays = {
        name: np.asarray(w) if isinstance(w, (np.ndarray, np.generic)) else np.asarray(w, np.float32)
        for name, w in (weights or {}).items()
    }
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    typed = [value(item, None) if isinstance(item, str) else item for item in outputs]
    graph = helper.make_graph(nodes, "net", inputs, typed, initializers)
    versions = {"": opset, **{domain.replace("_", "."): version for domain, version in domains.items()}}
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)
