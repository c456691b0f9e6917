"""A quantized module in QDQ form: QuantizeLinear and DequantizeLinear around float operations.

What onnxruntime and TensorRT read, and what compilers match integer kernels in.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx

from optc.ir import dtypes
from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation, Value
from optc.ops.inference import make_operation
from optc.passes.quantization.activations import QuantizedActivation
from optc.passes.quantization.formats import Format, IntegerFormat, format_of
from optc.passes.quantization.l_mul import offset, powers
from optc.passes.quantization.layers import Layer
from optc.passes.quantization.plan import QuantizationPlan, QuantizedLayer
from optc.passes.quantization.powers import PowerSumFormat
from optc.passes.quantization.sites import sites_of
from optc.passes.simplify.dce import erase_dead

_FLOATS = {format_of("fp8-e4m3"): "f8e4m3fn", format_of("fp8-e5m2"): "f8e5m2"}
_LARGEST_BIAS = 2**31 - 1


def storage(format: Format) -> dtypes.DType | None:
    """The element type that holds the numbers of a format; None where ONNX has none."""
    if isinstance(format, PowerSumFormat):
        return dtypes.BY_NAME["i8"]
    if isinstance(format, IntegerFormat):
        width = next((bits for bits in (4, 8, 16, 32) if format.width <= bits), 32)
        return dtypes.BY_NAME[f"{'i' if format.signed else 'u'}{width}"]
    return dtypes.BY_NAME[_FLOATS[format]] if format in _FLOATS else None


@dataclass
class _Writer:
    """Adds operations to the copy of a module."""

    module: Module
    mapping: dict[Value, Value]

    def constant(self, array: np.ndarray | float, name: str) -> Value:
        return self.module.main.constant(np.asarray(array, None if isinstance(array, np.ndarray) else np.float32), name)

    def before(self, anchor: Operation, name: str, operands: list[Value], result: str, **attributes: int) -> Value:
        made = make_operation(name, operands, attributes, result_names=(result,), location=anchor.location)
        assert anchor.graph is not None
        return anchor.graph.insert(made, anchor).result

    def activation(self, value: Value, how: QuantizedActivation, anchor: Operation, label: str) -> Value:
        """The value through Quantize- and DequantizeLinear, in front of `anchor`."""
        dtype = storage(how.format)
        if dtype is None:
            raise ValueError(f"no ONNX element type holds activations of {how.format}")
        scale = self.constant(np.asarray(how.scale, np.float32), f"{label}.scale")
        zero = self.constant(np.asarray(how.zero_point).astype(dtype.numpy), f"{label}.zero_point")
        codes = self.before(anchor, "onnx.QuantizeLinear", [value, scale, zero], f"{label}.quantized")
        return self.before(anchor, "onnx.DequantizeLinear", [codes, scale, zero], f"{label}.dequantized")

    def weight(self, item: QuantizedLayer, anchor: Operation) -> Value:
        """The weights through DequantizeLinear; as floats where ONNX has no element type for their format."""
        weight, name = item.weight, item.layer.name
        dtype = storage(weight.format)
        if dtype is None:
            return self.constant(weight.values, f"{name}.weight")
        codes = self.constant(weight.numbers.astype(np.float32).astype(dtype.numpy), f"{name}.weight.codes")
        scale = self.constant(weight.scale, f"{name}.weight.scale")
        # Codes and scales alone say all: the zero point of a symmetric format is zero.
        zero = self.constant(np.zeros(weight.scale.shape, dtype.numpy), f"{name}.weight.zero_point")
        attributes = {"axis": weight.axis}
        if weight.group is not None:
            attributes = {"axis": weight.reduced, "block_size": weight.group}
        return self.before(
            anchor, "onnx.DequantizeLinear", [codes, scale, zero], f"{name}.weight.dequantized", **attributes
        )

    def bias(self, item: QuantizedLayer, data: QuantizedActivation | None, anchor: Operation) -> Value | None:
        """The bias in 32 bits with the scale of the products; in float where those are none, or too coarse."""
        bias, name = item.bias, item.layer.name
        if bias is None:
            return None
        integers = isinstance(item.weight.format, IntegerFormat | PowerSumFormat) and item.weight.group is None
        if data is not None and integers and isinstance(data.format, IntegerFormat):
            scale = np.float32(data.scale) * item.weight.scale
            codes = np.rint(np.asarray(bias, np.float64) / scale)
            if np.all(np.abs(codes) <= _LARGEST_BIAS) and np.all(scale >= np.finfo(np.float32).tiny):
                held = self.constant(codes.astype(np.int32), f"{name}.bias.codes")
                factor = self.constant(scale, f"{name}.bias.scale")
                return self.before(anchor, "onnx.DequantizeLinear", [held, factor], f"{name}.bias.dequantized", axis=0)
        return self.constant(np.asarray(bias, np.float32), f"{name}.bias")

    def added_mantissas(self, item: QuantizedLayer, operation: Operation, mantissa: int) -> Value:
        """Make the products of a quantized layer those of L-Mul, as two exact layers; the value of their sum."""
        data, weight, name = operation.operands[0], item.weight, item.layer.name
        assert data is not None and data.producer is not None and operation.graph is not None
        codes, scale = data.producer.operands[:2]
        assert codes is not None and scale is not None

        def before(kind: str, *operands: Value, **attributes: int) -> Value:
            return self.before(operation, f"onnx.{kind}", list(operands), f"{name}.{kind.lower()}", **attributes)

        numbers = before("Cast", codes, to=int(onnx.TensorProto.FLOAT))
        halvings = before("Div", before("Log", before("Abs", numbers)), self.constant(np.log(2), "ln2"))
        # Numbers of few bits lie far enough below a power of two that this never reaches it.
        exponent = before("Floor", before("Add", halvings, self.constant(1e-4, "rounding")))
        size = before("Pow", self.constant(2.0, "two"), exponent)
        power = before("Mul", before("Mul", before("Sign", numbers), size), scale)
        powers_of_weights = powers(weight.numbers) * weight.spread
        rest = weight.numbers * weight.spread + (offset(mantissa) - 1) * powers_of_weights
        factor = self.constant(rest.astype(np.float32), f"{name}.weight.rest")
        operands = [power, factor, *(None for _ in operation.operands[2:])]
        while operands[-1] is None:
            operands.pop()
        made = make_operation(
            operation.name, operands, operation.attributes, result_names=(f"{name}.rest",), location=operation.location
        )
        second = operation.graph.insert(made, operation).result
        operation.set_operand(1, self.constant(powers_of_weights.astype(np.float32), f"{name}.weight.powers"))
        readers = list(operation.result.users)
        total = make_operation(
            "onnx.Add",
            [operation.result, second],
            {},
            result_names=(operation.result.name,),
            location=operation.location,
        )
        operation.graph.insert(total, operation.next)
        operation.result.replace_by(total.result, only=readers)
        return total.result


def quantized_module(
    module: Module,
    plan: QuantizationPlan,
    only: Collection[str] | None = None,
    mapping: dict[Value, Value] | None = None,
) -> Module:
    """A copy of a module in QDQ form.

    Args:
        module: left as it is.
        plan: made for this module.
        only: the names of the layers to quantize, of those in the plan; None for all.
        mapping: gets the values of the copy by those of the module.

    Raises:
        KeyError: the plan has no range for an activation.
    """
    chosen = [item for name, item in plan.layers.items() if only is None or name in only]
    sites = sites_of(module.main, [item.layer for item in chosen if item.scheme.activations is not None])
    mapping = {} if mapping is None else mapping
    operations: dict[Operation, Operation] = {}
    copy = clone_module(module, mapping)
    for before, after in zip(module.main, copy.main, strict=True):
        operations[before] = after
    writer = _Writer(copy, mapping)
    for value, source in sites.sources.items():
        readers = [operations[reader] for reader in sites.readers[value]]
        first = _first(copy, readers)
        coded = writer.activation(mapping[value], plan.activations[source], first, value.name)
        for reader in readers:
            for position, operand in enumerate(reader.operands):
                if operand is mapping[value]:
                    reader.set_operand(position, coded)
    for item in chosen:
        operation = operations[item.layer.operation]
        operation.set_operand(1, writer.weight(item, operation))
        if item.layer.takes_bias:
            root = sites.sources.get(item.layer.data)
            how = None if root is None else plan.activations[root]
            _set_bias(operation, writer.bias(item, how, operation), item.layer)
        if item.scheme.mantissa is not None:
            mapping[item.layer.operation.result] = writer.added_mantissas(item, operation, item.scheme.mantissa)
    erase_dead(copy.main)
    return copy


def _set_bias(operation: Operation, bias: Value | None, layer: Layer) -> None:
    """Put a bias in; one that is no constant vector stays."""
    if bias is None:
        return
    if len(operation.operands) > 2:
        operation.set_operand(2, bias)
    else:
        operation.set_operands([*operation.operands[:2], bias])


def _first(module: Module, readers: Collection[Operation]) -> Operation:
    """The one that comes first in the graph."""
    wanted = set(readers)
    return next(operation for operation in module.main if operation in wanted)
