"""Activation functions, each as one formula over an element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.binding import bind, dtype_of
from optc.backends.tvm.lowering.elementwise import elementwise
from optc.backends.tvm.math.functions import (
    const_like,
    erf,
    exp,
    gelu,
    maximum,
    minimum,
    sigmoid,
    silu,
    softplus,
    tanh,
)
from optc.ir.core import Operation
from optc.ops.restriction import RESTRICT

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr


def _attribute(operation: Operation, name: str, default: float) -> float:
    return float(operation.attributes.get(name, default))  # type: ignore[arg-type]


def _below_zero(x: PrimExpr, otherwise: PrimExpr) -> PrimExpr:
    """`otherwise` where x < 0, else x."""
    from tvm import tirx

    return tirx.Select(x < const_like(x, 0), bind(otherwise), x)


elementwise("onnx.Sigmoid")(lambda _, x: sigmoid(x))
elementwise("onnx.Tanh")(lambda _, x: tanh(x))
elementwise("onnx.Erf")(lambda _, x: erf(x))
elementwise("onnx.Softplus")(lambda _, x: softplus(x))
elementwise("onnx.Mish")(lambda _, x: x * tanh(softplus(x)))
elementwise("onnx.Softsign")(lambda _, x: x / (const_like(x, 1) + maximum(x, const_like(x, 0) - x)))


@elementwise("onnx.Relu")
def _relu(_: Operation, x: PrimExpr) -> PrimExpr:
    return maximum(x, const_like(x, 0))


@elementwise("onnx.LeakyRelu")
def _leaky_relu(operation: Operation, x: PrimExpr) -> PrimExpr:
    return _below_zero(x, x * const_like(x, _attribute(operation, "alpha", 0.01)))


@elementwise("onnx.PRelu")
def _prelu(_: Operation, x: PrimExpr, slope: PrimExpr) -> PrimExpr:
    return _below_zero(x, x * slope)


@elementwise("onnx.ThresholdedRelu")
def _thresholded_relu(operation: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    return tirx.Select(x > const_like(x, _attribute(operation, "alpha", 1.0)), x, const_like(x, 0))


@elementwise("onnx.Elu")
def _elu(operation: Operation, x: PrimExpr) -> PrimExpr:
    return _below_zero(x, (exp(x) - const_like(x, 1)) * const_like(x, _attribute(operation, "alpha", 1.0)))


@elementwise("onnx.Celu")
def _celu(operation: Operation, x: PrimExpr) -> PrimExpr:
    alpha = _attribute(operation, "alpha", 1.0)
    return _below_zero(x, (exp(x / const_like(x, alpha)) - const_like(x, 1)) * const_like(x, alpha))


@elementwise("onnx.Selu")
def _selu(operation: Operation, x: PrimExpr) -> PrimExpr:
    alpha = _attribute(operation, "alpha", 1.67326319217681884765625)
    gamma = _attribute(operation, "gamma", 1.05070102214813232421875)
    return const_like(x, gamma) * _below_zero(x, (exp(x) - const_like(x, 1)) * const_like(x, alpha))


@elementwise("onnx.HardSigmoid")
def _hard_sigmoid(operation: Operation, x: PrimExpr) -> PrimExpr:
    scaled = x * const_like(x, _attribute(operation, "alpha", 0.2)) + const_like(x, _attribute(operation, "beta", 0.5))
    return minimum(maximum(scaled, const_like(x, 0)), const_like(x, 1))


@elementwise("onnx.HardSwish")
def _hard_swish(_: Operation, x: PrimExpr) -> PrimExpr:
    gate = minimum(maximum(x * const_like(x, 1 / 6) + const_like(x, 0.5), const_like(x, 0)), const_like(x, 1))
    return x * gate


@elementwise("onnx.Swish")
def _swish(operation: Operation, x: PrimExpr) -> PrimExpr:
    alpha = _attribute(operation, "alpha", 1.0)
    return silu(x) if alpha == 1.0 else x * sigmoid(x * const_like(x, alpha))


@elementwise("onnx.Gelu")
def _gelu(operation: Operation, x: PrimExpr) -> PrimExpr:
    if operation.attributes.get("approximate", "none") != "tanh":
        return gelu(x)
    # (1 + tanh y) / 2 = 1 / (1 + e^-2y)
    cubic = x + const_like(x, 0.044715) * x * x * x
    return x * sigmoid(const_like(x, 1.5957691216057308) * cubic)


@elementwise("onnx.Shrink")
def _shrink(operation: Operation, x: PrimExpr) -> PrimExpr:
    from tvm import tirx

    limit, bias = _attribute(operation, "lambd", 0.5), _attribute(operation, "bias", 0.0)
    x = bind(x)
    if not dtype_of(x).startswith("float"):
        wide = bind(x.astype("float32"))
        return _shrunk(wide, limit, bias).astype(dtype_of(x))
    assert tirx is not None
    return _shrunk(x, limit, bias)


def _shrunk(x: PrimExpr, limit: float, bias: float) -> PrimExpr:
    from tvm import tirx

    above = tirx.Select(x > const_like(x, limit), x - const_like(x, bias), const_like(x, 0))
    return tirx.Select(x < const_like(x, -limit), x + const_like(x, bias), above)


@elementwise(RESTRICT)
def _restrict(_: Operation, x: PrimExpr, bound: PrimExpr) -> PrimExpr:
    """The comparison is false for NaN."""
    from tvm import tirx

    return tirx.Select(tirx.abs(x) <= bound, x, const_like(x, 0))
