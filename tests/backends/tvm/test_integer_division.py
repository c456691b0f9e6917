"""Integer division ends no process: what processors trap on has a value."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import Group, compile_all, prepare, run, type_of

from optc.ir.core import Graph, Operation
from optc.targets import Target, load


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def computed(host: Target, name: str, x: np.ndarray, y: np.ndarray, **attributes: int) -> np.ndarray:
    graph = Graph("group")
    operands = [graph.add_input("x", type_of(x)), graph.add_input("y", type_of(y))]
    graph.set_outputs(graph.append(Operation(name, operands, [type_of(x)], dict(attributes))).results)
    prepared = prepare(Group(graph), [x, y], host)
    return run(compile_all({"k": prepared}, host), "k", prepared)[0]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64])
def test_any_operands(host: Target, dtype: type) -> None:
    limits = np.iinfo(dtype)
    candidates = (limits.min, limits.min + 1, -7, -1, 0, 1, 3, limits.max)
    numbers = np.array([number for number in candidates if number >= limits.min], dtype)
    x, y = (grid.reshape(-1).copy() for grid in np.meshgrid(numbers, numbers))
    pairs = [(int(a), int(b)) for a, b in zip(x, y, strict=True)]

    def wrapped(values: list[int]) -> np.ndarray:
        return np.array([value % 2**limits.bits for value in values], f"uint{limits.bits}").view(dtype)

    quotients = [0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in pairs]
    np.testing.assert_array_equal(computed(host, "onnx.Div", x, y), wrapped(quotients))
    floored = [0 if b == 0 else a % b for a, b in pairs]
    np.testing.assert_array_equal(computed(host, "onnx.Mod", x, y), wrapped(floored))
    truncated = [0 if b == 0 else a - b * quotient for (a, b), quotient in zip(pairs, quotients, strict=True)]
    np.testing.assert_array_equal(computed(host, "onnx.Mod", x, y, fmod=1), wrapped(truncated))
