"""Collects the textual pass tests; `tests/filecheck.py` says how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from filecheck import CaseFile


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".mlir":
        return CaseFile.from_parent(parent, path=file_path)
    return None
