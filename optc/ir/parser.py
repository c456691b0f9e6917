"""Reads the text form of the IR (`grammar.lark`), with errors that show file, line and caret."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.errors import ModelError
from optc.ir import dialects
from optc.ir.core import Attribute, Graph, Location, Module, Operation, Value
from optc.ir.literals import Text, array_value, float_value, unquote
from optc.ir.printer import ISOLATED
from optc.ir.source import Source, near
from optc.ir.type_parser import TypeSyntaxError, parse_type
from optc.ir.types import OpaqueType, TensorType, ValueType

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

MOST_REPEATED = 1 << 26
"""Elements that the literals of one text which stand for whole tensors may fill: a short text takes bounded memory."""

_WORDS = {
    "VALUE": "a value (%name)",
    "SYMBOL": "a symbol (@name)",
    "OPERATION": "an operation (onnx.Add)",
    "NAME": "a name",
    "STRING": "a string",
    "TENSOR": "a type (tensor<1x3xf32>)",
    "NONE": "none",
    "INT": "a number",
    "FLOAT": "a number",
    "BITS": "a number",
    "TRUE": "true",
    "FALSE": "false",
    "$END": "the end",
}


@lru_cache(maxsize=1)
def _lark() -> Lark:
    from lark import Lark

    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start="start", maybe_placeholders=True)


def parse_module(
    text: str,
    resources: Mapping[str, np.ndarray] | None = None,
    file: str = "<string>",
    *,
    check: bool = True,
) -> Module:
    """The module that `text` describes; a bare `graph @main …` is taken as a module of that graph.

    Args:
        text: as printed by `optc.ir.printer.print_module`.
        resources: the arrays of the large constants, by name; they are shared, not copied.
        file: what errors call the text.
        check: whether operation kinds must be known and their operands and attributes legal.

    Raises:
        ModelError: a syntax error, an undefined or redefined value, an unknown operation, a missing resource, or an
            illegal operation; each with file, line, column, the source line, a caret and what was expected.
    """
    source = Source(text, file)
    tree = _syntax_tree(source)
    builder = _Builder(source, resources or {}, check)
    try:
        return builder.module(tree) if tree.data == "module" else Module(builder.graph(tree))
    except RecursionError:
        raise ModelError("the text is nested too deeply", where=file) from None


def _syntax_tree(source: Source) -> Tree:
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    parser = _lark()
    try:
        return parser.parse(source.text)
    except UnexpectedInput as error:
        literals = {item.name: item.pattern.value for item in parser.terminals}
        if isinstance(error, UnexpectedToken):
            what = "the text ends too early" if error.token.type == "$END" else f"'{error.token}' has no place here"
            length, expected = len(error.token), error.accepts or error.expected
        else:
            assert isinstance(error, UnexpectedCharacters)
            what, length, expected = f"'{error.char}' has no place here", 1, error.allowed or set()
        words = sorted({_WORDS.get(name) or f"'{literals.get(name, name)}'" for name in expected if name[:2] != "__"})
        at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        line, column = _end(source.text) if at_end else (error.line, error.column)
        raise source.error(what, line, column, length, why=f"expected {' or '.join(words)}") from None


def _end(text: str) -> tuple[int, int]:
    lines = text.rstrip().split("\n")
    return len(lines), len(lines[-1]) + 1


class _Builder:
    """Makes the graph of a syntax tree; scopes map the printed names of values to the values."""

    def __init__(self, source: Source, resources: Mapping[str, np.ndarray], check: bool) -> None:
        self.source = source
        self.resources = resources
        self.check = check
        self.scopes: list[dict[str, Value]] = []
        self.known: dict[str, bool] = {}
        self.repeated = 0  # elements that literals stand for

    def fail(self, token: Token, what: str, *, why: str | None = None, hint: str | None = None) -> Exception:
        return self.source.error(what, token.line or 1, token.column or 1, len(token), why=why, hint=hint)

    def module(self, tree: Tree) -> Module:
        symbol, attributes, graph = tree.children
        metadata: dict[str, str] = {}
        for key, value, token in self.attributes(attributes):
            if not isinstance(value, str):
                raise self.fail(token, f"the module property '{key}' must be a string")
            metadata[key] = value
        return Module(self.graph(graph), self.name(symbol[1:], symbol), metadata)

    def graph(self, tree: Tree) -> Graph:
        symbol, inputs, outputs, body, terminator = tree.children
        graph = Graph(self.name(symbol[1:], symbol))
        self.scopes.append({})
        for item in filter(None, inputs.children):
            token, type = item.children
            self.define(token, graph.add_input(self.value_name(token), self.type(type)))
        for operation in body.children:
            self.operation(operation, graph)
        graph.terminator.set_operands([self.operand(item) for item in filter(None, terminator.children)])
        graph.output_names = [self.string(token) for token in filter(None, outputs.children)]
        self.scopes.pop()
        return graph

    def operation(self, tree: Tree, graph: Graph) -> None:
        results, opname, operands, attributes, bodies, types, location = tree.children
        token: Token = opname.children[0]
        name = self.name(token, token)
        self.require_known(name, token)
        values = [self.operand(item) for item in filter(None, operands.children)] if operands else []
        named = {key: value for key, value, _ in self.attributes(attributes)}
        graphs = self.graphs(bodies, name)
        result_tokens: list[Token] = results.children if results else []
        type_trees: list[Tree] = types.children if types else []
        if len(result_tokens) != len(type_trees):
            count = f"{len(result_tokens)} results but {len(type_trees)} result types"
            raise self.fail(token, f"{name} has {count}")
        operation = Operation(
            name,
            values,
            [self.type(item) for item in type_trees],
            named,
            result_names=[self.value_name(item) for item in result_tokens] or None,
            graphs=graphs,
            location=Location(tuple(self.string(item) for item in location.children)) if location else Location(),
        )
        graph.append(operation)
        for result_token, result in zip(result_tokens, operation.results, strict=True):
            self.define(result_token, result)
        if self.check:
            try:
                dialects.check(operation)
            except ValueError as error:
                raise self.fail(token, f"this {name} is illegal", why=str(error)) from None

    def require_known(self, name: str, token: Token) -> None:
        if not self.check or self.known.get(name):
            return
        self.known[name] = dialects.is_known(name)
        if not self.known[name]:
            raise self.fail(token, f"no operation is called '{name}'", hint=near(name, dialects.known_names()))

    def graphs(self, bodies: Tree | None, operation: str) -> dict[str, Graph]:
        if bodies is None:
            return {}
        outer = self.scopes
        if operation in ISOLATED:
            self.scopes = []
        graphs = {}
        for item in bodies.children:
            name, graph = item.children
            graphs[self.name(name.children[0], name.children[0])] = self.graph(graph)
        self.scopes = outer
        return graphs

    def define(self, token: Token, value: Value) -> None:
        name = value.name
        if any(name in scope for scope in self.scopes):
            raise self.fail(token, f"%{name} is defined twice", hint="give one of the two another name")
        self.scopes[-1][name] = value

    def operand(self, tree: Tree) -> Value | None:
        token: Token = tree.children[0]
        if token.type == "NONE":
            return None
        name = self.value_name(token)
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        visible = [known for scope in self.scopes for known in scope]
        raise self.fail(token, f"%{name} is not defined before this line", hint=near(name, visible))

    def attributes(self, tree: Tree | None) -> list[tuple[str, Attribute, Token]]:
        found: dict[str, tuple[str, Attribute, Token]] = {}
        for item in filter(None, tree.children) if tree else ():
            token: Token = item.children[0].children[0]
            key = self.name(token, token)
            if key in found:
                raise self.fail(token, f"the attribute '{key}' is given twice")
            found[key] = (key, self.attribute(item.children[1]), token)
        return list(found.values())

    def attribute(self, tree: Tree) -> Attribute:
        match tree.data:
            case "number":
                return self.number(tree.children[0])
            case "text":
                return self.string(tree.children[0])
            case "list":
                return tuple(self.attribute(item) for item in filter(None, tree.children))
            case "dense":
                return self.dense(tree)
        return self.resource(tree)

    def dense(self, tree: Tree) -> np.ndarray:
        content, type_tree = tree.children
        type = self.static_type(type_tree)
        splat = content.data != "elements"
        items = [content] if splat else [item for item in content.children if item is not None]
        try:
            if splat:
                self.repeated += math.prod(type.static_shape)
                if self.repeated > MOST_REPEATED:
                    raise ValueError(f"single literals of a text may stand for {MOST_REPEATED} elements in all")
            return array_value([self.element(item) for item in items], type.dtype, type.static_shape, splat=splat)
        except ValueError as error:
            raise self.fail(type_tree.children[0], "the constant does not fit its type", why=str(error)) from None

    def element(self, tree: Tree) -> object:
        if tree.data == "pair":
            return tuple(self.element(item) for item in tree.children)
        token: Token = tree.children[0]
        if token.type == "STRING":
            return Text(self.string(token))
        return token.type == "TRUE" if token.type in ("TRUE", "FALSE") else str(token)

    def resource(self, tree: Tree) -> np.ndarray:
        token, type_tree = tree.children
        name, type = self.string(token), self.static_type(type_tree)
        array = self.resources.get(name)
        if array is None:
            hint = near(name, self.resources) or "the file NAME.resources must lie beside NAME.mlir"
            raise self.fail(token, f"the bytes of resource '{name}' are missing", hint=hint)
        if array.shape != type.static_shape or (array.dtype != type.dtype.numpy and array.dtype.kind not in "OUS"):
            found = f"tensor<{'x'.join([*map(str, array.shape), str(array.dtype)])}>"
            raise self.fail(type_tree.children[0], f"resource '{name}' is a {found}, not a {type}")
        return array

    def static_type(self, tree: Tree) -> TensorType:
        type = self.type(tree)
        if not isinstance(type, TensorType) or not type.is_static:
            raise self.fail(tree.children[0], f"a constant needs a static tensor type, not {type}")
        return type

    def type(self, tree: Tree) -> ValueType:
        child: Any = tree.children[0]
        if hasattr(child, "data"):
            return OpaqueType(self.string(child.children[0]))
        try:
            return parse_type(str(child))
        except TypeSyntaxError as error:
            column = child.column + error.offset
            length = max(1, len(child) - error.offset - 1)
            raise self.source.error(str(error), child.line, column, length) from None

    def value_name(self, token: Token) -> str:
        return self.name(token[1:], token)

    def name(self, text: str, token: Token) -> str:
        return self.unquoted(text, token) if text.startswith('"') else str(text)

    def string(self, token: Token) -> str:
        return self.unquoted(str(token), token)

    def unquoted(self, text: str, token: Token) -> str:
        try:
            return unquote(text)
        except ValueError:
            raise self.fail(token, "the string holds a bad escape", hint="escapes are those of JSON") from None

    def number(self, token: Token) -> Attribute:
        if token.type in ("TRUE", "FALSE"):
            return token.type == "TRUE"
        try:
            return int(token) if token.type == "INT" else float_value(token)
        except (ValueError, struct.error):
            raise self.fail(token, "the number has too many digits") from None
