"""Operations that only onnxruntime defines (domain com.microsoft): it is asked for their types and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from optc.ir.core import Operation
from optc.ir.types import UNKNOWN_TYPE, TensorType, ValueType
from optc.ops.onnx_defaults import opset_imports, plain_node, rename_invented, split_name
from optc.ops.onnx_types import dim_from_text, type_from_proto, type_to_proto
from optc.ops.shapes import fresh

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DOMAIN = "com.microsoft"


@cache
def _schemas() -> dict[str, Any]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return {schema.name: schema for schema in state.get_all_operator_schema() if schema.domain == DOMAIN}


def knows(name: str) -> bool:
    """Whether onnxruntime defines the operation and ONNX does not."""
    domain, op_type = split_name(name)
    return domain == DOMAIN and op_type in _schemas()


def known_names() -> list[str]:
    """The operation types of the domain."""
    return sorted(_schemas())


@lru_cache(maxsize=256)
def _session(model: bytes) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _model(operation: Operation, types: Sequence[ValueType | None]) -> bytes:
    node = plain_node(operation)
    inputs = [
        onnx.ValueInfoProto(name=f"i{position}", type=type_to_proto(type))
        for position, type in enumerate(types)
        if type is not None
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    imports = opset_imports([operation])
    model = helper.make_model(helper.make_graph([node], "operation", inputs, outputs), opset_imports=imports)
    model.ir_version = helper.find_min_ir_version_for([imports[0]])
    return model.SerializeToString(deterministic=True)


def infer(operation: Operation) -> Sequence[ValueType]:
    """Result types as onnxruntime works them out when it loads the operation alone.

    Raises:
        ValueError: it does not accept the operands, or has no CPU kernel for them.
    """
    types = [None if value is None else value.type for value in operation.operands]
    if UNKNOWN_TYPE in types:
        return [UNKNOWN_TYPE] * len(operation.results)
    try:
        session = _session(_model(operation, types))
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ValueError(f"onnxruntime refuses it: {_reason(error)}") from error
    results: list[ValueType] = []
    for position, found in enumerate(session.get_outputs()):
        proto = _tensor_proto(found.type)
        type = UNKNOWN_TYPE if proto is None else type_from_proto(proto)
        if isinstance(type, TensorType):
            # onnxruntime shows an unknown rank as no dimensions at all: only a known scalar would look the same.
            shape = tuple(
                dim
                if isinstance(dim, int) and dim >= 0
                else dim_from_text(dim)
                if dim
                else fresh(operation, axis, position)
                for axis, dim in enumerate(found.shape)
            )
            type = type.with_shape(shape or None)
        results.append(rename_invented(type, operation, position))
    return results


def _tensor_proto(text: str) -> onnx.TypeProto | None:
    """The type behind onnxruntime's `tensor(float)`."""
    names = {"float": "FLOAT", "double": "DOUBLE"}
    element = text.removeprefix("tensor(").removesuffix(")")
    name = names.get(element, element.upper())
    if not text.startswith("tensor(") or name not in onnx.TensorProto.DataType.keys():
        return None
    return helper.make_tensor_type_proto(onnx.TensorProto.DataType.Value(name), None)


def evaluate(operation: Operation, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Run the operation in onnxruntime."""
    types = [None if value is None else value.type for value in operation.operands]
    feeds = {f"i{position}": array for position, array in enumerate(arrays) if array is not None}
    return list(_session(_model(operation, types)).run(None, feeds))


def verify(operation: Operation) -> None:
    """Nothing to add: onnxruntime checks when the types are inferred."""


def attribute_kinds(name: str) -> dict[str, int]:
    """The AttributeProto.AttributeType of each attribute."""
    schema = _schemas()[split_name(name)[1]]
    kinds = onnx.AttributeProto.AttributeType
    return {key: kinds.Value(attribute.type.name) for key, attribute in schema.attributes.items()}


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else str(error)
    return line.split(" : ", 3)[-1].strip()
