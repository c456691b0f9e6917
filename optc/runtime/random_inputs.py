"""Inputs for runs that nobody gave data for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optc.errors import UsageError
from optc.program import TensorInfo
from optc.runtime.arrays import numpy_dtype


def random_inputs(infos: Iterable[TensorInfo], seed: int = 0, dynamic: int = 1) -> dict[str, np.ndarray]:
    """Arrays of the right types and shapes, always the same for a seed.

    Floats are standard normal, bools fair, 8-bit integers take their whole range, and wider integers are 0 or 1: they
    are mostly indices, masks and lengths, where more could be out of range.

    Args:
        infos: the inputs.
        seed: of the generator.
        dynamic: the extent of dimensions that only the run decides.

    Raises:
        UsageError: an input is no tensor of numbers, or not even its rank is known.
    """
    generator = np.random.default_rng(seed)
    return {info.name: _random_array(info, generator, dynamic) for info in infos}


def _random_array(info: TensorInfo, generator: np.random.Generator, dynamic: int) -> np.ndarray:
    if info.dtype == "object" or info.shape is None:
        raise UsageError(f"random values cannot be made for input '{info.name}'", hint="give it yourself")
    shape = tuple(dynamic if extent is None else extent for extent in info.shape)
    dtype = numpy_dtype(info)
    if dtype.kind in "iu":
        if dtype.itemsize == 1 and dtype.name in ("int8", "uint8"):
            limits = np.iinfo(dtype)
            return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    normal = generator.standard_normal(shape)
    if dtype.kind == "c":
        normal = normal + 1j * generator.standard_normal(shape)
    return np.asarray(normal).astype(dtype)
