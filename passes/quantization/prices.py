"""What layers cost on a target at each precision, asked of the cost model, and the problem that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.ir import dtypes
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ir.dims import Dim
from optc.ir.types import Layout, TensorType
from optc.passes.quantization.formats import Format, IntegerFormat
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.powers import PowerSumFormat
from optc.passes.quantization.qdq import storage
from optc.passes.quantization.schemes import Scheme
from optc.passes.quantization.search.problem import FLOAT, Boundary, Choice, Joint, Option, PrecisionProblem
from optc.passes.quantization.sites import COMPUTING, PASSING, data_operands, tail
from optc.targets.target import SHIFT, Target

Objective = Literal["latency", "energy", "size"]

UNITS: Mapping[Objective, tuple[str, float]] = {
    "latency": ("ms", 1e3),
    "energy": ("mJ", 1e3),
    "size": ("KiB", 1 / 1024),
}
"""What a cost is shown in, and the factor."""

Errors = Mapping[tuple[str, str], tuple[float, ...]]
"""By (layer, scheme): the noise at each output relative to its power, that layer alone being quantized."""

_BYTE = 8


@dataclass(frozen=True)
class Pricing:
    """How costs are worked out.

    Attributes:
        objective: what is to be small.
        target: where.
        cost_model: prices kernels; not asked for sizes.
    """

    objective: Objective
    target: Target
    cost_model: CostModel

    @property
    def computes_on_codes(self) -> bool:
        """Whether the target multiplies bytes."""
        return "i8" in self.target.peak_flops

    def _cost(self, estimate: Estimate, coded: bool) -> float:
        if self.objective == "latency":
            return estimate.seconds
        energy = self.target.energy
        if not energy:
            return estimate.seconds
        # An instruction on bytes draws what one on floats draws, and does more.
        peaks = self.target.peak_flops
        lanes = peaks["f32"] / peaks["i8"] if coded else 1.0
        return (
            estimate.flops * lanes * energy["flop"]
            + estimate.bytes * energy["byte"]
            + estimate.seconds * energy["watts"]
        )

    def operation(self, operation: Operation, *, coded: bool) -> float:
        """The cost of an operation in a kernel of its own, its tensors as floats or as codes."""
        candidate = _retyped(operation, self.target, "i8" if coded else None)
        return self._cost(self.cost_model.predict([candidate], self.target)[0], coded)

    def shifted(self, operation: Operation, terms: int) -> float:
        """The cost of an operation on codes whose products are `terms` shifts and additions each.

        Infinite where the target does not say how fast it shifts (`shift` in `peak_flops`).
        """
        peaks = self.target.peak_flops
        if not peaks.get(SHIFT):
            return float("inf")
        target = replace(self.target, peak_flops={**peaks, "i8": peaks[SHIFT] / terms})
        return replace(self, target=target).operation(operation, coded=True)

    def conversion(self, value: Value, name: str) -> float:
        """The cost of `onnx.QuantizeLinear` or `onnx.DequantizeLinear` of a whole tensor."""
        if self.objective == "size":
            return 0.0
        floats, codes = (_stand_in(value, dtype, self.target) for dtype in ("f32", "u8"))
        first, second = (floats, codes) if name == "onnx.QuantizeLinear" else (codes, floats)
        scale = _scalar("f32")
        operation = Operation(name, (first, scale, _scalar("u8")), (second.type,))
        candidate = Candidate((operation,), (first,), (operation.results[0],))
        estimate = self.cost_model.predict([candidate], self.target)[0]
        operation.drop_operands()
        return self._cost(estimate, False)


def problem_of(
    graph: Graph,
    layers: Sequence[Layer],
    schemes: Sequence[Scheme],
    errors: Errors,
    pricing: Pricing,
    *,
    kept: Mapping[str, str] | None = None,
) -> PrecisionProblem:
    """The choice of a precision for each layer.

    Args:
        graph: that the layers are in.
        layers: to choose for.
        schemes: to choose from; those of one search that code activations must agree on the width.
        errors: of each layer in each scheme; a pair that is missing is not offered.
        pricing: what is to be small, and where.
        kept: layers that stay in float.
    """
    outputs = len(next(iter(errors.values()))) if errors else 1
    none = (0.0,) * outputs
    choices = []
    for layer in layers:
        options = [Option(FLOAT, none, _float_cost(layer, pricing))]
        for scheme in schemes:
            error = errors.get((layer.name, scheme.name))
            if error is not None and layer.name not in (kept or {}):
                coded = scheme.activations is not None
                if pricing.objective == "size" or not coded or pricing.computes_on_codes:
                    options.append(Option(scheme.name, error, _coded_cost(layer, scheme, pricing), coded))
        choices.append(Choice(layer.name, tuple(options)))
    joints, boundaries = _flow(graph, layers, pricing)
    return PrecisionProblem(tuple(choices), joints, boundaries)


def _float_cost(layer: Layer, pricing: Pricing) -> float:
    if pricing.objective == "size":
        return float(layer.weight.nbytes)
    return pricing.operation(layer.operation, coded=False)


def _coded_cost(layer: Layer, scheme: Scheme, pricing: Pricing) -> float:
    if pricing.objective == "size":
        return stored_bytes(layer, scheme)
    formats = (scheme.weights, scheme.activations)
    shifts = scheme.weights.terms if isinstance(scheme.weights, PowerSumFormat) else 0
    whole = all(isinstance(each, PowerSumFormat) or _is_byte(each) for each in formats)
    cost = pricing.operation(layer.operation, coded=whole)
    return min(cost, pricing.shifted(layer.operation, shifts)) if whole and shifts else cost


def _is_byte(format: Format | None) -> bool:
    return isinstance(format, IntegerFormat) and format.bits <= _BYTE


def stored_bytes(layer: Layer, scheme: Scheme) -> float:
    """What a layer's weights take in a quantized ONNX file, scales included."""
    dtype, weight = storage(scheme.weights), layer.weight
    if dtype is None:
        return float(weight.nbytes)
    groups = 1
    if scheme.group and weight.ndim == 2:
        groups = -(-weight.shape[layer.reduced] // scheme.group)
    return weight.size * dtype.bits / 8 + 4.0 * layer.channels * groups


def _flow(graph: Graph, layers: Sequence[Layer], pricing: Pricing) -> tuple[tuple[Joint, ...], tuple[Boundary, ...]]:
    """Who hands codes to whom, as `sites_of` sees it."""
    names = {layer.operation: layer.name for layer in layers}
    maker: dict[Value, str | None] = {}
    joints: list[Joint] = []
    makes: dict[Operation, str] = {}
    for operation in graph:
        if operation in names:
            maker[tail(operation.result)] = names[operation]
        elif operation.name in COMPUTING:
            operands = data_operands(operation)
            if not operands:
                continue
            name = f"{operation.result.name}#{len(joints)}"
            saving = 0.0
            if pricing.objective != "size" and pricing.computes_on_codes:
                as_float, as_codes = (pricing.operation(operation, coded=coded) for coded in (False, True))
                saving = max(0.0, as_float - as_codes)
            joints.append(Joint(name, tuple(maker.get(value) for value in operands), saving))
            makes[operation] = name
            maker[tail(operation.result)] = name
        elif operation.name in PASSING and operation.operand(0) in maker:
            data = operation.operands[0]
            assert data is not None
            maker[operation.results[0]] = maker[data]
    participants = {**names, **makes}
    boundaries = []
    for value in _tensors(graph):
        readers: list[str] = []
        others = value in graph.outputs
        for user in value.users:
            if user in participants and value in (user.operands if user in makes else user.operands[:1]):
                readers.append(participants[user])
            elif not (user.name in PASSING and value in maker) and tail(value) is value:
                others = True
        source = maker.get(value)
        if tail(value) is not value or (source is None and not readers) or (source is not None and not value.uses):
            continue
        boundaries.append(
            Boundary(
                value.name,
                source,
                tuple(dict.fromkeys(readers)),
                others,
                pricing.conversion(value, "onnx.QuantizeLinear") if readers else 0.0,
                pricing.conversion(value, "onnx.DequantizeLinear") if source is not None else 0.0,
            )
        )
    return tuple(joints), tuple(boundaries)


def _tensors(graph: Graph) -> list[Value]:
    """Inputs and results that are floats."""
    found = [*graph.inputs, *(result for each in graph if each.name != CONSTANT for result in each.results)]
    return [value for value in found if isinstance(value.type, TensorType) and value.dtype.name == "f32"]


def _shape(value: Value) -> tuple[int, ...]:
    """With 1 for what is not known."""
    return tuple(map(_extent, value.tensor_type.shape or ()))


def _extent(dim: Dim) -> int:
    bound = dim if isinstance(dim, int) else dim.bind(dict.fromkeys(dim.symbols, 1))
    return bound if isinstance(bound, int) else 1


def _type(value: Value, dtype: str | None, target: Target) -> TensorType:
    """A static type, in the layout that the compiler would choose for a feature map."""
    own = value.tensor_type
    chosen = dtypes.BY_NAME[dtype] if dtype is not None and own.dtype.name == "f32" else own.dtype
    shape = _shape(value)
    blocked = len(shape) == 4 and not value.is_constant and target.channel_block > 1 and shape[1] > 1
    layout = Layout(blocks=((1, target.channel_block),)) if blocked else Layout()
    return TensorType(chosen, shape).with_layout(layout)


def _stand_in(value: Value, dtype: str | None, target: Target) -> Value:
    return Graph("stand-in", [(value.name, _type(value, dtype, target))]).inputs[0]


def _scalar(dtype: str) -> Value:
    return Graph("stand-in", [("scalar", TensorType(dtypes.BY_NAME[dtype], ()))]).inputs[0]


def _retyped(operation: Operation, target: Target, dtype: str | None) -> Candidate:
    """A copy of an operation by itself, with static types in blocks, and another element type where one is given."""
    inputs = {value: _stand_in(value, dtype, target) for value in operation.present_operands}
    operands = [None if value is None else inputs[value] for value in operation.operands]
    types = [_type(result, dtype, target) for result in operation.results]
    copy = Operation(operation.name, operands, types, operation.attributes)
    known = frozenset(made for value, made in inputs.items() if value.is_constant)
    return Candidate((copy,), tuple(inputs.values()), copy.results, known)
