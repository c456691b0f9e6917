"""The IR as text. The syntax is that of `grammar.lark`; `optc.ir.parser` reads it back.

Values get unique names: their own where that is free, else with a number behind it. Constants of up to INLINE_ELEMENTS
elements stand in the text, as do small ones of a single repeated element; the bytes of larger ones go to a mapping
beside the text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, MutableMapping
from functools import lru_cache

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Attribute, Graph, Location, Module, Operation, Value
from optc.ir.dims import Dim, SymbolicDim
from optc.ir.literals import canonical_array, elements_text, float_text, quote
from optc.ir.types import OpaqueType, TensorType, ValueType

INLINE_ELEMENTS = 16
SPLAT_ELEMENTS = 4096
ISOLATED = frozenset({"optc.fused"})
"""The operations whose bodies read nothing of the graphs around them; names start afresh inside."""

_BARE_VALUE = re.compile(r"(?:[A-Za-z0-9_.$-]|/(?!/)|::)+")
_BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_BARE_OPERATION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)+")
_BARE_DIM = re.compile(r"[A-Za-wyz_][A-Za-wyz0-9_]*")

Resources = MutableMapping[str, np.ndarray]


def print_dim(dim: Dim) -> str:
    """An int or a symbol as it is; an expression, or a symbol that holds the separator `x`, in parentheses."""
    return str(dim) if isinstance(dim, int) else _symbolic(dim)


@lru_cache(maxsize=4096)
def _symbolic(dim: SymbolicDim) -> str:
    text = str(dim)
    return text if _BARE_DIM.fullmatch(text) else f"({text})"


def print_type(type: ValueType) -> str:
    """For instance `tensor<batchx16x(floor(seq/2) + 1)xf32, permute(0, 2, 1), block(1, 8)>`."""
    if isinstance(type, OpaqueType):
        return f"opaque<{quote(type.description)}>"
    dims = ["*"] if type.shape is None else [print_dim(dim) for dim in type.shape]
    parts = ["x".join([*dims, type.dtype.name])]
    if type.layout.permutation:
        parts.append(f"permute({', '.join(map(str, type.layout.permutation))})")
    parts += [f"block({axis}, {factor})" for axis, factor in type.layout.blocks]
    if (quantization := type.quantization) is not None:
        scale = ", ".join(float_text(item) for item in quantization.scale)
        zero_point = ", ".join(map(str, quantization.zero_point))
        axis = "" if quantization.axis is None else f", axis = {quantization.axis}"
        parts.append(f"quant(scale = [{scale}], zero_point = [{zero_point}]{axis})")
    return f"tensor<{', '.join(parts)}>"


def print_module(module: Module, resources: Resources | None = None) -> str:
    """The whole module.

    Args:
        module: what to print.
        resources: gets the arrays of the large constants, by the name that the text gives them; without it the text
            names them all the same, but cannot be parsed again.
    """
    printer = _Printer(resources)
    metadata = f" {printer.attributes(module.metadata)}" if module.metadata else ""
    printer.lines.append(f"module {_symbol(module.name)}{metadata} {{")
    printer.graph(module.main, "  ", "  ", "")
    printer.lines.append("}")
    return "\n".join(printer.lines) + "\n"


def print_operation(operation: Operation) -> str:
    """One operation on one line, its nested graphs left out."""
    printer = _Printer(None)
    return printer.operation_line(operation) + printer.signature(operation)


def canonical_text(graph: Graph) -> str:
    """A text that depends only on what the graph computes: numbered values, sorted attributes, no names or locations.

    Large constants appear as the SHA-256 of their bytes, so equal texts mean equal code; it serves as a cache key.
    """
    printer = _Printer(None, canonical=True)
    printer.graph(graph, "", "", "")
    return "\n".join(printer.lines) + "\n"


def _symbol(name: str) -> str:
    return f"@{name}" if _BARE_NAME.fullmatch(name) else f"@{quote(name)}"


def _content_hash(array: np.ndarray) -> str:
    array = canonical_array(array)
    plain = json.dumps(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return "sha256:" + hashlib.sha256(plain).hexdigest()


class _Names:
    """Unique names of the values of one scope."""

    def __init__(self) -> None:
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def __contains__(self, value: Value) -> bool:
        return value in self._names

    def of(self, value: Value, wanted: str) -> str:
        if (known := self._names.get(value)) is not None:
            return known
        name = wanted or "v"
        while name in self._taken:
            number = self._next.get(wanted, 0) + 1
            self._next[wanted] = number
            name = f"{wanted or 'v'}_{number}"
        self._taken.add(name)
        self._names[value] = name
        return name


class _Printer:
    def __init__(self, resources: Resources | None, *, canonical: bool = False) -> None:
        self.lines: list[str] = []
        self.resources = resources
        self.canonical = canonical
        self.names = _Names()
        self._count = 0
        self._resource_names: dict[int, str] = {}
        self._taken_resources: set[str] = set(resources or ())

    def value(self, value: Value) -> str:
        if not self.canonical:
            name = self.names.of(value, value.name)
            return f"%{name}" if _BARE_VALUE.fullmatch(name) else f"%{quote(name)}"
        known = value in self.names
        name = "%" + self.names.of(value, str(self._count))
        self._count += not known
        return name

    def operand(self, value: Value | None) -> str:
        if value is None:
            return "none"
        free = self.canonical and value not in self.names
        return f"{self.value(value)}: {print_type(value.type)}" if free else self.value(value)

    def graph(self, graph: Graph, indent: str, first: str, tail: str) -> None:
        inputs = ", ".join(f"{self.value(item)}: {print_type(item.type)}" for item in graph.inputs)
        outputs = "" if self.canonical else ", ".join(quote(name) for name in graph.output_names)
        symbol = "@g" if self.canonical else _symbol(graph.name)
        self.lines.append(f"{first}graph {symbol}({inputs}) -> ({outputs}) {{")
        inner = indent + "  "
        for operation in graph:
            self.operation(operation, inner)
        operands = ", ".join(self.operand(value) for value in graph.terminator.operands)
        self.lines.append(f"{inner}return {operands}".rstrip())
        self.lines.append(f"{indent}}}{tail}")

    def operation(self, operation: Operation, indent: str) -> None:
        line = indent + self.operation_line(operation)
        if operation.graphs:
            self.lines.append(f"{line} (")
            inner = indent + "  "
            names = sorted(operation.graphs) if self.canonical else list(operation.graphs)
            for position, name in enumerate(names):
                comma = "," if position + 1 < len(names) else ""
                self.nested(operation, operation.graphs[name], inner, f"{inner}{_name(name)} = ", comma)
            line = f"{indent})"
        self.lines.append(line + self.signature(operation))

    def nested(self, operation: Operation, graph: Graph, indent: str, first: str, tail: str) -> None:
        outer = self.names, self._count
        if operation.name in ISOLATED:
            self.names, self._count = _Names(), 0
        self.graph(graph, indent, first, tail)
        if operation.name in ISOLATED:
            self.names, self._count = outer

    def operation_line(self, operation: Operation) -> str:
        operands = ", ".join(self.operand(value) for value in operation.operands)
        results = ", ".join(self.value(result) for result in operation.results)
        name = operation.name if _BARE_OPERATION.fullmatch(operation.name) else quote(operation.name)
        call = f"{name}({operands})" if operation.operands or operation.graphs or not operation.attributes else name
        line = f"{results} = {call}" if results else call
        if operation.attributes:
            hint = operation.results[0] if operation.results else None
            line += " " + self.attributes(operation.attributes, hint)
        return line

    def signature(self, operation: Operation) -> str:
        types = ", ".join(print_type(result.type) for result in operation.results)
        return (f" : {types}" if types else "") + self.location(operation.location)

    def location(self, location: Location) -> str:
        if self.canonical or not location.nodes:
            return ""
        return f" loc({', '.join(quote(node) for node in location.nodes)})"

    def attributes(self, attributes: MutableMapping[str, Attribute] | dict[str, str], hint: Value | None = None) -> str:
        items: Iterable[tuple[str, Attribute]] = attributes.items()
        if self.canonical:
            items = sorted(items)
        return "{" + ", ".join(f"{_name(key)} = {self.attribute(value, key, hint)}" for key, value in items) + "}"

    def attribute(self, value: Attribute, key: str, hint: Value | None) -> str:
        match value:
            case bool() | np.bool_():
                return "true" if value else "false"
            case int() | np.integer():
                return str(int(value))
            case float() | np.floating():
                return float_text(float(value))
            case str():
                return quote(value)
            case tuple() | list():
                return "[" + ", ".join(self.attribute(item, key, hint) for item in value) + "]"
            case np.ndarray():
                return self.array(value, key, hint)
        raise TypeError(f"attribute '{key}' is a {type(value).__name__}, which no attribute may be")

    def array(self, array: np.ndarray, key: str, hint: Value | None) -> str:
        type = print_type(TensorType(dtypes.from_numpy(array.dtype), tuple(array.shape)))
        if 1 < array.size <= SPLAT_ELEMENTS and (splat := _splat(array)) is not None:
            return f"dense<{splat}> : {type}"
        if array.size <= INLINE_ELEMENTS:
            return f"dense<[{', '.join(elements_text(array))}]> : {type}"
        return f"resource<{quote(self.resource(array, key, hint))}> : {type}"

    def resource(self, array: np.ndarray, key: str, hint: Value | None) -> str:
        if self.canonical:
            return _content_hash(array)
        if (known := self._resource_names.get(id(array))) is not None:
            return known
        owner = None if hint is None else self.names.of(hint, hint.name)
        base = key if owner is None else owner if key == "value" else f"{owner}.{key}"
        name, number = base, 0
        while name in self._taken_resources:
            number += 1
            name = f"{base}_{number}"
        self._taken_resources.add(name)
        self._resource_names[id(array)] = name
        if self.resources is not None:
            self.resources[name] = array
        return name


def _name(name: str) -> str:
    return name if _BARE_NAME.fullmatch(name) else quote(name)


def _splat(array: np.ndarray) -> str | None:
    """The text of the only element, when all have the same bits."""
    if array.dtype.kind in "OUS":
        array = canonical_array(array)
        return quote(array.flat[0]) if all(item == array.flat[0] for item in array.flat) else None
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)
    return elements_text(array.reshape(-1)[:1])[0] if bool((raw == raw[0]).all()) else None
