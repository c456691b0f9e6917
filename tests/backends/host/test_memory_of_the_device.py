"""optc_model_allocate on processors: aligned memory, so that runs use it in place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native_kit import BYTES, SIZE, chain

from optc.runtime.library import NativeModel


@pytest.mark.parametrize("size", [1, 63, BYTES])
def test_memory_that_runs_use_in_place(build: Callable[..., Path], size: int) -> None:
    """The kernel refuses buffers that are not aligned; a copy of the input would hide what is written later."""
    model = NativeModel(build(chain("aligned_copy")), "libmodel.so", 1, 1)
    library, handle = model._library, model._handle
    library.optc_model_allocate.restype = ctypes.c_void_p
    library.optc_model_allocate.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    library.optc_model_release.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    assert library.optc_model_allocate(handle, 2**64 - 1) is None
    small = library.optc_model_allocate(handle, size)
    places = [library.optc_model_allocate(handle, BYTES) for _ in range(2)]
    assert small % 64 == 0 and all(place % 64 == 0 for place in places)
    given, made = (
        np.ctypeslib.as_array(ctypes.cast(place, ctypes.POINTER(ctypes.c_float)), (SIZE,)) for place in places
    )
    given[:] = np.arange(SIZE)
    model.run([places[0]], [places[1]])
    assert np.array_equal(made, given)
    for place in (small, *places, None):
        library.optc_model_release(handle, place)
    model.close()
