"""Structural equality of modules: the first difference in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from optc.ir.core import Attribute, Graph, Module, Operation, Value
from optc.ir.literals import float_text, same_bits


def equal(left: Module, right: Module, *, locations: bool = True) -> str | None:
    """The first difference of two modules, or None when they are equal.

    The names of the model's inputs and outputs count, those of other values and of graphs do not; neither does the
    order of attributes.

    Args:
        left: one module.
        right: the other.
        locations: whether the source locations count.
    """
    if left.name != right.name:
        return f"module names: '{left.name}' and '{right.name}'"
    if left.metadata != right.metadata:
        return f"module properties: {left.metadata} and {right.metadata}"
    names = [[value.name for value in module.main.inputs] for module in (left, right)]
    if names[0] != names[1]:
        return f"inputs: {names[0]} and {names[1]}"
    return _Comparison(locations).graphs(left.main, right.main, f"@{left.main.name}")


class _Comparison:
    def __init__(self, locations: bool) -> None:
        self.locations = locations
        self.partners: dict[Value, Value] = {}

    def graphs(self, left: Graph, right: Graph, where: str) -> str | None:
        types = [[str(value.type) for value in graph.inputs] for graph in (left, right)]
        if types[0] != types[1]:
            return f"{where}: inputs {types[0]} and {types[1]}"
        self.partners.update(zip(left.inputs, right.inputs, strict=True))
        if len(left) != len(right):
            return f"{where}: {len(left)} and {len(right)} operations"
        for position, (one, other) in enumerate(zip(left, right, strict=True)):
            if difference := self.operations(one, other, f"{where}, operation {position} ({one.name})"):
                return difference
        if left.output_names != right.output_names:
            return f"{where}: outputs {left.output_names} and {right.output_names}"
        return self.operands(left.terminator, right.terminator, f"{where}, return")

    def operations(self, left: Operation, right: Operation, where: str) -> str | None:
        if left.name != right.name:
            return f"{where}: {left.name} and {right.name}"
        if difference := self.operands(left, right, where):
            return difference
        if difference := _attributes(left.attributes, right.attributes):
            return f"{where}: {difference}"
        types = [[str(value.type) for value in operation.results] for operation in (left, right)]
        if types[0] != types[1]:
            return f"{where}: results {types[0]} and {types[1]}"
        if self.locations and left.location != right.location:
            return f"{where}: locations {left.location} and {right.location}"
        if list(left.graphs) != list(right.graphs):
            return f"{where}: nested graphs {list(left.graphs)} and {list(right.graphs)}"
        for name, graph in left.graphs.items():
            if difference := self.graphs(graph, right.graphs[name], f"{where} {name}"):
                return difference
        self.partners.update(zip(left.results, right.results, strict=True))
        return None

    def operands(self, left: Operation, right: Operation, where: str) -> str | None:
        if len(left.operands) != len(right.operands):
            return f"{where}: {len(left.operands)} and {len(right.operands)} operands"
        for position, (one, other) in enumerate(zip(left.operands, right.operands, strict=True)):
            if (None if one is None else self.partners.get(one)) is not other:
                return f"{where}: operand {position} differs (%{_name(one)} and %{_name(other)})"
        return None


def _name(value: Value | None) -> str:
    return "none" if value is None else value.name


def _attributes(left: Mapping[str, Attribute], right: Mapping[str, Attribute]) -> str | None:
    if left.keys() != right.keys():
        return f"attributes {sorted(left)} and {sorted(right)}"
    for name, value in left.items():
        if not same_attribute(value, right[name]):
            return f"attribute '{name}' differs: {_short(value)} and {_short(right[name])}"
    return None


def _short(value: Attribute) -> str:
    return f"an array {value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


def same_attribute(left: Attribute, right: Attribute) -> bool:
    """Whether two attributes are equal bit for bit, and of the same type."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and same_bits(left, right)
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same_attribute, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return float_text(left) == float_text(right)
    return type(left) is type(right) and left == right
