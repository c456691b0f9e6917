"""One artifact, and the servers of one module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from device_kit import write_model
from native_kit import SIZE

from optc.artifact.reading import ArtifactFiles


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> ArtifactFiles:
    return write_model(tmp_path_factory.mktemp("device") / "model")


@pytest.fixture(scope="session")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    from device_kit import write_reference

    return write_reference(tmp_path / "reference.onnx")
