"""Blocks keep the numbers; predictions propose them, and where kernels race the times decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate
from optc.ir.core import CONSTANT, Graph, Module, Operation
from optc.ir.dtypes import FLOAT32
from optc.ir.types import Layout, TensorType
from optc.ir.verifier import verify
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation
from optc.ops.stages import is_contraction
from optc.passes.base import PassContext, Race
from optc.passes.fusion.blocks import FuseBlocks
from optc.passes.fusion.build import FUSED
from optc.passes.fusion.fuse import Fuse
from tests.passes.fusion.graphs import inputs_of, modules, native

TARGET = targets.load("rpi4")
BLOCKED = Layout(blocks=((1, 4),))


def context(race: Race | None = None, accepts: Callable[[Operation], str | None] = lambda _: None) -> PassContext:
    made = PassContext(target=TARGET, cost_model=AnalyticalCostModel(), supports=native, accepts=accepts)
    if race is not None:
        made.race = race
    return made


def chain_of_convolutions(channels: Sequence[int], size: int) -> Module:
    """Convolutions of one pixel, one after the other."""
    graph = Graph("main")
    value = graph.add_input("x", TensorType(FLOAT32, (1, channels[0], size, size), BLOCKED))
    random = np.random.default_rng(0)
    for number, (before, after) in enumerate(pairwise(channels)):
        weight = graph.constant(random.standard_normal((after, before, 1, 1)).astype(np.float32) / before, f"w{number}")
        value = graph.append(make_operation("onnx.Conv", [value, weight], {}, result_names=[f"v{number}"])).result
        value.type = value.tensor_type.with_layout(BLOCKED)
    graph.set_outputs([value])
    module = Module(graph)
    Fuse().run(module, context())
    return module


def contractions(module: Module) -> list[int]:
    """How many each kernel has."""
    return [sum(map(is_contraction, each.graphs["body"])) for each in module.main if each.name == FUSED]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(modules())
def test_blocks_compute_the_same(module: Module) -> None:
    expected = evaluate_graph(module.main, inputs_of(module))
    Fuse().run(module, context())
    FuseBlocks(least_gain=-10.0).run(module, context(lambda pairs: [(1.0, 2.0)] * len(pairs)))
    verify(module)
    for left, right in zip(expected, evaluate_graph(module.main, inputs_of(module)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_without_a_race_predictions_decide() -> None:
    module = chain_of_convolutions((4, 64, 4), 112)
    asked = context()
    (first, second) = [each for each in module.main if each.name == FUSED]
    apart = asked.cost_model.predict([Candidate.of_graph(each.graphs["body"]) for each in (first, second)], TARGET)  # type: ignore[union-attr]
    assert FuseBlocks().run(module, asked)
    assert contractions(module) == [2]
    (remark,) = [each for each in asked.remarks if each.what == "block-conv-conv"]
    assert remark.status == "applied"
    assert remark.predicted["apart_seconds"] == sum(each.seconds for each in apart)
    assert remark.predicted["block_seconds"] < remark.predicted["apart_seconds"]


def test_what_loses_the_race_stays_apart() -> None:
    module = chain_of_convolutions((4, 64, 4), 112)
    asked = context(lambda pairs: [(3e-3, 2e-3)] * len(pairs))
    assert not FuseBlocks().run(module, asked)
    assert contractions(module) == [1, 1]
    assert [(each.status, each.reason) for each in asked.remarks] == [
        ("missed", "3000.0 µs in one kernel, 2000.0 µs in 2 (measured)")
    ]
    assert all(len(value.uses) <= 1 for operation in module.main for value in operation.results)


def test_of_overlapping_blocks_those_that_gain_most_together_win() -> None:
    module = chain_of_convolutions((4, 64, 4, 64, 4), 112)
    times = {2: (1.0, 1.5), 3: (1.0, 1.8)}
    asked = context(lambda pairs: [times[len(groups)] for _, groups in pairs])
    assert FuseBlocks(max_measured=10).run(module, asked)
    assert contractions(module) == [2, 2]
    chosen = [each for each in asked.remarks if each.status == "applied"]
    assert chosen[0].reason.endswith("; the best other block here gains 800000.0 µs")
    assert chosen[0].predicted["runner_up_seconds"] == 1.5 - (1.8 - 1.0)


def test_only_the_most_promising_are_measured() -> None:
    seen: list[int] = []

    def race(pairs: Sequence[tuple[Operation, Sequence[Operation]]]) -> list[tuple[float, float] | None]:
        seen.append(len(pairs))
        return [(1.0, 1.5)] * len(pairs)

    module = chain_of_convolutions((4, 64, 4, 64, 4), 112)
    assert FuseBlocks(max_measured=1).run(module, context(race))
    assert seen == [1]
    assert sum(contractions(module)) == 4


def test_what_would_be_made_is_measured_before_its_rivals() -> None:
    """The two blocks of two gain most together, though each block of three gains as much as one of them."""
    seen: list[int] = []

    def race(pairs: Sequence[tuple[Operation, Sequence[Operation]]]) -> list[tuple[float, float] | None]:
        seen.extend(len(groups) for _, groups in pairs)
        return [(1.0, 1.5)] * len(pairs)

    module = chain_of_convolutions((4, 64, 4, 32, 4), 112)
    assert FuseBlocks(max_measured=2).run(module, context(race))
    assert seen == [2, 2]
    assert contractions(module) == [2, 2]


def test_a_refusal_is_said() -> None:
    module = chain_of_convolutions((4, 64, 4), 112)
    asked = context(accepts=lambda _: "no template")
    assert not FuseBlocks().run(module, asked)
    assert [(each.status, each.what, each.reason) for each in asked.remarks] == [
        ("missed", "block-conv-conv", "no template")
    ]


def test_constants_and_kernels_are_all_that_is_left() -> None:
    module = chain_of_convolutions((4, 64, 4, 64, 4), 112)
    FuseBlocks().run(module, context())
    assert {operation.name for operation in module.main} == {FUSED, CONSTANT}
