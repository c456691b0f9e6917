"""A device, a server and a link made up for tests, and a small network that is worth cutting between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx_kit import model, node, value

from optc.targets.link import Link

_TARGET = """
description = "{name}"
backends = []
cores = 1
memory_bytes = 1000000000
memory_bandwidth = {bandwidth}
memory_bandwidth_all = {bandwidth}
caches = []

[peak_flops]
f32 = {peak}

[energy]
flop = 1e-10
byte = 1e-10
watts = 0.5
"""

LINK = Link("lab", "", uplink=1e6, downlink=1e6, rtt=0.001, joules_per_bit_up=1e-7, joules_per_bit_down=1e-7)


def targets(folder: Path) -> tuple[str, str]:
    """The paths of a slow device and of a fast server, which optc makes no code for."""
    paths = []
    for name, peak, bandwidth in (("slow", 2e7, 1e9), ("fast", 1e11, 1e11)):
        path = folder / f"{name}.toml"
        path.write_text(_TARGET.format(name=name, peak=peak, bandwidth=bandwidth))
        paths.append(str(path))
    return paths[0], paths[1]


def network() -> onnx.ModelProto:
    """Three convolutions with strides, so that values shrink while the work does not, and a classifier."""
    generator = np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        fan_in = int(np.prod(shape[1:]))
        return (generator.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    tensors = {
        "w1": weights(4, 3, 3, 3),
        "w2": weights(4, 4, 3, 3),
        "w3": weights(64, 4, 3, 3),
        "w4": weights(10, 4096),
    }
    nodes = [
        node("Conv", "image w1", "c1", name="conv1", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c1", "r1", name="relu1"),
        node("Conv", "r1 w2", "c2", name="conv2", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c2", "r2", name="relu2"),
        node("Conv", "r2 w3", "c3", name="conv3", pads=[1, 1, 1, 1]),
        node("Relu", "c3", "r3", name="relu3"),
        node("Flatten", "r3", "f", name="flatten"),
        node("Gemm", "f w4", "scores", name="classify", transB=1),
    ]
    return model(nodes, [value("image", (1, 3, 32, 32))], [value("scores", (1, 10))], tensors)
