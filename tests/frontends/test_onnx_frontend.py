"""Importing whole ONNX models: order, functions, nested graphs, weights, binding; onnxruntime is the oracle."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_kit import model, node, value

from optc.frontends import load_model
from optc.frontends.onnx_frontend import load
from optc.ir.core import CONSTANT, Module
from optc.ops.evaluate import evaluate_graph
from optc.ops.onnx_export import to_onnx_model

RANDOM = np.random.default_rng(0)


def run(proto: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {v.name: array for v, array in zip(session.get_inputs(), inputs, strict=True)})


def agrees(proto: onnx.ModelProto, *inputs: np.ndarray) -> Module:
    """Import, then compare the interpreter, and the exported model in onnxruntime, with the original there."""
    expected = run(proto, *inputs)
    module = load(proto)
    for results in (evaluate_graph(module.main, inputs), run(to_onnx_model(module), *inputs)):
        for result, array in zip(results, expected, strict=True):
            np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-5)
            assert result.dtype == array.dtype
    for output, array in zip(module.main.outputs, expected, strict=True):
        assert output.shape == array.shape
    return module


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_unsorted_nodes_are_sorted() -> None:
    nodes = [node("Neg", "b", "y", "last"), node("Relu", "a", "b", "middle"), node("Abs", "x", "a", "first")]
    module = load(model(nodes, [value("x", [3])], ["y"]))
    assert [str(operation.location) for operation in module.main] == ["'first'", "'middle'", "'last'"]


def test_names_and_locations() -> None:
    module = load(model([node("Relu", "x", "hidden", "act"), node("Neg", "hidden", "y")], [value("x", [3])], ["y"]))
    relu, negated = module.main
    assert (relu.result.name, str(relu.location), str(negated.location)) == ("hidden", "'act'", "'Neg_1'")
    assert module.main.output_names == ["y"]
    assert module.metadata["opset"] == "17"


def test_initializers_that_are_inputs_too_are_constants() -> None:
    made = model([node("Add", "x w", "y")], [value("x", [3]), value("w", [3])], ["y"], {"w": [1, 2, 3]})
    module = load(made)
    assert [v.name for v in module.main.inputs] == ["x"]
    assert [operation.name for operation in module.main] == [CONSTANT, "onnx.Add"]


def test_model_functions_are_inlined() -> None:
    body = [
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        node("Mul", "a one", "same"),
        node("LeakyRelu", "same", "b"),
    ]
    reference = body[2].attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    assert reference.ref_attr_name
    function = helper.make_function("own", "Act", ["a"], ["b"], body, [helper.make_opsetid("", 17)], ["slope"])
    outer = helper.make_function(
        "own", "Twice", ["p"], ["q"],
        [node("Act", "p", "half", domain="own", slope=0.5), node("Act", "half", "q", domain="own", slope=0.1)],
        [helper.make_opsetid("own", 1)],
    )  # fmt: skip
    made = model([node("Twice", "x", "y", "block", domain="own")], [value("x", [2, 3])], ["y"], own=1)
    made.functions.extend([function, outer])
    module = agrees(made, floats(2, 3))
    slopes = [operation.attributes["alpha"] for operation in module.main if operation.name == "onnx.LeakyRelu"]
    np.testing.assert_allclose(slopes, [0.5, 0.1])
    assert {str(operation.location) for operation in module.main} == {"'block'"}
    assert module.main.outputs[0].name == "y"


def test_operations_that_onnx_defines_by_others() -> None:
    made = model([node("CenterCropPad", "x size", "y")], [value("x", [5, 7])], ["y"], {"size": np.array([3, 9])}, 18)
    module = agrees(made, floats(5, 7))
    assert "onnx.CenterCropPad" not in {operation.name for operation in module.walk()}


def test_branches_read_values_around_them() -> None:
    then = helper.make_graph([node("Add", "x bias", "t")], "then", [], [value("t", None)])
    otherwise = helper.make_graph([node("Mul", "x x", "e")], "else", [], [value("e", None)])
    nodes = [
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total zero", "positive"),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=otherwise),
    ]
    made = model(nodes, [value("x", [3])], ["y"], {"zero": np.float32(0), "bias": [1, 2, 3]})
    agrees(made, np.ones(3, np.float32))
    agrees(made, -np.ones(3, np.float32))


def test_a_loop_with_carried_and_stacked_values() -> None:
    body = helper.make_graph(
        [node("Identity", "go", "go_on"), node("Add", "s x", "next"), node("ReduceMax", "next", "top", keepdims=0)],
        "body",
        [value("i", [], onnx.TensorProto.INT64), value("go", [], onnx.TensorProto.BOOL), value("s", None)],
        [value("go_on", [], onnx.TensorProto.BOOL), value("next", None), value("top", None)],
    )
    loop = helper.make_node("Loop", ["trips", "", "start"], ["last", "tops"], body=body)
    made = model([loop], [value("x", [3])], ["last", "tops"], {"trips": np.int64(4), "start": [0, 0, 0]})
    module = load(made)
    assert module.main.outputs[0].shape == (3,)
    expected = run(made, np.arange(3, dtype=np.float32))
    for result, array in zip(evaluate_graph(module.main, [np.arange(3, dtype=np.float32)]), expected, strict=True):
        np.testing.assert_array_equal(result, array)


def test_a_branch_for_another_shape_is_tolerated() -> None:
    """A model may hold a branch that can only run on other inputs."""
    then = helper.make_graph([node("Squeeze", "x zero", "t")], "then", [], [value("t", None)])
    otherwise = helper.make_graph([node("Relu", "x", "e")], "else", [], [value("e", None)])
    choice = helper.make_node("If", ["which"], ["y"], then_branch=then, else_branch=otherwise)
    inputs = [value("x", ["n", 4]), value("which", [], onnx.TensorProto.BOOL)]
    made = model([choice], inputs, ["y"], {"zero": np.array([0])})
    module = load(made, shapes={"x": [2, 4]})
    assert module.main.outputs[0].shape == (2, 4)


def test_embedded_weights_are_views_of_the_message() -> None:
    module = load(model([node("Add", "x w", "y")], [value("x", [300])], ["y"], {"w": floats(300)}))
    (array,) = [operation.result.constant for operation in module.main if operation.name == CONSTANT]
    assert array is not None and array.base is not None and not array.flags.writeable


def test_a_weight_beyond_memory_is_mapped(tmp_path: Path) -> None:
    """More than two gigabytes in a sparse file: nothing of it may be copied."""
    import resource

    rows, columns = 1056, 1 << 19
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(rows * columns * 4)
    made = model([node("MatMul", "x w", "y")], [value("x", ["n", rows])], ["y"], {"w": np.ones(1, np.float32)})
    (tensor,) = made.graph.initializer
    tensor.ClearField("raw_data")
    tensor.ClearField("dims")
    tensor.dims.extend([rows, columns])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = load_model(tmp_path / "net.onnx", shapes={"x": [1, rows]})
    assert loaded.reference == tmp_path / "net.onnx"
    assert loaded.module.main.outputs[0].shape == (1, columns)
    (array,) = [op.result.constant for op in loaded.module.main if op.name == CONSTANT]
    assert array is not None and array.nbytes == rows * columns * 4
    assert isinstance(array.base, np.ndarray) and not array.flags.owndata
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 0.05 * array.nbytes


def test_shapes_bind_symbols_everywhere() -> None:
    inputs = [value("x", ["batch", 3]), value("z", ["batch", None])]
    made = model([node("Concat", "x z", "y", axis=1)], inputs, ["y"])
    assert load(made).main.outputs[0].tensor_type.shape is not None
    assert str(load(made).main.outputs[0].tensor_type.shape) == "(batch, z_dim1 + 3)"
    assert str(load(made, shapes={"x": [2, 3]}).main.outputs[0].tensor_type.shape) == "(2, z_dim1 + 3)"
    assert load(made, dims={"batch": 2, "z_dim1": 5}).main.outputs[0].shape == (2, 8)
    assert load(made, shapes={"x": [2, 3], "z": [2, 5]}).main.outputs[0].shape == (2, 8)


def test_question_marks_are_no_name() -> None:
    made = model([node("Relu", "x", "y")], [value("x", ["?", "?"])], ["y"])
    assert load(made, shapes={"x": [2, 5]}).main.outputs[0].shape == (2, 5)


def test_sequences_pass_through() -> None:
    nodes = [node("SequenceConstruct", "x x", "s"), node("ConcatFromSequence", "s", "y", axis=0)]
    module = load(model(nodes, [value("x", [2, 3])], ["y"]))
    first = next(iter(module.main))
    assert first.result.type.description == "seq(tensor(f32))"  # type: ignore[union-attr]
    (result,) = evaluate_graph(module.main, [np.ones((2, 3), np.float32)])
    assert result.shape == (4, 3)


def test_operations_of_onnxruntime() -> None:
    nodes = [
        node("FusedMatMul", "a b", "c", domain="com.microsoft", transB=1, alpha=0.5),
        node("QuickGelu", "c", "y", domain="com.microsoft", alpha=1.0),
    ]
    made = model(nodes, [value("a", [2, 4]), value("b", [3, 4])], ["y"], com_microsoft=1)
    agrees(made, floats(2, 4), floats(3, 4))
    wrong = model(nodes, [value("a", [2, 4]), value("b", [3, 5])], ["y"], com_microsoft=1)
    with pytest.raises(Exception, match="onnxruntime refuses it"):
        load(wrong)


def test_every_reference_kind() -> None:
    made = model([node("Relu", "x", "y")], [value("x", [2])], ["y"])
    assert load_model(made).reference == made.SerializeToString()
    assert load_model(made.SerializeToString()).reference == made.SerializeToString()
    assert load_model(made).name == "net"


@pytest.fixture(scope="module")
def light_models() -> dict[str, Path]:
    from onnx.backend.test.loader import DATA_DIR

    return {path.stem: path for path in Path(DATA_DIR, "light").glob("*.onnx")}


def test_whole_networks_have_the_shapes_that_onnxruntime_gives(light_models: dict[str, Path]) -> None:
    """The layers of classic networks (opset 9 files of the onnx package), one by one."""
    chosen = [path for name, path in light_models.items() if any(part in name for part in ("squeezenet", "shufflenet"))]
    assert chosen
    for path in chosen:
        proto = onnx.load(path)
        module = load(proto)
        kept = {v.name for v in proto.graph.output}
        for item in proto.graph.node:
            proto.graph.output.extend(
                onnx.ValueInfoProto(name=name) for name in item.output if name and name not in kept
            )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = {v.name: np.zeros(v.shape, v.dtype.numpy) for v in module.main.inputs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
        values = {result.name: result for operation in module.main for result in operation.results}
        assert arrays.keys() - values.keys() == set()
        assert {name: values[name].shape for name in arrays} == {name: array.shape for name, array in arrays.items()}
