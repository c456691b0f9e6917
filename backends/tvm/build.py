"""From a group to its kernel's definition, with the template that takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import KernelDefinition, Schedule, template_for

if TYPE_CHECKING:
    from optc.targets.target import Target


def build_kernel(group: Group, target: Target, schedule: Schedule | None = None) -> KernelDefinition:
    """The kernel of a group at a point of its template's space; None: the template's first guess.

    Raises:
        ValueError: no template accepts the group.
    """
    template = template_for(group, target)
    if isinstance(template, str):
        raise ValueError(f"no template makes a kernel of this group: {template}")
    return template.build(group, schedule or template.space(group, target)[0], target)
