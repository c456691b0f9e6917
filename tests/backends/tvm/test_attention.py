"""The attention template against double precision: masks, shared heads, odd extents, threads, what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_harness import Prepared, compile_all, run, type_of

from optc.backends.tvm.capability import supports
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule, Template, templates_for
from optc.ir.core import Graph, Operation
from optc.ops.attention import attend, scale_of
from optc.ops.inference import make_operation
from optc.targets import Target, load

RANDOM = np.random.default_rng(5)
TEMPLATE = Template.registry["attention"]


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def group_of(arrays: list[np.ndarray], **attributes: object) -> Group:
    body = Graph("body", [(f"x{i}", type_of(array)) for i, array in enumerate(arrays)])
    operation = body.append(make_operation("onnx.Attention", list(body.inputs), attributes))  # type: ignore[arg-type]
    body.set_outputs([operation.result], ["y"])
    return Group(body)


def outputs(
    arrays: list[np.ndarray], target: Target, schedule: Schedule | None = None, threads: int = 1, **attributes: object
) -> np.ndarray:
    group = group_of(arrays, **attributes)
    schedule = schedule or TEMPLATE.space(group, target)[0]
    prepared = Prepared(group, TEMPLATE.build(group, schedule, target), arrays)
    return run(compile_all({"k": prepared}, target), "k", prepared, threads=threads)[0]


def expected(arrays: list[np.ndarray], scale: float | None = None, is_causal: int = 0) -> np.ndarray:
    query, key, value, mask = (*arrays, None)[:4]
    assert query is not None and key is not None and value is not None
    scale = scale or 1 / np.sqrt(query.shape[-1])
    wide = [query.astype(np.float64), key.astype(np.float64), value.astype(np.float64)]
    return attend(*wide, mask, float(scale), bool(is_causal))


def error(arrays: list[np.ndarray], result: np.ndarray, **attributes: object) -> float:
    return float(np.abs(result - expected(arrays, **attributes)).max())  # type: ignore[arg-type]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[np.ndarray], Schedule, int]:
    shared, key_heads = draw(st.sampled_from([(1, 1), (1, 3), (2, 2)]))
    batch, queries, keys = draw(st.integers(1, 2)), draw(st.integers(1, 70)), draw(st.integers(1, 70))
    depth, width = draw(st.sampled_from([3, 16, 20])), draw(st.sampled_from([5, 16]))
    arrays = [
        floats(batch, shared * key_heads, queries, depth),
        floats(batch, key_heads, keys, depth),
        floats(batch, key_heads, keys, width),
    ]
    mask = draw(st.sampled_from(["none", "added", "bool"]))
    if mask != "none":
        heads = draw(st.sampled_from([1, shared * key_heads]))
        rows = draw(st.sampled_from([1, queries]))
        visible = RANDOM.random((batch, heads, rows, keys)) < 0.7
        added = np.where(visible, floats(*visible.shape), -np.inf).astype(np.float32)
        arrays.append(visible if mask == "bool" else added)
    schedule = (("keys", draw(st.sampled_from([4, 16, 512]))), ("vectors", draw(st.integers(1, 3))))
    return arrays, schedule, draw(st.integers(0, 1))


@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_any_extents_masks_and_schedules(host: Target, case: tuple[list[np.ndarray], Schedule, int]) -> None:
    arrays, schedule, causal = case
    result = outputs(arrays, host, schedule, is_causal=causal)
    assert error(arrays, result, is_causal=causal) < 2e-6


def test_a_query_without_keys_gives_zeros(host: Target) -> None:
    arrays = [floats(1, 2, 20, 8), floats(1, 2, 40, 8), floats(1, 2, 40, 8)]
    mask = np.zeros((1, 1, 20, 40), np.float32)
    mask[0, 0, 3] = -np.inf
    mask[0, 0, 5, :20] = -np.inf  # the first blocks of keys hold nothing for this one
    result = outputs([*arrays, mask], host, (("keys", 16), ("vectors", 1)))
    assert not result[:, :, 3].any()
    assert error([*arrays, mask], result) < 2e-6


def test_the_lowest_number_as_mask_is_not_infinite(host: Target) -> None:
    """All keys hidden by the lowest number count alike, since it swallows their scores."""
    arrays = [floats(1, 1, 17, 8), floats(1, 1, 30, 8), floats(1, 1, 30, 8)]
    mask = np.full((1, 1, 17, 30), np.finfo(np.float32).min, np.float32)
    result = outputs([*arrays, mask], host, (("keys", 16), ("vectors", 1)))
    assert np.abs(result - arrays[2].astype(np.float64).mean(axis=2, keepdims=True)).max() < 1e-6


def test_large_scores_do_not_overflow(host: Target) -> None:
    arrays = [1000 * floats(1, 1, 20, 16), floats(1, 1, 50, 16), floats(1, 1, 50, 16)]
    result = outputs(arrays, host, (("keys", 16), ("vectors", 1)))
    # Products near 4000 are rounded by 2^-24 of that in each of 16 steps.
    assert error(arrays, result) < 4000 * 16 * 2.0**-24


def test_not_a_number_stays_in_its_row(host: Target) -> None:
    arrays = [floats(1, 1, 20, 8), floats(1, 1, 24, 8), floats(1, 1, 24, 8)]
    arrays[0][0, 0, 4, 2] = np.nan
    result = outputs(arrays, host, (("keys", 16), ("vectors", 1)))
    assert np.isnan(result[0, 0, 4]).all()
    assert np.isfinite(np.delete(result, 4, axis=2)).all()


def test_the_same_bits_for_any_number_of_threads(host: Target) -> None:
    arrays = [floats(2, 4, 130, 32), floats(2, 4, 130, 32), floats(2, 4, 130, 32)]
    many = replace(host, cores=4, parallel_seconds=0.0)
    alone = outputs(arrays, many)
    for threads in (2, 3):
        assert np.array_equal(outputs(arrays, many, threads=threads), alone)


def test_reads_operands_through_movements_and_finishes_results(host: Target) -> None:
    """Heads that lie side by side in a row, as a projection leaves them; no copy is made of them."""
    rows = [floats(2, 19, 24), floats(2, 19, 24), floats(2, 19, 24)]
    body = Graph("body", [(f"x{i}", type_of(array)) for i, array in enumerate(rows)])
    heads = []
    for value in body.inputs:
        shape = body.append(Operation("optc.constant", [], [type_of(np.zeros(4, np.int64))],
                                      {"value": np.array([2, 19, 3, 8])})).result  # fmt: skip
        split = body.append(make_operation("onnx.Reshape", [value, shape])).result
        heads.append(body.append(make_operation("onnx.Transpose", [split], {"perm": (0, 2, 1, 3)})).result)
    result = body.append(make_operation("onnx.Attention", heads, {"scale": 0.25})).result
    turned = body.append(make_operation("onnx.Transpose", [result], {"perm": (0, 2, 1, 3)})).result
    body.set_outputs([body.append(make_operation("onnx.Relu", [turned])).result], ["y"])
    group = Group(body)
    found = templates_for(group, host)
    assert not isinstance(found, str) and [each.name for each in found] == ["attention"]
    definition = TEMPLATE.build(group, TEMPLATE.space(group, host)[0], host)
    assert definition.scratch_bytes == ()
    prepared = Prepared(group, definition, rows)
    actual = run(compile_all({"k": prepared}, host), "k", prepared)[0]
    split_rows = [array.reshape(2, 19, 3, 8).transpose(0, 2, 1, 3) for array in rows]
    wanted = np.maximum(expected(split_rows, scale=0.25).transpose(0, 2, 1, 3), 0)
    assert np.abs(actual - wanted).max() < 2e-6


def test_what_it_refuses(host: Target) -> None:
    arrays = [floats(1, 2, 8, 8)] * 3

    def reason(arrays: list[np.ndarray], **attributes: object) -> str | None:
        return supports(next(iter(group_of(arrays, **attributes).body)))

    assert reason(arrays) is None
    assert reason(arrays, softcap=2.0) == "its scores are capped"
    assert reason([array.astype(np.float16) for array in arrays]) == "its operands are f16"
    assert reason([floats(1, 8, 16)] * 3, q_num_heads=2, kv_num_heads=2) == "its heads are not an axis of their own"
    assert reason([floats(1, 2, 1, 8), *arrays[1:]]) == "1 queries do not fill a vector"


def test_the_scale_is_that_of_the_depth_unless_given() -> None:
    arrays = [floats(1, 2, 8, 16)] * 3
    assert scale_of(next(iter(group_of(arrays).body))) == 0.25
    assert scale_of(next(iter(group_of(arrays, scale=0.5).body))) == 0.5
