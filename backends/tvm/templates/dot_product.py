"""Dot products of four unsigned bytes with four signed ones, added to 32-bit lanes: one kind for each instruction set.

Every kind is exact for all data and for the weights that it admits. Products of two bytes reach 255 * 128, so that
instructions which add two of them in 16 bits (vpmaddubsw) only serve weights of 7 bits; others are widened first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from optc.backends.tvm import loops
from optc.backends.tvm.codegen import load_tvm, tvm_target
from optc.backends.tvm.math.dot_weights import FOUR

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

    from optc.targets.target import Target

Add = Callable[[int, "PrimExpr", "PrimExpr", "list[PrimExpr]"], "PrimExpr"]
"""(lanes, int32 sums, data as one int32, the parts of a quad of weights) -> sums."""

AddTwo = Callable[[int, "PrimExpr", "tuple[PrimExpr, PrimExpr]", "tuple[PrimExpr, PrimExpr]"], "PrimExpr"]
"""(lanes, int32 sums, data of two quads, their weights) -> sums."""

AddByLane = Callable[[int, "PrimExpr", "list[PrimExpr]", "list[PrimExpr]"], "PrimExpr"]
"""(lanes, int32 sums, the parts of a quad of data in 32 bits a lane, those of its weights) -> sums."""


@dataclass(frozen=True)
class DotProduct:
    """One way to multiply and add.

    Attributes:
        name: of the instruction.
        features: by the int32 lanes of a vector, what LLVM calls the extension that has it; empty: any lanes.
        add: makes the expression.
        inner: consecutive weights of a lane; a quad has 4 / inner parts.
        weight_bytes: of one stored weight.
        largest: absolute value of a weight up to which the sums are exact.
        signed: whether the data must be signed bytes, 128 less.
        registers: that hold constants and intermediate results.
        rate: four-byte products a lane makes for one that the target's `i8` figure counts.
        add_two: likewise for two quads, where their products may be summed in 16 bits; None where that gains nothing.
        add_by_lane: likewise for data that differ by lane; None where it does not pay to put these together.
    """

    name: str
    features: Mapping[int, str]
    add: Add
    inner: int = FOUR
    weight_bytes: int = 1
    largest: int = 128
    signed: bool = False
    registers: int = 0
    rate: float = 1.0
    add_two: AddTwo | None = None
    add_by_lane: AddByLane | None = None

    @property
    def parts(self) -> int:
        """Vectors of weights in a quad."""
        return FOUR // self.inner


def intrinsic(name: str, dtype: str, *operands: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.call_llvm_pure_intrin(dtype, name, *operands)


def as_type(dtype: str, value: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.reinterpret(dtype, value)


def _spread(by_lane: AddByLane) -> Add:
    """From the data of every lane to data that all share."""

    def add(lanes: int, total: PrimExpr, data: PrimExpr, weights: list[PrimExpr]) -> PrimExpr:
        return by_lane(lanes, total, [loops.spread(data, lanes)], weights)

    return add


def _vpdpbusd(lanes: int, total: PrimExpr, data: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    bytes_of = as_type(f"uint8x{4 * lanes}", data[0])
    return intrinsic(f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", f"int32x{lanes}", total, bytes_of, weights[0])


_PAIRS_OF_BYTES = {
    16: "llvm.x86.avx512.pmaddubs.w.512",
    8: "llvm.x86.avx2.pmadd.ub.sw",
    4: "llvm.x86.ssse3.pmadd.ub.sw.128",
}
PAIRS_OF_WORDS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}


def _pairs_of_bytes(lanes: int, data: PrimExpr, weights: PrimExpr) -> PrimExpr:
    """Sums of two products in 16 bits."""
    return intrinsic(_PAIRS_OF_BYTES[lanes], f"int16x{2 * lanes}", as_type(f"uint8x{4 * lanes}", data), weights)


def _sum_of_pairs(lanes: int, total: PrimExpr, pairs: PrimExpr) -> PrimExpr:
    from tvm import tirx

    ones = tirx.Broadcast(loops.constant(1, "int16"), 2 * lanes)
    return total + intrinsic(PAIRS_OF_WORDS[lanes], f"int32x{lanes}", pairs, ones)


def _vpmaddubsw(lanes: int, total: PrimExpr, data: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    return _sum_of_pairs(lanes, total, _pairs_of_bytes(lanes, data[0], weights[0]))


def _two_vpmaddubsw(
    lanes: int, total: PrimExpr, data: tuple[PrimExpr, PrimExpr], weights: tuple[PrimExpr, PrimExpr]
) -> PrimExpr:
    spread = (loops.spread(each, lanes) for each in data)
    first, second = (_pairs_of_bytes(lanes, *each) for each in zip(spread, weights, strict=True))
    return _sum_of_pairs(lanes, total, first + second)


def _vpmaddwd(lanes: int, total: PrimExpr, data: PrimExpr, weights: list[PrimExpr]) -> PrimExpr:
    """Even and odd bytes as 16-bit numbers by themselves; the weights are stored in 16 bits."""
    from tvm import tirx

    spread = as_type(f"uint16x{2 * lanes}", loops.spread(data, lanes))
    even = tirx.bitwise_and(spread, tirx.Broadcast(loops.constant(255, "uint16"), 2 * lanes))
    odd = tirx.shift_right(spread, tirx.Broadcast(loops.constant(8, "uint16"), 2 * lanes))
    return _words(lanes, total, [even, odd], weights)


def _words(lanes: int, total: PrimExpr, data: list[PrimExpr], weights: list[PrimExpr]) -> PrimExpr:
    words = f"int16x{2 * lanes}"
    for half, part in zip(data, weights, strict=True):
        total = total + intrinsic(PAIRS_OF_WORDS[lanes], f"int32x{lanes}", as_type(words, half), as_type(words, part))
    return total


def _neon(name: str, lanes: int, total: PrimExpr, data: PrimExpr, weights: list[PrimExpr]) -> PrimExpr:
    kind = "uint8x16" if name == "usdot" else "int8x16"
    bytes_of = as_type(kind, loops.spread(data, lanes))
    return intrinsic(f"llvm.aarch64.neon.{name}", f"int32x{lanes}", total, bytes_of, weights[0])


def _widened(lanes: int, total: PrimExpr, data: PrimExpr, weights: list[PrimExpr]) -> PrimExpr:
    """Byte by byte."""
    from tvm import tirx

    vector = f"int32x{lanes}" if lanes > 1 else "int32"
    for place, part in enumerate(weights):
        byte = tirx.bitwise_and(tirx.shift_right(data, loops.constant(8 * place)), loops.constant(255))
        total = total + loops.spread(byte, lanes) * part.astype(vector)
    return total


WIDE = {16: "avx512bw", 8: "avx2", 4: "ssse3"}

# The fastest first; the first whose features a target has for every vector it is asked for is taken.
KINDS: tuple[DotProduct, ...] = (
    DotProduct(
        "vpdpbusd", {16: "avx512vnni", 8: "avx512vnni", 4: "avx512vnni"}, _spread(_vpdpbusd), add_by_lane=_vpdpbusd
    ),
    DotProduct("vpdpbusd-vex", {8: "avxvnni", 4: "avxvnni"}, _spread(_vpdpbusd), add_by_lane=_vpdpbusd),
    DotProduct(
        "vpmaddubsw",
        WIDE,
        _spread(_vpmaddubsw),
        largest=64,
        registers=2,
        rate=1.25,
        add_two=_two_vpmaddubsw,
        add_by_lane=_vpmaddubsw,
    ),
    DotProduct("vpmaddwd", WIDE, _vpmaddwd, inner=2, weight_bytes=2, registers=3, rate=0.7, add_by_lane=_words),
    DotProduct("usdot", {4: "i8mm"}, partial(_neon, "usdot")),
    DotProduct("sdot", {4: "dotprod"}, partial(_neon, "sdot"), signed=True),
    DotProduct("widened", {}, _widened, inner=1, registers=1, rate=0.25),
)


@lru_cache(maxsize=64)
def _has(feature: str, target: TargetKey) -> bool:
    load_tvm()
    from tvm.target import codegen

    return bool(codegen.target_has_features(feature, tvm_target(target.target)))


@dataclass(frozen=True)
class TargetKey:
    """A target that can be compared by what LLVM is told."""

    text: str
    target: Target = field(compare=False)


def has_feature(feature: str, target: Target) -> bool:
    """Whether LLVM may use an extension in code for a target."""
    if target.llvm.get("kind") != "llvm":
        return False
    key = TargetKey(repr(sorted((name, repr(value)) for name, value in target.llvm.items())), target)
    return _has(feature, key)


def kinds_for(target: Target, vectors: tuple[int, ...], largest: int = 128) -> list[DotProduct]:
    """The kinds that code for a target can use.

    Args:
        target: of the code.
        vectors: lanes of the vectors.
        largest: absolute value of a weight.

    Returns:
        the fastest first; at least one.
    """
    return [
        kind
        for kind in KINDS
        if largest <= kind.largest
        and (not kind.features or all(n in kind.features and has_feature(kind.features[n], target) for n in vectors))
    ]
