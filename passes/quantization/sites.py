"""Where activations are quantized, given the layers that are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from optc.ir.core import Graph, Operation, Value
from optc.passes.quantization.layers import Layer

ABSORBED = frozenset({"onnx.Relu", "onnx.Clip"})
"""Activations that become part of the range of what they follow."""

BOUNDING = frozenset({"onnx.Max", "onnx.Min"})
"""Activations likewise where the other operands are constants: bounds for each channel."""

COMPUTING = frozenset(
    {"onnx.Add", "onnx.Mul", "onnx.Concat", "onnx.AveragePool", "onnx.GlobalAveragePool", "onnx.ReduceMean"}
)
"""Operations between layers that compute on codes when all that they read is quantized."""

PASSING = frozenset(
    {
        "onnx.Flatten",
        "onnx.Identity",
        "onnx.MaxPool",
        "onnx.Reshape",
        "onnx.Squeeze",
        "onnx.Transpose",
        "onnx.Unsqueeze",
        "onnx.DepthToSpace",
        "onnx.SpaceToDepth",
    }
)
"""Operations whose results are among the numbers that they read, so that both have the same scale."""


@dataclass(frozen=True)
class Sites:
    """Values to quantize.

    Attributes:
        sources: each value that is read as codes → the value whose range it has.
        readers: each of those values → the operations that read the codes.
    """

    sources: dict[Value, Value]
    readers: dict[Value, tuple[Operation, ...]]


def tail(value: Value) -> Value:
    """The value after the activations that follow; itself where something else reads it too."""
    while len(value.uses) == 1 and _absorbs(value.users[0], value):
        value = value.users[0].result
    return value


def _absorbs(operation: Operation, value: Value) -> bool:
    if operation.name in BOUNDING:
        return all(operand is value or (operand is not None and operand.is_constant) for operand in operation.operands)
    return operation.name in ABSORBED and operation.operand(0) is value


def sites_of(graph: Graph, layers: Collection[Layer]) -> Sites:
    """The values that carry codes when `layers` are quantized; everything else stays in float."""
    chosen = {layer.operation for layer in layers}
    coded: set[Value] = set()
    readers: dict[Value, list[Operation]] = {}

    def read(values: Iterable[Value], operation: Operation) -> None:
        for value in dict.fromkeys(values):
            readers.setdefault(value, []).append(operation)

    passing: list[Operation] = []
    for operation in graph:
        data = operation.operand(0)
        if operation in chosen:
            assert data is not None
            read([data], operation)
            coded.add(tail(operation.result))
        elif operation.name in COMPUTING:
            values = data_operands(operation)
            if values and all(value in coded for value in values):
                read(values, operation)
                coded.add(tail(operation.result))
        elif operation.name in PASSING and data in coded and len(operation.results[0].uses):
            coded.add(operation.results[0])
            passing.append(operation)
    # What passes numbers on reads codes where its result is read as codes.
    for operation in reversed(passing):
        if operation.results[0] in readers:
            assert operation.operands[0] is not None
            read([operation.operands[0]], operation)
    sources: dict[Value, Value] = {}
    for value in readers:
        root = value
        while root.producer is not None and root.producer.name in PASSING:
            assert root.producer.operands[0] is not None
            root = root.producer.operands[0]
        sources[value] = root
    return Sites(sources, {value: tuple(found) for value, found in readers.items()})


def data_operands(operation: Operation) -> list[Value]:
    """The tensors that it computes on; none where one of those is a constant."""
    count = 1 if operation.name in ("onnx.ReduceMean", "onnx.AveragePool", "onnx.GlobalAveragePool") else None
    values = [value for value in operation.operands[:count] if value is not None]
    return [] if any(value.is_constant for value in values) else values
