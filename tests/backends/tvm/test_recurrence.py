"""The recurrence template against the operation's reference, which onnxruntime's LSTM and GRU confirm elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_harness import Prepared, compile_all, run, type_of

from optc.backends.tvm.capability import supports
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule, Template, templates_for
from optc.ir.core import Graph
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation
from optc.ops.recurrence import GATES, RECURRENCE
from optc.targets import Target, load

TEMPLATE = Template.registry["recurrence"]
RANDOM = np.random.default_rng(11)


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def floats(*shape: int) -> np.ndarray:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def group_of(
    cell: str,
    steps: int,
    batch: int,
    hidden: int,
    *,
    reverse: int = 0,
    late: bool = False,
    constant: bool = True,
    lengths: tuple[int, ...] = (),
) -> tuple[Group, list[np.ndarray]]:
    columns = GATES[cell] * hidden
    arrays = [floats(steps, batch, columns), floats(hidden, columns) / np.float32(hidden), floats(batch, hidden)]
    arrays += [floats(batch, hidden)] if cell == "lstm" else []
    arrays += [floats(hidden)] if late else []
    arrays += [np.array(lengths, np.int32)] if lengths else []
    body = Graph("body", [(f"x{place}", type_of(array)) for place, array in enumerate(arrays)])
    operands = [*body.inputs[:3], *([None] if cell == "gru" else []), *body.inputs[3:]]
    if lengths and not late:
        operands.insert(4, None)
    names = ["y", "h", "c"][: 3 if cell == "lstm" else 2]
    operation = make_operation(RECURRENCE, operands, {"cell": cell, "reverse": reverse}, result_names=names)
    body.append(operation)
    body.set_outputs(operation.results)
    return Group(body, frozenset({1} if constant else ())), arrays


def check(group: Group, arrays: list[np.ndarray], target: Target, schedule: Schedule, threads: int = 1) -> None:
    definition = TEMPLATE.build(group, schedule, target)
    stored = [
        definition.packings[place].pack(array) if place in definition.packings else array
        for place, array in enumerate(arrays)
    ]
    prepared = Prepared(group, definition, stored)
    found = run(compile_all({"k": prepared}, target), "k", prepared, threads=threads)
    for result, wanted in zip(found, evaluate_graph(group.body, arrays), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=0, atol=2e-6)


CASES = [("lstm", False), ("gru", False), ("gru", True)]


@settings(derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CASES), st.integers(1, 5), st.integers(1, 6), st.integers(2, 70), st.booleans())
def test_any_extents(host: Target, case: tuple[str, bool], steps: int, batch: int, hidden: int, reverse: bool) -> None:
    group, arrays = group_of(case[0], steps, batch, hidden, reverse=int(reverse), late=case[1])
    check(group, arrays, host, TEMPLATE.space(group, host)[0])


@pytest.mark.parametrize(("cell", "late"), CASES)
def test_every_panel(host: Target, cell: str, late: bool) -> None:
    group, arrays = group_of(cell, 3, 2, 40, late=late)
    space = TEMPLATE.space(group, host)
    assert len(space) > 1
    for schedule in space:
        check(group, arrays, host, schedule)


def test_weights_that_come_at_run_time(host: Target) -> None:
    group, arrays = group_of("lstm", 2, 1, 33, constant=False)
    check(group, arrays, host, TEMPLATE.space(group, host)[0])


@pytest.mark.parametrize(("cell", "late"), CASES)
@pytest.mark.parametrize("reverse", [0, 1])
def test_sequences_of_different_lengths(host: Target, cell: str, late: bool, reverse: int) -> None:
    group, arrays = group_of(cell, 6, 4, 9, reverse=reverse, late=late, lengths=(6, 1, 0, 4))
    check(group, arrays, host, TEMPLATE.space(group, host)[0])


def test_samples_on_several_cores(host: Target) -> None:
    group, arrays = group_of("gru", 40, 8, 96)
    schedule = TEMPLATE.space(group, host)[0]
    check(group, arrays, host, schedule, threads=2)


def test_nothing_else_takes_it_and_it_takes_nothing_else(host: Target) -> None:
    group, _ = group_of("lstm", 2, 1, 8)
    found = templates_for(group, host)
    assert not isinstance(found, str)
    assert [template.name for template in found] == ["recurrence"]
    assert group.anchor is not None and supports(group.anchor) is None
    wide, _ = group_of("lstm", 1, 1, 2049)
    assert wide.anchor is not None and supports(wide.anchor) == "its gates have 8196 elements, more than 8192"
