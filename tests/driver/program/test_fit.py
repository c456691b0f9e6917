"""A memory limit that the plain plan exceeds is met by patches with the same numbers; one too low is refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from optc.driver import compile
from optc.errors import LimitError
from tests.onnx_kit import model, node, value


def mobile_net() -> onnx.ModelProto:
    """A first stage at full resolution, then little."""
    random = np.random.default_rng(0)
    layers = [(16, 3, 1, 1), (16, 1, 2, 16), (8, 16, 2, 1)]
    nodes, last = [], "x"
    weights: dict[str, object] = {}
    for i, (channels, inputs, stride, group) in enumerate(layers):
        weights[f"w{i}"] = (random.standard_normal((channels, inputs, 3, 3)) / (3 * inputs**0.5)).astype(np.float32)
        nodes.append(node("Conv", f"{last} w{i}", f"c{i}", strides=[stride, stride], pads=[1, 1, 1, 1], group=group))
        nodes.append(node("Relu", f"c{i}", f"r{i}"))
        last = f"r{i}"
    nodes.append(node("GlobalAveragePool", last, "y"))
    return model(nodes, [value("x", (1, 3, 48, 48))], ["y"], weights)


def arena(limit: int | None) -> tuple[int, np.ndarray]:
    x = np.random.default_rng(1).standard_normal((1, 3, 48, 48), dtype=np.float32)
    with compile(mobile_net(), tune=0, threads=1, verify=False, memory_limit=limit) as artifact:
        (found,) = artifact.run({"x": x}).values()
        return artifact.program.arena_bytes, found


def test_patches_meet_a_limit() -> None:
    source = mobile_net()
    x = np.random.default_rng(1).standard_normal((1, 3, 48, 48), dtype=np.float32)
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    plain, _ = arena(None)
    limit = int(plain * 0.8)
    needed, found = arena(limit)
    assert needed <= limit
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_limit_that_nothing_meets() -> None:
    with pytest.raises(LimitError) as caught:
        arena(100)
    text = str(caught.value)
    assert text.startswith("the model needs an arena of ") and "and 100 are allowed" in text
    least = int(text.split("arena of ")[1].split(" ")[0])
    assert f"--memory-limit {least} works" in text and arena(least)[0] <= least
