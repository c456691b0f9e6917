"""One hand-made split model for all tests of the runtime, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from split_kit import SECRET, InThread, make_split

from optc.runtime.split import Limits, Server


@pytest.fixture(scope="session")
def split(kernels: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a split model with a cut for each of three encodings."""
    return make_split(tmp_path_factory.mktemp("split") / "build", kernels, ("raw", "lossless", "q8"))


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def server(split: Path) -> Iterator[InThread]:
    with InThread(Server(split, secret=SECRET, limits=Limits(workers=2))) as running:
        yield running
