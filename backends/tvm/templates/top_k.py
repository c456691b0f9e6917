"""The largest or smallest elements along an axis: each pass finds the one that follows the last in their order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.alone import Alone, alone_refusal, operation_of
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
        return alone_refusal(group, "onnx.TopK")

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [()]

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        return KernelDefinition(_Kernel(group).code(tiles.worth_threads(self.estimate(group, (), target), target)))

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        operation = operation_of(group)
        data, found = operation.present_operands[0], operation.results[0].shape
        return _STEP_SECONDS * data.tensor_type.elements * found[integer(operation, "axis", -1) % len(found)]


class _Kernel(Alone):
    def __init__(self, group: Group) -> None:
        super().__init__(group)
        found, self.extents = self.operation.results[0], self.value(0).shape
        self.axis = integer(self.operation, "axis", -1) % len(self.extents)
        self.extent, self.count = self.extents[self.axis], found.shape[self.axis]
        self.dtype = self.value(0).dtype.numpy_name
        self.largest = bool(integer(self.operation, "largest", 1))

    def code(self, threads: bool) -> Any:
        """Rows one after another, or on several cores."""
        around = [1 if axis == self.axis else extent for axis, extent in enumerate(self.extents)]
        return self.function(loops.outer(around, self._row, threads=threads and math.prod(around) > 1))

    def _row(self, place: tuple[Any, ...]) -> Stmt:
        """All passes over one row."""
        from tvm import tirx

        values, indices = self.result(0), self.result(1)
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
            value = self.read(0, *put(position))
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
                loops.store(last, self.read(0, *put(at_last[0])), [0]),
            ]
            if values is not None:
                statements.append(loops.store(values, last[0], put(number)))
            if indices is not None:
                statements.append(loops.store(indices, at_last[0].astype("int64"), put(number)))
            return loops.sequence(statements)

        made = [making_last, making_best, making_at_last, making_at_best]
        start = [loops.store(last, zero, [0]), loops.store(best, zero, [0]), loops.store(at_last, none, [0])]
        return loops.sequence([*made, *start, loops.serial(self.count, found, "number")])
