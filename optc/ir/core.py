"""The graph: Module → Graph → Operation → Value, in SSA form with maintained uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from optc.ir import dtypes
from optc.ir.types import TensorType, ValueType

Attribute = int | float | str | bool | tuple["Attribute", ...] | np.ndarray


@dataclass(frozen=True)
class Location:
    """Where something came from in the user's model: the names of the source nodes, merged through fusion."""

    nodes: tuple[str, ...] = ()

    def __add__(self, other: Location) -> Location:
        return Location(self.nodes + tuple(node for node in other.nodes if node not in self.nodes))

    def __str__(self) -> str:
        return ", ".join(f"'{node}'" for node in self.nodes) or "(created by optc)"


UNKNOWN = Location()


class Value:
    """One result of an operation, or one input of a graph.

    Attributes:
        type: element type, shape and layout.
        name: the user's name for it, or one that optc made; unique names are given when printing.
        owner: the operation or the graph that defines it.
        index: its position among the owner's results or inputs.
        uses: every (operation, operand position) that reads it; maintained by Operation.
    """

    __slots__ = ("index", "name", "owner", "type", "uses")

    def __init__(self, type: ValueType, name: str, owner: Operation | Graph, index: int) -> None:
        self.type = type
        self.name = name
        self.owner = owner
        self.index = index
        self.uses: dict[tuple[Operation, int], None] = {}

    @property
    def producer(self) -> Operation | None:
        """The operation that defines it; None for a graph input."""
        return self.owner if isinstance(self.owner, Operation) else None

    @property
    def users(self) -> list[Operation]:
        """The distinct operations that read it, in order of first use."""
        return list(dict.fromkeys(operation for operation, _ in self.uses))

    @property
    def is_constant(self) -> bool:
        return isinstance(self.owner, Operation) and self.owner.name == CONSTANT

    @property
    def constant(self) -> np.ndarray | None:
        """The array if a constant defines it, else None. Do not write to it: storage is shared."""
        if isinstance(self.owner, Operation) and self.owner.name == CONSTANT:
            array = self.owner.attributes["value"]
            assert isinstance(array, np.ndarray)
            return array
        return None

    @property
    def tensor_type(self) -> TensorType:
        """The type, when it is a tensor's. Raises TypeError otherwise."""
        if not isinstance(self.type, TensorType):
            raise TypeError(f"'{self.name}' is not a tensor but {self.type}")
        return self.type

    @property
    def shape(self) -> tuple[int, ...]:
        """The static logical shape. Raises ValueError where it is not static."""
        return self.tensor_type.static_shape

    @property
    def dtype(self) -> dtypes.DType:
        return self.tensor_type.dtype

    def replace_by(self, other: Value, *, only: Iterable[Operation] | None = None) -> None:
        """Let every reader (or `only` these operations) read `other` instead; graph outputs follow too."""
        chosen = None if only is None else set(only)
        for operation, position in list(self.uses):
            if chosen is None or operation in chosen:
                operation.set_operand(position, other)

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Operation:
    """One node: `results = name(operands) {attributes} (graphs)`.

    Operands may be None where ONNX lets an optional input be absent. Nested graphs (branches, loop bodies, the body
    of a fused group) are held by name; the bodies of `onnx.If` and `onnx.Loop` may read values of the graphs around
    them, those of `optc.fused` may not.
    """

    __slots__ = ("attributes", "graph", "graphs", "location", "name", "next", "operands", "previous", "results")

    def __init__(
        self,
        name: str,
        operands: Sequence[Value | None],
        result_types: Sequence[ValueType],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        result_names: Sequence[str] | None = None,
        graphs: Mapping[str, Graph] | None = None,
        location: Location = UNKNOWN,
    ) -> None:
        self.name = name
        self.operands: tuple[Value | None, ...] = tuple(operands)
        self.attributes: dict[str, Attribute] = dict(attributes or {})
        self.graphs: dict[str, Graph] = dict(graphs or {})
        for graph in self.graphs.values():
            graph.parent = self
        self.location = location
        self.graph: Graph | None = None
        self.previous: Operation | None = None
        self.next: Operation | None = None
        names = result_names or [f"v{position}" for position in range(len(result_types))]
        self.results = tuple(Value(type, names[i], self, i) for i, type in enumerate(result_types))
        for position, operand in enumerate(self.operands):
            if operand is not None:
                operand.uses[(self, position)] = None

    @property
    def result(self) -> Value:
        """The only result. Raises ValueError when there is not exactly one."""
        (value,) = self.results
        return value

    @property
    def present_operands(self) -> list[Value]:
        """The operands that are not None."""
        return [operand for operand in self.operands if operand is not None]

    def operand(self, position: int) -> Value | None:
        """The operand at `position`, or None when it is absent or the list is shorter."""
        return self.operands[position] if position < len(self.operands) else None

    def set_operand(self, position: int, value: Value | None) -> None:
        """Replace one operand and keep the uses right."""
        old = self.operands[position]
        if old is not None:
            del old.uses[(self, position)]
        self.operands = (*self.operands[:position], value, *self.operands[position + 1 :])
        if value is not None:
            value.uses[(self, position)] = None

    def set_operands(self, operands: Sequence[Value | None]) -> None:
        """Replace all operands and keep the uses right."""
        self.drop_operands()
        self.operands = tuple(operands)
        for position, operand in enumerate(self.operands):
            if operand is not None:
                operand.uses[(self, position)] = None

    def drop_operands(self) -> None:
        """Stop reading every operand."""
        for position, operand in enumerate(self.operands):
            if operand is not None:
                del operand.uses[(self, position)]
        self.operands = ()

    def walk(self) -> Iterator[Operation]:
        """This operation and all in its nested graphs, outer first."""
        yield self
        for graph in self.graphs.values():
            yield from graph.walk()

    def __repr__(self) -> str:
        return f"{', '.join('%' + r.name for r in self.results)} = {self.name}({self.operands})"


CONSTANT = "optc.constant"
RETURN = "optc.return"


class Graph:
    """A named function body: inputs, a linked list of operations, and the outputs, held as operands of its terminator.

    The terminator (`optc.return`) is an operation like any other, so uses and replacement need no special case for
    graph outputs; iteration leaves it out.
    """

    def __init__(self, name: str, inputs: Sequence[tuple[str, ValueType]] = ()) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.parent: Operation | None = None
        self._first: Operation | None = None
        self._last: Operation | None = None
        self.terminator = Operation(RETURN, (), ())
        self.terminator.graph = self
        self.output_names: list[str] = []
        for input_name, type in inputs:
            self.add_input(input_name, type)

    @property
    def outputs(self) -> tuple[Value, ...]:
        return tuple(value for value in self.terminator.operands if value is not None)

    def set_outputs(self, values: Sequence[Value], names: Sequence[str] | None = None) -> None:
        """Set what the graph returns; `names` are the user's names (default: those of the values)."""
        self.terminator.set_operands(values)
        self.output_names = list(names) if names is not None else [value.name for value in values]

    def add_input(self, name: str, type: ValueType) -> Value:
        value = Value(type, name, self, len(self.inputs))
        self.inputs.append(value)
        return value

    def append(self, operation: Operation) -> Operation:
        """Put an operation at the end."""
        return self.insert(operation, None)

    def insert(self, operation: Operation, before: Operation | None) -> Operation:
        """Put an operation before another of this graph (None or the terminator: at the end)."""
        assert operation.graph is None, f"{operation.name} is already in a graph"
        if before is self.terminator:
            before = None
        operation.graph = self
        operation.next = before
        operation.previous = self._last if before is None else before.previous
        if operation.previous is None:
            self._first = operation
        else:
            operation.previous.next = operation
        if before is None:
            self._last = operation
        else:
            before.previous = operation
        return operation

    def unlink(self, operation: Operation) -> Operation:
        """Take an operation out without dropping its operands, to be inserted elsewhere."""
        assert operation.graph is self
        if operation.previous is None:
            self._first = operation.next
        else:
            operation.previous.next = operation.next
        if operation.next is None:
            self._last = operation.previous
        else:
            operation.next.previous = operation.previous
        operation.graph = operation.previous = operation.next = None
        return operation

    def erase(self, operation: Operation) -> None:
        """Remove an operation whose results nobody reads."""
        assert not any(result.uses for result in operation.results), f"a result of {operation.name} is still read"
        self.unlink(operation)
        for nested in operation.walk():
            nested.drop_operands()
            for graph in nested.graphs.values():
                graph.terminator.drop_operands()

    def __iter__(self) -> Iterator[Operation]:
        """The operations in order; removing the current one or inserting around it while iterating is allowed."""
        operation = self._first
        while operation is not None:
            following = operation.next
            yield operation
            operation = following

    def __reversed__(self) -> Iterator[Operation]:
        operation = self._last
        while operation is not None:
            previous = operation.previous
            yield operation
            operation = previous

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def walk(self) -> Iterator[Operation]:
        """All operations, nested ones included, outer first; terminators are left out."""
        for operation in self:
            yield from operation.walk()

    def constant(self, array: np.ndarray, name: str = "constant", *, before: Operation | None = None) -> Value:
        """Insert a constant (at the front unless `before` is given) that shares the array's storage."""
        type = TensorType(dtypes.from_numpy(array.dtype), tuple(array.shape))
        operation = Operation(CONSTANT, (), (type,), {"value": array}, result_names=(name,))
        self.insert(operation, before if before is not None else self._first)
        return operation.result


@dataclass
class Module:
    """A whole model.

    Attributes:
        main: the entry graph.
        name: the model's name.
        metadata: string properties that travel with the model (opset, producer, source file …).
    """

    main: Graph
    name: str = "model"
    metadata: dict[str, str] = field(default_factory=dict)

    def walk(self) -> Iterator[Operation]:
        """All operations of all graphs, outer first."""
        return self.main.walk()
