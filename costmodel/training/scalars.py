"""Named numbers along a training run, for TensorBoard where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optc.errors import OptcError


class Scalars:
    """Writes TensorBoard's event files into a folder; without a folder, nothing.

    Args:
        folder: where the event files go.

    Raises:
        OptcError: a folder is given but TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._writer: Any = None
        if folder is not None:
            try:
                from tensorboard.summary import Writer
            except ImportError as error:
                hint = "pip install 'optc[train]'"
                raise OptcError("TensorBoard is not installed", where="--tensorboard", hint=hint) from error
            self._writer = Writer(str(folder))

    def add(self, name: str, value: float, step: int) -> None:
        """One point of a curve."""
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()
