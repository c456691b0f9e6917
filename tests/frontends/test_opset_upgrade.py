"""Old models mean in the IR what they meant in their opset: the original in onnxruntime is the oracle."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

from optc.frontends.onnx_frontend import load
from optc.ops.evaluate import evaluate_graph

SHAPE = (2, 4, 6)
INDEX = {"ArgMax": onnx.TensorProto.INT64}  # element types of results that are not float
IMAGE = (1, 4, 4, 6)


def one(op_type: str, opset: int, *weights: object, shape: tuple[int, ...] = SHAPE, outputs: str = "y", **attributes):  # type: ignore[no-untyped-def]
    """A model of one node of `x` and constant inputs."""
    names = [f"w{i}" for i in range(len(weights))]
    made = node(op_type, " ".join(["x", *names]), outputs, **attributes)
    given = dict(zip(names, weights, strict=True))
    return pytest.param(
        model([made], [value("x", shape)], [value(outputs.split()[0], None, INDEX.get(op_type, 1))], given, opset),
        id=f"{op_type}-{opset}-{'-'.join(attributes)}",
    )


def ints(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


ONES = np.ones(4, np.float32)
GRID = np.linspace(-1, 1, 24, dtype=np.float32).reshape(1, 3, 4, 2)
BOX = np.array([[0, 0, 3, 3]], np.float32)


@pytest.mark.parametrize(
    "made",
    [
        one("BatchNormalization", 7, ONES, ONES, ONES, ONES * 2, shape=IMAGE, spatial=1),
        one("BatchNormalization", 9, ONES, ONES, ONES, ONES * 2, shape=IMAGE),
        one("Upsample", 7, shape=IMAGE, mode="nearest", scales=[1.0, 1.0, 2.0, 3.0]),
        one("Upsample", 9, np.array([1, 1, 2, 2], np.float32), shape=IMAGE, mode="linear"),
        one("Resize", 10, np.array([1, 1, 2, 0.5], np.float32), shape=IMAGE, mode="nearest"),
        one("Resize", 10, np.array([1, 1, 2, 2], np.float32), shape=IMAGE, mode="linear"),
        one("Slice", 7, starts=[1, -3], ends=[9, -1], axes=[1, 2]),
        one("Slice", 9, starts=[0], ends=[1]),
        one("TopK", 7, k=2, axis=1, outputs="y i"),
        one("TopK", 10, ints(3), axis=-1, outputs="y i"),
        one("Clip", 7, min=-0.25, max=0.5),
        one("Clip", 7, max=0.5),
        one("Pad", 7, pads=[0, 1, 0, 2, 0, 0], value=3.0),
        one("Pad", 7, pads=[0, 1, 0, 2, 0, 0], mode="edge"),
        one("Dropout", 7, ratio=0.3),
        one("Dropout", 10, ratio=0.3),
        one("Softmax", 7, axis=1),
        one("Softmax", 11, axis=2),
        one("LogSoftmax", 11, axis=0),
        one("Hardmax", 11, axis=1),
        one("Unsqueeze", 7, axes=[0, 3]),
        one("Squeeze", 7, shape=(1, 4, 1), axes=[0]),
        one("Squeeze", 7, shape=(1, 4, 1)),
        one("ReduceSum", 11, axes=[0, -1], keepdims=0),
        one("ReduceSum", 11),
        one("ReduceMean", 13, axes=[1], keepdims=0),
        one("ReduceMax", 11, axes=[1], keepdims=1),
        one("ReduceL2", 11),
        one("Split", 7, axis=1, split=[1, 3], outputs="y z"),
        one("Split", 11, axis=2, outputs="y z"),
        one("Split", 13, axis=2, outputs="y z"),
        one("Scatter", 9, ints(1, 0).reshape(1, 1, 2), np.full((1, 1, 2), 7, np.float32), axis=2),
        one("GridSample", 16, GRID, shape=IMAGE, mode="bilinear"),
        one("GridSample", 16, GRID, shape=IMAGE, mode="bicubic"),
        one("RoiAlign", 10, BOX, ints(0), shape=IMAGE, output_height=2, output_width=2),
        one("ArgMax", 11, axis=1),
        one("Gemm", 9, np.ones((6, 3), np.float32), np.ones(3, np.float32), shape=(2, 6), alpha=0.5),
        one("DFT", 17, shape=(1, 4, 1), axis=1),
    ],
)  # fmt: skip
def test_same_numbers(made: onnx.ModelProto) -> None:
    shape = tuple(dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    module = load(made)
    assert module.main.outputs[0].shape == expected.shape
    (result,) = evaluate_graph(module.main, [x])
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("op_type", "weight", "attributes", "aligned"),
    [
        ("Add", np.arange(4, dtype=np.float32), {"broadcast": 1, "axis": 1}, (4, 1)),
        ("Mul", np.arange(8, dtype=np.float32).reshape(2, 4), {"broadcast": 1, "axis": 0}, (2, 4, 1)),
        ("Sub", np.arange(6, dtype=np.float32), {"broadcast": 1}, (6,)),
        ("Div", np.arange(1, 5, dtype=np.float32), {"broadcast": 1, "axis": -2}, (4, 1)),
        ("PRelu", np.arange(4, dtype=np.float32), {}, (4, 1)),
        ("PRelu", np.array([0.5], np.float32), {}, (1,)),
    ],
)
def test_opset_6_aligned_axes_from_the_left(
    op_type: str, weight: np.ndarray, attributes: dict, aligned: tuple[int, ...]
) -> None:
    """No onnxruntime kernel exists for opset 6: NumPy is the oracle."""
    x = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    module = load(model([node(op_type, "x w", "y", **attributes)], [value("x", SHAPE)], ["y"], {"w": weight}, 6))
    w = weight.reshape(aligned)
    functions = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Div": np.divide}
    expected = np.where(x < 0, w * x, x) if op_type == "PRelu" else functions[op_type](x, w)
    np.testing.assert_allclose(evaluate_graph(module.main, [x])[0], expected, rtol=1e-6)


def test_opset_6_scaled_by_attributes() -> None:
    nodes = [node("Upsample", "x", "y", height_scale=2.0, width_scale=3.0)]
    module = load(model(nodes, [value("x", [1, 1, 2, 2])], ["y"], {}, 6))
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(evaluate_graph(module.main, [x])[0], x.repeat(2, axis=2).repeat(3, axis=3))


def test_group_normalization_had_one_scale_a_group() -> None:
    """No onnxruntime kernel exists for opset 18: the definition itself is the oracle."""
    scale, bias = np.array([2, 3], np.float32), np.array([-1, 1], np.float32)
    nodes = [node("GroupNormalization", "x s b", "y", num_groups=2)]
    module = load(model(nodes, [value("x", [1, 4, 5])], ["y"], {"s": scale, "b": bias}, 18))
    x = np.random.default_rng(2).normal(size=(1, 4, 5)).astype(np.float32)
    groups = x.reshape(1, 2, 10)
    normal = (groups - groups.mean(-1, keepdims=True)) / np.sqrt(groups.var(-1, keepdims=True) + 1e-5)
    expected = (normal * scale[:, None] + bias[:, None]).reshape(x.shape)
    np.testing.assert_allclose(evaluate_graph(module.main, [x])[0], expected, rtol=1e-4, atol=1e-5)


def test_newer_attributes_with_their_default_are_dropped() -> None:
    nodes = [node("Range", "a b c", "y", stash_type=1)]
    inputs = {"a": np.int64(0), "b": np.int64(5), "c": np.int64(2)}
    module = load(model(nodes, [], [value("y", None, onnx.TensorProto.INT64)], inputs, 27))
    assert module.main.outputs[0].shape == (3,)


def test_what_was_removed_is_refused() -> None:
    nodes = [node("BatchNormalization", "x s s s s", "y", "norm", spatial=0)]
    with pytest.raises(Exception) as error:
        load(model(nodes, [value("x", [1, 4, 2])], ["y"], {"s": ONES}, 7))
    assert str(error.value) == (
        "The node 'norm' (BatchNormalization, opset 7) cannot be imported\n"
        "  at the model 'net'\n"
        "  spatial=0 (statistics for each position) was removed in opset 9\n"
        "  hint: Its inputs: 'x' (1, 4, 2), 's' (4,), 's' (4,), 's' (4,), 's' (4,)"
    )
