"""What `optc inspect` tells of a model: operations, parameters, FLOPs, memory, dynamic dimensions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.dims import SymbolicDim
from optc.ir.types import TensorType
from optc.ops.declaration import declaration_of


@dataclass(frozen=True)
class ValueSummary:
    """An input or output: `shape` holds ints and expressions such as `batch`; None while the rank is unknown."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class DynamicDim:
    """A symbol of the inputs.

    Attributes:
        name: as `--dim` takes it.
        places: where it stands, as (input, axis).
    """

    name: str
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ModelSummary:
    """The figures of one model.

    Attributes:
        name: the module's name.
        opset: the ONNX opset of the file; empty where it came from elsewhere.
        producer: the tool that wrote the file.
        inputs: of the main graph.
        outputs: of the main graph.
        operations: how many of each kind, nested graphs included, the most frequent first; constants are left out.
        parameters: elements of the floating-point and 8-bit constants; shared storage counts once.
        weight_bytes: bytes of all constants; shared storage counts once.
        flops: floating-point operations of one run, over the operations whose shapes are known.
        uncounted: how many operations the FLOPs leave out.
        flops_by_operation: the same by kind, the largest first.
        peak_activation_bytes: the most bytes that live at once when the operations run in the order of the file and
            each value is dropped after its last reader; None while a shape is dynamic.
        dynamic_dims: the symbols that must be bound for a static compilation.
    """

    name: str
    opset: str
    producer: str
    inputs: tuple[ValueSummary, ...]
    outputs: tuple[ValueSummary, ...]
    operations: dict[str, int]
    parameters: int
    weight_bytes: int
    flops: int
    uncounted: int
    flops_by_operation: dict[str, int]
    peak_activation_bytes: int | None
    dynamic_dims: tuple[DynamicDim, ...]

    @property
    def binding_hints(self) -> tuple[str, ...]:
        """How to bind what is dynamic, as options of the command line; empty for a static model."""
        if not self.dynamic_dims:
            return ()
        dims = " ".join(f"--dim {dim.name}=N" for dim in self.dynamic_dims)
        concerned = {place[0] for dim in self.dynamic_dims for place in dim.places}
        shapes = " ".join(
            f"--shape {value.name}={','.join(str(dim) if isinstance(dim, int) else 'N' for dim in value.shape or ())}"
            for value in self.inputs
            if value.name in concerned
        )
        return (dims, shapes)


def summarize(module: Module) -> ModelSummary:
    """The figures of a module; changes nothing."""
    operations = [operation for operation in module.walk() if operation.name != CONSTANT]
    counts = Counter(_short(operation.name) for operation in operations)
    flops: Counter[str] = Counter()
    uncounted = 0
    for operation in operations:
        if operation.graphs:
            continue  # what it holds counts by itself
        found = _flops(operation)
        if found is None:
            uncounted += 1
        else:
            flops[_short(operation.name)] += found
    arrays = _distinct_arrays(module)
    return ModelSummary(
        name=module.name,
        opset=module.metadata.get("opset", ""),
        producer=module.metadata.get("producer", ""),
        inputs=tuple(_value(value, value.name) for value in module.main.inputs),
        outputs=tuple(
            _value(value, name) for value, name in zip(module.main.outputs, module.main.output_names, strict=True)
        ),
        operations=dict(counts.most_common()),
        parameters=sum(array.size for array in arrays if _is_parameter(array)),
        weight_bytes=sum(array.nbytes for array in arrays),
        flops=flops.total(),
        uncounted=uncounted,
        flops_by_operation={name: count for name, count in flops.most_common() if count},
        peak_activation_bytes=peak_activation_bytes(module.main),
        dynamic_dims=_dynamic_dims(module.main),
    )


def peak_activation_bytes(graph: Graph) -> int | None:
    """The most bytes of inputs and results that live at once in the order of the graph; constants do not count.

    A nested graph adds its own peak while the operation that holds it runs. None where a shape is dynamic.
    """
    order = [operation for operation in graph if operation.name != CONSTANT]
    last: dict[Value, int] = {}
    for position, operation in enumerate(order):
        for inner in operation.walk():
            for value in (*inner.present_operands, *(v for g in inner.graphs.values() for v in g.outputs)):
                last[value] = position
    for value in graph.outputs:
        last[value] = len(order)
    values = [*graph.inputs, *(result for operation in order for result in operation.results)]
    if not all(isinstance(value.type, TensorType) and value.type.is_static for value in values):
        return None
    live = sum(value.tensor_type.bytes for value in graph.inputs)
    peak = live
    dying: dict[int, list[Value]] = {}
    for value in values:
        dying.setdefault(last.get(value, -1), []).append(value)
    live -= sum(value.tensor_type.bytes for value in graph.inputs if value not in last)
    for position, operation in enumerate(order):
        made = sum(result.tensor_type.bytes for result in operation.results)
        nested = [peak_activation_bytes(body) for body in operation.graphs.values()]
        if None in nested:
            return None
        peak = max(peak, live + made + max((size for size in nested if size is not None), default=0))
        live += sum(result.tensor_type.bytes for result in operation.results if result in last)
        live -= sum(value.tensor_type.bytes for value in dying.get(position, ()))
    return peak


def _short(name: str) -> str:
    return name.removeprefix("onnx.")


def _flops(operation: Operation) -> int | None:
    types = [value.type for value in (*operation.present_operands, *operation.results)]
    if not all(isinstance(type, TensorType) and type.is_static for type in types):
        return None
    return declaration_of(operation.name).flops(operation)


def _distinct_arrays(module: Module) -> list[np.ndarray]:
    """The constants, each storage once."""
    found: dict[tuple[int, int], np.ndarray] = {}
    for operation in module.walk():
        array = operation.attributes.get("value") if operation.name == CONSTANT else None
        if isinstance(array, np.ndarray):
            found.setdefault((array.__array_interface__["data"][0], array.nbytes), array)
    return list(found.values())


def _is_parameter(array: np.ndarray) -> bool:
    small_integer = array.dtype.itemsize == 1 and array.dtype != bool
    return small_integer or array.dtype.kind in "fc" or "float" in array.dtype.name


def _value(value: Value, name: str) -> ValueSummary:
    if not isinstance(value.type, TensorType):
        return ValueSummary(name, value.type.description, None)
    shape = value.type.shape
    listed = None if shape is None else tuple(dim if isinstance(dim, int) else str(dim) for dim in shape)
    return ValueSummary(name, str(value.type.dtype), listed)


def _dynamic_dims(graph: Graph) -> tuple[DynamicDim, ...]:
    places: dict[str, list[tuple[str, int]]] = {}
    for value in graph.inputs:
        shape = value.type.shape if isinstance(value.type, TensorType) else None
        for axis, dim in enumerate(shape or ()):
            if isinstance(dim, SymbolicDim):
                for name in dim.symbols:
                    places.setdefault(name, []).append((value.name, axis))
    return tuple(DynamicDim(name, tuple(found)) for name, found in places.items())
