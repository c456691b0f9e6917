"""Random small graphs of element-wise, movement, reduction and contraction operations, for the planning passes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from optc.ir import dtypes
from optc.ir.core import Graph, Location, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.ops.inference import make_operation

_UNARY = ("onnx.Relu", "onnx.Sigmoid", "onnx.Tanh", "onnx.Neg")
_KINDS = ("unary", "binary", "binary", "conv", "depthwise", "pool", "reduce", "concat", "softmax")
_BINARY = ("onnx.Add", "onnx.Mul", "onnx.Sub", "onnx.Max")


def native(operation: Operation) -> str | None:
    """A backend that makes a kernel of whatever a kernel could be made of."""
    kind = declaration_of(operation.name).kind
    return kind.value if kind in (Kind.OPAQUE, Kind.CONTROL) else None


@st.composite
def modules(draw: st.DrawFn, *, max_operations: int = 10, channels: tuple[int, ...] = (8, 16, 20)) -> Module:
    """Feature maps 1xCx6x6 through random operations; every value that nobody reads is an output."""
    graph = Graph("main")
    values: list[Value] = []
    for index in range(2):
        shape = (1, draw(st.sampled_from(channels)), 6, 6)
        values.append(graph.add_input(f"x{index}", TensorType(dtypes.FLOAT32, shape)))
    for index in range(draw(st.integers(1, max_operations))):
        source = draw(st.sampled_from(values))
        made = _operation(draw, graph, values, source)
        made.location = Location((f"node{index}",))
        graph.append(made)
        made.result.name = f"v{index}"
        values.append(made.result)
    unread = [value for value in values if not value.uses and value.producer is not None]
    graph.set_outputs(unread)
    return Module(graph)


def _operation(draw: st.DrawFn, graph: Graph, values: list[Value], source: Value) -> Operation:
    channels = source.shape[1]
    kind = draw(st.sampled_from(_KINDS))
    if kind == "unary":
        return make_operation(draw(st.sampled_from(_UNARY)), [source])
    if kind == "binary":
        same = [v for v in values if v.shape == source.shape or (v.shape[2:] == (1, 1) and v.shape[1] == channels)]
        other = draw(st.sampled_from(same))
        return make_operation(draw(st.sampled_from(_BINARY)), [source, other])
    if kind == "conv":
        out, size = draw(st.sampled_from((8, 16, 20))), draw(st.sampled_from((1, 3)))
        weight = graph.constant(_weights(out, channels, size, size), "w")
        return make_operation("onnx.Conv", [source, weight], {"pads": (size // 2,) * 4})
    if kind == "depthwise":
        weight = graph.constant(_weights(channels, 1, 3, 3), "w")
        return make_operation("onnx.Conv", [source, weight], {"pads": (1, 1, 1, 1), "group": channels})
    if kind == "pool":
        return make_operation("onnx.MaxPool", [source], {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)})
    if kind == "reduce":
        axes = graph.constant(np.array(draw(st.sampled_from(((2, 3), (1,), (3,)))), np.int64), "axes")
        return make_operation("onnx.ReduceMean", [source, axes], {"keepdims": 1})
    if kind == "concat":
        same = [value for value in values if value.shape[2:] == source.shape[2:]]
        return make_operation("onnx.Concat", [source, draw(st.sampled_from(same))], {"axis": 1})
    return make_operation("onnx.Softmax", [source], {"axis": draw(st.sampled_from((1, 3)))})


def _weights(*shape: int) -> np.ndarray:
    values = np.arange(np.prod(shape), dtype=np.float32) % 7 - 3
    return (values / (10 * np.prod(shape[1:]) ** 0.5)).reshape(shape).astype(np.float32)


def inputs_of(module: Module) -> list[np.ndarray]:
    """Fixed inputs for a module."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(value.shape, dtype=np.float32) for value in module.main.inputs]
