"""Reads tensor types: `tensor<batchx16x(2*seq + 1)xf32, permute(0, 2, 1), block(1, 8), quant(…)>`."""

from __future__ import annotations

import re
from functools import lru_cache

from optc.ir import dtypes
from optc.ir.dims import Dim, parse_dim
from optc.ir.literals import float_value
from optc.ir.types import Layout, Quantization, TensorType

_PREFIX = "tensor<"
_PARAMETER = re.compile(r"\s*(\w+)\s*\(([^()]*)\)\s*$")
_QUANT = re.compile(
    r"\s*scale\s*=\s*\[([^\]]*)\]\s*,\s*zero_point\s*=\s*\[([^\]]*)\]\s*(?:,\s*axis\s*=\s*(-?\d+)\s*)?$"
)


class TypeSyntaxError(ValueError):
    """A type that cannot be read; `offset` is the character of its text where the trouble starts."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def _split(text: str, separator: str, start: int) -> list[tuple[int, str]]:
    """The parts of `text` between separators outside of brackets, each with its offset."""
    parts, depth, begin = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character == separator and depth == 0:
            parts.append((start + begin, text[begin:position]))
            begin = position + 1
    return [*parts, (start + begin, text[begin:])]


_REMEMBERED = 256
"""Characters of a type that is kept: thousands of longer ones, which nobody writes, would fill the memory."""


def parse_type(text: str) -> TensorType:
    """The type that `print_type` printed as `text`.

    Raises:
        TypeSyntaxError: with what was expected.
    """
    return _remembered(text) if len(text) <= _REMEMBERED else _parsed(text)


@lru_cache(maxsize=4096)
def _remembered(text: str) -> TensorType:
    return _parsed(text)


def _parsed(text: str) -> TensorType:
    if not (text.startswith(_PREFIX) and text.endswith(">")):
        raise TypeSyntaxError("expected a type such as tensor<1x3xf32>", 0)
    (offset, head), *parameters = _split(text[len(_PREFIX) : -1], ",", len(_PREFIX))
    *dims, (dtype_offset, dtype_name) = _split(head, "x", offset)
    dtype = dtypes.BY_NAME.get(dtype_name.strip())
    if dtype is None:
        known = ", ".join(dtypes.BY_NAME)
        raise TypeSyntaxError(f"'{dtype_name.strip()}' is no element type; expected one of {known}", dtype_offset)
    unranked = [part.strip() for _, part in dims] == ["*"]
    shape = None if unranked else tuple(_dim(part, at) for at, part in dims)
    layout, quantization = Layout(), None
    for at, parameter in parameters:
        match = _PARAMETER.match(parameter)
        kind = match.group(1) if match else ""
        at += len(parameter) - len(parameter.lstrip())
        if match and kind == "permute":
            layout = Layout(_ints(match.group(2), at), layout.blocks)
        elif match and kind == "block" and len(block := _ints(match.group(2), at)) == 2:
            layout = Layout(layout.permutation, (*layout.blocks, (block[0], block[1])))
        elif match and kind == "quant":
            quantization = _quantization(match.group(2), at)
        else:
            raise TypeSyntaxError("expected permute(axis, …), block(axis, factor) or quant(scale = […], …)", at)
    return TensorType(dtype, shape, layout, quantization)


def _dim(text: str, offset: int) -> Dim:
    stripped = text.strip()
    if not stripped:
        raise TypeSyntaxError("expected a dimension before 'x'", offset)
    try:
        if re.fullmatch(r"\d{1,18}", stripped):
            return int(stripped)
        return parse_dim(stripped[1:-1] if stripped[0] == "(" and stripped[-1] == ")" else stripped)
    except ValueError as error:
        raise TypeSyntaxError(str(error), offset) from None


def _ints(text: str, offset: int) -> tuple[int, ...]:
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    for item in items:
        if not re.fullmatch(r"-?\d{1,18}", item):
            raise TypeSyntaxError(f"'{item[:40]}' is no whole number", offset)
    return tuple(int(item) for item in items)


def _quantization(text: str, offset: int) -> Quantization:
    match = _QUANT.match(text)
    if match is None:
        raise TypeSyntaxError("expected quant(scale = [0.1], zero_point = [0]) with an optional axis", offset)
    try:
        scale = tuple(float_value(item.strip()) for item in match.group(1).split(",") if item.strip())
    except ValueError:
        raise TypeSyntaxError(f"'{match.group(1)}' are no numbers", offset) from None
    axis = None if match.group(3) is None else int(match.group(3))
    return Quantization(scale, _ints(match.group(2), offset), axis)
