"""From the opset of the model to the opset of the IR, one operation at a time.

An adapter is registered for the version that changed the meaning or signature of an operation. It edits the node in
place, or builds other operations and returns their results. Versions that only widened types need none. Going the
other way (a model newer than the IR) attributes with their default value are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
from onnx import defs, helper

from optc.ir.core import Attribute, Graph, Value
from optc.ir.types import TensorType
from optc.ops.onnx_defaults import OPSET


class NewerOperation(ValueError):
    """The node uses something that came after the IR's opset."""


class Builder(Protocol):
    """Makes the extra operations that an adapter needs, before the node's place."""

    def constant(self, array: np.ndarray) -> Value: ...

    def emit(
        self,
        op_type: str,
        operands: Sequence[Value | None],
        attributes: dict[str, Attribute] | None = None,
        results: int = 1,
    ) -> Sequence[Value]: ...


@dataclass
class SourceNode:
    """A node on its way into the IR."""

    domain: str
    op_type: str
    operands: list[Value | None]
    attributes: dict[str, Attribute]
    results: int
    builder: Builder
    graphs: dict[str, Graph] = field(default_factory=dict)

    def attribute_to_input(self, name: str, position: int, dtype: np.dtype | type = np.int64) -> None:
        """Pass an attribute as the constant input `position` instead; absent stays absent."""
        if name in self.attributes:
            array = np.asarray(self.attributes.pop(name), dtype)
            self.set_input(position, self.builder.constant(array))

    def set_input(self, position: int, value: Value | None) -> None:
        """Set an input, padding with absent ones."""
        self.operands += [None] * (position + 1 - len(self.operands))
        self.operands[position] = value


Adapter = Callable[[SourceNode], "Sequence[Value] | None"]
_ADAPTERS: dict[tuple[str, int], Adapter] = {}


def _since(version: int, *op_types: str) -> Callable[[Adapter], Adapter]:
    def register(adapter: Adapter) -> Adapter:
        for op_type in op_types:
            _ADAPTERS[op_type, version] = adapter
        return adapter

    return register


@cache
def _changes(op_type: str) -> tuple[int, ...]:
    return tuple(sorted(version for name, version in _ADAPTERS if name == op_type))


@cache
def known_version(domain: str, op_type: str, version: int) -> bool:
    """Whether ONNX defines the operation in that version of its domain."""
    try:
        defs.get_schema(op_type, version, domain)
    except (defs.SchemaError, TypeError):  # TypeError: a version beyond 32 bits
        return False
    return True


def changed_since(op_type: str, old: int, new: int) -> bool:
    """Whether an operation of the default domain is another one, or none, between two opsets."""
    if not (known_version("", op_type, old) and known_version("", op_type, new)):
        return True
    return defs.get_schema(op_type, old, "").since_version != defs.get_schema(op_type, new, "").since_version


def upgrade(node: SourceNode, version: int) -> Sequence[Value] | None:
    """Give a node of the default domain the meaning of the IR's opset.

    Args:
        node: changed in place.
        version: the opset of the model.

    Returns:
        The results, if the node was replaced by other operations; None if it is to be made itself.

    Raises:
        NewerOperation: it uses something that came after the IR's opset.
        ValueError: the node does something that the IR's opset cannot say; the message says what.
    """
    for change in _changes(node.op_type):
        if version < change <= OPSET:
            results = _ADAPTERS[node.op_type, change](node)
            if results is not None:
                return results
    if version > OPSET:
        _drop_newer_attributes(node, version)
    return None


def _drop_newer_attributes(node: SourceNode, version: int) -> None:
    if not known_version("", node.op_type, OPSET):
        return
    old, new = defs.get_schema(node.op_type, OPSET, ""), defs.get_schema(node.op_type, version, "")
    for name in [name for name in node.attributes if name not in old.attributes and name in new.attributes]:
        default = new.attributes[name].default_value
        if not default.type or _plain(helper.get_attribute_value(default)) != node.attributes[name]:
            raise NewerOperation(f"its attribute '{name}' came after opset {OPSET}, the newest that optc compiles")
        del node.attributes[name]


def _plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _dtype(value: Value | None) -> np.dtype:
    return value.type.dtype.numpy if value is not None and isinstance(value.type, TensorType) else np.dtype(np.float32)


@_since(7, "Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
def _broadcast_7(node: SourceNode) -> None:
    """Broadcasting was asked for by an attribute, and could align the second operand's first axis with `axis`."""
    node.attributes.pop("broadcast", 0)
    axis = node.attributes.pop("axis", None)
    if axis is not None:
        assert isinstance(axis, int)
        _align(node, axis)


@_since(7, "PRelu")
def _prelu_7(node: SourceNode) -> None:
    """A vector of slopes had one entry for each channel."""
    slope = node.operands[1]
    if slope is not None and isinstance(slope.type, TensorType) and slope.type.shape not in ((), (1,), None):
        _align(node, 1)


def _align(node: SourceNode, axis: int) -> None:
    """Let the second operand's axes start at `axis` of the first one's."""
    first, second = (value.type if value is not None else None for value in node.operands[:2])
    ranks = [kind.rank if isinstance(kind, TensorType) else None for kind in (first, second)]
    if ranks[0] is None or ranks[1] is None:
        raise ValueError("the number of dimensions of its inputs is unknown; bind the input shapes")
    missing = ranks[0] - axis % ranks[0] - ranks[1]
    if missing > 0:
        axes = node.builder.constant(np.arange(ranks[1], ranks[1] + missing, dtype=np.int64))
        (node.operands[1],) = node.builder.emit("Unsqueeze", [node.operands[1], axes])


@_since(7, "Upsample")
def _upsample_7(node: SourceNode) -> None:
    node.attributes["scales"] = (1.0, 1.0, node.attributes.pop("height_scale"), node.attributes.pop("width_scale"))


@_since(7, "Gemm", "RNN", "GRU", "LSTM")
def _allocation_hints_7(node: SourceNode) -> None:
    for name in ("broadcast", "output_sequence"):
        node.attributes.pop(name, None)


@_since(9, "BatchNormalization")
def _batch_normalization_9(node: SourceNode) -> None:
    if not node.attributes.pop("spatial", 1):
        raise ValueError("spatial=0 (statistics for each position) was removed in opset 9")
    node.attributes.pop("is_test", None)


@_since(14, "BatchNormalization")
def _batch_normalization_14(node: SourceNode) -> None:
    if node.results > 3:
        raise ValueError("it returns training statistics; export the model in inference mode")


@_since(10, "Upsample")
def _upsample(node: SourceNode) -> Sequence[Value]:
    if "scales" in node.attributes:
        node.attribute_to_input("scales", 1, np.float32)
    mode = node.attributes.get("mode", "nearest")
    attributes: dict[str, Attribute] = {
        "mode": mode,
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    return node.builder.emit("Resize", [node.operands[0], None, node.operands[1]], attributes)


@_since(11, "Resize")
def _resize_11(node: SourceNode) -> None:
    node.operands = [node.operands[0], None, node.operands[1]]
    node.attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@_since(9, "Scan")
def _scan_9(node: SourceNode) -> None:
    raise ValueError("the batched Scan of opset 8 was removed in opset 9; export with opset 9 or newer")


@_since(10, "Slice")
def _slice_10(node: SourceNode) -> None:
    for position, name in enumerate(("starts", "ends", "axes"), start=1):
        node.attribute_to_input(name, position)


@_since(10, "TopK")
def _top_k_10(node: SourceNode) -> None:
    node.operands.append(node.builder.constant(np.asarray([node.attributes.pop("k")], np.int64)))


@_since(11, "Clip")
def _clip_11(node: SourceNode) -> None:
    dtype = _dtype(node.operands[0])
    node.attribute_to_input("min", 1, dtype)
    node.attribute_to_input("max", 2, dtype)


@_since(11, "Pad")
def _pad_11(node: SourceNode) -> None:
    node.attribute_to_input("pads", 1)
    node.attribute_to_input("value", 2, _dtype(node.operands[0]))


@_since(11, "Scatter")
def _scatter_11(node: SourceNode) -> None:
    node.op_type = "ScatterElements"


@_since(12, "Dropout")
def _dropout_12(node: SourceNode) -> None:
    node.attribute_to_input("ratio", 1, np.float32)
    node.attributes.pop("is_test", None)


@_since(13, "Softmax", "LogSoftmax", "Hardmax")
def _softmax_13(node: SourceNode) -> Sequence[Value] | None:
    """Until opset 12 everything from `axis` on was one row."""
    axis = node.attributes.pop("axis", 1)
    assert isinstance(axis, int) and node.operands[0] is not None
    data = node.operands[0]
    rank = data.type.rank if isinstance(data.type, TensorType) else None
    if rank is not None and axis in (rank - 1, -1):
        node.attributes["axis"] = -1
        return None
    shape = node.builder.emit("Shape", [data])
    flat = node.builder.emit("Flatten", [data], {"axis": axis})
    rows = node.builder.emit(node.op_type, flat, {"axis": -1})
    return node.builder.emit("Reshape", [*rows, *shape])


@_since(13, "Squeeze", "Unsqueeze", "ReduceSum")
def _axes_13(node: SourceNode) -> None:
    node.attribute_to_input("axes", 1)


@_since(18, *(f"Reduce{k}" for k in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")))
def _axes_18(node: SourceNode) -> None:
    node.attribute_to_input("axes", 1)


@_since(13, "Split")
def _split_13(node: SourceNode) -> None:
    node.attribute_to_input("split", 1)


@_since(18, "Split")
def _split_18(node: SourceNode) -> None:
    if len(node.operands) < 2 or node.operands[1] is None:
        node.attributes["num_outputs"] = node.results


@_since(16, "RoiAlign")
def _roi_align_16(node: SourceNode) -> None:
    node.attributes["coordinate_transformation_mode"] = "output_half_pixel"


@_since(20, "GridSample")
def _grid_sample_20(node: SourceNode) -> None:
    renamed = {"bilinear": "linear", "bicubic": "cubic"}
    mode = node.attributes.get("mode", "bilinear")
    node.attributes["mode"] = renamed.get(str(mode), mode)


@_since(20, "DFT")
def _dft_20(node: SourceNode) -> None:
    axis = node.attributes.pop("axis", 1)
    node.set_input(2, node.builder.constant(np.asarray(axis, np.int64)))


@_since(21, "GroupNormalization")
def _group_normalization_21(node: SourceNode) -> None:
    """Scale and bias had one entry a group, now one a channel."""
    data = node.operands[0]
    channels = (
        data.type.shape[1] if data is not None and isinstance(data.type, TensorType) and data.type.shape else None
    )
    groups = node.attributes["num_groups"]
    assert isinstance(groups, int)
    if not isinstance(channels, int):
        raise ValueError("its number of channels is unknown; bind the input shape")
    for position in (1, 2):
        (column,) = node.builder.emit(
            "Unsqueeze", [node.operands[position], node.builder.constant(np.asarray([1], np.int64))]
        )
        target = node.builder.constant(np.asarray([groups, channels // groups], np.int64))
        (spread,) = node.builder.emit("Expand", [column, target])
        flat = node.builder.emit("Reshape", [spread, node.builder.constant(np.asarray([-1], np.int64))])
        node.operands[position] = flat[0]
