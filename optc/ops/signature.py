"""Whether a node fits the signature that its ONNX schema gives: arity, attribute names and kinds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from onnx import defs

from optc.ir.core import Attribute, Value
from optc.ops.hints import HINTS

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "INT": (int, bool),
    "FLOAT": (float, int),
    "STRING": (str,),
    "TENSOR": (np.ndarray,),
    "SPARSE_TENSOR": (np.ndarray,),
    "TYPE_PROTO": (np.ndarray,),
    "INTS": (tuple,),
    "FLOATS": (tuple,),
    "STRINGS": (tuple,),
    "TENSORS": (tuple,),
}
_ITEM_TYPES: dict[str, tuple[type, ...]] = {"INTS": (int,), "FLOATS": (float, int), "STRINGS": (str,)}


def check_signature(
    schema: defs.OpSchema,
    operands: Sequence[Value | None],
    results: int,
    attributes: Mapping[str, Attribute],
    graphs: Collection[str],
) -> None:
    """Raise ValueError with the first thing that does not fit; empty optional operands are None."""
    if not schema.min_input <= len(operands) <= schema.max_input:
        raise ValueError(f"it has {len(operands)} inputs where {_span(schema.min_input, schema.max_input)} fit")
    single = defs.OpSchema.FormalParameterOption.Single
    for position, (formal, operand) in enumerate(zip(schema.inputs, operands, strict=False)):
        if formal.option == single and operand is None:
            raise ValueError(f"its input {position} '{formal.name}' is missing")
    if not max(1, schema.min_output) <= results <= schema.max_output:
        raise ValueError(f"it has {results} outputs where {_span(max(1, schema.min_output), schema.max_output)} fit")
    for name, attribute in schema.attributes.items():
        if attribute.required and name not in attributes and name not in graphs:
            raise ValueError(f"its attribute '{name}' is missing")
    for name, value in attributes.items():
        if name in HINTS:
            continue
        if name not in schema.attributes:
            raise ValueError(f"it has no attribute '{name}'")
        if not _fits(value, schema.attributes[name].type.name):
            raise ValueError(f"its attribute '{name}' is no {schema.attributes[name].type.name}")
    for name in graphs:
        if name not in schema.attributes or schema.attributes[name].type.name != "GRAPH":
            raise ValueError(f"it has no graph '{name}'")


def _fits(value: Attribute, kind: str) -> bool:
    if not isinstance(value, _PYTHON_TYPES.get(kind, ())):
        return False
    return not isinstance(value, tuple) or all(isinstance(item, _ITEM_TYPES.get(kind, (object,))) for item in value)


def _span(low: int, high: int) -> str:
    if high > 2**30:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"
