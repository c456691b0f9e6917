"""What a schedule template of the CUDA backend is, and the code that it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from optc.backends.cuda.kernel import Launch
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing

if TYPE_CHECKING:
    from optc.targets.target import Target

Schedule = tuple[tuple[str, int], ...]  # the chosen point of a template's space, sorted by name


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


class CudaTemplate(ABC):
    """A family of schedules for one shape of group. Registers itself by being defined with a `name`.

    Attributes:
        name: unique; part of what identifies a kernel.
        priority: of the templates that accept a group those with the highest priority compete.
    """

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    registry: ClassVar[dict[str, CudaTemplate]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            CudaTemplate.registry[cls.name] = cls()

    @abstractmethod
    def refuses(self, group: Group, target: Target) -> str | None:
        """None when the template can make this group's kernel, else the reason."""

    @abstractmethod
    def space(self, group: Group, target: Target) -> list[Schedule]:
        """All legal points; at least one."""

    @abstractmethod
    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        """The code for one point; the names of its functions start with `symbol`."""

    @abstractmethod
    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        """Seconds on the whole device, by a model of this template on the target's figures."""


def templates_for(group: Group, target: Target) -> tuple[CudaTemplate, ...] | str:
    """Of the templates that accept the group all with the highest priority, or why the last one refused."""
    reason = "no template is registered"
    accepting: list[CudaTemplate] = []
    for template in sorted(CudaTemplate.registry.values(), key=lambda each: -each.priority):
        if accepting and template.priority < accepting[0].priority:
            break
        refusal = template.refuses(group, target)
        if refusal is None:
            accepting.append(template)
        reason = f"{template.name}: {refusal}"
    return tuple(accepting) or reason
