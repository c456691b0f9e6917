"""Removes shape arithmetic: what can be said of extents is said by constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import CONSTANT, Location, Module, Operation, Value
from optc.ir.dims import Dim, SymbolicDim, product
from optc.ir.dtypes import BOOL
from optc.ir.types import TensorType
from optc.ops.inference import infer_operation
from optc.ops.values import LARGEST, dims_of, remembered, value_of
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.rewrite.types import propagate_types
from optc.passes.simplify.fold import replace_by_constants


@dataclass(frozen=True)
class FoldShapes(Pass):
    """Replace small tensors whose elements follow from the types (`Shape → Gather → Add → Concat`) by constants.

    With symbolic dimensions left, the target of a Reshape becomes a constant where 0 (as the input) and a single -1
    (what remains) can say it. Once all shapes are bound, no shape arithmetic is left.
    """

    name: ClassVar[str] = "fold-shapes"

    def run(self, module: Module, context: PassContext) -> bool:
        folded: list[Location] = []
        missed: Operation | None = None
        with remembered():
            for operation in list(module.walk()):
                if operation.graph is None or operation.name == CONSTANT or operation.graphs:
                    continue
                arrays = _known_results(operation)
                if arrays is not None:
                    folded.append(operation.location)
                    replace_by_constants(operation, arrays)
                elif operation.name == "onnx.Reshape" and not _constant_target(operation):
                    target = _target(operation)
                    if target is None:
                        missed = missed or operation
                        continue
                    folded.append(operation.location)
                    _set_target(operation, target)
        if folded:
            nodes = tuple(dict.fromkeys(node for location in folded for node in location.nodes))
            times = "once" if len(folded) == 1 else f"{len(folded)} times"
            context.remarks.append(Remark(self.name, "applied", self.name, times, Location(nodes)))
        if missed is not None:
            reason = f"the shape {missed.result.type} holds more than one extent that is known only at run time"
            context.remarks.append(Remark(self.name, "missed", self.name, reason, missed.location))
        return bool(folded)


def _known_results(operation: Operation) -> list[np.ndarray] | None:
    """The results as arrays, when all their elements are known."""
    # Arithmetic on real numbers is left to `fold`, which rounds as the operation itself does.
    reals = any(value.tensor_type.dtype.is_float for value in operation.present_operands if _is_tensor(value))
    if reals and operation.name not in ("onnx.Shape", "onnx.Size"):
        return None
    arrays: list[np.ndarray] = []
    for result in operation.results:
        type = result.type
        if not isinstance(type, TensorType) or not (type.dtype.is_integer or type.dtype is BOOL) or not _is_small(type):
            return None
        known = value_of(result)
        if known is None or any(item is None or isinstance(item, SymbolicDim) for item in known.ravel()):
            return None
        arrays.append(np.asarray(known.tolist(), dtype=type.dtype.numpy).reshape(known.shape))
    return arrays


def _is_tensor(value: Value) -> bool:
    return isinstance(value.type, TensorType)


def _is_small(type: TensorType) -> bool:
    return not type.is_static or type.elements <= LARGEST


def _constant_target(operation: Operation) -> bool:
    target = operation.operand(1)
    return target is not None and target.is_constant


def _target(operation: Operation) -> list[int] | None:
    """The target of a Reshape as ints: 0 for an extent that the input has at the same place, one -1."""
    source, wanted = operation.operands
    assert source is not None
    dims = dims_of(wanted)
    result = operation.result.type
    if dims is None and isinstance(result, TensorType):
        dims = list(result.shape) if result.shape is not None else None
    shape = source.type.shape if isinstance(source.type, TensorType) else None
    if dims is None or shape is None or 0 in dims or operation.attributes.get("allowzero"):
        return None
    entries: list[int | None] = []
    for axis, dim in enumerate(dims):
        same = axis < len(shape) and isinstance(dim, SymbolicDim) and dim == shape[axis]
        entries.append(0 if same else dim if isinstance(dim, int) else None)
    open_axes = [axis for axis, entry in enumerate(entries) if entry is None]
    if len(open_axes) > 1 or (open_axes and -1 in entries):
        return None
    if open_axes and not _is_the_rest(dims, open_axes[0], shape):
        return None
    return [-1 if entry is None else entry for entry in entries]


def _is_the_rest(dims: list[Dim | None], axis: int, shape: tuple[Dim, ...]) -> bool:
    """Whether the extent at `axis` may be written as -1: always, when the Reshape is valid and nothing is empty."""
    others = product(tuple(dim for position, dim in enumerate(dims) if position != axis and dim is not None))
    return others != 0 and 0 not in shape


def _set_target(operation: Operation, target: list[int]) -> None:
    assert operation.graph is not None
    name = f"{operation.result.name}.shape"
    constant: Value = operation.graph.constant(np.asarray(target, dtype=np.int64), name, before=operation)
    operation.set_operand(1, constant)
    if infer_operation(operation):
        propagate_types([operation.result])
