"""Binding what the user fixes: shapes of inputs and values of symbolic dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from optc.errors import UsageError
from optc.ir.dims import SymbolicDim, symbol
from optc.ir.types import TensorType, ValueType
from optc.ops.shapes import describe


def bind_inputs(
    inputs: Mapping[str, ValueType],
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
    label: str,
) -> dict[str, ValueType]:
    """The input types with everything bound that `shapes` and `dims` fix.

    Args:
        inputs: the declared types by name.
        shapes: the full shape of some inputs; each also fixes the symbols that it meets, everywhere.
        dims: values of symbols by name.
        label: the model, for errors.

    Raises:
        UsageError: an input or dimension does not exist, or a value conflicts with the model or with another value.
    """
    values: dict[str, int] = {}
    origin: dict[str, str] = {}

    def fix(name: str, value: int, source: str) -> None:
        if values.setdefault(name, value) != value:
            raise UsageError(
                f"The dimension '{name}' cannot be both {values[name]} and {value}",
                where=label,
                why=f"{origin[name]} gives {values[name]}, {source} gives {value}",
            )
        origin.setdefault(name, source)

    known = _symbols(inputs)
    for name, value in (dims or {}).items():
        clean = str(symbol(name))
        if clean not in known:
            raise UsageError(f"The model has no dimension '{name}'", where=label, hint=_dims_hint(name, known))
        _check_positive(value, f"The dimension '{name}'", label)
        fix(clean, value, f"'{name}={value}'")
    result = dict(inputs)
    for name, wanted in (shapes or {}).items():
        if name not in inputs:
            raise UsageError(f"The model has no input '{name}'", where=label, hint=_names_hint(name, inputs))
        result[name] = _bind_shape(name, inputs[name], tuple(wanted), fix, label)
    for name, type in result.items():
        if isinstance(type, TensorType) and type.shape is not None:
            result[name] = type.with_shape(tuple(d if isinstance(d, int) else d.bind(values) for d in type.shape))
    return result


def _bind_shape(
    name: str, declared: ValueType, wanted: tuple[int, ...], fix: Callable[[str, int, str], None], label: str
) -> ValueType:
    if not isinstance(declared, TensorType):
        raise UsageError(f"The input '{name}' is no tensor and has no shape", where=label)
    source = f"the shape {describe(wanted)} of '{name}'"
    for extent in wanted:
        _check_positive(extent, f"The shape {describe(wanted)} of the input '{name}'", label)
    if declared.shape is None:
        return declared.with_shape(wanted)
    if len(declared.shape) != len(wanted):
        raise UsageError(
            f"The input '{name}' has {len(declared.shape)} dimensions, not {len(wanted)}",
            where=label,
            why=f"the model declares {describe(declared.shape)}, the given shape is {describe(wanted)}",
        )
    for axis, (dim, extent) in enumerate(zip(declared.shape, wanted, strict=True)):
        if isinstance(dim, SymbolicDim):
            if str(dim) in dim.symbols:
                fix(str(dim), extent, source)
        elif dim != extent:
            raise UsageError(
                f"Dimension {axis} of the input '{name}' is fixed to {dim} and cannot be {extent}",
                where=label,
                why=f"the model declares {describe(declared.shape)}, the given shape is {describe(wanted)}",
                hint="Export the model with a dynamic dimension there, or give the fixed value.",
            )
    return declared.with_shape(wanted)


def _check_positive(extent: int, what: str, label: str) -> None:
    if isinstance(extent, bool) or not isinstance(extent, int) or extent < 0:
        raise UsageError(f"{what} must be of whole numbers from 0 up, not {extent}", where=label)


def _symbols(inputs: Mapping[str, ValueType]) -> list[str]:
    found: dict[str, None] = {}
    for type in inputs.values():
        for dim in (type.shape or ()) if isinstance(type, TensorType) else ():
            if isinstance(dim, SymbolicDim):
                found.update(dict.fromkeys(dim.symbols))
    return list(found)


def _names_hint(name: str, inputs: Mapping[str, ValueType]) -> str:
    near = get_close_matches(name, list(inputs), n=1)
    listed = ", ".join(
        f"{known} {describe(t.shape) if isinstance(t, TensorType) else t.description}" for known, t in inputs.items()
    )
    return (f"Did you mean '{near[0]}'? " if near else "") + f"Its inputs: {listed}"


def _dims_hint(name: str, known: Sequence[str]) -> str:
    if not known:
        return "All its dimensions are fixed."
    near = get_close_matches(name, known, n=1)
    return (f"Did you mean '{near[0]}'? " if near else "") + f"Its dimensions: {', '.join(known)}"
