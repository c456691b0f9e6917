"""`optc.unpack`: integers of 1 to 8 bits out of the bytes that they are packed in, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Kind, declare
from optc.ops.elementwise import no_flops
from optc.ops.shapes import integer, tensor

UNPACK = "optc.unpack"
MOST_BITS = 8


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that so many codes take."""
    return -(-count * bits // 8)


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """The low `bits` of each element of an int8 or uint8 array in row-major order, the first in the lowest bits."""
    low = np.unpackbits(np.ascontiguousarray(codes).view(np.uint8).reshape(-1, 1), axis=1, bitorder="little")
    return np.packbits(low[:, :bits].reshape(-1), bitorder="little")


def unpack_codes(packed: np.ndarray, bits: int, shape: Sequence[int], *, signed: bool) -> np.ndarray:
    """The inverse of `pack_codes`, int8 or uint8: signed codes are two's complement."""
    count = int(np.prod(shape, dtype=np.int64))
    low = np.unpackbits(packed.view(np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    sign = low[:, -1:] if signed else np.zeros((count, 1), np.uint8)
    upper = np.repeat(sign, MOST_BITS - bits, axis=1)
    whole = np.packbits(np.concatenate([low, upper], axis=1), axis=1, bitorder="little")
    return whole.reshape(shape).view(np.int8 if signed else np.uint8)


def shape_of_codes(operation: Operation) -> tuple[int, ...]:
    """The shape of what an `optc.unpack` unpacks."""
    shape = operation.attributes.get("shape")
    assert isinstance(shape, tuple)
    return tuple(int(extent) for extent in shape)  # type: ignore[arg-type]


def decodes(operation: Operation) -> bool:
    """Whether an operation makes numbers of packed codes, as kernels of contractions do on the way to registers."""
    codes = operation.operand(0)
    producer = None if codes is None else codes.producer
    return operation.name == UNPACK or (producer is not None and producer.name == UNPACK)


def _infer(operation: Operation) -> Sequence[ValueType]:
    signed = bool(integer(operation, "signed"))
    return (TensorType(dtypes.INT8 if signed else dtypes.UINT8, shape_of_codes(operation)),)


def _verify(operation: Operation) -> None:
    bits = integer(operation, "bits")
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"codes have 1 to {MOST_BITS} bits, not {bits}")
    found, wanted = tensor(operation, 0), packed_bytes(int(np.prod(shape_of_codes(operation))), bits)
    if found.dtype.name != "u8" or found.shape != (wanted,):
        raise ValueError(f"the codes take {wanted} bytes, and its operand is {found}")


def _evaluate(operation: Operation, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    (packed,) = arrays
    assert packed is not None
    shape, signed = shape_of_codes(operation), bool(integer(operation, "signed"))
    return [unpack_codes(packed, integer(operation, "bits"), shape, signed=signed)]


declare(UNPACK, Kind.MOVEMENT, infer=_infer, evaluate=_evaluate, verify=_verify, flops=no_flops)
