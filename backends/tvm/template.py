"""What a schedule template is, and the kernel that it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

    from optc.targets.target import Target

Schedule = tuple[tuple[str, int], ...]  # the chosen point of a template's parameter space, sorted by name


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


class Template(ABC):
    """A family of schedules for one shape of group. Registers itself by being defined with a `name`.

    Attributes:
        name: unique; part of the schedule database's key.
        priority: of the templates that accept a group those with the highest priority compete.
    """

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    registry: ClassVar[dict[str, Template]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            Template.registry[cls.name] = cls()

    @abstractmethod
    def refuses(self, group: Group, target: Target) -> str | None:
        """None when the template can make this group's kernel, else the reason."""

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
    """Of the templates that accept the group all with the highest priority, or why the last one refused."""
    reason = "no template is registered"
    accepting: list[Template] = []
    for template in sorted(Template.registry.values(), key=lambda each: -each.priority):
        if accepting and template.priority < accepting[0].priority:
            break
        refusal = template.refuses(group, target)
        if refusal is None:
            accepting.append(template)
        reason = f"{template.name}: {refusal}"
    return tuple(accepting) or reason


def template_for(group: Group, target: Target) -> Template | str:
    """The first of `templates_for`."""
    found = templates_for(group, target)
    return found if isinstance(found, str) else found[0]
