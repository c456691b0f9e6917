"""Run what was compiled for another architecture in an emulator: its own library, or the same objects as a program."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optc.backends.host.link import link_program
from optc.backends.host.platform import POSIX, platform_of
from optc.runtime.emulated import EmulatedArtifact
from optc.targets.foreign import compiler_for
from optc.targets.target import Target

if TYPE_CHECKING:
    from optc.backends.host.launches import Launched


@dataclass(frozen=True)
class Linkable:
    """What a library was linked from: the entry point's source and the kernels' object files.

    Attributes:
        entry: the source.
        objects: the files.
        launched: a GPU's kernels, which one of the objects launches.
    """

    entry: str
    objects: Sequence[bytes]
    launched: Sequence[Launched] = ()


def why_not_emulated(target: Target, fallbacks: int) -> str | None:
    """Why no emulator of this machine can run code for a target; None where one can."""
    emulator = shlex.split(target.toolchain.get("emulator", ""))
    if not emulator:
        return f"there is no emulator for {target.name}"
    if not shutil.which(emulator[0]):
        return f"the emulator {emulator[0]} is not installed"
    if fallbacks:
        return "some regions need onnxruntime"
    return None


@contextlib.contextmanager
def emulated(folder: Path, linkable: Linkable, target: Target, threads: int) -> Iterator[EmulatedArtifact]:
    """The artifact in `folder`, ready to run in the target's emulator.

    Raises:
        OptcError: the program cannot be linked.
    """
    with tempfile.TemporaryDirectory(prefix="optc-program-") as temporary:
        platform = platform_of(target)
        program = Path(temporary) / platform.runner
        if platform is POSIX:
            program.write_bytes(link_program(linkable.entry, linkable.objects, compiler_for(target, static=True)))
        else:
            program.write_text(platform.runner_text())
        program.chmod(0o755)
        yield EmulatedArtifact(folder, [*shlex.split(target.toolchain["emulator"]), str(program)], threads)
