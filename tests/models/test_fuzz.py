"""Random small graphs give the same numbers natively as in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import optc

Draw = Callable[[Any], Any]
OPSET = 18


class GraphMaker:
    """Builds a valid graph from drawn choices; `values` maps the float tensors made so far to their shapes."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict[str, tuple[int, ...]] = {}
        self.random = np.random.default_rng(draw(st.integers(0, 2**16)))

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(
            (self.random.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)
        )

    def add(self, kind: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{kind}_{len(self.nodes)}", **attributes))
        self.values[name] = shape

    def any_value(self, rank: int | None = None) -> str | None:
        fitting = [name for name, shape in self.values.items() if rank is None or len(shape) == rank]
        return self.draw(st.sampled_from(fitting)) if fitting else None

    def step(self) -> None:
        getattr(self, self.draw(st.sampled_from(STEPS)))()

    def unary(self) -> None:
        name = self.any_value()
        kinds = (
            "Relu",
            "Sigmoid",
            "Tanh",
            "HardSwish",
            "Erf",
            "Abs",
            "Neg",
            "Softplus",
            "LeakyRelu",
            "Softsign",
            "Floor",
        )
        self.add(self.draw(st.sampled_from(kinds)), [name], self.values[name])

    def binary(self) -> None:
        left = self.any_value()
        same = [name for name, shape in self.values.items() if shape == self.values[left]]
        kind = self.draw(st.sampled_from(("Add", "Mul", "Sub", "Max", "Min")))
        self.add(kind, [left, self.draw(st.sampled_from(same))], self.values[left])

    def per_channel(self) -> None:
        name = self.any_value(rank=4)
        if name is not None:
            kind = self.draw(st.sampled_from(("Add", "Mul")))
            self.add(kind, [name, self.weights(1, self.values[name][1], 1, 1)], self.values[name])

    def convolution(self) -> None:
        name = self.any_value(rank=4)
        if name is None:
            return
        n, c, h, w = self.values[name]
        depthwise = self.draw(st.booleans())
        out = c if depthwise else self.draw(st.integers(1, 20))
        kernel = self.draw(st.sampled_from((1, 3, 5)))
        stride = self.draw(st.sampled_from((1, 2)))
        pads = [self.draw(st.integers(0, kernel // 2)) for _ in range(4)]
        rows, columns = (h + pads[0] + pads[2] - kernel) // stride + 1, (w + pads[1] + pads[3] - kernel) // stride + 1
        if rows < 1 or columns < 1:
            return
        weights = self.weights(out, 1 if depthwise else c, kernel, kernel)
        group = c if depthwise else 1
        self.add(
            "Conv", [name, weights, self.weights(out)], (n, out, rows, columns),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group,
        )  # fmt: skip

    def pool(self) -> None:
        name = self.any_value(rank=4)
        if name is None or min(self.values[name][2:]) < 3:
            return
        n, c, h, w = self.values[name]
        kind = self.draw(st.sampled_from(("MaxPool", "AveragePool")))
        self.add(kind, [name], (n, c, (h - 1) // 2, (w - 1) // 2), kernel_shape=[3, 3], strides=[2, 2])

    def matmul(self) -> None:
        name = self.any_value()
        shape = self.values[name]
        out = self.draw(st.integers(1, 40))
        self.add("MatMul", [name, self.weights(shape[-1], out)], (*shape[:-1], out))

    def reduce(self) -> None:
        name = self.any_value()
        shape = self.values[name]
        axis = self.draw(st.integers(0, len(shape) - 1))
        kind = self.draw(st.sampled_from(("ReduceMean", "ReduceMax", "ReduceSum")))
        axes = self.constant(np.array([axis], np.int64))
        self.add(kind, [name, axes], (*shape[:axis], 1, *shape[axis + 1 :]), keepdims=1)

    def softmax(self) -> None:
        name = self.any_value()
        self.add("Softmax", [name], self.values[name], axis=self.draw(st.integers(0, len(self.values[name]) - 1)))

    def transpose(self) -> None:
        name = self.any_value()
        order = self.draw(st.permutations(range(len(self.values[name]))))
        self.add("Transpose", [name], tuple(self.values[name][axis] for axis in order), perm=list(order))

    def concat(self) -> None:
        name = self.any_value()
        shape = self.values[name]
        axis = self.draw(st.integers(0, len(shape) - 1))
        self.add("Concat", [name, name], (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :]), axis=axis)

    def flatten(self) -> None:
        name = self.any_value()
        shape = self.values[name]
        target = self.constant(np.array([shape[0], -1], np.int64))
        self.add("Reshape", [name, target], (shape[0], int(np.prod(shape[1:]))))

    def slice(self) -> None:
        name = self.any_value()
        shape = self.values[name]
        axis = self.draw(st.integers(0, len(shape) - 1))
        start = self.draw(st.integers(0, shape[axis] - 1))
        bounds = [self.constant(np.array([number], np.int64)) for number in (start, shape[axis], axis)]
        self.add("Slice", [name, *bounds], (*shape[:axis], shape[axis] - start, *shape[axis + 1 :]))

    def model(self, inputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        outputs = [name for name in self.values if name not in used and name not in inputs]
        graph = helper.make_graph(
            self.nodes,
            "fuzz",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.values[name]) for name in outputs],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


STEPS = (
    "unary", "unary", "binary", "binary", "per_channel", "convolution", "convolution", "convolution", "pool", "matmul",
    "reduce", "softmax", "transpose", "concat", "flatten", "slice",
)  # fmt: skip


@st.composite
def models(draw: Draw) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    maker = GraphMaker(draw)
    shapes = {"x": (1, draw(st.integers(1, 20)), draw(st.integers(3, 14)), draw(st.integers(3, 14)))}
    maker.values.update(shapes)
    while len(maker.nodes) < 3:
        maker.step()
    for _ in range(draw(st.integers(0, 9))):
        maker.step()
    inputs = {name: maker.random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return maker.model(shapes), inputs


@settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(models())
def test_random_graphs_equal_onnxruntime(case: tuple[onnx.ModelProto, dict[str, np.ndarray]]) -> None:
    model, inputs = case
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = dict(zip([node.name for node in session.get_outputs()], session.run(None, inputs), strict=True))
    with optc.compile(model, tune=0, threads=2, verify=False, verify_each=True) as artifact:
        actual = artifact.run(inputs)
    assert actual.keys() == expected.keys()
    for name, reference in expected.items():
        scale = float(np.abs(reference).max()) or 1.0
        np.testing.assert_allclose(actual[name], reference, rtol=1e-4, atol=1e-4 * scale, err_msg=name)
