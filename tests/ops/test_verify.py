"""The default verifier: arity and attributes against the ONNX schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graph_kit import tensor

from optc.ir.core import Operation, Value
from optc.ops.declaration import declaration_of


def operation(name: str, shapes: list[str | None], results: int = 1, **attributes: object) -> Operation:
    from optc.ir.core import Graph

    graph = Graph("g", [(f"x{i}", tensor(shape or "")) for i, shape in enumerate(shapes)])
    operands: list[Value | None] = [v if s is not None else None for v, s in zip(graph.inputs, shapes, strict=True)]
    return Operation(f"onnx.{name}", operands, [tensor("1")] * results, attributes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: operation("Add", ["1"]), "it has 1 inputs where 2 fit"),
        (lambda: operation("Conv", ["1", "1", "1", "1"]), "it has 4 inputs where 2 to 3 fit"),
        (lambda: operation("Concat", ["1"]), "its attribute 'axis' is missing"),
        (lambda: operation("Conv", ["1", None]), "its input 1 'W' is missing"),
        (lambda: operation("Relu", ["1"], alpha=1.0), "it has no attribute 'alpha'"),
        (lambda: operation("Softmax", ["1"], axis="last"), "its attribute 'axis' is no INT"),
        (lambda: operation("Relu", ["1"], results=2), "it has 2 outputs where 1 fit"),
    ],
)
def test_reasons(make: Callable[[], Operation], reason: str) -> None:
    made = make()
    with pytest.raises(ValueError) as error:
        declaration_of(made.name).verify(made)
    assert str(error.value) == reason


def test_a_good_operation_passes() -> None:
    made = operation("Conv", ["1", "1", None], strides=(1, 1), auto_pad="VALID")
    declaration_of(made.name).verify(made)
