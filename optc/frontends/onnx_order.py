"""The order of a graph's nodes: every name defined once, read after it is defined."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

import onnx

from optc.errors import ModelError


def node_label(node: onnx.NodeProto, index: int) -> str:
    """The name by which errors and reports call a node."""
    return node.name or f"{node.op_type}_{index}"


def names_read(node: onnx.NodeProto) -> list[str]:
    """What a node reads: its inputs, and what its nested graphs read from around them."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for body in bodies:
            inside = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
            inside |= {tensor.values.name for tensor in body.sparse_initializer}
            inside |= {name for inner in body.node for name in inner.output}
            read = [name for inner in body.node for name in names_read(inner)]
            names += [name for name in (*read, *(value.name for value in body.output)) if name not in inside]
    return names


def ordered_nodes(
    nodes: Sequence[onnx.NodeProto], defined: Collection[str], label: str
) -> list[tuple[onnx.NodeProto, str]]:
    """The nodes with their labels, sorted so that each reads only what stands before it.

    Args:
        nodes: the nodes of one graph.
        defined: names of inputs and initializers, and those visible from graphs around it.
        label: the model, for errors.

    Raises:
        ModelError: a name is defined twice or not at all, or nodes read each other in a circle.
    """
    labelled = [(node, node_label(node, index)) for index, node in enumerate(nodes)]
    producer: dict[str, int] = {}
    for index, (node, name) in enumerate(labelled):
        for output in node.output:
            if not output:
                continue
            if output in producer:
                raise ModelError(
                    f"The name '{output}' is defined twice",
                    where=label,
                    why=f"by the nodes '{labelled[producer[output]][1]}' and '{name}'",
                    hint="Every value of an ONNX graph must have a name of its own; export the model again.",
                )
            producer[output] = index
    known = set(defined)
    needs: list[list[int]] = []
    for node, name in labelled:
        needed: list[int] = []
        for read in names_read(node):
            if read in producer:
                needed.append(producer[read])
            elif read not in known:
                raise _undefined(read, f"node '{name}' ({node.op_type})", (*producer, *known), label)
        needs.append(needed)
    if all(max(needed, default=-1) < index for index, needed in enumerate(needs)):
        return labelled
    return [labelled[index] for index in _sorted(needs, [name for _, name in labelled], label)]


def _undefined(name: str, reader: str, candidates: Collection[str], label: str) -> ModelError:
    near = get_close_matches(name, candidates, n=3)
    hint = f"Did the exporter mean '{near[0]}'?" if near else "The model was saved without this weight or input."
    return ModelError(
        f"The {reader} reads '{name}', which is no input, initializer or node output", where=label, hint=hint
    )


def _sorted(needs: Sequence[Sequence[int]], names: Sequence[str], label: str) -> list[int]:
    """Depth first, in the order of the file where it allows."""
    order: list[int] = []
    state = [0] * len(needs)  # 1: being visited, 2: done
    for root in range(len(needs)):
        stack: list[tuple[int, int]] = [(root, 0)]
        while stack:
            index, position = stack.pop()
            if state[index] == 2:
                continue
            state[index] = 1
            if position < len(needs[index]):
                stack.append((index, position + 1))
                following = needs[index][position]
                if state[following] == 1:
                    path = [i for i, _ in stack]
                    circle = path[path.index(following) :][::-1]
                    start = circle.index(min(circle))
                    circle = circle[start:] + circle[:start]
                    listed = " → ".join(f"'{names[i]}'" for i in (*circle, circle[0]))
                    raise ModelError(
                        "The graph has a cycle",
                        where=label,
                        why=f"these nodes read each other: {listed}",
                        hint="A loop must be written as a Loop node; export the model again.",
                    )
                if state[following] == 0:
                    stack.append((following, 0))
                continue
            state[index] = 2
            order.append(index)
    return order
