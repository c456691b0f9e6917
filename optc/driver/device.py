"""Run and measure an artifact on a device: its program, linked for that device, and its numbers compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optc.artifact.manifest import Manifest
from optc.artifact.reading import ArtifactFiles, read
from optc.artifact.writing import LIBRARY
from optc.backends.host.link import link_runner, link_server
from optc.errors import OptcError, UsageError, VerificationFailed
from optc.program import TensorInfo
from optc.runtime.device.artifact import RETRIES, TIMEOUT, DeviceArtifact
from optc.runtime.device.description import Device
from optc.runtime.verify import Verification, verify
from optc.targets import library
from optc.targets.foreign import compiler_for
from optc.targets.host import detect
from optc.toolchain import Compiler, find_compiler


def on_device(
    folder: str | Path,
    device: Device,
    threads: int | None = None,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> DeviceArtifact:
    """The artifact, ready to run on a device; arguments as of `DeviceArtifact`.

    Raises:
        OptcError: there is no artifact, it cannot run on a device by itself, or no compiler for the device is there.
    """
    files = read(folder, check_host=False)
    _check(files)
    runner = link_runner(files.folder / LIBRARY, _compiler(files.manifest), "$ORIGIN")
    return DeviceArtifact(files, device, runner, threads, timeout, retries)


def server_program(target: str) -> bytes:
    """The server of `optc device add --rpc`, for a target of Linux.

    Raises:
        UsageError: there is no such target, or it has no Linux.
        OptcError: no compiler for it is there, or it fails.
    """
    chosen = library.load(target)
    triple = str(library.host_of(chosen).llvm.get("mtriple", "linux"))
    if "linux" not in triple:
        raise UsageError("the server needs Linux", where=f"--target {target}", why=f"its system is {triple}")
    return link_server(compiler_for(chosen, static=True))


def compared(
    artifact: DeviceArtifact,
    outputs: Mapping[str, np.ndarray],
    reference: str,
    inputs: Mapping[str, Any],
    tolerance: float,
) -> Verification:
    """Compare what a device computed with the source model.

    Raises:
        VerificationFailed: an output differs by more than the tolerance.
        ModelError: onnxruntime refuses the reference.
    """
    found = verify(_Computed(artifact.inputs, artifact.outputs, outputs), reference, inputs, tolerance=tolerance)
    if not found.passed:
        worst = found.worst
        raise VerificationFailed(
            f"output '{worst.name}' of the device '{artifact.device.name}' differs from the reference",
            where=artifact.device.place,
            why=f"relative error {worst.relative:.2e}, tolerance {tolerance:g}",
        )
    return found


@dataclass(frozen=True)
class _Computed:
    """Outputs that are there already, to be verified."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    values: Mapping[str, np.ndarray]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return dict(self.values)


def _check(files: ArtifactFiles) -> None:
    what, where = "the artifact cannot run on a device by itself", str(files.folder)
    if LIBRARY not in files.manifest.files:
        raise OptcError(what, where=where, why=f"it has no {LIBRARY}: it is for {files.manifest.target}")
    if files.manifest.fallbacks:
        hint = "optc explain names them, and why"
        raise OptcError(what, where=where, why="regions of it need onnxruntime", hint=hint)
    for info in (*files.program.inputs, *files.program.outputs):
        if info.shape is None or None in info.shape:
            why = f"only the run decides the shape of '{info.name}'"
            raise OptcError(what, where=where, why=why, hint="compile the model with --shape or --dim")


def _compiler(manifest: Manifest) -> Compiler:
    if manifest.host.architecture == detect().architecture:
        return find_compiler()
    return compiler_for(library.load(manifest.target))
