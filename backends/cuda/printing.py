"""TIR expressions and stores as CUDA C++ statements.

An element of a group is a TIR expression over index variables. Names bound in it become local constants, and a branch
that guards reads becomes an `if`, so that no read outside a buffer is ever evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

C_TYPES = {
    "float64": "double", "float32": "float", "float16": "optc_half", "bfloat16": "optc_bfloat", "bool": "bool",
    "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long long",
}  # fmt: skip

_OPERATORS = {
    "Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%", "EQ": "==", "NE": "!=", "LT": "<", "LE": "<=",
    "GT": ">", "GE": ">=", "And": "&&", "Or": "||", "BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^",
    "LShift": "<<", "RShift": ">>", "ShiftLeft": "<<", "ShiftRight": ">>",
}  # fmt: skip

_FUNCTIONS = {"Min": "optc_min", "Max": "optc_max"}

_CALLS = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "nearbyint": "nearbyint",
    "round": "round", "trunc": "trunc", "fabs": "fabs", "pow": "pow", "tanh": "tanh", "erf": "erf", "sin": "sin",
    "cos": "cos", "rsqrt": "rsqrt", "exp2": "exp2", "log2": "log2", "log10": "log10", "tan": "tan",
}  # fmt: skip


def c_type(dtype: str) -> str:
    """The C++ type of elements of a TIR type."""
    return C_TYPES[dtype]


class Printer:
    """Statements of one function body.

    Attributes:
        lines: what was printed so far, indented.
        used: the buffers that it reads or writes.
        loads: each buffer that was read, and where.
        stores: each buffer that was written, and where.
        hoisted: what must come before the loop over lanes, see `begin_lanes`.
        straight: whether all that was read in lanes are neighbours or the same for all of them.
    """

    def __init__(self, depth: int = 1) -> None:
        from tvm import sym

        self.lines: list[str] = []
        self.used: dict[Any, None] = {}
        self.loads: list[tuple[Any, Any]] = []
        self.stores: list[tuple[Any, Any]] = []
        self.hoisted: list[str] = []
        self.straight = True
        self._lane: Any = None
        self._lanes = 1
        self._branches = 0
        self._depth = depth
        self._names: dict[Any, str] = {}
        self._buffers: dict[Any, str] = {}
        self._deferred: dict[Any, Callable[[], None]] = {}
        self._count = 0
        self._analyzer = sym.Analyzer()

    def line(self, text: str) -> None:
        """One line at the current depth."""
        self.lines.append("  " * self._depth + text)

    def overwritten(self, inputs: Sequence[Any], output: Any) -> list[int]:
        """Positions of inputs of which each thread reads only the elements that it stores to `output`, at their place.

        Such an input and the output may lie at one address, when nothing else reads the input.
        """
        places = [place for buffer, place in self.stores if buffer.same_as(output)]
        found = []
        for position, buffer in enumerate(inputs):
            reads = [place for source, place in self.loads if source.same_as(buffer)]
            fits = _size(buffer) == _size(output) and str(buffer.dtype) == str(output.dtype) and len(places) == 1
            if reads and fits and all(self._analyzer.can_prove_equal(place, places[0]) for place in reads):
                found.append(position)
        return found

    @property
    def analyzer(self) -> Any:
        """TVM's, which knows the ranges of the index variables."""
        return self._analyzer

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is printed inside stands in braces after `head`."""
        self.line(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    def index(self, name: str, extent: int) -> Any:
        """A variable called `name` in the code, known to lie in [0, extent)."""
        from tvm import ir, tirx

        variable = tirx.Var(name, "int32")
        self._analyzer.bind(variable, ir.Range(0, max(1, extent)))
        self._names[variable] = name
        return variable

    def value(self, name: str, dtype: str) -> Any:
        """A variable of any type that the code defines under `name`."""
        from tvm import tirx

        variable = tirx.Var(name, dtype)
        self._names[variable] = name
        return variable

    def defer(self, dtypes: Sequence[str], define: Callable[[], Sequence[str]]) -> tuple[Any, ...]:
        """Variables that are defined together where one is first read: `define` prints that, and gives their names."""
        from tvm import tirx

        variables = tuple(tirx.Var("deferred", dtype) for dtype in dtypes)

        def defined() -> None:
            names = define()
            self._names.update(zip(variables, names, strict=True))

        self._deferred.update(dict.fromkeys(variables, defined))
        return variables

    def fresh(self, name: str) -> str:
        """A name that no other variable of the function has."""
        self._count += 1
        return f"{name}{self._count}"

    def buffer(self, buffer: Any, name: str) -> None:
        """Elements of `buffer` are those of the pointer or array called `name`."""
        self._buffers[buffer] = name

    def simplified(self, expression: Any) -> Any:
        """The expression as short as the known ranges allow."""
        from tvm import tirx

        return self._analyzer.simplify(tirx.convert(expression))

    def begin_lanes(self, lanes: int) -> Any:
        """A variable `lane`: what follows is the body of a loop over it, and reads neighbours by one wide load."""
        self._lane, self._lanes = self.index("lane", lanes), lanes
        return self._lane

    def _wide_load(self, source: Any, place: Any) -> str | None:
        """The element of the lane out of a load of neighbours; None where the read is none of neighbours."""
        from tvm import sym, tirx

        found = list(sym.detect_linear_equation(place, [self._lane]))
        step = int(found[0]) if found and isinstance(found[0], tirx.IntImm) else None
        if step == 0:
            return None
        base = self.simplified(found[1]) if step == 1 else None
        aligned = base is not None and self._analyzer.can_prove_equal(tirx.floormod(base, self._lanes), 0)
        before, text = len(self.lines), "" if base is None else self.expression(base)
        simple = len(self.lines) == before and set(re.findall(r"[A-Za-z_]\w*", text)) <= {"i"}
        if not aligned or not simple or self._branches:
            self.straight = False
            return None
        kind = f"optc_pack<{c_type(str(source.dtype))}, {self._lanes}>"
        name = f"wide_{self.array(source)}_{re.sub(r'[^0-9A-Za-z]+', '_', text).strip('_')}"
        line = f"const {kind} {name} = *reinterpret_cast<const {kind}*>({self.array(source)} + {text});"
        if line not in self.hoisted:
            self.hoisted.append(line)
        return f"{name}.v[lane]"

    def define(self, expression: Any, name: str = "t") -> str:
        """Evaluate an expression now; the name of the constant that holds it."""
        text = self.expression(expression)
        fresh = self.fresh(name)
        self.line(f"const {c_type(_dtype(expression))} {fresh} = {text};")
        return fresh

    def statement(self, statement: Any) -> None:
        """Print stores, one after another."""
        from tvm import tirx

        if isinstance(statement, tirx.SeqStmt):
            for part in statement.seq:
                self.statement(part)
            return
        assert isinstance(statement, tirx.BufferStore), type(statement)
        value = self.expression(statement.value)
        where = self.simplified(flat_index(statement.buffer.shape, statement.indices))
        self.stores.append((statement.buffer, where))
        place = self.expression(where)
        dtype = str(statement.buffer.dtype)
        if dtype != _dtype(statement.value):
            value = f"({c_type(dtype)})({value})"
        self.line(f"{self.array(statement.buffer)}[{place}] = {value};")

    def expression(self, value: Any) -> str:
        """The text of an expression; what must come before it is printed."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        kind = type(value).__name__
        if kind in _OPERATORS:
            return f"({self.expression(value.a)} {_OPERATORS[kind]} {self.expression(value.b)})"
        if kind in _FUNCTIONS:
            return f"{_FUNCTIONS[kind]}({self.expression(value.a)}, {self.expression(value.b)})"
        return _PRINTERS[kind](self, value)

    def _variable(self, value: Any) -> str:
        if value not in self._names:
            self._deferred[value]()
        return self._names[value]

    def _bound(self, value: Any) -> str:
        name = self.define(value.value)
        self._names[value.var] = name
        return self.expression(value.body)

    def _load(self, value: Any) -> str:
        source = value.source
        place = self.simplified(flat_index(source.shape, value.indices))
        self.loads.append((source, place))
        wide = None if self._lane is None else self._wide_load(source, place)
        if wide is not None:
            return wide
        return f"{self.array(source)}[{self.expression(place)}]"

    def array(self, buffer: Any) -> str:
        """The name of a buffer that is about to be read or written."""
        self.used[buffer] = None
        return self._buffers[buffer]

    def _cast(self, value: Any) -> str:
        return f"({c_type(_dtype(value))})({self.expression(value.value)})"

    def _select(self, value: Any) -> str:
        condition, then, otherwise = map(self.expression, (value.condition, value.true_value, value.false_value))
        return f"({condition} ? {then} : {otherwise})"

    def _floor_division(self, value: Any) -> str:
        return self._floored(value, "/", "optc_floor_div")

    def _floor_remainder(self, value: Any) -> str:
        return self._floored(value, "%", "optc_floor_mod")

    def _floored(self, value: Any, operator: str, function: str) -> str:
        left, right = self.expression(value.a), self.expression(value.b)
        if _dtype(value).startswith("u") or (self._is_natural(value.a) and self._is_natural(value.b)):
            return f"({left} {operator} {right})"
        return f"{function}({left}, {right})"

    def _is_natural(self, value: Any) -> bool:
        return int(self._analyzer.const_int_bound(value).min_value) >= 0

    def _integer(self, value: Any) -> str:
        dtype, number = _dtype(value), int(value.value)
        if dtype == "bool":
            return "true" if number else "false"
        if dtype == "int32" and number > -(2**31):
            return str(number) if number >= 0 else f"({number})"
        if dtype == "int64" and number == -(2**63):
            return "(-9223372036854775807LL - 1)"
        suffix = {"int64": "LL", "uint64": "ULL", "uint32": "U"}.get(dtype, "")
        return f"(({c_type(dtype)}){number}{suffix})" if number >= 0 else f"(({c_type(dtype)})({number}{suffix}))"

    def _real(self, value: Any) -> str:
        dtype = _dtype(value)
        text = real_literal(float(value.value), double=dtype == "float64")
        return text if dtype in ("float32", "float64") else f"({c_type(dtype)})({text})"

    def _not(self, value: Any) -> str:
        return f"!({self.expression(value.a)})"

    def _inverted(self, value: Any) -> str:
        return f"({c_type(_dtype(value))})(~({self.expression(value.a)}))"

    def _call(self, value: Any) -> str:
        name = value.op.name.rpartition(".")[2]
        if name == "if_then_else":
            return self._branch(value)
        if name == "call_pure_extern":
            function = str(value.args[0].value) if hasattr(value.args[0], "value") else str(value.args[0]).strip('"')
            arguments = ", ".join(map(self.expression, value.args[1:]))
            return f"{function}({arguments})"
        arguments = ", ".join(map(self.expression, value.args))
        dtype = _dtype(value)
        if name == "reinterpret":
            return f"optc_bits<{c_type(dtype)}>({arguments})"
        infix = {"shift_left": "<<", "shift_right": ">>", "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}
        if name in infix:
            left, right = map(self.expression, value.args)
            return f"(({c_type(dtype)})({left} {infix[name]} {right}))"
        if name == "bitwise_not":
            return f"({c_type(dtype)})(~({arguments}))"
        function = _CALLS[name]
        if dtype == "float64":
            return f"{function}({arguments})"
        if dtype == "float32":
            return f"{function}f({arguments})"
        return f"({c_type(dtype)}){function}f((float)({arguments}))"

    def _branch(self, value: Any) -> str:
        condition, then, otherwise = value.args
        test = self.expression(condition)
        sides = []
        for side in (then, otherwise):
            start, known = len(self.lines), dict(self._names)
            self._depth += 1
            self._branches += 1
            text = self.expression(side)
            self._branches -= 1
            self._depth -= 1
            self._names = known  # what a side defines is not known outside
            sides.append((text, self.lines[start:]))
            del self.lines[start:]
        (first, before), (second, after) = sides
        if not before and not after:
            return f"({test} ? {first} : {second})"
        name = self.fresh("b")
        self.line(f"{c_type(_dtype(value))} {name};")
        for head, lines, text in ((f"if ({test}) {{", before, first), ("} else {", after, second)):
            self.line(head)
            self.lines += lines
            self._depth += 1
            self.line(f"{name} = {text};")
            self._depth -= 1
        self.line("}")
        return name


_PRINTERS: dict[str, Callable[[Printer, Any], str]] = {
    "Var": Printer._variable,
    "Let": Printer._bound,
    "TensorLoad": Printer._load,
    "BufferLoad": Printer._load,
    "Cast": Printer._cast,
    "Select": Printer._select,
    "FloorDiv": Printer._floor_division,
    "FloorMod": Printer._floor_remainder,
    "IntImm": Printer._integer,
    "FloatImm": Printer._real,
    "Not": Printer._not,
    "BitwiseNot": Printer._inverted,
    "Call": Printer._call,
}


def real_literal(number: float, *, double: bool = False) -> str:
    """A floating-point constant, exact in its type."""
    if math.isnan(number):
        return "optc_nan()" if not double else "((double)optc_nan())"
    if math.isinf(number):
        return ("-" if number < 0 else "") + ("optc_infinity()" if not double else "((double)optc_infinity())")
    text = repr(number)
    text = text if any(mark in text for mark in ".e") else text + ".0"
    text = text if double else text + "f"
    return f"({text})" if number < 0 else text


def _size(buffer: Any) -> int:
    return math.prod(int(extent) for extent in buffer.shape)


def flat_index(shape: Sequence[Any], indices: Sequence[Any]) -> Any:
    """Where an element of a row-major buffer lies."""
    place: Any = 0
    for extent, index in zip(shape, indices, strict=True):
        fixed = isinstance(place, int) and place == 0
        place = index if fixed else place * int(extent) + index
    return place


def _dtype(value: Any) -> str:
    return str(value.ty)
