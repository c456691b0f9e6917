"""What the predictors see of a kernel: numbers of its workload, of the schedule and of the target, most as logarithms.

Workload features come from the operations' declarations and types alone, so that a new operation or template needs
nothing here. The schedule's parameters are taken as they are, by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optc.costmodel.analytical import AnalyticalCostModel, is_depthwise
from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.kernels.work import BUCKETS, OperationWork, work_of
from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.declaration import Kind
from optc.targets.target import Target

KINDS = (Kind.CONTRACTION, Kind.WINDOW, Kind.REDUCTION, Kind.ELEMENTWISE, Kind.MOVEMENT)

_DIVISIBILITY = ("power_inner", "power_two", "power_all", "inner", "log_two")

WORKLOAD_FEATURES = (
    "log_roofline", "log_flops", "log_intensity", "log_input_bytes", "log_constant_bytes", "log_output_bytes",
    "log_largest_bytes", "inputs", "outputs", "operations", "log_inner_bytes",
    *(f"log_work_{kind.value}" for kind in KINDS), *(f"count_{kind.value}" for kind in KINDS),
    "log_work_depthwise", "log_instructions", "log_scattered", "log_before", "log_repeated", "log_divided",
    "anchor_kind", "log_m", "log_n", "log_k", "log_groups", "taps", "columns_taps", "stride", "dilation", "padded",
    "log_rows", "log_columns", "log_batch", "log_data_block", "log_result_block", "plain_data", "plain_result",
    "log_result_elements", "log_result_inner", "log_axis", "log_lanes_idle", "least_run", "log_smallest_inner",
    "log_broadcast", *(f"{which}_{what}" for which in ("result", "input") for what in _DIVISIBILITY),
    *(f"names_{bucket}" for bucket in range(BUCKETS)),
)  # fmt: skip
"""The names of `workload_vector`'s numbers, in order."""

TARGET_FEATURES = (
    "log_peak", "log_lanes", "log_registers", "log_l1", "log_l2", "log_l3", "log_l2_rate", "log_l3_rate",
    "log_memory_rate", "log_balance",
)  # fmt: skip
"""Likewise of `target_vector`'s."""


@dataclass
class WorkloadFeatures:
    """Works out features of many candidates for one target; what is known of an operation is kept."""

    target: Target
    _work: dict[Operation, OperationWork] = field(default_factory=dict)

    def rooflines(self, candidates: Sequence[Candidate]) -> list[float]:
        """The analytical seconds of each on one thread."""
        return [estimate.seconds for estimate in AnalyticalCostModel().predict(candidates, self.target)]

    def vectors(
        self, candidates: Sequence[Candidate], estimates: Sequence[Estimate] | None = None
    ) -> list[list[float]]:
        """One list of numbers for each, named by WORKLOAD_FEATURES; `estimates` are the analytical ones, if known."""
        seconds = self.rooflines(candidates) if estimates is None else [each.seconds for each in estimates]
        return [self._vector(candidate, each) for candidate, each in zip(candidates, seconds, strict=True)]

    def _vector(self, candidate: Candidate, roofline: float) -> list[float]:
        works = [self._of(operation) for operation in candidate.operations]
        anchor_index = max(range(len(works)), key=lambda i: works[i].rank) if works else 0
        anchor = works[anchor_index]
        before = sum(work.flops for work in works[:anchor_index])
        by_kind = {kind: 0.0 for kind in KINDS}
        counts = dict.fromkeys(KINDS, 0)
        for work in works:
            if work.kind in by_kind:
                by_kind[work.kind] += work.flops
                counts[work.kind] += 1
        constant = data = largest = 0
        for value in candidate.inputs:
            size = _bytes(value)
            largest = max(largest, size)
            if candidate.is_constant(value):
                constant += size
            else:
                data += size
        written = sum(map(_bytes, candidate.outputs))
        flops = sum(work.flops for work in works)
        inner = min(
            (_inner(value) for value in (*candidate.inputs, *candidate.outputs) if _bytes(value) > 256), default=0
        )
        elements = max((work.elements for work in works), default=0)
        result = candidate.outputs[0] if candidate.outputs else None
        names = [0.0] * BUCKETS
        for work in works:
            names[work.bucket] += _log(work.elements)
        return [
            math.log(max(roofline, 1e-12)),
            _log(flops), _log(flops / max(1, data + constant + written)),
            _log(data), _log(constant), _log(written), _log(max(largest, written)),
            float(len(candidate.inputs)), float(len(candidate.outputs)), float(len(works)), _log(inner),
            *(_log(by_kind[kind]) for kind in KINDS), *(float(counts[kind]) for kind in KINDS),
            _log(sum(work.flops for work in works if work.depthwise)),
            _log(sum(work.instructions for work in works)),
            _log(sum(work.scattered for work in works)),
            _log(before),
            _log(sum(work.repeated for work in works)),
            _log(sum(work.divided for work in works)),
            *anchor.shape,
            _log(elements), _log(_inner(result) if result is not None else 0), _log(anchor.axis), anchor.idle,
            min((work.run for work in works if work.run), default=0.0),
            _log(min((_inner(value) for value in candidate.inputs if not candidate.is_constant(value)), default=0)),
            _log(elements / max(1, max((_elements(value) for value in candidate.inputs), default=1))),
            *_divisible(result),
            *_divisible(max(candidate.inputs, key=_bytes, default=None)),
            *names,
        ]  # fmt: skip

    def _of(self, operation: Operation) -> OperationWork:
        known = self._work.get(operation)
        if known is None:
            known = self._work[operation] = work_of(operation, self.target, is_depthwise(operation))
        return known


def target_vector(target: Target) -> list[float]:
    """The machine in numbers, named by TARGET_FEATURES."""
    peak = target.peak_flops.get("f32") or 1e9
    caches = [*target.caches, *([target.caches[-1]] * 3 if target.caches else [])][:3]
    sizes = [cache.bytes for cache in caches] or [0, 0, 0]
    rates = [cache.bandwidth for cache in caches] or [0.0, 0.0, 0.0]
    memory = target.memory_bandwidth or 1e9
    return [
        math.log(peak), _log(target.vector_bytes / 4), _log(target.vector_registers), *(_log(size) for size in sizes),
        _log(rates[1]), _log(rates[2]), math.log(memory), math.log(peak / memory),
    ]  # fmt: skip


@dataclass(frozen=True)
class ScheduleVocabulary:
    """The templates and parameters that a predictor knows: the columns of its schedule features.

    Attributes:
        templates: by name.
        parameters: of all of them, by name.
    """

    templates: tuple[str, ...]
    parameters: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return (
            *(f"template_{name}" for name in self.templates),
            *(f"parameter_{name}" for name in self.parameters),
            "log_estimate_over_roofline", "log_estimate_over_best", "log_product", "log_columns_waste",
            "log_vectors_waste",
        )  # fmt: skip

    def knows(self, template: str) -> bool:
        """Whether kernels of the template were measured."""
        return template in self.templates

    def vector(
        self, template: str, schedule: Mapping[str, int], estimate: float, best: float, workload: Sequence[float],
        lanes: int,
    ) -> list[float]:  # fmt: skip
        """The numbers of one point.

        Args:
            template: its name; one that is not known has no column.
            schedule: the point; parameters that are not known are left out.
            estimate: the template's own seconds for it.
            best: the least of them in the template's space.
            workload: the vector of its workload.
            lanes: f32 elements of a SIMD register.
        """
        log_roofline, log_n = workload[0], workload[_N]
        columns, channels = math.exp(workload[_COLUMNS]) - 1, math.exp(workload[_M]) - 1
        tile = schedule.get("columns", 0)
        width = schedule.get("vectors", 0) * lanes
        ratio = math.log(estimate) - log_roofline if estimate > 0 else 0.0
        over = math.log(estimate / best) if estimate > 0 and best > 0 else 0.0
        product = math.prod(value for value in schedule.values() if value > 0)
        across = columns if columns > 1 else math.exp(log_n) - 1
        return [
            *(float(template == name) for name in self.templates),
            *(math.log2(1 + schedule[name]) if name in schedule else -1.0 for name in self.parameters),
            ratio, over, math.log2(max(product, 1)), _waste(across, tile), _waste(channels, width),
        ]  # fmt: skip


_N = WORKLOAD_FEATURES.index("log_n")
_M = WORKLOAD_FEATURES.index("log_m")
_COLUMNS = WORKLOAD_FEATURES.index("log_columns")


def _waste(extent: float, tile: int) -> float:
    """The logarithm of what rounding an extent up to whole tiles adds."""
    if tile <= 0 or extent < 0.5:
        return 0.0
    extent = round(extent)
    return math.log(-(-extent // tile) * tile / extent)


def _log(value: float) -> float:
    return math.log1p(max(value, 0.0))


def _bytes(value: Value) -> int:
    return value.type.bytes if isinstance(value.type, TensorType) else 0


def _divisible(value: Value | None) -> tuple[float, ...]:
    """Lanes are full where extents are multiples of powers of two: the largest that divide the inner extents."""
    if value is None or not isinstance(value.type, TensorType) or not value.type.shape:
        return (0.0,) * len(_DIVISIBILITY)
    stored = value.type.stored_shape
    inner, two, total = stored[-1], math.prod(stored[-2:]), math.prod(stored)
    return (_power(inner), _power(two), _power(total), min(float(inner), 64.0), _log(two))


def _power(number: int) -> float:
    """The exponent of the largest power of two, at most 64, that divides a number."""
    return float(min(6, (number & -number).bit_length() - 1)) if number else 0.0


def _elements(value: Value) -> int:
    return value.type.elements if isinstance(value.type, TensorType) else 0


def _inner(value: Value) -> int:
    """Bytes of the innermost stored axis."""
    if not isinstance(value.type, TensorType) or not value.type.shape:
        return 0
    return value.type.stored_shape[-1] * value.type.dtype.bytes
