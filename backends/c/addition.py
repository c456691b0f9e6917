"""Sums of two tensors of codes."""

from __future__ import annotations

import math

from optc.backends.c.coding import Coding
from optc.backends.c.kernel import CKernel
from optc.backends.c.pattern import Body, NoMatch, Result, Stage

_BITS = 30


def sum_record(first: Coding, second: Coding, result: Result) -> str:
    """The initializer of `optc_sum_of_codes`."""
    assert result.coding is not None
    scales = (first.scale / result.coding.scale, second.scale / result.coding.scale)
    # Both products and their sum must fit: 2 · 255 · multiplier < 2^30.
    shift = min(_BITS - 9 - math.frexp(max(scales))[1], 30)
    if shift < 1:
        raise NoMatch("its scales are too far from that of the result")
    multipliers = [round(scale * 2.0**shift) for scale in scales]
    numbers = (*multipliers, first.zero, second.zero, result.coding.zero, int(result.low), int(result.high), shift)
    return "{" + ", ".join(map(str, numbers)) + "}"


def addition(body: Body, final: Stage) -> CKernel:
    """The kernel of a group that adds two tensors of codes of one shape.

    Raises:
        NoMatch: it is none.
    """
    first, second = (body.coded(value) for value in final.operation.operands)
    shape = final.operation.results[0].shape
    if first.value.shape != shape or second.value.shape != shape:
        raise NoMatch("the sum repeats elements")
    if first.value.tensor_type.layout != second.value.tensor_type.layout or final.result.coding is None:
        raise NoMatch("its operands are stored in different ways, or its result is float")
    count = final.operation.results[0].tensor_type.elements
    return CKernel(
        kind="add",
        call=f"optc_add(&$record, $in{first.position}, $in{second.position}, $out0, {count});",
        sources=("requantize.h", "sum.h", "add.h"),
        record=("optc_sum_of_codes", sum_record(first.coding, second.coding, final.result)),
        overlap={first.position: 0, second.position: 0},
    )
