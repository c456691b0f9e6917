"""What a schedule template is, and the kernel that it makes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.registry import Schedule, ScheduleTemplate

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

    from optc.targets.target import Target


@dataclass(frozen=True)
class KernelDefinition:
    """A scheduled function whose buffer parameters are: the group's inputs, its outputs, then scratch buffers.

    Attributes:
        function: the scheduled TIR.
        packings: by input position, for constant inputs that are not stored in their plain layout.
        scratch_bytes: extent of each scratch parameter, in parameter order; they are given arena space.
    """

    function: PrimFunc
    packings: Mapping[int, Packing] = field(default_factory=dict)
    scratch_bytes: tuple[int, ...] = ()


class Template(ScheduleTemplate):
    """See ScheduleTemplate."""

    registry: ClassVar[dict[str, Template]] = {}

    @abstractmethod
    def space(self, group: Group, target: Target) -> list[Schedule]:
        """All legal points, best guess first; at least one."""

    @abstractmethod
    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        """The kernel for one point."""

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        """Seconds on one core by a simple model of this template; ranks the points before anything is measured."""
        return 0.0


@dataclass(frozen=True)
class Choice:
    """A template that accepts a group and a point of its space."""

    template: Template
    schedule: Schedule


def templates_for(group: Group, target: Target) -> tuple[Template, ...] | str:
    """See ScheduleTemplate.accepting."""
    return Template.accepting(group, target)


def template_for(group: Group, target: Target) -> Template | str:
    """The first of `templates_for`."""
    found = templates_for(group, target)
    return found if isinstance(found, str) else found[0]
