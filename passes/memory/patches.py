"""Executes the memory-heavy first stage of a network in patches of rows, one after the other.

The stage's large values then exist for one patch at a time; what neighbouring patches share, the halo of the windows,
is computed for each of them (Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning",
2021, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from optc.ir.core import CONSTANT, Attribute, Graph, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.contraction import spatial
from optc.ops.declaration import Kind, declaration_of
from optc.ops.inference import make_operation
from optc.passes.base import Pass, PassContext, Remark

ROWS = 2
"""The axis that is divided: the height of N×C×H×W."""

_POOLS = frozenset({"onnx.MaxPool", "onnx.AveragePool"})

Range = tuple[int, int]


@dataclass(frozen=True)
class Stage:
    """Operations that compute `result` from the model input `source` alone; nothing else needs what is between."""

    operations: tuple[Operation, ...]
    source: Value
    result: Value


@dataclass(frozen=True)
class Patches(Pass):
    """Divide the first stage into patches of rows; the numbers stay the same to the bit.

    Attributes:
        operations: the longest stage with at most so many is divided.
        count: of patches.
    """

    name: ClassVar[str] = "patches"
    operations: int = 8
    count: int = 2

    def run(self, module: Module, context: PassContext) -> bool:
        found = [stage for stage in stages(module.main) if len(stage.operations) <= self.operations]
        if not found or self.count < 2:
            return False
        stage = found[-1]
        count = min(self.count, stage.result.shape[ROWS])
        again = divide(module.main, stage, count)
        reason = f"{len(stage.operations)} operations in {count} patches; {again:.1%} of their rows are computed again"
        context.remarks.append(Remark(self.name, "applied", "patch", reason, stage.operations[0].location))
        return True


def stages(graph: Graph) -> list[Stage]:
    """The stages that can be divided, from the shortest to the longest; empty where there is none."""
    sources = [value for value in graph.inputs if _has_rows(value)]
    if len(sources) != 1:
        return []
    (source,) = sources
    inside: dict[Value, None] = {source: None}
    operations: list[Operation] = []
    found: list[Stage] = []
    for operation in graph:
        if operation.name == CONSTANT:
            continue
        if not any(value in inside for value in operation.present_operands):
            if operation.present_operands and not all(value.is_constant for value in operation.present_operands):
                break
            continue
        if not _divides(operation, inside):
            break
        operations.append(operation)
        inside[operation.results[0]] = None
        members = set(operations)
        leaving = [value for value in inside if _needed_outside(value, members, graph)]
        if len(leaving) == 1 and leaving[0] is not source and leaving[0].shape[ROWS] > 1:
            found.append(Stage(tuple(operations), source, leaving[0]))
    return found


def _has_rows(value: Value) -> bool:
    type = value.type
    return isinstance(type, TensorType) and type.is_static and type.rank == 4 and type.static_shape[ROWS] > 1


def _needed_outside(value: Value, members: set[Operation], graph: Graph) -> bool:
    return value in graph.outputs or any(user not in members for user in value.users)


def _divides(operation: Operation, inside: Mapping[Value, None]) -> bool:
    """Whether rows of the result depend on neighbouring rows of values inside, and on constants that are the same for
    all rows."""
    if len(operation.results) != 1 or operation.graphs or not _has_rows(operation.results[0]):
        return False
    if operation.name == "onnx.Conv" or operation.name in _POOLS:
        first, *others = operation.present_operands
        plain = operation.attributes.get("auto_pad", "NOTSET") == "NOTSET" and not operation.attributes.get("ceil_mode")
        return plain and first in inside and all(value.is_constant for value in others)
    if declaration_of(operation.name).kind is not Kind.ELEMENTWISE:
        return False
    shape = operation.results[0].shape
    for value in operation.present_operands:
        if value in inside:
            if value.shape != shape:
                return False
        elif not value.is_constant or (len(value.shape) >= 2 and value.shape[-2] != 1):
            return False
    return True


@dataclass(frozen=True)
class _Window:
    """Along the rows: an output row reads `extent` input rows from `stride · row - before` on."""

    extent: int
    stride: int
    before: int

    @staticmethod
    def of(operation: Operation) -> _Window:
        if operation.name != "onnx.Conv" and operation.name not in _POOLS:
            return _Window(1, 1, 0)
        kernel = operation.attributes.get("kernel_shape")
        if kernel is None:
            weight = operation.operands[1]
            assert weight is not None
            kernel = weight.shape[2:]
        dilation = spatial(operation, "dilations", 2)[0]
        extent = dilation * (int(kernel[0]) - 1) + 1  # type: ignore[index,arg-type]
        return _Window(extent, spatial(operation, "strides", 2)[0], _pads(operation)[0])

    def reads(self, rows: Range) -> Range:
        """The input rows of some output rows, those in the padding included."""
        first = rows[0] * self.stride - self.before
        return first, (rows[1] - 1) * self.stride - self.before + self.extent


def _pads(operation: Operation) -> tuple[int, ...]:
    pads = operation.attributes.get("pads", (0, 0, 0, 0))
    assert isinstance(pads, tuple)
    return tuple(int(each) for each in pads)  # type: ignore[arg-type]


def divide(graph: Graph, stage: Stage, count: int) -> float:
    """Rewrite a stage as `count` patches and a Concat; returns the share of rows that are computed more than once."""
    rows = stage.result.shape[ROWS]
    edges = [rows * number // count for number in range(count + 1)]
    users = set(stage.result.users)
    anchor = next((each for each in graph if each in users), None)
    made = _Maker(graph, anchor)
    parts: list[Value | None] = []
    computed = 0
    for number, piece in enumerate(pairwise(edges)):
        part, its_rows = _patch(made, stage, piece, number)
        parts.append(part)
        computed += its_rows
    last = stage.operations[-1]
    whole = made("onnx.Concat", parts, {"axis": ROWS}, stage.result.name, last)
    stage.result.replace_by(whole)
    if stage.result in graph.outputs:
        outputs = [whole if value is stage.result else value for value in graph.outputs]
        graph.set_outputs(outputs, graph.output_names)
    for operation in reversed(stage.operations):
        graph.erase(operation)
    once = sum(operation.results[0].shape[ROWS] for operation in stage.operations)
    return computed / once - 1.0


class _Maker:
    """Puts operations before an anchor, or at the end."""

    def __init__(self, graph: Graph, anchor: Operation | None) -> None:
        self.graph = graph
        self.anchor = anchor

    def __call__(
        self, name: str, operands: list[Value | None], attributes: Mapping[str, Attribute], result: str, of: Operation
    ) -> Value:
        operation = make_operation(name, operands, attributes, result_names=[result], location=of.location)
        return self.graph.insert(operation, self.anchor).results[0]

    def rows_of(self, value: Value, held: Range, wanted: Range, of: Operation) -> Value:
        """Rows of a value that holds the rows `held` of the original."""
        if held == wanted:
            return value
        numbers = ([wanted[0] - held[0]], [wanted[1] - held[0]], [ROWS], [1])
        bounds = [self.graph.constant(np.array(each, np.int64), "rows", before=self.anchor) for each in numbers]
        return self("onnx.Slice", [value, *bounds], {}, f"{value.name}_rows", of)


def _patch(make: _Maker, stage: Stage, piece: Range, number: int) -> tuple[Value, int]:
    """One patch of the result, and the rows that its operations compute."""
    needed: dict[Value, Range] = {stage.result: piece}
    inside = {stage.source, *(operation.results[0] for operation in stage.operations)}
    for operation in reversed(stage.operations):
        for value, rows in _operand_rows(operation, needed[operation.results[0]], inside):
            known = needed.get(value, rows)
            needed[value] = (min(known[0], rows[0]), max(known[1], rows[1]))
    copies: dict[Value, Value] = {}
    whole = (0, stage.source.shape[ROWS])
    copies[stage.source] = make.rows_of(stage.source, whole, needed[stage.source], stage.operations[0])
    computed = 0
    for operation in stage.operations:
        result = operation.results[0]
        rows = needed[result]
        wanted = dict(_operand_rows(operation, rows, inside))
        operands: list[Value | None] = []
        for operand in operation.operands:
            if operand is not None and operand in wanted:
                operand = make.rows_of(copies[operand], needed[operand], wanted[operand], operation)
            operands.append(operand)
        attributes = dict(operation.attributes)
        if operation.name == "onnx.Conv" or operation.name in _POOLS:
            attributes["pads"] = _patch_pads(operation, rows)
        copies[result] = make(operation.name, operands, attributes, f"{result.name}_{number}", operation)
        computed += rows[1] - rows[0]
    return copies[stage.result], computed


def _operand_rows(operation: Operation, rows: Range, inside: set[Value]) -> Iterator[tuple[Value, Range]]:
    """The rows of each value inside that rows of the result are computed from."""
    low, high = _Window.of(operation).reads(rows)
    for value in operation.present_operands:
        if value in inside:
            yield value, (max(0, low), min(high, value.shape[ROWS]))


def _patch_pads(operation: Operation, rows: Range) -> tuple[int, ...]:
    """Padding above and below only where the patch reads beyond the whole value."""
    _, left, _, right = _pads(operation)
    low, high = _Window.of(operation).reads(rows)
    source = operation.operands[0]
    assert source is not None
    return max(0, -low), left, max(0, high - source.shape[ROWS]), right
