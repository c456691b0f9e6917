"""The stages of a group with several contractions, each as a group of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from optc.backends.tvm.group import Group
from optc.ir.clone import clone_operation
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ops.stages import StageOperations, chain


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        group: its operations; only the last stage may have several outputs.
        sources: for each input of `group`, the position of the block's input that it is, or None for what the stage
            before made.
    """

    group: Group
    sources: tuple[int | None, ...]


@lru_cache(maxsize=64)
def stages_of(group: Group) -> tuple[Stage, ...] | str:
    """The stages of a group, or why it has none (see `optc.ops.stages.chain`)."""
    found = chain(list(group.body), group.body.outputs)
    if isinstance(found, str):
        return found
    results = [None, *(stage.result for stage in found)]
    return tuple(_stage(group, stage, before) for stage, before in zip(found, results, strict=False))


def _stage(group: Group, stage: StageOperations, before: Value | None) -> Stage:
    read = dict.fromkeys(value for operation in stage.operations for value in operation.present_operands)
    operands = [value for value in read if value is before or value.owner is group.body]
    body = Graph("stage", [(value.name, value.type) for value in operands])
    mapping = dict(zip(operands, body.inputs, strict=True))
    for value in read:
        if value.producer is not None and value.producer.name == CONSTANT:
            mapping[value] = body.append(_copy(value.producer)).result
    for operation in stage.operations:
        body.append(clone_operation(operation, mapping))
    outputs = [stage.result] if stage.result is not None else list(group.body.outputs)
    body.set_outputs([mapping[value] for value in outputs], [value.name for value in outputs])
    sources = tuple(None if value is before else value.index for value in operands)
    constants = frozenset(i for i, source in enumerate(sources) if source in group.constants)
    return Stage(Group(body, constants), sources)


def _copy(constant: Operation) -> Operation:
    return clone_operation(constant, {})
