"""A folder that is written beside its place, and put there when all went well."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from optc.artifact.split_record import LOCAL, RECORD, REMOTE
from optc.errors import OptcError


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden folder that takes the place of `output`.

    Raises:
        OptcError: `output` is something else than a split model, or cannot be written.
    """
    destination = Path(os.path.realpath(output))
    if destination.exists() and not (destination.is_dir() and _is_replaceable(destination)):
        raise OptcError(
            "the output folder exists and is no split model",
            where=str(output),
            hint="choose another output folder, or remove it yourself",
        )
    staging = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.partial"
    retired = staging.with_suffix(".retired")
    try:
        staging.mkdir(parents=True)
        yield staging
        if destination.exists():
            os.rename(destination, retired)
        os.rename(staging, destination)
    except OSError as fault:
        if retired.exists() and not destination.exists():
            os.rename(retired, destination)
        raise OptcError("the split model cannot be written", where=str(output), why=fault.strerror) from fault
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def _is_replaceable(folder: Path) -> bool:
    """Whether a folder is empty, or holds what `build_split` writes and nothing else."""
    present = {entry.name for entry in folder.iterdir()}
    return not present or (RECORD in present and present <= {RECORD, LOCAL, REMOTE, "cuts"})
