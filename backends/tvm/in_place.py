"""Which operands a kernel may overwrite by a result: proven on its loops, never assumed.

A kernel may be called with an operand and a result at one address when nothing of the operand is read after another
element of the result was written over it. That holds when each read of the operand stands in a store of the result, at
the very place that is stored, and when no element is stored twice. A kernel stores all elements of its results; so if
it executes as many stores as there are elements, it stores each of them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimFunc

_POINTERS = ("address_of", "access_ptr")  # calls that may read more of a buffer than their arguments show
_MOST_POINTS = 1 << 21  # of loops whose turns are looked at one by one


@dataclass(eq=False)
class _Loop:
    variable: Any
    first: Any
    extent: Any


@dataclass
class _Condition:
    holds: Any
    wanted: bool


@dataclass
class _Uses:
    """What a function does with its buffers.

    Attributes:
        stores: each store, how often it is executed (None where that is not known), and the loops around it.
        loads: reads outside of the values of stores: in conditions, extents and indices.
    """

    stores: list[tuple[Any, int | None, tuple[_Loop, ...]]] = field(default_factory=list)
    loads: list[Any] = field(default_factory=list)


def in_place_pairs(function: PrimFunc, inputs: int, outputs: int) -> tuple[tuple[int, int], ...]:
    """Pairs (operand, result) of positions that may lie at one address.

    Args:
        function: a kernel whose parameters are buffers: operands, results, then scratch.
        inputs: number of operands.
        outputs: number of results.
    """
    uses = _Uses()
    try:
        _collect(function.body, (), (), uses)
        return tuple(
            (operand, result)
            for result in range(outputs)
            for operand in range(inputs)
            if _may_share(function.params[operand], function.params[inputs + result], uses)
        )
    except _NotUnderstood:
        return ()


def _may_share(source: Buffer, target: Buffer, uses: _Uses) -> bool:
    return _same_extent(source, target) and _is_safe(source, target, uses)


def _same_extent(a: Buffer, b: Buffer) -> bool:
    return str(a.dtype) == str(b.dtype) and [str(extent) for extent in a.shape] == [str(extent) for extent in b.shape]


def _is_safe(source: Buffer, target: Buffer, uses: _Uses) -> bool:
    if any(load.source.same_as(source) or load.source.same_as(target) for load in uses.loads):
        return False
    count, read = 0, False
    for store, times, around in uses.stores:
        loads = list(_loads(store.value))
        here = [load for load in loads if load.source.same_as(source)]
        if any(load.source.same_as(target) for load in loads):
            return False
        if not store.buffer.same_as(target):
            if here:
                return False
            continue
        if times is None or not all(_equal(load.indices, store.indices, around) for load in here):
            return False
        read = read or bool(here)
        count += times
    return read and count == int(np.prod([int(extent) for extent in target.shape]))


def _equal(a: Sequence[Any], b: Sequence[Any], loops: Sequence[_Loop]) -> bool:
    """Whether indices are the same at every turn of the loops around them: as text, or one by one."""
    from tvm_ffi import structural_equal

    pairs = list(zip(a, b, strict=True))
    different = [(x, y) for x, y in pairs if not structural_equal(x, y)]
    if not different:
        return True
    used = [loop for loop in loops if any(_mentions(index, loop.variable) for pair in different for index in pair)]
    points = _points(used) if used else []
    if points is None:
        return False
    for x, y in different:
        left, right = _evaluate(x, points), _evaluate(y, points)
        if left is None or right is None or not np.array_equal(left, right):
            return False
    return True


def _collect(statement: Any, loops: tuple[_Loop, ...], conditions: tuple[_Condition, ...], uses: _Uses) -> None:
    """Gather the uses below a statement."""
    from tvm import tirx

    if isinstance(statement, tirx.SeqStmt):
        for each in statement.seq:
            _collect(each, loops, conditions, uses)
    elif isinstance(statement, tirx.For):
        uses.loads += [*_loads(statement.min), *_loads(statement.extent)]
        loop = _Loop(statement.loop_var, statement.min, statement.extent)
        _collect(statement.body, (*loops, loop), conditions, uses)
    elif isinstance(statement, tirx.IfThenElse):
        uses.loads += _loads(statement.condition)
        for holds, case in ((True, statement.then_case), (False, statement.else_case)):
            if case is not None:
                _collect(case, loops, (*conditions, _Condition(statement.condition, holds)), uses)
    elif isinstance(statement, tirx.AttrStmt):
        _collect(statement.body, loops, conditions, uses)
    elif isinstance(statement, tirx.BufferStore):
        for index in statement.indices:
            uses.loads += _loads(index)
        uses.stores.append((statement, _times(statement, loops, conditions), loops))
    elif not isinstance(statement, tirx.AllocBuffer | tirx.DeclBuffer):
        raise _NotUnderstood(type(statement).__name__)


def _times(store: Any, loops: Sequence[_Loop], conditions: Sequence[_Condition]) -> int | None:
    """How many elements a store writes in all, counted one by one where conditions or ragged loops decide."""
    from tvm import tirx

    lanes = 1
    for index in store.indices:
        lanes *= _lanes(index)
    fixed = [isinstance(each.first, tirx.IntImm) and isinstance(each.extent, tirx.IntImm) for each in loops]
    deciding = [each.holds for each in conditions]
    deciding += [each.extent for each, constant in zip(loops, fixed, strict=True) if not constant]
    asked = [
        each for each, constant in zip(loops, fixed, strict=True)
        if not constant or any(_mentions(expression, each.variable) for expression in deciding)
    ]  # fmt: skip
    times = lanes
    for each in loops:
        if each not in asked:
            times *= int(each.extent)
    if not asked:
        return None if conditions else times
    points = _points(asked)
    if points is None:
        return None
    holds: Any = np.ones(len(points[0][1]), bool)
    for condition in conditions:
        outcome = _evaluate(condition.holds, points)
        if outcome is None:
            return None
        holds = holds & (outcome if condition.wanted else np.logical_not(outcome))
    return times * int(np.count_nonzero(holds))


def _points(loops: Sequence[_Loop]) -> list[tuple[Any, np.ndarray]] | None:
    """All values of nested loops' variables together; None where they are too many or not known."""
    points: list[tuple[Any, np.ndarray]] = []
    count = 1
    for loop in loops:
        first, extent = _evaluate(loop.first, points), _evaluate(loop.extent, points)
        if first is None or extent is None:
            return None
        extents = np.maximum(np.broadcast_to(np.asarray(extent, np.int64), count), 0)
        if int(extents.sum()) > _MOST_POINTS:
            return None
        begins = np.repeat(np.cumsum(extents) - extents, extents)
        values = np.arange(int(extents.sum())) - begins
        values = values + np.repeat(np.broadcast_to(np.asarray(first, np.int64), count), extents)
        points = [(variable, np.repeat(axis, extents)) for variable, axis in points]
        points.append((loop.variable, values))
        count = len(values)
    return points


def _lanes(index: Any) -> int:
    from tvm import tirx

    return int(index.lanes) if isinstance(index, tirx.Ramp) else 1


_BINARY = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "FloorDiv": np.floor_divide, "FloorMod": np.mod,
    "Min": np.minimum, "Max": np.maximum, "LT": np.less, "LE": np.less_equal, "GT": np.greater,
    "GE": np.greater_equal, "EQ": np.equal, "NE": np.not_equal, "And": np.logical_and, "Or": np.logical_or,
}  # fmt: skip


def _evaluate(expression: Any, values: Sequence[tuple[Any, np.ndarray]]) -> Any:
    """An expression of loop variables for all their values; None where it holds anything else."""
    from tvm import tirx

    if isinstance(expression, tirx.IntImm):
        return int(expression.value)
    if isinstance(expression, tirx.Var):
        return next((axis for variable, axis in values if variable.same_as(expression)), None)
    function = _BINARY.get(type(expression).__name__)
    if function is None:
        return None
    left, right = _evaluate(expression.a, values), _evaluate(expression.b, values)
    return None if left is None or right is None else function(left, right)


def _mentions(expression: Any, variable: Any) -> bool:
    return any(each.same_as(variable) for each in _nodes(expression))


def _loads(expression: Any) -> list[Any]:
    from tvm import ir

    return [node for node in _nodes(expression) if isinstance(node, ir.expr.TensorLoad)]


def _nodes(expression: Any) -> list[Any]:
    """All parts of an expression, each once.

    Raises:
        _NotUnderstood: one of them is of a kind whose own parts are not known here.
    """
    found: dict[int, Any] = {}
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if found.setdefault(node.__chandle__(), node) is node:
            waiting += _parts(node)
    return list(found.values())


def _parts(node: Any) -> list[Any]:
    from tvm import ir, tirx

    if isinstance(node, tirx.Var | tirx.IntImm | tirx.FloatImm) or type(node).__name__ == "StringImm":
        return []
    if isinstance(node, ir.Call):
        if any(word in str(node.op) for word in _POINTERS):
            raise _NotUnderstood(str(node.op))
        return list(node.args)
    if isinstance(node, ir.expr.TensorLoad):
        return list(node.indices)
    if isinstance(node, tirx.Cast | tirx.Broadcast):
        return [node.value]
    if isinstance(node, tirx.Ramp):
        return [node.base, node.stride]
    if isinstance(node, tirx.Shuffle):
        return [*node.vectors, *node.indices]
    if isinstance(node, tirx.Select):
        return [node.condition, node.true_value, node.false_value]
    if isinstance(node, tirx.Let):
        return [node.value, node.body]
    if isinstance(node, tirx.Not):
        return [node.a]
    if hasattr(node, "a") and hasattr(node, "b"):
        return [node.a, node.b]
    raise _NotUnderstood(type(node).__name__)


class _NotUnderstood(Exception):
    """A kind of node that is not known here."""
