"""How the memory accesses and branches of a loop body depend on its loop variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.codegen import load_tvm
from optc.backends.tvm.lowering.recording import recording

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Var

Ranges = tuple[tuple["Var", int], ...]
"""The variables of the enclosing loops with their extents."""

Touch = Callable[[Sequence[Any]], Sequence[tuple["PrimExpr", int]]]
"""Builds the body at given indices and returns the offsets that it stores to, with the bytes of one element."""


@dataclass(frozen=True)
class Analysis:
    """What was found about a body under loops over some axes.

    Attributes:
        extents: of the axes.
        strides: for each access (stores first) its step in elements along each axis; None where it is not affine.
        stores: how many of the accesses are stores.
        cuts: per axis, the positions at which a branch condition becomes always true or always false.
        item_bytes: bytes of the widest element touched.
    """

    extents: tuple[int, ...]
    strides: tuple[tuple[int | None, ...], ...]
    stores: int
    cuts: tuple[tuple[int, ...], ...]
    item_bytes: int

    def contiguous(self, axis: int) -> bool:
        """Whether every access along the axis stands still or takes the next element, and at least one does."""
        steps = [strides[axis] for strides in self.strides]
        return all(step in (0, 1) for step in steps) and 1 in steps


def analyse(extents: Sequence[int], touch: Touch, ranges: Ranges) -> Analysis:
    """Build the body once under fresh variables and look at its accesses and conditions."""
    load_tvm()
    from tvm import ir, sym, tirx

    analyzer = sym.Analyzer()
    variables = [tirx.Var(f"axis{i}", "int32") for i in range(len(extents))]
    for var, extent in (*ranges, *zip(variables, extents, strict=True)):
        analyzer.bind(var, ir.Range(0, extent))
    with recording(analyzer) as record:
        stored = list(touch(variables))
    accesses = [*stored, *record.reads]
    strides = tuple(_strides(analyzer, offset, variables) for offset, _ in accesses)
    cuts: list[set[int]] = [set() for _ in extents]
    for condition in record.conditions:
        for part in _conjuncts(condition):
            _add_cuts(analyzer, part, variables, extents, cuts)
    widest = max((item_bytes for _, item_bytes in accesses), default=4)
    return Analysis(tuple(extents), strides, len(stored), tuple(tuple(sorted(c)) for c in cuts), widest)


def strides_of(offset: PrimExpr, variables: Sequence[Var]) -> tuple[int | None, ...]:
    """The step of an offset along each variable; None where it is not affine."""
    from tvm import sym

    return _strides(sym.Analyzer(), offset, variables)


def _strides(analyzer: Any, offset: PrimExpr, variables: Sequence[Var]) -> tuple[int | None, ...]:
    coefficients = _linear(analyzer, offset, variables)
    return tuple(None for _ in variables) if coefficients is None else tuple(coefficients[0])


def _linear(analyzer: Any, value: Any, variables: Sequence[Var]) -> tuple[list[int | None], PrimExpr] | None:
    """Coefficients of the variables (None where one is not constant) and the rest; None when it is not affine."""
    from tvm import sym, tirx

    if not variables:
        return [], tirx.convert(value)
    simplified = analyzer.simplify(tirx.convert(value))
    found = list(sym.detect_linear_equation(simplified, list(variables)))
    if not found:
        return None
    steps = [analyzer.simplify(c) for c in found[:-1]]
    return [int(s) if isinstance(s, tirx.IntImm) else None for s in steps], found[-1]


def _conjuncts(condition: PrimExpr) -> list[PrimExpr]:
    from tvm import tirx

    if isinstance(condition, tirx.And):
        return [*_conjuncts(condition.a), *_conjuncts(condition.b)]
    return [condition]


def _add_cuts(
    analyzer: Any, condition: PrimExpr, variables: Sequence[Var], extents: Sequence[int], cuts: list[set[int]]
) -> None:
    """Where along each axis `coefficient * index + rest >= 0` is settled whatever the other variables are."""
    from tvm import tirx

    difference = {
        tirx.GE: lambda c: c.a - c.b,
        tirx.GT: lambda c: c.a - c.b - 1,
        tirx.LE: lambda c: c.b - c.a,
        tirx.LT: lambda c: c.b - c.a - 1,
    }.get(type(condition))
    if difference is None:
        return
    value = difference(condition)
    for axis, variable in enumerate(variables):
        found = _linear(analyzer, value, [variable])
        if found is None or not found[0][0]:
            continue
        step, rest = found[0][0], found[1]
        bound = analyzer.const_int_bound(rest)
        limits = (-int(bound.min_value), -int(bound.max_value))
        for limit in limits:
            if abs(limit) > 2**40:
                continue
            # The first index at which step * index >= limit begins or ceases to hold.
            position = -(-limit // step) if step > 0 else limit // step + 1
            if 0 < position < extents[axis]:
                cuts[axis].add(position)
