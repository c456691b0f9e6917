"""Chains of contractions: which operation belongs to which stage, and what is no chain."""

from __future__ import annotations

import numpy as np

from optc.ir.core import Graph, Operation, Value
from optc.ir.dtypes import FLOAT32
from optc.ir.types import TensorType
from optc.ops.inference import make_operation
from optc.ops.stages import StageOperations, chain


class Builder:
    """Square matrices, operation by operation."""

    def __init__(self) -> None:
        self.graph = Graph("main")
        self.x = self.graph.add_input("x", TensorType(FLOAT32, (4, 4)))

    def op(self, name: str, *operands: Value) -> Value:
        return self.graph.append(make_operation(name, operands, result_names=[f"v{len(self.graph)}"])).result

    def product(self, data: Value) -> Value:
        return self.op("onnx.MatMul", data, self.graph.constant(np.eye(4, dtype=np.float32), "w"))

    def chain(self, *outputs: Value) -> list[StageOperations] | str:
        self.graph.set_outputs(outputs)
        return chain(list(self.graph), outputs)


def names(stages: list[StageOperations] | str) -> list[list[str]]:
    assert not isinstance(stages, str), stages

    def short(operation: Operation) -> str:
        return operation.name.removeprefix("onnx.")

    return [[short(operation) for operation in stage.operations] for stage in stages]


def test_what_stands_before_a_contraction_belongs_to_the_stage_before() -> None:
    b = Builder()
    value = b.op("onnx.Relu", b.product(b.op("onnx.Neg", b.x)))
    stages = b.chain(b.op("onnx.Add", b.product(value), b.op("onnx.Exp", b.x)))
    assert names(stages) == [["Neg", "MatMul", "Relu"], ["MatMul", "Exp", "Add"]]
    assert stages[0].result is value  # type: ignore[union-attr]
    assert stages[1].result is None  # type: ignore[union-attr]


def test_three_stages() -> None:
    b = Builder()
    assert names(b.chain(b.product(b.op("onnx.Tanh", b.product(b.product(b.x)))))) == [
        ["MatMul"], ["MatMul", "Tanh"], ["MatMul"],
    ]  # fmt: skip


def test_what_is_no_chain() -> None:
    b = Builder()
    first = b.product(b.x)
    assert b.chain(b.product(first), first) == f"'{first.name}' is read more than once"
    b = Builder()
    first = b.product(b.x)
    assert b.chain(b.op("onnx.Add", b.product(b.op("onnx.Relu", first)), first)) == (
        f"'{first.name}' is read outside its stage"
    )
    b = Builder()
    assert b.chain(b.op("onnx.MatMul", b.x, b.product(b.x))) == "onnx.MatMul does not make the data of onnx.MatMul"
    b = Builder()
    assert b.chain(b.op("onnx.Add", b.product(b.x), b.product(b.x))) == "onnx.MatMul does not feed onnx.MatMul"
    b = Builder()
    assert b.chain(b.op("onnx.Relu", b.x)) == "no contraction"
