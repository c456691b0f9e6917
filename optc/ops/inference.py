"""Type inference over operations and graphs, and the one way to make an operation whose types are inferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from optc.ir.core import UNKNOWN, Attribute, Graph, Location, Module, Operation, Value
from optc.ir.types import UNKNOWN_TYPE, TensorType, ValueType
from optc.ops import onnx_defaults, runtime_operations
from optc.ops.declaration import declaration_of
from optc.ops.values import remembered

_misfits: ContextVar[list[str] | None] = ContextVar("misfits", default=None)


@contextmanager
def tolerating_misfits() -> Iterator[list[str]]:
    """Accept operations whose operands do not fit, and yield the list of the reasons.

    For branches that may never run: a model may hold one for inputs of another shape. The results of such an
    operation get an unknown shape; executing it would fail.
    """
    reasons: list[str] = []
    token = _misfits.set(reasons)
    try:
        yield reasons
    finally:
        _misfits.reset(token)


def report_misfit(reason: str) -> None:
    """Raise ValueError with the reason, or note it where misfits are tolerated."""
    misfits = _misfits.get()
    if misfits is None:
        raise ValueError(reason)
    misfits.append(reason)


def _infer(operation: Operation) -> Sequence[ValueType]:
    declaration = declaration_of(operation.name)
    try:
        types = declaration.infer(operation)
        if len(types) != len(operation.results):
            raise ValueError(f"it gives {len(types)} results, not {len(operation.results)}")
        for type in types:
            _check_extents(type)
        return types
    except ValueError as error:
        if _misfits.get() is None:
            raise
        report_misfit(f"{operation.name} {operation.location}: {error}")
    stripped = Operation(
        operation.name,
        [None if value is None else _without_shape(value) for value in operation.operands],
        [result.type for result in operation.results],
        operation.attributes,
        result_names=[result.name for result in operation.results],
    )
    stripped.graphs = operation.graphs
    return [type.with_shape(None) if isinstance(type, TensorType) else type for type in declaration.infer(stripped)]


def _check_extents(type: ValueType) -> None:
    """Raise ValueError where arithmetic on absurd operands gave a negative extent."""
    for axis, extent in enumerate((type.shape or ()) if isinstance(type, TensorType) else ()):
        if isinstance(extent, int) and extent < 0:
            raise ValueError(f"dimension {axis} of the result would be {extent}")


def _without_shape(value: Value) -> Value:
    type = value.type.with_shape(None) if isinstance(value.type, TensorType) else value.type
    return Value(
        type, value.name, value.owner if not isinstance(value.owner, Operation) else Graph("none"), value.index
    )


def make_operation(
    name: str,
    operands: Sequence[Value | None],
    attributes: Mapping[str, Attribute] | None = None,
    *,
    result_names: Sequence[str] = ("value",),
    graphs: Mapping[str, Graph] | None = None,
    location: Location = UNKNOWN,
) -> Operation:
    """A new operation, in no graph yet, with inferred result types; one result for each name.

    Raises:
        ValueError: the operands do not fit; says why. Nothing then reads the operands.
    """
    operation = Operation(
        name,
        operands,
        [UNKNOWN_TYPE] * len(result_names),
        attributes,
        result_names=result_names,
        graphs=graphs,
        location=location,
    )
    try:
        infer_operation(operation)
    except ValueError:
        operation.drop_operands()
        raise
    return operation


def infer_operation(operation: Operation) -> bool:
    """Infer the result types of one operation and return whether one changed.

    Layout and quantization of the results are kept: they are decisions, not consequences.

    Raises:
        ValueError: the operands do not fit.
    """
    types = _infer(operation)
    derived = declaration_of(operation.name).infer in (onnx_defaults.infer, runtime_operations.infer)
    changed = False
    for result, type in zip(operation.results, types, strict=False):
        type = _kept(result.type, type, derived)
        if type != result.type:
            result.type = type
            changed = True
    return changed


def _kept(old: ValueType, new: ValueType, derived: bool) -> ValueType:
    """The new type, with what of the old one inference does not decide.

    Where inference by another package (`derived`) cannot tell, the type that the model file declared stays.
    """
    if new == UNKNOWN_TYPE:
        return old
    if not (isinstance(old, TensorType) and isinstance(new, TensorType)):
        return new
    if derived and new.shape is None and old.dtype == new.dtype:
        return old
    if old.rank == new.rank:
        new = replace(new, layout=old.layout)
    if old.dtype == new.dtype:
        new = replace(new, quantization=new.quantization or old.quantization)
    return new


def infer_types(graph: Graph | Module) -> bool:
    """Infer all types of a graph in order, nested graphs included, and return whether one changed.

    Raises:
        ValueError: an operation does not accept its operands; the message begins with the operation.
    """
    changed = False
    with remembered():
        for operation in graph.main if isinstance(graph, Module) else graph:
            try:
                changed = infer_operation(operation) or changed
            except ValueError as error:
                raise ValueError(f"{operation.name} {operation.location}: {error}") from error
    return changed


def bind_dims(module: Module, values: Mapping[str, int]) -> None:
    """Give symbols of the main graph's inputs a value and infer all types anew.

    Raises:
        ValueError: an operation does not accept the shapes that follow.
    """
    for value in module.main.inputs:
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            shape = tuple(dim if isinstance(dim, int) else dim.bind(values) for dim in value.type.shape)
            value.type = value.type.with_shape(shape)
    infer_types(module)
