"""The headers that generated CUDA code includes."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources


@lru_cache(maxsize=1)
def runtime_headers() -> dict[str, str]:
    """Text of each header, by file name."""
    folder = resources.files("optc.backends.cuda.runtime")
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".cuh")}
