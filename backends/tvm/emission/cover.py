"""Stores, and how a range of indices is covered by vectors, parts and merged axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.emission.analysis import Analysis
from optc.backends.tvm.lowering.binding import dtype_of

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

Indices = tuple[Any, ...]

_MOST_BOXES = 12


@dataclass(frozen=True)
class Store:
    """`buffer[offset] = value`."""

    buffer: Buffer
    offset: PrimExpr
    value: PrimExpr

    @property
    def statement(self) -> Stmt:
        return loops.store(self.buffer, stored(self.value, str(self.buffer.dtype)), [self.offset])

    @property
    def item_bytes(self) -> int:
        return item_bytes(str(self.buffer.dtype))


def stored(value: PrimExpr, dtype: str) -> PrimExpr:
    """A value as a buffer of type `dtype` holds it: bools are bytes, bfloat16 the upper half of an f32.

    Names bound around the value stay outermost, where `bindings_to_arrays` looks for them.
    """
    from tvm import tirx

    if isinstance(value, tirx.Let):
        return tirx.Let(value.var, value.value, stored(value.body, dtype))
    if dtype_of(value) == "bool":
        return tirx.Cast("uint8", value)
    if dtype_of(value) == "bfloat16" and dtype == "uint16":
        return tirx.reinterpret("uint16", value)
    if dtype_of(value) == "float32" and dtype == "uint16":
        return tirx.shift_right(tirx.reinterpret("uint32", value), tirx.const(16, "uint32")).astype("uint16")
    return value


def item_bytes(dtype: str) -> int:
    """Bytes of one element of a TIR type."""
    digits = "".join(filter(str.isdigit, dtype))
    return max(1, int(digits) // 8) if digits and dtype != "bool" else 1


def plus(start: Any, lane: Any) -> Any:
    """`start + lane`, without the sum where it starts at zero."""
    return lane if isinstance(start, int) and start == 0 else start + lane


def product(extents: Sequence[int]) -> int:
    """The number of indices in a box."""
    result = 1
    for extent in extents:
        result *= extent
    return result


def vector_loop(extent: int, lanes: int, cuts: Sequence[int], statement: Callable[[Any], Stmt]) -> Stmt:
    """`statement(index)` for each index below `extent`, `lanes` at a time as far as they go."""

    def at_width(width: int) -> Callable[[Any], Stmt]:
        return lambda start: loops.vectorized(width, lambda lane: statement(plus(start, lane)))

    return pieces(extent, lanes, cuts, at_width)


def pieces(
    extent: int,
    width: int,
    cuts: Sequence[int],
    at_width: Callable[[int], Callable[[Any], Stmt]],
    *,
    smallest: int = 2,
) -> Stmt:
    """Cover `[0, extent)` by runs of `width` and, at the end of each segment, of smaller powers of two.

    No run crosses a cut. `at_width(w)(start)` handles `w` indices from `start`.
    """
    parts: list[Stmt] = []
    edges = [0, *cuts, extent] if len(cuts) <= 8 else [0, extent]
    for start, end in pairwise(edges):
        current, run = start, width
        while current < end:
            count = (end - current) // run
            if count:
                body = at_width(run)
                parts.append(_runs(current, count, run, body))
                current += count * run
            run = run // 2 if run // 2 >= smallest else 1
    return loops.sequence(parts)


def _runs(start: int, count: int, width: int, body: Callable[[Any], Stmt]) -> Stmt:
    return loops.serial(count, lambda i: body(start + i * width if start else i * width), "run")


def boxes(found: Analysis) -> list[tuple[tuple[int, int], ...]]:
    """The parts into which the cuts of all axes but the last divide the box; the last axis stays whole.

    One part when there would be too many.
    """
    parts: list[tuple[tuple[int, int], ...]] = [()]
    for axis, extent in enumerate(found.extents):
        inner = axis == len(found.extents) - 1
        edges = [0, extent] if inner else [0, *found.cuts[axis], extent]
        parts = [(*part, segment) for part in parts for segment in pairwise(edges)]
    return parts if len(parts) <= _MOST_BOXES else [tuple((0, extent) for extent in found.extents)]


def collapse(found: Analysis, boundary: int | None = None) -> list[list[int]]:
    """Groups of neighbouring axes that every access walks as if they were one; none reaches over `boundary`."""
    groups: list[list[int]] = []
    for axis in range(len(found.extents)):
        if groups and axis != boundary and not found.cuts[axis] and not found.cuts[axis - 1]:
            steps = [(s[axis - 1], s[axis]) for s in found.strides]
            extent = found.extents[axis]
            if all(a is not None and b is not None and a == b * extent for a, b in steps):
                groups[-1].append(axis)
                continue
        groups.append([axis])
    return groups


def merged(found: Analysis, groups: list[list[int]]) -> tuple[Analysis, Callable[[Sequence[Any]], Indices]]:
    """The analysis under one axis for each group, and how its indices become those of the original axes."""
    extents = tuple(product([found.extents[axis] for axis in group]) for group in groups)
    result = replace(
        found,
        extents=extents,
        strides=tuple(tuple(strides[group[-1]] for group in groups) for strides in found.strides),
        cuts=tuple(found.cuts[group[0]] if len(group) == 1 else () for group in groups),
    )

    def expand(indices: Sequence[Any]) -> Indices:
        placed: list[Any] = [0] * len(found.extents)
        for group, index in zip(groups, indices, strict=True):
            for axis in reversed(group[1:]):
                placed[axis] = index % found.extents[axis]
                index = index // found.extents[axis]
            placed[group[0]] = index
        return tuple(placed)

    return result, expand
