"""From a planned module to kernels and a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optc.backends.interface import Kernel, KernelBackend
from optc.backends.tvm.group import Group
from optc.driver.options import AUTOMATIC_BUDGET, CompileOptions
from optc.driver.program.assembly import Assembly, assemble, has_address
from optc.driver.program.drafts import Draft, KernelDraft, RegionDraft, draft, flatten
from optc.driver.program.outputs import separate_outputs
from optc.errors import InternalError
from optc.ir.core import CONSTANT, Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import declaration_of
from optc.ops.views import parts
from optc.targets.target import Target

FUSED = "optc.fused"


@dataclass(frozen=True)
class NativeShare:
    """How much of the model native code runs, as fractions of its FLOPs and of its operations."""

    flops: float
    nodes: float


@dataclass
class Lowered:
    """A module as code: the program with its weights, and the kernels that it calls."""

    assembly: Assembly
    drafts: list[Draft]
    kernels: list[Kernel]
    native: NativeShare


def lower(module: Module, backend: KernelBackend | None, target: Target, options: CompileOptions) -> Lowered:
    """Make the kernels of all fused groups and the program that calls them.

    Args:
        module: after fusion.
        backend: makes the kernels; None runs everything in onnxruntime.
        target: what the code is for.
        options: the tuning budget, the threads and the progress callback are read.

    Raises:
        InternalError: a group in a blocked layout has no kernel.
    """
    kernels, refusals = _make_kernels(module, backend, target, options)
    separate_outputs(module.main)

    def reason_to_fall_back(operation: Operation) -> str | None:
        if operation in kernels:
            return None
        if backend is None:
            return "the onnx backend was asked for"
        if operation in refusals:
            return refusals[operation]
        if parts(operation) and all(map(has_address, operation.results)):
            return None
        if operation.name == "onnx.If":
            return _branch_refusal(operation)
        return backend.supports(operation, target) or "no group took it"

    drafts = draft(module.main, kernels, reason_to_fall_back)
    used = list({kernel.symbol: kernel for kernel in kernels.values()}.values())
    return Lowered(assemble(module.main, drafts), drafts, used, native_share(drafts))


def _make_kernels(
    module: Module, backend: KernelBackend | None, target: Target, options: CompileOptions
) -> tuple[Mapping[Operation, Kernel], Mapping[Operation, str]]:
    """Kernels by fused operation, and why the rest has none."""
    fused = [operation for operation in module.walk() if operation.name == FUSED]
    if backend is None:
        return {}, {}
    groups = [group_of(operation) for operation in fused]
    budget = AUTOMATIC_BUDGET if options.budget is None else options.budget
    threads = options.threads or target.cores
    made = backend.kernels(
        groups,
        target,
        budget=budget,
        threads=threads,
        progress=options.progress,
        remeasure=bool(options.budget),
    )
    kernels: dict[Operation, Kernel] = {}
    refusals: dict[Operation, str] = {}
    for operation, kernel in zip(fused, made, strict=True):
        if isinstance(kernel, Kernel):
            kernels[operation] = kernel
            continue
        refusals[operation] = kernel
        blocked = [value for value in (*operation.present_operands, *operation.results) if _is_blocked(value)]
        if blocked:
            raise InternalError(
                f"no template makes the kernel of {operation.location}, whose value '{blocked[0].name}' is blocked",
                why=kernel,
            )
    return kernels, refusals


def group_of(operation: Operation) -> Group:
    """What a backend needs to know of a fused operation."""
    constants = (i for i, value in enumerate(operation.operands) if value is not None and value.is_constant)
    return Group(operation.graphs["body"], frozenset(constants))


def _is_blocked(value: Value) -> bool:
    return isinstance(value.type, TensorType) and not value.type.layout.is_plain


def _branch_refusal(operation: Operation) -> str | None:
    condition = operation.operands[0]
    values = [*operation.results, *([condition] if condition is not None else [])]
    if all(map(has_address, values)):
        return None
    return "a branch's result has a shape that is known only at run time"


def native_share(drafts: list[Draft]) -> NativeShare:
    """Count what kernels and regions execute; the operations inside groups and branches count one by one."""
    native: list[Operation] = []
    fallen: list[Operation] = []
    for step in flatten(drafts):
        if isinstance(step, KernelDraft):
            native += operations_in(step.operation)
        elif isinstance(step, RegionDraft):
            fallen += [op for operation in step.region.operations for op in operations_in(operation)]
    native_flops, fallen_flops = sum(map(static_flops, native)), sum(map(static_flops, fallen))
    flops, nodes = native_flops + fallen_flops, len(native) + len(fallen)
    return NativeShare(native_flops / flops if flops else 1.0, len(native) / nodes if nodes else 1.0)


def operations_in(operation: Operation) -> list[Operation]:
    """The operations that one stands for: those of its nested graphs, or itself."""
    if operation.name == FUSED:
        return [op for op in operation.graphs["body"] if op.name != CONSTANT]
    return [op for op in operation.walk() if op.name != CONSTANT]


def static_flops(operation: Operation) -> int:
    """FLOPs where all shapes are static, else 0."""
    values = (*operation.present_operands, *operation.results)
    if not all(isinstance(value.type, TensorType) and value.type.is_static for value in values):
        return 0
    return declaration_of(operation.name).flops(operation)
