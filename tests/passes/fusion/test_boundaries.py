"""Every pair of kernels that hand a value on has one remark with the reason, and prices only where both are legal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate
from optc.ir.core import CONSTANT, Module
from optc.ops.declaration import Kind, declaration_of
from optc.passes.base import PassContext
from optc.passes.fusion.boundaries import WHAT
from optc.passes.fusion.build import FUSED
from optc.passes.fusion.fuse import Fuse
from tests.passes.fusion.graphs import modules, native

TARGET = targets.load("x86-64-v3")
ROOTS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.WINDOW)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(modules())
def test_each_pair_has_a_reason(module: Module) -> None:
    context = PassContext(target=TARGET, cost_model=AnalyticalCostModel(), supports=native)
    Fuse().run(module, context)
    kernels = [operation for operation in module.main if operation.name == FUSED]
    pairs = {
        (writer, reader)
        for writer in kernels
        for reader in kernels
        if any(user is reader for value in writer.results for user in value.users)
    }
    remarks = [remark for remark in context.remarks if remark.what == WHAT]
    named = set()
    for remark in remarks:
        first, second = (
            next(kernel for kernel in kernels if node in kernel.location.nodes) for node in remark.location.nodes
        )
        named.add((first, second))
        roots = sum(
            declaration_of(inner.name).kind in ROOTS
            for kernel in (first, second)
            for inner in kernel.graphs["body"]
            if inner.name != CONSTANT
        )
        assert remark.status == "missed" and remark.reason
        assert (roots > 1) == ("are two loop nests" in remark.reason)
        if remark.predicted:
            assert remark.predicted["joined_seconds"] >= remark.predicted["apart_seconds"] - 1e-12
            apart = [Candidate.of_graph(kernel.graphs["body"]) for kernel in (first, second)]
            prices = AnalyticalCostModel().predict(apart, TARGET)
            assert sum(price.seconds for price in prices) == pytest.approx(remark.predicted["apart_seconds"], rel=0.2)
    assert named == pairs and len(remarks) == len(named)
