"""What the IR asks about operation kinds. The declarations lie a layer above and are found by name, as a plugin is."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from optc.ir.core import Operation
from optc.ir.types import ValueType

_DECLARATIONS = "optc.ops.declaration"


def _declaration_of(name: str) -> Any:
    return import_module(_DECLARATIONS).declaration_of(name)


def is_known(name: str) -> bool:
    """Whether somebody declares operations of this name."""
    try:
        _declaration_of(name)
    except KeyError:
        return False
    return True


def known_names() -> list[str]:
    """Every operation name, for suggestions."""
    import onnx.defs

    onnx_names = {f"onnx.{schema.name}" for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    return sorted(onnx_names | set(import_module(_DECLARATIONS).declared()))


def check(operation: Operation) -> None:
    """Raise ValueError with the reason when operands or attributes are illegal for the kind."""
    _declaration_of(operation.name).verify(operation)


def infer(operation: Operation) -> Sequence[ValueType]:
    """The result types that the kind derives. Raises ValueError with the reason when operands do not fit."""
    return _declaration_of(operation.name).infer(operation)
