"""A module cut in two: the halves as modules of their own, which share nothing but the weights' arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from optc.ir.captures import free_values
from optc.ir.clone import clone_operation
from optc.ir.core import Graph, Module, Operation, Value
from optc.passes.split.graph import operations_of


@dataclass(frozen=True)
class Cut:
    """Both halves of a module.

    Attributes:
        device: reads inputs of the model; None where the device computes nothing.
        server: reads the values that are sent; None where the server computes nothing.
        sent: values of the source module, under the names that both halves know them by.
        returned: outputs of the model that the server makes, likewise.
    """

    device: Module | None
    server: Module | None
    sent: tuple[tuple[str, Value], ...]
    returned: tuple[tuple[str, Value], ...]


def cut(module: Module, on_device: Collection[Operation]) -> Cut:
    """Split a module.

    Args:
        module: it is not changed.
        on_device: the operations of its main graph that run on the device. Constants go where they are read. An
            output that is an input or a constant is the device's, or the server's when the device computes nothing.
    """
    graph = module.main
    device = set(on_device)
    near = [operation for operation in operations_of(graph) if operation in device]
    far = [operation for operation in operations_of(graph) if operation not in device]
    names = _unique_names(graph)
    made_far = {result for operation in far for result in operation.results}
    outputs = list(zip(graph.output_names, graph.outputs, strict=True))
    idle = not near
    returned = [(name, value) for name, value in outputs if value in made_far or (idle and far)]
    kept = [(name, value) for name, value in outputs if (name, value) not in returned]
    read_far = dict.fromkeys(value for operation in far for value in free_values(operation))
    read_far.update(dict.fromkeys(value for _, value in returned))
    sent = [value for value in _ordered(graph, read_far) if value not in made_far]
    crossing = [(names[value], value) for value in sent if value.producer is not None]
    # A value that is an output as well crosses under its own name; one array may have two.
    near_outputs = [*kept, *(each for each in crossing if each[0] not in {name for name, _ in kept})]
    read_near = dict.fromkeys(value for operation in near for value in free_values(operation))
    read_near.update(dict.fromkeys(value for _, value in kept))
    near_inputs = [value for value in graph.inputs if value in read_near]
    device_half = server_half = None
    if near or kept:
        device_half = _half(module, "device", near, [(value.name, value) for value in near_inputs], near_outputs)
    if far:
        server_half = _half(module, "server", far, [(names[value], value) for value in sent], returned)
    else:
        sent = []
    return Cut(device_half, server_half, tuple((names[value], value) for value in sent), tuple(returned))


def _half(
    module: Module,
    side: str,
    operations: Sequence[Operation],
    inputs: Sequence[tuple[str, Value]],
    outputs: Sequence[tuple[str, Value]],
) -> Module:
    graph = Graph(module.main.name, [(name, value.type) for name, value in inputs])
    mapping = dict(zip((value for _, value in inputs), graph.inputs, strict=True))

    def available(value: Value) -> None:
        if value not in mapping and value.constant is not None:
            mapping[value] = graph.constant(value.constant, value.name)

    for operation in operations:
        for value in free_values(operation):
            available(value)
        graph.append(clone_operation(operation, mapping))
    for _, value in outputs:
        available(value)
    graph.set_outputs([mapping[value] for _, value in outputs], [name for name, _ in outputs])
    return Module(graph, f"{module.name}-{side}", dict(module.metadata))


def _ordered(graph: Graph, values: Collection[Value]) -> list[Value]:
    """Those of the values that are no constants: inputs first, then in the order in which they are made."""
    made = (result for operation in operations_of(graph) for result in operation.results)
    return [value for value in (*graph.inputs, *made) if value in values]


def _unique_names(graph: Graph) -> dict[Value, str]:
    """A name for each value that no other has: the user's where that is unique; outputs keep theirs."""
    named = {value: value.name for value in graph.inputs}
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        if value.producer is not None and not value.is_constant:
            named.setdefault(value, name)
    taken = set(named.values()) | set(graph.output_names)
    for operation in operations_of(graph):
        for value in operation.results:
            if value in named:
                continue
            name, number = value.name, 1
            while name in taken:
                name, number = f"{value.name}.{number}", number + 1
            named[value] = name
            taken.add(name)
    return named
