"""Inputs and outputs as codes, where the model rounds them to codes anyway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Graph, Module, Operation, Value
from optc.ir.types import Quantization, TensorType
from optc.passes.base import Pass, PassContext
from optc.passes.quantization.signed_codes import DEQUANTIZE, QUANTIZE


@dataclass(frozen=True)
class CodeInterface(Pass):
    """Take a float input that only one QuantizeLinear reads as codes; return a dequantized output as codes.

    The types of such inputs and outputs say what reals the codes stand for. The caller rounds, as a sensor's driver
    does at no cost, and the float tensors, four times as large, are never stored.
    """

    name: ClassVar[str] = "code-interface"

    def run(self, module: Module, context: PassContext) -> bool:
        graph = module.main
        changed = [_take_codes(graph, value) for value in graph.inputs]
        outputs = [_codes_of(value) or value for value in graph.outputs]
        if outputs != list(graph.outputs):
            graph.set_outputs(outputs, graph.output_names)
            changed.append(True)
        return any(changed)


def _take_codes(graph: Graph, value: Value) -> bool:
    readers = value.users
    if len(value.uses) != 1 or readers[0].name != QUANTIZE:
        return False
    quantize = readers[0]
    codes = quantize.results[0]
    quantization = _quantization(quantize)
    if quantization is None:
        return False
    codes.replace_by(value)
    graph.erase(quantize)
    value.type = TensorType(codes.dtype, value.tensor_type.shape, quantization=quantization)
    return True


def _codes_of(value: Value) -> Value | None:
    """What an output that is dequantized for the caller alone is made from."""
    operation = value.producer
    if operation is None or operation.name != DEQUANTIZE or len(value.uses) != 1:
        return None
    codes, quantization = operation.operands[0], _quantization(operation)
    if codes is None or quantization is None or codes.producer is None or codes.is_constant:
        return None
    if codes.dtype.name != "i8":
        return None
    codes.type = TensorType(codes.dtype, codes.tensor_type.shape, codes.tensor_type.layout, quantization)
    return codes


def _quantization(operation: Operation) -> Quantization | None:
    """Of an operation with one constant scale and int8 codes."""
    scale, zero = operation.operand(1), operation.operand(2)
    if scale is None or scale.constant is None or scale.constant.size != 1:
        return None
    if zero is not None and (zero.constant is None or zero.constant.dtype != "int8" or zero.constant.size != 1):
        return None
    point = 0 if zero is None or zero.constant is None else int(zero.constant.reshape(-1)[0])
    return Quantization((float(scale.constant.reshape(-1)[0]),), (point,))
