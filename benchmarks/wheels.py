"""Fetch pinned wheels from the package index and unpack them into a cache folder, without installing anything."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

# Compiled torchvision is tied to one torch build; its Python part is all that timm's model code imports.
PYTHON_ONLY = frozenset({"torchvision"})


def unpack(requirement: str, cache: Path) -> Path:
    """Return the folder that holds the unpacked wheel of `requirement` ("name==version"), fetching it at first use.

    Raises:
        RuntimeError: pip cannot fetch it; the message carries what pip said.
    """
    folder = cache / requirement
    if folder.exists():
        return folder
    download = cache / "wheels" / requirement
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(download)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot fetch {requirement}: {' '.join(command)} {requirement}\n{done.stderr.strip()}")
    (wheel,) = download.glob("*.whl")
    partial = cache / f"{requirement}.partial"
    with zipfile.ZipFile(wheel) as archive:
        drop_binaries = requirement.partition("==")[0] in PYTHON_ONLY
        archive.extractall(partial, [m for m in archive.namelist() if not (drop_binaries and ".so" in m)])
    partial.rename(folder)
    return folder


def importable(requirements: Iterable[str], cache: Path) -> None:
    """Put the unpacked wheels in front of the import path of this process."""
    for requirement in requirements:
        folder = str(unpack(requirement, cache))
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
