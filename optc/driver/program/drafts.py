"""The steps of a program before anything has an address: they still speak of IR values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optc.backends.interface import Kernel
from optc.driver.program.regions import Region, schedule
from optc.ir.captures import free_values
from optc.ir.core import Graph, Operation, Value
from optc.ops.views import parts


@dataclass
class KernelDraft:
    """One kernel call. Its arguments are the operands, the results, then scratch."""

    operation: Operation
    kernel: Kernel


@dataclass
class RegionDraft:
    """Operations that onnxruntime executes, with the values that enter and leave."""

    region: Region
    inputs: list[Value]
    outputs: list[Value]


@dataclass
class CopyDraft:
    """Copy one value's bytes to where another lies."""

    source: Value
    destination: Value


@dataclass
class BranchDraft:
    """An `onnx.If`: two step lists, each ending with copies of its results to those of the If."""

    operation: Operation
    branches: dict[str, list[Draft]] = field(default_factory=dict)


@dataclass
class ShareDraft:
    """An operation whose results or operands are parts of others' storage: nothing to do, or copies of a few parts."""

    operation: Operation


Draft = KernelDraft | RegionDraft | CopyDraft | BranchDraft | ShareDraft


def draft(
    graph: Graph, kernels: Mapping[Operation, Kernel], reason_to_fall_back: Callable[[Operation], str | None]
) -> list[Draft]:
    """The steps that execute a graph whose fused operations have `kernels`.

    What only renames, joins or divides storage becomes a ShareDraft.
    """
    steps: list[Draft] = []
    for item in schedule(graph, reason_to_fall_back):
        if isinstance(item, Region):
            steps.append(_draft_region(item))
        elif item in kernels:
            steps.append(KernelDraft(item, kernels[item]))
        elif item.name == "onnx.If":
            branch = BranchDraft(item)
            for name, body in item.graphs.items():
                branch.branches[name] = draft(body, kernels, reason_to_fall_back)
                branch.branches[name] += [
                    CopyDraft(source, result) for source, result in zip(body.outputs, item.results, strict=True)
                ]
            steps.append(branch)
        else:
            assert parts(item), f"{item.name} has neither a kernel nor a reason to fall back"
            steps.append(ShareDraft(item))
    return steps


def _draft_region(region: Region) -> RegionDraft:
    produced = {result for operation in region.operations for result in operation.results}
    read = dict.fromkeys(value for operation in region.operations for value in free_values(operation))
    inside = set(region.operations)
    outputs = [
        result
        for operation in region.operations
        for result in operation.results
        if any(_outermost_in(user, operation.graph) not in inside for user in result.users)
    ]
    inputs = [value for value in read if value not in produced and not value.is_constant]
    return RegionDraft(region, inputs, outputs)


def _outermost_in(operation: Operation, graph: Graph | None) -> Operation:
    """The ancestor of an operation (or itself) that stands directly in `graph`."""
    while operation.graph is not graph:
        assert operation.graph is not None and operation.graph.parent is not None
        operation = operation.graph.parent
    return operation


def flatten(steps: Sequence[Draft]) -> Iterator[Draft]:
    """All steps in execution order, both branches of each If one after the other, before the If's own entry."""
    for step in steps:
        if isinstance(step, BranchDraft):
            for branch in step.branches.values():
                yield from flatten(branch)
        yield step
