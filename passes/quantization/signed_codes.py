"""Activations as signed codes: unsigned bytes and their zero points move down by 128, and nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir import dtypes
from optc.ir.clone import clone_operation
from optc.ir.core import Graph, Module, Operation, Value
from optc.ops.inference import make_operation
from optc.passes.base import Pass, PassContext

QUANTIZE = "onnx.QuantizeLinear"
DEQUANTIZE = "onnx.DequantizeLinear"
_MIDDLE = 128


@dataclass(frozen=True)
class SignedCodes(Pass):
    """Let QuantizeLinear make int8 where it makes uint8 for DequantizeLinear alone.

    Both stand for the same reals. The multiply-accumulate instructions of small processors take operands of one
    signedness, and weights are signed.
    """

    name: ClassVar[str] = "signed-codes"

    def run(self, module: Module, context: PassContext) -> bool:
        changed = _transpose_weights(module.main)
        changed = _move_codes(module.main) or changed
        for operation in module.main:
            if operation.name == QUANTIZE and _is_local(operation):
                _sign(module.main, operation)
                changed = True
        return changed


_MOVES = frozenset(
    {"onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze", "onnx.Transpose", "onnx.Identity"}
)


def _move_codes(graph: Graph) -> bool:
    """Let what only moves elements between dequantized and quantized data of one coding move the codes."""
    changed = False
    for quantize in graph:
        mover = None if quantize.name != QUANTIZE else quantize.operands[0].producer  # type: ignore[union-attr]
        if mover is None or mover.name not in _MOVES or len(mover.results[0].uses) > 1:
            continue
        source = mover.operands[0]
        dequantize = None if source is None else source.producer
        if dequantize is None or dequantize.name != DEQUANTIZE or not _same_coding(dequantize, quantize):
            continue
        codes = dequantize.operands[0]
        assert source is not None and codes is not None
        moved = clone_operation(mover, {source: codes})
        result = moved.results[0]
        result.type = result.tensor_type.with_dtype(codes.dtype)
        graph.insert(moved, quantize)
        quantize.results[0].replace_by(result)
        graph.erase(quantize)
        graph.erase(mover)
        if not dequantize.results[0].uses:
            graph.erase(dequantize)
        changed = True
    return changed


def _transpose_weights(graph: Graph) -> bool:
    """Transpose constant codes instead of what they are dequantized to."""
    changed = False
    for transpose in graph:
        source = transpose.operands[0] if transpose.name == "onnx.Transpose" else None
        dequantize = None if source is None else source.producer
        if dequantize is None or dequantize.name != DEQUANTIZE or dequantize.attributes.get("block_size", 0):
            continue
        codes, scale = dequantize.operands[0], dequantize.operands[1]
        if codes is None or codes.constant is None or scale is None or scale.constant is None:
            continue
        rank = codes.constant.ndim
        given = transpose.attributes.get("perm") or tuple(range(rank - 1, -1, -1))
        order = [int(axis) for axis in given]  # type: ignore[union-attr, arg-type]
        attributes = dict(dequantize.attributes)
        if scale.constant.ndim == 1 and scale.constant.size > 1:
            attributes["axis"] = order.index(int(attributes.get("axis", 1)) % rank)  # type: ignore[arg-type]
        moved = graph.constant(np.ascontiguousarray(codes.constant.transpose(order)), codes.name, before=transpose)
        operands = [moved, *dequantize.operands[1:]]
        names = [dequantize.results[0].name]
        made = make_operation(DEQUANTIZE, operands, attributes, result_names=names, location=dequantize.location)
        graph.insert(made, transpose)
        transpose.results[0].replace_by(made.result)
        graph.erase(transpose)
        if not dequantize.results[0].uses:
            graph.erase(dequantize)
        changed = True
    return changed


def _same_coding(first: Operation, second: Operation) -> bool:
    for position in (1, 2):
        one, other = first.operand(position), second.operand(position)
        if one is None or other is None or one.constant is None or other.constant is None:
            return False
        if one.constant.size != 1 or other.constant.size != 1 or one.dtype != other.dtype:
            return False
        if one.constant.reshape(-1)[0] != other.constant.reshape(-1)[0]:
            return False
    return True


def _is_local(quantize: Operation) -> bool:
    """Whether all that depends on the codes being unsigned is known and can change with them."""
    zero = quantize.operand(2)
    codes = quantize.results[0]
    if codes.dtype.name != "u8" or zero is None or zero.constant is None or quantize.graph is None:
        return False
    return bool(codes.users) and all(_may_sign(reader) for reader in _readers(codes))


def _readers(codes: Value) -> list[Operation]:
    """What reads codes, and what reads them after they were moved."""
    found = []
    for reader in codes.users:
        found.append(reader)
        if reader.name in _MOVES:
            found += _readers(reader.results[0])
    return found


def _may_sign(reader: Operation) -> bool:
    if reader.name in _MOVES:
        return True
    zero = reader.operand(2)
    return reader.name == DEQUANTIZE and zero is not None and zero.constant is not None


def _sign(graph: Graph, quantize: Operation) -> None:
    codes = quantize.results[0]
    for operation in (quantize, *_readers(codes)):
        if operation.name in _MOVES:
            operation.results[0].type = operation.results[0].tensor_type.with_dtype(dtypes.INT8)
            continue
        zero = operation.operands[2]
        assert zero is not None and zero.constant is not None
        operation.set_operand(2, _signed(graph, zero, operation))
    if "output_dtype" in quantize.attributes:
        quantize.attributes["output_dtype"] = dtypes.INT8.onnx_code
    codes.type = codes.tensor_type.with_dtype(dtypes.INT8)


def _signed(graph: Graph, zero: Value, before: Operation) -> Value:
    assert zero.constant is not None
    moved = np.asarray(zero.constant.astype(np.int16) - _MIDDLE).astype(np.int8)
    return graph.constant(moved, zero.name, before=before)
