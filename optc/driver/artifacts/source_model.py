"""From a planned module to a model in C: kernels, one arena with overlapping results, and the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.backends.c.kernel import CKernel
from optc.backends.c.source import Call, Model, Port
from optc.backends.c.source import Copy as CopyStep
from optc.backends.interface import SourceBackend
from optc.driver.program.assembly import ArenaBuffer
from optc.driver.program.lowering import FUSED, group_of
from optc.errors import ModelError
from optc.ir.core import CONSTANT, UNKNOWN, Module, Operation, Value
from optc.ops.views import parts
from optc.passes.memory.overlap import plan_overlapping
from optc.passes.memory.plan import Buffer, MemoryPlan
from optc.passes.memory.storage import Storage, share_storage
from optc.targets.target import Target

_BETWEEN_CODES = frozenset({CONSTANT, "onnx.QuantizeLinear", "onnx.DequantizeLinear"})

ALIGNMENT = 8
"""Bytes: what the widest element of a tensor asks for."""


@dataclass
class SourceModel:
    """A model in C and how its arena came about.

    Attributes:
        model: what is written.
        plan: of the arena.
        buffers: what lies where and when.
        moments: the names of the steps.
        operations: of each step that calls a kernel, None of a copy.
    """

    model: Model
    plan: MemoryPlan
    buffers: list[ArenaBuffer]
    moments: list[str]
    operations: list[Operation | None]


def source_model(module: Module, backend: SourceBackend, target: Target, name: str) -> SourceModel:
    """Make the kernels of a fused module, place every value, and put the steps in order.

    Raises:
        ModelError: some operations have no kernel; all kinds are listed.
    """
    operations = [operation for operation in module.main if operation.name != CONSTANT]
    _check(operations, backend, target)
    return _Layout(module, operations, backend, target, name).run()


def _check(operations: Sequence[Operation], backend: SourceBackend, target: Target) -> None:
    missing: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.name == FUSED or parts(operation):
            continue
        reason = backend.supports(operation, target) or "no group took it"
        missing.setdefault(f"{operation.name}: {reason}", []).append(operation)
    if missing:
        listing = "; ".join(f"{reason} ({each[0].location}, {len(each)} in all)" for reason, each in missing.items())
        raise ModelError(
            f"the model cannot run on '{target.name}', which has no onnxruntime to fall back to",
            why=listing,
            hint="export the model without these operations, or run them in the application",
        )


@dataclass(frozen=True)
class _KernelStep:
    operation: Operation
    kernel: CKernel

    @property
    def touched(self) -> list[Value]:
        return [*self.operation.present_operands, *self.operation.results]


@dataclass(frozen=True)
class _CopyStep:
    source: Value
    source_offset: int
    destination: Value
    destination_offset: int
    bytes: int

    @property
    def touched(self) -> list[Value]:
        return [self.source, self.destination]


class _Layout:
    def __init__(
        self, module: Module, operations: Sequence[Operation], backend: SourceBackend, target: Target, name: str
    ) -> None:
        self.graph = module.main
        self.backend, self.target, self.name = backend, target, name
        self.storage: Storage = share_storage(operation for operation in operations if operation.name != FUSED)
        self.steps: list[_KernelStep | _CopyStep] = []
        for number, operation in enumerate(operations):
            if operation.name == FUSED:
                kernel = backend.kernel(operation, group_of(operation), target, f"kernel_{number}")
                self.steps.append(_KernelStep(operation, kernel))
                continue
            for each in self.storage.copies[operation]:
                self.steps.append(
                    _CopyStep(each.source, each.source_offset, each.destination, each.destination_offset, each.bytes)
                )
        self._separate_outputs()
        self.positions: dict[Value, int] = {}

    def _separate_outputs(self) -> None:
        """Outputs that are inputs, constants or parts of other values are copied at the end."""
        self.outputs: list[Value] = []
        taken: set[Value] = set()
        for index, value in enumerate(self.graph.outputs):
            root = self.storage.place(value).root
            if root is value and value.producer is not None and not value.is_constant and value not in taken:
                self.outputs.append(value)
                taken.add(value)
                continue
            copy = Value(value.type, self.graph.output_names[index], self.graph, index)
            self.steps.append(_CopyStep(value, 0, copy, 0, value.tensor_type.bytes))
            self.outputs.append(copy)

    def run(self) -> SourceModel:
        first: dict[Value, int] = {value: 0 for value in self.graph.inputs}
        last: dict[Value, int] = {value: 0 for value in self.graph.inputs}
        for moment, step in enumerate(self.steps):
            for value in step.touched:
                root = self.storage.place(value).root
                if not root.is_constant:
                    first.setdefault(root, moment)
                    last[root] = moment
        for value in self.outputs:
            last[value] = len(self.steps)
        roots = list(first)
        buffers = [Buffer(first[root], last[root] + 1, root.tensor_type.bytes) for root in roots]
        index = {root: number for number, root in enumerate(roots)}
        scratch: dict[int, int] = {}
        overlaps: dict[tuple[int, int], int] = {}
        for moment, step in enumerate(self.steps):
            if not isinstance(step, _KernelStep):
                continue
            operation, kernel = step.operation, step.kernel
            if kernel.scratch_bytes:
                scratch[moment] = len(buffers)
                buffers.append(Buffer(moment, moment + 1, kernel.scratch_bytes))
            if len(operation.results) != 1 or self.storage.place(operation.results[0]).root is not operation.results[0]:
                continue
            result = index[operation.results[0]]
            for position, distance in kernel.overlap.items():
                operand = operation.operands[position]
                assert operand is not None
                place = self.storage.place(operand)
                if place.root in index and operation.operands.count(operand) == 1 and last[place.root] == moment:
                    if first[operation.results[0]] == moment:
                        overlaps[index[place.root], result] = distance - place.offset
        plan = plan_overlapping(buffers, overlaps, alignment=ALIGNMENT)
        self.positions = {root: plan.offsets[number] for root, number in index.items()}
        names = [(root.name, "value") for root in roots] + [(self._label(moment), "scratch") for moment in scratch]
        placed = [
            ArenaBuffer(name, kind, each.start, each.end, offset, each.size)
            for (name, kind), each, offset in zip(names, buffers, plan.offsets, strict=True)
        ]
        steps = [self._step(moment, scratch, plan) for moment in range(len(self.steps))]
        inputs = tuple(self._port(value, value.name) for value in self.graph.inputs)
        outputs = tuple(
            self._port(value, name) for value, name in zip(self.outputs, self.graph.output_names, strict=True)
        )
        model = Model(self.name, inputs, outputs, tuple(steps), plan.arena_bytes, self.target.name)
        moments = [self._label(moment) for moment in range(len(self.steps))]
        executed = [step.operation if isinstance(step, _KernelStep) else None for step in self.steps]
        return SourceModel(model, plan, placed, moments, executed)

    def _address(self, value: Value) -> int | None:
        place = self.storage.place(value)
        return None if place.root.is_constant else self.positions[place.root] + place.offset

    def _step(self, moment: int, scratch: dict[int, int], plan: MemoryPlan) -> Call | CopyStep:
        step = self.steps[moment]
        if isinstance(step, _KernelStep):
            operation, kernel = step.operation, step.kernel
            inputs = tuple(None if value is None else self._address(value) for value in operation.operands)
            outputs = tuple(self._address(value) or 0 for value in operation.results)
            begin = plan.offsets[scratch[moment]] if moment in scratch else 0
            return Call(kernel, inputs, outputs, begin, self._label(moment))
        target, origin = self._address(step.destination), self._address(step.source)
        assert target is not None
        if origin is not None:
            return CopyStep(origin + step.source_offset, target + step.destination_offset, step.bytes)
        place = self.storage.place(step.source)
        constant, first = place.root.constant, place.offset + step.source_offset
        assert constant is not None
        content = np.ascontiguousarray(constant).reshape(-1).view(np.uint8)[first : first + step.bytes]
        return CopyStep(content, target + step.destination_offset, step.bytes)

    def _label(self, moment: int) -> str:
        step = self.steps[moment]
        if isinstance(step, _CopyStep):
            return f"copy to {step.destination.name}"
        location = UNKNOWN
        for operation in step.operation.graphs["body"]:
            if operation.name not in _BETWEEN_CODES:
                location = location + operation.location
        return str(location if location.nodes else step.operation.location)

    def _port(self, value: Value, name: str) -> Port:
        type = value.tensor_type
        address = self._address(value)
        assert address is not None
        return Port(name, type.dtype.numpy_name, type.static_shape, address, type.quantization, type.layout.permutation)
