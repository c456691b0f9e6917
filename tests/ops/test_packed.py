"""Codes of a few bits: packing loses nothing, and takes the bytes that it must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir import dtypes
from optc.ir.core import Graph, Operation
from optc.ir.types import TensorType
from optc.ir.verifier import InvalidModule
from optc.ops.declaration import declaration_of
from optc.ops.packed import UNPACK, pack_codes, packed_bytes, unpack_codes


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(1, 8), st.booleans(), st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_codes_come_back_as_they_were(bits: int, signed: bool, numbers: list[int]) -> None:
    low = np.array(numbers) % 2**bits
    codes = np.where(signed & (low >= 2 ** (bits - 1)), low - 2**bits, low).astype(np.int8 if signed else np.uint8)
    packed = pack_codes(codes, bits)
    assert packed.shape == (packed_bytes(codes.size, bits),) == (-(-codes.size * bits // 8),)
    found = unpack_codes(packed, bits, codes.shape, signed=signed)
    assert found.dtype == codes.dtype
    np.testing.assert_array_equal(found, codes)


def test_the_first_code_lies_in_the_lowest_bits() -> None:
    np.testing.assert_array_equal(pack_codes(np.array([1, 2, 7], np.uint8), 3), [0b11010001, 0b1])


def unpacking(bits: int, size: int) -> Operation:
    graph = Graph("main", [("packed", TensorType(dtypes.UINT8, (size,)))])
    result = TensorType(dtypes.INT8, (5, 3))
    return graph.append(Operation(UNPACK, graph.inputs, [result], {"bits": bits, "shape": (5, 3), "signed": 1}))


def test_the_type_follows_from_the_attributes() -> None:
    operation = unpacking(3, 6)
    assert declaration_of(UNPACK).infer(operation) == (TensorType(dtypes.INT8, (5, 3)),)


@pytest.mark.parametrize(
    ("bits", "size", "message"),
    [(9, 17, "codes have 1 to 8 bits, not 9"), (3, 5, "the codes take 6 bytes, and its operand is tensor<5xu8>")],
)
def test_what_does_not_fit_is_refused(bits: int, size: int, message: str) -> None:
    verify = declaration_of(UNPACK).verify
    assert verify is not None
    with pytest.raises((ValueError, InvalidModule)) as caught:
        verify(unpacking(bits, size))
    assert str(caught.value) == message
