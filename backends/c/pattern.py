"""Recognize what a fused group computes on codes: its operands, one operation, and how the result is coded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from optc.backends.c.coding import Coding
from optc.backends.c.families import Family
from optc.ir.core import Graph, Operation, Value

QUANTIZE = "onnx.QuantizeLinear"
DEQUANTIZE = "onnx.DequantizeLinear"


class NoMatch(Exception):
    """The group is none that computes on codes; the text says why."""


@dataclass(frozen=True)
class Coded:
    """A group input of int8 codes that stand for reals."""

    value: Value
    coding: Coding

    @property
    def position(self) -> int:
        """Among the inputs of the group."""
        return self.value.index


@dataclass(frozen=True)
class Result:
    """What happens to the reals that an operation computes.

    Attributes:
        coding: of the result; None where it stays float.
        low, high: the codes that clamp it, or the reals without coding.
    """

    coding: Coding | None
    low: float
    high: float


@dataclass(frozen=True)
class Stage:
    """An operation, and what becomes of its result."""

    operation: Operation
    result: Result


class Body:
    """A fused group's graph with the constants that its inputs are known to be, and how its kernel is laid out."""

    def __init__(self, graph: Graph, family: Family) -> None:
        self.graph = graph
        self.family = family

    def constant(self, value: Value | None) -> np.ndarray | None:
        """The array of a constant inside the body, or of a constant operand of the group."""
        if value is None:
            return None
        if value.owner is self.graph:
            parent = self.graph.parent
            outer = None if parent is None or not parent.operands else parent.operands[value.index]
            return None if outer is None else outer.constant
        return value.constant

    def final(self) -> Stage:
        """The operation behind the only output."""
        outputs = self.graph.outputs
        if len(outputs) != 1:
            raise NoMatch("it has several results")
        return self.stage(outputs[0])

    def stage(self, value: Value) -> Stage:
        """The operation behind a value: what comes before QuantizeLinear and the clamps."""
        coding = None
        if value.producer is not None and value.producer.name == QUANTIZE:
            coding = self.coding(value.producer, value)
            value = self._operand(value.producer)
        low, high = -math.inf, math.inf
        while value.producer is not None and (bounds := self._bounds(value.producer)) is not None:
            low, high = max(low, bounds[0]), min(high, bounds[1])
            value = self._operand(value.producer)
        if value.producer is None:
            raise NoMatch("it begins with a clamp")
        if coding is None:
            return Stage(value.producer, Result(None, low, high))
        return Stage(value.producer, Result(coding, coding.code(low), coding.code(high)))

    def coded(self, value: Value | None) -> Coded:
        """The codes that a dequantized operand comes from."""
        if value is None or value.producer is None or value.producer.name != DEQUANTIZE:
            raise NoMatch("an operand is not dequantized from codes")
        codes = self._operand(value.producer)
        if codes.owner is not self.graph or self.constant(codes) is not None:
            raise NoMatch("an operand is not data")
        return Coded(codes, self.coding(value.producer, codes))

    def coding(self, operation: Operation, codes: Value) -> Coding:
        """The scale and zero point of a Quantize- or DequantizeLinear with one scale."""
        scale, zero = self.constant(operation.operand(1)), self.constant(operation.operand(2))
        if scale is None or scale.size != 1 or (operation.operand(2) is not None and (zero is None or zero.size != 1)):
            raise NoMatch("its data have no single constant scale")
        if codes.dtype.name != "i8":
            raise NoMatch(f"its codes are {codes.dtype}")
        return Coding(float(scale.reshape(-1)[0]), 0 if zero is None else int(zero.reshape(-1)[0]))

    def weights(self, value: Value | None) -> tuple[np.ndarray, np.ndarray, int]:
        """Constant int8 codes without zero points, their scales (one number or one a slice), and the sliced axis."""
        operation = None if value is None else value.producer
        if operation is None or operation.name != DEQUANTIZE:
            raise NoMatch("its weights are no constant codes")
        codes, scale, zero = (self.constant(operation.operand(i)) for i in range(3))
        if codes is None or scale is None or (operation.operand(2) is not None and zero is None):
            raise NoMatch("its weights are no constant codes")
        if codes.dtype != np.int8 or (zero is not None and np.any(zero != 0)) or scale.ndim > 1:
            raise NoMatch("its weights are no int8 codes with zero as zero point")
        if operation.attributes.get("block_size", 0):
            raise NoMatch("its weights have a scale for each block")
        axis = int(operation.attributes.get("axis", 1)) % codes.ndim  # type: ignore[arg-type]
        return codes, scale.astype(np.float64).reshape(-1), axis

    def reals(self, value: Value | None) -> np.ndarray | None:
        """A constant, dequantized where it is stored as codes; None for an absent operand.

        Raises:
            NoMatch: it is not constant.
        """
        if value is None:
            return None
        direct = self.constant(value)
        if direct is not None:
            return direct.astype(np.float64)
        operation = value.producer
        if operation is not None and operation.name == DEQUANTIZE:
            codes, scale, zero = (self.constant(operation.operand(i)) for i in range(3))
            if codes is not None and scale is not None and scale.ndim <= 1 and codes.ndim <= 1:
                moved = codes.astype(np.float64) - (0 if zero is None else zero.astype(np.float64))
                return moved * scale.astype(np.float64)
        raise NoMatch("its bias is not constant")

    def _operand(self, operation: Operation) -> Value:
        value = operation.operand(0)
        assert value is not None
        return value

    def _bounds(self, operation: Operation) -> tuple[float, float] | None:
        if operation.name == "onnx.Relu":
            return 0.0, math.inf
        if operation.name != "onnx.Clip":
            return None
        bounds = [-math.inf, math.inf]
        for position in (1, 2):
            operand = operation.operand(position)
            if operand is None:
                continue
            array = self.constant(operand)
            if array is None or array.size != 1:
                return None
            bounds[position - 1] = float(array.reshape(-1)[0])
        return bounds[0], bounds[1]
