"""A toy network that tests divide and teach, and its inputs."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime
from onnx_kit import model, node, value


@functools.cache
def network() -> onnx.ModelProto:
    """Three convolutions with a shortcut, 3x8x8 to 4 scores, each of which is the highest for some images."""
    (mean,) = ran(network_of(np.zeros(4)), {"x": images()})
    return network_of(-mean.mean(0))


def network_of(bias: np.ndarray) -> onnx.ModelProto:
    """The same with a bias of the scores."""
    random = np.random.default_rng(0)
    weights = {
        "w0": random.normal(0, 0.4, (8, 3, 3, 3)),
        "b0": random.normal(0, 0.1, 8),
        "w1": random.normal(0, 0.2, (8, 8, 3, 3)),
        "b1": random.normal(0, 0.1, 8),
        "w2": random.normal(0, 0.2, (16, 8, 3, 3)),
        "b2": random.normal(0, 0.1, 16),
        "w3": random.normal(0, 2.0, (4, 16)),
        "b3": bias,
    }
    nodes = [
        node("Conv", "x w0 b0", "c0", pads=[1] * 4),
        node("Relu", "c0", "r0"),
        node("Conv", "r0 w1 b1", "c1", pads=[1] * 4),
        node("Add", "c1 r0", "a1"),
        node("Relu", "a1", "r1"),
        node("Conv", "r1 w2 b2", "c2", pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c2", "r2"),
        node("GlobalAveragePool", "r2", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f w3 b3", "scores", transB=1),
    ]
    single = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    return model(nodes, [value("x", ["n", 3, 8, 8])], [value("scores", ["n", 4])], single)


def images(count: int = 256, seed: int = 1) -> np.ndarray:
    """Smooth patterns, so that there is something to compress."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 1, (count, 3, 4, 4)).astype(np.float32)
    return np.repeat(np.repeat(coarse, 2, 2), 2, 3)


def ran(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime computes."""
    return list(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds))


def scores_of(network: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """The output `scores` for each `image`, one at a time."""
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["scores"], {"image": image[None]})[0] for image in images])
