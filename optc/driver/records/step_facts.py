"""What each step of a program computes, moves and is predicted to take, in the order in which a profile times them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.residency import predict_in_place
from optc.driver.program.assembly import Assembly, has_address
from optc.driver.program.drafts import KernelDraft, RegionDraft
from optc.driver.program.lowering import group_of, operations_in, static_flops
from optc.driver.records.origins import Placed, step_record
from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.passes.base import PassContext
from optc.program import CopyStep, FallbackCall, KernelCall, Location, TensorInfo, names_of, timed_steps
from optc.targets.target import Target


def kernel_candidates(assembly: Assembly) -> list[Candidate]:
    """The kernel calls for a cost model, in the order of the program text."""
    groups = [group_of(draft.operation) for draft in assembly.kernels]
    return [Candidate.of_graph(each.body, each.constants) for each in groups]


def kernel_estimates(
    assembly: Assembly, context: PassContext, target: Target, candidates: Sequence[Candidate]
) -> list[Estimate]:
    """What the cost model says of each kernel call (`kernel_candidates`) in its place."""
    assert context.cost_model is not None
    return predict_in_place(context.cost_model, candidates, target, kernel_weights(assembly))


def kernel_weights(assembly: Assembly) -> list[int]:
    """Bytes of weights that each kernel call reads, as they are packed, in the order of the program text."""
    calls = [step for step in timed_steps(assembly.program) if isinstance(step, KernelCall)]
    return [sum(each.bytes for each in call.arguments if each.space == "weights") for call in calls]


def step_facts(assembly: Assembly, estimates: Sequence[Estimate]) -> list[dict[str, Any]]:
    """One record for each of `timed_steps`, as plain data.

    Each holds `label` and `symbol`; the `template` (`copy`, or `onnxruntime` for a fallback region); the `operations`
    by name; `flops`, where a convolution counts as a direct one whatever its kernel does, and the element type `dtype`
    of most of them (None without any); `bytes` read and written outside the step, constants included; and
    `predicted_seconds` (None for what the cost model does not price). Kernels and regions also hold what
    `origins.step_record` says, regions the `reason` for which they are no kernels.

    Args:
        assembly: of the program.
        estimates: one for each kernel call, in the order of the program text.
    """
    kernels = zip(assembly.kernels, estimates, strict=True)
    regions = iter(assembly.regions)
    records = []
    for step in timed_steps(assembly.program):
        label, symbol = names_of(step)
        if isinstance(step, KernelCall):
            facts = _of_kernel(*next(kernels), step)
        elif isinstance(step, CopyStep):
            facts = _facts("copy", [], 2 * step.source.bytes, None)
        else:
            facts = _of_region(next(regions), step)
        records.append({"label": label, "symbol": symbol, **facts})
    return records


def _of_kernel(draft: KernelDraft, estimate: Estimate, call: KernelCall) -> dict[str, Any]:
    operation, body = draft.operation, operations_in(draft.operation)
    operands, places = operation.operands, call.arguments
    reads = [(value, place) for value, place in zip(operands, places, strict=False) if value is not None]
    writes: list[Placed] = list(zip(operation.results, places[len(operands) :], strict=False))
    facts = _facts(draft.kernel.template, body, estimate.bytes, estimate.seconds)
    return facts | step_record([operation], body, reads, writes)


def _of_region(draft: RegionDraft, call: FallbackCall) -> dict[str, Any]:
    operations = [inner for operation in draft.region.operations for inner in operations_in(operation)]
    read = dict.fromkeys(
        value
        for operation in draft.region.operations
        for value in operation.present_operands
        if value.is_constant and has_address(value)
    )
    passed = [value for value in (*draft.inputs, *draft.outputs) if has_address(value)]
    moved = sum(value.tensor_type.bytes for value in (*passed, *read))
    reads, writes = _placed(draft.inputs, call.inputs), _placed(draft.outputs, call.outputs)
    record = step_record(draft.region.operations, operations, reads, writes)
    return _facts("onnxruntime", operations, moved, None) | record | {"reason": call.reason}


def _placed(values: Sequence[Value], passed: Sequence[tuple[TensorInfo, Location | None]]) -> list[Placed]:
    return [(value, place) for value, (_, place) in zip(values, passed, strict=True)]


def _facts(template: str, operations: Sequence[Operation], moved: int, predicted: float | None) -> dict[str, Any]:
    counts = [static_flops(operation) for operation in operations]
    return {
        "template": template,
        "operations": [operation.name for operation in operations],
        "flops": sum(counts),
        "dtype": _dtype(operations, counts),
        "bytes": moved,
        "predicted_seconds": predicted,
    }


def _dtype(operations: Sequence[Operation], counts: Sequence[int]) -> str | None:
    """The element type of the operation that computes most."""
    if not any(counts):
        return None
    result = operations[counts.index(max(counts))].results[0]
    return result.type.dtype.name if isinstance(result.type, TensorType) else None
