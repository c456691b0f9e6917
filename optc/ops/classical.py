"""Classical models (ONNX-ML): ensembles of trees, linear models, support vectors, and what prepares features."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optc.ir import dtypes
from optc.ir.core import Operation
from optc.ir.dims import Dim
from optc.ir.types import TensorType, ValueType
from optc.ops.declaration import Infer, Kind, bytes_touched, declare
from optc.ops.elementwise import no_flops
from optc.ops.shapes import fresh, integer, tensor
from optc.ops.trees import column

DOMAIN = "ai.onnx.ml"
TREES = f"{DOMAIN}.TreeEnsembleRegressor"

_SAME_TYPE = frozenset({f"{DOMAIN}.Imputer", f"{DOMAIN}.Binarizer"})
_BYTES_PER_STEP = 8  # a threshold, a feature and a distance


def _rows(operation: Operation) -> Dim:
    shape = tensor(operation, 0).shape
    if shape is None:
        return fresh(operation, 0)
    if len(shape) not in (1, 2):
        raise ValueError(f"input 0 has {len(shape)} axes where samples and their features are needed")
    return shape[0] if len(shape) == 2 else 1


def _same_shape(operation: Operation) -> Sequence[ValueType]:
    source = tensor(operation, 0)
    kept = source.dtype if operation.name in _SAME_TYPE else dtypes.FLOAT32
    return [TensorType(kept, source.shape)]


def _regressor(count: str) -> Infer:
    def infer(operation: Operation) -> Sequence[ValueType]:
        return [TensorType(dtypes.FLOAT32, (_rows(operation), integer(operation, count, 1)))]

    return infer


def _classifier(integers: str, strings: str) -> Infer:
    """A label, and a score for each class."""

    def infer(operation: Operation) -> Sequence[ValueType]:
        names, numbers = column(operation, strings), column(operation, integers)
        if bool(names) == bool(numbers):
            raise ValueError(f"it must have one of {integers} and {strings}")
        label = dtypes.STRING if names else dtypes.INT64
        rows = _rows(operation)
        classes = max(len(names or numbers), 2)
        if _scores_pairs(operation, classes):
            classes = classes * (classes - 1) // 2
        return [TensorType(label, (rows,)), TensorType(dtypes.FLOAT32, (rows, classes))]

    return infer


def _chosen_columns(operation: Operation) -> Sequence[ValueType]:
    data, columns = tensor(operation, 0), tensor(operation, 1)
    if data.shape is None or columns.shape is None:
        return [TensorType(data.dtype, None)]
    if not data.shape or not all(isinstance(dim, int) for dim in columns.shape):
        raise ValueError("its input has no axis, or the number of indices is not known")
    count = math.prod(dim for dim in columns.shape if isinstance(dim, int))
    return [TensorType(data.dtype, (*(data.shape[:-1] or (1,)), count))]


def _scores_pairs(operation: Operation, classes: int) -> bool:
    """Whether an operation scores pairs of classes: a support vector machine without probabilities."""
    return operation.name == f"{DOMAIN}.SVMClassifier" and classes > 2 and not column(operation, "prob_a")


def _comparisons(operation: Operation) -> int:
    """As many for each tree as a balanced one of its size has levels."""
    nodes, trees = len(column(operation, "nodes_treeids")), len(set(column(operation, "nodes_treeids"))) or 1
    return operation.results[0].shape[0] * trees * math.ceil(math.log2(nodes / trees + 1))


def _tree_bytes(operation: Operation) -> int:
    return bytes_touched(operation) + _BYTES_PER_STEP * _comparisons(operation)


def _products(operation: Operation) -> int:
    """A multiplication and an addition for each coefficient."""
    return 2 * len(column(operation, "coefficients")) * operation.results[0].shape[0]


def _kernels(operation: Operation) -> int:
    """A multiplication and an addition for each element of each support vector."""
    return 2 * len(column(operation, "support_vectors")) * operation.results[0].shape[0]


for _name, _infer in (
    ("TreeEnsembleRegressor", _regressor("n_targets")),
    ("TreeEnsembleClassifier", _classifier("classlabels_int64s", "classlabels_strings")),
):
    declare(f"{DOMAIN}.{_name}", Kind.REDUCTION, infer=_infer, flops=_comparisons, bytes=_tree_bytes)
for _name, _infer in (
    ("LinearRegressor", _regressor("targets")),
    ("LinearClassifier", _classifier("classlabels_ints", "classlabels_strings")),
):
    declare(f"{DOMAIN}.{_name}", Kind.OPAQUE, infer=_infer, flops=_products)
for _name in ("Scaler", "Normalizer", "Imputer", "Binarizer"):
    declare(f"{DOMAIN}.{_name}", Kind.OPAQUE, infer=_same_shape)
declare(f"{DOMAIN}.SVMRegressor", Kind.OPAQUE, infer=_regressor("targets"), flops=_kernels)
declare(
    f"{DOMAIN}.SVMClassifier",
    Kind.OPAQUE,
    infer=_classifier("classlabels_ints", "classlabels_strings"),
    flops=_kernels,
)
declare(f"{DOMAIN}.ArrayFeatureExtractor", Kind.OPAQUE, infer=_chosen_columns, flops=no_flops)
