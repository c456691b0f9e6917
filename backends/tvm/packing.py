"""How a constant operand is stored for a kernel, as data: a cached kernel needs no template to pack its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Step = tuple[str, tuple[int, ...]]


def _pad(array: np.ndarray, extents: Sequence[int]) -> np.ndarray:
    """Append zeros so that the array gets the given extents."""
    widths = [(0, extent - size) for extent, size in zip(extents, array.shape, strict=True)]
    return np.pad(array, widths) if any(after for _, after in widths) else array


STEPS: dict[str, Callable[[np.ndarray, Sequence[int]], np.ndarray]] = {
    "pad": _pad,
    "reshape": lambda array, shape: array.reshape(shape),
    "transpose": lambda array, axes: array.transpose(axes),
}


@dataclass(frozen=True)
class Packing:
    """A sequence of array rearrangements.

    Attributes:
        steps: names of STEPS with their integers: `("pad", extents)`, `("reshape", shape)`, `("transpose", axes)`.
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
