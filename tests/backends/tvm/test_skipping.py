"""Products that skip zeros: exact whatever the row holds, and offered only where something says that it is sparse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from contraction_cases import Case, GroupBuilder, check
from onnx_kit import model, node, value

import optc
from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Template, templates_for
from optc.backends.tvm.tuning.measure import aligned_buffer, make_sparse
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate
from optc.costmodel.skipping import SCATTERED, SkippingCostModel, shortened
from optc.frontends import load_model
from optc.ops.hints import DENSITY, DENSITY_KEY
from optc.ops.onnx_export import to_onnx_model
from optc.targets import Target, load

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def product(
    rows: int = 1, depth: int = 75, columns: int = 70, density: float | None = 0.2, before: bool = False
) -> tuple[GroupBuilder, Group]:
    b = GroupBuilder()
    data = b.input((rows, depth))
    if before:
        data = b.op("onnx.Relu", data)
    hints = {} if density is None else {DENSITY: density}
    weight = b.constant(RANDOM.normal(size=(depth, columns)).astype(np.float32))
    bias = b.constant(RANDOM.normal(size=columns).astype(np.float32))
    result = b.op("onnx.Relu", b.op("onnx.Gemm", data, weight, bias, **hints))
    return b, b.group(result)


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_changes_but_the_time(host: Target, tmp_path: Path, threads: int) -> None:
    """Dense rows, rows that a Relu makes half zero, sums of a single term; widths that no vector divides."""
    cases = []
    for depth, columns, before in ((75, 70, False), (75, 70, True), (1, 8, True), (300, 200, True)):
        builder, group = product(depth=depth, columns=columns, before=before)
        cases.append(Case(builder, group, "skipping_gemm", lambda points: points[-1]))
    check(cases, host, tmp_path, threads=threads)


def test_it_is_offered_where_zeros_are_expected(host: Target) -> None:
    def names(group: Group) -> list[str]:
        found = templates_for(group, host)
        assert not isinstance(found, str)
        return [template.name for template in found]

    assert set(names(product()[1])) == {"gemm", "skipping_gemm"}
    assert names(product(density=None)[1]) == ["gemm"]
    assert names(product(rows=2)[1]) == ["gemm"]
    refusal = Template.registry["skipping_gemm"].refuses(product(rows=2)[1], host)
    assert refusal == "nothing says that most of a single row is zero"


def test_candidates_are_measured_on_rows_as_sparse_as_said(host: Target) -> None:
    group = product(depth=400, density=0.25)[1]
    definition = Template.registry["skipping_gemm"].build(group, Template.registry["gemm"].space(group, host)[0], host)
    buffers = [
        aligned_buffer([int(extent) for extent in each.shape], str(each.dtype)) for each in definition.function.params
    ]
    make_sparse(group, buffers)
    assert np.count_nonzero(buffers[0]) == pytest.approx(100, abs=30)
    assert np.count_nonzero(buffers[1]) == buffers[1].size


def test_the_price_falls_with_the_density(host: Target) -> None:
    small = 4 * 75 * 70
    assert shortened(0.2, small, host) == 0.2
    assert shortened(0.2, 1 << 30, host) == pytest.approx(0.2 * SCATTERED)
    times = {}
    for density in (None, 1.0, 0.5, 0.1):
        group = product(density=density)[1]
        (estimate,) = SkippingCostModel(AnalyticalCostModel()).predict([Candidate.of_graph(group.body)], host)
        times[density] = estimate.seconds
        elsewhere = replace(host, backends=("c",))
        (plain,) = SkippingCostModel(AnalyticalCostModel()).predict([Candidate.of_graph(group.body)], elsewhere)
        assert plain.seconds == times[None]  # no other backend skips
    assert times[1.0] == times[None] == pytest.approx(2 * times[0.5]) == pytest.approx(10 * times[0.1])
    template = Template.registry["skipping_gemm"]
    group = product(density=0.1)[1]
    (point, *_) = template.space(group, host)
    assert template.estimate(group, point, host) < Template.registry["gemm"].estimate(group, point, host)


def test_a_file_says_how_dense_a_row_is(tmp_path: Path) -> None:
    weights = {"w": RANDOM.normal(size=(400, 256)).astype(np.float32)}
    proto = model([node("MatMul", "x w", "y", "product")], [value("x", [1, 400])], [value("y", [1, 256])], weights)
    proto.graph.node[0].metadata_props.add(key=DENSITY_KEY, value="0.125")
    (operation,) = (each for each in load_model(proto).module.main if each.name == "onnx.MatMul")
    assert operation.attributes[DENSITY] == 0.125
    written = to_onnx_model(load_model(proto).module)
    assert [(each.key, each.value) for each in written.graph.node[0].metadata_props] == [(DENSITY_KEY, "0.125")]
    onnx.checker.check_model(written)
    x = RANDOM.normal(size=(1, 400)).astype(np.float32) * (RANDOM.random((1, 400)) < 0.125)
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    folder = tmp_path / "model"
    with optc.compile(proto, output=folder, threads=1, tune=0) as artifact:
        chosen = [
            record["template"] for record in json.loads((folder / "plan.json").read_text())["decisions"]["kernels"]
        ]
        assert chosen == ["skipping_gemm"]
        np.testing.assert_allclose(artifact.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)
    proto.graph.node[0].metadata_props[0].value = "half"
    (operation,) = (each for each in load_model(proto).module.main if each.name == "onnx.MatMul")
    assert DENSITY not in operation.attributes
