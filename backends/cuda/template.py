"""What a schedule template of the CUDA backend is, and the code that it makes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from optc.backends.cuda.kernel import Launch
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.registry import Schedule, ScheduleTemplate

if TYPE_CHECKING:
    from optc.targets.target import Target


@dataclass(frozen=True)
class Definition:
    """A group's code.

    Attributes:
        source: functions and what they need, without includes.
        launches: of the functions, in order.
        packings: by input position, for constant inputs that are not stored in their plain layout.
        scratch_bytes: extent of each scratch buffer.
        in_place: (input, output) positions that may have one address, as for Kernel.
    """

    source: str
    launches: tuple[Launch, ...]
    packings: Mapping[int, Packing] = field(default_factory=dict)
    scratch_bytes: tuple[int, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()


class CudaTemplate(ScheduleTemplate):
    """See ScheduleTemplate."""

    registry: ClassVar[dict[str, CudaTemplate]] = {}

    @abstractmethod
    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        """The code for one point; the names of its functions start with `symbol`."""

    @abstractmethod
    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        """Seconds on the whole device, by a model of this template on the target's figures."""
