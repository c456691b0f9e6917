"""What a lowering may ask for, and how a graph of operations becomes tensors as functions of logical indices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from optc.backends.tvm.lowering.binding import scoped_all, shared
from optc.backends.tvm.tensor import Element, LogicalTensor
from optc.ir import dtypes
from optc.ir.core import CONSTANT, Operation, Value
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr

Elements = tuple["PrimExpr", ...]


@dataclass(frozen=True)
class Combiner:
    """An associative, commutative reduction of tuples of elements.

    Attributes:
        identity: per component, from its TIR type name to the neutral element.
        combine: of two tuples.
    """

    name: str
    identity: Callable[[tuple[str, ...]], Elements]
    combine: Callable[[Elements, Elements], Elements]


@dataclass(eq=False)
class Stage:
    """A tensor that is computed once and then read: a reduction, or an expression that would be costly to repeat.

    `body(indices, reduction indices)` gives the elements (several components for a reduction such as ArgMax).
    Whoever emits the kernel decides where it is kept, and sets `read`, one function of the indices per component.
    """

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[DType, ...]
    extents: tuple[int, ...]
    body: Callable[[Sequence[PrimExpr], Sequence[PrimExpr]], Elements]
    combiner: Combiner | None
    read: tuple[Element, ...] | None = None

    def component(self, position: int) -> LogicalTensor:
        """One component as a tensor; may be read only after `read` was set."""

        def element(*indices: PrimExpr | int) -> PrimExpr:
            assert self.read is not None, f"stage {self.name} is read before it has a place"
            return self.read[position](*indices)

        return LogicalTensor(self.shape, self.dtypes[position], element)


@dataclass
class LoweringContext:
    """Collects the stages of one kernel, in the order in which they must run.

    Attributes:
        realize: called for each new stage; a template that works with te passes `as_te_compute`, one that emits its
            own loops leaves it None and places the collected stages itself.
    """

    realize: Callable[[Stage], None] | None = None
    stages: list[Stage] = field(default_factory=list)

    def reduce(
        self,
        shape: Sequence[int],
        dtypes: Sequence[DType],
        extents: Sequence[int],
        body: Callable[[Sequence[PrimExpr], Sequence[PrimExpr]], Elements],
        combiner: Combiner,
        name: str = "reduced",
    ) -> list[LogicalTensor]:
        """Reduce over `extents` with `combiner`; `body(indices, reduction indices)` gives the elements.

        Returns:
            One tensor of the logical `shape` for each of `dtypes`.
        """
        return self._add(Stage(name, tuple(shape), tuple(dtypes), tuple(extents), body, combiner))

    def materialize(self, tensor: LogicalTensor, name: str = "stored") -> LogicalTensor:
        """Compute each element once and keep it, where recomputing it for each reader would cost more."""
        return self._add(Stage(name, tensor.shape, (tensor.dtype,), (), lambda i, _: (tensor(*i),), None))[0]

    def _add(self, stage: Stage) -> list[LogicalTensor]:
        self.stages.append(stage)
        if self.realize is not None:
            self.realize(stage)
        return [stage.component(position) for position in range(len(stage.dtypes))]


def as_te_compute(stage: Stage) -> None:
    """Realize a stage as a te tensor of its logical shape."""
    from tvm import te

    axes = [te.reduce_axis((0, extent), f"r{i}") for i, extent in enumerate(stage.extents)]
    combiner = stage.combiner
    if combiner is None:

        def compute(*indices: PrimExpr) -> Elements | PrimExpr:
            return scoped_all(lambda: stage.body(indices, ()), lambda v: v)[0]
    else:
        reducer = te.comm_reducer(
            lambda x, y: _one_or_all(combiner.combine(_as_tuple(x), _as_tuple(y))),
            lambda *names: _one_or_all(combiner.identity(tuple(str(name) for name in names))),
            name=combiner.name,
        )

        def compute(*indices: PrimExpr) -> Elements | PrimExpr:
            return reducer(_one_or_all(scoped_all(lambda: stage.body(indices, axes), lambda v: v)), axis=axes)

    result = te.compute(stage.shape, compute, name=stage.name)
    tensors = result if isinstance(result, list | tuple) else [result]
    stage.read = tuple(lambda *indices, tensor=tensor: tensor(*indices) for tensor in tensors)


def _one_or_all(values: Elements) -> Elements | PrimExpr:
    return values[0] if len(values) == 1 else values


def _as_tuple(values: object) -> Elements:
    return tuple(values) if isinstance(values, list | tuple) else (values,)


Operands = list[LogicalTensor | None]
Lowering = Callable[[LoweringContext, Operation, Operands], list[LogicalTensor]]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Register a function as the lowering of operations. Raises ValueError when one has a lowering already."""

    def register(lowering: Lowering) -> Lowering:
        for name in names:
            if name in LOWERINGS:
                raise ValueError(f"{name} has two lowerings")
            LOWERINGS[name] = lowering
        return lowering

    return register


Environment = dict[Value, LogicalTensor]


def lower_operations(context: LoweringContext, operations: Iterable[Operation], environment: Environment) -> None:
    """Lower operations in order and put their results into `environment`, which holds what they read.

    Operations whose results are there already (an anchor that a template made itself) are left as they are.

    Raises:
        KeyError: an operation has no lowering; ask `optc.backends.tvm.capability` first.
    """
    for operation in operations:
        if all(result in environment for result in operation.results):
            continue
        operands = [None if operand is None else environment[operand] for operand in operation.operands]
        environment.update(zip(operation.results, lower(operation, operands, context), strict=True))


def lower(operation: Operation, operands: Operands, context: LoweringContext | None = None) -> list[LogicalTensor]:
    """The results of one operation. Results with several readers are shared between them (see `binding`).

    Args:
        operation: one for which `LOWERINGS` has an entry, or a constant.
        operands: its operands; None for an absent one.
        context: needed by operations that reduce; operations that only map or move elements do without.
    """
    if operation.name == CONSTANT:
        return [constant_tensor(operation.attributes["value"])]  # type: ignore[arg-type]
    results = LOWERINGS[operation.name](context or LoweringContext(), operation, operands)
    many = [len(result.uses) > 1 for result in operation.results]
    return [shared(tensor) if several else tensor for tensor, several in zip(results, many, strict=True)]


def constant_tensor(array: np.ndarray) -> LogicalTensor:
    """A small constant as a tensor: its elements become immediates."""
    from tvm import tirx

    dtype = dtypes.from_numpy(array.dtype)
    flat = array.reshape(-1)

    def element(*indices: PrimExpr | int) -> PrimExpr:
        position: PrimExpr | int = 0
        for index, extent in zip(indices, array.shape, strict=True):
            position = position * extent + index
        values = [immediate(item, dtype) for item in flat.tolist()]
        if len(values) == 1 or (values and (flat == flat[0]).all()):
            return values[0]
        result = values[-1]
        for number in range(len(values) - 2, -1, -1):
            result = tirx.Select(tirx.EQ(tirx.convert(position), tirx.const(number, "int32")), values[number], result)
        return result

    return LogicalTensor(tuple(array.shape), dtype, element)


def immediate(value: float | int | bool, dtype: DType) -> PrimExpr:
    """A TIR constant of an element type; bfloat16 values are f32 in expressions."""
    from tvm import tirx

    return tirx.const(value, "float32" if dtype.name == "bf16" else dtype.numpy_name)
