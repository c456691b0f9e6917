"""What schedule templates of all backends have in common: they are registered by being defined, and compete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from optc.backends.tvm.group import Group

if TYPE_CHECKING:
    from optc.targets.target import Target

Schedule = tuple[tuple[str, int], ...]  # the chosen point of a template's parameter space, sorted by name


class ScheduleTemplate(ABC):
    """A family of schedules for one shape of group. Registers itself by being defined with a `name`.

    Attributes:
        name: unique in its backend; part of what identifies a kernel.
        priority: of the templates that accept a group those with the highest priority compete.
        registry: of one backend, whose base of templates states it.
    """

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    registry: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            cls.registry[cls.name] = cls()

    @abstractmethod
    def refuses(self, group: Group, target: Target) -> str | None:
        """None when the template can make this group's kernel, else the reason."""

    @abstractmethod
    def space(self, group: Group, target: Target) -> list[Schedule]:
        """All legal points; at least one."""

    @classmethod
    def accepting(cls, group: Group, target: Target) -> tuple[Self, ...] | str:
        """Of the templates that accept the group all with the highest priority, or why the last one refused."""
        reason = "no template is registered"
        accepting: list[Self] = []
        for template in sorted(cls.registry.values(), key=lambda each: -each.priority):
            if accepting and template.priority < accepting[0].priority:
                break
            refusal = template.refuses(group, target)
            if refusal is None:
                accepting.append(template)
            reason = f"{template.name}: {refusal}"
        return tuple(accepting) or reason
