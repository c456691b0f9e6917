"""Hand-made kernels and artifacts, for every test that runs native code without the compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from native_kit import KERNELS, compile_c, contents

from optc import artifact
from optc.program import Program


@pytest.fixture(scope="session")
def kernels() -> bytes:
    return compile_c(KERNELS)


@pytest.fixture
def build(kernels: bytes, tmp_path: Path) -> Callable[..., Path]:
    """Write an artifact of a program and return its folder."""

    def build(
        program: Program,
        weights: bytes = b"",
        fallbacks: Mapping[str, bytes] | None = None,
        threads: int = 1,
        name: str = "model",
    ) -> Path:
        return artifact.write(tmp_path / name, contents(program, kernels, weights, fallbacks, threads))

    return build
