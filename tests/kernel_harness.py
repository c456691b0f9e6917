"""Build, compile and run kernels of groups in this process; groups made from single ONNX nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, helper, numpy_helper

from optc.backends.tvm.build import build_kernel
from optc.backends.tvm.capability import PARAMETERS, supports
from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.group import Group
from optc.backends.tvm.loader import LoadedKernels, aligned, load_kernels
from optc.backends.tvm.template import KernelDefinition
from optc.ir import dtypes
from optc.ir.core import Graph, Operation, Value
from optc.ir.types import PLAIN, Layout, TensorType
from optc.targets import Target


@dataclass
class Prepared:
    """A kernel to be compiled with others, and the arrays for it as its parameters want them stored."""

    group: Group
    definition: KernelDefinition
    inputs: list[np.ndarray]


def type_of(array: np.ndarray, layout: Layout = PLAIN) -> TensorType:
    return TensorType(dtypes.from_numpy(array.dtype), tuple(array.shape), layout)


def store(array: np.ndarray, layout: Layout) -> np.ndarray:
    """A logical array as it lies in memory; the rounding of blocks is filled with sevens."""
    for axis, factor in layout.blocks:
        rounding = -array.shape[axis] % factor
        widths = [(0, rounding if i == axis else 0) for i in range(array.ndim)]
        array = np.pad(array, widths, constant_values=7) if rounding else array
    rank = array.ndim
    order = list(layout.permutation or range(rank))
    split, inner = [], []
    for axis, factor in layout.blocks:
        split.append((axis, factor))
    shape: list[int] = []
    position: dict[int, int] = {}
    for axis in range(rank):
        position[axis] = len(shape)
        factors = [factor for blocked, factor in split if blocked == axis]
        shape.append(array.shape[axis] // int(np.prod(factors, dtype=int)))
        for factor in factors:
            inner.append(len(shape))
            shape.append(factor)
    return np.ascontiguousarray(array.reshape(shape).transpose([position[axis] for axis in order] + inner))


def load_logical(stored: np.ndarray, shape: Sequence[int], layout: Layout) -> np.ndarray:
    """The logical array of a stored one with at most one block an axis."""
    rank = len(shape)
    order = list(layout.permutation or range(rank))
    blocks = dict(layout.blocks)
    inner = {axis: rank + number for number, (axis, _) in enumerate(layout.blocks)}
    axes = []
    for axis in range(rank):
        axes.append(order.index(axis))
        if axis in inner:
            axes.append(inner[axis])
    rounded = [-(-extent // blocks.get(axis, 1)) * blocks.get(axis, 1) for axis, extent in enumerate(shape)]
    return stored.transpose(axes).reshape(rounded)[tuple(slice(0, extent) for extent in shape)]


def prepare(group: Group, inputs: Sequence[np.ndarray], target: Target) -> Prepared:
    """Build the kernel of a group; `inputs` are logical arrays."""
    stored = [store(array, value.tensor_type.layout) for array, value in zip(inputs, group.body.inputs, strict=True)]
    return Prepared(group, build_kernel(group, target), stored)


def compile_all(prepared: Mapping[str, Prepared], target: Target) -> LoadedKernels:
    """One object file for all of them, loaded."""
    return load_kernels(compile_kernels({name: each.definition.function for name, each in prepared.items()}, target))


def run(kernels: LoadedKernels, symbol: str, prepared: Prepared, *, threads: int = 1) -> list[np.ndarray]:
    """The logical outputs."""
    values = prepared.group.body.outputs
    outputs = [aligned(v.tensor_type.stored_shape, v.dtype.numpy) for v in values]
    scratch = [aligned((size,), np.dtype(np.uint8)) for size in prepared.definition.scratch_bytes]
    inputs = [aligned(array.shape, array.dtype, array) for array in prepared.inputs]
    kernels.run(symbol, [*inputs, *outputs, *scratch], threads=threads)
    pairs = zip(outputs, values, strict=True)
    return [load_logical(output, value.shape, value.tensor_type.layout) for output, value in pairs]


@dataclass(frozen=True)
class NodeCase:
    """A node of ONNX's own test suite with its data."""

    name: str
    node: NodeProto
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


@cache
def node_cases() -> tuple[NodeCase, ...]:
    """The single-node cases on tensors."""
    return tuple(_node_cases())


def _node_cases() -> Iterator[NodeCase]:
    from onnx.backend.test.loader import load_model_tests

    for case in load_model_tests(kind="node"):
        model = case.model
        if model is None or len(model.graph.node) != 1 or model.graph.node[0].domain not in ("", "ai.onnx"):
            continue
        given, wanted = ([_as_array(item) for item in items] for items in case.data_sets[0])
        if any(array is None for array in (*given, *wanted)):
            continue
        inputs = {value.name: array for value, array in zip(model.graph.input, given, strict=False)}
        outputs = {value.name: array for value, array in zip(model.graph.output, wanted, strict=False)}
        yield NodeCase(case.name, model.graph.node[0], inputs, outputs)  # type: ignore[arg-type]


def _as_array(item: Any) -> np.ndarray | None:
    if isinstance(item, onnx.TensorProto):
        item = numpy_helper.to_array(item)
    return np.asarray(item) if isinstance(item, np.ndarray) or np.isscalar(item) else None


def _attribute(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.STRINGS):
        return tuple(item.decode() if isinstance(item, bytes) else item for item in value)
    return value


def group_of(case: NodeCase) -> tuple[Group, list[np.ndarray]] | str:
    """The node as a group with its run-time inputs, or why the backend does not take it."""
    name = f"onnx.{case.node.op_type}"
    graph = Graph("group")
    operands: list[Value | None] = []
    inputs = []
    try:
        for position, operand in enumerate(case.node.input):
            if not operand:
                operands.append(None)
            elif position in PARAMETERS.get(name, ()):
                operands.append(graph.constant(case.inputs[operand], operand))
            else:
                operands.append(graph.add_input(operand, type_of(case.inputs[operand])))
                inputs.append(case.inputs[operand])
        results = [type_of(case.outputs[output]) for output in case.node.output if output]
    except KeyError as error:
        return f"no element type for {error}"
    attributes = {attribute.name: _attribute(attribute) for attribute in case.node.attribute}
    operation = graph.append(Operation(name, operands, results, attributes))
    graph.set_outputs(operation.results)
    refusal = supports(operation)
    return refusal if refusal is not None else (Group(graph), inputs)
