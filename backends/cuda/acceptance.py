"""Which templates make a group's kernel, kept in the cache: some build the code to decide, which takes TVM."""

from __future__ import annotations

import json

from optc import cache
from optc.backends.cuda import templates as _templates  # noqa: F401  (registers the templates)
from optc.backends.cuda.template import CudaTemplate
from optc.backends.cuda.workload import workload_key
from optc.backends.tvm.group import Group
from optc.targets.target import Target

KIND = "cuda-templates"


def accepting_templates(group: Group, target: Target) -> tuple[CudaTemplate, ...] | str:
    """What `CudaTemplate.accepting` finds for a group."""
    key = workload_key(group, target)
    entry = cache.get(KIND, key)
    if entry is not None:
        known: list[str] | str = json.loads(entry)
        return known if isinstance(known, str) else tuple(CudaTemplate.registry[name] for name in known)
    found = CudaTemplate.accepting(group, target)
    kept = found if isinstance(found, str) else [template.name for template in found]
    cache.put(KIND, key, json.dumps(kept).encode())
    return found
