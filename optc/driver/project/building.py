"""A build: what is fresh stays, the rest is compiled, failures are kept for the end, the lock says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optc.driver.options import parse_budget
from optc.driver.project.config import Project, Unit
from optc.driver.project.inputs import Inputs, artifact_digest, inputs_of, tools
from optc.driver.project.jobs import Outcome, Phase, compile_all
from optc.driver.project.records import LOCK, State, differences, lock_record, read_lock, write_json
from optc.errors import OptcError, UsageError

Runner = Callable[[Sequence[Unit], int, Phase, Callable[[Outcome], None]], list[Outcome]]
"""As `compile_all`."""


@dataclass
class Build:
    """What became of a build.

    Attributes:
        fresh: units that needed no compile.
        outcomes: of the others, in the order of the project.
    """

    fresh: list[Unit] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.code != 0]

    @property
    def code(self) -> int:
        """The exit code: that of the failures where they have one in common."""
        codes = {outcome.code for outcome in self.failures}
        return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def selected(project: Project, models: Sequence[str], target: str | None) -> list[Unit]:
    """The units of some models (all where none is named) for a target (all where it is None).

    Raises:
        UsageError: a name is unknown, or nothing is left.
    """
    known = list(dict.fromkeys(unit.model for unit in project.units))
    for name in models:
        if name not in known:
            raise UsageError(f"the project has no model '{name}'", where=str(project.file), hint=", ".join(known))
    found = [unit for unit in project.units if not models or unit.model in models]
    if target is not None:
        found = [unit for unit in found if target in (unit.target, unit.output.name)]
        if not found:
            raise UsageError(f"nothing is compiled for '{target}'", where=str(project.file))
    return found


def build(
    project: Project,
    units: Sequence[Unit],
    *,
    jobs: int,
    locked: bool = False,
    force: bool = False,
    phase: Phase = lambda _unit, _text: None,
    finished: Callable[[Outcome], None] = lambda _outcome: None,
    runner: Runner = compile_all,
) -> Build:
    """Compile the units whose inputs changed since their artifacts were made.

    Args:
        project: that the units are of.
        units: some of them.
        jobs: compiles at a time.
        locked: refuse to build from anything else than the lock file names.
        force: compile also what is fresh.
        phase: told what a compile does.
        finished: told how a compile ended.
        runner: runs the compiles.

    Raises:
        OptcError: a file cannot be read or written, or, with `locked`, something differs.
    """
    base = project.file.absolute().parent
    lock = base / LOCK
    versions = tools()
    inputs = {unit.name: inputs_of(unit, base) for unit in units}
    if locked:
        _check_lock(lock, versions, {unit.name: (inputs[unit.name], None) for unit in units}, units, project)
    state = State.read(project.output)
    result = Build()
    due: list[Unit] = []
    for unit in units:
        known = state.units.get(unit.name)
        current = (inputs[unit.name].digest(versions), artifact_digest(unit.output))
        if force or known is None or known != current:
            due.append(unit)
        else:
            result.fresh.append(unit)

    def note(outcome: Outcome) -> None:
        made = artifact_digest(outcome.unit.output) if outcome.code == 0 else None
        if made is not None:
            state.note(outcome.unit.name, inputs[outcome.unit.name].digest(versions), made)
        finished(outcome)

    result.outcomes = runner(due, jobs, phase, note) if due else []
    made = {
        unit.name: (inputs[unit.name], _repeatable_digest(unit))
        for unit in units
        if all(outcome.unit != unit for outcome in result.failures)
    }
    if locked:
        done = [unit for unit in units if unit.name in made]
        _check_lock(lock, versions, made, done, project)
    elif made:
        _update_lock(lock, versions, made, project)
    return result


def _repeatable_digest(unit: Unit) -> str | None:
    """The artifact's digest where any machine with the same target makes the same."""
    return artifact_digest(unit.output) if parse_budget(unit.tune) == 0.0 else None


def _check_lock(
    path: Path,
    versions: dict[str, str],
    found: dict[str, tuple[Inputs, str | None]],
    units: Sequence[Unit],
    project: Project,
) -> None:
    locked = read_lock(path)
    names = {unit.name for unit in units} | (set(locked["units"]) - {unit.name for unit in project.units})
    locked = {**locked, "units": {name: each for name, each in locked["units"].items() if name in names}}
    if lines := differences(locked, lock_record(versions, found)):
        hint = "optc build without --locked accepts what is here and writes the lock again"
        raise OptcError("the build differs from its lock", where=str(path), why="\n  ".join(lines), hint=hint)


def _update_lock(
    path: Path, versions: dict[str, str], made: dict[str, tuple[Inputs, str | None]], project: Project
) -> None:
    """Write the lock; units that were not built now keep what it says of them."""
    record = lock_record(versions, made)
    if path.exists():
        before = read_lock(path)["units"]
        kept = {unit.name: before[unit.name] for unit in project.units if unit.name in before}
        record["units"] = {**kept, **record["units"]}
    write_json(path, record)
