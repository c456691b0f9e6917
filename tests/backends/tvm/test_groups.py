"""Groups of several operations with random layouts against NumPy; codegen's promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_harness import Group, Prepared, compile_all, prepare, run, type_of

from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.emission.blocks import Emitter
from optc.backends.tvm.emission.kernel import GroupKernel, NotInRows
from optc.backends.tvm.template import template_for
from optc.backends.tvm.templates.generic import Generic
from optc.ir.core import Graph, Operation, Value
from optc.ir.types import PLAIN, Layout
from optc.targets import Target, load

RANDOM = np.random.default_rng(11)
LAYOUTS = (
    PLAIN,
    Layout(blocks=((1, 8),)),
    Layout(blocks=((1, 4),)),
    Layout(permutation=(0, 2, 3, 1)),
    Layout(permutation=(0, 1, 3, 2)),
)


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def append(graph: Graph, name: str, operands: list[Value], shape: tuple[int, ...], **attributes: object) -> Value:
    like = np.empty(shape, np.float32)
    return graph.append(Operation(name, operands, [type_of(like)], attributes)).result  # type: ignore[arg-type]


UNARY = {
    "onnx.Relu": lambda x: np.maximum(x, 0),
    "onnx.Neg": np.negative,
    "onnx.Abs": np.abs,
    "onnx.Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "onnx.Tanh": np.tanh,
    "onnx.Floor": np.floor,
}
BINARY = {"onnx.Add": np.add, "onnx.Mul": np.multiply, "onnx.Sub": np.subtract, "onnx.Max": np.maximum}


@st.composite
def chains(draw: st.DrawFn) -> tuple[Group, list[np.ndarray], np.ndarray]:
    """A random expression over two tensors and a vector, all in random layouts, perhaps reduced at the end."""
    shape = (
        draw(st.integers(1, 2)),
        draw(st.sampled_from([3, 8, 16])),
        draw(st.integers(1, 7)),
        draw(st.integers(1, 19)),
    )
    graph = Graph("group")
    arrays = [floats(*shape), floats(*shape), floats(shape[1], 1, 1)]
    layouts = [draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(LAYOUTS)), PLAIN]
    pool: list[tuple[Value, np.ndarray]] = []
    for number, (array, layout) in enumerate(zip(arrays, layouts, strict=True)):
        pool.append((graph.add_input(f"x{number}", type_of(array, layout)), array.astype(np.float64)))
    for _ in range(draw(st.integers(1, 6))):
        value, array = draw(st.sampled_from(pool))
        if draw(st.booleans()):
            name = draw(st.sampled_from(sorted(UNARY)))
            pool.append((append(graph, name, [value], array.shape), UNARY[name](array)))
        else:
            other, second = draw(st.sampled_from(pool))
            name = draw(st.sampled_from(sorted(BINARY)))
            result = BINARY[name](array, second)
            pool.append((append(graph, name, [value, other], result.shape), result))
    value, array = pool[-1]
    result = array + pool[0][1]
    last = append(graph, "onnx.Add", [value, pool[0][0]], result.shape)
    ending = draw(st.sampled_from(["none", "transpose", "pool", "softmax"]))
    if ending == "transpose":
        result = result.transpose(0, 2, 3, 1)
        last = append(graph, "onnx.Transpose", [last], result.shape, perm=(0, 2, 3, 1))
    elif ending == "pool":
        result = result.mean(axis=(2, 3), keepdims=True)
        last = append(graph, "onnx.GlobalAveragePool", [last], result.shape)
    elif ending == "softmax":
        powers = np.exp(result - result.max(axis=1, keepdims=True))
        result = powers / powers.sum(axis=1, keepdims=True)
        last = append(graph, "onnx.Softmax", [last], result.shape, axis=1)
    last.type = last.tensor_type.with_layout(draw(st.sampled_from(LAYOUTS)))
    graph.set_outputs([last])
    return Group(graph), arrays, result


@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=chains())
def test_random_chains_in_random_layouts(host: Target, case: tuple[Group, list[np.ndarray], np.ndarray]) -> None:
    group, arrays, expected = case
    prepared = prepare(group, arrays, host)
    (actual,) = run(compile_all({"k": prepared}, host), "k", prepared)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_outputs_and_threads(host: Target, threads: int) -> None:
    """A tensor, its row means and its transpose, in one kernel whose loops run in parallel."""
    eager = replace(host, cores=2, parallel_seconds=0.0)
    data = floats(96, 130)
    graph = Graph("group")
    value = graph.add_input("x", type_of(data))
    doubled = append(graph, "onnx.Add", [value, value], data.shape)
    mean = append(graph, "onnx.ReduceMean", [doubled], (96, 1), axes=(1,))
    flipped = append(graph, "onnx.Transpose", [doubled], (130, 96), perm=(1, 0))
    graph.set_outputs([doubled, mean, flipped])
    prepared = prepare(Group(graph), [data], eager)
    outputs = run(compile_all({"k": prepared}, eager), "k", prepared, threads=threads)
    np.testing.assert_allclose(outputs[0], data * 2)
    np.testing.assert_allclose(outputs[1], (data * 2).mean(axis=1, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[2], (data * 2).T)


def _shared_chain(length: int) -> tuple[Group, np.ndarray, np.ndarray]:
    """x ← x · sigmoid(x), again and again: each value has two readers."""
    data = floats(64)
    graph = Graph("group")
    value, expected = graph.add_input("x", type_of(data)), data.astype(np.float64)
    for _ in range(length):
        gate = append(graph, "onnx.Sigmoid", [value], data.shape)
        value = append(graph, "onnx.Mul", [value, gate], data.shape)
        expected = expected / (1 + np.exp(-expected))
    graph.set_outputs([value])
    return Group(graph), data, expected


def test_shared_values_keep_the_code_linear_in_the_chain(host: Target) -> None:
    """Repeating each value's expression for each reader would give 2^30 copies here."""
    group, data, expected = _shared_chain(30)
    prepared = prepare(group, [data], host)
    (actual,) = run(compile_all({"k": prepared}, host), "k", prepared)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-30)


def test_equal_kernels_give_equal_bytes(host: Target) -> None:
    objects = []
    for _ in range(2):
        group, data, _ = _shared_chain(3)
        objects.append(compile_kernels({"k": prepare(group, [data], host).definition.function}, host))
    assert objects[0] == objects[1]


@pytest.mark.parametrize(
    ("operation", "shape", "template"),
    [("onnx.Relu", (4, 4), "pointwise"), ("onnx.Softmax", (4, 4), "rowwise")],
)
def test_templates_by_group(host: Target, operation: str, shape: tuple[int, ...], template: str) -> None:
    graph = Graph("group")
    graph.set_outputs([append(graph, operation, [graph.add_input("x", type_of(floats(*shape)))], shape)])
    found = template_for(Group(graph), host)
    assert not isinstance(found, str) and found.name == template


@pytest.mark.parametrize("perm", [(0, 3, 1, 2), (0, 1, 2, 3), (2, 0, 3, 1)])
def test_reductions_walk_neighbouring_kept_axes_as_one(host: Target, perm: tuple[int, ...]) -> None:
    """All rows of a normalisation lie at one distance from each other, whatever axes number them."""
    data, scale, bias = floats(2, 5, 7, 33), floats(33), floats(33)
    graph = Graph("group")
    operands = [graph.add_input(name, type_of(array)) for name, array in (("x", data), ("s", scale), ("b", bias))]
    normal = append(graph, "onnx.LayerNormalization", operands, data.shape, axis=-1, epsilon=1e-5)
    shape = tuple(data.shape[axis] for axis in perm)
    graph.set_outputs([append(graph, "onnx.Transpose", [normal], shape, perm=perm)])
    group = Group(graph)
    generic = Generic()
    definition = generic.build(group, generic.space(group, host)[0], host)
    prepared = Prepared(group, definition, [data, scale, bias])
    (actual,) = run(compile_all({"k": prepared}, host), "k", prepared)
    centred = data - data.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * scale + bias
    np.testing.assert_allclose(actual, expected.transpose(perm), rtol=1e-5, atol=1e-5)


def test_a_stage_read_beyond_its_tile_gets_larger_tiles(host: Target) -> None:
    """Maxima of lines, then of columns: rows of one line would read lines that are not there."""
    data = floats(2, 3, 9, 20)
    graph = Graph("group")
    value = graph.add_input("x", type_of(data))
    shape = (5, 5)
    pool = append(graph, "onnx.MaxPool", [value], data.shape, kernel_shape=shape, pads=(2, 2, 2, 2))
    graph.set_outputs([pool])
    group = Group(graph)
    kernel = GroupKernel(group)
    assert [stage.extents for stage in kernel.stages] == [(1, 5), (5, 1)] and kernel.geometry() == (2, 3, 9)
    with pytest.raises(NotInRows, match="does not stay in its tile of 1"):
        kernel.emit((2, 3, 9), Emitter(host.vector_bytes), threads=False)
    prepared = prepare(group, [data], host)
    (actual,) = run(compile_all({"k": prepared}, host), "k", prepared)
    padded = np.pad(data, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=-np.inf)
    expected = np.lib.stride_tricks.sliding_window_view(padded, shape, axis=(2, 3)).max(axis=(-2, -1))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("rows", "columns"), [(16, 24), (13, 21), (5, 4)])
def test_operands_that_lie_transposed_meet_others(host: Target, rows: int, columns: int) -> None:
    x, y, bias = floats(2, columns, rows), floats(2, rows, columns), floats(columns)
    graph = Graph("group")
    values = [graph.add_input(name, type_of(array)) for name, array in (("x", x), ("y", y), ("b", bias))]
    turned = append(graph, "onnx.Transpose", [values[0]], y.shape, perm=(0, 2, 1))
    total = append(graph, "onnx.Add", [turned, values[1]], y.shape)
    graph.set_outputs([append(graph, "onnx.Mul", [total, values[2]], y.shape)])
    prepared = prepare(Group(graph), [x, y, bias], host)
    (actual,) = run(compile_all({"mixed": prepared}, host), "mixed", prepared)
    np.testing.assert_allclose(actual, (x.transpose(0, 2, 1) + y) * bias, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("columns", [5, 24, 31])
def test_rows_shorter_than_two_vectors_are_reduced(host: Target, columns: int) -> None:
    x = floats(7, columns)
    graph = Graph("group")
    value = graph.add_input("x", type_of(x))
    graph.set_outputs([append(graph, "onnx.ReduceMean", [value], (7, 1), axes=(1,), keepdims=1)])
    prepared = prepare(Group(graph), [x], host)
    (actual,) = run(compile_all({"rows": prepared}, host), "rows", prepared)
    np.testing.assert_allclose(actual, x.mean(axis=1, keepdims=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [16, 12])
def test_means_over_blocked_maps_into_plain_vectors(host: Target, channels: int) -> None:
    x = floats(1, channels, 9, 7)
    graph = Graph("group")
    value = graph.add_input("x", type_of(x, Layout(blocks=((1, 8),))))
    graph.set_outputs([append(graph, "onnx.GlobalAveragePool", [value], (1, channels, 1, 1))])
    prepared = prepare(Group(graph), [x], host)
    (actual,) = run(compile_all({"mean": prepared}, host), "mean", prepared)
    np.testing.assert_allclose(actual, x.mean(axis=(2, 3), keepdims=True), rtol=1e-5, atol=1e-6)
