"""Compiles of a project on a Ray cluster: files go to the workers, artifacts come back; nothing else is shared."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from optc import artifact
from optc.artifact.manifest import MANIFEST, files_in, is_file_name
from optc.driver.artifacts.depfile import sources_of
from optc.driver.cluster import cluster, spread
from optc.driver.project.config import Unit
from optc.driver.project.jobs import Outcome, Phase, compile_unit
from optc.errors import OptcError

Files = Mapping[str, bytes]


def compile_on_ray(
    units: Sequence[Unit],
    jobs: int,
    phase: Phase,
    finished: Callable[[Outcome], None],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> list[Outcome]:
    """As `compile_all`, on as many processors as the cluster has, or `workers`; `jobs` says nothing there.

    Raises:
        OptcError: the cluster cannot be reached, or a file cannot be read or written.
    """
    outcomes: dict[int, Outcome] = {}

    def tasks() -> Iterator[tuple[Unit, dict[str, bytes]]]:
        for unit in units:
            phase(unit, "sent to the cluster")
            sources = sources_of(unit.file, unit.target, unit.data)
            yield unit, {str(path): path.read_bytes() for path in sources}

    with cluster(address, workers) as ray:
        for number, (outcome, files) in spread(ray, compile_apart, tasks(), most=workers):
            outcomes[number] = replace(outcome, unit=units[number])
            if outcome.code == 0:
                place(units[number].output, files)
            finished(outcomes[number])
    return [outcomes[number] for number in sorted(outcomes)]


def compile_apart(unit: Unit, files: Files) -> tuple[Outcome, dict[str, bytes]]:
    """Compile a unit from the contents of its files, by absolute path; returns those of the artifact, by name."""
    with tempfile.TemporaryDirectory(prefix="optc-job-") as temporary:
        root = Path(temporary) / "files"

        def moved(path: str) -> str:
            return str(root / os.path.relpath(path, os.sep))

        for path, content in files.items():
            there = Path(moved(path))
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(content)
        here = replace(
            unit,
            file=Path(moved(str(unit.file))),
            target=moved(unit.target) if os.path.isabs(unit.target) else unit.target,
            output=Path(temporary) / "artifact",
            options=tuple(moved(word) if os.path.isabs(word) else word for word in unit.options),
        )
        outcome = compile_unit(here)
        found = files_in(here.output) if outcome.code == 0 else []
        return outcome, {name: (here.output / name).read_bytes() for name in found}


def place(output: Path, files: Files) -> None:
    """Check an artifact that was compiled elsewhere and write it as a whole. Raises OptcError."""
    for name in files:
        if name != MANIFEST and not is_file_name(name):
            raise OptcError("a worker sent a file with a name that no artifact holds", where=str(output), why=name)
    with artifact.stage(output) as staging:
        for name, content in files.items():
            (staging.folder / name).parent.mkdir(exist_ok=True)
            (staging.folder / name).write_bytes(content)
        listed = {MANIFEST, *artifact.read(staging.folder, check_host=False).manifest.files}
        if others := sorted(set(files) - listed):
            raise OptcError("a worker sent files that no manifest lists", where=str(output), why=", ".join(others[:4]))
        staging.commit()
