"""Taking channels out of a graph."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from optc.ir.core import Module, Operation
from optc.ops.inference import infer_types
from optc.passes.simplify.dce import erase_dead
from optc.passes.structure.channels import channels_of


def remove_units(module: Module, units: Collection[int]) -> dict[Operation, np.ndarray]:
    """Take units of channels out of the main graph, in place; all types are inferred again.

    What reads a removed channel reads it no more, as if its weights for it were zero.

    Args:
        module: to change.
        units: of `channels_of`.

    Returns:
        which channels of its result each layer kept, where it lost some.

    Raises:
        ValueError: a unit must stay, or no channel would be left.
    """
    channels = channels_of(module.main)
    gone = set(units)
    if strange := gone - {unit for family in channels.families for unit in family.units}:
        raise ValueError(f"unit {min(strange)} cannot be removed")
    for family in channels.families:
        if len(gone.intersection(family.units)) == family.total:
            raise ValueError(f"no channel of {family.name} would be left")

    def kept(ids: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~np.isin(channels.units(ids), list(gone)))

    changed = [(item, places) for item in channels.slices if len(places := kept(item.ids)) < len(item.ids)]
    for item, places in changed:
        if len(places) == 0:
            raise ValueError(f"no channel of {item.operation.location} would be left")
    lost: dict[Operation, np.ndarray] = {}
    for item, places in changed:
        value = item.operation.operands[item.position]
        assert value is not None and value.constant is not None
        array = np.ascontiguousarray(np.take(value.constant, places, axis=item.axis))
        item.operation.set_operand(item.position, module.main.constant(array, value.name))
        if item.position == 1 and not item.reads:
            lost[item.operation] = places
    for operation, ids in channels.divisions:
        operation.attributes["group"] = len(kept(ids))
    for operation, entry, ids in channels.extents:
        target = operation.operands[1]
        assert target is not None and target.constant is not None
        array = target.constant.copy()
        array[entry] = len(kept(ids))
        operation.set_operand(1, module.main.constant(array, target.name))
    erase_dead(module.main)
    infer_types(module)
    return lost
