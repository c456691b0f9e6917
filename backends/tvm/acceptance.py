"""Which templates make a group's kernel, kept in the cache: some build the kernel to decide, which takes TVM."""

from __future__ import annotations

import json

from optc import cache
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Template, templates_for
from optc.targets.target import Target

KIND = "templates"


def accepting_templates(workload: str, group: Group, target: Target) -> tuple[Template, ...] | str:
    """What `templates_for` finds for a group.

    Args:
        workload: the group's `workload_key`, under which the answer is kept.
        group: may become one kernel.
        target: of the kernel.

    Returns:
        the templates that compete for the group, or the reason why there is none.
    """

    def find() -> bytes:
        found = templates_for(group, target)
        return json.dumps(found if isinstance(found, str) else [template.name for template in found]).encode()

    known: list[str] | str = json.loads(cache.made(KIND, workload, find))
    return known if isinstance(known, str) else tuple(Template.registry[name] for name in known)
