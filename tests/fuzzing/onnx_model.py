"""The ONNX importer: any bytes become a module that its own verifier accepts, or an error in a few lines."""

from __future__ import annotations

import functools
import random

import numpy as np
import onnx
from fuzzing.surface import Surface
from onnx import defs, helper, numpy_helper
from onnx_kit import model, node, value

from optc.errors import OptcError
from optc.frontends.loading import load_model
from optc.frontends.summary import summarize
from optc.ir.verifier import verify

BOOL, INT64 = onnx.TensorProto.BOOL, onnx.TensorProto.INT64
AXES, PADS = np.array([1]), np.array([0, 1, 0, 1])
_LIMIT = 1 << 20
_EXTENTS = (0, 1, 2, 3, 7, 64, 1 << 20, (1 << 31) - 1, 1 << 40, -1, -(1 << 63), (1 << 63) - 1)


def seeds() -> list[bytes]:
    """Small models of the families of operations."""
    image, vector, sizes = value("x", ["batch", 3, 8, 8]), value("x", ["n", 6]), value("s", [2], INT64)
    kernel = {"w": np.ones((4, 3, 3, 3), np.float32), "b": np.zeros(4, np.float32)}
    scales = {"s": np.float32(0.1), "z": np.uint8(3)}
    gates = {"w": np.ones((1, 8, 6), np.float32), "r": np.ones((1, 8, 2), np.float32)}
    branch = helper.make_graph([node("Neg", "x", "t")], "then", [], [value("t", None)])
    other = helper.make_graph([node("Relu", "x", "e")], "else", [], [value("e", None)])
    body = helper.make_graph(
        [node("Add", "v x", "next"), node("Identity", "c", "going")],
        "body",
        [value("i", [], INT64), value("c", [], BOOL), value("v", None)],
        [value("going", [], BOOL), value("next", None)],
    )
    cases: list[tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto], dict[str, object]]] = [
        ([node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "y")], [image], kernel),
        ([node("MaxPool", "x", "p", kernel_shape=[2, 2]), node("Flatten", "p", "y")], [image], {}),
        ([node("Reshape", "x s", "r"), node("Softmax", "r", "y", axis=-1)], [vector, sizes], {}),
        ([node("Slice", "x s s", "r"), node("Concat", "r r", "y", axis=0)], [vector, sizes], {}),
        ([node("Split", "x", "a b", axis=1), node("MatMul", "a b", "y")], [vector], {}),
        ([node("Resize", "x - - s", "y", mode="nearest")], [image], {"s": np.array([1, 3, 16, 16])}),
        ([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")], [vector], scales),
        ([node("Unsqueeze", "x a", "u"), node("LSTM", "u w r", "y", hidden_size=2)], [vector], {**gates, "a": AXES}),
        ([node("Gather", "x s", "g"), node("TopK", "g k", "y i")], [vector, sizes], {"k": np.array([1])}),
        ([node("Einsum", "x x", "e", equation="ij,kj->ik"), node("ReduceMean", "e", "y", axes=[0])], [vector], {}),
        ([node("If", "c", "y", then_branch=branch, else_branch=other)], [vector, value("c", [], BOOL)], {}),
        ([node("Loop", "n c x", "y", body=body)], [vector, value("n", [], INT64), value("c", [], BOOL)], {}),
        ([node("Shape", "x", "h"), node("ConstantOfShape", "h", "o"), node("Pad", "o p", "y")], [vector], {"p": PADS}),
    ]
    return [model(nodes, inputs, ["y"], weights).SerializeToString() for nodes, inputs, weights in cases]


def more_seeds() -> list[bytes]:
    """For each operation the first of ONNX's own node tests that is small."""
    from onnx.backend.test.case.node import collect_testcases

    with np.errstate(all="ignore"):
        cases = sorted(collect_testcases(None), key=lambda case: case.name)
    found: dict[str, bytes] = {}
    for case in cases:
        data = case.model.SerializeToString()
        operations = [node.op_type for node in case.model.graph.node]
        if len(data) < 2048 and operations[0] not in found:
            found[operations[0]] = data
    return list(found.values())


def run(data: bytes) -> None:
    """Import; what is accepted is a valid module that can be summarized."""
    try:
        module = load_model(data[:_LIMIT]).module
    except OptcError as error:
        assert 0 < len(str(error)) < 4000, str(error)
        return
    verify(module)
    summarize(module)


@functools.cache
def _operations() -> list[str]:
    return sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})


def mutate(data: bytes, choices: random.Random) -> bytes:
    """Change one thing of a model: an extent, a type, an operation, an attribute, a name, or its nodes' order."""
    try:
        proto = onnx.load_from_string(data)
    except Exception:
        return data
    try:
        for _ in range(choices.randint(1, 3)):
            choices.choice(_CHANGES)(proto, choices)
    except UnicodeDecodeError:
        return data
    return proto.SerializeToString()


def _graphs(proto: onnx.ModelProto) -> list[onnx.GraphProto]:
    graphs, waiting = [], [proto.graph]
    while waiting:
        graph = waiting.pop()
        graphs.append(graph)
        waiting += [attribute.g for item in graph.node for attribute in item.attribute if attribute.HasField("g")]
    return graphs


def _graph(proto: onnx.ModelProto, choices: random.Random) -> onnx.GraphProto:
    return choices.choice(_graphs(proto))


def _extent(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    infos = [*graph.input, *graph.output, *graph.value_info]
    dims = [dim for info in infos for dim in info.type.tensor_type.shape.dim]
    if dims and choices.random() < 0.6:
        dim = choices.choice(dims)
        if choices.random() < 0.2:
            dim.dim_param = choices.choice(["batch", "n", "", "2*n", "n/0", "-n"])
        else:
            dim.dim_value = choices.choice(_EXTENTS)
    elif graph.initializer:
        tensor = choices.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[choices.randrange(len(tensor.dims))] = choices.choice(_EXTENTS)


def _type(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    infos = [*graph.input, *graph.output, *graph.value_info]
    if infos and choices.random() < 0.6:
        choices.choice(infos).type.tensor_type.elem_type = choices.randint(0, 25)
    elif graph.initializer:
        choices.choice(graph.initializer).data_type = choices.randint(0, 25)


def _operation(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    if graph.node:
        choices.choice(graph.node).op_type = choices.choice(_operations())


def _attribute(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    if not graph.node:
        return
    item = choices.choice(graph.node)
    schemas = [schema for schema in defs.get_all_schemas_with_history() if schema.name == item.op_type]
    names = sorted({name for schema in schemas for name in schema.attributes}) or ["axis"]
    number = choices.choice(_EXTENTS)
    content = choices.choice([number, [number], [number, 1], [], 0.5, float("nan"), [1.0], "SAME_UPPER", "", b"\xff"])
    name = choices.choice(names)
    for index, attribute in enumerate(item.attribute):
        if attribute.name == name:
            del item.attribute[index]
            break
    if content == []:
        item.attribute.append(onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS))
    else:
        item.attribute.append(helper.make_attribute(name, content))


def _name(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    if not graph.node:
        return
    names = [name for item in graph.node for name in [*item.input, *item.output]]
    names += [info.name for info in [*graph.input, *graph.initializer]] + [""]
    item = choices.choice(graph.node)
    field = item.input if choices.random() < 0.7 else item.output
    if field and choices.random() < 0.7:
        field[choices.randrange(len(field))] = choices.choice(names)
    elif choices.random() < 0.5:
        field.append(choices.choice(names))
    elif field:
        del field[-1]


def _order(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    if not graph.node:
        return
    index = choices.randrange(len(graph.node))
    if choices.random() < 0.5:
        graph.node.add().CopyFrom(graph.node[index])
    else:
        del graph.node[index]


def _constant(proto: onnx.ModelProto, choices: random.Random) -> None:
    graph = _graph(proto, choices)
    reads = [name for item in graph.node for name in item.input if name]
    if reads:
        count = choices.randint(0, 5)
        array = np.array([choices.choice(_EXTENTS) for _ in range(count)], np.int64)
        graph.initializer.append(numpy_helper.from_array(array, choices.choice(reads)))


def _opset(proto: onnx.ModelProto, choices: random.Random) -> None:
    if proto.opset_import:
        choices.choice(proto.opset_import).version = choices.choice([*range(1, 28), -1, 1 << 40])


_CHANGES = (_extent, _type, _operation, _attribute, _name, _order, _constant, _opset)

SURFACE = Surface("onnx_model", seeds, run, mutate, more_seeds)
