"""Printing and parsing are inverse on random modules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir import dims, dtypes
from optc.ir.core import CONSTANT, Attribute, Graph, Location, Module, Operation, Value
from optc.ir.equality import equal, same_attribute
from optc.ir.literals import array_value, elements_text
from optc.ir.parser import parse_module
from optc.ir.printer import canonical_text, print_module, print_type
from optc.ir.type_parser import parse_type
from optc.ir.types import Layout, OpaqueType, Quantization, TensorType, ValueType

TEXT = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["x", "/conv1/Conv", "onnx::Add_3", "a b", '"', "\\", "//", "é", "🂡", "\n", "\x7f", "none", "x_1"]),
)
FLOATS = st.one_of(st.floats(), st.sampled_from([math.nan, -math.nan, math.inf, -0.0, 5e-324, 1e22, 0.1]))
ARRAY_DTYPES = sorted(dtypes.BY_NAME)


def _dim_strategy() -> st.SearchStrategy[dims.Dim]:
    symbols = st.sampled_from(["batch", "seq", "max_len", "x", "floor", "ceiling", "lambda", "N", "h w"]).map(
        dims.symbol
    )
    return st.one_of(
        st.integers(0, 9),
        symbols,
        st.builds(lambda a, b, k: 2 * a * b + k, symbols, symbols, st.integers(-3, 3)),
        st.builds(lambda a, b, k: (a + b) // k + 1, symbols, symbols, st.integers(2, 5)),
        st.builds(lambda a, k: 0 - ((0 - a) // k), symbols, st.integers(2, 5)),
    )


DIMS = _dim_strategy()


@st.composite
def tensor_types(draw: st.DrawFn) -> TensorType:
    shape = draw(st.none() | st.lists(DIMS, max_size=4).map(tuple))
    layout, quantization = Layout(), None
    if shape and draw(st.booleans()):
        axes = st.integers(0, len(shape) - 1)
        permutation = draw(st.permutations(range(len(shape))).map(tuple) | st.just(()))
        layout = Layout(permutation, tuple(draw(st.lists(st.tuples(axes, st.integers(1, 16)), max_size=2))))
    if draw(st.integers(0, 4)) == 0:
        scale = tuple(draw(st.lists(FLOATS, min_size=1, max_size=3)))
        quantization = Quantization(scale, tuple(range(-1, len(scale) - 1)), draw(st.none() | st.integers(0, 3)))
    return TensorType(dtypes.BY_NAME[draw(st.sampled_from(ARRAY_DTYPES))], shape, layout, quantization)


TYPES: st.SearchStrategy[ValueType] = st.one_of(tensor_types(), tensor_types(), TEXT.map(OpaqueType))


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any bits of any element type; some larger than what the text holds inline."""
    dtype = dtypes.BY_NAME[draw(st.sampled_from(ARRAY_DTYPES))]
    shape = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 3), (17,), (5, 5)]))
    count = math.prod(shape)
    if dtype is dtypes.STRING:
        items = np.empty(count, dtype=object)
        items[:] = [draw(TEXT) for _ in range(count)]
        return items.reshape(shape)
    raw = draw(st.binary(min_size=count * dtype.numpy.itemsize, max_size=count * dtype.numpy.itemsize))
    if dtype.name == "bool":
        return (np.frombuffer(raw, np.uint8) % 2).astype(bool).reshape(shape)
    if dtype.bits == 4:
        return (np.frombuffer(raw, np.uint8) % 8).astype(dtype.numpy).reshape(shape)
    if draw(st.booleans()) and count:
        return np.full(shape, np.frombuffer(raw, dtype.numpy)[0])
    return np.frombuffer(raw, dtype.numpy).reshape(shape)


ATTRIBUTES: st.SearchStrategy[Attribute] = st.recursive(
    st.one_of(st.integers(), FLOATS, TEXT, st.booleans(), arrays()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
)


@st.composite
def graphs(draw: st.DrawFn, outer: tuple[Value, ...] = (), depth: int = 0) -> Graph:
    inputs = draw(st.lists(st.tuples(TEXT, TYPES), max_size=3))
    graph = Graph(draw(TEXT), inputs)
    visible: list[Value] = [*outer, *graph.inputs]
    for _ in range(draw(st.integers(0, 4 if depth == 0 else 2))):
        operands = draw(st.lists(st.sampled_from([None, *visible]), max_size=3))
        name = draw(st.sampled_from(["onnx.Add", "onnx.Split", "optc.fused", "ai.onnx.ml.X", CONSTANT, "odd name"]))
        bodies = {}
        if depth < 2 and draw(st.integers(0, 3)) == 0:
            seen = () if name == "optc.fused" else tuple(visible)
            bodies = {key: draw(graphs(seen, depth + 1)) for key in draw(st.sets(TEXT, min_size=1, max_size=2))}
        types = draw(st.lists(TYPES, max_size=3))
        attributes: dict[str, Any] = draw(st.dictionaries(TEXT, ATTRIBUTES, max_size=3))
        operation = Operation(
            name,
            operands,
            types,
            attributes,
            result_names=[draw(TEXT) for _ in types] or None,
            graphs=bodies,
            location=Location(tuple(draw(st.lists(TEXT, max_size=2)))),
        )
        visible.extend(graph.append(operation).results)
    outputs = draw(st.lists(st.sampled_from(visible), max_size=2)) if visible else []
    graph.set_outputs(outputs, [draw(TEXT) for _ in outputs])
    return graph


MODULES = st.builds(Module, graphs(), TEXT, st.dictionaries(TEXT, TEXT, max_size=2))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(MODULES)
def test_print_then_parse_is_the_identity(module: Module) -> None:
    resources: dict[str, np.ndarray] = {}
    text = print_module(module, resources)
    parsed = parse_module(text, resources, check=False)
    assert print_module(parsed, {}) == text
    # Names that had to be made unique differ; everything else is the same.
    for value, other in zip(module.main.inputs, parsed.main.inputs, strict=True):
        value.name = other.name
    assert equal(module, parsed) is None
    assert canonical_text(parsed.main) == canonical_text(module.main)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TYPES)
def test_types_round_trip(type: ValueType) -> None:
    text = print_type(type)
    assert str(type) == text
    if isinstance(type, TensorType):
        assert print_type(parse_type(text)) == text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(arrays())
def test_every_element_keeps_its_bits(array: np.ndarray) -> None:
    dtype = dtypes.from_numpy(array.dtype)
    if dtype is dtypes.STRING or dtype.name in ("c64", "c128", "bool"):
        return
    again = array_value(elements_text(array), dtype, array.shape, splat=False)
    assert same_attribute(array, again)


def test_first_difference_is_named() -> None:
    def module(text: str) -> Module:
        return parse_module(text, check=False)

    text = """graph @main(%x: tensor<4xf32>) -> ("y") {
      %y = onnx.Clip(%x, none) {a = [1, 2.0]} : tensor<4xf32> loc("clip")
      return %y
    }"""
    left = module(text)
    assert equal(left, module(text.replace("%y", "%z"))) is None
    where = "@main, operation 0 (onnx.Clip)"
    assert equal(left, module(text.replace("2.0", "2"))) == f"{where}: attribute 'a' differs: (1, 2.0) and (1, 2)"
    assert equal(left, module(text.replace("%x, none", "none, %x"))) == f"{where}: operand 0 differs (%x and %none)"
    assert equal(left, module(text.replace('loc("clip")', ""))) == f"{where}: locations 'clip' and (created by optc)"
    assert equal(left, module(text.replace('loc("clip")', "")), locations=False) is None
    assert equal(left, module(text.replace('"y"', '"z"'))) == "@main: outputs ['y'] and ['z']"
    assert equal(left, module(text.replace("return %y", "return %x"))) == "@main, return: operand 0 differs (%y and %x)"


def test_canonical_text_hashes_large_constants() -> None:
    def text(fill: float) -> str:
        graph = Graph("main")
        array = np.arange(64, dtype=np.float32)
        array[0] = fill
        graph.set_outputs([graph.constant(array, "any name")], ["y"])
        return canonical_text(graph)

    assert text(1.0) == text(1.0)
    assert text(1.0) != text(2.0)
    assert "any name" not in text(1.0)


def test_shared_arrays_are_one_resource() -> None:
    graph = Graph("main")
    array = np.arange(64, dtype=np.float32)
    graph.set_outputs([graph.constant(array, "a"), graph.constant(array, "b")])
    resources: dict[str, np.ndarray] = {}
    text = print_module(Module(graph), resources)
    assert list(resources) == ["b"]
    first, second = (value.constant for value in parse_module(text, resources).main.outputs)
    assert first is second is array


@pytest.mark.parametrize("count", [500, 4000])
def test_printing_many_equal_names_is_linear(count: int) -> None:
    graph = Graph("main", [("x", TensorType(dtypes.FLOAT32, (4,)))])
    value = graph.inputs[0]
    for _ in range(count):
        value = graph.append(Operation("onnx.Relu", (value,), (value.type,), result_names=("x",))).result
    graph.set_outputs([value])
    lines = print_module(Module(graph)).splitlines()
    assert lines[2] == "    %x_1 = onnx.Relu(%x) : tensor<4xf32>"
    assert lines[count + 1] == f"    %x_{count} = onnx.Relu(%x_{count - 1}) : tensor<4xf32>"


def test_long_types_are_not_remembered() -> None:
    """A text of many of them would fill the memory with types that nobody writes."""
    import tracemalloc

    long = "tensor<" + "{number}x" * 4000 + "f32>"
    parse_type(long.format(number=1))
    tracemalloc.start()
    for number in range(2, 40):
        assert parse_type(long.format(number=number)).shape == (number,) * 4000
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
