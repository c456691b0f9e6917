"""Kernels for the tests of the native library."""

from __future__ import annotations

import pytest
from native_kit import KERNELS, compile_c


@pytest.fixture(scope="session")
def kernels() -> bytes:
    return compile_c(KERNELS)
