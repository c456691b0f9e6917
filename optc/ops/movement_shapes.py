"""Shape inference of the movement operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dims import Dim, Shape, SymbolicDim, product
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import elements_of
from optc.ops.onnx_types import dtype_from_code
from optc.ops.shapes import (
    broadcast,
    describe,
    fresh,
    fresh_shape,
    integer,
    integers,
    normalize_axis,
    tensor,
    text,
    unify,
)
from optc.ops.values import dims_of, ints_of, operand_shape, value_of

Types = Sequence[ValueType]


def _vector_length(operation: Operation, position: int) -> int | None:
    """How many elements an operand that is a vector holds, when known."""
    shape = operand_shape(operation, position)
    return shape[0] if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None


def _of_rank(operation: Operation, dtype: dtypes.DType, rank: int | None) -> Types:
    return (TensorType(dtype, None if rank is None else fresh_shape(operation, rank)),)


def reshape(operation: Operation) -> Types:
    """0 copies the extent of the input (unless allowzero), -1 takes what is left."""
    data = tensor(operation, 0)
    wanted = dims_of(operation.operand(1))
    if wanted is None:
        return _of_rank(operation, data.dtype, _vector_length(operation, 1))
    copies = not integer(operation, "allowzero")
    shape: list[Dim | None] = []
    for axis, dim in enumerate(wanted):
        if dim == 0 and copies:
            if data.shape is not None and axis >= len(data.shape):
                raise ValueError(f"its shape {wanted} copies axis {axis}, which {describe(data.shape)} has not")
            shape.append(None if data.shape is None else data.shape[axis])
        else:
            shape.append(dim)
    open_axes = [axis for axis, dim in enumerate(shape) if dim == -1]
    if len(open_axes) > 1:
        raise ValueError(f"its shape {wanted} leaves more than one extent open")
    if open_axes and data.shape is not None and None not in shape:
        others = product(tuple(dim for dim in shape if dim != -1 and dim is not None))
        whole = product(data.shape)
        if isinstance(whole, int) and isinstance(others, int) and (others == 0 or whole % others):
            raise ValueError(f"{describe(data.shape)} cannot be reshaped to {wanted}")
        shape[open_axes[0]] = whole // others
    result = tuple(fresh(operation, axis) if dim is None or dim == -1 else dim for axis, dim in enumerate(shape))
    if data.shape is not None and not open_axes:
        whole, total = product(data.shape), product(result)
        if isinstance(whole, int) and isinstance(total, int) and whole != total:
            raise ValueError(f"{describe(data.shape)} cannot be reshaped to {describe(result)}")
    return (TensorType(data.dtype, result),)


def flatten(operation: Operation) -> Types:
    data = tensor(operation, 0)
    if data.shape is None:
        return _of_rank(operation, data.dtype, 2)
    axis = integer(operation, "axis", 1)
    axis = axis if axis == len(data.shape) else normalize_axis(axis, max(1, len(data.shape)))
    return (TensorType(data.dtype, (product(data.shape[:axis]), product(data.shape[axis:]))),)


def squeeze(operation: Operation) -> Types:
    data = tensor(operation, 0)
    if data.shape is None:
        return (TensorType(data.dtype, None),)
    rank = len(data.shape)
    if operation.operand(1) is None:
        if any(isinstance(dim, SymbolicDim) for dim in data.shape):
            return (TensorType(data.dtype, None),)
        return (TensorType(data.dtype, tuple(dim for dim in data.shape if dim != 1)),)
    axes = ints_of(operation.operand(1))
    if axes is None:
        count = _vector_length(operation, 1)
        return _of_rank(operation, data.dtype, None if count is None else rank - count)
    chosen = {normalize_axis(axis, rank) for axis in axes}
    for axis in chosen:
        if isinstance(data.shape[axis], int) and data.shape[axis] != 1:
            raise ValueError(f"axis {axis} of {describe(data.shape)} is not 1 and cannot be squeezed")
    return (TensorType(data.dtype, tuple(dim for axis, dim in enumerate(data.shape) if axis not in chosen)),)


def unsqueeze(operation: Operation) -> Types:
    data = tensor(operation, 0)
    axes = ints_of(operation.operand(1))
    if axes is None or data.shape is None:
        count = _vector_length(operation, 1)
        known = count is not None and data.shape is not None
        return _of_rank(operation, data.dtype, len(data.shape or ()) + (count or 0) if known else None)
    rank = len(data.shape) + len(axes)
    chosen = {normalize_axis(axis, rank) for axis in axes}
    if len(chosen) != len(axes):
        raise ValueError(f"its axes {axes} name one axis twice")
    rest = iter(data.shape)
    return (TensorType(data.dtype, tuple(1 if axis in chosen else next(rest) for axis in range(rank))),)


def permutation(operation: Operation) -> tuple[int, ...]:
    """The axes of a Transpose; reversed when it names none."""
    rank = tensor(operation, 0).rank
    assert rank is not None
    axes = integers(operation, "perm")
    return tuple(range(rank))[::-1] if axes is None else tuple(normalize_axis(axis, rank) for axis in axes)


def transpose(operation: Operation) -> Types:
    data = tensor(operation, 0)
    if data.shape is None:
        axes = integers(operation, "perm")
        return _of_rank(operation, data.dtype, None if axes is None else len(axes))
    order = permutation(operation)
    if sorted(order) != list(range(len(data.shape))):
        raise ValueError(f"perm {list(order)} does not permute the {len(data.shape)} axes of {describe(data.shape)}")
    return (TensorType(data.dtype, tuple(data.shape[axis] for axis in order)),)


def concat(operation: Operation) -> Types:
    types = [tensor(operation, position) for position in range(len(operation.operands))]
    shapes = [type.shape for type in types if type.shape is not None]
    if not shapes:
        return (TensorType(types[0].dtype, None),)
    rank = len(shapes[0])
    axis = normalize_axis(integer(operation, "axis"), rank)
    result: list[Dim] = list(shapes[0])
    for shape in shapes[1:]:
        try:
            if len(shape) != rank:
                raise ValueError
            result = [
                known if position == axis else unify(known, dim)
                for position, (known, dim) in enumerate(zip(result, shape, strict=True))
            ]
        except ValueError:
            listed = " and ".join(describe(shape) for shape in shapes)
            raise ValueError(f"the shapes {listed} do not concatenate along axis {axis}") from None
    whole = len(shapes) == len(types)
    result[axis] = fresh(operation, axis) if not whole else shapes[0][axis]
    if whole:
        for shape in shapes[1:]:
            result[axis] = result[axis] + shape[axis]
    return (TensorType(types[0].dtype, tuple(result)),)


def split(operation: Operation) -> Types:
    data = tensor(operation, 0)
    count = len(operation.results)
    if data.shape is None:
        return [TensorType(data.dtype, None)] * count
    axis = normalize_axis(integer(operation, "axis"), len(data.shape))
    extent = data.shape[axis]
    sizes = split_sizes(operation, extent)
    return [
        TensorType(
            data.dtype,
            (*data.shape[:axis], fresh(operation, axis, position) if size is None else size, *data.shape[axis + 1 :]),
        )
        for position, size in enumerate(sizes)
    ]


def split_sizes(operation: Operation, extent: Dim) -> list[Dim | None]:
    """The extents of the parts of a Split along its axis; None for unknown ones."""
    count = len(operation.results)
    if operation.operand(1) is not None:
        sizes = dims_of(operation.operand(1))
        if sizes is None:
            return [None] * count
        if len(sizes) != count:
            raise ValueError(f"it splits into {len(sizes)} parts and has {count} outputs")
        known = [size for size in sizes if isinstance(size, int)]
        if isinstance(extent, int) and len(known) == count and sum(known) != extent:
            raise ValueError(f"the parts {known} do not add up to {extent}")
        return sizes
    each = (extent + (count - 1)) // count
    return [*[each] * (count - 1), extent - each * (count - 1)]


def slice_(operation: Operation) -> Types:
    data = tensor(operation, 0)
    if data.shape is None:
        return (TensorType(data.dtype, None),)
    starts, ends = dims_of(operation.operand(1)), dims_of(operation.operand(2))
    steps = dims_of(operation.operand(4))
    count = next((n for n in (_vector_length(operation, 1), _vector_length(operation, 2)) if n is not None), None)
    if operation.operand(3) is not None:
        axes = ints_of(operation.operand(3))
    else:
        if count is not None and count > len(data.shape):
            raise ValueError(f"it slices {count} axes of {len(data.shape)}")
        axes = None if count is None else list(range(count))
    if axes is None:
        return _of_rank(operation, data.dtype, len(data.shape))
    if operation.operand(4) is None:
        steps = [1] * len(axes)
    if any(items is not None and len(items) != len(axes) for items in (starts, ends, steps)):
        raise ValueError(f"its starts, ends, axes and steps are not all {len(axes)} long")
    result: list[Dim] = list(data.shape)
    for position, axis in enumerate(axes):
        axis = normalize_axis(axis, len(result))
        start, end, step = (None if items is None else items[position] for items in (starts, ends, steps))
        extent = None if start is None or end is None or step is None else slice_extent(result[axis], start, end, step)
        result[axis] = fresh(operation, axis) if extent is None else extent
    return (TensorType(data.dtype, tuple(result)),)


def slice_extent(extent: Dim, start: Dim, end: Dim, step: Dim) -> Dim | None:
    """The elements of `extent[start:end:step]`; None where it cannot be told.

    With symbols, bounds are taken to lie inside the extent: `x[:, :seq]` has the extent `seq`.
    """
    if not isinstance(step, int) or step == 0:
        if step == 0:
            raise ValueError("a step of a slice is 0")
        return None
    if isinstance(extent, int) and isinstance(start, int) and isinstance(end, int):
        if step < 0 and end < -extent:
            return len(range(extent)[start::step])
        return len(range(extent)[start:end:step])
    if step == -1 and start == -1 and isinstance(end, int) and end <= -(2**31) + 1:
        return extent
    if step < 0:
        return None
    if isinstance(start, int) and start < 0:
        start = extent + start
    if isinstance(end, int) and end < 0:
        end = extent + end
    elif isinstance(end, int) and end >= 2**31 - 1:
        end = extent
    elif isinstance(end, int) and isinstance(extent, SymbolicDim):
        return None
    room = end - start
    if isinstance(room, int):
        return max(0, -(-room // step))
    return (room + (step - 1)) // step


def gather(operation: Operation) -> Types:
    data, indices = tensor(operation, 0), tensor(operation, 1)
    if data.shape is None or indices.shape is None:
        return (TensorType(data.dtype, None),)
    axis = normalize_axis(integer(operation, "axis"), len(data.shape))
    return (TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])),)


def like_indices(operation: Operation) -> Types:
    return (TensorType(tensor(operation, 0).dtype, tensor(operation, 1).shape),)


def gather_nd(operation: Operation) -> Types:
    data, indices = tensor(operation, 0), tensor(operation, 1)
    if data.shape is None or indices.shape is None or not isinstance(indices.shape[-1], int):
        return (TensorType(data.dtype, None),)
    batch = integer(operation, "batch_dims")
    if batch + indices.shape[-1] > len(data.shape):
        raise ValueError(f"indices of {indices.shape[-1]} axes do not fit the shape {describe(data.shape)}")
    return (TensorType(data.dtype, (*indices.shape[:-1], *data.shape[batch + indices.shape[-1] :])),)


def expand(operation: Operation) -> Types:
    data = tensor(operation, 0)
    wanted = dims_of(operation.operand(1))
    if wanted is None:
        count = _vector_length(operation, 1)
        known = count is not None and data.rank is not None
        return _of_rank(operation, data.dtype, max(count or 0, data.rank or 0) if known else None)
    target = tuple(fresh(operation, axis) if dim is None else dim for axis, dim in enumerate(wanted))
    return (TensorType(data.dtype, broadcast(operation, [data.shape, target])),)


def tile(operation: Operation) -> Types:
    data = tensor(operation, 0)
    repeats = dims_of(operation.operand(1))
    if data.shape is None or repeats is None:
        return _of_rank(operation, data.dtype, data.rank if data.shape is not None else _vector_length(operation, 1))
    if len(repeats) != len(data.shape):
        raise ValueError(f"{len(repeats)} repeats do not fit the shape {describe(data.shape)}")
    pairs = enumerate(zip(data.shape, repeats, strict=True))
    return (TensorType(data.dtype, tuple(fresh(operation, a) if r is None else d * r for a, (d, r) in pairs)),)


def pad_amounts(operation: Operation, rank: int) -> list[tuple[int, int]] | None:
    """What a Pad adds before and after each axis; None while unknown."""
    amounts = ints_of(operation.operand(1))
    if operation.operand(3) is not None:
        axes = ints_of(operation.operand(3))
    else:
        axes = list(range(rank))
    if amounts is None or axes is None:
        return None
    if len(amounts) != 2 * len(axes):
        raise ValueError(f"it has {len(amounts)} pads for {len(axes)} axes")
    result = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        result[normalize_axis(axis, rank)] = (amounts[position], amounts[position + len(axes)])
    return result


def pad(operation: Operation) -> Types:
    data = tensor(operation, 0)
    if data.shape is None:
        return (TensorType(data.dtype, None),)
    amounts = pad_amounts(operation, len(data.shape))
    if amounts is None:
        return _of_rank(operation, data.dtype, len(data.shape))
    pairs = zip(data.shape, amounts, strict=True)
    return (TensorType(data.dtype, tuple(dim + (before + after) for dim, (before, after) in pairs)),)


def _blocks(operation: Operation) -> tuple[TensorType, int]:
    data = tensor(operation, 0)
    if data.shape is not None and len(data.shape) != 4:
        raise ValueError(f"the input has the shape {describe(data.shape)} where 4 axes are needed")
    return data, integer(operation, "blocksize", 1)


def depth_to_space(operation: Operation) -> Types:
    data, block = _blocks(operation)
    if data.shape is None:
        return _of_rank(operation, data.dtype, 4)
    n, c, h, w = data.shape
    if isinstance(c, int) and c % (block * block):
        raise ValueError(f"its {c} channels cannot be divided into blocks of {block} x {block}")
    return (TensorType(data.dtype, (n, c // (block * block), h * block, w * block)),)


def space_to_depth(operation: Operation) -> Types:
    data, block = _blocks(operation)
    if data.shape is None:
        return _of_rank(operation, data.dtype, 4)
    n, c, h, w = data.shape
    return (TensorType(data.dtype, (n, c * (block * block), h // block, w // block)),)


def shape(operation: Operation) -> Types:
    rank = tensor(operation, 0).rank
    if rank is None:
        return _of_rank(operation, dtypes.INT64, 1)
    end = operation.attributes.get("end")
    axes = range(rank)[integer(operation, "start") : None if end is None else int(end)]  # type: ignore[arg-type]
    return (TensorType(dtypes.INT64, (len(axes),)),)


def size(operation: Operation) -> Types:
    return (TensorType(dtypes.INT64, ()),)


def constant_of_shape(operation: Operation) -> Types:
    value = operation.attributes.get("value")
    dtype = dtypes.from_numpy(value.dtype) if isinstance(value, np.ndarray) else dtypes.FLOAT32
    wanted = dims_of(operation.operand(0))
    if wanted is None:
        return _of_rank(operation, dtype, _vector_length(operation, 0))
    return (
        TensorType(dtype, tuple(fresh(operation, axis) if dim is None else dim for axis, dim in enumerate(wanted))),
    )


def range_(operation: Operation) -> Types:
    dtype = tensor(operation, 0).dtype
    bounds = [value_of(operation.operand(position)) for position in range(3)]
    items = [None if bound is None or bound.size != 1 else bound.ravel()[0] for bound in bounds]
    start, limit, step = items
    if start is None or limit is None or step is None:
        return _of_rank(operation, dtype, 1)
    if all(isinstance(item, (int, float)) for item in items):
        if step == 0:
            raise ValueError("the step of the range is 0")
        return (TensorType(dtype, (max(0, math.ceil((limit - start) / step)),)),)
    if isinstance(step, int) and step == 1 and not isinstance(start, float):
        extent = limit - start
        return (TensorType(dtype, (max(0, extent) if isinstance(extent, int) else extent,)),)
    return _of_rank(operation, dtype, 1)


def eye_like(operation: Operation) -> Types:
    data = tensor(operation, 0)
    code = integer(operation, "dtype")
    return (TensorType(dtype_from_code(code) if code else data.dtype, data.shape),)


def one_hot(operation: Operation) -> Types:
    indices, values = tensor(operation, 0), tensor(operation, 2)
    if indices.shape is None:
        return (TensorType(values.dtype, None),)
    axis = normalize_axis(integer(operation, "axis", -1), len(indices.shape) + 1)
    depth = dims_of(operation.operand(1))
    extent = fresh(operation, axis) if depth is None or depth[0] is None else depth[0]
    return (TensorType(values.dtype, (*indices.shape[:axis], extent, *indices.shape[axis:])),)


def non_zero(operation: Operation) -> Types:
    rank = tensor(operation, 0).rank
    first = fresh(operation, 0) if rank is None else rank
    return (TensorType(dtypes.INT64, (first, fresh(operation, 1))),)


def resize_axes(operation: Operation, rank: int) -> list[int]:
    """The axes that a Resize speaks of, in the order of its scales or sizes."""
    axes = integers(operation, "axes")
    return list(range(rank)) if axes is None else [normalize_axis(axis, rank) for axis in axes]


def resize(operation: Operation) -> Types:
    data = tensor(operation, 0)
    if data.shape is None:
        return (TensorType(data.dtype, None),)
    axes = resize_axes(operation, len(data.shape))
    result: list[Dim] = list(data.shape)
    if operation.operand(3) is not None and _vector_length(operation, 3) != 0:
        sizes = dims_of(operation.operand(3)) or [None] * len(axes)
        policy = text(operation, "keep_aspect_ratio_policy", "stretch") or "stretch"
        if policy != "stretch":
            sizes = _kept_aspect(sizes, [data.shape[axis] for axis in axes], policy)
        for axis, extent in zip(axes, sizes, strict=True):
            result[axis] = fresh(operation, axis) if extent is None else extent
        return (TensorType(data.dtype, tuple(result)),)
    scales = value_of(operation.operand(2))
    for position, axis in enumerate(axes):
        scale = None if scales is None or position >= scales.size else scales.ravel()[position]
        result[axis] = _scaled(data.shape[axis], scale) or fresh(operation, axis)
    return (TensorType(data.dtype, tuple(result)),)


def _scaled(extent: Dim, scale: float | None) -> Dim | None:
    if scale is None or isinstance(scale, SymbolicDim):
        return None
    if isinstance(extent, int):
        # The product is taken in single precision, as onnxruntime does.
        return math.floor(float(np.float32(extent) * np.float32(scale)))
    return extent * int(scale) if float(scale).is_integer() else None


def _kept_aspect(sizes: Sequence[Dim | None], extents: Shape | Sequence[Dim], policy: str) -> list[Dim | None]:
    if not all(isinstance(item, int) for item in (*sizes, *extents)):
        return [None] * len(sizes)
    ratios = [size / extent for size, extent in zip(sizes, extents, strict=True)]  # type: ignore[operator]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(scale * extent + 0.5) for extent in extents]  # type: ignore[operator]


_TAPS = {"nearest": 0, "linear": 2, "cubic": 4}


def resize_flops(operation: Operation) -> int:
    """A multiply-add for each of 2 (4) taps along each interpolated axis; nothing for nearest."""
    taps = _TAPS.get(text(operation, "mode", "nearest"), 2)
    data = operation.operands[0]
    assert data is not None
    changed = sum(a != b for a, b in zip(data.shape, operation.results[0].shape, strict=True))
    return 2 * elements_of(operation) * taps**changed if taps and changed else 0
