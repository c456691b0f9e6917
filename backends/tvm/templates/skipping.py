"""Products of one row with a constant matrix that read no weights where the row is zero.

What CHESS (He et al., 2024) and others call activation sparsity pays on processors with a single row: the time is that
of reading the matrix. The places of the elements that are not zero are listed first, so that no branch is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.gemm import ConstantGemm
from optc.backends.tvm.templates.operand import Operand
from optc.costmodel.skipping import shortened, skips

if TYPE_CHECKING:
    from tvm.tirx import Stmt

    from optc.targets.target import Target

LISTING = 2.0
"""Vector instructions' worth of time for each element that is looked at."""


class Nonzeros(Operand):
    """A row, and the places of its elements that are not zero.

    Attributes:
        places: int32, as many as there are elements; the first `count[0]` of them hold.
        count: of one element.
    """

    def __init__(self, fused: FusedContraction, row: Any) -> None:
        super().__init__(fused, row, 1)
        self.depth = int(row.shape[-1])
        self.places = loops.parameter((self.depth,), "int32", "places")
        self.count = loops.parameter((1,), "int32", "count")
        self._rows = list(self.scratches)
        self.scratches = [*self._rows, self.places, self.count]

    def fill(self, target: Target, seconds: float) -> list[Stmt]:
        """The loops that evaluate the prologue, and list the places."""
        from tvm import tirx

        lead = (0,) * (len(self.value.shape) - 1)
        zero = loops.constant(0, "float32")

        def note(k: Any) -> Stmt:
            one = tirx.Select(tirx.NE(self.read((*lead, k)), zero), loops.constant(1), loops.constant(0))
            listed = loops.store(self.places, k, [self.count[0]])
            return loops.sequence([listed, loops.store(self.count, self.count[0] + one, [0])])

        start = loops.store(self.count, loops.constant(0), [0])
        return [*(self._fill(each, target, seconds) for each in self._rows), start, loops.serial(self.depth, note, "k")]


class SkippingGemm(ConstantGemm):
    """`onnx.MatMul` and `onnx.Gemm` of one row of which most is said to be zero, with a constant matrix."""

    name = "skipping_gemm"

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = super().refuses(group, target)
        if refusal is not None:
            return refusal
        assert group.anchor is not None
        return None if skips(group.anchor) is not None else "nothing says that most of a single row is zero"

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        return Nonzeros(fused, fused.anchor.operands[0])

    def terms(self, data: Operand, depth: int, add: Callable[[Any], Stmt]) -> Stmt:
        assert isinstance(data, Nonzeros)
        return loops.serial(data.count[0], lambda number: add(data.places[number]), "number")

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        assert group.anchor is not None
        row, matrix = group.anchor.present_operands[:2]
        density = skips(group.anchor)
        assert density is not None
        looked_at = LISTING * math.prod(row.shape) * 2 * tiles.lanes_of(target) / target.peak_flops.get("f32", 2.0e9)
        share = shortened(density, matrix.tensor_type.bytes, target)
        return share * super().estimate(group, schedule, target) + looked_at
