"""A group around one contraction: its buffers, and its other operations as functions of one accumulated element.

What stands before the contraction (the prologue) is read through LogicalTensors; what stands after it (the epilogue)
is evaluated where an element of the contraction lies in a register, and stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import LOWERINGS, LoweringContext, lower_operations, scoped
from optc.backends.tvm.tensor import LogicalTensor, stored_indices
from optc.ir.core import CONSTANT, Operation, Value
from optc.ops.declaration import Kind, declaration_of

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, PrimFunc, Stmt

Indices = Sequence[Any]
IndexMap = Callable[[Indices], tuple[Any, ...]]


def epilogue_refusal(group: Group) -> str | None:
    """Why the operations after the contraction cannot run on one element of it at a time; None when they can."""
    anchor = group.anchor
    if anchor is None:
        return "no contraction"
    for value in (*group.body.inputs, *group.body.outputs):
        if value.dtype.name == "bf16":
            return f"elements of '{value.name}' are bf16"
    for operation in group.body:
        if operation is anchor or operation.name == CONSTANT:
            continue
        if operation.name not in LOWERINGS:
            return f"{operation.name} has no lowering"
        if declaration_of(operation.name).kind not in (Kind.ELEMENTWISE, Kind.MOVEMENT):
            return f"{operation.name} stands beside {anchor.name}"
    try:
        _output_maps(group, anchor)
    except _NotElementwise as error:
        return str(error)
    return None


def static_refusal(group: Group) -> str | None:
    """Why the group's shapes keep it from being compiled; None when all are static."""
    values = [*group.body.inputs, *group.body.outputs, *(r for op in group.body for r in op.results)]
    unknown = [value.name for value in values if not getattr(value.type, "is_static", False)]
    return f"the shape of '{unknown[0]}' is not static" if unknown else None


class FusedContraction:
    """The parameters of the kernel and the element functions around `anchor`.

    Attributes:
        inputs: one buffer for each group input, in its stored shape.
        outputs: likewise for the group's outputs.
        anchor: the contraction.
    """

    def __init__(
        self, group: Group, packed: Mapping[int, Sequence[int]] | None = None, buffers: Sequence[Any] = ()
    ) -> None:
        """Make the buffers, or take those of the group's inputs and outputs from `buffers`.

        `packed` gives the shapes of the constant inputs that are stored in another form than their type says.
        """
        assert group.anchor is not None
        packed = packed or {}
        self.group = group
        self.anchor: Operation = group.anchor
        self.inputs = list(buffers[: len(group.body.inputs)]) or input_buffers(group, packed)
        self.outputs = list(buffers[len(group.body.inputs) :]) or output_buffers(group)
        self._maps = _output_maps(group, self.anchor)
        self._accumulated: PrimExpr | None = None
        result = self.anchor.results[0]
        self.environment: dict[Value, LogicalTensor] = {
            value: _stored(self.inputs[i], value) for i, value in enumerate(group.body.inputs)
        }
        self.environment[result] = LogicalTensor(result.shape, result.dtype, lambda *_: self._accumulated)
        context = LoweringContext()
        lower_operations(context, group.body, self.environment)
        assert not context.stages, "a reduction beside the contraction should have been refused"

    def tensor(self, value: Value) -> LogicalTensor:
        """The elements of a value of the body; those that depend on the anchor are valid inside `finish` only."""
        return self.environment[value]

    def optional(self, value: Value | None) -> LogicalTensor | None:
        """`tensor`, of an operand that may be absent."""
        return None if value is None else self.tensor(value)

    def buffer_of(self, value: Value) -> Buffer | None:
        """The parameter that holds a value, when the value is an input of the group."""
        return self.inputs[value.index] if value.owner is self.group.body else None

    def finish(self, accumulated: PrimExpr, indices: Indices) -> Stmt:
        """Store every output for the contraction's element at the logical `indices`, whose value is `accumulated`."""
        statements = []
        self._accumulated = accumulated
        for value, buffer, position in zip(self.group.body.outputs, self.outputs, self._maps, strict=True):
            place = position(indices)
            element = scoped(partial(self.tensor(value), *place))
            statements.append(loops.store(buffer, element, stored_indices(value.tensor_type.layout, place) or (0,)))
        self._accumulated = None
        return loops.sequence(statements)

    def blank(self, indices: Indices) -> Stmt | None:
        """Store zero at a place in the rounding of blocked outputs; None when no output is blocked."""
        stores = [
            loops.store(
                buffer,
                loops.constant(0, value.dtype.numpy_name),
                stored_indices(value.tensor_type.layout, tuple(indices)),
            )
            for value, buffer in zip(self.group.body.outputs, self.outputs, strict=True)
            if value.tensor_type.layout.blocks
        ]
        return loops.sequence(stores) if stores else None

    def function(self, body: Stmt, scratch: Sequence[Buffer] = ()) -> PrimFunc:
        """The kernel with its parameters in the order that a KernelDefinition promises."""
        from tvm import tirx

        return tirx.PrimFunc([*self.inputs, *self.outputs, *scratch], body)


def input_buffers(group: Group, packed: Mapping[int, Sequence[int]]) -> list[Buffer]:
    """Parameters for the inputs of a group; `packed` as for FusedContraction."""
    return [
        loops.parameter(packed.get(i, value.tensor_type.stored_shape), value.dtype.numpy_name, f"in{i}")
        for i, value in enumerate(group.body.inputs)
    ]


def output_buffers(group: Group) -> list[Buffer]:
    """Parameters for the outputs of a group."""
    return [
        loops.parameter(value.tensor_type.stored_shape, value.dtype.numpy_name, f"out{i}")
        for i, value in enumerate(group.body.outputs)
    ]


def _stored(buffer: Buffer, value: Value) -> LogicalTensor:
    layout = value.tensor_type.layout
    return LogicalTensor(value.shape, value.dtype, lambda *indices: buffer[stored_indices(layout, indices) or (0,)])


class _NotElementwise(Exception):
    """An operation after the contraction reads more than one of its elements, or drops or repeats some."""


def _output_maps(group: Group, anchor: Operation) -> list[IndexMap]:
    """For each output of the group: where the contraction's element at given indices ends up."""
    result = anchor.results[0]
    steps: dict[Value, tuple[tuple[Operation, int], ...]] = {result: ()}  # the movements on the way, as one path
    maps: dict[Value, IndexMap] = {result: tuple}
    for operation in group.body:
        dependent = [operand for operand in operation.present_operands if operand in steps]
        if operation is anchor or not dependent:
            continue
        kind = declaration_of(operation.name).kind
        source = dependent[0]
        if any(steps[other] != steps[source] or other.shape != source.shape for other in dependent):
            raise _NotElementwise(f"{operation.name} reads elements of {anchor.name} at different places")
        for target in operation.results:
            if kind is Kind.ELEMENTWISE:
                extra = len(target.shape) - len(source.shape)
                if target.shape != (1,) * extra + source.shape:
                    raise _NotElementwise(f"{operation.name} repeats elements of {anchor.name}")
                maps[target] = _then(maps[source], partial(_widened, extra))
                steps[target] = steps[source]
            elif kind is Kind.MOVEMENT and operation.operands[0] is source and operation.name in _BIJECTIONS:
                maps[target] = _then(maps[source], _BIJECTIONS[operation.name](operation, source.shape, target.shape))
                steps[target] = (*steps[source], (operation, target.index))
            else:
                raise _NotElementwise(f"{operation.name} reads many elements of {anchor.name}")
    lost = [value.name for value in group.body.outputs if value not in maps]
    if lost:
        raise _NotElementwise(f"output '{lost[0]}' does not depend on {anchor.name}")
    return [maps[value] for value in group.body.outputs]


def _widened(extra: int, indices: Indices) -> tuple[Any, ...]:
    """The indices under `extra` new leading axes of one element."""
    return (*(0,) * extra, *indices)


def _then(first: IndexMap, second: IndexMap) -> IndexMap:
    return lambda indices: second(first(indices))


def _reshaped(_: Operation, source: tuple[int, ...], target: tuple[int, ...]) -> IndexMap:
    """Indices of the reshaped tensor, worked out within the smallest runs of axes whose extents have equal products."""
    runs = []
    i = j = 0
    while i < len(source) or j < len(target):
        i_end, j_end = i + (i < len(source)), j + (j < len(target))
        left = source[i] if i < len(source) else 1
        right = target[j] if j < len(target) else 1
        while left != right:
            if left < right:
                left *= source[i_end]
                i_end += 1
            else:
                right *= target[j_end]
                j_end += 1
        runs.append((i, i_end, j, j_end))
        i, j = i_end, j_end

    def place(indices: Indices) -> tuple[Any, ...]:
        moved: list[Any] = []
        for i, i_end, j, j_end in runs:
            linear: Any = 0
            for axis in range(i, i_end):
                linear = linear * source[axis] + indices[axis] if source[axis] > 1 else linear
            part: list[Any] = []
            wide = [axis for axis in range(j, j_end) if target[axis] > 1]
            for axis in reversed(range(j, j_end)):
                if target[axis] == 1:
                    part.insert(0, 0)
                    continue
                part.insert(0, linear if axis == wide[0] else linear % target[axis])
                linear = linear // target[axis]
            moved += part
        return tuple(moved)

    return place


def _transposed(operation: Operation, source: tuple[int, ...], _: tuple[int, ...]) -> IndexMap:
    default = tuple(reversed(range(len(source))))
    order = operation.attributes.get("perm", default)
    assert isinstance(order, tuple)
    return lambda indices: tuple(indices[int(axis)] for axis in order)  # type: ignore[arg-type]


def _unmoved(_: Operation, source: tuple[int, ...], target: tuple[int, ...]) -> IndexMap:
    return tuple


_BIJECTIONS: dict[str, Callable[[Operation, tuple[int, ...], tuple[int, ...]], IndexMap]] = {
    "onnx.Reshape": _reshaped,
    "onnx.Flatten": _reshaped,
    "onnx.Squeeze": _reshaped,
    "onnx.Unsqueeze": _reshaped,
    "onnx.Transpose": _transposed,
    "onnx.Identity": _unmoved,
    "optc.relayout": _unmoved,
}
