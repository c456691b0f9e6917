"""One form for matrix products, and padding that a convolution can do itself."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Operation, Value
from optc.passes.rewrite import Builder, Miss, on
from optc.passes.rewrite.matching import attribute
from optc.passes.simplify.facts import ints, scalar, shape_of


@on("Gemm")
def gemm_as_matmul(op: Builder, operation: Operation) -> Value:
    """Gemm → MatMul + Add; alpha, beta and the transposition of constants go into the constants."""
    alpha, beta = attribute(operation, "alpha"), attribute(operation, "beta")
    left = _transposed(op, operation.operands[0], attribute(operation, "transA"))
    right = operation.operands[1]
    array = None if right is None else right.constant
    if array is not None:
        if attribute(operation, "transB"):
            array = np.ascontiguousarray(array.T)
        if alpha != 1:
            array = array * array.dtype.type(alpha)
        result = op.MatMul(left, right if right is not None and array is right.constant else array)
    else:
        result = op.MatMul(left, _transposed(op, right, attribute(operation, "transB")))
        result = result if alpha == 1 else op.Mul(result, alpha)
    bias = operation.operand(2)
    if bias is None or beta == 0:
        return result
    if beta != 1:
        array = bias.constant
        bias = op.Mul(bias, beta) if array is None else op.constant(array * array.dtype.type(beta))
    return op.Add(result, bias)


def _transposed(op: Builder, value: Value | None, transpose: int) -> Value | None:
    return op.Transpose(value, perm=(1, 0)) if transpose else value


@on("Conv")
def pad_into_conv(op: Builder, operation: Operation) -> Value | Miss | None:
    """A Pad with zeros of the spatial axes becomes padding of the convolution."""
    source, *rest = operation.operands
    pad = None if source is None else source.producer
    if pad is None or pad.name != "onnx.Pad":
        return None
    assert source is not None
    pads, shape = ints(pad.operand(1)), shape_of(source)
    if pads is None or shape is None or attribute(pad, "mode") != "constant":
        return Miss("the Pad has no constant amounts, or does not pad with a constant")
    if pad.operand(2) is not None and scalar(pad.operand(2)) != 0:
        return Miss("the Pad does not pad with zeros")
    if attribute(operation, "auto_pad") not in (None, "NOTSET"):
        return Miss(f"the padding of the convolution is {attribute(operation, 'auto_pad')}")
    axes = ints(pad.operand(3)) if pad.operand(3) is not None else tuple(range(len(shape)))
    if axes is None:
        return Miss("the axes of the Pad are known only at run time")
    before, after = [0] * len(shape), [0] * len(shape)
    for position, axis in enumerate(axes):
        before[axis], after[axis] = pads[position], pads[position + len(axes)]
    if any(before[:2] + after[:2]) or min(pads) < 0:
        return Miss("the Pad touches batch or channels, or cuts")
    spatial = len(shape) - 2
    own = tuple(operation.attributes.get("pads", (0,) * (2 * spatial)))  # type: ignore[arg-type]
    total = tuple(int(a) + b for a, b in zip(own, before[2:] + after[2:], strict=True))
    return op.clone(operation, [pad.operands[0], *rest], pads=total)


RULES = (gemm_as_matmul, pad_into_conv)
