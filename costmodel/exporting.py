"""Predictors as ONNX models: a table of features goes in, a latency comes out, as `predict` has it before calibration.

Trees become `TreeEnsembleRegressor` in double precision, so that the sums are those of NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

    from optc.costmodel.gpu_operators.forest import Forest

OPSET, ML_OPSET, IR_VERSION = 21, 3, 10
FEATURES, SCALE, LATENCY = "features", "scale", "latency"


@dataclass
class Graph:
    """Nodes and constants of a model that is being built; values are known by their names.

    Attributes:
        nodes: in order.
        constants: the initializers.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, values: npt.ArrayLike) -> str:
        """A constant; whole numbers as int64, others as float64."""
        from onnx import numpy_helper

        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        from onnx import helper

        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def forest(self, forest: Forest, rows: str) -> str:
        """The sums of shape (n,) of a forest over rows of shape (n, columns)."""
        from onnx import numpy_helper

        counts = forest.inner_counts.astype(np.int64)
        trees, nodes, features, modes = [], [], [], []
        values, true, false, leaf_trees, leaf_nodes, weights = [], [], [], [], [], []
        inner_start = leaf_start = 0
        for tree, count in enumerate(counts.tolist()):
            inner = slice(inner_start, inner_start + count)
            total = 2 * count + 1
            trees += [tree] * total
            nodes += list(range(total))
            features += [*forest.features[inner].tolist(), *[0] * (count + 1)]
            modes += ["BRANCH_LEQ"] * count + ["LEAF"] * (count + 1)
            values += [*forest.thresholds[inner].tolist(), *[0.0] * (count + 1)]
            children = forest.children[inner].astype(np.int64)
            true += [*children[:, 0].tolist(), *[0] * (count + 1)]
            false += [*children[:, 1].tolist(), *[0] * (count + 1)]
            leaf_trees += [tree] * (count + 1)
            leaf_nodes += list(range(count, total))
            weights += forest.leaves[leaf_start : leaf_start + count + 1].tolist()
            inner_start, leaf_start = inner_start + count, leaf_start + count + 1
        found = self.add(
            "TreeEnsembleRegressor", rows, domain="ai.onnx.ml", n_targets=1, post_transform="NONE",
            aggregate_function="SUM", nodes_treeids=trees, nodes_nodeids=nodes, nodes_featureids=features,
            nodes_modes=modes, nodes_values_as_tensor=numpy_helper.from_array(np.array(values, np.float64)),
            nodes_truenodeids=true, nodes_falsenodeids=false, target_treeids=leaf_trees, target_nodeids=leaf_nodes,
            target_ids=[0] * len(weights),
            target_weights_as_tensor=numpy_helper.from_array(np.array(weights, np.float64)),
        )  # fmt: skip
        # onnxruntime gives sums of doubles as floats.
        return self.add("Reshape", self.add("Cast", found, to=_double()), self.constant([-1]))

    def model(self, latency: str, columns: Sequence[str], scaled: bool, about: Mapping[str, Any]) -> onnx.ModelProto:
        """The model.

        Args:
            latency: the value that is returned, shape (n,).
            columns: what the features are, in order.
            scaled: whether there is the input SCALE beside FEATURES: a first guess for each row.
            about: what the metadata says, as JSON.
        """
        from onnx import checker, helper

        self.add("Identity", latency, output=LATENCY)
        inputs = [helper.make_tensor_value_info(FEATURES, _double(), ["n", len(columns)])]
        if scaled:
            inputs.append(helper.make_tensor_value_info(SCALE, _double(), ["n"]))
        outputs = [helper.make_tensor_value_info(LATENCY, _double(), ["n"])]
        graph = helper.make_graph(self.nodes, "predictor", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        found = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="optc")
        helper.set_model_props(found, {"columns": json.dumps(list(columns)), **{k: str(v) for k, v in about.items()}})
        checker.check_model(found)
        return found


def _double() -> int:
    from onnx import TensorProto

    return int(TensorProto.DOUBLE)
