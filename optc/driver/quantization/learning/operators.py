"""The operations of quantized networks in PyTorch, with gradients; others run on the reference, without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from optc.ir.core import Operation
from optc.ops.declaration import declaration_of
from optc.ops.restriction import RESTRICT

Operands = Sequence[Any]
Evaluate = Callable[[Operation, Operands], Tensor]


def _of(operation: Operation) -> dict[str, Any]:
    return operation.attributes


def _plain_padding(operation: Operation) -> bool:
    return _of(operation).get("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _padded(operation: Operation, data: Tensor, value: float = 0.0) -> Tensor:
    """The data with the operation's own padding around it."""
    rank = data.ndim - 2
    pads: Any = _of(operation).get("pads", (0,) * (2 * rank))
    around = [pad for axis in reversed(range(rank)) for pad in (pads[axis], pads[axis + rank])]
    return F.pad(data, around, value=value) if any(around) else data


def _conv(operation: Operation, operands: Operands) -> Tensor:
    data, weight = operands[0], operands[1]
    attributes, rank = _of(operation), data.ndim - 2
    pads: Any = attributes.get("pads", (0,) * (2 * rank))
    even = tuple(pads[:rank]) == tuple(pads[rank:])
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return convolve(
        data if even else _padded(operation, data),
        weight,
        operands[2] if len(operands) > 2 else None,
        attributes.get("strides", 1),
        tuple(pads[:rank]) if even else 0,
        attributes.get("dilations", 1),
        attributes.get("group", 1),
    )


def _gemm(operation: Operation, operands: Operands) -> Tensor:
    first, second = operands[0], operands[1]
    attributes: dict[str, Any] = _of(operation)
    product = (first.T if attributes.get("transA", 0) else first) @ (
        second.T if attributes.get("transB", 0) else second
    )
    product = attributes.get("alpha", 1.0) * product
    added = operands[2] if len(operands) > 2 else None
    return product if added is None else product + attributes.get("beta", 1.0) * added


def _clip(operation: Operation, operands: Operands) -> Tensor:
    low, high = (operands[place] if len(operands) > place else None for place in (1, 2))
    data = operands[0]
    if low is None and high is None:
        return data
    # Bounds that are tensors make PyTorch compare element by element, several times slower.
    bounds = (None if bound is None else bound if bound.requires_grad else bound.item() for bound in (low, high))
    return torch.clamp(data, *bounds)


def _axes(operation: Operation, operands: Operands) -> list[int] | None:
    given = operands[1] if len(operands) > 1 else None
    if given is not None:
        return [int(axis) for axis in given]
    named: Any = _of(operation).get("axes")
    return None if named is None else list(named)


def _reduction(reduce: Callable[..., Tensor]) -> Evaluate:
    def evaluate(operation: Operation, operands: Operands) -> Tensor:
        data = operands[0]
        axes = _axes(operation, operands)
        if axes is None and _of(operation).get("noop_with_empty_axes", 0):
            return data
        axes = list(range(data.ndim)) if axes is None else axes
        return reduce(data, axes, keepdim=bool(_of(operation).get("keepdims", 1)))

    return evaluate


def _average_pool(operation: Operation, operands: Operands) -> Tensor:
    data, attributes = operands[0], _of(operation)
    shape: Any = attributes["kernel_shape"]
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(shape) - 1]
    pads: Any = attributes.get("pads", (0,) * (2 * len(shape)))
    strides: Any = attributes.get("strides", (1,) * len(shape))
    inside = bool(attributes.get("count_include_pad", 0))
    return pool(data, shape, strides, tuple(pads[: len(shape)]), count_include_pad=inside)


def _max_pool(operation: Operation, operands: Operands) -> Tensor:
    data, attributes = operands[0], _of(operation)
    shape: Any = attributes["kernel_shape"]
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(shape) - 1]
    strides: Any = attributes.get("strides", (1,) * len(shape))
    return pool(_padded(operation, data, -torch.inf), shape, strides, 0, attributes.get("dilations", 1))


def _reshape(operation: Operation, operands: Operands) -> Tensor:
    data, shape = operands[0], operands[1]
    wanted = [int(extent) for extent in shape]
    if not _of(operation).get("allowzero", 0):
        wanted = [data.shape[place] if extent == 0 else extent for place, extent in enumerate(wanted)]
    return data.reshape(wanted)


def _flatten(operation: Operation, operands: Operands) -> Tensor:
    (data,) = operands
    axis = int(_of(operation).get("axis", 1)) % (data.ndim + 1)
    return data.reshape(int(np.prod(data.shape[:axis], dtype=np.int64)), -1)


def _transpose(operation: Operation, operands: Operands) -> Tensor:
    (data,) = operands
    order: Any = _of(operation).get("perm", tuple(reversed(range(data.ndim))))
    return data.permute(tuple(order))


def _squeeze(operation: Operation, operands: Operands) -> Tensor:
    data, axes = operands[0], _axes(operation, operands)
    return data.squeeze() if axes is None else data.squeeze(tuple(axes))


def _unsqueeze(operation: Operation, operands: Operands) -> Tensor:
    data, axes = operands[0], _axes(operation, operands) or []
    rank = data.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        data = data.unsqueeze(axis)
    return data


def _layer_norm(operation: Operation, operands: Operands) -> Tensor:
    data = operands[0]
    axis = int(_of(operation).get("axis", -1)) % data.ndim
    bias = operands[2] if len(operands) > 2 else None
    return F.layer_norm(data, data.shape[axis:], operands[1], bias, float(_of(operation).get("epsilon", 1e-5)))


def _slice(operation: Operation, operands: Operands) -> Tensor:
    data, starts, ends = operands[:3]
    axes = operands[3] if len(operands) > 3 else None
    steps = operands[4] if len(operands) > 4 else None
    chosen = [slice(None)] * data.ndim
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis = place if axes is None else int(axes[place])
        chosen[axis] = slice(start, end, 1 if steps is None else int(steps[place]))
    return data[tuple(chosen)]


def _attribute_of(name: str, default: Any, function: Callable[[Tensor, Any], Tensor]) -> Evaluate:
    def evaluate(operation: Operation, operands: Operands) -> Tensor:
        data = operands[0]
        return function(data, _of(operation).get(name, default))

    return evaluate


def _plain(function: Callable[..., Tensor]) -> Evaluate:
    return lambda operation, operands: function(*operands)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Evaluate:
    def evaluate(operation: Operation, operands: Operands) -> Tensor:
        result, *rest = [operand for operand in operands if operand is not None]
        for operand in rest:
            result = function(result, operand)
        return result

    return evaluate


OPERATORS: dict[str, Evaluate] = {
    RESTRICT: _plain(lambda data, bound: torch.where(data.abs() <= bound, data, torch.zeros_like(data))),
    "onnx.Abs": _plain(torch.abs),
    "onnx.Add": _plain(torch.add),
    "onnx.AveragePool": _average_pool,
    "onnx.Clip": _clip,
    "onnx.Concat": lambda operation, operands: torch.cat(
        [operand for operand in operands if operand is not None],
        int(_of(operation)["axis"]),
    ),
    "onnx.Conv": _conv,
    "onnx.Div": _plain(torch.div),
    "onnx.Elu": _attribute_of("alpha", 1.0, F.elu),
    "onnx.Erf": _plain(torch.erf),
    "onnx.Exp": _plain(torch.exp),
    "onnx.Expand": lambda operation, operands: operands[0].expand(
        torch.broadcast_shapes(operands[0].shape, tuple(operands[1].tolist()))
    ),
    "onnx.Flatten": _flatten,
    "onnx.Gelu": lambda operation, operands: F.gelu(
        operands[0],
        approximate=str(_of(operation).get("approximate", "none")),
    ),
    "onnx.Gemm": _gemm,
    "onnx.GlobalAveragePool": lambda operation, operands: operands[0].mean(
        dim=tuple(range(2, operands[0].ndim)),
        keepdim=True,
    ),
    "onnx.GreaterOrEqual": _plain(torch.ge),
    "onnx.HardSigmoid": lambda operation, operands: torch.clamp(
        float(_of(operation).get("alpha", 0.2)) * operands[0] + float(_of(operation).get("beta", 0.5)),
        0.0,
        1.0,
    ),
    "onnx.HardSwish": _plain(F.hardswish),
    "onnx.Identity": lambda operation, operands: operands[0],
    "onnx.LayerNormalization": _layer_norm,
    "onnx.LeakyRelu": _attribute_of("alpha", 0.01, F.leaky_relu),
    "onnx.Log": _plain(torch.log),
    "onnx.MatMul": _plain(torch.matmul),
    "onnx.Max": _folded(torch.maximum),
    "onnx.MaxPool": _max_pool,
    "onnx.Min": _folded(torch.minimum),
    "onnx.Mul": _plain(torch.mul),
    "onnx.Neg": _plain(torch.neg),
    "onnx.PRelu": _plain(lambda data, slope: torch.where(data >= 0, data, data * slope)),
    "onnx.Pow": _plain(torch.pow),
    "onnx.Reciprocal": _plain(torch.reciprocal),
    "onnx.ReduceMean": _reduction(torch.mean),
    "onnx.ReduceSum": _reduction(torch.sum),
    "onnx.Relu": _plain(F.relu),
    "onnx.Reshape": _reshape,
    "onnx.Sigmoid": _plain(torch.sigmoid),
    "onnx.Slice": _slice,
    "onnx.Softmax": _attribute_of("axis", -1, F.softmax),
    "onnx.Softplus": _plain(F.softplus),
    "onnx.Sqrt": _plain(torch.sqrt),
    "onnx.Squeeze": _squeeze,
    "onnx.Sub": _plain(torch.sub),
    "onnx.Tanh": _plain(torch.tanh),
    "onnx.Transpose": _transpose,
    "onnx.Unsqueeze": _unsqueeze,
    "onnx.Where": _plain(torch.where),
}
"""By operation. Those whose attributes say what PyTorch has no equal for are left to the reference."""

_LIMITS: dict[str, Callable[[Operation], bool]] = {
    "onnx.Conv": _plain_padding,
    "onnx.MaxPool": lambda operation: (
        _plain_padding(operation) and len(operation.results) == 1 and not _of(operation).get("ceil_mode", 0)
    ),
    "onnx.AveragePool": lambda operation: (
        _plain_padding(operation)
        and not _of(operation).get("ceil_mode", 0)
        and _even_pads(operation)
        and set(_of(operation).get("dilations", (1,))) == {1}
    ),
    "onnx.LayerNormalization": lambda operation: len(operation.results) == 1,
}


def _even_pads(operation: Operation) -> bool:
    pads: Any = _of(operation).get("pads", ())
    half = len(pads) // 2
    return tuple(pads[:half]) == tuple(pads[half:])


def differentiable(operation: Operation) -> bool:
    """Whether PyTorch computes an operation, so that gradients pass through it."""
    return operation.name in OPERATORS and _LIMITS.get(operation.name, lambda each: True)(operation)


def evaluate(operation: Operation, operands: Operands) -> list[Tensor]:
    """The results of an operation."""
    if differentiable(operation):
        return [OPERATORS[operation.name](operation, operands)]
    arrays = [None if operand is None else operand.detach().numpy() for operand in operands]
    results = declaration_of(operation.name).evaluate(operation, arrays)
    return [torch.from_numpy(np.array(result)) for result in results]
