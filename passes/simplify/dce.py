"""Removes operations whose results nobody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Graph, Module
from optc.passes.base import Pass, PassContext


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Remove operations, constants included, whose results nobody reads, in nested graphs too."""

    name: ClassVar[str] = "dce"

    def run(self, module: Module, context: PassContext) -> bool:
        return erase_dead(module.main)


def erase_dead(graph: Graph) -> bool:
    """Remove the dead operations of a graph and of those nested in it; whether there were any."""
    changed = False
    for operation in reversed(graph):
        if not any(result.uses for result in operation.results):
            graph.erase(operation)
            changed = True
            continue
        for nested in operation.graphs.values():
            changed = erase_dead(nested) or changed
    return changed
