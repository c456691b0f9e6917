"""Signed codes of activations become unsigned ones, and unsigned codes of weights signed ones: one kind of product.

Codes and zero point move by 128 together, so that every code stands for the number that it stood for. Machines multiply
unsigned by signed bytes (vpmaddubsw, vpdpbusd), or do not care.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ir.types import TensorType
from optc.ops.inference import infer_operation
from optc.passes.integer.coding import DEQUANTIZE, QUANTIZE, coding_of
from optc.passes.integer.movement import MOVES
from optc.passes.rewrite import Builder
from optc.passes.simplify.facts import scalar

_CARRIERS = frozenset({*(f"onnx.{name}" for name in MOVES), "onnx.Concat"})
_SHIFT = 128


def retype(graph: Graph) -> bool:
    """Make all signed codes of a graph unsigned that are made and read inside it; whether there were any."""
    changed = False
    for operation in list(graph):
        if operation.graph is not None and _is_signed(operation.results[:1]) and operation.name == QUANTIZE:
            _keep_outputs(operation)
            region = _region(operation)
            if region is not None:
                _shift(graph, region)
                changed = True
    return changed


def unsigned(op: Builder, codes: Value, zero: int) -> tuple[Value, int]:
    """Codes of a byte as unsigned ones, with their zero point; converted where they are made elsewhere."""
    if codes.dtype.name == "u8":
        return codes, zero
    array = codes.constant
    if array is not None:
        return op.constant(np.asarray(array.astype(np.int16) + _SHIFT, np.uint8)), zero + _SHIFT
    wide = op.Cast(codes, to=6)
    return op.Cast(op.Add(wide, np.asarray(_SHIFT, np.int32)), to=2), zero + _SHIFT


def centered(codes: np.ndarray, zeros: np.ndarray) -> np.ndarray | None:
    """Weights less their zero points as signed bytes, int8; None where they do not fit.

    Args:
        codes: of one or two nibbles, of any sign.
        zeros: broadcast over them.
    """
    wide = codes.astype(np.int16) - zeros.astype(np.int16)
    fits = wide.size == 0 or (wide.min() >= -128 and wide.max() <= 127)
    return wide.astype(np.int8) if fits else None


def _is_signed(values: Iterable[Value]) -> bool:
    return all(isinstance(value.type, TensorType) and value.type.dtype.name == "i8" for value in values)


def _keep_outputs(operation: Operation) -> None:
    """Give what the graph returns a QuantizeLinear of its own, so that the other readers are free."""
    graph, value = operation.graph, operation.result
    assert graph is not None
    if graph.terminator not in value.users or value.users == [graph.terminator]:
        return
    copy = Operation(
        QUANTIZE, operation.operands, [value.type], operation.attributes,
        result_names=[value.name], location=operation.location,
    )  # fmt: skip
    graph.insert(copy, operation)
    value.replace_by(copy.result, only=[graph.terminator])


def _region(start: Operation) -> dict[Operation, None] | None:
    """The QuantizeLinear, movements and DequantizeLinear that share codes; None where somebody else does too."""
    region: dict[Operation, None] = {}
    waiting = [start]
    while waiting:
        operation = waiting.pop()
        if operation in region or operation.name == CONSTANT:
            continue
        carries = operation.name in _CARRIERS
        if not carries and coding_of(operation, operation.name) is None:
            return None
        if operation.graph is not start.graph:
            return None
        region[operation] = None
        filling = operation.operand(2) if operation.name == "onnx.Pad" else None
        if filling is not None and scalar(filling) is None:
            return None
        for value in _codes_of(operation):
            if value.producer is None or not _is_signed([value]):
                return None
            if not all(_reads_codes(user, position) for user, position in value.uses):
                return None
            waiting += [value.producer, *value.users]
    return region


def _codes_of(operation: Operation) -> list[Value]:
    """The signed codes that an operation of a region reads and makes."""
    read: tuple[Value | None, ...] = operation.operands[: None if operation.name == "onnx.Concat" else 1]
    made = () if operation.name == DEQUANTIZE else operation.results
    return [value for value in (*(() if operation.name == QUANTIZE else read), *made) if value is not None]


def _reads_codes(user: Operation, position: int) -> bool:
    if user.name == "onnx.Concat":
        return True
    return position == 0 and (user.name in _CARRIERS or user.name == DEQUANTIZE)


def _shift(graph: Graph, region: dict[Operation, None]) -> None:
    known: dict[Value, Value] = {}

    def shifted(value: Value) -> Value:
        if value not in known:
            assert value.constant is not None
            array = np.asarray(value.constant.astype(np.int16) + _SHIFT, np.uint8)
            known[value] = graph.constant(array, f"{value.name}.unsigned")
        return known[value]

    for operation in graph:
        if operation not in region:
            continue
        if operation.name in (QUANTIZE, DEQUANTIZE):
            zero = operation.operand(2)
            if zero is None:
                scale = operation.operands[1]
                assert scale is not None and scale.constant is not None
                zero = graph.constant(np.zeros(scale.constant.shape, np.int8), "zero")
            if operation.name == QUANTIZE:
                operation.attributes.pop("output_dtype", None)
            operation.set_operands([*operation.operands[:2], shifted(zero)])
        for position, value in enumerate(operation.operands):
            carried = position == 0 or operation.name == "onnx.Concat" or (operation.name, position) == ("onnx.Pad", 2)
            if operation.name != QUANTIZE and carried and value is not None and value.is_constant:
                operation.set_operand(position, shifted(value))
        if operation.name == "onnx.Pad" and operation.operand(2) is None:
            filling = graph.constant(np.asarray(_SHIFT, np.uint8), "filling")
            operation.set_operands([*operation.operands[:2], filling, *operation.operands[3:]])
        infer_operation(operation)
