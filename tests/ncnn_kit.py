"""Small ncnn graphs, and a set in the form of ncnn's benchmark whose times come from a formula."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np


def param(width: int, depth: int, size: int = 64, kernel: int = 3) -> str:
    """The text of a plain network: `depth` convolutions, each followed by a pointwise one, and a classifier."""
    lines = [f"Input data 0 1 data 0={size} 1={size} 2=3"]
    blob, channels = "data", 3
    for index in range(depth):
        weights = channels * width * kernel**2
        stride = 2 if index < 2 else 1
        lines.append(f"Convolution conv{index} 1 1 {blob} conv{index} 0={width} 1={kernel} 3={stride} 4={kernel // 2}"
                     f" 5=1 6={weights} 9=1")  # fmt: skip
        lines.append(f"Convolution point{index} 1 1 conv{index} point{index} 0={width} 1=1 5=1 6={width * width}")
        blob, channels = f"point{index}", width
    lines.append(f"Pooling gap 1 1 {blob} gap 0=1 4=1")
    lines.append(f"InnerProduct fc 1 1 gap out 0=10 1=1 2={10 * width}")
    return "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n"


SHAPES = {"narrow": (16, 3), "middle": (32, 4), "wide": (64, 4), "deep": (32, 9), "large": (96, 6), "vast": (128, 8),
          "flat": (48, 2), "other": (24, 6)}  # fmt: skip


def write_set(folder: Path, boards: int = 12) -> Path:
    """Write `models.json` and `ncnn_latency.csv` under `folder`; returns it. Boards differ in speed and overhead."""
    from optc.costmodel.networks.costs import terms
    from optc.costmodel.networks.ncnn_param import parse_param

    random = np.random.default_rng(0)
    networks = {name: parse_param(param(*shape), name, name) for name, shape in SHAPES.items()}
    graphs = {
        name: {
            "input_whc": [64, 64, 3],
            "layers": [
                {"type": layer.type, "name": layer.name, "inputs": layer.inputs, "outputs": layer.outputs,
                 "params": {str(key): value for key, value in layer.parameters.items()}}
                for layer in network.layers
            ],
        }
        for name, network in networks.items()
    }  # fmt: skip
    (folder / "models.json").write_text(json.dumps(graphs))
    rows: list[list[object]] = []
    for board in range(boards):
        coefficients = {"scale": random.normal(), "pointwise": 0.3 * random.normal(), "launch": random.normal()}
        for gpu in (-1, 0):
            for name, network in networks.items():
                total = sum(
                    np.exp(term.log_quantity + sum(coefficients.get(key, 0.0) * w for key, w in term.weights.items()))
                    for term in terms(network)
                )
                time = total * (0.5 if gpu == 0 else 1.0) * np.exp(0.02 * random.normal())
                rows.append([2 * board + gpu + 1, f"Board {board}", 4, 0, gpu, name, f"{time:.6g}", name])
    header = ["run_id", "device", "num_threads", "powersave", "gpu_device", "model", "min_ms", "family"]
    with (folder / "ncnn_latency.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return folder
