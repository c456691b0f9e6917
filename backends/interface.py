"""What a backend that makes native kernels offers the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from optc.ir.core import Operation

if TYPE_CHECKING:
    from optc.backends.c.kernel import CKernel
    from optc.backends.tvm.group import Group
    from optc.costmodel.interface import SchedulePredictor
    from optc.targets.target import Target


class Progress(Protocol):
    """Called with what is being done, how many steps are done, how many there are, and how it stands."""

    def __call__(self, what: str, done: int, total: int, detail: str = "", /) -> None: ...


def silent(what: str, done: int, total: int, detail: str = "", /) -> None:
    """The Progress that shows nothing."""


@dataclass(frozen=True)
class Option:
    """A way to make a kernel.

    Attributes:
        template: name of the schedule template.
        schedule: a point of its space.
        predicted: seconds on one core by the template's model.
        measured: seconds on one core of this host; None when it was not timed.
    """

    template: str
    schedule: tuple[tuple[str, int], ...]
    predicted: float
    measured: float | None = None

    @property
    def seconds(self) -> float:
        """The best that is known."""
        return self.predicted if self.measured is None else self.measured


@dataclass(frozen=True)
class Selection:
    """What was chosen for a kernel, and why.

    Attributes:
        chosen: what the kernel is made by.
        runner_up: the next best that works.
        untuned: what would have been chosen without measuring.
        points: how many ways there were.
        timed: how many of them were timed.
        reason: for people.
    """

    chosen: Option
    runner_up: Option | None
    untuned: Option
    points: int
    timed: int
    reason: str


@dataclass(frozen=True)
class Kernel:
    """A compiled group.

    Attributes:
        symbol: of the C function `int32_t symbol(void* input…, void* output…, void* scratch…)`.
        object_code: a relocatable object file that defines the symbol; equal kernels share one.
        pack: by input position, how a constant input is stored for this kernel, with a key that names the packing.
        scratch_bytes: extents of the scratch parameters.
        selection: the template and the point of its space.
        in_place: (input, output) positions that may have one address: of the input nothing is read after another
            element of the output was written in its place. Empty where the backend proves nothing.
    """

    symbol: str
    object_code: bytes
    selection: Selection
    pack: Mapping[int, tuple[str, Callable[[np.ndarray], np.ndarray]]] = field(default_factory=dict)
    scratch_bytes: tuple[int, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()

    @property
    def template(self) -> str:
        """The name of the schedule template."""
        return self.selection.chosen.template


class KernelBackend(Protocol):
    """A backend that compiles fused groups into plain C functions."""

    name: str
    emits: str
    """`objects`: compiled kernels, by `kernels`; `source`: C, see `SourceBackend`."""

    schedules: SchedulePredictor | None
    """Ranks schedules before any is measured; None: the backend's own estimates."""

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where the backend has native code for the operation on the target, else the reason why not."""

    def refuses(self, group: Group, target: Target) -> str | None:
        """None where some template can make the group one kernel, else the reason why none can."""

    def kernels(
        self,
        groups: Sequence[Group],
        target: Target,
        *,
        budget: float,
        threads: int,
        progress: Progress = silent,
        remeasure: bool = False,
    ) -> list[Kernel | str]:
        """Compile each group, in order; the reason where no template makes its kernel.

        Args:
            groups: what to compile; equal groups share a kernel.
            target: what for.
            budget: seconds that may go into measuring schedules on this host (0: none).
            threads: that the kernels will most likely run on.
            progress: shown to the user.
            remeasure: also measure for groups that an earlier budget did not reach.
        """

    def tune(
        self, groups: Sequence[Group], target: Target, *, budget: float, threads: int, progress: Progress = silent
    ) -> list[Selection | str]:
        """Measure schedules and keep them for later compiles, those that an earlier budget did not reach included.

        Arguments as for `kernels`. Returns what is chosen now for each group, or why no template makes its kernel.
        """


class SourceBackend(KernelBackend, Protocol):
    """A backend whose kernels are C source."""

    def kernel(self, fused: Operation, group: Group, target: Target, symbol: str) -> CKernel:
        """The kernel of a fused operation that `refuses` accepts; `symbol` names what is written for it alone."""
