"""The parts of a Winograd convolution: transforms of tiles on vectors of channels, and the products between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.math.winograd import Combination, Program

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Stmt

Read = Callable[[Any], "PrimExpr"]  # lane -> element
Write = Callable[[int, int, Read], "list[Stmt]"]  # row, column of the result, its elements


def transform(
    program: Program, lanes: int, read: Callable[[int, int, Any], PrimExpr], write: Write, dtype: str = "float32"
) -> Stmt:
    """T X Tᵀ for a square X of vectors, T being the program's matrix.

    Args:
        program: of one axis.
        lanes: of each vector.
        read: (row, column, lane) -> element of X; read as often as the program names it.
        write: takes each element of the result.
        dtype: of all elements; the coefficients of the program are numbers of this type.
    """
    statements: list[Stmt] = []
    size = program.inputs

    def column(j: int) -> list[Read]:
        given = [_kept(statements, lanes, partial(read, i, j), dtype) for i in range(size)]
        return _apply(statements, program, lanes, given, dtype)

    columns = [column(j) for j in range(size)]
    for i in range(len(program.results)):
        results = _apply(statements, program, lanes, [columns[j][i] for j in range(size)], dtype)
        for j, result in enumerate(results):
            statements += write(i, j, result)
    return loops.sequence(statements)


def _apply(statements: list[Stmt], program: Program, lanes: int, given: Sequence[Read], dtype: str) -> list[Read]:
    values = list(given)
    for combination in program.combinations:
        values.append(_kept(statements, lanes, partial(_combined, combination, values, dtype), dtype))
    return [values[number] for number in program.results]


def _combined(combination: Combination, values: Sequence[Read], dtype: str, lane: Any) -> PrimExpr:
    result: Any = None
    for number, factor in combination:
        value = values[number](lane)
        if result is None:
            result = value if factor == 1.0 else value * loops.constant(factor, dtype)
        elif abs(factor) == 1.0:
            result = result + value if factor > 0 else result - value
        else:
            result = result + value * loops.constant(factor, dtype)
    return result


def _kept(statements: list[Stmt], lanes: int, element: Read, dtype: str) -> Read:
    """The vector in a register of its own."""
    register, allocation = loops.local(lanes, dtype, "w")
    statements += [allocation, loops.vectorized(lanes, lambda lane: loops.store(register, element(lane), [lane]))]
    return lambda lane: register[lane]
