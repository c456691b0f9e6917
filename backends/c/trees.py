"""Ensembles of trees: all nodes in tables, and one loop that walks them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.backends.c.kernel import CKernel, Constant
from optc.backends.c.literals import real_literal
from optc.backends.c.pattern import Body, NoMatch, Stage
from optc.ir.core import Operation
from optc.ops.shapes import integer, text
from optc.ops.trees import Node, column, read_trees

_LEAF = 0x7FFF
_MISSING = 15  # the bit of a feature that says where NaN leads
_MOST = 0xFFFF


def trees_refusal(operation: Operation) -> str | None:
    """Why an ensemble has no kernel; None where it has."""
    found = _tables(operation)
    return found if isinstance(found, str) else None


def trees(body: Body, final: Stage) -> CKernel:
    """The kernel of a group that is one TreeEnsembleRegressor.

    Raises:
        NoMatch: it holds anything else, or asks for what the tables cannot hold.
    """
    operation = final.operation
    if len(body.graph) != 1 or operation.operands[0] not in body.graph.inputs:
        raise NoMatch("the trees are not alone")
    found = _tables(operation)
    if isinstance(found, str):
        raise NoMatch(found)
    samples, targets = operation.results[0].shape
    data = operation.operands[0]
    assert data is not None
    count = len(found["roots"])
    divisor = float(count) if text(operation, "aggregate_function", "SUM") == "AVERAGE" else 1.0
    names = [f"${name}" if name in found else "NULL" for name in ("thresholds", "features", "others", "roots", "rows")]
    numbers = f"{count}, {data.shape[1]}, {targets}, {real_literal(divisor, single=True)}"
    return CKernel(
        kind="trees",
        call=f"optc_sum_trees(&$record, $in{data.index}, $out0, {samples});",
        sources=("trees.h",),
        constants=tuple(Constant(name, array) for name, array in found.items()),
        record=("optc_trees", f"{{{', '.join(names)}, $bases, {numbers}}}"),
    )


def _tables(operation: Operation) -> dict[str, np.ndarray] | str:
    """The constants of the kernel by name, or why there are none."""
    data = operation.operands[0]
    if data is None or data.dtype.name != "f32" or not data.tensor_type.is_static or len(data.shape) != 2:
        return "its features are no float matrix of known shape"
    if text(operation, "post_transform", "NONE") != "NONE":
        return f"its post_transform is {text(operation, 'post_transform')}"
    if text(operation, "aggregate_function", "SUM") not in ("SUM", "AVERAGE"):
        return f"it takes the {text(operation, 'aggregate_function')} of its trees"
    ensemble = read_trees(operation, "target")
    if isinstance(ensemble, str):
        return ensemble
    targets = integer(operation, "n_targets", 1)
    nodes = [node for tree in ensemble for node in tree]
    if max(node.feature for node in nodes) >= min(data.shape[1], _LEAF):
        return "it reads a feature that there is not, or one behind the 32767th"
    bases = column(operation, "base_values") or (0.0,) * targets
    if len(bases) != targets or any(not 0 <= target < targets for node in nodes for target, _ in node.weights):
        return "its base values or targets do not fit its results"
    starts = np.cumsum([0, *map(len, ensemble)])[:-1].astype(np.uint32)
    tables = {"roots": starts, "bases": np.asarray(bases, np.float32)}
    tables |= _scalar(nodes) if all(len(node.weights) < 2 for node in nodes) else _rows(nodes, targets)
    if int(tables["others"].max()) > _MOST:
        return "its trees, or the different rows of weights of its leaves, are more than 65536"
    return tables | {"others": tables["others"].astype(np.uint16)}


def _scalar(nodes: Sequence[Node]) -> dict[str, np.ndarray]:
    """Every leaf holds one weight, and holds it itself."""
    weights = [node.weights[0] if node.weights else (0, 0.0) for node in nodes]
    return _stored(nodes, [target for target, _ in weights], [weight for _, weight in weights])


def _rows(nodes: Sequence[Node], targets: int) -> dict[str, np.ndarray]:
    """Leaves hold the numbers of rows, of which equal ones are stored once."""
    leaves = [number for number, node in enumerate(nodes) if node.feature < 0]
    rows = np.zeros((len(leaves), targets), np.float32)
    for row, leaf in zip(rows, leaves, strict=True):
        for target, weight in nodes[leaf].weights:
            row[target] += np.float32(weight)
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    numbers = np.zeros(len(nodes), np.int64)
    numbers[leaves] = inverse.reshape(-1)
    return {**_stored(nodes, numbers.tolist(), [0.0] * len(nodes)), "rows": distinct}


def _stored(nodes: Sequence[Node], numbers: Sequence[int], weights: Sequence[float]) -> dict[str, np.ndarray]:
    inner = np.asarray([node.feature >= 0 for node in nodes])
    features = [node.feature | node.missing_left << _MISSING if node.feature >= 0 else _LEAF for node in nodes]
    return {
        "thresholds": np.where(inner, [node.threshold for node in nodes], weights).astype(np.float32),
        "features": np.asarray(features, np.uint16),
        "others": np.where(inner, [node.other for node in nodes], numbers).astype(np.uint32),
    }
