"""If, Loop and Scan: operations that execute nested graphs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from optc.ir.core import Graph, Operation
from optc.ir.dims import Dim, Shape
from optc.ir.types import UNKNOWN_TYPE, TensorType, ValueType
from optc.ops.declaration import Kind, declaration_of, declare
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import infer_types, report_misfit, tolerating_misfits
from optc.ops.shapes import fresh, integer, integers, tensor
from optc.ops.values import ints_of, value_of

_ROUNDS = 8  # a carried type changes at most once for each axis, then once more to an unknown rank


def join_types(a: ValueType, b: ValueType, unknown: Callable[[int], Dim]) -> ValueType:
    """The least type that both fit; `unknown(axis)` gives the symbol where extents differ."""
    if a == b or b == UNKNOWN_TYPE:
        return a
    if not (isinstance(a, TensorType) and isinstance(b, TensorType)):
        return b if a == UNKNOWN_TYPE else a
    if a.dtype != b.dtype:
        raise ValueError(f"its result is {a.dtype} on one path and {b.dtype} on the other")
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return TensorType(a.dtype, None)
    return TensorType(
        a.dtype, tuple(x if x == y else unknown(axis) for axis, (x, y) in enumerate(zip(a.shape, b.shape, strict=True)))
    )


def _infer_if(operation: Operation) -> Sequence[ValueType]:
    branches = [operation.graphs["then_branch"], operation.graphs["else_branch"]]
    failing: dict[Graph, str] = {}
    for branch in branches:
        with tolerating_misfits() as misfits:
            infer_types(branch)
        if misfits:
            failing[branch] = misfits[0]
    then, otherwise = (branch.outputs for branch in branches)
    if len(then) != len(otherwise) or len(then) != len(operation.results):
        raise ValueError(
            f"its branches have {len(then)} and {len(otherwise)} outputs, it has {len(operation.results)} itself"
        )
    taken = _branch_taken(operation, failing)
    if len(failing) == 2 or taken in failing:
        report_misfit(f"its branch '{(taken or branches[0]).name}' cannot run: {failing[taken or branches[0]]}")
    if taken is not None:
        return [value.type for value in taken.outputs]
    return [
        join_types(a.type, b.type, lambda axis, position=position: fresh(operation, axis, position))  # type: ignore[misc]
        for position, (a, b) in enumerate(zip(then, otherwise, strict=True))
    ]


def _branch_taken(operation: Operation, failing: Collection[Graph]) -> Graph | None:
    """The branch whose types hold: that of a known condition, else the only one that can finish."""
    condition = value_of(operation.operands[0])
    if condition is not None and condition.size == 1 and condition.item() is not None:
        return operation.graphs["then_branch" if condition.item() else "else_branch"]
    if len(failing) == 1:
        return operation.graphs["then_branch" if operation.graphs["else_branch"] in failing else "else_branch"]
    return None


def _fix_carried(
    operation: Operation, body: Graph, first: int, initial: Sequence[ValueType], outputs_from: int
) -> None:
    """Find body input types that hold on every turn: widen them until the body returns what it takes."""
    count = len(initial)
    for position, type in enumerate(initial):
        body.inputs[first + position].type = type
    for _ in range(_ROUNDS):
        infer_types(body)
        changed = False
        for position in range(count):
            value = body.inputs[first + position]
            returned = body.outputs[outputs_from + position].type
            joined = join_types(
                value.type,
                returned,
                lambda axis, position=position: fresh(operation, axis, position),  # type: ignore[misc]
            )
            if joined != value.type:
                value.type = joined
                changed = True
        if not changed:
            return
    for position in range(count):
        value = body.inputs[first + position]
        if isinstance(value.type, TensorType):
            value.type = value.type.with_shape(None)
    infer_types(body)


def _stacked(type: ValueType, extent: Dim, axis: int = 0) -> ValueType:
    if not isinstance(type, TensorType) or type.shape is None:
        return type
    position = axis if axis >= 0 else axis + len(type.shape) + 1
    shape: Shape = (*type.shape[:position], extent, *type.shape[position:])
    return type.with_shape(shape)


def _infer_loop(operation: Operation) -> Sequence[ValueType]:
    body = operation.graphs["body"]
    carried = len(operation.operands) - 2
    if len(body.inputs) != carried + 2 or len(body.outputs) < carried + 1:
        raise ValueError(
            f"its body takes {len(body.inputs)} values and returns {len(body.outputs)} for {carried} carried"
        )
    initial = [value.type if value is not None else UNKNOWN_TYPE for value in operation.operands[2:]]
    _fix_carried(operation, body, 2, initial, 1)
    results: list[ValueType] = [value.type for value in body.inputs[2:]]
    trips = ints_of(operation.operand(0))
    endless = body.outputs[0].is_constant and bool(body.outputs[0].constant)
    for position, value in enumerate(body.outputs[carried + 1 :], start=carried):
        exact = trips is not None and endless and operation.operand(1) is None
        extent: Dim = trips[0] if exact and trips is not None else fresh(operation, 0, position)
        results.append(_stacked(value.type, extent))
    return results


def _infer_scan(operation: Operation) -> Sequence[ValueType]:
    body = operation.graphs["body"]
    scanned = integer(operation, "num_scan_inputs")
    states = len(operation.operands) - scanned
    input_axes = integers(operation, "scan_input_axes") or (0,) * scanned
    outputs = len(operation.results) - states
    output_axes = integers(operation, "scan_output_axes") or (0,) * outputs
    length: Dim = fresh(operation, 0, states) if outputs else 1
    for position in range(scanned):
        type = tensor(operation, states + position)
        if type.shape is not None:
            axis = input_axes[position] % len(type.shape)
            length = type.shape[axis]
            type = type.with_shape(type.shape[:axis] + type.shape[axis + 1 :])
        body.inputs[states + position].type = type
    _fix_carried(operation, body, 0, [tensor(operation, position) for position in range(states)], 0)
    results: list[ValueType] = [value.type for value in body.inputs[:states]]
    for value, axis in zip(body.outputs[states:], output_axes, strict=True):
        results.append(_stacked(value.type, length, axis))
    return results


def _evaluate_if(operation: Operation, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    condition = arrays[0]
    assert condition is not None
    return evaluate_graph(operation.graphs["then_branch" if condition.item() else "else_branch"], [])


def _evaluate_loop(operation: Operation, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    body = operation.graphs["body"]
    trips = None if arrays[0] is None else int(arrays[0].item())
    condition = True if len(arrays) < 2 or arrays[1] is None else bool(arrays[1].item())
    carried = [array for array in arrays[2:] if array is not None]
    stacked: list[list[np.ndarray]] = [[] for _ in body.outputs[len(carried) + 1 :]]
    turn = 0
    while condition and (trips is None or turn < trips):
        first, *rest = evaluate_graph(body, [np.array(turn, np.int64), np.array(condition), *carried])
        condition = bool(first.item())
        carried, made = list(rest[: len(carried)]), rest[len(carried) :]
        for column, array in zip(stacked, made, strict=True):
            column.append(array)
        turn += 1
    empty = [value.tensor_type for value in body.outputs[len(carried) + 1 :]]
    return carried + [
        np.stack(column) if column else np.zeros((0, *type.static_shape), type.dtype.numpy)
        for column, type in zip(stacked, empty, strict=True)
    ]


def _evaluate_scan(operation: Operation, arrays: Sequence[np.ndarray | None]) -> Sequence[np.ndarray]:
    body = operation.graphs["body"]
    scanned = integer(operation, "num_scan_inputs")
    present = [array for array in arrays if array is not None]
    states, sequences = present[: len(present) - scanned], present[len(present) - scanned :]
    input_axes = integers(operation, "scan_input_axes") or (0,) * scanned
    input_directions = integers(operation, "scan_input_directions") or (0,) * scanned
    outputs = len(body.outputs) - len(states)
    output_axes = integers(operation, "scan_output_axes") or (0,) * outputs
    output_directions = integers(operation, "scan_output_directions") or (0,) * outputs
    length = sequences[0].shape[input_axes[0]]
    made: list[list[np.ndarray]] = [[] for _ in range(outputs)]
    for turn in range(length):
        slices = [
            np.take(sequence, length - 1 - turn if backwards else turn, axis)
            for sequence, axis, backwards in zip(sequences, input_axes, input_directions, strict=True)
        ]
        results = evaluate_graph(body, [*states, *slices])
        states = results[: len(states)]
        for column, array in zip(made, results[len(states) :], strict=True):
            column.append(array)
    stacked = [
        np.stack(column[::-1] if backwards else column, axis)
        for column, axis, backwards in zip(made, output_axes, output_directions, strict=True)
    ]
    return [*states, *stacked]


def _nested_flops(operation: Operation) -> int:
    """The costliest nested graph once; how often a loop turns is not known here."""
    return max(
        (sum(declaration_of(inner.name).flops(inner) for inner in graph) for graph in operation.graphs.values()),
        default=0,
    )


declare("onnx.If", Kind.CONTROL, infer=_infer_if, evaluate=_evaluate_if, flops=_nested_flops)
declare("onnx.Loop", Kind.CONTROL, infer=_infer_loop, evaluate=_evaluate_loop, flops=_nested_flops)
declare("onnx.Scan", Kind.CONTROL, infer=_infer_scan, evaluate=_evaluate_scan, flops=_nested_flops)
