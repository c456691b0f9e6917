"""How a constant operand is stored for a kernel, as data: a cached kernel needs no template to pack its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optc.backends.tvm.math.dot_weights import pack_dot_weights
from optc.backends.tvm.math.grouped_weights import spread_groups
from optc.backends.tvm.math.winograd import transform_weights

Step = tuple[str, tuple[int, ...]]


def _reshape(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """0 keeps an extent, -1 takes what is left."""
    return array.reshape([extent or array.shape[axis] for axis, extent in enumerate(shape)])


def _pad(array: np.ndarray, extents: Sequence[int]) -> np.ndarray:
    """Append zeros up to the given extents; 0 keeps one."""
    widths = [(0, max(extent - size, 0)) for extent, size in zip(extents, array.shape, strict=True)]
    return np.pad(array, widths) if any(after for _, after in widths) else array


def _block(array: np.ndarray, parameters: Sequence[int]) -> np.ndarray:
    """Split an axis into blocks of a size, filling the last with zeros: (axis, size)."""
    axis, size = parameters
    extents = [-(-extent // size) * size if i == axis else 0 for i, extent in enumerate(array.shape)]
    padded = _pad(array, extents)
    return padded.reshape(*padded.shape[:axis], -1, size, *padded.shape[axis + 1 :])


def _panels(array: np.ndarray, parameters: Sequence[int]) -> np.ndarray:
    """Cut the last axis into panels of a width, the last narrower, each stored by itself: (width,)."""
    (width,) = parameters
    whole = array.shape[-1] // width * width
    packed = np.empty(array.size, array.dtype)
    filled = math.prod(array.shape[:-1]) * whole
    blocks = _block(array[..., :whole], (array.ndim - 1, width))
    panels = packed[:filled].reshape(whole // width, *array.shape[:-1], width)
    panels[...] = np.moveaxis(blocks, -2, 0)
    packed[filled:].reshape(*array.shape[:-1], -1)[...] = array[..., whole:]
    return packed


STEPS: dict[str, Callable[[np.ndarray, Sequence[int]], np.ndarray]] = {
    "reshape": _reshape,
    "pad": _pad,
    "block": _block,
    "panels": _panels,
    "transpose": lambda array, axes: array.transpose(axes),
    "dot": pack_dot_weights,
    "grouped": spread_groups,
    "winograd": lambda array, parameters: transform_weights(array, *parameters),
}


@dataclass(frozen=True)
class Packing:
    """A sequence of array rearrangements and transforms.

    Attributes:
        steps: names of STEPS, each with its integers.
    """

    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """A name of the rearrangement: equal keys pack equal arrays equally."""
        return ";".join(f"{name}:{','.join(map(str, numbers))}" for name, numbers in self.steps)

    def pack(self, array: np.ndarray) -> np.ndarray:
        """The array, given in its logical shape, as the kernel reads it."""
        for name, numbers in self.steps:
            array = STEPS[name](array, numbers)
        return np.ascontiguousarray(array)


def pack_functions(packings: Mapping[int, Packing]) -> dict[int, tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Packings by operand, as `Kernel.pack` has them."""
    return {position: (packing.key, packing.pack) for position, packing in packings.items()}


def packings_as_json(packings: Mapping[int, Packing]) -> dict[str, tuple[Step, ...]]:
    """Packings by operand as JSON can hold them."""
    return {str(position): packing.steps for position, packing in packings.items()}


def packings_of_json(fields: Mapping[str, Sequence[Sequence]]) -> dict[int, Packing]:
    """The inverse of `packings_as_json`."""
    return {
        int(position): Packing(tuple((name, tuple(numbers)) for name, numbers in steps))
        for position, steps in fields.items()
    }
