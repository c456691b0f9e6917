"""The rules of `optc.ops.values`: one function for each operation that shape arithmetic is written with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dims import Dim, SymbolicDim, product
from optc.ir.types import TensorType
from optc.ops.shapes import integer, integers
from optc.ops.values import LARGEST, Known, object_array, operand_shape, rule


def _elementwise(function: Callable[..., Any]) -> Callable[..., Known]:
    """Apply to the elements, broadcasting; unknown in, unknown out."""

    def guarded(*items: Any) -> Any:
        if any(item is None for item in items):
            return None
        try:
            return function(*items)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return None

    def apply(*arrays: Known) -> Known:
        lifted = np.frompyfunc(guarded, len(arrays), 1)
        return np.asarray(lifted(*arrays), dtype=object)

    return apply


def _sign(dim: Dim) -> int | None:
    """-1, 0 or 1 where the sign holds for all positive symbols, else None."""
    if isinstance(dim, (int, float)):
        return (dim > 0) - (dim < 0)
    if dim.expression.is_positive:
        return 1
    return -1 if dim.expression.is_negative else None


def _equal(a: Dim, b: Dim) -> bool | None:
    sign = _sign(a - b)
    return None if sign is None else sign == 0


def _less(a: Dim, b: Dim) -> bool | None:
    sign = _sign(a - b)
    return None if sign is None else sign < 0


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    if isinstance(a, int) and isinstance(b, int):
        quotient = abs(a) // abs(b)  # integers divide towards zero
        return quotient if (a < 0) == (b < 0) else -quotient
    return a // b


def _smaller(a: Any, b: Any) -> Any:
    less = _less(a, b)
    return None if less is None else (a if less else b)


def _larger(a: Any, b: Any) -> Any:
    less = _less(a, b)
    return None if less is None else (b if less else a)


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divide,
    "Neg": lambda a: 0 - a,
    "Abs": lambda a: abs(a),
    "Floor": math.floor,
    "Ceil": math.ceil,
    "Round": round,
    "Sqrt": math.sqrt,
    "Equal": _equal,
    "Less": _less,
    "Greater": lambda a, b: _less(b, a),
    "LessOrEqual": lambda a, b: _not(_less(b, a)),
    "GreaterOrEqual": lambda a, b: _not(_less(a, b)),
    "And": lambda a, b: bool(a and b),
    "Or": lambda a, b: bool(a or b),
    "Xor": lambda a, b: bool(a) != bool(b),
    "Not": lambda a: not a,
    "Min": _smaller,
    "Max": _larger,
    "Identity": lambda a: a,
}


def _rounded(operation: Operation, known: Known) -> Known:
    """Real numbers as the result type holds them; one f64 operation rounded to f32 is the f32 operation."""
    type = operation.results[0].type
    if not isinstance(type, TensorType) or not type.dtype.is_float:
        return known
    number = type.dtype.numpy.type
    return _elementwise(lambda a: float(number(a)) if isinstance(a, float) else a)(known)


def _register_elementwise(name: str, function: Callable[..., Any]) -> None:
    lifted = _elementwise(function)

    @rule(name)
    def apply(operation: Operation, operands: list[Known | None]) -> Known | None:
        if any(operand is None for operand in operands):
            return None
        if name in ("Min", "Max"):
            result = operands[0]
            for operand in operands[1:]:
                result = lifted(result, operand)
            return result
        if name == "Div" and _divides_reals(operation):
            # An extent that became a real number divides without the rounding of extents.
            operands = [_elementwise(lambda a: None if isinstance(a, SymbolicDim) else a)(known) for known in operands]
        return _rounded(operation, lifted(*operands))


def _divides_reals(operation: Operation) -> bool:
    type = operation.results[0].type
    return not isinstance(type, TensorType) or type.dtype.is_float


for _name, _function in _ELEMENTWISE.items():
    _register_elementwise(_name, _function)


@rule("Floor", "Ceil", "Round")
def _round(operation: Operation, operands: list[Known | None]) -> Known | None:
    function = _ELEMENTWISE[operation.name.removeprefix("onnx.")]
    # Stays a float: only a Cast makes an extent of it.
    rounded = _elementwise(lambda a: a if isinstance(a, SymbolicDim) else float(function(a)))
    return None if operands[0] is None else rounded(operands[0])


@rule("Mod")
def _mod(operation: Operation, operands: list[Known | None]) -> Known | None:
    if operands[0] is None or operands[1] is None:
        return None
    if integer(operation, "fmod"):
        return _elementwise(math.fmod)(*operands)
    return _elementwise(lambda a, b: a % b if isinstance(a, int) and isinstance(b, int) else None)(*operands)


@rule("Cast")
def _cast(operation: Operation, operands: list[Known | None]) -> Known | None:
    target = dtypes.BY_ONNX_CODE.get(integer(operation, "to"))
    if operands[0] is None or target is None:
        return None
    if target is dtypes.BOOL:
        return _elementwise(lambda a: True if _sign(a) else None if _sign(a) is None else False)(operands[0])
    if target.is_integer:
        return _elementwise(lambda a: a if isinstance(a, SymbolicDim) else int(a))(operands[0])
    if target.is_float:
        number = target.numpy.type
        return _elementwise(lambda a: a if isinstance(a, SymbolicDim) else float(number(a)))(operands[0])
    return None


@rule("Where")
def _where(operation: Operation, operands: list[Known | None]) -> Known | None:
    condition, yes, no = operands
    if condition is None or yes is None or no is None:
        return None
    choose = np.frompyfunc(lambda c, a, b: None if c is None else a if c else b, 3, 1)
    return np.asarray(choose(condition, yes, no), dtype=object)


@rule("Shape")
def _shape(operation: Operation, operands: list[Known | None]) -> Known | None:
    shape = operand_shape(operation, 0)
    if shape is None:
        return None
    end = operation.attributes.get("end")
    return object_array(list(shape[integer(operation, "start") : None if end is None else int(end)]))  # type: ignore[arg-type]


@rule("Size")
def _size(operation: Operation, operands: list[Known | None]) -> Known | None:
    shape = operand_shape(operation, 0)
    return None if shape is None else np.asarray(product(shape), dtype=object)


@rule("Gather")
def _gather(operation: Operation, operands: list[Known | None]) -> Known | None:
    data, indices = operands
    if data is None or indices is None or any(item is None for item in indices.ravel()):
        return None
    return np.take(data, indices.astype(np.int64), axis=integer(operation, "axis"))


@rule("Slice")
def _slice(operation: Operation, operands: list[Known | None]) -> Known | None:
    data, starts, ends, axes, steps = [*operands, None, None][:5]
    if data is None or starts is None or ends is None:
        return None
    count = starts.size
    chosen = range(count) if axes is None else [int(axis) for axis in axes.ravel()]
    strides = [1] * count if steps is None else [int(step) for step in steps.ravel()]
    index: list[slice] = [slice(None)] * data.ndim
    for position, axis in enumerate(chosen):
        start, end, step = int(starts.ravel()[position]), int(ends.ravel()[position]), strides[position]
        # An end below the first element, walking down, means "to the very start".
        stop = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return data[tuple(index)]


@rule("Concat")
def _concat(operation: Operation, operands: list[Known | None]) -> Known | None:
    parts: list[Known] = []
    for position, operand in enumerate(operands):
        if operand is None:
            shape = operand_shape(operation, position)
            if shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > LARGEST:
                return None
            operand = object_array([None] * shape[0])
        parts.append(operand)
    return np.concatenate(parts, axis=integer(operation, "axis"))


@rule("Split")
def _split(operation: Operation, operands: list[Known | None]) -> Known | None:
    if operands[0] is None or operands[0].ndim != 1:
        return None
    sizes = operands[1] if len(operands) > 1 else None
    count = len(operation.results)
    extent = operands[0].size
    each = -(-extent // count)
    lengths = (
        [int(size) for size in sizes] if sizes is not None else [each] * (count - 1) + [extent - each * (count - 1)]
    )
    bounds = np.cumsum(lengths)[:-1]
    return object_array(list(np.split(operands[0], bounds)))


@rule("Squeeze")
def _squeeze(operation: Operation, operands: list[Known | None]) -> Known | None:
    if operands[0] is None:
        return None
    axes = operands[1] if len(operands) > 1 else None
    return np.squeeze(operands[0], None if axes is None else tuple(int(axis) for axis in axes.ravel()))


@rule("Unsqueeze")
def _unsqueeze(operation: Operation, operands: list[Known | None]) -> Known | None:
    if operands[0] is None or operands[1] is None:
        return None
    return np.expand_dims(operands[0], tuple(int(axis) for axis in operands[1].ravel()))


@rule("Reshape", "Flatten", "Expand")
def _reshape(operation: Operation, operands: list[Known | None]) -> Known | None:
    result = operation.results[0].tensor_type
    if operands[0] is None or not result.is_static:
        return None
    if operation.name == "onnx.Expand":
        return np.broadcast_to(operands[0], result.static_shape)
    return operands[0].reshape(result.static_shape)


@rule("Transpose")
def _transpose(operation: Operation, operands: list[Known | None]) -> Known | None:
    return None if operands[0] is None else np.transpose(operands[0], integers(operation, "perm"))


@rule("ConstantOfShape")
def _constant_of_shape(operation: Operation, operands: list[Known | None]) -> Known | None:
    if operands[0] is None or math.prod(int(extent) for extent in operands[0]) > LARGEST:
        return None
    value = operation.attributes.get("value")
    fill = value.ravel()[0].item() if isinstance(value, np.ndarray) else 0.0
    return np.full([int(extent) for extent in operands[0]], fill, dtype=object)


@rule("Range")
def _range(operation: Operation, operands: list[Known | None]) -> Known | None:
    if any(operand is None for operand in operands):
        return None
    start, limit, step = (operand.item() for operand in operands if operand is not None)
    if not all(isinstance(item, int) for item in (start, limit, step)) or len(range(start, limit, step)) > LARGEST:
        return None
    return object_array(list(range(start, limit, step)))


_REDUCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "ReduceProd": lambda a, b: a * b,
    "ReduceSum": lambda a, b: a + b,
    "ReduceMin": _smaller,
    "ReduceMax": _larger,
}


@rule(*_REDUCTIONS)
def _reduce(operation: Operation, operands: list[Known | None]) -> Known | None:
    data = operands[0]
    axes = operands[1] if len(operands) > 1 else None
    if data is None or data.ndim != 1 or (axes is None and len(operands) > 1 and operation.operands[1] is not None):
        return None
    if axes is None and integer(operation, "noop_with_empty_axes"):
        return data
    total = data[0]
    for item in data[1:]:
        total = _elementwise(_REDUCTIONS[operation.name.removeprefix("onnx.")])(
            np.asarray(total, dtype=object), np.asarray(item, dtype=object)
        ).item()
    return object_array([total]) if integer(operation, "keepdims", 1) else np.asarray(total, dtype=object)
