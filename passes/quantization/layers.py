"""The layers that quantization is about: contractions of an activation with constant weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optc.ir.core import Graph, Operation, Value


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution or matrix product.

    Attributes:
        name: the user's name of the node, unique in the model.
        operation: the `onnx.Conv`, `onnx.Gemm` or `onnx.MatMul`.
        axis: of the weights, along which the output channels lie.
        reduced: the axis of the weights that is summed over first: the one that groups divide.
    """

    name: str
    operation: Operation
    axis: int
    reduced: int

    @property
    def data(self) -> Value:
        """The activation that it reads."""
        value = self.operation.operands[0]
        assert value is not None
        return value

    @property
    def weight(self) -> np.ndarray:
        """The constant weights."""
        value = self.operation.operands[1]
        assert value is not None and value.constant is not None
        return value.constant

    @property
    def bias(self) -> np.ndarray | None:
        """The constant bias, one number for each channel; None where there is none."""
        value = self.operation.operand(2)
        if value is None or value.constant is None:
            return None
        bias = value.constant
        return bias if bias.shape == (self.weight.shape[self.axis],) else None

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.weight.shape[self.axis]

    @property
    def channel_axis(self) -> int:
        """The axis of the result along which the channels lie."""
        return 1 if self.operation.name == "onnx.Conv" else -1

    @property
    def takes_bias(self) -> bool:
        """Whether a bias can be added inside the operation: always, but for MatMul."""
        return self.operation.name != "onnx.MatMul"


def _conv(operation: Operation) -> tuple[int, int] | None:
    return 0, 1


def _gemm(operation: Operation) -> tuple[int, int] | None:
    attributes = operation.attributes
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        return None
    return (0, 1) if attributes.get("transB", 0) else (1, 0)


def _matmul(operation: Operation) -> tuple[int, int] | None:
    weight = operation.operands[1]
    return (1, 0) if weight is not None and weight.tensor_type.rank == 2 else None


_KINDS: dict[str, Callable[[Operation], tuple[int, int] | None]] = {
    "onnx.Conv": _conv,
    "onnx.Gemm": _gemm,
    "onnx.MatMul": _matmul,
}


def layers_of(graph: Graph) -> list[Layer]:
    """The layers of a graph in order of execution; those in nested graphs are left as they are."""
    found: list[Layer] = []
    taken: set[str] = set()
    for operation in graph:
        if operation.name not in _KINDS or operation.operand(0) is None or operation.operand(1) is None:
            continue
        data, weight = operation.operands[0], operation.operands[1]
        assert data is not None and weight is not None
        if weight.constant is None or weight.constant.dtype != np.float32 or data.is_constant:
            continue
        axes = _KINDS[operation.name](operation)
        if axes is None:
            continue
        name = operation.location.nodes[-1] if operation.location.nodes else operation.result.name
        if name in taken:
            name = f"{name}:{operation.result.name}"
        taken.add(name)
        found.append(Layer(name, operation, *axes))
    return found
