"""Random ensembles of trees, and samples that meet their thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

FEATURES, SAMPLES = 6, 64
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")


def ensemble(generator: np.random.Generator, targets: int, **attributes: Any) -> onnx.ModelProto:
    """Random trees with few different thresholds, so that samples can meet them."""
    nodes: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    one_target = generator.random() < 0.5
    for tree in range(targets + int(generator.integers(3))):
        depth = int(generator.integers(0, 4))
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= 2**depth - 1
            row = (
                tree, node, "LEAF" if leaf else str(generator.choice(MODES)), int(generator.integers(FEATURES)),
                float(np.float32(generator.choice(THRESHOLDS))), 0 if leaf else 2 * node + 1,
                0 if leaf else 2 * node + 2, int(generator.integers(2)),
            )  # fmt: skip
            for name, value in zip(_COLUMNS, row, strict=True):
                nodes[name].append(value)
            for target in range(targets) if leaf else ():
                if one_target and target != tree % targets:
                    continue
                entry = (tree, node, target, float(np.float32(generator.standard_normal())))
                for name, value in zip(leaves, entry, strict=True):
                    leaves[name].append(value)
    given = {f"nodes_{name}": value for name, value in nodes.items()}
    given |= {f"target_{name}": value for name, value in leaves.items()}
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], "trees", domain="ai.onnx.ml", n_targets=targets, **given, **attributes
    )
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SAMPLES, FEATURES])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SAMPLES, targets])]
    graph = helper.make_graph([node], "trees", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


THRESHOLDS = (0.0, 0.1, -1.5, 1e-40, 3e38)
_COLUMNS = (
    "treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true",
)  # fmt: skip


def samples_at_thresholds(generator: np.random.Generator) -> np.ndarray:
    """Thresholds, their neighbours, NaN and infinities."""
    exact = np.asarray(THRESHOLDS, np.float32)
    near = [np.nextafter(exact, np.float32(end)) for end in (-np.inf, np.inf)]
    special = np.asarray([np.nan, np.inf, -np.inf, -0.0], np.float32)
    return generator.choice(np.concatenate([exact, *near, special]), (SAMPLES, FEATURES))
