"""Shape inference with symbolic dimensions: exact forms, and agreement with the static case once they are bound."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from graph_kit import Builder, shown
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optc.ir.core import Graph, Module
from optc.ir.dims import parse_dim
from optc.ir.types import TensorType
from optc.ops.inference import bind_dims, infer_types

QUICK = settings(derandomize=True, deadline=None, max_examples=25)


def test_broadcasting_keeps_symbols() -> None:
    b = Builder(x="batch,1,8", y="seq,1")
    assert shown(b("Add", b.input("x"), b.input("y"))) == "batch,seq,8"


def test_broadcasting_of_two_symbols_gives_a_new_one() -> None:
    b = Builder(x="a", y="b")
    assert shown(b("Add", b.input("x"), b.input("y"), results=["sum"])) == "sum_0"


def test_a_known_extent_wins_over_a_symbol() -> None:
    b = Builder(x="batch,4", y="1,n")
    assert shown(b("Mul", b.input("x"), b.input("y"))) == "batch,4"


def test_reshape_divides_symbols() -> None:
    b = Builder(x="batch,seq,384")
    assert shown(b("Reshape", b.input("x"), b.constant([0, 0, 12, -1]))) == "batch,seq,12,32"
    assert shown(b("Reshape", b.input("x"), b.constant([-1, 384]))) == "batch*seq,384"


def test_shape_arithmetic_reaches_reshape() -> None:
    """Shape → Gather → Unsqueeze → Concat → Reshape, as exporters write it."""
    b = Builder(x="batch,seq,12,32")
    shape = b("Shape", b.input("x"))
    batch = b("Unsqueeze", b("Gather", shape, b.constant(0)), b.constant([0]))
    seq = b("Unsqueeze", b("Gather", shape, b.constant(1)), b.constant([0]))
    wide = b(
        "Unsqueeze", b("Mul", b("Gather", shape, b.constant(2)), b("Gather", shape, b.constant(3))), b.constant([0])
    )
    target = b("Concat", batch, seq, wide, axis=0)
    assert shown(b("Reshape", b.input("x"), target)) == "batch,seq,384"


def test_shape_arithmetic_through_float_and_where() -> None:
    b = Builder(x="2,3,10,14")
    shape = b("Slice", b("Shape", b.input("x")), b.constant([2]), b.constant([4]))
    halved = b("Floor", b("Div", b("Cast", shape, to=1), b.constant([2.0], np.float32)))
    sizes = b("Concat", b.constant([2, 3]), b("Cast", halved, to=7), axis=0)
    assert shown(b("Resize", b.input("x"), None, None, sizes, mode="nearest")) == "2,3,5,7"
    wanted = b.constant([-1, 3, -1, 14])
    chosen = b("Where", b("Equal", wanted, b.constant(-1)), b.constant([1, 1, 1, 1]), wanted)
    assert shown(b("Expand", b.constant([[[[0]]]], np.float32), chosen)) == "1,3,1,14"


def test_concat_adds_symbols() -> None:
    b = Builder(x="batch,past,8", y="batch,1,8")
    assert shown(b("Concat", b.input("x"), b.input("y"), axis=1)) == "batch,past + 1,8"


def test_slice_from_the_end() -> None:
    b = Builder(x="batch,n")
    cut = b("Slice", b.input("x"), b.constant([1]), b.constant([-1]), b.constant([1]))
    assert shown(cut) == "batch,n - 2"
    assert shown(b("Slice", b.input("x"), b.constant([0]), b.constant([2**63 - 1]), b.constant([1]))) == "batch,n"


def test_unknown_rank_flows_without_errors() -> None:
    b = Builder(x="a,b")
    b.input("x").type = b.input("x").tensor_type.with_shape(None)
    assert shown(b("Relu", b("Transpose", b.input("x")))) == "unknown"
    assert (
        shown(b("Conv", b.input("x"), b.constant(np.ones((8, 3, 1, 1)), np.float32), results=["c"]))
        == "c_0,c_1,c_2,c_3"
    )


def bound_agrees(symbolic: Graph, static: Graph, values: dict[str, int]) -> None:
    """Inferring with symbols and binding them gives the types that the numbers give."""
    module = Module(symbolic)
    bind_dims(module, values)
    infer_types(static)
    assert [value.type for value in symbolic.outputs] == [value.type for value in static.outputs]
    assert all(isinstance(value.type, TensorType) and value.type.is_static for value in symbolic.outputs)


extent = st.integers(4, 20)
small = st.integers(1, 3)


@QUICK
@given(extent, extent, small, small, small, st.integers(0, 2), st.sampled_from(["NOTSET", "VALID", "SAME_UPPER"]))
def test_convolution_then_pooling(
    height: int, width: int, kernel: int, stride: int, dilation: int, padding: int, auto_pad: str
) -> None:
    assume((kernel - 1) * dilation + 1 <= min(height, width))
    graphs = []
    for shape in ("n,3,h,w", f"2,3,{height},{width}"):
        b = Builder(x=shape)
        weight = b.constant(np.ones((5, 3, kernel, kernel)), np.float32)
        pads = {"pads": (padding,) * 4} if auto_pad == "NOTSET" else {}
        y = b(
            "Conv", b.input("x"), weight, strides=(stride, stride), dilations=(dilation,) * 2, auto_pad=auto_pad, **pads
        )
        y = b("MaxPool", y, kernel_shape=(1, 1), strides=(2, 2), ceil_mode=0)
        b.graph.set_outputs([y])
        graphs.append(b.graph)
    bound_agrees(*graphs, {"n": 2, "h": height, "w": width})


@QUICK
@given(extent, extent, st.integers(-6, 6), st.integers(-6, 6), st.integers(1, 3))
def test_movement(rows: int, columns: int, start: int, end: int, step: int) -> None:
    graphs = []
    for shape in ("r,c", f"{rows},{columns}"):
        b = Builder(x=shape)
        x = b.input("x")
        cut = b("Slice", x, b.constant([start]), b.constant([end]), b.constant([1]), b.constant([step]))
        joined = b("Concat", x, x, axis=1)
        padded = b("Pad", joined, b.constant([1, 0, 0, 2]))
        flat = b("Flatten", b("Tile", padded, b.constant([2, 1])), axis=0)
        square = b("MatMul", x, b("Transpose", x))
        b.graph.set_outputs([cut, flat, square, b("ReduceSum", square, b.constant([0]), keepdims=0)])
        graphs.append(b.graph)
    bound_agrees(*graphs, {"r": rows, "c": columns})


@pytest.mark.parametrize(
    ("op_type", "shapes", "attributes", "reason"),
    [
        ("Add", ("2,3", "4"), {}, "shapes (2, 3) and (4,) do not broadcast"),
        ("MatMul", ("2,3", "4,5"), {}, "the matrices (2, 3) and (4, 5) do not fit: 3 is not 4"),
        ("Gemm", ("2,3", "3,4", "5"), {}, "shapes (2, 4) and (5,) do not broadcast"),
        ("Conv", ("1,3,8,8", "4,2,3,3"), {},
         "the input (1, 3, 8, 8) has 3 channels where the weight (4, 2, 3, 3) with group 1 needs 2"),
        ("Conv", ("1,3,2,2", "4,3,3,3"), {}, "a window of 3 does not fit into an extent of 2 padded by 0"),
        ("Concat", ("2,3", "3,3"), {"axis": 1}, "the shapes (2, 3) and (3, 3) do not concatenate along axis 1"),
        ("Transpose", ("2,3",), {"perm": (0, 0)}, "perm [0, 0] does not permute the 2 axes of (2, 3)"),
        ("Softmax", ("2,3",), {"axis": 2}, "axis 2 is outside the 2 axes of the input"),
        ("MaxPool", ("1,2,8",), {"kernel_shape": (2, 2)}, "a window of 2 axes does not fit the shape (1, 2, 8)"),
        ("BatchNormalization", ("1,3,4,4", "3", "3", "3", "5"), {},
         "its input 4 has the shape (5,) where one value for each of the 3 channels is needed"),
        ("Einsum", ("2,3", "3,4"), {"equation": "ij,jkl->ik"}, "'jkl' does not describe the shape (3, 4)"),
    ],
)  # fmt: skip
def test_reasons(op_type: str, shapes: tuple[str, ...], attributes: dict, reason: str) -> None:
    b = Builder(**{f"x{i}": shape for i, shape in enumerate(shapes)})
    with pytest.raises(ValueError) as error:
        b(op_type, *b.graph.inputs, **attributes)
    assert str(error.value) == reason
    assert not any(value.uses for value in b.graph.inputs)


def test_mixed_element_types_are_refused() -> None:
    b = Builder(x="2")
    with pytest.raises(ValueError, match="its inputs have the element types f32 and i64, which must be the same"):
        b("Add", b.input("x"), b.constant([1]))


def test_a_plain_name_needs_no_algebra_and_equals_its_expression() -> None:
    program = "import sys; from optc.ir.dims import parse_dim; d = parse_dim('n'); assert d.bind({'n': 3}) == 3"
    subprocess.run([sys.executable, "-c", f"{program}; assert 'sympy' not in sys.modules"], check=True)
    name = parse_dim("n")
    assert not isinstance(name, int)
    worked_out = (name + 1) - 1
    assert name == worked_out and worked_out == name and hash(name) == hash(worked_out)
    assert name != parse_dim("m") and name.bind({"m": 2}) == worked_out
