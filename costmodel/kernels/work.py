"""What one operation asks of a machine, in the terms that all operations share."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from optc.costmodel.analytical import instructions_of, scatters
from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.targets.target import Target

_RANKS = {Kind.CONTRACTION: 4, Kind.WINDOW: 3, Kind.REDUCTION: 2, Kind.MOVEMENT: 1, Kind.ELEMENTWISE: 1}


@dataclass(frozen=True)
class OperationWork:
    """One operation's share of a kernel.

    Attributes:
        kind: see Kind.
        flops: of one execution.
        elements: of its results.
        instructions: vector instructions' worth of element-wise arithmetic, in elements.
        scattered: elements whose neighbours lie apart.
        repeated: elements of results that are broadcasts of smaller operands.
        divided: elements that are divided.
        depthwise: whether it is a convolution of one channel a group.
        rank: orders operations by how much they shape the kernel.
        shape: the anchor features, in the order of WORKLOAD_FEATURES from `anchor_kind` to `plain_result`.
        axis: extent that a reduction runs over.
        idle: the logarithm of the lanes stored for each element.
        run: the logarithm of how many elements in a row a movement leaves side by side; 0 for what moves nothing.
        bucket: of the operation's name: names are too many, and new ones come, so they share a few features.
    """

    kind: Kind
    flops: int
    elements: int
    instructions: float
    scattered: float
    repeated: float
    divided: float
    depthwise: bool
    rank: tuple[int, int]
    shape: tuple[float, ...]
    axis: int
    idle: float
    run: float
    bucket: int


def work_of(operation: Operation, target: Target, depthwise: bool) -> OperationWork:
    """The work of one operation with static types."""
    declaration = declaration_of(operation.name)
    kind = declaration.kind
    flops = declaration.flops(operation)
    result = operation.results[0]
    type = result.type if isinstance(result.type, TensorType) else None
    elements = sum(r.type.elements for r in operation.results if isinstance(r.type, TensorType))
    elementwise = kind is not Kind.CONTRACTION
    smaller = [
        v for v in operation.present_operands if isinstance(v.type, TensorType) and 1 < v.type.elements < elements
    ]
    return OperationWork(
        kind=kind,
        flops=flops,
        elements=elements,
        instructions=elements * instructions_of(operation.name) if elementwise else 0.0,
        scattered=float(elements) if scatters(operation) else 0.0,
        repeated=float(elements * len(smaller)) if kind is Kind.ELEMENTWISE else 0.0,
        divided=float(elements) if operation.name in ("onnx.Div", "onnx.Sqrt", "onnx.Reciprocal") else 0.0,
        depthwise=depthwise,
        rank=(_RANKS.get(kind, 0), flops),
        shape=_shape(operation, kind, depthwise),
        axis=_reduced(operation, elements),
        idle=math.log(type.bytes / max(1, type.elements * type.dtype.bytes)) if type is not None else 0.0,
        run=_run(operation) if kind is Kind.MOVEMENT else 0.0,
        bucket=zlib.crc32(operation.name.encode()) % BUCKETS,
    )


BUCKETS = 24


def _run(operation: Operation) -> float:
    """Elements of the result that lie side by side in the operand too, as a logarithm."""
    source = next((v for v in operation.present_operands if isinstance(v.type, TensorType)), None)
    result = operation.results[0]
    if source is None or not isinstance(result.type, TensorType) or not result.type.shape:
        return 0.0
    stored = result.type.stored_shape
    if operation.name == "onnx.Transpose":
        order = operation.attributes.get("perm")
        if isinstance(order, Sequence) and not isinstance(order, str):
            kept = 1
            for place in reversed(range(len(order))):
                if int(order[place]) != place:  # type: ignore[arg-type]
                    break
                kept *= result.type.static_shape[place]
            return math.log1p(kept)
        return 0.0
    if operation.name in ("onnx.Concat", "onnx.Split", "onnx.Slice", "onnx.Gather"):
        axis = operation.attributes.get("axis", 0)
        return math.log1p(math.prod(stored[int(axis) :]) if isinstance(axis, int) else stored[-1])
    if operation.name == "optc.relayout":
        return math.log1p(min(stored[-1], source.tensor_type.stored_shape[-1]))
    return math.log1p(stored[-1])


def _reduced(operation: Operation, elements: int) -> int:
    values = [v.type.elements for v in operation.present_operands[:1] if isinstance(v.type, TensorType)]
    return max(values, default=0) // max(elements, 1)


def _shape(operation: Operation, kind: Kind, depthwise: bool) -> tuple[float, ...]:
    """As a product of matrices: m rows of results (channels), n columns (positions), sums of k; and its geometry."""
    data = next((v for v in operation.present_operands if isinstance(v.type, TensorType)), None)
    result = operation.results[0]
    if data is None or not isinstance(result.type, TensorType) or not result.type.shape:
        return (0.0,) * 17
    shape, source = result.type.static_shape, data.tensor_type.static_shape
    attributes = operation.attributes
    kernel = _integers(attributes.get("kernel_shape"))
    strides = _integers(attributes.get("strides")) or [1]
    dilations = _integers(attributes.get("dilations")) or [1]
    groups = attributes.get("group", 1)
    group_count = int(groups) if isinstance(groups, int) else 1
    spatial = len(shape) >= 3 and bool(kernel)
    m = shape[1] if spatial else shape[-1]
    n = math.prod(shape) // max(1, m)
    taps = math.prod(kernel) if kernel else 1
    if kind is Kind.CONTRACTION:
        k = source[1] // max(1, group_count) * taps if spatial else source[-1]
    else:
        k = taps if kernel else max(1, math.prod(source) // max(1, math.prod(shape)))
    code = _RANKS.get(kind, 0) + (0.5 if depthwise else 0.0)
    pads = _integers(attributes.get("pads"))
    return (
        code, math.log1p(m), math.log1p(n), math.log1p(k), math.log1p(group_count), float(taps),
        float(kernel[-1] if kernel else 1), float(strides[-1]), float(dilations[-1]), float(any(pads)),
        math.log1p(shape[-2] if len(shape) > 1 else 1), math.log1p(shape[-1]), math.log1p(shape[0]),
        math.log1p(_block(data)), math.log1p(_block(result)), float(_block(data) == 1), float(_block(result) == 1),
    )  # fmt: skip


def _integers(value: object) -> list[int]:
    return [int(each) for each in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _block(value: Value) -> int:
    layout = value.tensor_type.layout
    return math.prod(factor for _, factor in layout.blocks) if layout.blocks else 1
