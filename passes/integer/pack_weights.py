"""Weights of a few bits stay packed in memory: kernels unpack them in registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import Attribute, Module, Operation, Value
from optc.ops.packed import UNPACK, pack_codes
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.integer.coding import CODES, DEQUANTIZE
from optc.passes.rewrite.builder import Builder

_PRODUCTS = {"onnx.MatMul": 1, "onnx.Gemm": 1}
"""Which operand of an operation may be unpacked while it is read."""


@dataclass(frozen=True)
class PackWeights(Pass):
    """Pack the constant codes of DequantizeLinear, read by one matrix product each, in as few bits as they need.

    For targets whose kernels unpack them on the way to their registers. Codes that need all 8 bits stay as they are,
    and so do products with data that are codes too, which `integer-arithmetic` computes in integers.
    """

    name: ClassVar[str] = "pack-weights"

    def run(self, module: Module, context: PassContext) -> bool:
        changed = False
        for operation in list(module.main):
            position = _PRODUCTS.get(operation.name)
            weight = None if position is None else operation.operand(position)
            coded = None if weight is None else _coded(weight)
            if weight is None or coded is None or context.supports(operation) is not None:
                continue
            codes, zero = coded.operands[0], coded.operand(2)
            assert codes is not None and codes.constant is not None
            array = _as_bytes(codes.constant)
            bits = bits_of(array)
            if bits == 8 or _is_coded(operation.operands[0]):
                continue
            builder = Builder(coded)
            attributes: dict[str, Attribute] = {
                "bits": bits, "shape": tuple(array.shape), "signed": int(array.dtype == np.int8)
            }  # fmt: skip
            coded.set_operand(0, builder.call(UNPACK, [builder.constant(pack_codes(array, bits))], attributes))
            if zero is not None and zero.constant is not None:
                coded.set_operand(2, builder.constant(_as_bytes(zero.constant)))
            why = f"the codes of '{weight.name}' need {bits} bits"
            context.remarks.append(Remark(self.name, "applied", "pack", why, operation.location))
            changed = True
        return changed


def _coded(weight: Value) -> Operation | None:
    """The DequantizeLinear of constant bytes that makes a matrix for one reader."""
    operation = weight.producer
    if operation is None or operation.name != DEQUANTIZE or len(weight.uses) != 1 or weight.tensor_type.rank != 2:
        return None
    codes = operation.operands[0]
    if codes is None or codes.constant is None or codes.dtype.name not in CODES:
        return None
    zero = operation.operand(2)
    return operation if zero is None or zero.constant is not None else None


def _is_coded(data: Value | None) -> bool:
    return data is not None and data.producer is not None and data.producer.name == DEQUANTIZE


def _as_bytes(codes: np.ndarray) -> np.ndarray:
    """Codes of 4 or 8 bits in bytes."""
    return codes.astype(np.uint8 if str(codes.dtype).startswith("u") else np.int8)


def bits_of(codes: np.ndarray) -> int:
    """The fewest bits that hold all elements of an int8 or uint8 array in its own kind of number."""
    least, largest = int(codes.min(initial=0)), int(codes.max(initial=0))
    if codes.dtype == np.uint8:
        return max(1, largest.bit_length())
    return max(1, 1 + max((-least - 1).bit_length() if least < 0 else 0, largest.bit_length()))
