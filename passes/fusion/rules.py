"""Which operations may become one kernel together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optc.costmodel.interface import Candidate
from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.attention import READS_IN_PLACE
from optc.ops.classical import TREES
from optc.ops.declaration import Kind, declaration_of
from optc.ops.packed import decodes
from optc.ops.parameters import PARAMETERS
from optc.ops.recurrence import RECURRENCE

ROOTS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.WINDOW)
POINTWISE = (Kind.ELEMENTWISE, Kind.MOVEMENT)

# Movements under which every element of the operand has exactly one place in the result.
BIJECTIONS = frozenset(
    {
        "onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze", "onnx.Transpose", "onnx.Identity",
        "optc.relayout",
    }
)  # fmt: skip

_ALONE = frozenset(
    {
        "onnx.CumSum", "onnx.CumProd", "onnx.LRN", "onnx.ScatterElements", "onnx.ScatterND", "onnx.TopK",
        RECURRENCE, TREES,
    }
)  # fmt: skip


@dataclass
class GroupRules:
    """Decides legality; asks each operation once whether native code exists for it.

    Attributes:
        supports: None where native code exists for an operation, else the reason why not.
        max_operations: in one group.
        max_inputs: that one kernel reads, large constants included.
        forbidden: groups that a backend refused, with its reasons.
    """

    supports: Callable[[Operation], str | None]
    max_operations: int = 32
    max_inputs: int = 12
    forbidden: dict[frozenset[Operation], str] = field(default_factory=dict)
    _refusals: dict[Operation, str | None] = field(default_factory=dict)
    _kinds: dict[Operation, Kind] = field(default_factory=dict)
    _shapes: dict[Value, tuple[int, ...]] = field(default_factory=dict)

    def refusal_of(self, operation: Operation) -> str | None:
        """Why an operation can be in no group at all; None when it can."""
        if operation not in self._refusals:
            self._refusals[operation] = self._refusal_of(operation)
        return self._refusals[operation]

    def _refusal_of(self, operation: Operation) -> str | None:
        kind = self.kind(operation)
        if kind not in ROOTS and kind not in POINTWISE:
            return f"{operation.name} is {kind.value}"
        for value in (*operation.present_operands, *operation.results):
            if not isinstance(value.type, TensorType) or not value.type.is_static:
                return f"the shape of '{value.name}' is known only at run time"
        return self.supports(operation)

    def kind(self, operation: Operation) -> Kind:
        found = self._kinds.get(operation)
        if found is None:
            found = self._kinds[operation] = declaration_of(operation.name).kind
        return found

    def shape(self, value: Value) -> tuple[int, ...]:
        found = self._shapes.get(value)
        if found is None:
            found = self._shapes[value] = value.shape
        return found

    def is_root(self, operation: Operation) -> bool:
        return self.kind(operation) in ROOTS

    def refusal(self, group: Candidate) -> str | None:
        """Why a group of several fusible operations, in order, may not be one kernel; None when it may."""
        operations = group.operations
        if len(operations) == 1:
            return None
        if self.forbidden and (reason := self.forbidden.get(frozenset(operations))) is not None:
            return reason
        if len(operations) > self.max_operations:
            return f"more than {self.max_operations} operations"
        if len(group.inputs) > self.max_inputs and self._inputs(group) > self.max_inputs:
            return f"more than {self.max_inputs} inputs"
        roots = [operation for operation in operations if self.is_root(operation)]
        if len(roots) > 1:
            return f"{_plain(roots[0])} and {_plain(roots[1])} are two loop nests, and a kernel has one"
        if not _connected(operations):
            return "its operations do not depend on each other"
        if not roots:
            return self._pointwise_refusal(group)
        if roots[0].name in _ALONE:
            return f"{roots[0].name} runs alone"
        return self._rooted_refusal(group, roots[0])

    def _inputs(self, group: Candidate) -> int:
        return sum(not is_inlined_constant(value, group.operations) for value in group.inputs)

    def _pointwise_refusal(self, group: Candidate) -> str | None:
        """Several outputs share one loop nest, so they must be stored alike."""
        first = group.outputs[0]
        for other in group.outputs[1:]:
            same = self.shape(other) == self.shape(first) and other.tensor_type.layout == first.tensor_type.layout
            if not same:
                return f"'{first.name}' and '{other.name}' have different shapes"
        return None

    def _rooted_refusal(self, group: Candidate, root: Operation) -> str | None:
        kind = self.kind(root)
        before = _ancestors(root, group.operations)
        for operation in before:
            refusal = self._prologue_refusal(operation, root, kind)
            if refusal is not None:
                return refusal
        paths: dict[Value, tuple[Operation, ...]] = {root.results[0]: ()}
        for operation in group.operations:
            dependent = [value for value in operation.present_operands if value in paths]
            if not dependent:
                if operation is not root and operation not in before and self.kind(operation) not in POINTWISE:
                    return f"{operation.name} stands beside {root.name}"
                continue
            refusal = self._epilogue_refusal(operation, root, dependent, paths)
            if refusal is not None:
                return refusal
        for output in group.outputs:
            if output not in paths:
                return f"'{output.name}' does not depend on {root.name}"
        if len(group.outputs) > 1 and len(root.results) > 1:
            return f"{root.name} has several results"
        return None

    def _prologue_refusal(self, operation: Operation, root: Operation, kind: Kind) -> str | None:
        """A contraction keeps what stands before it in scratch; a reduction works it out again in each sweep."""
        if kind is Kind.WINDOW:
            return f"{root.name} would evaluate {operation.name} for each position of its window"
        if root.name in READS_IN_PLACE:
            moves = self.kind(operation) is Kind.MOVEMENT
            return None if moves else f"{operation.name} computes what {root.name} reads"
        if kind is Kind.CONTRACTION and not _feeds_only(operation, root, 0) and not decodes(operation):
            return f"{operation.name} computes the weights of {root.name}"
        return None

    def _epilogue_refusal(
        self,
        operation: Operation,
        root: Operation,
        dependent: Sequence[Value],
        paths: dict[Value, tuple[Operation, ...]],
    ) -> str | None:
        """What stands after a root must find each of its elements at one place, once."""
        source = dependent[0]
        if any(paths[other] != paths[source] or self.shape(other) != self.shape(source) for other in dependent):
            return f"{operation.name} reads elements of {root.name} at different places"
        kind = self.kind(operation)
        result = operation.results[0]
        if kind is Kind.ELEMENTWISE:
            extra = len(self.shape(result)) - len(self.shape(source))
            if self.shape(result) != (1,) * extra + self.shape(source):
                return f"{operation.name} repeats elements of {root.name}"
            paths.update((each, paths[source]) for each in operation.results)
            return None
        if operation.name in BIJECTIONS and operation.operands[0] is source:
            paths[result] = (*paths[source], operation)
            return None
        return f"{operation.name} reads many elements of {root.name}"


def _feeds_only(operation: Operation, root: Operation, position: int) -> bool:
    """Whether a root reads an operation's results directly at one position alone."""
    return all(place == position for result in operation.results for user, place in result.uses if user is root)


def _ancestors(root: Operation, operations: Sequence[Operation]) -> list[Operation]:
    """Those of `operations` (in order) that `root` depends on."""
    needed = set(root.present_operands)
    found = []
    for operation in reversed(operations):
        if operation is not root and any(result in needed for result in operation.results):
            needed.update(operation.present_operands)
            found.append(operation)
    return found


def _connected(operations: Sequence[Operation]) -> bool:
    """Whether the operations hang together by values that one makes and another reads."""
    parent = {operation: operation for operation in operations}

    def find(operation: Operation) -> Operation:
        while parent[operation] is not operation:
            operation = parent[operation]
        return operation

    for operation in operations:
        for value in operation.present_operands:
            producer = value.producer
            if producer is not None and producer in parent:
                parent[find(producer)] = find(operation)
    return len({find(operation) for operation in operations}) == 1


def _plain(operation: Operation) -> str:
    return operation.name.split(".")[-1]


def is_inlined_constant(value: Value, readers: Sequence[Operation]) -> bool:
    """Whether a constant belongs in the body: one element, or what an operation must know when it is compiled.

    The latter are shapes, axes, starts, scales and the like; other constants are weights, which stay operands.
    """
    array = value.constant
    if array is None:
        return False
    if array.size <= 1:
        return True
    inside = set(readers)
    return any(
        position in PARAMETERS.get(operation.name, ()) for operation, position in value.uses if operation in inside
    )
