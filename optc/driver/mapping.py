"""A model as a mapping game: the steps that it takes on a target, and the tensors that they read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from optc.backends import kernel_backend
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate
from optc.driver.program.lowering import FUSED, group_of
from optc.errors import ModelError, UsageError
from optc.ir.captures import free_values
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.views import parts
from optc.passes.base import PassContext
from optc.passes.manager import run_pipeline
from optc.passes.memory.game.problem import Access, Place, Problem, Tensor, check
from optc.passes.memory.storage import Storage, share_storage
from optc.passes.memory.streaming import Weight
from optc.passes.pipeline import parse_pipeline
from optc.targets.target import Target

PIPELINE = "simplify,widen-elements,expand-conv-transpose,fuse,order"
_RULES = "tvm"  # whose capabilities say what can be one kernel, on targets that nobody emits for yet too


def mapping_problem(module: Module, target: Target, element_bits: int | None = None) -> Problem:
    """The game of a model; the module is fused in place.

    Args:
        module: of static shapes, as imported.
        target: with memories.
        element_bits: of floating-point elements, as if the model were quantized; None: as the model has them.

    Raises:
        UsageError: the target has fewer than two memories, or what must lie in one does not fit there.
        ModelError: a shape is known only at run time.
    """
    if len(target.memories) < 2:
        raise UsageError(
            f"the target '{target.name}' has no memories to choose from",
            why="its file has no list 'memories' of at least two",
            hint="stm32h743i-eval and tda4vm have; `optc targets` lists all",
        )
    _fuse(module, target)
    problem = _Game(module.main, target, element_bits).problem()
    check(problem)
    return problem


def streaming_problem(module: Module, target: Target) -> tuple[list[str], list[float], list[Weight]]:
    """The steps of a model, their predicted seconds with all weights in memory, and the weights that they need.

    Args:
        module: of static shapes, as imported; it is fused in place.
        target: what for.

    Raises:
        ModelError: a shape is known only at run time.
    """
    _fuse(module, target)
    game = _Game(module.main, target, None)
    kernels = [operation for operation in module.main if operation.name != CONSTANT]
    estimates = AnalyticalCostModel(target.cores).predict(
        [_candidate(each) for each in kernels if each not in game.storage.copies], target
    )
    seconds = iter(each.seconds for each in estimates)
    names: list[str] = []
    compute: list[float] = []
    used: dict[Value, list[int]] = {}
    for operation in kernels:
        if operation in game.storage.copies:
            continue
        for value in dict.fromkeys(free_values(operation)):
            if value.is_constant:
                used.setdefault(value, []).append(len(names))
        names.append(str(operation.location))
        compute.append(next(seconds))
    weights = [Weight(each.name, each.tensor_type.bytes, steps[0], steps[-1]) for each, steps in used.items()]
    return names, compute, [weight for weight in weights if weight.size]


def _fuse(module: Module, target: Target) -> None:
    backend = kernel_backend(_RULES)
    assert backend is not None
    context = PassContext(target=target, cost_model=AnalyticalCostModel())
    context.supports = lambda operation: backend.supports(operation, target)
    run_pipeline(module, parse_pipeline(PIPELINE), context)
    for operation in module.main:
        for value in (*operation.present_operands, *operation.results):
            if not isinstance(value.type, TensorType) or not value.type.is_static:
                where = str(operation.location)
                raise ModelError(f"the shape of '{value.name}' is known only at run time", where=where)


@dataclass
class _Step:
    name: str
    seconds: float
    reads: list[tuple[Value, int]]
    writes: list[tuple[Value, int]]


class _Game:
    def __init__(self, graph: Graph, target: Target, element_bits: int | None) -> None:
        self.graph = graph
        self.target = target
        self.element_bits = element_bits
        operations = [operation for operation in graph if operation.name != CONSTANT]
        self.storage: Storage = share_storage(operation for operation in operations if parts(operation))
        self.steps = self._steps(operations)

    def problem(self) -> Problem:
        memories = tuple(Place(each.name, each.bytes, each.bandwidth) for each in self.target.memories)
        used: dict[Value, list[Access]] = {}
        for number, step in enumerate(self.steps):
            for values, writes in ((step.reads, False), (step.writes, True)):
                for root, size in values:
                    listed = used.setdefault(root, [])
                    if listed and listed[-1].step == number:
                        before = listed.pop()
                        listed.append(Access(number, before.bytes + size, before.writes or writes))
                    else:
                        listed.append(Access(number, size, writes))
        tensors = [self._tensor(root, accesses) for root, accesses in used.items() if self._bytes(root)]
        names = tuple(step.name for step in self.steps)
        return Problem(memories, names, tuple(step.seconds for step in self.steps), tuple(tensors))

    def _tensor(self, root: Value, accesses: Sequence[Access]) -> Tensor:
        constant = root.is_constant
        memories = self.target.memories
        writable = max(number for number, each in enumerate(memories) if not each.read_only)
        home = len(memories) - 1 if constant else writable
        given = root in self.graph.inputs
        fixed = any(self.storage.place(value).root is root for value in self.graph.outputs)
        return Tensor(root.name, self._bytes(root), home, tuple(accesses), given or constant, constant, fixed)

    def _bytes(self, value: Value) -> int:
        type = value.tensor_type
        if self.element_bits is None or not type.dtype.is_float:
            return type.bytes
        return -(-type.elements * self.element_bits // 8)

    def _steps(self, operations: Sequence[Operation]) -> list[_Step]:
        # Without memories: what is left of the roofline is arithmetic and the launch.
        target = replace(self.target, caches=(), memory_bandwidth=1e30, memory_bandwidth_all=1e30)
        if self.element_bits is not None and (peak := target.peak_flops.get(f"i{self.element_bits}")):
            target = replace(target, peak_flops={**target.peak_flops, "f32": peak})
        kernels = [operation for operation in operations if operation not in self.storage.copies]
        estimates = AnalyticalCostModel().predict([_candidate(operation) for operation in kernels], target)
        seconds = {operation: each.seconds for operation, each in zip(kernels, estimates, strict=True)}
        found = []
        for operation in operations:
            name = str(operation.location)
            if operation not in self.storage.copies:
                reads = [self._part(value) for value in dict.fromkeys(free_values(operation))]
                writes = [self._part(value) for value in operation.results]
                found.append(_Step(name, seconds[operation], reads, writes))
            for copy in self.storage.copies.get(operation, ()):
                size = self._bytes(copy.part)
                ends = [self.storage.place(end).root for end in (copy.source, copy.destination)]
                found.append(_Step(name, target.launch_seconds, [(ends[0], size)], [(ends[1], size)]))
        return found

    def _part(self, value: Value) -> tuple[Value, int]:
        return self.storage.place(value).root, self._bytes(value)


def _candidate(operation: Operation) -> Candidate:
    if operation.name == FUSED:
        group = group_of(operation)
        return Candidate.of_graph(group.body, group.constants)
    return Candidate((operation,), tuple(operation.present_operands), operation.results)
