"""Rows of imagined kernels, whose times follow a rule: enough to train small predictors on."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
from test_store import ROW

from optc.costmodel.kernels.features import TARGET_FEATURES, WORKLOAD_FEATURES, target_vector
from optc.costmodel.kernels.machine import fingerprint_of, target_json
from optc.costmodel.kernels.schema import Row, digest
from optc.targets import load

TEXT = (
    "graph @main(%0: tensor<1x{m}x8x8xf32>, %1: tensor<{n}x{m}x1x1xf32>) -> () {{\n"
    "  %2 = onnx.Conv(%0, %1) {{group = 1}} : tensor<1x{n}x8x8xf32>\n  return %2\n}}\n"
)


def make_rows(workloads: int = 24, points: int = 3) -> list[Row]:
    """Convolutions of random sizes in `points` schedules each."""
    target = load("x86-64-v3")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(workloads):
        m, n = (int(size) for size in generator.integers(4, 200, 2))
        features = generator.normal(size=len(WORKLOAD_FEATURES)).tolist()
        features[0] = math.log(m * n * 1e-9)
        features[WORKLOAD_FEATURES.index("anchor_kind")] = 4.0
        for point in range(points):
            seconds = m * n * 1e-9 * (1.0 + 0.2 * point) * math.exp(0.3 * features[3])
            schedule = json.dumps({"columns": 4 + point, "vectors": 1})
            rows.append(
                replace(
                    ROW,
                    key=f"{number}-{point}",
                    fingerprint=fingerprint_of(target),
                    target=target_json(target),
                    workload=f"w{number}",
                    workload_class=f"c{number // 2}",
                    ir=TEXT.format(m=m, n=n),
                    schedule=schedule,
                    names=digest(WORKLOAD_FEATURES, TARGET_FEATURES)[:16],
                    features=[*features, *target_vector(target), m * n * 1e-9],
                    roofline=m * n * 1e-9,
                    estimate=m * n * 1e-9 * (1.0 + 0.1 * point),
                    near_least=seconds,
                    near_median=1.01 * seconds,
                )
            )
    return rows
