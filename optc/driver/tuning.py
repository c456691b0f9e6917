"""Measure schedules for a model without compiling it, and carry them from one machine to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optc import targets
from optc.backends.interface import Progress, Selection, silent
from optc.driver.compile import kernel_maker, plan, require_static_inputs, with_threads
from optc.driver.options import CompileOptions, check_threads, parse_budget
from optc.driver.program.lowering import FUSED, group_of
from optc.errors import UsageError
from optc.frontends import load_model

HOST = "cpu"


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
        kernels: those that the model spends most time in first.
    """

    name: str
    kernels: tuple[TunedKernel, ...]

    @property
    def untuned_seconds(self) -> float:
        """With the schedules that are best by prediction."""
        return sum(each.calls * each.selection.untuned.seconds for each in self.kernels)

    @property
    def seconds(self) -> float:
        """With the chosen schedules."""
        return sum(each.calls * each.selection.chosen.seconds for each in self.kernels)


def tune(
    model: Any,
    *,
    budget: str | float = "60s",
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    example_inputs: Any = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Measure schedules of a model's kernels on this machine, and keep them for its compiles.

    Args:
        budget: seconds, or text such as `60s`; more than 0.
        model, shapes, dims, example_inputs, threads, progress: as for `optc.compile`.

    Raises:
        ModelError: the model is invalid or cannot be compiled.
        UsageError: an option is wrong.
    """
    seconds = parse_budget(budget)
    if not seconds:
        raise UsageError(f"'{budget}' is no time to tune in", hint="give seconds, for instance --budget 60s")
    options = CompileOptions(
        shapes=dict(shapes or {}), dims=dict(dims or {}), threads=check_threads(threads), progress=progress
    )
    progress("importing", 0, 1)
    target = with_threads(targets.load(HOST), options.threads)
    backend = kernel_maker(target, options)
    assert backend is not None
    loaded = load_model(model, options.shapes or None, options.dims or None, example_inputs)
    require_static_inputs(loaded.module)
    plan(loaded.module, backend, target, options)
    fused = [operation for operation in loaded.module.walk() if operation.name == FUSED]
    made = backend.tune(
        list(map(group_of, fused)),
        target,
        budget=seconds,
        threads=options.threads or target.cores,
        progress=progress,
    )
    found: dict[int, TunedKernel] = {}
    for operation, selection in zip(fused, made, strict=True):
        if isinstance(selection, Selection):
            first = found.get(id(selection), TunedKernel(operation.location.nodes, 0, selection))
            found[id(selection)] = TunedKernel(first.nodes, first.calls + 1, selection)
    kernels = sorted(found.values(), key=lambda each: -each.calls * each.selection.chosen.seconds)
    return Tuned(loaded.name, tuple(kernels))


def export_schedules(path: Path) -> int:
    """Write this machine's schedules into a file; returns how many. Raises OptcError."""
    from optc.backends.tvm.tuning.exchange import write_schedules

    return write_schedules(path, targets.load(HOST))


def import_schedules(path: Path, *, force: bool = False) -> tuple[int, int]:
    """Merge a file of schedules into this machine's; returns how many it holds, and how many were taken.

    Raises:
        OptcError: the file is damaged, or for other code or, without `force`, other hardware.
    """
    from optc.backends.tvm.tuning.exchange import read_schedules

    merged = read_schedules(path, targets.load(HOST), force=force)
    return merged.schedules, merged.taken
