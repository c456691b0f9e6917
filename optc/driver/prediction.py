"""What a model will take on a target, without making any code: its kernels, each priced by the cost model."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from optc import targets
from optc.backends import kernel_backend
from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.levels import Spent, differences, reuse_of, spent
from optc.costmodel.residency import predict_in_place
from optc.costmodel.state import Rates, State
from optc.driver.compile import plan, require_static_inputs
from optc.driver.flows import flow_of
from optc.driver.options import CompileOptions
from optc.driver.pipeline import PIPELINE
from optc.driver.records.levels import rates_of, threads_of
from optc.errors import InternalError
from optc.ir.core import CONSTANT, Module, Operation
from optc.ops.views import is_view
from optc.passes.memory.order import live_bytes

FUSED = "optc.fused"


@dataclass(frozen=True)
class KernelPrediction:
    """One kernel of the planned model.

    Attributes:
        name: of its first result.
        operations: what it computes.
        seconds: expected.
        low: where the 90% interval begins.
        high: where it ends.
        flops: floating-point operations.
        bytes: read from and written to memory.
        joules: None where the target states no energy figures.
        basis: what the figure rests on.
        nodes: of the source model that it comes from.
    """

    name: str
    operations: tuple[str, ...]
    seconds: float
    low: float
    high: float
    flops: int
    bytes: int
    joules: float | None
    basis: str
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelPrediction:
    """A whole model: sums over its kernels; the interval's ends are sums too, as if all kernels erred alike.

    Attributes:
        target: its name.
        kernels: in the order of execution.
        peak_bytes: of intermediate values that live at once.
        energy_basis: where the coefficients of energy come from, as the target file says.
        collected_seconds: latency at the rates at which the kernels were measured; None where those of the machine now
            are not known beside them, so that the two are the same.
        state: how the machine differs from that, in words.
    """

    target: str
    kernels: tuple[KernelPrediction, ...]
    peak_bytes: int
    energy_basis: str = ""
    collected_seconds: float | None = None
    state: str = ""

    @property
    def seconds(self) -> float:
        """Expected latency."""
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def low(self) -> float:
        """Where the 90% interval begins."""
        return sum(kernel.low for kernel in self.kernels)

    @property
    def high(self) -> float:
        """Where it ends."""
        return sum(kernel.high for kernel in self.kernels)

    @property
    def joules(self) -> float | None:
        """Energy of one inference, if it is known for every kernel."""
        known = [kernel.joules for kernel in self.kernels if kernel.joules is not None]
        return sum(known) if len(known) == len(self.kernels) else None

    @property
    def basis(self) -> str:
        """What the figures rest on, with how many kernels rest on each."""
        counted = Counter(kernel.basis for kernel in self.kernels)
        return ", ".join(f"{basis} ({count} kernels)" for basis, count in counted.most_common())

    @property
    def confidence(self) -> float:
        """How narrow the interval is: the expected latency over its upper end; 1 is certain."""
        return self.seconds / self.high if self.high else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with milliseconds and millijoules."""
        return {
            "target": self.target,
            "latency_ms": 1e3 * self.seconds,
            "p05": 1e3 * self.low,
            "p95": 1e3 * self.high,
            "energy_mJ": None if self.joules is None else 1e3 * self.joules,
            "energy_basis": self.energy_basis,
            "peak_bytes": self.peak_bytes,
            "basis": self.basis,
            "confidence": self.confidence,
            "collected_ms": None if self.collected_seconds is None else 1e3 * self.collected_seconds,
            "state": self.state,
            "kernels": [asdict(kernel) for kernel in self.kernels],
        }


def predict_model(
    module: Module, target_name: str, cost_model: str = "auto", threads: int | None = 1, state: State | None = None
) -> ModelPrediction:
    """Plan a module for a target (in place) and price its kernels.

    Args:
        module: with static shapes.
        target_name: as `optc targets` lists it, or the path of a target file; it need not be one that code is made for.
        cost_model: as for `optc.compile`.
        threads: of a run on a processor; None for all cores of the target.
        state: of the target right now; None: as it was when kernels were measured.

    Raises:
        UsageError: the target is unknown.
        ModelError: a dimension is dynamic.
    """
    require_static_inputs(module)
    target = targets.load(target_name)
    backend = kernel_backend(target.backends[0]) if target.backends else None
    pipeline = flow_of(backend).pipeline if target.host else PIPELINE
    if target.host:  # threads are a processor's: all of an accelerator runs
        threads = None
    options = CompileOptions(target=target_name, threads=threads, cost_model=cost_model, passes=pipeline)
    context = plan(module, backend, target, options)
    if context.cost_model is None:
        raise InternalError("the passes have no cost model")
    operations = [each for each in module.main if each.name != CONSTANT and not is_view(each)]
    candidates = [_candidate(operation) for operation in operations]
    estimates = predict_in_place(context.cost_model, candidates, target)
    measured = sum(estimate.seconds for estimate in estimates)
    rates = None if state is None else rates_of(context.cost_model, target)
    if rates is not None and state is not None:
        arena = live_bytes(module.main)
        parts = spent(candidates, estimates, target, rates, threads_of(context.cost_model), arena=arena)
        reuse = reuse_of(candidates, arena)
        estimates = [_at(state, rates, measured, reuse, *each) for each in zip(estimates, parts, strict=True)]
    kernels = tuple(
        KernelPrediction(
            name=operation.results[0].name or operation.name,
            operations=_names(operation),
            seconds=estimate.seconds,
            low=estimate.low,
            high=estimate.high,
            flops=estimate.flops,
            bytes=estimate.bytes,
            joules=estimate.joules,
            basis=estimate.basis,
            nodes=_sources(operation),
        )
        for operation, estimate in zip(operations, estimates, strict=True)
    )
    return ModelPrediction(
        target.name,
        kernels,
        live_bytes(module.main),
        target.figures.get("energy", ""),
        None if rates is None else measured,
        "" if rates is None or state is None else differences(state, rates),
    )


def _at(state: State, rates: Rates, between: float, reuse: float, estimate: Estimate, parts: Spent) -> Estimate:
    """An estimate for a machine in another state; arguments as for `Spent.at`."""
    slower = parts.at(state, rates, between, reuse) / parts.seconds if parts.seconds else 1.0
    return replace(estimate, seconds=slower * estimate.seconds, low=slower * estimate.low, high=slower * estimate.high)


def _candidate(operation: Operation) -> Candidate:
    if operation.name == FUSED:
        return Candidate.of_graph(next(iter(operation.graphs.values())))
    return Candidate.of_operations([operation], operation.results)


def _names(operation: Operation) -> tuple[str, ...]:
    inside = next(iter(operation.graphs.values())) if operation.name == FUSED else [operation]
    return tuple(each.name for each in inside if each.name != CONSTANT)


def _sources(operation: Operation) -> tuple[str, ...]:
    inside = next(iter(operation.graphs.values())) if operation.name == FUSED else [operation]
    nodes = (node for each in (operation, *inside) for node in each.location.nodes)
    return tuple(dict.fromkeys(nodes))
