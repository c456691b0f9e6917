"""Which operations can work on channel blocks, and what that asks of each of their operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of
from optc.ops.restriction import RESTRICT
from optc.ops.views import parts

CHANNEL_AXIS = 1
RANK = 4
MAX_WASTE = 0.35  # share of the stored channels that may be rounding


class Port(Enum):
    """What an operation asks of the layout of one operand."""

    FOLLOWS = "follows"  # the layout of the results
    OWN = "own"  # blocked or plain, independent of the results
    ANY = "any"  # read by logical indices, whatever the layout
    PLAIN = "plain"


@dataclass(frozen=True)
class Rule:
    """What blocking means for one operation.

    Attributes:
        ports: one for each operand.
        refusal: None when the results may be blocked, else the reason why they stay plain.
    """

    ports: tuple[Port, ...]
    refusal: str | None


# What these compute is finite for finite operands, so that the lanes that round up a blocked axis stay harmless.
KEEPS_LANES_FINITE = frozenset(
    "onnx." + name
    for name in (
        "Conv ConvTranspose Add Sub Mul Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Swish Tanh Erf Gelu Elu"
        " Max Min Neg Abs Identity MaxPool AveragePool GlobalAveragePool GlobalMaxPool Resize Concat Split Pad Slice"
        " Transpose ConvInteger QuantizeLinear DequantizeLinear Cast"
    ).split()
) | {RESTRICT}

# Activations of quantized models, and the sums that become them.
_INTEGERS = frozenset({"u8", "i8", "i32"})


def blockable_type(value: Value, block: int) -> str | None:
    """None when the value's channels may be stored in blocks, else the reason why not."""
    type = value.type
    if not isinstance(type, TensorType) or not type.is_static:
        return "the shape is not static"
    if type.rank != RANK:
        return f"rank {type.rank} is not {RANK}"
    if not type.dtype.is_float and type.dtype.name not in _INTEGERS:
        return f"elements are {type.dtype}"
    channels = type.static_shape[CHANNEL_AXIS]
    waste = 1 - channels / (-(-channels // block) * block) if channels else 1.0
    if waste > MAX_WASTE:
        return f"{channels} channels would waste {waste:.0%} of blocks of {block}"
    return None


def rule_of(operation: Operation, block: int) -> Rule:
    """The rule of an operation for channel blocks of `block`."""
    kind = declaration_of(operation.name).kind
    special = _RULES.get(operation.name)
    if operation.graphs:
        rule = _plain(operation, "it holds graphs")
    elif special is not None:
        rule = special(operation, block)
    elif kind is Kind.ELEMENTWISE:
        rule = _elementwise(operation, block)
    elif kind is Kind.MOVEMENT:
        rule = Rule((Port.ANY,) * len(operation.operands), "it moves elements across channels")
    else:
        rule = _plain(operation, f"{operation.name} works on plain tensors")
    return Rule(rule.ports, rule.refusal or _type_refusal(operation, block))


def _type_refusal(operation: Operation, block: int) -> str | None:
    for result in operation.results:
        refusal = blockable_type(result, block)
        if refusal is not None:
            return refusal
        if result.shape[CHANNEL_AXIS] % block and operation.name not in KEEPS_LANES_FINITE:
            return f"{operation.name} could make the rounding of {result.shape[CHANNEL_AXIS]} channels infinite"
    return None


def _plain(operation: Operation, reason: str) -> Rule:
    return Rule((Port.PLAIN,) * len(operation.operands), reason)


def _first(port: Port, operation: Operation) -> tuple[Port, ...]:
    """`port` for the first operand; the rest are weights and parameters, read as they are."""
    return (port,) + (Port.ANY,) * (len(operation.operands) - 1)


def _elementwise(operation: Operation, block: int) -> Rule:
    shape = operation.results[0].tensor_type.shape
    ports = []
    for operand in operation.operands:
        type = operand.type if operand is not None else None
        same = isinstance(type, TensorType) and type.shape == shape
        ports.append(Port.FOLLOWS if same and operand is not None and not operand.is_constant else Port.ANY)
    return Rule(tuple(ports), None)


def _convolution(operation: Operation, block: int) -> Rule:
    weight = operation.operands[1]
    groups = operation.attributes.get("group", 1)
    if weight is None or not weight.is_constant:
        return _plain(operation, "the weights are not constant")
    if groups == 1:
        return Rule(_first(Port.OWN, operation), None)
    data, result = operation.operands[0], operation.results[0]
    channels = data.tensor_type.shape[CHANNEL_AXIS] if data is not None and data.tensor_type.shape else None
    if groups == channels == (result.tensor_type.shape or (0, 0))[CHANNEL_AXIS]:
        return Rule(_first(Port.FOLLOWS, operation), None)
    return _plain(operation, f"{groups} groups of several channels")


def _transposed_convolution(operation: Operation, block: int) -> Rule:
    if operation.attributes.get("group", 1) != 1:
        return _plain(operation, "more than one group")
    return _convolution(operation, block)


def _window(operation: Operation, block: int) -> Rule:
    if len(operation.results) > 1 and operation.results[1].uses:
        return _plain(operation, "it also returns indices")
    return Rule(_first(Port.FOLLOWS, operation), None)


def _reduction(operation: Operation, block: int) -> Rule:
    axes = _integers(operation, 1, "axes")
    if operation.attributes.get("keepdims", 1) == 1 and axes is not None and axes:
        if CHANNEL_AXIS not in {axis % RANK for axis in axes}:
            return Rule(_first(Port.FOLLOWS, operation), None)
    return _plain(operation, "it reduces channels or drops axes")


def _resize(operation: Operation, block: int) -> Rule:
    source, result = operation.operands[0], operation.results[0]
    if source is None or (source.tensor_type.shape or ())[:2] != (result.tensor_type.shape or ())[:2]:
        return _plain(operation, "it resizes channels")
    return Rule(_first(Port.FOLLOWS, operation), None)


def _along_channels(operation: Operation, block: int, parts: list[Value]) -> bool:
    """Whether it joins or splits channels where no block would be cut."""
    return all(part.tensor_type.is_static and part.shape[CHANNEL_AXIS] % block == 0 for part in parts)


def _concat(operation: Operation, block: int) -> Rule:
    axis = int(operation.attributes["axis"]) % RANK  # type: ignore[arg-type]
    if axis == CHANNEL_AXIS and not _along_channels(operation, block, operation.present_operands[:-1]):
        # What plain parts can lie in needs no kernel; what gathers blocked parts reads them as they are.
        port = Port.PLAIN if parts(operation) else Port.ANY
        return Rule((port,) * len(operation.operands), f"a part is no multiple of {block} channels")
    return Rule((Port.FOLLOWS,) * len(operation.operands), None)


def _split(operation: Operation, block: int) -> Rule:
    axis = int(operation.attributes.get("axis", 0)) % RANK  # type: ignore[arg-type]
    if axis == CHANNEL_AXIS and not _along_channels(operation, block, list(operation.results)):
        return Rule(_first(Port.ANY, operation), f"a part is no multiple of {block} channels")
    return Rule(_first(Port.FOLLOWS, operation), None)


def _slice(operation: Operation, block: int) -> Rule:
    starts, axes = _integers(operation, 1), _integers(operation, 3)
    steps = _integers(operation, 4)
    elsewhere = Rule(_first(Port.ANY, operation), "it takes channels out of blocks")
    if starts is None or (operation.operand(3) is not None and axes is None):
        return elsewhere
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = steps if steps is not None else (1,) * len(starts)
    for start, axis, step in zip(starts, axes, steps, strict=True):
        if axis % RANK == CHANNEL_AXIS and (start < 0 or start % block or step != 1):
            return elsewhere
    return Rule(_first(Port.FOLLOWS, operation), None)


def _pad(operation: Operation, block: int) -> Rule:
    source, result = operation.operands[0], operation.results[0]
    if source is None or (source.tensor_type.shape or ())[:2] != (result.tensor_type.shape or ())[:2]:
        return Rule(_first(Port.ANY, operation), "it pads channels")
    return Rule(_first(Port.FOLLOWS, operation), None)


def _integers(operation: Operation, position: int, attribute: str | None = None) -> tuple[int, ...] | None:
    """A constant list of ints given as an operand or, in old opsets, as an attribute; None when it is neither."""
    operand = operation.operand(position)
    if operand is not None:
        array = operand.constant
        return None if array is None else tuple(int(each) for each in np.ravel(array))
    found = operation.attributes.get(attribute) if attribute else None
    return tuple(int(each) for each in found) if isinstance(found, tuple) else None  # type: ignore[arg-type]


def _transpose(operation: Operation, block: int) -> Rule:
    """It writes any layout, and reads any by logical indices."""
    return Rule((Port.ANY,), None)


def _view(operation: Operation, block: int) -> Rule:
    return _plain(operation, "it renames axes of plain tensors")


_RULES: dict[str, Callable[[Operation, int], Rule]] = {
    "onnx.Conv": _convolution,
    "onnx.ConvInteger": _convolution,
    "onnx.ConvTranspose": _transposed_convolution,
    "onnx.MaxPool": _window,
    "onnx.AveragePool": _window,
    "onnx.GlobalAveragePool": _window,
    "onnx.GlobalMaxPool": _window,
    "onnx.ReduceMean": _reduction,
    "onnx.ReduceMax": _reduction,
    "onnx.ReduceMin": _reduction,
    "onnx.ReduceSum": _reduction,
    "onnx.Resize": _resize,
    "onnx.Concat": _concat,
    "onnx.Split": _split,
    "onnx.Slice": _slice,
    "onnx.Pad": _pad,
    "onnx.Transpose": _transpose,
    "onnx.Reshape": _view,
    "onnx.Flatten": _view,
    "onnx.Squeeze": _view,
    "onnx.Unsqueeze": _view,
}
