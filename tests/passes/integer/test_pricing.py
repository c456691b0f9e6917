"""Layers go to integers where the cost model says that they are faster there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx_kit import model, node, value

from optc import targets
from optc.costmodel.interface import Candidate, Estimate
from optc.frontends import load_model
from optc.passes.base import PassContext, Remark
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline
from optc.targets.target import Target


@dataclass
class Priced:
    """A cost model in which contractions of integers cost `integer` seconds, those of floats one."""

    integer: float

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        return [self.estimate(candidate) for candidate in candidates]

    def estimate(self, candidate: Candidate) -> Estimate:
        names = {operation.name for operation in candidate.operations}
        # Both read codes and write codes: what stands around the contraction is in the price.
        assert names >= {"onnx.QuantizeLinear", "onnx.Add"} and candidate.inputs[0].dtype.name == "u8"
        assert [value.dtype.name for value in candidate.outputs] == ["u8"]
        seconds = self.integer if "onnx.ConvInteger" in names else 1.0
        return Estimate(seconds, seconds, seconds, 0, 0, "made up")


def remarks(integer: float) -> tuple[list[Remark], set[str]]:
    weights = {
        "s": np.float32(0.02), "z": np.uint8(3), "w": np.ones((8, 8, 1, 1), np.int8), "b": np.ones(8, np.float32),
    }  # fmt: skip
    nodes = [
        node("DequantizeLinear", "x s z", "xd"),
        node("DequantizeLinear", "r s z", "rd"),
        node("DequantizeLinear", "w s", "wd"),
        node("Conv", "xd wd b", "c", "conv"),
        node("Add", "c rd", "a"),
        node("QuantizeLinear", "a s z", "y"),
    ]
    shape = [1, 8, 4, 4]
    module = load_model(
        model(nodes, [value("x", shape, 2), value("r", shape, 2)], [value("y", None, 2)], weights)
    ).module
    context = PassContext(target=targets.load("x86-64-v3"), cost_model=Priced(integer))
    run_pipeline(module, parse_pipeline("integer-arithmetic"), context, verify_each=True)
    found = [remark for remark in context.remarks if remark.what == "integer"]
    return found, {operation.name for operation in module.walk()}


def test_what_is_faster_in_integers() -> None:
    (remark,), names = remarks(0.5)
    assert (remark.status, remark.predicted) == ("applied", {"integer_seconds": 0.5, "float_seconds": 1.0})
    assert "onnx.ConvInteger" in names and "onnx.Conv" not in names


def test_what_is_slower_in_integers_stays_in_float() -> None:
    (remark,), names = remarks(1.25)
    assert (remark.status, remark.location.nodes) == ("missed", ("conv",))
    assert remark.reason.startswith("kept in float: int8 would be 1.25x as slow (1250000.0 µs predicted in integers")
    assert remark.predicted == {"integer_seconds": 1.25, "float_seconds": 1.0}
    assert "onnx.ConvInteger" not in names and "onnx.Conv" in names
