"""What a backend that makes native kernels offers the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from optc.ir.core import Operation

if TYPE_CHECKING:
    from optc.backends.tvm.group import Group
    from optc.targets.target import Target

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """The Progress that shows nothing."""


@dataclass(frozen=True)
class Kernel:
    """A compiled group.

    Attributes:
        symbol: of the C function `int32_t symbol(void* input…, void* output…, void* scratch…)`.
        object_code: a relocatable object file that defines the symbol; equal kernels share one.
        pack: by input position, how a constant input is stored for this kernel, with a key that names the packing.
        scratch_bytes: extents of the scratch parameters.
        template: name of the schedule template, for reports.
        schedule: the chosen point of its space.
        predicted: seconds on one core by the template's model.
        measured: seconds on this host, when the candidates were timed.
        candidates: how many points the space has, and how many of them were timed.
    """

    symbol: str
    object_code: bytes
    pack: Mapping[int, tuple[str, Callable[[np.ndarray], np.ndarray]]] = field(default_factory=dict)
    scratch_bytes: tuple[int, ...] = ()
    template: str = ""
    schedule: tuple[tuple[str, int], ...] = ()
    predicted: float = 0.0
    measured: float | None = None
    candidates: tuple[int, int] = (1, 0)


class KernelBackend(Protocol):
    """A backend that compiles fused groups into plain C functions."""

    name: str

    def supports(self, operation: Operation, target: Target) -> str | None:
        """None where the backend has native code for the operation on the target, else the reason why not."""

    def refuses(self, group: Group, target: Target) -> str | None:
        """None where some template can make the group one kernel, else the reason why none can."""

    def kernels(
        self, groups: Sequence[Group], target: Target, *, budget: float, threads: int, progress: Progress = silent
    ) -> list[Kernel | str]:
        """Compile each group, in order; the reason where no template makes its kernel.

        Args:
            groups: what to compile; equal groups share a kernel.
            target: what for.
            budget: seconds that may go into measuring schedules on this host (0: none).
            threads: that the kernels will most likely run on.
            progress: shown to the user.
        """
