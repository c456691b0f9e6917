"""A fused group as the TVM backend sees it: the body graph and which of its inputs are constants."""

from __future__ import annotations

from dataclasses import dataclass

from optc.ir.core import Graph, Operation
from optc.ops.declaration import Kind, declaration_of


@dataclass(frozen=True)
class Group:
    """One kernel to be.

    Attributes:
        body: the group's graph. Inputs and outputs carry their memory layouts in their types; scalar constants stand
            inside as `optc.constant`, larger ones are inputs.
        constants: positions of the inputs that are constants, which a template may have packed at compile time.
    """

    body: Graph
    constants: frozenset[int] = frozenset()

    @property
    def anchor(self) -> Operation | None:
        """The contraction that the group is built around, if it has one."""
        return next((op for op in self.body if declaration_of(op.name).kind is Kind.CONTRACTION), None)
