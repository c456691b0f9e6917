"""Function bodies: those by which ONNX defines some operations, made ready to be inlined."""

from __future__ import annotations

import onnx
from onnx import defs

from optc.frontends.opset_upgrade import SourceNode
from optc.ir.core import Operation
from optc.ir.types import UNKNOWN_TYPE
from optc.ops.onnx_defaults import OPSET, join_name
from optc.ops.onnx_export import make_node
from optc.ops.onnx_types import type_to_proto

# Declared, and imported by its body all the same: the form that has native code is recognized again.
TAKEN_APART = frozenset({"onnx.Attention"})


def schema_function(schema: defs.OpSchema, node: SourceNode) -> onnx.FunctionProto | None:
    """The body by which ONNX defines an operation that optc does not declare itself."""
    if schema.has_function:
        return _with_defaults(schema.function_body, schema)
    if not schema.has_context_dependent_function or node.graphs:
        return None
    name = join_name(node.domain, node.op_type)
    operation = Operation(name, node.operands, [UNKNOWN_TYPE] * node.results, node.attributes)
    inputs = ["" if value is None else f"i{i}" for i, value in enumerate(node.operands)]
    proto = make_node(operation, inputs, [f"o{i}" for i in range(node.results)])
    types = [onnx.TypeProto() if v is None else type_to_proto(v.type) for v in node.operands]
    operation.drop_operands()
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= max(OPSET, schema.since_version)]
    if not versions:
        return None
    body = schema.get_context_dependent_function_with_opset_version(
        max(versions), proto.SerializeToString(), [type.SerializeToString() for type in types]
    )
    return _with_defaults(onnx.FunctionProto.FromString(body), schema) if body else None


def _with_defaults(function: onnx.FunctionProto, schema: defs.OpSchema) -> onnx.FunctionProto:
    """A function body of a schema that knows the defaults of the schema's attributes."""
    copy = onnx.FunctionProto()
    copy.CopyFrom(function)
    for name, attribute in schema.attributes.items():
        if attribute.default_value.type:
            proto = copy.attribute_proto.add()
            proto.CopyFrom(attribute.default_value)
            proto.name = name
    return copy


def without_inputs(node: onnx.NodeProto, absent: set[str]) -> onnx.NodeProto:
    """A node of a function body without the inputs that the caller left out."""
    if not any(name in absent for name in node.input):
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for position, name in enumerate(copy.input):
        if name in absent:
            copy.input[position] = ""
    return copy
