"""What an operation gets from the onnx package when its declaration leaves it out: schema, types, numbers, checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import checker, defs, helper, shape_inference

from optc.ir.core import Operation
from optc.ir.dims import SymbolicDim, symbol
from optc.ir.types import UNKNOWN_TYPE, TensorType, ValueType
from optc.ops.onnx_types import array_to_proto, type_from_proto, type_to_proto
from optc.ops.signature import check_signature

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

# Every ONNX operation in the IR means what this opset says. 24 is the newest that all the tools around optc handle:
# onnxscript's converter stops at 25, and onnxruntime 1.31 (which stops at 26) runs 24 completely but loses Swish from
# 25 on. Operations that came later keep the version that introduced them.
OPSET = 24

DOMAIN_VERSIONS = {"ai.onnx.ml": 5, "ai.onnx.preview.training": 1, "com.microsoft": 1}

# onnxruntime has no kernel for the opset-22 form of these, which only added element types: where nothing else in the
# model needs more, it is written with the opset before.
_LAST_KERNEL = {"onnx.RoiAlign": 21, "onnx.Bernoulli": 21}

_LARGEST_KNOWN_INPUT = 1024  # elements handed to ONNX's data propagation


def split_name(name: str) -> tuple[str, str]:
    """`onnx.Conv` → ("", "Conv"), `com.microsoft.Gelu` → ("com.microsoft", "Gelu")."""
    domain, _, op_type = name.rpartition(".")
    return ("" if domain == "onnx" else domain), op_type


def join_name(domain: str, op_type: str) -> str:
    """The inverse of `split_name`; `ai.onnx` is the default domain too."""
    return f"{'onnx' if domain in ('', 'ai.onnx') else domain}.{op_type}"


@cache
def schema_of(name: str) -> defs.OpSchema:
    """The ONNX schema of an operation at the opset of the IR.

    Raises:
        KeyError: ONNX has no such operation.
    """
    domain, op_type = split_name(name)
    version = OPSET if domain == "" else DOMAIN_VERSIONS.get(domain, 1)
    try:
        found = defs.get_schema(op_type, version, domain)
        # What a domain of its own withdrew, onnxruntime still runs as it last was.
        if found.deprecated and domain:
            found = defs.get_schema(op_type, found.since_version - 1, domain)
        return found
    except defs.SchemaError:
        pass
    try:
        return defs.get_schema(op_type, domain=domain)
    except defs.SchemaError:
        raise KeyError(name) from None


def opset_imports(operations: Iterable[Operation]) -> list[onnx.OperatorSetIdProto]:
    """The opset imports that a model of these operations needs."""
    versions = {"": OPSET}
    distinct = {operation.name: operation for operation in operations}
    for name in distinct:
        domain, _ = split_name(name)
        if domain == "optc":
            continue
        try:
            since = schema_of(name).since_version
        except KeyError:
            since = 1
        versions[domain] = max(versions.get(domain, DOMAIN_VERSIONS.get(domain, 1)), since)
    limit = min((_LAST_KERNEL.get(name, OPSET) for name in distinct), default=OPSET)
    if limit < versions[""] and all(_expressible(operation, limit) for operation in distinct.values()):
        versions[""] = limit
    for name in distinct:
        domain, op_type = split_name(name)
        if domain in DOMAIN_VERSIONS and (withdrawn := _withdrawn_since(op_type, versions[domain], domain)):
            versions[domain] = withdrawn - 1
    return [helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())]


def _withdrawn_since(op_type: str, version: int, domain: str) -> int:
    """The version of a domain that deprecated an operation; 0 where it is still there."""
    try:
        schema = defs.get_schema(op_type, version, domain)
    except defs.SchemaError:
        return 0
    return schema.since_version if schema.deprecated else 0


def _expressible(operation: Operation, version: int) -> bool:
    """Whether an earlier opset, of those after which only element types were added, has the operation as it is."""
    domain, op_type = split_name(operation.name)
    if domain:
        return True
    try:
        schema = defs.get_schema(op_type, version, "")
    except defs.SchemaError:
        return False
    return operation.attributes.keys() <= schema.attributes.keys() and len(operation.operands) <= schema.max_input


def plain_node(operation: Operation) -> onnx.NodeProto:
    """The node with inputs i0, i1, … and outputs o0, o1, …."""
    from optc.ops.onnx_export import make_node

    inputs = ["" if value is None else f"i{position}" for position, value in enumerate(operation.operands)]
    return make_node(operation, inputs, [f"o{position}" for position in range(len(operation.results))])


def infer(operation: Operation) -> list[ValueType]:
    """Result types by ONNX's own shape inference, with the values of constant operands."""
    schema = schema_of(operation.name)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for position, value in enumerate(operation.operands):
        if value is None:
            continue
        if value.type == UNKNOWN_TYPE:
            return [UNKNOWN_TYPE] * len(operation.results)
        types[f"i{position}"] = type_to_proto(value.type)
        array = value.constant
        if array is not None and array.size <= _LARGEST_KNOWN_INPUT:
            data[f"i{position}"] = array_to_proto(array, f"i{position}")
    try:
        found = shape_inference.infer_node_outputs(
            schema, plain_node(operation), types, data, opset_imports=opset_imports([operation])
        )
    except (shape_inference.InferenceError, checker.ValidationError, RuntimeError) as error:
        raise ValueError(_reason(error)) from error
    results: list[ValueType] = []
    for position, result in enumerate(operation.results):
        proto = found.get(f"o{position}")
        results.append(UNKNOWN_TYPE if proto is None else type_from_proto(proto, unnamed=result.name))
    return [rename_invented(type, operation, position) for position, type in enumerate(results)]


def rename_invented(type: ValueType, operation: Operation, position: int) -> ValueType:
    """Symbols that ONNX invented get a name of the result, so that two operations never share one by accident."""
    if not isinstance(type, TensorType) or type.shape is None:
        return type
    known = {
        name
        for operand in operation.present_operands
        if isinstance(operand.type, TensorType)
        for dim in operand.type.shape or ()
        if isinstance(dim, SymbolicDim)
        for name in dim.symbols
    }
    own = operation.results[position].name
    return type.with_shape(
        tuple(
            symbol(f"{own}_{axis}") if isinstance(dim, SymbolicDim) and not known.issuperset(dim.symbols) else dim
            for axis, dim in enumerate(type.shape)
        )
    )


def _reason(error: Exception) -> str:
    """The sentence of an ONNX inference error, without its bracketed origins."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else str(error)
    while "] " in line and line.lstrip().startswith(("[", "(")):
        line = line.split("] ", 1)[1] if line.startswith("[") else line.split("): ", 1)[-1]
        if line.startswith("(op_type"):
            break
    return line.removeprefix("(op_type:").strip()


@lru_cache(maxsize=512)
def _evaluator(node: bytes, imports: tuple[tuple[str, int], ...]) -> ReferenceEvaluator:
    from onnx.reference import ReferenceEvaluator

    proto = onnx.NodeProto.FromString(node)
    graph = helper.make_graph(
        [proto],
        "operation",
        [onnx.ValueInfoProto(name=name) for name in proto.input if name],
        [onnx.ValueInfoProto(name=name) for name in proto.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*pair) for pair in imports])
    return ReferenceEvaluator(model)


def evaluate(operation: Operation, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Run ONNX's reference implementation of the operation.

    Raises:
        NotImplementedError: ONNX has none.
    """
    node = plain_node(operation)
    imports = tuple((item.domain, item.version) for item in opset_imports([operation]))
    evaluator = _evaluator(node.SerializeToString(deterministic=True), imports)
    feeds = {f"i{position}": array for position, array in enumerate(arrays) if array is not None}
    return [np.asarray(array) if isinstance(array, np.generic) else array for array in evaluator.run(None, feeds)]


def verify(operation: Operation) -> None:
    """Check the number of operands and results and the attributes against the schema."""
    try:
        schema = schema_of(operation.name)
    except KeyError:
        return
    check_signature(schema, operation.operands, len(operation.results), operation.attributes, operation.graphs)
