"""Convolutions and matrix products: the operations that kernels are built around."""

from __future__ import annotations

from collections.abc import Sequence

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dims import Dim, Shape, product
from optc.ir.dtypes import DType
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Count, Infer, Kind, declare, elements_of
from optc.ops.shapes import (
    broadcast,
    describe,
    fresh,
    fresh_shape,
    integer,
    integers,
    shape_of,
    tensor,
    text,
    unify,
    window_extent,
)


def spatial(operation: Operation, name: str, rank: int) -> tuple[int, ...]:
    """An attribute with one positive entry for each spatial axis; ones when absent."""
    items = integers(operation, name) or (1,) * rank
    if len(items) != rank or min(items) < 1:
        raise ValueError(f"its attribute '{name}' {list(items)} has not one positive entry for each of {rank} axes")
    return items


def spatial_padding(operation: Operation, rank: int) -> list[tuple[int, int]]:
    """The attribute `pads` as (before, after) for each spatial axis."""
    pads = integers(operation, "pads") or (0,) * (2 * rank)
    if len(pads) != 2 * rank:
        raise ValueError(f"its attribute 'pads' has {len(pads)} entries for {rank} axes")
    return [(pads[axis], pads[axis + rank]) for axis in range(rank)]


def _check_channels(data: Shape, weight: Shape, group: int) -> None:
    channels, inner = data[1], weight[1]
    if isinstance(channels, int) and isinstance(inner, int) and channels != inner * group:
        raise ValueError(
            f"the input {describe(data)} has {channels} channels where the weight {describe(weight)} "
            f"with group {group} needs {inner * group}"
        )
    if isinstance(weight[0], int) and weight[0] % group:
        raise ValueError(f"its {weight[0]} output channels cannot be divided into {group} groups")


def convolution_shape(operation: Operation, data: Shape | None, weight: Shape | None) -> Shape | None:
    """The result shape of a convolution of data (N, C, …) with weight (M, C/group, …)."""
    if data is None or weight is None:
        rank = len(data or weight or ())
        return fresh_shape(operation, rank) if rank else None
    if len(data) != len(weight) or len(data) < 3:
        raise ValueError(f"the input has the shape {describe(data)} and the weight {describe(weight)}")
    _check_channels(data, weight, integer(operation, "group", 1))
    rank = len(data) - 2
    kernel = integers(operation, "kernel_shape") or weight[2:]
    strides = spatial(operation, "strides", rank)
    dilations = spatial(operation, "dilations", rank)
    padding = spatial_padding(operation, rank)
    auto_pad = text(operation, "auto_pad", "NOTSET") or "NOTSET"
    extents: list[Dim] = []
    for axis in range(rank):
        size = kernel[axis]
        if not isinstance(size, int):
            extents.append(fresh(operation, axis + 2))
            continue
        if isinstance(weight[axis + 2], int) and weight[axis + 2] != size:
            raise ValueError(f"kernel_shape {describe(tuple(kernel))} is not that of the weight {describe(weight)}")
        extents.append(window_extent(data[axis + 2], size, strides[axis], dilations[axis], padding[axis], auto_pad))
    return (data[0], weight[0], *extents)


def _infer_conv(operation: Operation) -> Sequence[ValueType]:
    data, weight = tensor(operation, 0), tensor(operation, 1)
    shape = convolution_shape(operation, data.shape, weight.shape)
    if operation.operand(2) is not None and weight.shape is not None:
        bias = shape_of(operation, 2, 1)
        if (
            bias is not None
            and isinstance(bias[0], int)
            and isinstance(weight.shape[0], int)
            and bias[0] != weight.shape[0]
        ):
            raise ValueError(f"the bias has {bias[0]} entries for {weight.shape[0]} output channels")
    return (TensorType(data.dtype, shape),)


def _weight_inner(operation: Operation, position: int) -> int:
    """Multiply-adds for each output element: the weight's elements behind one output channel."""
    return int(product(operation.operands[position].shape[1:]))  # type: ignore[union-attr,arg-type]


def convolution_flops(weight: int, bias: int | None = None) -> Count:
    """Two operations a multiply-add, one more for a bias; `weight` and `bias` are operand positions."""

    def flops(operation: Operation) -> int:
        extra = 1 if bias is not None and operation.operand(bias) is not None else 0
        return elements_of(operation) * (2 * _weight_inner(operation, weight) + extra)

    return flops


def conv_transpose_padding(operation: Operation, data: Shape, kernel: Sequence[int]) -> list[tuple[int, int]]:
    """What a transposed convolution cuts from the full result at each side of each spatial axis."""
    rank = len(kernel)
    auto_pad = text(operation, "auto_pad", "NOTSET") or "NOTSET"
    strides = spatial(operation, "strides", rank)
    dilations = spatial(operation, "dilations", rank)
    extra = integers(operation, "output_padding") or (0,) * rank
    wanted = integers(operation, "output_shape")
    if wanted is not None:
        wanted = wanted[-rank:]
    elif auto_pad.startswith("SAME"):
        wanted = tuple(int(data[axis + 2]) * strides[axis] for axis in range(rank))  # type: ignore[arg-type]
    if wanted is None:
        return spatial_padding(operation, rank)
    padding = []
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        total = max(0, strides[axis] * (int(data[axis + 2]) - 1) + extra[axis] + reach - wanted[axis])  # type: ignore[arg-type]
        half = total // 2
        padding.append((total - half, half) if auto_pad != "SAME_UPPER" else (half, total - half))
    return padding


def _infer_conv_transpose(operation: Operation) -> Sequence[ValueType]:
    data, weight = tensor(operation, 0), tensor(operation, 1)
    if data.shape is None or weight.shape is None:
        return (TensorType(data.dtype, None),)
    if len(data.shape) != len(weight.shape) or len(data.shape) < 3:
        raise ValueError(f"the input has the shape {describe(data.shape)} and the weight {describe(weight.shape)}")
    channels, expected = data.shape[1], weight.shape[0]
    if isinstance(channels, int) and isinstance(expected, int) and channels != expected:
        raise ValueError(
            f"the input has {channels} channels where the weight {describe(weight.shape)} needs {expected}"
        )
    rank = len(data.shape) - 2
    strides = spatial(operation, "strides", rank)
    dilations = spatial(operation, "dilations", rank)
    kernel = integers(operation, "kernel_shape") or weight.shape[2:]
    extra = integers(operation, "output_padding") or (0,) * rank
    wanted = integers(operation, "output_shape")
    auto_pad = text(operation, "auto_pad", "NOTSET") or "NOTSET"
    padding = spatial_padding(operation, rank)
    extents: list[Dim] = []
    for axis in range(rank):
        extent = data.shape[axis + 2]
        if wanted is not None:
            extents.append(wanted[-rank:][axis])
        elif auto_pad.startswith("SAME"):
            extents.append(extent * strides[axis])
        else:
            cut = sum(padding[axis]) if auto_pad == "NOTSET" else 0
            extents.append((extent - 1) * strides[axis] + extra[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - cut)
    return (TensorType(data.dtype, (data.shape[0], weight.shape[1] * integer(operation, "group", 1), *extents)),)


def _conv_transpose_flops(operation: Operation) -> int:
    """Each input element meets each weight of its channel once."""
    bias = elements_of(operation) if operation.operand(2) is not None else 0
    return 2 * int(product(operation.operands[0].shape)) * _weight_inner(operation, 1) + bias  # type: ignore[union-attr,arg-type]


declare("onnx.Conv", Kind.CONTRACTION, infer=_infer_conv, flops=convolution_flops(1, 2))
declare("onnx.ConvTranspose", Kind.CONTRACTION, infer=_infer_conv_transpose, flops=_conv_transpose_flops)


def matmul_shape(operation: Operation, a: Shape | None, b: Shape | None) -> Shape | None:
    """The result shape of NumPy's matmul."""
    if a is None or b is None:
        return None
    if not a or not b:
        raise ValueError("a scalar has no matrix product")
    left = (1, *a) if len(a) == 1 else a
    right = (*b, 1) if len(b) == 1 else b
    try:
        unify(left[-1], right[-2])
    except ValueError:
        raise ValueError(
            f"the matrices {describe(a)} and {describe(b)} do not fit: {left[-1]} is not {right[-2]}"
        ) from None
    batch = broadcast(operation, [left[:-2], right[:-2]])
    assert batch is not None
    rows = () if len(a) == 1 else (left[-2],)
    columns = () if len(b) == 1 else (right[-1],)
    return (*batch, *rows, *columns)


def matmul(a: int, b: int, dtype: DType | None) -> Infer:
    """Inference of a matrix product of the operands at `a` and `b`; `dtype` None: that of the operands."""

    def infer(operation: Operation) -> Sequence[ValueType]:
        shape = matmul_shape(operation, tensor(operation, a).shape, tensor(operation, b).shape)
        return (TensorType(dtype or tensor(operation, a).dtype, shape),)

    return infer


def _matmul_flops(operation: Operation) -> int:
    return 2 * elements_of(operation) * operation.operands[0].shape[-1]  # type: ignore[union-attr]


def _infer_gemm(operation: Operation) -> Sequence[ValueType]:
    a, b = shape_of(operation, 0, 2), shape_of(operation, 1, 2)
    dtype = tensor(operation, 0).dtype
    if a is None or b is None:
        return (TensorType(dtype, fresh_shape(operation, 2)),)
    rows, inner = (a[1], a[0]) if integer(operation, "transA") else (a[0], a[1])
    other, columns = (b[1], b[0]) if integer(operation, "transB") else (b[0], b[1])
    if isinstance(inner, int) and isinstance(other, int) and inner != other:
        raise ValueError(f"the matrices {describe(a)} and {describe(b)} do not fit: {inner} is not {other}")
    shape = (rows, columns)
    if operation.operand(2) is not None:
        bias = tensor(operation, 2).shape
        whole = broadcast(operation, [shape, bias])
        if whole is not None and len(whole) > 2:
            raise ValueError(f"the bias {describe(bias)} does not broadcast to {describe(shape)}")
    return (TensorType(dtype, shape),)


def _gemm_flops(operation: Operation) -> int:
    a = operation.operands[0]
    assert a is not None
    inner = a.shape[0] if integer(operation, "transA") else a.shape[1]
    return elements_of(operation) * (2 * inner + (1 if operation.operand(2) is not None else 0))


declare("onnx.MatMul", Kind.CONTRACTION, infer=matmul(0, 1, None), flops=_matmul_flops)
declare("onnx.Gemm", Kind.CONTRACTION, infer=_infer_gemm, flops=_gemm_flops)
declare("onnx.MatMulInteger", Kind.CONTRACTION, infer=matmul(0, 1, dtypes.INT32), flops=_matmul_flops)


def _infer_conv_integer(operation: Operation) -> Sequence[ValueType]:
    shape = convolution_shape(operation, tensor(operation, 0).shape, tensor(operation, 1).shape)
    return (TensorType(dtypes.INT32, shape),)


def _infer_qlinear_conv(operation: Operation) -> Sequence[ValueType]:
    shape = convolution_shape(operation, tensor(operation, 0).shape, tensor(operation, 3).shape)
    return (TensorType(tensor(operation, 7).dtype, shape),)


def _infer_qlinear_matmul(operation: Operation) -> Sequence[ValueType]:
    shape = matmul_shape(operation, tensor(operation, 0).shape, tensor(operation, 3).shape)
    return (TensorType(tensor(operation, 7).dtype, shape),)


declare("onnx.ConvInteger", Kind.CONTRACTION, infer=_infer_conv_integer, flops=convolution_flops(1))
declare("onnx.QLinearConv", Kind.CONTRACTION, infer=_infer_qlinear_conv, flops=convolution_flops(3, 8))
declare("onnx.QLinearMatMul", Kind.CONTRACTION, infer=_infer_qlinear_matmul, flops=_matmul_flops)


def einsum_terms(operation: Operation) -> tuple[list[str], str]:
    """The operand subscripts and the result subscript of an equation, the implicit result spelled out."""
    equation = text(operation, "equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = [letter for letter in sorted(set(left)) if letter.isalpha() and left.count(letter) == 1]
        right = ("..." if "..." in left else "") + "".join(letters)
    return terms, right


def _einsum_extents(operation: Operation) -> tuple[dict[str, Dim], Shape | None]:
    """The extent of each letter, and the broadcast of the ellipsis axes."""
    terms, _ = einsum_terms(operation)
    if len(terms) != len(operation.operands):
        raise ValueError(f"the equation names {len(terms)} inputs, there are {len(operation.operands)}")
    extents: dict[str, Dim] = {}
    ellipses: list[Shape | None] = []
    for position, term in enumerate(terms):
        shape = tensor(operation, position).shape
        letters = term.replace("...", "")
        if shape is None:
            ellipses.append(None)
            continue
        hidden = len(shape) - len(letters)
        if hidden < 0 or (hidden and "..." not in term):
            raise ValueError(f"'{term}' does not describe the shape {describe(shape)}")
        start = term.index("...") if "..." in term else len(letters)
        ellipses.append(shape[start : start + hidden])
        for letter, dim in zip(letters, shape[:start] + shape[start + hidden :], strict=True):
            known = extents.get(letter, 1)
            if known != 1 and dim != 1:
                unify(known, dim)
            if known == 1 or (isinstance(dim, int) and dim != 1):
                extents[letter] = dim
    return extents, broadcast(operation, ellipses)


def _infer_einsum(operation: Operation) -> Sequence[ValueType]:
    dtype = tensor(operation, 0).dtype
    extents, ellipsis = _einsum_extents(operation)
    _, result = einsum_terms(operation)
    letters = result.replace("...", "")
    if ellipsis is None or any(letter not in extents for letter in letters):
        return (TensorType(dtype, None),)
    start = result.index("...") if "..." in result else len(letters)
    named = tuple(extents[letter] for letter in letters)
    middle = ellipsis if "..." in result else ()
    return (TensorType(dtype, named[:start] + middle + named[start:]),)


def _einsum_flops(operation: Operation) -> int:
    extents, ellipsis = _einsum_extents(operation)
    return max(1, 2 * (len(operation.operands) - 1)) * int(product((*extents.values(), *(ellipsis or ()))))  # type: ignore[arg-type]


declare("onnx.Einsum", Kind.CONTRACTION, infer=_infer_einsum, flops=_einsum_flops)
