"""Number formats as data, and one exact reference of rounding to each.

Integers of 1 to 32 bits, floating-point formats with any exponent and mantissa, and blocks that share an exponent: what
"FP8 Formats for Deep Learning" (Micikevicius et al., 2022), the OCP Microscaling specification (2023) and dynamic fixed
point name, and everything between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from optc.errors import UsageError
from optc.ir.source import near
from optc.passes.quantization.number_format import Format as Format
from optc.passes.quantization.powers import PowerSumFormat
from optc.passes.quantization.rounding import rounding

Special = Literal["ieee", "nan", "zero-nan", "none"]
"""What the highest codes mean. `ieee`: the top exponent holds infinities and NaNs. `nan`: only the top code is NaN.
`zero-nan`: minus zero is NaN. `none`: every code is a number."""


@dataclass(frozen=True)
class IntegerFormat(Format):
    """Whole numbers.

    Attributes:
        width: bits.
        signed: two's complement.
        symmetric: whether the lowest code of a signed format is left out, so that minus the largest is the least.
    """

    width: int
    signed: bool = True
    symmetric: bool = False

    @property
    def bits(self) -> float:
        return self.width

    @property
    def least(self) -> int:
        """The lowest number."""
        return -(1 << (self.width - 1)) + self.symmetric if self.signed else 0

    @property
    def largest(self) -> float:
        return (1 << (self.width - self.signed)) - 1

    def round(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        bounded = np.clip(np.asarray(values, np.float64), self.least, self.largest)
        return rounding(mode)(bounded, np.random.default_rng(seed))


@dataclass(frozen=True)
class BinaryFormat(Format):
    """Minus one and one; zero counts as positive."""

    @property
    def bits(self) -> float:
        return 1

    @property
    def largest(self) -> float:
        return 1.0

    def round(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        rounding(mode)
        values = np.asarray(values, np.float64)
        return np.where(np.isnan(values), values, np.where(values < 0, -1.0, 1.0))


@dataclass(frozen=True)
class FloatFormat(Format):
    """A sign, an exponent and a mantissa with subnormal numbers.

    Attributes:
        exponent: bits.
        mantissa: bits behind the point.
        special: what the highest codes mean.
        bias: of the exponent; None for 2^(exponent-1) - 1, one more where minus zero is NaN.
    """

    exponent: int
    mantissa: int
    special: Special = "ieee"
    bias: int | None = None

    @property
    def bits(self) -> float:
        return 1 + self.exponent + self.mantissa

    @property
    def offset(self) -> int:
        """The bias in force."""
        if self.bias is not None:
            return self.bias
        return (1 << (self.exponent - 1)) - (self.special != "zero-nan")

    @property
    def lowest_exponent(self) -> int:
        """Of normal numbers; subnormal ones have the same unit in the last place."""
        return 1 - self.offset

    @property
    def largest(self) -> float:
        top = (1 << self.exponent) - 1 - self.offset
        fraction = 2.0 - 2.0**-self.mantissa
        if self.special == "ieee":
            return fraction * 2.0 ** (top - 1)
        if self.special == "nan":
            # Without its highest mantissa; a format without mantissa bits loses the whole exponent.
            return (fraction - 2.0**-self.mantissa) * 2.0**top if self.mantissa else 2.0 ** (top - 1)
        return fraction * 2.0**top

    def round(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        return np.clip(self.round_unbounded(values, mode, seed=seed), -self.largest, self.largest)

    def round_unbounded(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        """As `round`, as if the exponent had no upper end: what exceeds `largest` has overflowed."""
        values = np.asarray(values, np.float64)
        _, exponents = np.frexp(values)  # |value| in [2^(e-1), 2^e)
        unit = np.maximum(exponents - 1, self.lowest_exponent) - self.mantissa
        finite = np.isfinite(values)
        scaled = np.ldexp(np.where(finite, values, 0.0), -unit)
        rounded = np.ldexp(rounding(mode)(scaled, np.random.default_rng(seed)), unit)
        return np.where(finite, np.copysign(rounded, values), values)


@dataclass(frozen=True)
class BlockFormat(Format):
    """Elements in blocks along the last axis, each block with a power of two that scales it.

    With integer elements this is dynamic fixed point, with floats the Microscaling formats.

    Attributes:
        element: the format of an element.
        size: elements of a block; the last block of a row may have fewer.
        scale_bits: of the shared exponent.
    """

    element: IntegerFormat | FloatFormat
    size: int = 32
    scale_bits: int = 8

    @property
    def bits(self) -> float:
        return self.element.bits + self.scale_bits / self.size

    @property
    def largest(self) -> float:
        return self.element.largest

    def round(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        values = np.asarray(values, np.float64)
        if not values.size:
            return values
        rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % self.size)))
        blocks = padded.reshape(len(rows), -1, self.size)
        magnitude = np.where(np.isfinite(blocks), np.abs(blocks), 0.0).max(axis=2, keepdims=True)
        # The largest power of two of the block becomes that of the format (Microscaling specification, section 6.3).
        _, exponent = np.frexp(magnitude)
        _, top = np.frexp(self.element.largest)
        span = (1 << (self.scale_bits - 1)) - 1
        scale = np.clip(np.where(magnitude > 0, exponent - top, 0), -span, span)
        rounded = np.ldexp(self.element.round(np.ldexp(blocks, -scale), mode, seed=seed), scale)
        return rounded.reshape(len(rows), -1)[:, : rows.shape[1]].reshape(values.shape)


FORMATS: dict[str, Format] = {
    "binary": BinaryFormat(),
    "fp16": FloatFormat(5, 10),
    "bf16": FloatFormat(8, 7),
    "fp8-e4m3": FloatFormat(4, 3, "nan"),
    "fp8-e5m2": FloatFormat(5, 2),
    "fp6-e2m3": FloatFormat(2, 3, "none"),
    "fp6-e3m2": FloatFormat(3, 2, "none"),
    "fp4-e2m1": FloatFormat(2, 1, "none"),
    "mxfp8-e4m3": BlockFormat(FloatFormat(4, 3, "nan")),
    "mxfp8-e5m2": BlockFormat(FloatFormat(5, 2)),
    "mxfp6-e2m3": BlockFormat(FloatFormat(2, 3, "none")),
    "mxfp6-e3m2": BlockFormat(FloatFormat(3, 2, "none")),
    "mxfp4": BlockFormat(FloatFormat(2, 1, "none")),
    "mxint8": BlockFormat(IntegerFormat(8)),
}
"""Those with a name of their own; `format_of` knows the families too."""


def format_of(name: str) -> Format:
    """A format by name: one of `FORMATS`, `int1`-`int32`, `uint1`-`uint32`, `eXmY`, `dfpN` (dynamic fixed point), or
    `shift1`-`shift3` (sums of powers of two).

    Raises:
        UsageError: there is none of that name.
    """
    if name in FORMATS:
        return FORMATS[name]
    if (match := re.fullmatch(r"(u?)int(\d+)", name)) and 1 <= int(match[2]) <= 32:
        return IntegerFormat(int(match[2]), signed=not match[1])
    if (match := re.fullmatch(r"e(\d+)m(\d+)", name)) and 1 <= int(match[1]) <= 8 and int(match[2]) <= 23:
        return FloatFormat(int(match[1]), int(match[2]))
    if (match := re.fullmatch(r"dfp(\d+)", name)) and 2 <= int(match[1]) <= 32:
        return BlockFormat(IntegerFormat(int(match[1])))
    if match := re.fullmatch(r"shift([123])", name):
        return PowerSumFormat(int(match[1]))
    known = [*FORMATS, "shift2", "int8", "uint8", "int4", "int16", "e3m4", "dfp8"]
    raise UsageError(f"no number format is called '{name}'", hint=near(name, known) or f"such as {', '.join(known)}")
