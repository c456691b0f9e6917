"""The kernels that a model's compile for a target would ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optc import targets
from optc.backends.interface import KernelBackend, Progress, silent
from optc.backends.tvm.group import Group
from optc.driver.compile import kernel_maker, plan, require_static_inputs, with_threads
from optc.driver.options import CompileOptions, check_threads
from optc.driver.program.lowering import FUSED, group_of
from optc.errors import UsageError
from optc.frontends import load_model
from optc.ir.core import Operation
from optc.targets.library import HOST
from optc.targets.target import Target


@dataclass(frozen=True)
class Unit:
    """A model for a target.

    Attributes:
        model: as for `optc.compile`.
        target: a name, or the path of a target file.
        name: for people; unlike those of the other units.
        shapes, dims, example_inputs, threads: as for `optc.compile`.
        cost_model, passes: what its compile is told.
    """

    model: Any
    target: str = HOST
    name: str = "model"
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    example_inputs: Any = None
    threads: int | None = None
    cost_model: str = "auto"
    passes: str | None = None


@dataclass(frozen=True)
class Planned:
    """A unit with its kernels.

    Attributes:
        unit: what was planned.
        name: of the model.
        target: with at least as many cores as the unit has threads.
        backend: makes the kernels.
        threads: that a run uses.
        fused: the operations that become kernels.
        groups: the same as the backend sees them.
    """

    unit: Unit
    name: str
    target: Target
    backend: KernelBackend
    threads: int
    fused: tuple[Operation, ...]
    groups: tuple[Group, ...]


def planned(unit: Unit, progress: Progress = silent) -> Planned:
    """Import a model and run the passes of its compile.

    Raises:
        ModelError: the model is invalid or cannot be compiled.
        UsageError: an option is wrong, or no schedules are measured for such targets.
    """
    options = CompileOptions(
        target=unit.target,
        shapes=unit.shapes,
        dims=unit.dims,
        threads=check_threads(unit.threads),
        cost_model=unit.cost_model,
        passes=unit.passes,
        progress=progress,
    )
    progress("importing", 0, 1)
    target = with_threads(targets.load(unit.target), options.threads)
    backend = kernel_maker(target, options)
    if backend is None or backend.emits != "objects":
        raise UsageError(
            f"schedules for '{target.name}' are not measured",
            where=f"--target {unit.target}",
            hint="optc tune is for processors that run the tvm backend's kernels",
        )
    loaded = load_model(unit.model, dict(unit.shapes) or None, dict(unit.dims) or None, unit.example_inputs)
    require_static_inputs(loaded.module)
    plan(loaded.module, backend, target, options)
    fused = tuple(operation for operation in loaded.module.walk() if operation.name == FUSED)
    threads = options.threads or target.cores
    return Planned(unit, loaded.name, target, backend, threads, fused, tuple(map(group_of, fused)))
