"""The largest or smallest elements along an axis: each pass finds the one that follows the last in their order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import input_buffers, output_buffers, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import register_tile as tiles
from optc.ir.core import CONSTANT, Operation
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target

_STEP_SECONDS = 1e-9  # of one element in one pass, on a core of 3 GHz


class TopK(Template):
    """`onnx.TopK` alone. Equal elements come in the order of their indices, as onnxruntime has them."""

    name = "top_k"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        if [each.name for each in group.body if each.name != CONSTANT] != ["onnx.TopK"]:
            return "not a TopK alone"
        for value in (*group.body.inputs, *group.body.outputs):
            if value.tensor_type.layout.blocks or value.tensor_type.layout.permutation:
                return f"'{value.name}' has a layout of its own"
        return static_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [()]

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        return KernelDefinition(_Kernel(group).function(tiles.worth_threads(self.estimate(group, (), target), target)))

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        operation = _operation(group)
        data, found = operation.operands[0], operation.results[0]
        assert data is not None
        return _STEP_SECONDS * data.tensor_type.elements * found.shape[_axis(operation)]


def _operation(group: Group) -> Operation:
    return next(each for each in group.body if each.name == "onnx.TopK")


def _axis(operation: Operation) -> int:
    return integer(operation, "axis", -1) % len(operation.results[0].shape)


class _Kernel:
    def __init__(self, group: Group) -> None:
        operation = _operation(group)
        data = operation.operands[0]
        assert data is not None
        self.inputs, self.outputs = input_buffers(group, {}), output_buffers(group)
        self.data = self.inputs[data.index]
        results = dict(zip(group.body.outputs, self.outputs, strict=True))
        self.values, self.indices = (results.get(value) for value in operation.results)
        axis = _axis(operation)
        self.axis, self.extents = axis, data.shape
        self.extent, self.count = data.shape[axis], operation.results[0].shape[axis]
        self.dtype = data.dtype.numpy_name
        self.largest = bool(integer(operation, "largest", 1))

    def function(self, threads: bool) -> Any:
        from tvm import tirx

        around = [1 if axis == self.axis else extent for axis, extent in enumerate(self.extents)]
        nest = loops.outer(around, self._row, threads=threads and math.prod(around) > 1)
        return tirx.PrimFunc([*self.inputs, *self.outputs], nest)

    def _row(self, place: tuple[Any, ...]) -> Stmt:
        """All passes over one row."""
        from tvm import tirx

        last, making_last = loops.local(1, self.dtype, "last")
        best, making_best = loops.local(1, self.dtype, "best")
        at_last, making_at_last = loops.local(1, loops.INDEX, "at_last")
        at_best, making_at_best = loops.local(1, loops.INDEX, "at_best")
        zero, none = loops.constant(0, self.dtype), loops.constant(-1)

        def put(index: Any) -> tuple[Any, ...]:
            return (*place[: self.axis], index, *place[self.axis + 1 :])

        def before(x: Any, y: Any) -> Any:
            return x > y if self.largest else x < y

        def element(number: Any, position: Any) -> Stmt:
            value = self.data[put(position)]
            follows = (number == 0) | before(last[0], value) | ((last[0] == value) & (at_last[0] < position))
            better = (at_best[0] < 0) | before(value, best[0])
            take = [loops.store(best, value, [0]), loops.store(at_best, position, [0])]
            return tirx.IfThenElse(follows & better, loops.sequence(take), None)

        def found(number: Any) -> Stmt:
            statements = [
                loops.store(at_best, none, [0]),
                loops.serial(self.extent, lambda position: element(number, position), "position"),
                # Nothing follows where a row holds NaN: its first element stands there.
                loops.store(at_last, tirx.max(at_best[0], 0), [0]),
                loops.store(last, self.data[put(at_last[0])], [0]),
            ]
            if self.values is not None:
                statements.append(loops.store(self.values, last[0], put(number)))
            if self.indices is not None:
                statements.append(loops.store(self.indices, at_last[0].astype("int64"), put(number)))
            return loops.sequence(statements)

        made = [making_last, making_best, making_at_last, making_at_best]
        start = [loops.store(last, zero, [0]), loops.store(best, zero, [0]), loops.store(at_last, none, [0])]
        return loops.sequence([*made, *start, loops.serial(self.count, found, "number")])
