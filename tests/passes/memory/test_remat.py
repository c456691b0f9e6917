"""Values computed again: the same numbers, and a peak that only falls."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.ir.core import Graph, Module
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext
from optc.passes.memory.order import live_bytes
from optc.passes.memory.remat import Rematerialize
from tests.graph_kit import Builder


def run(graph: Graph) -> list[str]:
    context = PassContext()
    changed = Rematerialize().run(Module(graph), context)
    assert changed == bool(context.remarks)
    return [remark.reason for remark in context.remarks]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    build = Builder(x="64", y="16")
    values = list(build.graph.inputs)
    for _ in range(draw(st.integers(2, 12))):
        value = draw(st.sampled_from(values))
        kind = draw(st.sampled_from(("Neg", "Add", "Concat", "Slice")))
        if kind == "Neg":
            values.append(build("Neg", value))
        elif kind == "Add":
            values.append(build("Add", value, draw(st.sampled_from([v for v in values if v.shape == value.shape]))))
        elif kind == "Concat" and value.shape[0] < 1024:
            values.append(build("Concat", value, draw(st.sampled_from(values)), axis=0))
        elif kind == "Slice" and value.shape[0] > 16:
            values.append(build("Slice", value, *map(build.constant, ([0], [16], [0], [1]))))
    ends = [value for value in values if value.producer is not None and not value.uses]
    build.graph.set_outputs(ends or values[:1])
    return build.graph


@settings(max_examples=80, deadline=None, derandomize=True)
@given(graphs())
def test_the_numbers_stay_and_the_peak_does_not_rise(graph: Graph) -> None:
    inputs = [np.arange(64, dtype=np.float32), np.linspace(-1, 1, 16, dtype=np.float32)]
    expected = evaluate_graph(graph, inputs)
    before = live_bytes(graph)
    run(graph)
    assert live_bytes(graph) <= before
    for found, wanted in zip(evaluate_graph(graph, inputs), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_wide_value_is_not_kept_across_the_peak() -> None:
    """`wide` is made of the input, used at once and at the end; between lies the largest value."""
    build = Builder(x="256")
    wide = build("Sigmoid", build.input("x"), results=("wide",))
    small = build("ReduceMax", wide, keepdims=1)
    large = build("Concat", *(build("Neg", build.input("x")) for _ in range(3)), axis=0)
    narrow = build("ReduceMax", build("Sigmoid", large), keepdims=1)
    build.graph.set_outputs([build("Mul", build("Add", small, narrow), wide)])
    before = live_bytes(build.graph)
    assert run(build.graph)[0].startswith(f"'wide' is computed again: the peak of live bytes falls from {before} to ")
