"""Convolutions and matrix products as plain sums: right for every shape, type and layout, where no template fits."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.lowering.binding import choose
from optc.backends.tvm.lowering.context import Elements, LoweringContext, Operands, immediate, lowers
from optc.backends.tvm.lowering.reductions import SUM, working_dtype
from optc.backends.tvm.tensor import LogicalTensor
from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

Indices = Sequence[Any]


def _cast(value: PrimExpr, dtype: DType) -> PrimExpr:
    return value.astype(dtype.numpy_name)


def _ints(operation: Operation, name: str, default: int, length: int) -> list[int]:
    value = operation.attributes.get(name)
    return [int(v) for v in value] if isinstance(value, tuple) and value else [default] * length  # type: ignore[arg-type]


def _all(conditions: Sequence[Any]) -> Any:
    """The conjunction of conditions, some of which may be known."""
    from tvm import tirx

    unknown = [condition for condition in conditions if not isinstance(condition, bool)]
    if len(unknown) < len(conditions) and not all(c for c in conditions if isinstance(c, bool)):
        return False
    return tirx.all(*unknown) if len(unknown) > 1 else unknown[0] if unknown else True


def _present(tensor: LogicalTensor | None) -> LogicalTensor:
    assert tensor is not None
    return tensor


def _one(tensor: LogicalTensor | None, *index: Any) -> PrimExpr | None:
    """An element of a scalar, or at `index` of a vector, or None where the operand is absent."""
    if tensor is None:
        return None
    if all(extent == 1 for extent in tensor.shape):
        return tensor(*(0,) * len(tensor.shape))
    return tensor(*index)


def _scale(tensor: LogicalTensor | None, *index: Any) -> PrimExpr:
    value = _one(tensor, *index)
    assert value is not None
    return value


def padding_before(out: int, data: int, kernel: int, stride: int, dilation: int, mode: str, given: int) -> int:
    """The padding before the first element of one axis of a convolution, `auto_pad` resolved."""
    if mode == "VALID":
        return 0
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - data)
        return total // 2 if mode == "SAME_UPPER" else total - total // 2
    return given


def _convolve(
    context: LoweringContext,
    operation: Operation,
    data: LogicalTensor,
    weight: LogicalTensor,
    dtype: DType,
    data_zero: LogicalTensor | None = None,
    weight_zero: LogicalTensor | None = None,
) -> LogicalTensor:
    """The sums of a convolution in `dtype`, zero points subtracted before multiplying."""
    out = operation.results[0].shape
    rank = len(out) - 2
    groups = int(operation.attributes.get("group", 1))  # type: ignore[arg-type]
    inner, kernel = weight.shape[1], weight.shape[2:]
    strides, dilations = _ints(operation, "strides", 1, rank), _ints(operation, "dilations", 1, rank)
    mode = str(operation.attributes.get("auto_pad", "NOTSET"))
    given = _ints(operation, "pads", 0, 2 * rank)
    before = [
        padding_before(out[2 + i], data.shape[2 + i], kernel[i], strides[i], dilations[i], mode, given[i])
        for i in range(rank)
    ]

    def body(indices: Indices, reduced: Indices) -> Elements:
        n, m, *place = indices
        c, *taps = reduced
        channel = c if groups == 1 else m // (out[1] // groups) * inner + c
        source, conditions = [], []
        for i in range(rank):
            position = place[i] * strides[i] + taps[i] * dilations[i] - before[i]
            source.append(position)
            if before[i]:
                conditions.append(position >= 0)
            if (out[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] - before[i] >= data.shape[2 + i]:
                conditions.append(position < data.shape[2 + i])

        def product() -> PrimExpr:
            x, w = _cast(data(n, channel, *source), dtype), _cast(weight(m, c, *taps), dtype)
            x_zero, w_zero = _one(data_zero), _one(weight_zero, m)
            x = x if x_zero is None else x - _cast(x_zero, dtype)
            w = w if w_zero is None else w - _cast(w_zero, dtype)
            return x * w

        return (choose(_all(conditions), product, lambda: immediate(0, dtype)),)

    return context.reduce(out, [dtype], (inner, *kernel), body, SUM, "convolved")[0]


@lowers("onnx.Conv")
def _conv(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    data, weight, bias = (*operands, None)[:3]
    result = operation.results[0]
    work = working_dtype(result.dtype)
    sums = _convolve(context, operation, _present(data), _present(weight), work)
    return [_with_channel_bias(sums, bias, result.dtype, work)]


def _with_channel_bias(sums: LogicalTensor, bias: LogicalTensor | None, dtype: DType, work: DType) -> LogicalTensor:
    def element(*indices: Any) -> PrimExpr:
        value = sums(*indices)
        return _cast(value if bias is None else value + _cast(bias(indices[1]), work), dtype)

    return LogicalTensor(sums.shape, dtype, element)


@lowers("onnx.ConvTranspose")
def _conv_transpose(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    from tvm import tirx

    data, weight, bias = (*operands, None)[:3]
    assert data is not None and weight is not None
    out, dtype = operation.results[0].shape, operation.results[0].dtype
    work = working_dtype(dtype)
    rank = len(out) - 2
    groups = int(operation.attributes.get("group", 1))  # type: ignore[arg-type]
    per_group, kernel = weight.shape[1], weight.shape[2:]
    strides, dilations = _ints(operation, "strides", 1, rank), _ints(operation, "dilations", 1, rank)
    before = _transposed_padding(operation, data.shape[2:], out[2:], kernel, strides, dilations)
    inner = data.shape[1] // groups

    def body(indices: Indices, reduced: Indices) -> Elements:
        n, m, *place = indices
        c, *taps = reduced
        channel = c if groups == 1 else m // per_group * inner + c
        filter_of = m if groups == 1 else m % per_group
        source, conditions = [], []
        for i in range(rank):
            reach = place[i] + before[i] - taps[i] * dilations[i]
            conditions += [reach >= 0, reach < data.shape[2 + i] * strides[i]]
            if strides[i] > 1:
                conditions.append(tirx.EQ(tirx.floormod(reach, strides[i]), 0))
            source.append(tirx.floordiv(reach, strides[i]) if strides[i] > 1 else reach)
        return (
            choose(
                _all(conditions),
                lambda: _cast(data(n, channel, *source), work) * _cast(weight(channel, filter_of, *taps), work),
                lambda: immediate(0, work),
            ),
        )

    sums = context.reduce(out, [work], (inner, *kernel), body, SUM, "convolved")[0]
    return [_with_channel_bias(sums, bias, dtype, work)]


def _transposed_padding(
    operation: Operation,
    data: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """What is cut off before the first output element of each axis; given, or implied by the output's extent."""
    rank = len(data)
    mode = operation.attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET" and "output_shape" not in operation.attributes:
        return _ints(operation, "pads", 0, 2 * rank)[:rank]
    if mode == "VALID":
        return [0] * rank
    extra = _ints(operation, "output_padding", 0, rank)
    total = [
        max(0, strides[i] * (data[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - out[i]) for i in range(rank)
    ]
    return [each // 2 if mode == "SAME_UPPER" else each - each // 2 for each in total]


def _multiply(
    context: LoweringContext,
    shape: Sequence[int],
    left: LogicalTensor,
    right: LogicalTensor,
    dtype: DType,
    left_zero: LogicalTensor | None = None,
    right_zero: LogicalTensor | None = None,
) -> LogicalTensor:
    """NumPy's matmul in `dtype`, zero points (scalar, per row of `left`, per column of `right`) subtracted before."""
    row_axis, column_axis = len(left.shape) > 1, len(right.shape) > 1
    depth = left.shape[-1]

    def body(indices: Indices, reduced: Indices) -> Elements:
        (k,) = reduced
        lead = list(indices)
        column = lead.pop() if column_axis else None
        row = lead.pop() if row_axis else None

        def read(tensor: LogicalTensor, *tail: Any) -> PrimExpr:
            outer = tensor.shape[: len(tensor.shape) - len(tail)]
            places = lead[len(lead) - len(outer) :]
            return tensor(*(0 if e == 1 else p for e, p in zip(outer, places, strict=True)), *tail)

        x = _cast(read(left, *([] if row is None else [row]), k), dtype)
        w = _cast(read(right, k, *([] if column is None else [column])), dtype)
        x_zero, w_zero = _one(left_zero, row), _one(right_zero, column)
        x = x if x_zero is None else x - _cast(x_zero, dtype)
        w = w if w_zero is None else w - _cast(w_zero, dtype)
        return (x * w,)

    return context.reduce(shape, [dtype], (depth,), body, SUM, "multiplied")[0]


@lowers("onnx.MatMul")
def _matmul(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    result = operation.results[0]
    work = working_dtype(result.dtype)
    sums = _multiply(context, result.shape, _present(operands[0]), _present(operands[1]), work)
    return [LogicalTensor(result.shape, result.dtype, lambda *i: _cast(sums(*i), result.dtype))]


@lowers("onnx.MatMulInteger")
def _matmul_integer(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    left, right, left_zero, right_zero = (*operands, None, None)[:4]
    shape = operation.results[0].shape
    return [_multiply(context, shape, _present(left), _present(right), dtypes.INT32, left_zero, right_zero)]


@lowers("onnx.ConvInteger")
def _conv_integer(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    data, weight, data_zero, weight_zero = (*operands, None, None)[:4]
    return [_convolve(context, operation, _present(data), _present(weight), dtypes.INT32, data_zero, weight_zero)]


def _requantized(sums: PrimExpr, factor: PrimExpr, zero: PrimExpr | None, dtype: DType) -> PrimExpr:
    """The integer sum times a real factor, rounded to the nearest even, shifted, saturated to `dtype`."""
    from tvm import tirx

    value = tirx.nearbyint(sums.astype("float32") * factor)
    value = value if zero is None else value + zero.astype("float32")
    low, high = (tirx.const(bound, "float32") for bound in ((0, 255) if dtype.name == "u8" else (-128, 127)))
    return _cast(tirx.max(tirx.min(value, high), low), dtype)


@lowers("onnx.QLinearConv")
def _qlinear_conv(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = (*operands, None)[:9]
    sums = _convolve(context, operation, _present(x), _present(w), dtypes.INT32, x_zero, w_zero)
    dtype = operation.results[0].dtype

    def element(*indices: Any) -> PrimExpr:
        total = sums(*indices)
        total = total if bias is None else total + bias(indices[1])
        factor = _scale(x_scale) * _scale(w_scale, indices[1]) / _scale(y_scale)
        return _requantized(total, factor, _one(y_zero), dtype)

    return [LogicalTensor(sums.shape, dtype, element)]


@lowers("onnx.QLinearMatMul")
def _qlinear_matmul(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands
    result = operation.results[0]
    sums = _multiply(context, result.shape, _present(a), _present(b), dtypes.INT32, a_zero, b_zero)

    def element(*indices: Any) -> PrimExpr:
        row = indices[-2] if len(indices) > 1 else 0
        factor = _scale(a_scale, row) * _scale(b_scale, indices[-1]) / _scale(y_scale)
        return _requantized(sums(*indices), factor, _one(y_zero), result.dtype)

    return [LogicalTensor(result.shape, result.dtype, element)]


@lowers("onnx.Gemm")
def _gemm(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    left, right, added = (*operands, None)[:3]
    result = operation.results[0]
    work = working_dtype(result.dtype)
    sums = _multiply(
        context,
        result.shape,
        _turned(_present(left), operation.attributes.get("transA", 0)),
        _turned(_present(right), operation.attributes.get("transB", 0)),
        work,
    )
    alpha, beta = (float(operation.attributes.get(name, 1.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]

    def element(row: Any, column: Any) -> PrimExpr:
        value = sums(row, column)
        value = value if alpha == 1.0 else value * immediate(alpha, work)
        if added is not None:
            places = (row, column)[2 - len(added.shape) :]
            term = added(*(0 if e == 1 else p for e, p in zip(added.shape, places, strict=True)))
            term = _cast(term, work)
            value = value + (term if beta == 1.0 else term * immediate(beta, work))
        return _cast(value, result.dtype)

    return [LogicalTensor(result.shape, result.dtype, element)]


def _turned(tensor: LogicalTensor, transposed: object) -> LogicalTensor:
    if not transposed:
        return tensor
    return LogicalTensor(tensor.shape[::-1], tensor.dtype, lambda row, column: tensor(column, row))


@lowers("onnx.Einsum")
def _einsum(context: LoweringContext, operation: Operation, operands: Operands) -> list[LogicalTensor]:
    tensors = [_present(operand) for operand in operands]
    result = operation.results[0]
    terms, output = _subscripts(str(operation.attributes["equation"]), [len(t.shape) for t in tensors])
    extents: dict[str, int] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        for letter, extent in zip(term, tensor.shape, strict=True):
            extents[letter] = max(extents.get(letter, 1), extent)
    summed = [letter for letter in extents if letter not in output]
    work = working_dtype(result.dtype)

    def body(indices: Indices, reduced: Indices) -> Elements:
        places = dict(zip([*output, *summed], [*indices, *reduced], strict=False))
        product: PrimExpr | None = None
        for term, tensor in zip(terms, tensors, strict=True):
            read = (0 if e == 1 else places[letter] for letter, e in zip(term, tensor.shape, strict=True))
            factor = _cast(tensor(*read), work)
            product = factor if product is None else product * factor
        assert product is not None
        return (product,)

    if not summed:
        return [LogicalTensor(result.shape, result.dtype, lambda *i: _cast(body(i, ())[0], result.dtype))]
    sums = context.reduce(result.shape, [work], [extents[letter] for letter in summed], body, SUM, "contracted")[0]
    return [LogicalTensor(result.shape, result.dtype, lambda *i: _cast(sums(*i), result.dtype))]


def _subscripts(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with an ellipsis written out in unused letters."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    unused = [letter for letter in string.ascii_letters if letter not in equation]
    widest = max((rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True) if "..." in term), default=0)
    ellipsis = "".join(unused[:widest])
    expanded = [
        term.replace("...", ellipsis[widest - (rank - len(term) + 3) :]) if "..." in term else term
        for term, rank in zip(terms, ranks, strict=True)
    ]
    if arrow:
        return expanded, right.replace("...", ellipsis)
    counted = "".join(expanded)
    once = sorted(letter for letter in set(counted) - set(ellipsis) if counted.count(letter) == 1)
    return expanded, ellipsis + "".join(once)
