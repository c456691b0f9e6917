"""Checks that a module is valid: SSA form, use lists, ownership, types, and what each operation kind demands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from optc.errors import ModelError
from optc.ir import dialects
from optc.ir.clone import clone_operation
from optc.ir.core import RETURN, Graph, Module, Operation, Value
from optc.ir.dims import Dim
from optc.ir.printer import ISOLATED, print_operation, print_type
from optc.ir.source import caret_lines, near
from optc.ir.types import UNKNOWN_TYPE, OpaqueType, TensorType, ValueType

BRANCH = "onnx.If"


class InvalidModule(ModelError):
    """The module breaks a rule of the IR; `operation` is where, when it is one operation's fault."""

    operation: Operation | None = None


def verify(module: Module) -> None:
    """Check everything.

    Raises:
        InvalidModule: the first fault, with the operation printed, a caret under the part at fault, and the reason.
    """
    main = module.main
    if main.parent is not None:
        raise InvalidModule(f"the main graph @{main.name} is nested in {main.parent.name}")
    _distinct([value.name for value in main.inputs], "input")
    _distinct(main.output_names, "output")
    verifier = _Verifier()
    verifier.collect(main)
    verifier.graph(main)


def compatible(recorded: ValueType, inferred: ValueType) -> str | None:
    """Why the recorded type contradicts the inferred one; None when it is equal, or one of them merely knows less."""
    if inferred == UNKNOWN_TYPE:
        return None
    if isinstance(recorded, OpaqueType) or isinstance(inferred, OpaqueType):
        both = isinstance(recorded, OpaqueType) and isinstance(inferred, OpaqueType)
        return None if both else f"it should be {inferred}"
    if recorded.dtype != inferred.dtype:
        return f"its elements should be {inferred.dtype}, not {recorded.dtype}"
    if recorded.shape is None or inferred.shape is None:
        return None
    if len(recorded.shape) != len(inferred.shape):
        return f"its rank should be {len(inferred.shape)}, not {len(recorded.shape)}: {inferred}"
    for axis, (left, right) in enumerate(zip(recorded.shape, inferred.shape, strict=True)):
        if isinstance(left, int) and isinstance(right, int) and left != right:
            return f"its dimension {axis} should be {right}, not {left}: {inferred}"
    return None


def _distinct(names: list[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InvalidModule(f"two {what}s of the model are called '{name}'")


def _fault(operation: Operation, what: str, reason: str, culprit: str = "") -> InvalidModule:
    """The error for `operation`; `culprit` is the part of its printed line that gets the caret (default: its name)."""
    line = print_operation(operation)
    pattern = rf"(?<![\w%]){re.escape(culprit or operation.name)}(?![\w])"
    matches = list(re.finditer(pattern, line))
    start = matches[-1 if culprit.startswith(("tensor<", "opaque<")) else 0].start() if matches else 0
    length = len(culprit or operation.name)
    graph = f"graph @{operation.graph.name}" if operation.graph is not None else "no graph"
    where = f"{operation.location}, in {graph}" if operation.location.nodes else graph
    shown = caret_lines(line, start + 1, length).replace("\n", "\n  ")
    error = InvalidModule(what, where=where, why=f"{shown}\n  {reason}")
    error.operation = operation
    return error


def _inferred(operation: Operation) -> Sequence[ValueType]:
    """The result types by inference; where nested graphs take part, on a copy, for inference retypes their values."""
    if not operation.graphs:
        return dialects.infer(operation)
    copy = clone_operation(operation, {})
    try:
        return dialects.infer(copy)
    finally:
        for nested in copy.walk():
            nested.drop_operands()
            for graph in nested.graphs.values():
                graph.terminator.drop_operands()


class _Verifier:
    """Walks the module twice: `collect` learns who owns what, `graph` checks."""

    def __init__(self) -> None:
        self.operations: set[Operation] = set()
        self.graphs: set[Graph] = set()
        self.visible: set[Value] = set()
        self.in_branch = False

    def collect(self, graph: Graph) -> None:
        if graph in self.graphs:
            raise InvalidModule(f"the graph @{graph.name} is held twice")
        self.graphs.add(graph)
        previous = None
        for operation in [*graph, graph.terminator]:
            if operation in self.operations:
                raise _fault(operation, "an operation is in the module twice", f"it is again in @{graph.name}")
            self.operations.add(operation)
            if operation.graph is not graph:
                raise _fault(operation, "an operation does not know its graph", f"it stands in @{graph.name}")
            if operation is not graph.terminator and operation.previous is not previous:
                raise _fault(operation, "the list of operations is broken", "its predecessor is another operation")
            previous = operation
            for name, nested in operation.graphs.items():
                if nested.parent is not operation:
                    raise _fault(operation, f"the graph '{name}' does not know its operation", "its parent is another")
                self.collect(nested)

    def graph(self, graph: Graph) -> None:
        defined: list[Value] = []
        for index, value in enumerate(graph.inputs):
            if value.owner is not graph or value.index != index:
                raise InvalidModule(f"the input '{value.name}' of @{graph.name} does not know its place")
            if reason := self.type_fault(value.type):
                raise InvalidModule(f"the input '{value.name}' of @{graph.name} has an illegal type", why=reason)
            self.check_uses(value, graph.terminator)
            defined.append(value)
        self.visible.update(defined)
        for operation in graph:
            self.operation(operation)
            self.visible.update(operation.results)
            defined.extend(operation.results)
        self.terminator(graph)
        self.visible.difference_update(defined)

    def terminator(self, graph: Graph) -> None:
        end = graph.terminator
        if end.name != RETURN or end.results or end.graphs:
            raise _fault(end, f"the graph @{graph.name} does not end in a return", f"its terminator is {end.name}")
        self.operands(end)
        if None in end.operands:
            raise _fault(end, f"the graph @{graph.name} returns nothing for an output", "an output is none", "none")
        if len(graph.output_names) != len(end.operands):
            count = f"{len(graph.output_names)} output names, but returns {len(end.operands)} values"
            raise _fault(end, f"the graph @{graph.name} has {count}", "every output needs a name")

    def operation(self, operation: Operation) -> None:
        if operation.name == RETURN:
            raise _fault(operation, "a return stands among the operations", "it may only be a graph's terminator")
        self.operands(operation)
        for index, result in enumerate(operation.results):
            if result.owner is not operation or result.index != index:
                raise _fault(operation, "a result does not know its place", f"result {index} is owned by another")
            if reason := self.type_fault(result.type):
                raise _fault(operation, f"%{result.name} has an illegal type", reason, print_type(result.type))
            self.check_uses(result, operation)
        outer = self.visible, self.in_branch
        if operation.name in ISOLATED:
            self.visible = set()
        self.in_branch |= operation.name == BRANCH
        for graph in operation.graphs.values():
            self.graph(graph)
        self.visible, self.in_branch = outer
        self.declaration(operation)

    def operands(self, operation: Operation) -> None:
        for position, value in enumerate(operation.operands):
            if value is None:
                continue
            if (operation, position) not in value.uses:
                reason = f"%{value.name} does not list it among its uses"
                raise _fault(operation, f"operand {position} is not tracked", reason, f"%{value.name}")
            if value not in self.visible:
                raise _fault(operation, f"%{value.name} cannot be read here", self.hidden(value), f"%{value.name}")

    def hidden(self, value: Value) -> str:
        """Why a value is not visible."""
        graph = value.owner.graph if isinstance(value.owner, Operation) else value.owner
        if graph not in self.graphs:
            return "it belongs to no graph of the module"
        if isinstance(value.owner, Operation) and value.owner not in self.operations:
            return "the operation that made it was removed"
        return f"it is defined later, or in the graph @{graph.name} that is closed to this one"

    def check_uses(self, value: Value, reporter: Operation) -> None:
        for user, position in value.uses:
            if user not in self.operations:
                raise _fault(reporter, f"%{value.name} lists a stale use", f"{user.name} is not in the module")
            if user.operand(position) is not value:
                raise _fault(reporter, f"%{value.name} lists a wrong use", f"{user.name} reads another at {position}")

    def type_fault(self, type: ValueType) -> str | None:
        """Why a type is illegal in itself; None when it is fine."""
        if isinstance(type, OpaqueType):
            return None
        rank, layout, quantization = type.rank, type.layout, type.quantization
        if type.shape is not None and (negative := [d for d in type.shape if isinstance(d, int) and d < 0]):
            return f"a dimension is {negative[0]}"
        if rank is None:
            return None if layout.is_plain and not layout.permutation else "a layout needs a known rank"
        if layout.permutation and sorted(layout.permutation) != list(range(rank)):
            return f"permute{layout.permutation} is no permutation of {rank} axes"
        for axis, factor in layout.blocks:
            if not 0 <= axis < rank or factor < 1:
                return f"block({axis}, {factor}) does not fit {rank} axes"
        return None if quantization is None else self.quantization_fault(type)

    def quantization_fault(self, type: TensorType) -> str | None:
        quantization, shape = type.quantization, type.shape
        assert quantization is not None and shape is not None
        axis = quantization.axis
        if len(quantization.scale) != len(quantization.zero_point):
            return "quantization needs as many scales as zero points"
        if axis is None:
            return None if len(quantization.scale) == 1 else "quantization along no axis has one scale"
        if not 0 <= axis < len(shape):
            return f"quantization axis {axis} does not fit {len(shape)} axes"
        extent: Dim = shape[axis]
        if isinstance(extent, int) and extent != len(quantization.scale):
            return f"quantization axis {axis} has extent {extent}, but {len(quantization.scale)} scales"
        return None

    def declaration(self, operation: Operation) -> None:
        name = operation.name
        try:
            dialects.check(operation)
        except KeyError:
            hint = near(name, dialects.known_names())
            raise _fault(operation, f"no operation is called '{name}'", hint or "nobody declares it") from None
        except ValueError as error:
            raise _fault(operation, f"this {name} is illegal", str(error)) from None
        try:
            inferred = _inferred(operation)
        except ValueError as error:
            # A branch that is never taken with the shapes at hand may contradict them; it is still a valid program.
            if self.in_branch:
                return
            raise _fault(operation, f"this {name} is illegal", str(error)) from None
        if len(inferred) != len(operation.results):
            count = f"{name} gives {len(inferred)} results, not {len(operation.results)}"
            raise _fault(operation, f"this {name} is illegal", count)
        for result, type in zip(operation.results, inferred, strict=True):
            if reason := compatible(result.type, type):
                raise _fault(operation, f"the type of %{result.name} is wrong", reason, print_type(result.type))
