"""What a layer can be quantized to: a format of its weights, one of its activations, and who shares a scale."""

from __future__ import annotations

from dataclasses import dataclass

from optc.errors import UsageError
from optc.ir.source import near
from optc.passes.quantization.formats import BinaryFormat, BlockFormat, Format, IntegerFormat, format_of


@dataclass(frozen=True)
class Scheme:
    """A precision.

    Attributes:
        name: what the user calls it.
        weights: the format of weights; each output channel has its own scale.
        activations: the format of activations, one scale for a tensor; None leaves them in float.
        group: weights along the summed axis that share a scale; None for all of a channel.
        mantissa: of both formats, in bits, where products are those of L-Mul (see `l_mul`); None where they are exact.
    """

    name: str
    weights: Format
    activations: Format | None
    group: int | None = None
    mantissa: int | None = None


_SIGNED_8 = IntegerFormat(8, symmetric=True)
_SIGNED_4 = IntegerFormat(4, symmetric=True)
_UNSIGNED_8 = IntegerFormat(8, signed=False)

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("int8", _SIGNED_8, _UNSIGNED_8),
        # Sums of two products stay below 2^15: 255 * 63 * 2 (vpmaddubsw saturates there).
        Scheme("int7", IntegerFormat(7, symmetric=True), _UNSIGNED_8),
        Scheme("int4", _SIGNED_4, _UNSIGNED_8),
        Scheme("shift1", format_of("shift1"), _UNSIGNED_8),
        Scheme("shift2", format_of("shift2"), _UNSIGNED_8),
        Scheme("fp8-e4m3", format_of("fp8-e4m3"), format_of("fp8-e4m3")),
        Scheme("fp8-e5m2", format_of("fp8-e5m2"), format_of("fp8-e5m2")),
        Scheme("fp4", format_of("fp4-e2m1"), format_of("fp8-e4m3")),
        Scheme("l-mul-e4m3", format_of("fp8-e4m3"), format_of("fp8-e4m3"), mantissa=3),
        Scheme("l-mul-e5m2", format_of("fp8-e5m2"), format_of("fp8-e5m2"), mantissa=2),
        Scheme("int8-weights", _SIGNED_8, None, 128),
        Scheme("int4-weights", _SIGNED_4, None, 32),
    )
}
"""Those with a name of their own; `scheme_of` also knows `WEIGHTS/ACTIVATIONS`."""


def scheme_of(name: str) -> Scheme:
    """A scheme by name: one of `SCHEMES`, or two formats as `int4/uint8`, where `float` leaves activations alone.

    Raises:
        UsageError: there is none of that name.
    """
    if name in SCHEMES:
        return SCHEMES[name]
    first, separator, second = name.partition("/")
    if not separator:
        hint = near(name, SCHEMES) or f"one of {', '.join(SCHEMES)}, or WEIGHTS/ACTIVATIONS such as int4/uint8"
        raise UsageError(f"no quantization is called '{name}'", hint=hint)
    weights = format_of(first)
    if isinstance(weights, IntegerFormat) and weights.signed:
        weights = IntegerFormat(weights.width, symmetric=True)
    activations = None if second == "float" else format_of(second)
    for format in (weights, activations):
        if isinstance(format, BlockFormat | BinaryFormat):
            raise UsageError(f"'{name}' cannot be written with scales", hint="use integer or plain float formats")
    return Scheme(name, weights, activations)
