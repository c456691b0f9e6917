"""Computes once what is computed several times from the same operands."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import CONSTANT, Attribute, Graph, Module, Operation, Value
from optc.ir.literals import same_bits
from optc.ir.printer import ISOLATED
from optc.ops.declaration import declaration_of
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite.types import propagate_types, refined

Seen = dict[Hashable, list[Operation]]

_SAMPLE = 16  # elements of a constant that are hashed; equality is then checked in full


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Merge operations of the same kind, operands and attributes, and constants of the same bits.

    A nested graph may use what the graphs around it computed before. Random generators are never merged.
    """

    name: ClassVar[str] = "cse"

    def run(self, module: Module, context: PassContext) -> bool:
        return _merge(module.main, [])


def _merge(graph: Graph, outer: list[Seen]) -> bool:
    changed = False
    own: Seen = {}
    scopes = [own, *outer]
    for operation in graph:
        for nested in operation.graphs.values():
            changed = _merge(nested, [] if operation.name in ISOLATED else scopes) or changed
        if operation.graphs or not declaration_of(operation.name).deterministic:
            continue
        key = _key(operation)
        earlier = next((o for scope in scopes for o in scope.get(key, ()) if _same(o, operation)), None)
        if earlier is None:
            own.setdefault(key, []).append(operation)
            continue
        _replace(operation, earlier)
        changed = True
    return changed


def _replace(operation: Operation, earlier: Operation) -> None:
    sharper: list[Value] = []
    for old, new in zip(operation.results, earlier.results, strict=True):
        type = refined(new.type, old.type)
        if type != new.type:
            new.type = type
            sharper.append(new)
        old.replace_by(new)
    if operation.name != CONSTANT:
        earlier.location = earlier.location + operation.location
    assert operation.graph is not None
    operation.graph.erase(operation)
    propagate_types(sharper)


def _key(operation: Operation) -> Hashable:
    attributes = tuple((name, _attribute_key(value)) for name, value in sorted(operation.attributes.items()))
    return operation.name, tuple(map(id, operation.operands)), attributes, len(operation.results)


def _attribute_key(value: Attribute) -> Hashable:
    if isinstance(value, np.ndarray):
        sample = value.reshape(-1)[:: max(1, value.size // _SAMPLE)][:_SAMPLE]
        return value.dtype.str, value.shape, repr(sample) if value.dtype == object else sample.tobytes()
    if isinstance(value, (tuple, list)):
        return tuple(_attribute_key(item) for item in value)
    return type(value).__name__, repr(value)


def _same(earlier: Operation, operation: Operation) -> bool:
    """Whether operations of the same key are the same; only arrays are left to compare."""
    return all(
        same_bits(value, operation.attributes[name])  # type: ignore[arg-type]
        for name, value in earlier.attributes.items()
        if isinstance(value, np.ndarray)
    )
