"""A compiled model as an operator of onnxruntime, against the plain artifact and the source model."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from native_kit import SIZE, weighted_sum
from onnx_kit import model, node, value

from optc import driver
from optc.backends.host.custom_op import custom_op
from optc.backends.host.entry import emit_entry
from optc.backends.host.platform import POSIX
from optc.errors import UsageError
from optc.runtime import load
from optc.toolchain import find_compiler


def made(name: str, kernels: bytes, factor: float) -> dict[str, bytes]:
    """An operator of hand-made kernels; what it gives differs by its weights."""
    program, weights = weighted_sum()
    scaled = (np.float32(factor) * np.frombuffer(weights, np.float32)).tobytes()
    return custom_op(name, program, emit_entry(program, name, 1), [kernels], [scaled], find_compiler(), POSIX)


@pytest.fixture(scope="module")
def folder(kernels: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("operators")
    for name, factor in (("first", 1.0), ("second", 3.0)):
        for file, content in made(name, kernels, factor).items():
            (path / file).write_bytes(content)
    return path


def options_of(folder: Path, *names: str) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    for name in names:
        options.register_custom_ops_library(str(folder / f"lib{name}_ort.so"))
    return options


def session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / f"{name}_ort.onnx"), options_of(folder, name))


def data(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)


def wanted(x: np.ndarray, factor: float) -> np.ndarray:
    return 2 * (x + np.float32(factor) * np.frombuffer(weighted_sum()[1], np.float32)[:SIZE])


@pytest.mark.parametrize(("name", "factor"), [("first", 1.0), ("second", 3.0)])
def test_one_node_is_the_whole_model(name: str, factor: float, folder: Path) -> None:
    found = session(folder, name)
    (given,), outputs = found.get_inputs(), found.get_outputs()
    program, _ = weighted_sum()
    assert (given.name, given.type, given.shape) == (program.inputs[0].name, "tensor(float)", [SIZE])
    assert [each.name for each in outputs] == [each.name for each in program.outputs]
    for seed in range(3):
        result, weights = found.run(None, {given.name: data(seed)})
        np.testing.assert_allclose(result, wanted(data(seed), factor), rtol=1e-5)
        np.testing.assert_allclose(weights, factor * np.arange(SIZE), rtol=1e-6)


def test_one_session_in_several_threads(folder: Path) -> None:
    found = session(folder, "first")
    name = found.get_inputs()[0].name
    wrong: list[int] = []

    def work(seed: int) -> None:
        exact = wanted(data(seed), 1.0)
        wrong.extend(seed for _ in range(50) if not np.allclose(found.run(None, {name: data(seed)})[0], exact, 1e-5))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_models_among_other_nodes_in_one_session(folder: Path) -> None:
    nodes = [
        node("Neg", "x", "n"),
        node("first", "n", "a w", domain="optc.first"),
        node("second", "a", "b v", domain="optc.second"),
        node("Neg", "b", "y"),
    ]
    net = model(nodes, [value("x", [SIZE])], [value("y", [SIZE])], optc_first=1, optc_second=1)
    found = onnxruntime.InferenceSession(net.SerializeToString(), options_of(folder, "first", "second"))
    (result,) = found.run(None, {"x": data(5)})
    np.testing.assert_allclose(result, -wanted(wanted(-data(5), 1.0), 3.0), rtol=1e-5)


def test_another_shape_is_refused(folder: Path) -> None:
    loose = onnx.load(folder / "first_ort.onnx")
    loose.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    for output in loose.graph.output:
        output.type.tensor_type.ClearField("shape")
    found = onnxruntime.InferenceSession(loose.SerializeToString(), options_of(folder, "first"))
    name = found.get_inputs()[0].name
    text = f"first: the input '{name}' has another shape than the model was compiled for"
    with pytest.raises(Exception, match=text):
        found.run(None, {name: np.zeros(SIZE + 1, np.float32)})
    np.testing.assert_allclose(found.run(None, {name: data(0)})[0], wanted(data(0), 1.0), rtol=1e-5)


def test_a_session_without_the_library_is_refused_and_one_after_another_is_made(folder: Path) -> None:
    with pytest.raises(Exception, match=r"optc\.first"):
        onnxruntime.InferenceSession(str(folder / "first_ort.onnx"))
    for _ in range(3):
        found = session(folder, "first")
        assert found.run(None, {found.get_inputs()[0].name: data(1)})[0].shape == (SIZE,)
        del found


def test_the_same_model_gives_the_same_bytes(folder: Path, kernels: bytes) -> None:
    assert {name: (folder / name).read_bytes() for name in ("libfirst_ort.so", "first_ort.onnx")} == made(
        "first", kernels, 1.0
    )


def two_results() -> onnx.ModelProto:
    """Two inputs and two outputs of several types and ranks, one of them no more than a number."""
    weights = {"w": np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32), "axes": np.array([0, 1])}
    nodes = [
        node("MatMul", "x w", "m", "product"),
        node("Add", "m b", "s"),
        node("Relu", "s", "y"),
        node("ReduceSum", "y axes", "total", keepdims=0),
        node("Greater", "s b", "above"),
    ]
    inputs = [value("x", [3, 6]), value("b", [4])]
    outputs = [value("y", [3, 4]), value("total", []), value("above", [3, 4], onnx.TensorProto.BOOL)]
    return model(nodes, inputs, outputs, weights, opset=18)


def test_a_compile_writes_an_operator_that_gives_what_the_artifact_gives(tmp_path: Path) -> None:
    output = tmp_path / "out"
    driver.compile(two_results(), output=output, tune=0, threads=1, emit=["ort-custom-op"], library_name="pair")
    found = session(output, "pair")
    assert [(each.name, each.type, each.shape) for each in found.get_outputs()] == [
        ("y", "tensor(float)", [3, 4]), ("total", "tensor(float)", []), ("above", "tensor(bool)", [3, 4]),
    ]  # fmt: skip
    random = np.random.default_rng(0)
    given = {name: random.standard_normal(shape).astype(np.float32) for name, shape in (("x", (3, 6)), ("b", (4,)))}
    reference = onnxruntime.InferenceSession(two_results().SerializeToString()).run(None, given)
    with load(output, threads=1) as artifact:
        exact = artifact.run(given)
    for name, result, other in zip(exact, found.run(None, given), reference, strict=True):
        np.testing.assert_array_equal(result, exact[name])
        np.testing.assert_allclose(result, other, rtol=1e-5, atol=1e-5)


def test_what_onnxruntime_computes_itself_makes_no_operator(tmp_path: Path) -> None:
    net = model([node("Relu", "x", "a"), node("Det", "a", "y", "det")], [value("x", [3, 3])], [value("y", [])])
    with pytest.raises(UsageError, match="an operator cannot call it") as caught:
        driver.compile(net, output=tmp_path / "out", tune=0, emit=["ort-custom-op"])
    assert "det" in str(caught.value.why) and not (tmp_path / "out").exists()
