"""Results of finished units of work on disk, each written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.errors import UsageError

Arrays = dict[str, npt.NDArray[Any]]


class Checkpoints:
    """A folder of arrays by key.

    Args:
        folder: where they lie; it is made.
        identity: of configuration and data; a folder of another one is not resumed.
        resume: whether what is there is used; otherwise it is deleted.

    Raises:
        UsageError: there is something to resume, but it belongs to another configuration or other data.
    """

    def __init__(self, folder: Path, identity: str, *, resume: bool) -> None:
        self.folder = folder
        mark = folder / "identity"
        if resume and mark.is_file() and mark.read_text() != identity:
            raise UsageError(
                "the checkpoints belong to another configuration or to other data",
                where=str(folder),
                hint="leave out --resume to start anew",
            )
        if not (resume and mark.is_file()) and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, identity.encode())

    def load(self, key: str) -> Arrays | None:
        """The arrays of a key; None when there are none, or when they are damaged."""
        try:
            with np.load(self._path(key), allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def store(self, key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep the arrays of a key, in place of earlier ones."""
        path = self._path(key)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", suffix=".npz", delete=False) as file:
            try:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(file.name)
                raise

    def remove(self) -> None:
        """Delete the folder: the run is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{sha256(key.encode()).hexdigest()[:32]}.npz"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that others see the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise
