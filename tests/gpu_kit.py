"""A small set in NeuSight's form, with times from a formula: bandwidth, arithmetic and a launch."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SHEETS = {
    "Small": (200.0, 20, 64, 1000, 3000.0, 2),
    "Large": (900.0, 80, 64, 1400, 14000.0, 6),
    "Larger": (1500.0, 108, 64, 1400, 19000.0, 40),
}


def write_set(folder: Path, rows: int = 240) -> Path:
    """Write the four files under `folder`; returns it."""
    random = np.random.default_rng(0)
    _write(folder / "device_specs.csv",
           ["Device", "Dev_Mem", "Mem_Bw", "Num_Sm", "Core_Per_SM", "Freq", "SingleFLOPs", "L2Cache"],
           [[name, 8, *sheet] for name, sheet in SHEETS.items()])  # fmt: skip
    gemm, conv, vector = [], [], []
    for _ in range(rows):
        batch, m, n, k = (int(2 ** random.uniform(0, 9)) for _ in range(4))
        images, cin, cout, size = (int(2 ** random.uniform(1, 6)) for _ in range(4))
        height, width = (int(2 ** random.uniform(1, 12)) for _ in range(2))
        for name, (bandwidth, _, _, _, peak, _) in SHEETS.items():

            def time(flops: float, values: float, bandwidth: float = bandwidth, peak: float = peak) -> float:
                return 0.01 + flops / (peak * 0.7e6) + 4 * values / (bandwidth * 0.8e6)

            gemm.append(["train", "bmm", name, batch, m, n, k,
                         time(2 * batch * m * n * k, batch * (m * n + m * k + k * n))])  # fmt: skip
            work = images * size**2 * cin * cout * 9
            values = images * size**2 * (cin + cout) + 9 * cin * cout
            conv.append(["train", "conv", name, images, cin, cout, 3, size, 1, 1, time(2 * work, values)])
            vector.append(["test", "relu", name, height, width, time(0, 2 * height * width)])
    _write(folder / "gemm.csv", ["src", "op", "device", "B", "M", "N", "K", "latency_ms"], gemm)
    columns = ["src", "op", "device", "B", "cin", "cout", "kernel", "hw", "stride", "padding", "latency_ms"]
    _write(folder / "conv.csv", columns, conv)
    _write(folder / "vector.csv", ["src", "op", "device", "B", "H", "latency_ms"], vector)
    return folder


def _write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
