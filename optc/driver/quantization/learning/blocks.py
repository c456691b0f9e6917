"""The parts of a network that learn together: what lies between two values that all data pass through.

The blocks of Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction" (2021), found
in the graph instead of named by the user: for residual networks they are the residual blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from optc.driver.quantization.learning.operators import differentiable
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.passes.quantization.sites import ABSORBED, tail


@dataclass(frozen=True)
class Block:
    """Operations that are computed together.

    Attributes:
        operations: in order of execution.
        reads: the values that they read and do not compute, constants left out.
        gives: the values that later operations or the model's outputs read.
        learns: whether a layer's rounding is learned in it.
    """

    operations: tuple[Operation, ...]
    reads: tuple[Value, ...]
    gives: tuple[Value, ...]
    learns: bool


def blocks_of(graph: Graph, layers: Collection[Operation]) -> list[Block]:
    """All operations of a graph in blocks, in order of execution.

    Args:
        graph: of the model.
        layers: the operations whose rounding is learned. Where gradients cannot pass from a block's results to each of
            them, the block is divided into layers.
    """
    operations = [operation for operation in graph if operation.name != CONSTANT]
    after = _after(operations, layers)
    parts: list[list[Operation]] = [[]]
    here: set[Operation] = set()
    live: dict[Value, None] = {}
    for operation in operations:
        parts[-1].append(operation)
        here.add(operation)
        live.update((value, None) for value in operation.results if value in after)
        live = {value: None for value in live if _read_outside(value, here)}
        # What an activation is about to cut off does not count as an error.
        ends = len(live) == 1 and all(tail(value) is value for value in live)
        if ends and any(each in layers for each in parts[-1]):
            parts.append([])
    divided = [piece for part in parts if part for piece in _divided(part, layers)]
    # What follows the last layer belongs to it: the outputs are what counts.
    if len(divided) > 1 and not any(each in layers for each in divided[-1]):
        divided[-2:] = [divided[-2] + divided[-1]]
    return [_block(part, layers) for part in divided]


def _after(operations: Sequence[Operation], layers: Collection[Operation]) -> dict[Value, None]:
    """The values that depend on a layer."""
    found: dict[Value, None] = {}
    for operation in operations:
        if operation in layers or any(value in found for value in operation.present_operands):
            found.update(dict.fromkeys(operation.results))
    return found


def _read_outside(value: Value, operations: Collection[Operation]) -> bool:
    """Whether an operation that is not among these reads a value, be it the graph's terminator."""
    return any(user not in operations for user in value.users)


def _divided(part: list[Operation], layers: Collection[Operation]) -> list[list[Operation]]:
    """A part as it is, or each layer with its activation where something in between has no gradient."""
    seen = False
    for operation in part:
        if seen and not differentiable(operation):
            break
        seen = seen or operation in layers
    else:
        return [part]
    pieces: list[list[Operation]] = [[]]
    for operation in part:
        follows = pieces[-1] and pieces[-1][-1] in layers and operation.name in ABSORBED
        if pieces[-1] and any(each in layers for each in pieces[-1]) and not follows:
            pieces.append([])
        if operation in layers and pieces[-1]:
            pieces.append([])
        pieces[-1].append(operation)
    return pieces


def _block(part: Sequence[Operation], layers: Collection[Operation]) -> Block:
    inside = set(part)
    reads = [
        value
        for operation in part
        for value in operation.present_operands
        if not value.is_constant and value.producer not in inside
    ]
    gives = [value for operation in part for value in operation.results if _read_outside(value, inside)]
    learns = any(operation in layers for operation in part)
    return Block(tuple(part), tuple(dict.fromkeys(reads)), tuple(gives), learns)
