"""From drafts to the program: give every value an address and every constant a place in the weights file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from optc import program
from optc.backends.onnx.emission import MODEL
from optc.driver.program.drafts import BranchDraft, CopyDraft, Draft, KernelDraft, RegionDraft, ShareDraft, flatten
from optc.ir.core import Graph, Value
from optc.ir.types import TensorType
from optc.passes.memory.in_place import Use, overwrite_dying
from optc.passes.memory.plan import ALIGNMENT, Buffer, MemoryPlan, plan_memory
from optc.passes.memory.storage import Copy, share_storage


def aligned(size: int) -> int:
    """The next multiple of the alignment that kernels assume."""
    return -(-size // ALIGNMENT) * ALIGNMENT


_SAMPLED = 64  # bytes of an array, or up to twice as many, that tell it from most others


@dataclass
class Weights:
    """The weights file in the making: each distinct array is stored once, 64-byte aligned.

    Attributes:
        chunks: its content.
        size: bytes so far.
        packed: bytes of it by the template that asked for an array in a layout of its own.
    """

    chunks: list[memoryview] = field(default_factory=list)
    size: int = 0
    packed: Counter[str] = field(default_factory=Counter)
    _places: dict[tuple[str, int, bytes], list[tuple[np.ndarray, program.Location]]] = field(default_factory=dict)
    _by_constant: dict[tuple[int, str], program.Location] = field(default_factory=dict)

    def place(self, constant: np.ndarray, key: str = "", pack: object = None, template: str = "") -> program.Location:
        """Store an array and return where it lies.

        Args:
            constant: the array.
            key: the identity of `pack`.
            pack: rearranges the array, if that is needed.
            template: that needs it.
        """
        known = self._by_constant.get((id(constant), key))
        if known is not None:
            return known
        stored = np.ascontiguousarray(pack(constant) if callable(pack) else constant)
        size = self.size
        location = self._store(stored.reshape(-1).view(np.uint8), str(stored.dtype))
        if key:
            self.packed[template] += self.size - size
        self._by_constant[(id(constant), key)] = location
        return location

    def _store(self, content: np.ndarray, dtype: str) -> program.Location:
        """Append bytes unless they are there; those with the same sample are compared, which is cheaper than a hash."""
        step = max(1, content.size // _SAMPLED)
        alike = self._places.setdefault((dtype, content.size, content[::step].tobytes()), [])
        for other, location in alike:
            if np.array_equal(content, other):
                return location
        location = program.Location("weights", self.size, content.size)
        padding = aligned(content.size) - content.size
        self.chunks += [content.data, memoryview(bytes(padding))]
        self.size += content.size + padding
        alike.append((content, location))
        return location


@dataclass(frozen=True)
class ArenaBuffer:
    """A range of the arena, and when it is in use.

    Attributes:
        name: of the value whose bytes it holds, or of the kernel whose scratch it is.
        kind: `value` or `scratch`.
        start: the first step that uses it, counted as `flatten` lists them.
        end: the step after the last that does.
        offset: bytes from the start of the arena.
        bytes: its extent.
    """

    name: str
    kind: str
    start: int
    end: int
    offset: int
    bytes: int


@dataclass
class Assembly:
    """Everything the artifact needs of a drafted graph.

    Attributes:
        program: its steps.
        weights: the content of the weights file.
        plan: of the arena.
        kernels: one entry for each kernel call, in the order of the program text.
        regions: the same for each fallback call.
        names: of the values that enter and leave regions.
        buffers: what the plan placed.
        moments: the names of the steps as the plan counts them.
    """

    program: program.Program
    weights: Weights
    plan: MemoryPlan
    buffers: list[ArenaBuffer]
    moments: list[str]
    kernels: list[KernelDraft]
    regions: list[RegionDraft]
    names: dict[Value, str]


def tensor_info(value: Value, name: str | None = None) -> program.TensorInfo:
    """Name, dtype and shape of a value, with None for what is not static."""
    if not isinstance(value.type, TensorType) or value.type.shape is None:
        dtype = value.type.dtype.numpy_name if isinstance(value.type, TensorType) else "object"
        return program.TensorInfo(name or value.name, dtype, None)
    shape = tuple(dim if isinstance(dim, int) else None for dim in value.type.shape)
    return program.TensorInfo(name or value.name, value.type.dtype.numpy_name, shape)


def has_address(value: Value) -> bool:
    """Whether a value's bytes can lie in a buffer that is planned at compile time."""
    return isinstance(value.type, TensorType) and value.type.is_static and value.type.dtype.bits > 0


class _Assembler:
    """Holds what `assemble` works out; see there."""

    def __init__(self, graph: Graph, drafts: Sequence[Draft], *, in_place: bool) -> None:
        self.graph = graph
        self.drafts = drafts
        self.weights = Weights()
        self.kernels: list[KernelDraft] = []
        self.regions: list[RegionDraft] = []
        self.addresses: dict[object, program.Location] = {}
        self.names = _unique_names(graph, drafts)
        self.buffers: list[ArenaBuffer] = []
        self.moments = [_label(step) for step in flatten(drafts)]
        shares = [step.operation for step in flatten(drafts) if isinstance(step, ShareDraft)]
        self.storage = share_storage(shares)
        if in_place:
            overwrite_dying(self.storage, list(map(self._use, flatten(drafts))), graph.outputs)

    def run(self) -> Assembly:
        self._place_interface()
        plan = self._plan_arena()
        steps = self._emit(self.drafts) + tuple(self._output_copies())
        inputs = tuple(tensor_info(value) for value in self.graph.inputs)
        outputs = tuple(
            tensor_info(value, name) for value, name in zip(self.graph.outputs, self.graph.output_names, strict=True)
        )
        result = program.Program(inputs, outputs, plan.arena_bytes, self.weights.size, steps)
        return Assembly(result, self.weights, plan, self.buffers, self.moments, self.kernels, self.regions, self.names)

    def _root(self, value: Value) -> Value:
        """The value in whose storage `value` lies."""
        return self.storage.place(value).root

    def _use(self, step: Draft) -> Use:
        """What a step reads and writes, and which operands its kernel may overwrite."""
        pairs: list[tuple[Value, Value]] = []
        if isinstance(step, KernelDraft):
            operands, results = step.operation.operands, step.operation.results
            pairs = [(operands[i], results[o]) for i, o in step.kernel.in_place if operands[i] is not None]  # type: ignore[misc]
        values = [value for value in (*self._reads(step), *self._writes(step)) if has_address(value)]
        return Use(tuple(values), tuple(pairs))

    def _reads(self, step: Draft) -> list[Value]:
        if isinstance(step, ShareDraft):
            return [copy.source for copy in self.storage.copies[step.operation]]
        return _reads(step)

    def _writes(self, step: Draft) -> list[Value]:
        if isinstance(step, ShareDraft):
            return [copy.destination for copy in self.storage.copies[step.operation]]
        return _writes(step)

    def _place_interface(self) -> None:
        """Inputs lie in the caller's buffers; so do outputs whose storage some step writes and nothing else claims."""
        for index, value in enumerate(self.graph.inputs):
            if has_address(value):
                self.addresses[value] = program.Location("input", 0, value.tensor_type.bytes, index)
        written = {self._root(value) for step in flatten(self.drafts) for value in self._writes(step)}
        for index, value in enumerate(self.graph.outputs):
            root = self._root(value)
            whole = has_address(value) and root.tensor_type.bytes == value.tensor_type.bytes
            if whole and root in written and root not in self.addresses:
                self.addresses[root] = program.Location("output", 0, value.tensor_type.bytes, index)

    def _plan_arena(self) -> MemoryPlan:
        """Lifetimes on the flattened order of steps, then offsets."""
        first: dict[object, int] = {}
        last: dict[object, int] = {}
        sizes: dict[object, int] = {}
        owners: dict[object, str] = {}

        def touch(key: object, size: int, time: int) -> None:
            sizes[key] = size
            first[key] = min(first.get(key, time), time)
            last[key] = max(last.get(key, time), time)

        end = 0
        for time, step in enumerate(flatten(self.drafts)):
            end = time + 1
            for root in map(self._root, [*self._reads(step), *self._writes(step)]):
                if has_address(root) and root not in self.addresses and not root.is_constant:
                    touch(root, root.tensor_type.bytes, time)
            if isinstance(step, KernelDraft):
                for position, size in enumerate(step.kernel.scratch_bytes):
                    touch((id(step), position), size, time)
                    owners[(id(step), position)] = ", ".join(step.operation.location.nodes)
        for value in self.graph.outputs:
            if self._root(value) in sizes:
                touch(self._root(value), sizes[self._root(value)], end)
        keys = list(sizes)
        buffers = [Buffer(first[key], last[key] + 1, sizes[key]) for key in keys]
        plan = plan_memory(buffers, alignment=ALIGNMENT)
        for key, offset in zip(keys, plan.offsets, strict=True):
            self.addresses[key] = program.Location("arena", offset, sizes[key])
            name, kind = (key.name, "value") if isinstance(key, Value) else (owners[key], "scratch")
            self.buffers.append(ArenaBuffer(name, kind, first[key], last[key] + 1, offset, sizes[key]))
        return plan

    def _address(self, value: Value) -> program.Location:
        place = self.storage.place(value)
        constant = place.root.constant
        base = self.addresses[place.root] if constant is None else self.weights.place(constant)
        return replace(base, offset=base.offset + place.offset, bytes=value.tensor_type.bytes)

    def _optional_address(self, value: Value) -> program.Location | None:
        return self._address(value) if has_address(value) else None

    def _emit(self, drafts: Sequence[Draft]) -> tuple[program.Step, ...]:
        steps: list[program.Step] = []
        for draft in drafts:
            if isinstance(draft, ShareDraft):
                steps += map(self._emit_copy, self.storage.copies[draft.operation])
            else:
                steps.append(self._emit_step(draft))
        return tuple(steps)

    def _emit_copy(self, copy: Copy) -> program.CopyStep:
        source, destination = self._address(copy.source), self._address(copy.destination)
        return program.CopyStep(
            replace(source, offset=source.offset + copy.source_offset, bytes=copy.bytes),
            replace(destination, offset=destination.offset + copy.destination_offset, bytes=copy.bytes),
        )

    def _emit_step(self, draft: KernelDraft | CopyDraft | BranchDraft | RegionDraft) -> program.Step:
        if isinstance(draft, KernelDraft):
            return self._emit_kernel(draft)
        if isinstance(draft, CopyDraft):
            return program.CopyStep(self._address(draft.source), self._address(draft.destination))
        if isinstance(draft, BranchDraft):
            condition = draft.operation.operands[0]
            assert condition is not None
            return program.Branch(
                self._address(condition),
                self._emit(draft.branches["then_branch"]),
                self._emit(draft.branches["else_branch"]),
                str(draft.operation.location),
            )
        self.regions.append(draft)
        return program.FallbackCall(
            self._file(len(self.regions) - 1),
            tuple((tensor_info(value, self.names[value]), self._optional_address(value)) for value in draft.inputs),
            tuple((tensor_info(value, self.names[value]), self._optional_address(value)) for value in draft.outputs),
            ", ".join(f"{op.name} {op.location}" for op in draft.region.operations[:3]),
            draft.region.reason,
        )

    def _file(self, index: int) -> str:
        """A region that is the whole model is called so."""
        steps = [draft for draft in self.drafts if not isinstance(draft, ShareDraft)]
        return MODEL if len(steps) == 1 else f"fallback_{index}.onnx"

    def _emit_kernel(self, draft: KernelDraft) -> program.KernelCall:
        self.kernels.append(draft)
        arguments = []
        for position, operand in enumerate(draft.operation.operands):
            assert operand is not None
            if operand.constant is not None and position in draft.kernel.pack:
                key, pack = draft.kernel.pack[position]
                arguments.append(self.weights.place(operand.constant, key, pack, draft.kernel.template))
            else:
                arguments.append(self._address(operand))
        arguments += [self._address(result) for result in draft.operation.results]
        arguments += [self.addresses[(id(draft), index)] for index in range(len(draft.kernel.scratch_bytes))]
        return program.KernelCall(draft.kernel.symbol, tuple(arguments), ", ".join(draft.operation.location.nodes))

    def _output_copies(self) -> list[program.CopyStep]:
        """Copies for outputs that no step could write in place: views of inputs, constants, and repeated values."""
        copies = []
        for index, value in enumerate(self.graph.outputs):
            if has_address(value):
                destination = program.Location("output", 0, value.tensor_type.bytes, index)
                if self._address(value) != destination:
                    copies.append(program.CopyStep(self._address(value), destination))
        return copies


def _unique_names(graph: Graph, drafts: Sequence[Draft]) -> dict[Value, str]:
    """Names for the values that enter and leave regions; model inputs and outputs keep the user's."""
    names = {value: value.name for value in graph.inputs}
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        names.setdefault(value, name)
    taken = set(names.values()) | set(graph.output_names)
    for step in flatten(drafts):
        if isinstance(step, RegionDraft):
            for value in [*step.inputs, *step.outputs]:
                if value not in names:
                    name, number = value.name, 0
                    while name in taken:
                        number += 1
                        name = f"{value.name}_{number}"
                    names[value] = name
                    taken.add(name)
    return names


def _label(step: Draft) -> str:
    """The user's names of what a step executes."""
    if isinstance(step, CopyDraft):
        return step.destination.name
    operations = step.region.operations if isinstance(step, RegionDraft) else [step.operation]
    return ", ".join(str(operation.location) for operation in operations)


def _reads(step: KernelDraft | RegionDraft | CopyDraft | BranchDraft) -> list[Value]:
    if isinstance(step, KernelDraft):
        return step.operation.present_operands
    if isinstance(step, RegionDraft):
        return step.inputs
    if isinstance(step, CopyDraft):
        return [step.source]
    condition = step.operation.operands[0]
    assert condition is not None
    return [condition]


def _writes(step: KernelDraft | RegionDraft | CopyDraft | BranchDraft) -> list[Value]:
    if isinstance(step, KernelDraft):
        return list(step.operation.results)
    if isinstance(step, RegionDraft):
        return [value for value in step.outputs if has_address(value)]
    if isinstance(step, CopyDraft):
        return [step.destination]
    return []


def assemble(graph: Graph, drafts: Sequence[Draft]) -> Assembly:
    """Place every value of a drafted graph.

    Args:
        graph: the main graph after fusion.
        drafts: its steps.

    Returns:
        the program, the weights file's content, the memory plan and the fallback regions in the order of their files.
    """
    assembly = _Assembler(graph, drafts, in_place=True).run()
    if assembly.plan.arena_bytes == assembly.plan.lower_bound:
        return assembly
    # Fewer bytes are live, but longer ones can leave gaps.
    plain = _Assembler(graph, drafts, in_place=False).run()
    return plain if plain.plan.arena_bytes < assembly.plan.arena_bytes else assembly
