"""Run an artifact of another architecture under an emulator."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optc.artifact.reading import read
from optc.errors import OptcError
from optc.program import TensorInfo
from optc.runtime.arrays import pack, unpack

_LONGEST_RUN = 600.0  # seconds


class EmulatedArtifact:
    """A compiled model whose every run is a process of its own, slow but exact.

    Attributes:
        inputs, outputs: the model's interface.
        folder: the artifact's.
        command: the words that start its program.
    """

    def __init__(self, folder: Path, command: Sequence[str], threads: int = 1) -> None:
        """Take an artifact, the words that start its program in the emulator, and the threads of a run."""
        program = read(folder, check_host=False).program
        self.inputs: tuple[TensorInfo, ...] = program.inputs
        self.outputs: tuple[TensorInfo, ...] = program.outputs
        self.folder, self.command, self._threads = folder, tuple(command), threads

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Compute the outputs; arguments and result as of `Artifact.run`.

        Raises:
            UsageError: an input is missing, unknown, or of another type or shape.
            OptcError: the emulator or the program fails, or takes longer than ten minutes.
        """
        packed = pack(inputs, self.inputs)
        with tempfile.TemporaryDirectory(prefix="optc-emulated-") as temporary:
            given, written = Path(temporary) / "inputs", Path(temporary) / "outputs"
            given.write_bytes(packed)
            self._call([str(self.folder), str(given), str(written), str(self._threads)])
            content = written.read_bytes()
        return unpack(content, self.outputs)

    def _call(self, arguments: list[str]) -> None:
        command = [*self.command, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST_RUN)
        except (OSError, subprocess.TimeoutExpired) as fault:
            raise OptcError(f"the emulator '{self.command[0]}' cannot run the model", why=str(fault)) from fault
        if done.returncode != 0:
            why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise OptcError(f"the model fails in the emulator '{self.command[0]}'", why=why[0])
