"""The roofline: a kernel takes as long as its arithmetic or its memory traffic, whichever is longer, and its launch.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009), with the bandwidth of the
cache level that holds the working set ("hierarchical roofline").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optc.costmodel.blocks import bandwidth, block_seconds, stage_cost, stages_of
from optc.costmodel.energy import joules
from optc.costmodel.interface import Candidate, Estimate
from optc.ir.core import Operation, Value
from optc.ir.types import TensorType
from optc.ops.attention import READS_IN_PLACE
from optc.ops.declaration import Kind, declaration_of
from optc.ops.packed import decodes
from optc.ops.restriction import RESTRICT
from optc.ops.views import is_view
from optc.targets.target import Target


@dataclass(frozen=True)
class Efficiency:
    """The share of peak arithmetic that a good kernel reaches.

    Attributes:
        full: when the innermost stored axis fills whole SIMD registers for every operand that matters.
        strided: when it has to gather, shuffle or handle ragged ends.
    """

    full: float
    strided: float


# Shares that this project's kernels reached on Zen 4, one thread, whole networks: 1x1 and 3x3 convolutions in blocks
# 0.91..0.98, depthwise ones 0.8..1.0, a convolution on plain rows 0.42. Windows load one operand for each operation.
# Reductions carry one dependency chain of latency 4 over two units unless unrolled. Element-wise arithmetic reaches one
# operation, not two, an instruction.
EFFICIENCY: dict[Kind, Efficiency] = {
    Kind.CONTRACTION: Efficiency(0.90, 0.42),
    Kind.WINDOW: Efficiency(0.25, 0.06),
    Kind.REDUCTION: Efficiency(0.15, 0.05),
    Kind.ELEMENTWISE: Efficiency(0.25, 0.10),
    Kind.MOVEMENT: Efficiency(0.25, 0.10),
}
_DEFAULT_EFFICIENCY = Efficiency(0.10, 0.05)
_DEPTHWISE = Efficiency(0.75, 0.15)
_DEPTHWISE_BYTES = Efficiency(0.40, 0.08)  # of the peak in f32: bytes are widened first

# Polynomial approximations of transcendental functions take this many vector instructions an element.
_INSTRUCTIONS: dict[str, float] = {
    "onnx.Exp": 12, "onnx.Log": 14, "onnx.Sigmoid": 16, "onnx.Tanh": 18, "onnx.Erf": 20, "onnx.Gelu": 24,
    "onnx.Softplus": 28, "onnx.Mish": 40, "onnx.Softmax": 16, "onnx.LogSoftmax": 18, "onnx.Elu": 14, "onnx.Selu": 14,
    "onnx.Sin": 18, "onnx.Cos": 18, "onnx.Pow": 30, "onnx.Sqrt": 6, "onnx.Div": 6, "onnx.Reciprocal": 6,
    "onnx.HardSwish": 4, "onnx.HardSigmoid": 3, "onnx.Clip": 2, "optc.silu": 18, "optc.gelu": 24,
    "onnx.QuantizeLinear": 6, "onnx.DequantizeLinear": 3, RESTRICT: 3,
}  # fmt: skip

# An element that is not copied along the innermost axis of both sides costs what so many FLOPs at peak cost: Transpose,
# relayout, Concat and Split moved 1.1..1.8e9 elements a second at 115e9 FLOP/s.
_SCATTERED_FLOPS = 85.0
_LOOP_NESTS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.WINDOW)
_OVERLAP_LOSS = 0.1  # of the shorter of arithmetic and traffic, what the longer one does not hide
# Sweeps over their operand that these make; other reductions make one.
_PASSES: dict[str, float] = {
    "onnx.Softmax": 3.0, "onnx.LogSoftmax": 3.0, "onnx.LayerNormalization": 3.0, "onnx.InstanceNormalization": 3.0,
    "onnx.GroupNormalization": 3.0, "onnx.RMSNormalization": 2.0, "onnx.LpNormalization": 2.0,
}  # fmt: skip
_PARALLEL_EFFICIENCY = 0.9  # shared caches and uneven chunks
_RELATIVE_ERROR = 2.0  # nine kernels in ten of mobilenetv2, mobilenetv3 and yolov8n took 0.46..2.04 times the estimate


@dataclass(frozen=True)
class AnalyticalCostModel:
    """Needs no data but the target's own figures.

    Attributes:
        threads: that one inference uses; more than the target's cores are not counted.
    """

    threads: int = 1

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        """See CostModel. Values inside a candidate cost nothing: they live in registers."""
        batch = _Batch(target, min(max(self.threads, 1), max(target.cores, 1)))
        return [batch.estimate(candidate) for candidate in candidates]


@dataclass
class _Batch:
    """One call of `predict`: what is worked out of operations and values is kept for the other candidates."""

    target: Target
    threads: int
    _operations: dict[Operation, tuple[int, float]] = field(default_factory=dict)
    _bytes: dict[Value, int] = field(default_factory=dict)

    def estimate(self, candidate: Candidate) -> Estimate:
        """A kernel's estimate: its loop nests one after the other, and the launch."""
        seconds = self.target.launch_seconds
        stages = stages_of(candidate)
        if stages is not None:
            seconds += self._block_seconds(stages, candidate)
        nests = _nests(candidate) if stages is None else []
        for nest in nests:
            seconds += self._nest_seconds(nest)
        seconds += self.target.launch_seconds * max(0, len(nests) - 1)
        flops = sum(self._operation(operation)[0] for operation in candidate.operations)
        moved = sum(map(self._bytes_of, candidate.inputs)) + sum(map(self._bytes_of, candidate.outputs))
        low, high = seconds / _RELATIVE_ERROR, seconds * _RELATIVE_ERROR
        estimate = Estimate(seconds, low, high, moved, flops, "roofline")
        return replace(estimate, joules=joules(estimate, self.target))

    def _nest_seconds(self, nest: Candidate) -> float:
        arithmetic = self._arithmetic(nest)
        moved = sum(map(self._bytes_of, nest.inputs)) + sum(map(self._bytes_of, nest.outputs))
        memory = moved / bandwidth(moved, self.target)
        return self._on_threads(max(arithmetic, memory) + _OVERLAP_LOSS * min(arithmetic, memory), moved)

    def _block_seconds(self, stages: Sequence[Candidate], block: Candidate) -> float:
        """A block's stages, one tile after the other."""
        costs = [stage_cost(stage, block, self._arithmetic(stage)) for stage in stages]
        moved = sum(map(self._bytes_of, block.inputs)) + sum(map(self._bytes_of, block.outputs))
        return self._on_threads(block_seconds(costs, self.target, self.threads, _OVERLAP_LOSS), moved)

    def _arithmetic(self, nest: Candidate) -> float:
        """Seconds of one core for what a nest computes."""
        times = _evaluations(nest.operations)
        return sum(self._operation(operation)[1] * times[operation] for operation in _computed(nest.operations))

    def _on_threads(self, one_core: float, moved: int) -> float:
        """The time of what takes one core `one_core` seconds, where threads share it if that pays."""
        target = self.target
        if self.threads == 1:
            return one_core
        beyond = not target.caches or moved > target.caches[-1].bytes
        limit = moved / target.memory_bandwidth_all if beyond and target.memory_bandwidth_all else 0.0
        parallel = max(one_core / (self.threads * _PARALLEL_EFFICIENCY), limit) + target.parallel_seconds
        return min(one_core, parallel)

    def _operation(self, operation: Operation) -> tuple[int, float]:
        """FLOPs of one operation, and the seconds of one core that they take."""
        known = self._operations.get(operation)
        if known is None:
            count = declaration_of(operation.name).flops(operation)
            known = self._operations[operation] = (count, _arithmetic_seconds(operation, count, self.target))
        return known

    def _bytes_of(self, value: Value) -> int:
        known = self._bytes.get(value)
        if known is None:
            known = self._bytes[value] = value.type.bytes if isinstance(value.type, TensorType) else 0
        return known


def _arithmetic_seconds(operation: Operation, flops: int, target: Target) -> float:
    """Seconds of one core for the arithmetic of one operation."""
    kind = declaration_of(operation.name).kind
    result = operation.results[0]
    if not isinstance(result.type, TensorType):
        return 0.0
    peak = _peak(operation, target)
    if scatters(operation):
        return sum(map(_elements, operation.results)) * _SCATTERED_FLOPS / peak
    efficiency = EFFICIENCY.get(kind, _DEFAULT_EFFICIENCY)
    if is_depthwise(operation):
        efficiency = _DEPTHWISE if operation.name == "onnx.Conv" else _DEPTHWISE_BYTES
    share = efficiency.full if _fills_registers(operation, kind, target) else efficiency.strided
    work = float(flops)
    if kind is Kind.CONTRACTION:
        work *= _rounding(operation)
    else:
        work = max(work, result.type.elements * instructions_of(operation.name))
    return work / (peak * share)


def least_seconds(candidate: Candidate, target: Target) -> float:
    """Seconds that the contractions of a kernel take one core at its peak, those that Winograd's method takes aside."""
    seconds = 0.0
    for operation in candidate.operations:
        declaration = declaration_of(operation.name)
        if declaration.kind is Kind.CONTRACTION and not _multiplies_less(operation):
            types = [value.type for value in (operation.present_operands[0], operation.results[0])]
            names = {type.dtype.name for type in types if isinstance(type, TensorType)}
            peaks = [target.peak_flops.get(name) for name in names]
            if len(peaks) == 1 and peaks[0]:  # sums of integers are wider than their terms
                seconds += declaration.flops(operation) / peaks[0]
    return seconds


def _multiplies_less(operation: Operation) -> bool:
    """Whether kernels may take a convolution in fewer multiplications than its sums have terms: Winograd's 3x3 ones."""
    attributes = operation.attributes
    ones = [attributes.get(name) or (1,) for name in ("strides", "dilations")] + [(attributes.get("group", 1),)]
    return (
        operation.name == "onnx.Conv"
        and attributes.get("kernel_shape") == (3, 3)
        and all(isinstance(each, tuple) and set(each) == {1} for each in ones)
    )


def instructions_of(name: str) -> float:
    """Vector instructions for each element of an element-wise operation."""
    return _INSTRUCTIONS.get(name, 1.0)


def _nests(candidate: Candidate) -> list[Candidate]:
    """The loop nests of a kernel: what stands before a contraction, except decoding, fills a scratch buffer first."""
    operations = candidate.operations
    root = next((each for each in operations if declaration_of(each.name).kind is Kind.CONTRACTION), None)
    if root is None or len(operations) == 1 or root.name in READS_IN_PLACE:
        return [candidate]
    needed = set(root.present_operands)
    before: list[Operation] = []
    for operation in reversed(operations):
        if operation is not root and not decodes(operation) and any(r in needed for r in operation.results):
            needed.update(operation.present_operands)
            before.insert(0, operation)
    if not before:
        return [candidate]
    inside = set(before)
    rest = [operation for operation in operations if operation not in inside]
    return [Candidate.of_operations(before), Candidate.of_operations(rest)]


def _computed(operations: Sequence[Operation]) -> Sequence[Operation]:
    """The operations of a nest that cost anything: movements do not before a root that reads through them."""
    if not any(operation.name in READS_IN_PLACE for operation in operations):
        return operations
    return [operation for operation in operations if declaration_of(operation.name).kind is not Kind.MOVEMENT]


def _evaluations(operations: Sequence[Operation]) -> dict[Operation, float]:
    """How often a kernel works out each element of each operation.

    What is broadcast inside a kernel is worked out for every element that it meets; what stands before a reduction or
    a window, each time that it is swept over. A contraction keeps what stands before it in scratch.
    """
    times: dict[Operation, float] = dict.fromkeys(operations, 1.0)
    for operation in reversed(operations):
        kind = declaration_of(operation.name).kind
        if kind is Kind.CONTRACTION:
            continue
        sweeps = _PASSES.get(operation.name, 1.0)
        result = _elements(operation.results[0])
        for value in operation.present_operands:
            producer = value.producer
            if producer is not None and producer in times and producer is not operation:
                repeats = max(1.0, result / max(1, _elements(value))) if kind not in _LOOP_NESTS else sweeps
                if declaration_of(producer.name).kind not in _LOOP_NESTS:
                    times[producer] = max(times[producer], times[operation] * repeats)
    return times


def _elements(value: Value) -> int:
    return value.type.elements if isinstance(value.type, TensorType) else 0


def _peak(operation: Operation, target: Target) -> float:
    peaks = target.peak_flops
    if declaration_of(operation.name).kind is Kind.CONTRACTION and not is_depthwise(operation):
        if all(value.tensor_type.dtype.name in _BYTES for value in operation.present_operands[:2]):
            return peaks.get("i8") or peaks.get("f32") or 1e9
    return peaks.get(operation.results[0].tensor_type.dtype.name) or peaks.get("f32") or 1e9


def is_depthwise(operation: Operation) -> bool:
    """A convolution with one input channel a group: it reuses no input across output channels."""
    if operation.name not in _CONVOLUTIONS or operation.attributes.get("group", 1) == 1:
        return False
    weight = operation.operands[1]
    return weight is not None and isinstance(weight.type, TensorType) and weight.shape[1] == 1


_BYTES = frozenset({"u8", "i8"})
_CONVOLUTIONS = frozenset({"onnx.Conv", "onnx.ConvInteger"})


def _rounding(operation: Operation) -> float:
    """Stored elements of the result for each logical one: lanes that compute garbage."""
    type = operation.results[0].tensor_type
    return type.bytes / max(1, type.elements * type.dtype.bytes)


def _fills_registers(operation: Operation, kind: Kind, target: Target) -> bool:
    """Whether the innermost stored axis of the result, and of a spatial operand, is made for SIMD."""
    if target.channel_block <= 1:
        return True
    spatial = kind in (Kind.CONTRACTION, Kind.WINDOW) and operation.results[0].tensor_type.rank in (4, 5)
    if not spatial or operation.name in ("onnx.MatMul", "onnx.Attention"):
        return True
    values = [operation.results[0]]
    if kind is Kind.WINDOW or is_depthwise(operation):
        values += operation.present_operands[:1]
    return all(value.tensor_type.layout.blocks for value in values)


def scatters(operation: Operation) -> bool:
    """Whether neighbours in the result are no neighbours in the operand."""
    if is_view(operation):
        return False
    if operation.name in ("onnx.Concat", "onnx.Split"):
        return True
    if operation.name == "optc.relayout":
        source, result = operation.operands[0], operation.results[0]
        return source is not None and source.tensor_type.layout != result.tensor_type.layout
    if operation.name == "onnx.Transpose":
        order = operation.attributes.get("perm")
        source, result = operation.operands[0], operation.results[0]
        if not isinstance(order, tuple) or not order or source is None:
            return True
        return int(order[_innermost(result)]) != _innermost(source)  # type: ignore[arg-type]
    return False


def _innermost(value: Value) -> int:
    """The logical axis along which neighbours in memory lie."""
    type = value.tensor_type
    if type.layout.blocks:
        return type.layout.blocks[-1][0]
    return type.layout.permutation[-1] if type.layout.permutation else len(type.shape or ()) - 1
