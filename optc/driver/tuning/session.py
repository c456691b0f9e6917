"""Tuning of models: what they would run is planned, what is not measured yet is measured, the rest is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optc.backends.interface import Progress, Selection, silent
from optc.driver.options import parse_budget
from optc.driver.tuning.planning import Planned, Unit, planned
from optc.errors import OptcError, UsageError
from optc.targets.library import HOST

Phase = Callable[[str, str], None]
"""Told what becomes of a unit: its name, and words."""

Measure = Callable[[Sequence[Planned], float, Phase], None]
"""Measures what is outstanding in the kernels of some units, in so many seconds."""


@dataclass(frozen=True)
class TunedKernel:
    """A distinct kernel of a model.

    Attributes:
        nodes: of the model that its first call computes.
        calls: in one run.
        selection: what was chosen for it.
    """

    nodes: tuple[str, ...]
    calls: int
    selection: Selection


@dataclass(frozen=True)
class Tuned:
    """A tuned model; seconds are those of its kernels on one core, one after the other.

    Attributes:
        name: of the model.
        target: what for.
        kernels: those that the model spends most time in first.
    """

    name: str
    target: str
    kernels: tuple[TunedKernel, ...]

    @property
    def untuned_seconds(self) -> float:
        """With the schedules that are best by prediction."""
        return sum(each.calls * each.selection.untuned.seconds for each in self.kernels)

    @property
    def seconds(self) -> float:
        """With the chosen schedules."""
        return sum(each.calls * each.selection.chosen.seconds for each in self.kernels)

    @property
    def timed(self) -> int:
        """How many kernels were measured."""
        return sum(each.selection.chosen.measured is not None for each in self.kernels)


def tune(
    model: Any,
    *,
    target: str = HOST,
    budget: str | float = "60s",
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    example_inputs: Any = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Measure schedules of a model's kernels on this machine, and keep them for its compiles.

    Args:
        target: a processor whose code runs here.
        budget: seconds, or text such as `60s`; more than 0.
        model, shapes, dims, example_inputs, threads, progress: as for `optc.compile`.

    Raises:
        ModelError: the model is invalid or cannot be compiled.
        UsageError: an option is wrong.
    """
    unit = Unit(model, target, shapes=shapes or {}, dims=dims or {}, example_inputs=example_inputs, threads=threads)
    return tune_unit(unit, budget, progress)


def tune_unit(unit: Unit, budget: str | float, progress: Progress = silent) -> Tuned:
    """See `tune`."""
    seconds = check_budget(budget)
    found = planned(unit, progress)
    measure_here([found], seconds, lambda _name, _text: None, progress)
    return tuned(found)


def tune_all(
    units: Sequence[Unit],
    *,
    budget: str | float,
    measure: Measure | None = None,
    phase: Phase = lambda _name, _text: None,
) -> list[Tuned | OptcError]:
    """Tune several models, each for a target; a kernel that some share is measured once.

    Args:
        units: of different names.
        budget: for all of them together.
        measure: where kernels are measured; None: here.
        phase: told what becomes of each unit.

    Returns:
        for each unit what was chosen, or why it cannot be tuned.

    Raises:
        UsageError: the budget is none, or nothing can be measured where it should be.
        OptcError: measuring failed; what was measured before is kept.
    """
    seconds = check_budget(budget)
    found: dict[str, Planned | OptcError] = {}
    for unit in units:
        phase(unit.name, "planning")
        try:
            found[unit.name] = planned(unit)
        except OptcError as fault:
            found[unit.name] = fault
            phase(unit.name, "failed")
            continue
        phase(unit.name, "waiting")
    fine = [each for each in found.values() if isinstance(each, Planned)]
    if fine:
        (measure or measure_here)(fine, seconds, phase)
    return [tuned(each) if isinstance(each, Planned) else each for each in found.values()]


def check_budget(budget: str | float) -> float:
    """Seconds to tune in. Raises UsageError when it is none or unlimited."""
    seconds = parse_budget(budget)
    if not seconds:
        raise UsageError(f"'{budget}' is no time to tune in", hint="give seconds, for instance --budget 60s")
    return seconds


def measure_here(units: Sequence[Planned], budget: float, phase: Phase, progress: Progress | None = None) -> None:
    """Measure on this machine, target by target, each with its part of the time that is left.

    Raises:
        UsageError: this machine does not run code for one of the targets.
    """
    from optc.backends.tvm.tuning import runs_here

    batches = list(by_target(units))
    for some in batches:
        if not runs_here(some[0].target):
            raise UsageError(
                f"this machine does not run code for '{some[0].target.name}'",
                where=f"--target {some[0].unit.target}",
                hint="--ray measures on the machines of a cluster",
            )
    end = time.monotonic() + budget
    for number, some in enumerate(batches):

        def tell(what: str, done: int, total: int, detail: str = "", /, some: Sequence[Planned] = some) -> None:
            for each in some:
                phase(each.unit.name, f"{what} {done}/{total}")

        left = max(0.0, end - time.monotonic()) / (len(batches) - number)
        groups = [group for each in some for group in each.groups]
        first = some[0]
        first.backend.tune(groups, first.target, budget=left, threads=first.threads, progress=progress or tell)


def by_target(units: Sequence[Planned]) -> Iterator[list[Planned]]:
    """The units by what their kernels are made for, in the order in which the targets come."""
    batches: dict[str, list[Planned]] = {}
    for each in units:
        batches.setdefault(repr((each.target, each.threads)), []).append(each)
    yield from batches.values()


def tuned(unit: Planned) -> Tuned:
    """What is chosen now for the kernels of a unit."""
    made = unit.backend.tune(unit.groups, unit.target, budget=0.0, threads=unit.threads)
    return Tuned(unit.name, unit.target.name, tuple(_kernels(unit, made)))


def _kernels(unit: Planned, made: Iterable[Selection | str]) -> list[TunedKernel]:
    found: dict[int, TunedKernel] = {}
    for operation, selection in zip(unit.fused, made, strict=True):
        if isinstance(selection, Selection):
            known = found.get(id(selection), TunedKernel(operation.location.nodes, 0, selection))
            found[id(selection)] = replace(known, calls=known.calls + 1)
    return sorted(found.values(), key=lambda each: -each.calls * each.selection.chosen.seconds)
