"""Tensors as functions of logical indices: how a group's operations fuse without any scheduling.

A LogicalTensor gives the expression of one element. Element-wise and movement operations compose these functions, so
they are inlined by construction; only reductions and contractions become te stages. Memory layout appears only where a
buffer is read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optc.ir.dtypes import DType
from optc.ir.types import Layout

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

Element = Callable[..., "PrimExpr"]


@dataclass(frozen=True)
class LogicalTensor:
    """A tensor of static logical `shape`, whose element at `indices` is `element(*indices)`."""

    shape: tuple[int, ...]
    dtype: DType
    element: Element

    def __call__(self, *indices: PrimExpr | int) -> PrimExpr:
        return self.element(*indices)


def stored_indices(layout: Layout, indices: Sequence[PrimExpr | int]) -> tuple[PrimExpr | int, ...]:
    """Where the element at the logical `indices` lies in a buffer of the given layout."""
    outer = list(indices)
    inner = []
    for axis, factor in layout.blocks:
        index = outer[axis]
        outer[axis] = index // factor
        inner.append(index % factor)
    order = layout.permutation or range(len(outer))
    return (*(outer[axis] for axis in order), *inner)


def logical_indices(layout: Layout, rank: int, indices: Sequence[PrimExpr]) -> tuple[PrimExpr, ...]:
    """The logical indices of a buffer position; the inverse of `stored_indices`."""
    order = layout.permutation or tuple(range(rank))
    logical = {axis: indices[position] for position, axis in enumerate(order)}
    for (axis, factor), inner in zip(reversed(layout.blocks), reversed(indices[rank:]), strict=True):
        logical[axis] = logical[axis] * factor + inner
    return tuple(logical[axis] for axis in range(rank))
