"""What the outputs of a group ask of the tile that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.group import Group
from optc.backends.tvm.templates import register_tile as tiles
from optc.ops.declaration import Kind, declaration_of
from optc.ops.restriction import RESTRICT

if TYPE_CHECKING:
    from optc.targets.target import Target

_CHEAP = frozenset(
    f"onnx.{name}" for name in ("Add", "Sub", "Mul", "Relu", "Clip", "Max", "Min", "Neg", "Identity")
) | {RESTRICT}


def channel_blocks(group: Group, axis: int = 1) -> list[int]:
    """The blocks along the channel axis in which the outputs are stored."""
    return [
        factor for value in group.body.outputs for blocked, factor in value.tensor_type.layout.blocks if blocked == axis
    ]


def padded_channels(group: Group, target: Target, axis: int = 1) -> int:
    """The channels that tiles cover: whole blocks of every output, and no vector below half the usual width."""
    assert group.anchor is not None
    channels = group.anchor.results[0].shape[axis]
    granule = max([*channel_blocks(group, axis), min(8, tiles.lanes_of(target))])
    return -(-channels // granule) * granule


def blocks_refusal(group: Group, target: Target) -> str | None:
    """Why the blocks of an output do not hold what is computed for it; None where they do."""
    assert group.anchor is not None
    channels, width = group.anchor.results[0].shape[1], padded_channels(group, target)
    if any(-(-channels // factor) * factor < width for factor in channel_blocks(group)):
        return "the blocks of an output are narrower than half a vector"
    return None


def granule(group: Group, lanes: int, axis: int = 1) -> int:
    """The most lanes that can be stored as one vector: those of the smallest block."""
    return min([lanes, *channel_blocks(group, axis)])


def rounding_refusal(group: Group) -> str | None:
    """Why a template that computes nothing beyond the logical elements cannot store the outputs."""
    for value in group.body.outputs:
        for axis, factor in value.tensor_type.layout.blocks:
            if value.shape[axis] % factor:
                return f"{value.shape[axis]} elements do not fill the blocks of an output"
    return None


def narrowest_block(group: Group, lanes: int) -> int:
    """The most lanes that can be stored as one vector whichever axis the outputs are blocked along."""
    return min([lanes, *(factor for value in group.body.outputs for _, factor in value.tensor_type.layout.blocks)])


def is_long(group: Group) -> bool:
    """Whether the code after the contraction is too long to be repeated for every column of a tile."""
    operations = [
        op for op in group.body if op is not group.anchor and declaration_of(op.name).kind is Kind.ELEMENTWISE
    ]
    return len(operations) > 6 or any(op.name not in _CHEAP for op in operations)
