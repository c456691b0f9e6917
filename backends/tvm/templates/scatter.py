"""A copy of a tensor in which some elements are replaced, or changed, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.lowering.gathering import wrap_index
from optc.backends.tvm.math.functions import maximum, minimum
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates.alone import Alone, alone_refusal, operation_of
from optc.ops.shapes import integer, text

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Stmt

    from optc.targets.target import Target

DATA, INDICES, UPDATES = range(3)
REDUCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda before, update: update,
    "add": lambda before, update: before + update,
    "mul": lambda before, update: before * update,
    "max": maximum,
    "min": minimum,
}
"""What becomes of an element, by the attribute `reduction`."""

_UPDATE_SECONDS = 3e-9  # of one element, whose place is found first


class Scatter(Template):
    """`onnx.ScatterElements` or `onnx.ScatterND` alone; of equal places the last update stays."""

    name = "scatter"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        return alone_refusal(group, "onnx.ScatterElements", "onnx.ScatterND")

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [()]

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        return KernelDefinition(_Kernel(group).code())

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        data, _, updates = operation_of(group).present_operands
        moved = 2 * data.tensor_type.bytes
        copied = moved / target.memory_bandwidth if target.memory_bandwidth else 0.0
        return copied + _UPDATE_SECONDS * updates.tensor_type.elements


class _Kernel(Alone):
    def code(self) -> Any:
        """The copy, then the updates in their order."""
        result = self.result(0)
        assert result is not None
        extents = self.value(DATA).shape

        def copied(place: tuple[Any, ...]) -> Stmt:
            return loops.store(result, self.read(DATA, *place), place or (0,))

        def changed(place: tuple[Any, ...]) -> Stmt:
            target = self._place(place)
            update = REDUCTIONS[text(self.operation, "reduction", "none")]
            value = scoped(lambda: update(result[target], self.read(UPDATES, *place)))
            return loops.store(result, value, target)

        updates = self.value(UPDATES).shape
        return self.function(
            loops.sequence([loops.outer(extents, copied, threads=False), loops.outer(updates, changed, threads=False)])
        )

    def _place(self, place: tuple[Any, ...]) -> tuple[PrimExpr, ...]:
        """Where the update at `place` goes."""
        extents = self.value(DATA).shape
        if self.operation.name == "onnx.ScatterElements":
            axis = integer(self.operation, "axis") % len(extents)
            index = scoped(lambda: wrap_index(self.read(INDICES, *place), extents[axis]))
            return (*place[:axis], index, *place[axis + 1 :])
        *around, depth = self.value(INDICES).shape
        first = place[: len(around)]

        def chosen(axis: int) -> PrimExpr:
            return scoped(lambda: wrap_index(self.read(INDICES, *first, axis), extents[axis]))

        return (*(chosen(axis) for axis in range(depth)), *place[len(around) :])
