"""The roofline: its limits by hand calculation, and the orderings that planning rests on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate, Estimate
from optc.ir.core import Graph, Operation, Value
from optc.ir.dtypes import BY_NAME, FLOAT32
from optc.ir.types import PLAIN, Layout, TensorType
from optc.ops.inference import make_operation

TARGET = targets.load("x86-64-v3")
BLOCKED = Layout(blocks=((1, 8),))


def seconds(operations: list[Operation], threads: int = 1) -> float:
    return estimate(operations, threads).seconds


def estimate(operations: list[Operation], threads: int = 1) -> Estimate:
    (found,) = AnalyticalCostModel(threads).predict([Candidate.of_operations(operations)], TARGET)
    return found


def feature_map(graph: Graph, channels: int, size: int, layout: Layout = PLAIN) -> Value:
    return graph.add_input("x", TensorType(FLOAT32, (1, channels, size, size), layout))


def add(graph: Graph, name: str, *operands: Value, layout: Layout = PLAIN, **attributes: object) -> Operation:
    operation = graph.append(make_operation(name, operands, attributes))  # type: ignore[arg-type]
    operation.result.type = operation.result.tensor_type.with_layout(layout)
    return operation


def conv(graph: Graph, x: Value, filters: int, size: int = 3, layout: Layout = PLAIN) -> Operation:
    weight = graph.constant(np.zeros((filters, x.shape[1], size, size), np.float32), "w")
    return add(graph, "onnx.Conv", x, weight, layout=layout, pads=(size // 2,) * 4)


def test_a_large_copy_takes_its_bytes_at_memory_bandwidth() -> None:
    graph = Graph("main")
    relu = add(graph, "onnx.Relu", feature_map(graph, 64, 512))
    graph.set_outputs([relu.result])
    bytes_moved = 2 * 64 * 512 * 512 * 4
    found = estimate([relu])
    assert found.bytes == bytes_moved
    assert found.seconds == pytest.approx(bytes_moved / TARGET.memory_bandwidth + TARGET.launch_seconds, rel=0.05)
    assert found.low < found.seconds < found.high


def test_what_fits_a_cache_is_faster_in_proportion_to_its_bandwidth() -> None:
    graph = Graph("main")
    small = add(graph, "onnx.Relu", feature_map(graph, 8, 32))
    graph.set_outputs([small.result])
    bytes_moved = 2 * 8 * 32 * 32 * 4
    assert bytes_moved < TARGET.caches[1].bytes
    assert seconds([small]) - TARGET.launch_seconds == pytest.approx(bytes_moved / TARGET.caches[1].bandwidth, rel=0.05)


def test_a_convolution_is_bound_by_arithmetic_between_half_of_peak_and_peak() -> None:
    graph = Graph("main")
    operation = conv(graph, feature_map(graph, 64, 56, BLOCKED), 64, layout=BLOCKED)
    graph.set_outputs([operation.result])
    found = estimate([operation])
    assert found.flops >= 2 * 64 * 64 * 9 * 56 * 56
    at_peak = found.flops / TARGET.peak_flops["f32"]
    assert at_peak < found.seconds < 2 * at_peak


def test_a_convolution_of_bytes_takes_the_share_of_a_float_one_that_the_target_says() -> None:
    graph = Graph("main")
    floats = conv(graph, feature_map(graph, 64, 56, BLOCKED), 64, layout=BLOCKED)
    data = graph.add_input("codes", TensorType(BY_NAME["u8"], (1, 64, 56, 56), BLOCKED))
    weight = graph.constant(np.zeros((64, 64, 3, 3), np.int8), "k")
    sums = add(graph, "onnx.ConvInteger", data, weight, layout=BLOCKED, pads=(1,) * 4)
    graph.set_outputs([floats.result, sums.result])
    share = TARGET.peak_flops["f32"] / TARGET.peak_flops["i8"]
    assert seconds([sums]) == pytest.approx(share * seconds([floats]), rel=0.1)


def test_blocks_pay_for_convolutions_and_windows() -> None:
    for name, attributes in (("conv", {}), ("onnx.MaxPool", {"kernel_shape": (3, 3)})):
        times = {}
        for layout in (PLAIN, BLOCKED):
            graph = Graph("main")
            x = feature_map(graph, 64, 56, layout)
            operation = (
                conv(graph, x, 64, layout=layout)
                if name == "conv"
                else add(graph, name, x, layout=layout, **attributes)
            )
            graph.set_outputs([operation.result])
            times[layout] = seconds([operation])
        assert times[BLOCKED] < times[PLAIN], name


@pytest.mark.parametrize(("perm", "cheap"), [((0, 2, 3, 1), BLOCKED), ((0, 1, 3, 2), None), ((0, 2, 1, 3), PLAIN)])
def test_a_transpose_is_a_copy_where_the_same_axis_lies_innermost(perm: tuple[int, ...], cheap: Layout | None) -> None:
    """From channel blocks to channels last, runs of channels stay together; so do whole rows between plain tensors."""
    times = {}
    for layout in (PLAIN, BLOCKED):
        graph = Graph("main")
        times[layout] = seconds([add(graph, "onnx.Transpose", feature_map(graph, 64, 56, layout), perm=perm)])
    assert [layout for layout, time in times.items() if time < max(times.values()) / 2] == ([cheap] if cheap else [])


def test_values_inside_a_kernel_cost_nothing() -> None:
    graph = Graph("main")
    first = conv(graph, feature_map(graph, 64, 56), 64)
    second = add(graph, "onnx.Relu", first.result)
    graph.set_outputs([second.result])
    together = estimate([first, second])
    assert together.bytes == estimate([first]).bytes
    assert together.seconds < seconds([first]) + seconds([second])


def test_a_prologue_of_a_contraction_is_a_loop_nest_of_its_own() -> None:
    graph = Graph("main")
    sigmoid = add(graph, "onnx.Sigmoid", feature_map(graph, 64, 56))
    root = conv(graph, sigmoid.result, 256, size=1)
    graph.set_outputs([root.result])
    assert seconds([sigmoid, root]) == pytest.approx(seconds([sigmoid]) + seconds([root]))


def test_what_stands_before_a_reduction_is_paid_in_each_sweep() -> None:
    graph = Graph("main")
    gelu = add(graph, "onnx.Gelu", feature_map(graph, 64, 56))
    softmax = add(graph, "onnx.Softmax", gelu.result, axis=3)
    graph.set_outputs([softmax.result])
    assert seconds([gelu, softmax]) > seconds([softmax]) + 2 * seconds([gelu])


def test_what_is_broadcast_inside_a_kernel_is_paid_for_every_element() -> None:
    graph = Graph("main")
    gate = graph.add_input("gate", TensorType(FLOAT32, (1, 64, 1, 1)))
    sigmoid = add(graph, "onnx.Sigmoid", gate)
    product = add(graph, "onnx.Mul", feature_map(graph, 64, 56), sigmoid.result)
    graph.set_outputs([product.result])
    assert seconds([sigmoid, product]) > seconds([sigmoid]) + seconds([product])


def test_threads_share_long_kernels_only() -> None:
    graph = Graph("main")
    long = conv(graph, feature_map(graph, 64, 56), 64)
    short = add(graph, "onnx.Relu", Value(TensorType(FLOAT32, (8,)), "v", graph, 0))
    graph.set_outputs([long.result, short.result])
    assert seconds([long], threads=2) < 0.6 * seconds([long])
    assert seconds([short], threads=2) == seconds([short])
    assert AnalyticalCostModel(threads=99).predict([Candidate.of_operations([long])], replace(TARGET, cores=1)) == (
        AnalyticalCostModel().predict([Candidate.of_operations([long])], TARGET)
    )


def test_candidates_know_what_leaves_them() -> None:
    graph = Graph("main")
    first = add(graph, "onnx.Relu", feature_map(graph, 8, 4))
    second = add(graph, "onnx.Exp", first.result)
    third = add(graph, "onnx.Add", first.result, second.result)
    graph.set_outputs([third.result])
    pair = Candidate.of_operations([first, second])
    assert pair.inputs == (graph.inputs[0],)
    assert pair.outputs == (first.result, second.result)
    assert Candidate.of_operations([first, second, third]).outputs == (third.result,)
    assert Candidate.of_graph(graph).outputs == (third.result,)
