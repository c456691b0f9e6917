"""Dot products of two 16-bit numbers with two others, added to 32-bit lanes: one kind for each instruction set.

The sums wrap around modulo 2^32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optc.backends.tvm import loops
from optc.backends.tvm.templates.dot_product import PAIRS_OF_WORDS, WIDE, as_type, has_feature, intrinsic

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

    from optc.targets.target import Target

AddPair = Callable[[int, "PrimExpr", "PrimExpr", "PrimExpr"], "PrimExpr"]
"""(lanes, int32 sums, data as one int32, weights as int16) -> sums."""


@dataclass(frozen=True)
class PairProduct:
    """One way to multiply and add.

    Attributes:
        name: of the instruction.
        features: by the int32 lanes of a vector, what LLVM calls the extension that has it.
        add: makes the expression.
        registers: that hold intermediate results.
        rate: operations a lane makes for one that the target's `i8` figure counts.
    """

    name: str
    features: Mapping[int, str]
    add: AddPair
    registers: int = 0
    rate: float = 0.5


def _vpdpwssd(lanes: int, total: PrimExpr, data: PrimExpr, weights: PrimExpr) -> PrimExpr:
    words = as_type(f"int16x{2 * lanes}", loops.spread(data, lanes))
    return intrinsic(f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", f"int32x{lanes}", total, words, weights)


def _vpmaddwd(lanes: int, total: PrimExpr, data: PrimExpr, weights: PrimExpr) -> PrimExpr:
    words = as_type(f"int16x{2 * lanes}", loops.spread(data, lanes))
    return total + intrinsic(PAIRS_OF_WORDS[lanes], f"int32x{lanes}", words, weights)


# The fastest first. A target without byte dot products has the figure of its 16-bit ones for bytes.
PAIR_KINDS: tuple[PairProduct, ...] = (
    PairProduct("vpdpwssd", {16: "avx512vnni", 8: "avx512vnni", 4: "avx512vnni"}, _vpdpwssd),
    PairProduct("vpdpwssd-vex", {8: "avxvnni", 4: "avxvnni"}, _vpdpwssd),
    PairProduct("vpmaddwd", WIDE, _vpmaddwd, registers=1, rate=1.0),
)


def pair_kind(target: Target, vectors: tuple[int, ...]) -> PairProduct | None:
    """The fastest kind that code for a target can use on vectors of so many lanes; None where there is none."""
    for kind in PAIR_KINDS:
        if all(lanes in kind.features and has_feature(kind.features[lanes], target) for lanes in vectors):
            return kind
    return None
