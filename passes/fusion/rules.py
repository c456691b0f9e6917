"""Which operations may become one kernel together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optc.costmodel.interface import Candidate
from optc.ir.core import CONSTANT, Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind, declaration_of

ROOTS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.WINDOW)
POINTWISE = (Kind.ELEMENTWISE, Kind.MOVEMENT)

# Movements under which every element of the operand has exactly one place in the result.
BIJECTIONS = frozenset(
    {
        "onnx.Reshape", "onnx.Flatten", "onnx.Squeeze", "onnx.Unsqueeze", "onnx.Transpose", "onnx.Identity",
        "optc.relayout",
    }
)  # fmt: skip

# Results as large as the operand, which another operation may finish while they are still at hand.
ROW_WISE = frozenset(
    {
        "onnx.Softmax", "onnx.LogSoftmax", "onnx.LayerNormalization", "onnx.RMSNormalization", "onnx.LpNormalization",
        "onnx.InstanceNormalization", "onnx.GroupNormalization", "onnx.MeanVarianceNormalization",
    }
)  # fmt: skip

_ALONE = frozenset({"onnx.CumSum", "onnx.CumProd", "onnx.DynamicQuantizeLinear", "onnx.LRN"})


@dataclass
class GroupRules:
    """Decides legality; asks each operation once whether native code exists for it.

    Attributes:
        supports: None where native code exists for an operation, else the reason why not.
        max_operations: in one group.
        max_inputs: that one kernel reads, large constants included.
    """

    supports: Callable[[Operation], str | None]
    max_operations: int = 32
    max_inputs: int = 12
    _refusals: dict[Operation, str | None] = field(default_factory=dict)
    _kinds: dict[Operation, Kind] = field(default_factory=dict)

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

    def is_root(self, operation: Operation) -> bool:
        return self.kind(operation) in ROOTS

    def refusal(self, group: Candidate) -> str | None:
        """Why a group of several fusible operations, in order, may not be one kernel; None when it may."""
        operations = group.operations
        if len(operations) == 1:
            return None
        if len(operations) > self.max_operations:
            return f"more than {self.max_operations} operations"
        if sum(not is_inlined_constant(value, operations) for value in group.inputs) > self.max_inputs:
            return f"more than {self.max_inputs} inputs"
        roots = [operation for operation in operations if self.is_root(operation)]
        if len(roots) > 1:
            return f"{roots[0].name} and {roots[1].name} are two loop nests"
        if not _connected(operations):
            return "its operations do not depend on each other"
        if not roots:
            return self._pointwise_refusal(group)
        if roots[0].name in _ALONE:
            return f"{roots[0].name} runs alone"
        return self._rooted_refusal(group, roots[0])

    def _pointwise_refusal(self, group: Candidate) -> str | None:
        """Several outputs share one loop nest, so they must be stored alike."""
        first = group.outputs[0].tensor_type
        for other in group.outputs[1:]:
            if other.tensor_type.static_shape != first.static_shape or other.tensor_type.layout != first.layout:
                return f"'{group.outputs[0].name}' and '{other.name}' have different shapes"
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
        """What stands before a root is evaluated again each time that the root reads an element."""
        if kind is Kind.WINDOW:
            return f"{root.name} would evaluate {operation.name} for each position of its window"
        if kind is Kind.CONTRACTION:
            if self.kind(operation) is not Kind.ELEMENTWISE:
                return f"{root.name} reads its operands in order"
            if not _reads_once(root):
                return f"{root.name} would evaluate {operation.name} for each tap of its kernel"
            weights = root.operand(1)
            if weights is not None and weights.producer is operation:
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
        if any(paths[other] != paths[source] or other.shape != source.shape for other in dependent):
            return f"{operation.name} reads elements of {root.name} at different places"
        kind = self.kind(operation)
        result = operation.results[0]
        if kind is Kind.ELEMENTWISE:
            extra = len(result.shape) - len(source.shape)
            if result.shape != (1,) * extra + source.shape:
                return f"{operation.name} repeats elements of {root.name}"
            paths.update((each, paths[source]) for each in operation.results)
            return None
        if operation.name in BIJECTIONS and operation.operands[0] is source:
            paths[result] = (*paths[source], operation)
            return None
        return f"{operation.name} reads many elements of {root.name}"


def _reads_once(root: Operation) -> bool:
    """Whether a contraction reads each element of its first operand at one tap only."""
    if root.name not in ("onnx.Conv", "onnx.MatMul", "onnx.Gemm"):
        return False
    if root.name != "onnx.Conv":
        return True
    weight = root.operands[1]
    return weight is not None and all(extent == 1 for extent in weight.shape[2:])


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
    component = {operation: index for index, operation in enumerate(operations)}
    for operation in operations:
        for value in operation.present_operands:
            producer = value.producer
            if producer in component and component[producer] != component[operation]:
                old, new = component[operation], component[producer]
                component = {each: new if number == old else number for each, number in component.items()}
    return len(set(component.values())) == 1


_PARAMETER_ELEMENTS = 64
_FLOAT_PARAMETERS = frozenset({"onnx.Resize"})
_INTEGER_DATA = frozenset({"onnx.Concat", "onnx.Gather", "onnx.GatherElements", "onnx.GatherND", "onnx.OneHot"})


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
    uses = [(operation, position) for operation, position in value.uses if operation in inside]
    return array.size <= _PARAMETER_ELEMENTS and all(_is_parameter(*use, array.dtype.kind) for use in uses)


def _is_parameter(operation: Operation, position: int, dtype_kind: str) -> bool:
    if position == 0 or operation.name == CONSTANT or operation.name in _INTEGER_DATA:
        return False
    kind = declaration_of(operation.name).kind
    integer_parameter = dtype_kind == "i" and kind in (Kind.MOVEMENT, Kind.REDUCTION, Kind.WINDOW)
    return integer_parameter or operation.name in _FLOAT_PARAMETERS
