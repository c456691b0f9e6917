"""What several rules ask of values and operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.dims import Shape, SymbolicDim
from optc.ir.types import TensorType


def shape_of(value: Value | None) -> Shape | None:
    """The shape, as far as the rank is known."""
    return value.type.shape if value is not None and isinstance(value.type, TensorType) else None


def same_type(a: Value, b: Value) -> bool:
    """Whether two tensors certainly have the same element type and shape (equal symbols are equal extents)."""
    return isinstance(a.type, TensorType) and a.type == b.type and a.type.shape is not None


def scalar(value: Value | None) -> float | int | None:
    """The number in a constant all of whose elements are equal; None for anything else."""
    array = None if value is None else value.constant
    if array is None or array.size == 0 or array.dtype.kind not in "iufV":
        return None
    first = array.reshape(-1)[0]
    return first.item() if array.size == 1 or bool((array == first).all()) else None


def ints(value: Value | None) -> tuple[int, ...] | None:
    """The elements of a constant vector (or scalar) of integers."""
    array = None if value is None else value.constant
    return None if array is None or array.dtype.kind not in "iu" else tuple(int(item) for item in array.ravel())


def read_by(value: Value) -> Operation | None:
    """The only operation that reads a value; None when there are several, or none, or it is a graph output."""
    users = value.users
    return users[0] if len(users) == 1 and users[0].name != "optc.return" else None


def reshape_target(shape: Shape | None) -> list[int] | None:
    """The constant target that makes a tensor this shape: at most one extent may be symbolic, none zero."""
    if shape is None or 0 in shape or sum(isinstance(dim, SymbolicDim) for dim in shape) > 1:
        return None
    return [-1 if isinstance(dim, SymbolicDim) else int(dim) for dim in shape]


def along(array: np.ndarray, axis: int, rank: int) -> np.ndarray | None:
    """A constant that broadcasts into a tensor of `rank` axes and varies along `axis` only, as a vector.

    A constant that varies nowhere gives a vector of one element; one that varies elsewhere gives None.
    """
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) != rank or any(extent != 1 for position, extent in enumerate(shape) if position != axis):
        return None
    return array.reshape(-1)


def normalized(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, sorted."""
    return tuple(sorted(axis % rank for axis in axes))
