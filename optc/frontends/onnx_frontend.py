"""The ONNX front end: a model file into a module, checked, brought to the IR's opset and typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from optc.errors import ModelError
from optc.frontends.binding import bind_inputs
from optc.frontends.onnx_file import ModelFile, read_model
from optc.frontends.onnx_import import Importer
from optc.ir.core import Module
from optc.ir.dims import SymbolicDim, symbol
from optc.ir.types import TensorType, ValueType
from optc.ops.onnx_types import type_from_proto
from optc.ops.values import remembered


def load(
    source: str | Path | bytes | onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Module:
    """Import an ONNX model.

    Args:
        source: a path, the bytes of a file, or a parsed model. External data is memory-mapped, not read.
        shapes: full shapes of some inputs by name.
        dims: values of symbolic dimensions by name.

    Returns:
        The module at the opset of the IR. Weights are constants that share storage with the file or the message;
        functions are inlined; unnamed unknown dimensions of an input `x` are called `x_dim0`, `x_dim1` ….

    Raises:
        ModelError: the model is broken or holds something outside the tensor subset.
        UsageError: `shapes` or `dims` do not fit the model.
    """
    model = read_model(source)
    types = bind_inputs(_input_types(model), shapes, dims, model.label)
    with remembered():
        graph = Importer(model).main(types)
    metadata = {
        "opset": str(model.opsets[""]),
        "producer": " ".join(filter(None, (model.proto.producer_name, model.proto.producer_version))),
    }
    if isinstance(source, (str, Path)):
        metadata["source"] = Path(source).name  # where the file lies says nothing about the model
    name = Path(source).stem if isinstance(source, (str, Path)) else model.proto.graph.name or "model"
    return Module(graph, name, metadata)


def _input_types(model: ModelFile) -> dict[str, ValueType]:
    """The types of the inputs that no initializer fills, by name."""
    filled = {tensor.name for tensor in model.proto.graph.initializer}
    filled |= {tensor.values.name for tensor in model.proto.graph.sparse_initializer}
    types: dict[str, ValueType] = {}
    for value in model.proto.graph.input:
        if value.name in filled:
            continue
        if value.name in types:
            raise ModelError(f"The name '{value.name}' is defined twice", where=model.label, why="by two inputs")
        try:
            types[value.name] = _with_named_dims(value.name, type_from_proto(value.type, f"{value.name}_dim"))
        except ValueError as error:
            raise ModelError(
                f"The input '{value.name}' cannot be imported", where=model.label, why=str(error)
            ) from error
    return types


def _with_named_dims(name: str, type: ValueType) -> ValueType:
    if not isinstance(type, TensorType) or type.shape is None:
        return type
    shape = tuple(
        symbol(f"{name}_dim{axis}") if isinstance(dim, SymbolicDim) and dim == symbol(f"{name}_dim_{axis}") else dim
        for axis, dim in enumerate(type.shape)
    )
    return type.with_shape(shape)
