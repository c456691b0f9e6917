"""Helpers of shape inference: operands, attributes, broadcasting and the arithmetic of windows.

All of them raise ValueError with a reason that speaks of the user's shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

from optc.ir.core import Operation
from optc.ir.dims import Dim, Shape, SymbolicDim, symbol
from optc.ir.types import OpaqueType, TensorType


def describe(shape: Shape | None) -> str:
    """A shape for an error message: `(1, batch, 3)`, or `(unknown)`."""
    if shape is None:
        return "(unknown)"
    return "(" + ", ".join(str(dim) for dim in shape) + ("," if len(shape) == 1 else "") + ")"


def tensor(operation: Operation, position: int) -> TensorType:
    """The tensor type of an operand that must be there."""
    value = operation.operand(position)
    if value is None:
        raise ValueError(f"input {position} is missing")
    if isinstance(value.type, OpaqueType):
        raise ValueError(f"input {position} '{value.name}' is no tensor but {value.type.description}")
    return value.type


def shape_of(operation: Operation, position: int, rank: int | None = None) -> Shape | None:
    """The shape of an operand, checked to have `rank` axes when given; None where it is unknown."""
    shape = tensor(operation, position).shape
    if shape is not None and rank is not None and len(shape) != rank:
        value = operation.operands[position]
        assert value is not None
        raise ValueError(f"input {position} '{value.name}' has shape {describe(shape)} where {rank} axes are needed")
    return shape


def integer(operation: Operation, name: str, default: int = 0) -> int:
    """An integer attribute."""
    value = operation.attributes.get(name, default)
    assert isinstance(value, (int, bool)), name
    return int(value)


def number(operation: Operation, name: str, default: float = 0.0) -> float:
    """A float attribute."""
    value = operation.attributes.get(name, default)
    assert isinstance(value, (int, float)), name
    return float(value)


def text(operation: Operation, name: str, default: str = "") -> str:
    """A string attribute."""
    value = operation.attributes.get(name, default)
    assert isinstance(value, str), name
    return value


def integers(operation: Operation, name: str) -> tuple[int, ...] | None:
    """An attribute that is a list of integers; None when absent."""
    value = operation.attributes.get(name)
    if value is None:
        return None
    return tuple(int(item) for item in value) if isinstance(value, (tuple, list)) else (int(value),)  # type: ignore[arg-type]


def normalize_axis(axis: int, rank: int, what: str = "axis") -> int:
    """A non-negative axis below `rank`."""
    if not -rank <= axis < rank:
        raise ValueError(f"{what} {axis} is outside the {rank} axes of the input")
    return axis + rank if axis < 0 else axis


MAX_RANK = 64
"""Of NumPy's arrays."""


def fresh(operation: Operation, axis: int, result: int = 0) -> SymbolicDim:
    """The symbol of an extent that is known only at run time; the same place always gets the same symbol."""
    return symbol(f"{operation.results[result].name}_{axis}")


def fresh_shape(operation: Operation, rank: int, result: int = 0) -> Shape:
    """A shape of known rank and unknown extents. Raises ValueError for more axes than arrays can have."""
    if rank > MAX_RANK:
        raise ValueError(f"the result would have {rank} axes, and arrays have at most {MAX_RANK}")
    return tuple(fresh(operation, axis, result) for axis in range(rank))


def unify(a: Dim, b: Dim) -> Dim:
    """The extent of two dimensions that must be equal; a known one wins.

    Raises:
        ValueError: both are known and differ.
    """
    if isinstance(a, int) and isinstance(b, int) and a != b:
        raise ValueError(f"the extents {a} and {b} differ")
    return b if isinstance(b, int) else a


def broadcast(operation: Operation, shapes: Sequence[Shape | None]) -> Shape | None:
    """The NumPy broadcast of shapes; None where one is unknown."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    rank = max((len(shape) for shape in known), default=0)
    result: list[Dim] = []
    for axis in range(rank):
        extents = [shape[axis - rank + len(shape)] for shape in known if axis - rank + len(shape) >= 0]
        distinct = list(dict.fromkeys(extent for extent in extents if extent != 1))
        fixed = [extent for extent in distinct if isinstance(extent, int)]
        if len(fixed) > 1:
            raise ValueError(f"shapes {' and '.join(describe(shape) for shape in known)} do not broadcast")
        if fixed:
            result.append(fixed[0])
        elif len(distinct) > 1:
            result.append(fresh(operation, axis))
        else:
            result.append(distinct[0] if distinct else 1)
    return tuple(result)


def reduced(operation: Operation, shape: Shape | None, axes: Sequence[int] | None, keepdims: bool) -> Shape | None:
    """The shape after reducing `axes` (None: all of them)."""
    if shape is None:
        return None
    chosen = set(range(len(shape))) if axes is None else {normalize_axis(axis, len(shape)) for axis in axes}
    if keepdims:
        return tuple(1 if axis in chosen else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in chosen)


def ceil_divide(a: Dim, b: int) -> Dim:
    """a / b rounded up."""
    return (a + (b - 1)) // b


def window_extent(
    extent: Dim,
    kernel: int,
    stride: int,
    dilation: int,
    padding: tuple[int, int],
    auto_pad: str,
    ceil_mode: bool = False,
) -> Dim:
    """How many windows fit along one axis (ONNX Conv and pooling).

    Args:
        extent: elements along the axis.
        kernel: window elements before dilation.
        stride: step between windows.
        dilation: step inside a window.
        padding: elements added before and after; ignored unless `auto_pad` is NOTSET.
        auto_pad: NOTSET, VALID, SAME_UPPER or SAME_LOWER.
        ceil_mode: round up, but start no window inside the padding after the end.
    """
    reach = (kernel - 1) * dilation + 1
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        return ceil_divide(extent, stride)
    if auto_pad == "VALID":
        padding = (0, 0)
    room = extent + (sum(padding) - reach)
    if isinstance(room, int) and room < 0 and not (ceil_mode and room + stride > 0):
        raise ValueError(f"a window of {reach} does not fit into an extent of {extent} padded by {sum(padding)}")
    if not ceil_mode:
        return room // stride + 1
    windows = ceil_divide(room, stride) + 1
    if isinstance(windows, int) and isinstance(extent, int) and (windows - 1) * stride >= extent + padding[0]:
        windows -= 1
    return windows
