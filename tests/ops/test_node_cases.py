"""Every declaration against the ONNX project's own node tests: types, and numbers of the reference evaluation."""

from __future__ import annotations

import warnings
from collections import defaultdict

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from optc.errors import ModelError
from optc.frontends.onnx_frontend import load
from optc.ir.core import Module
from optc.ir.types import TensorType
from optc.ops.declaration import declared
from optc.ops.evaluate import evaluate_graph
from optc.ops.parameters import PARAMETERS

CASES_PER_OPERATION = 5
# onnx's implementation of 3-d pooling takes seconds; Bernoulli has no right answer.
SKIPPED = {"test_averagepool_3d_default", "test_lppool_3d_default", "test_maxpool_3d_default"}
NAMES = sorted(name for name in declared() if name.startswith("onnx.") and declared()[name].deterministic)
WITHOUT_CASES = {"onnx.GlobalLpPool"}


@pytest.fixture(scope="session")
def node_cases() -> dict[str, list]:
    from onnx.backend.test.loader import load_node_model_tests

    found: dict[str, list] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in load_node_model_tests():
            for op_type in {node.op_type for node in case.model.graph.node}:
                if case.name not in SKIPPED and len(case.model.graph.node) == 1:
                    found[f"onnx.{op_type}"].append(case)
    return found


def spread(items: list, count: int) -> list:
    """`count` of the items, evenly over the list."""
    step = max(1, len(items) // count)
    return items[::step][:count]


def arrays_of(protos: list) -> list[np.ndarray]:
    return [numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item for item in protos]


def with_parameters_inside(case) -> onnx.ModelProto:  # type: ignore[no-untyped-def]
    """The model of a case with the inputs that its shapes depend on as initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (node,) = model.graph.node
    positions = [p for p in PARAMETERS.get(f"onnx.{node.op_type}", ()) if p < len(node.input)]
    for value, array in zip(case.model.graph.input, case.data_sets[0][0], strict=True):
        if value.name in {node.input[position] for position in positions}:
            tensor = array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(array)
            copy = model.graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = value.name
    return model


def check_types(module: Module, expected: list, static: bool) -> None:
    for value, array in zip(module.main.outputs, expected, strict=True):
        if not isinstance(array, np.ndarray):
            continue
        assert isinstance(value.type, TensorType)
        if array.dtype.kind not in "OUS":
            assert value.type.dtype.numpy == array.dtype
        shape = value.type.shape
        if static:
            assert shape == array.shape
        elif shape is not None:
            assert len(shape) == array.ndim
            assert all(dim == extent for dim, extent in zip(shape, array.shape, strict=True) if isinstance(dim, int))


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_node_tests_of_onnx(name: str, node_cases: dict[str, list]) -> None:
    cases = spread(node_cases[name], CASES_PER_OPERATION)
    assert cases or name in WITHOUT_CASES
    checked = 0
    for case in cases:
        inputs, outputs = (arrays_of(side) for side in case.data_sets[0])
        model = with_parameters_inside(case)
        inside = {tensor.name for tensor in model.graph.initializer}
        try:
            module = load(model)
        except ModelError as error:
            # Element types that optc does not have, and what opset 9 removed.
            assert "is not supported" in str(error) or "was removed" in str(error)
            continue
        check_types(module, outputs, static=name in PARAMETERS)
        feeds = [a for v, a in zip(model.graph.input, inputs, strict=True) if v.name not in inside]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = evaluate_graph(module.main, feeds)
        for result, array in zip(results, outputs, strict=True):
            if isinstance(array, np.ndarray) and array.dtype.kind in "fiubc":
                np.testing.assert_allclose(result, array, rtol=case.rtol, atol=case.atol, err_msg=case.name)
        checked += 1
    assert checked or not cases, f"no case of {name} could be imported"
