"""Artifacts whose results overwrite dying operands compute the right numbers in less memory."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from optc.driver import compile
from optc.driver.pipeline import PIPELINE
from optc.program import KernelCall, walk
from tests.onnx_kit import model, node, value


def residual_blocks(count: int) -> onnx.ModelProto:
    """Each block adds its operand to what two convolutions make of it."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, object] = {}
    last = "x"
    for block in range(count):
        for half, source in enumerate((last, f"r{block}")):
            weights[f"w{block}{half}"] = (random.standard_normal((16, 16, 1, 1)) / 4).astype(np.float32)
            result = f"c{block}{half}"
            nodes.append(node("Conv", f"{source} w{block}{half}", result))
            if not half:
                nodes.append(node("Relu", result, f"r{block}"))
        nodes.append(node("Add", f"c{block}1 {last}", f"y{block}"))
        last = f"y{block}"
    return model(nodes, [value("x", (1, 16, 12, 12))], [last], weights)


def test_a_residual_is_overwritten_by_the_sum() -> None:
    source = residual_blocks(3)
    x = np.random.default_rng(1).standard_normal((1, 16, 12, 12), dtype=np.float32)
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    # A block of both convolutions reads its operand before all of it is stored, so it may not overwrite it.
    passes = PIPELINE.replace(",fuse-blocks", "")
    with compile(source, tune=0, threads=2, verify=False, passes=passes) as artifact:
        (found,) = artifact.run({"x": x}).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        calls = [step for step in walk(artifact.program.steps) if isinstance(step, KernelCall)]
    places = [[(each.space, each.index, each.offset) for each in call.arguments] for call in calls]
    overwriting = [call for call in places if len(set(call)) < len(call)]
    assert len(overwriting) >= 2
