"""Every kind of bad model and bad argument: the whole message, in the user's own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_kit import model, node, value

from optc.errors import ModelError, OptcError, UsageError
from optc.frontends import load_model

X = [value("x", [2, 3])]


def message(broken: object, **arguments: object) -> str:
    with pytest.raises(OptcError) as error:
        load_model(broken, **arguments)  # type: ignore[arg-type]
    assert error.value.exit_code == (2 if isinstance(error.value, UsageError) else 1)
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "There is no such model file\n  at {path}\n  hint: ONNX files in that folder: other.onnx"),
        (b"", "The model file is empty\n  at {path}\n  hint: Download or export it again."),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "The model file is a Git LFS pointer\n  at {path}\n  hint: Run `git lfs pull` in its repository.",
        ),
        (
            b"\x89PNG\r\n",
            "The file is not an ONNX model, or it is truncated\n  at {path}\n"
            "  its 6 bytes are no ModelProto message\n"
            "  hint: Download or export it again; `optc` reads .onnx and .pt2 files.",
        ),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes | None, expected: str) -> None:
    (tmp_path / "other.onnx").touch()
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    assert message(path) == expected.format(path=path)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    whole = model([node("Add", "x w", "y")], X, ["y"], {"w": np.ones(300, np.float32)}).SerializeToString()
    for kept in (len(whole) // 2, len(whole) - 1, 10):
        path.write_bytes(whole[:kept])
        assert message(path).startswith("The file is not an ONNX model, or it is truncated")


def test_a_folder(tmp_path: Path) -> None:
    assert message(tmp_path) == (
        f"The model is a folder, not a file\n  at {tmp_path}\n  hint: Name the .onnx file in it."
    )


def test_a_checkpoint_without_a_graph(tmp_path: Path) -> None:
    (tmp_path / "net.pth").touch()
    assert message(tmp_path / "net.pth") == (
        "The file is a PyTorch checkpoint, which holds no graph that optc can read\n"
        f"  at {tmp_path / 'net.pth'}\n"
        "  hint: Export it to ONNX, or save it with torch.export.save as .pt2."
    )


def test_no_model_at_all() -> None:
    assert message(3).startswith("A builtins.int is no model")


def test_cycle() -> None:
    nodes = [node("Add", "x c", "a", "first"), node("Relu", "a", "b", "second"), node("Neg", "b", "c", "third")]
    assert message(model(nodes, X, ["c"])) == (
        "The graph has a cycle\n"
        "  at the model 'net'\n"
        "  these nodes read each other: 'first' → 'second' → 'third' → 'first'\n"
        "  hint: A loop must be written as a Loop node; export the model again."
    )


def test_missing_initializer() -> None:
    broken = model([node("MatMul", "x weight", "y", "fc")], X, ["y"], {"weights": np.ones((3, 3), np.float32)})
    assert message(broken) == (
        "The node 'fc' (MatMul) reads 'weight', which is no input, initializer or node output\n"
        "  at the model 'net'\n"
        "  hint: Did the exporter mean 'weights'?"
    )


def test_missing_output() -> None:
    assert message(model([node("Relu", "x", "y")], X, ["yy"])) == (
        "The graph output 'yy' is no input, initializer or node output\n"
        "  at the model 'net'\n"
        "  hint: Did the exporter mean 'y'?"
    )


def test_names_defined_twice() -> None:
    assert message(model([node("Relu", "x", "y", "a"), node("Neg", "x", "y", "b")], X, ["y"])) == (
        "The name 'y' is defined twice\n"
        "  at the model 'net'\n"
        "  by the nodes 'a' and 'b'\n"
        "  hint: Every value of an ONNX graph must have a name of its own; export the model again."
    )


def test_unknown_operation() -> None:
    assert message(model([node("Convolution", "x", "y")], X, ["y"])) == (
        "The node 'Convolution_0' uses the unknown operation 'Convolution'\n"
        "  at the model 'net'\n"
        "  ONNX opset 17 has no such operation\n"
        "  hint: Export the model with standard operations."
    )


def test_operation_newer_than_the_opset() -> None:
    assert message(model([node("Gelu", "x", "y", "act")], X, ["y"], opset=17)) == (
        "The node 'act' uses 'Gelu', which ONNX opset 17 does not have\n"
        "  at the model 'net'\n"
        "  it came with opset 20\n"
        "  hint: Export the model with opset 20 or newer."
    )


def test_unknown_domain() -> None:
    assert message(model([node("Magic", "x", "y", "m", domain="acme.ai")], X, ["y"], acme_ai=1)) == (
        "The node 'm' uses the unknown operation 'Magic' of the domain 'acme.ai'\n"
        "  at the model 'net'\n"
        "  neither ONNX, onnxruntime nor a function of the model defines it\n"
        "  hint: Export the model with standard ONNX operations, or with the operation's function body."
    )


def test_opsets_out_of_range() -> None:
    newest = onnx.defs.onnx_opset_version()
    assert message(model([node("Relu", "x", "y")], X, ["y"], opset=99)) == (
        "The model uses ONNX opset 99, which is newer than this optc knows\n"
        "  at the model 'net'\n"
        f"  the installed onnx {onnx.__version__} knows opsets up to {newest}\n"
        "  hint: Upgrade the onnx package, or export the model with an older opset."
    )
    assert message(model([node("Add", "x x", "y", "sum")], X, ["y"], opset=5)) == (
        "The node 'sum' uses 'Add' of ONNX opset 5, which is too old\n"
        "  at the model 'net'\n"
        "  optc reads opsets from 6 on, which changed the operation\n"
        "  hint: Convert the model with onnx.version_converter.convert_version(model, 6)."
    )


def test_shape_mismatch() -> None:
    broken = model([node("MatMul", "x w", "y", "fc")], X, ["y"], {"w": np.ones((4, 5), np.float32)})
    assert message(broken) == (
        "The node 'fc' (MatMul, opset 17) cannot be imported\n"
        "  at the model 'net'\n"
        "  the matrices (2, 3) and (4, 5) do not fit: 3 is not 4\n"
        "  hint: Its inputs: 'x' (2, 3), 'w' (4, 5)"
    )


def test_missing_attribute() -> None:
    assert message(model([node("Concat", "x x", "y", "cat")], X, ["y"])).splitlines()[2] == (
        "  its attribute 'axis' is missing"
    )


def test_nan_weights() -> None:
    weights = np.ones((3, 4), np.float32)
    weights[1, 2] = np.nan
    assert message(model([node("MatMul", "x fc.weight", "y")], X, ["y"], {"fc.weight": weights})) == (
        "The weight 'fc.weight' holds NaN\n"
        "  at the model 'net'\n"
        "  1 of its 12 elements is not a number\n"
        "  hint: The training diverged or the file is damaged; export the model again from good weights."
    )


def test_infinite_weights_are_masks() -> None:
    mask = np.array([-np.inf, 0, np.inf], np.float32)
    load_model(model([node("Add", "x mask", "y")], X, ["y"], {"mask": mask}))


def test_unsupported_element_type() -> None:
    broken = model([node("Identity", "z", "y")], [value("z", [2], onnx.TensorProto.FLOAT4E2M1)], ["y"], opset=23)
    assert message(broken) == (
        "The input 'z' cannot be imported\n  at the model 'net'\n  the element type FLOAT4E2M1 is not supported"
    )


def external(location: str, length: int = 24, offset: int = 0) -> onnx.ModelProto:
    """A model whose weight lies in a file."""
    made = model([node("Add", "x w", "y")], X, ["y"], {"w": np.ones((2, 3), np.float32)})
    (tensor,) = made.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, item in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(item))
    return made


@pytest.mark.parametrize(
    ("location", "length", "expected"),
    [
        (
            "w.bin", 24,
            "The file 'w.bin' with the weight 'w' is truncated\n  at {path}\n  24 bytes are needed, it has 20\n"
            "  hint: Download or export it again.",
        ),
        (
            "gone.bin", 24,
            "The weight 'w' lies in the file 'gone.bin', which is missing\n  at {path}\n"
            "  hint: Put the file next to the model.",
        ),
        (
            "../w.bin", 24,
            "The weight 'w' points outside the model's folder\n  at {path}\n  its location is '../w.bin'\n"
            "  hint: External data must lie next to the model; move it there and export again.",
        ),
        (
            "w.bin", 20,
            "The weight 'w' cannot be read\n  at {path}\n  it is stored in 20 bytes where its shape (2, 3) needs 24\n"
            "  hint: The file is damaged or unusual; export the model again.",
        ),
    ],
)  # fmt: skip
def test_external_data(tmp_path: Path, location: str, length: int, expected: str) -> None:
    path = tmp_path / "net.onnx"
    (tmp_path / "w.bin").write_bytes(bytes(20))
    path.write_bytes(external(location, length).SerializeToString())
    assert message(path) == expected.format(path=path)


def test_external_data_without_a_path() -> None:
    assert message(external("w.bin")) == (
        "The weight 'w' lies in the file 'w.bin', which only the model's path can locate\n"
        "  at the model 'net'\n"
        "  hint: Pass the path of the model file instead of its content."
    )


DYNAMIC = [value("images", ["batch", 3, None, 8]), value("scale", ["batch"])]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"shapes": {"image": [1, 3, 4, 8]}},
            "The model has no input 'image'\n  at the model 'net'\n"
            "  hint: Did you mean 'images'? Its inputs: images (batch, 3, images_dim2, 8), scale (batch,)",
        ),
        (
            {"shapes": {"images": [1, 3, 4]}},
            "The input 'images' has 4 dimensions, not 3\n  at the model 'net'\n"
            "  the model declares (batch, 3, images_dim2, 8), the given shape is (1, 3, 4)",
        ),
        (
            {"shapes": {"images": [1, 4, 4, 8]}},
            "Dimension 1 of the input 'images' is fixed to 3 and cannot be 4\n  at the model 'net'\n"
            "  the model declares (batch, 3, images_dim2, 8), the given shape is (1, 4, 4, 8)\n"
            "  hint: Export the model with a dynamic dimension there, or give the fixed value.",
        ),
        (
            {"shapes": {"images": [1, 3, 4, 8], "scale": [2]}},
            "The dimension 'batch' cannot be both 1 and 2\n  at the model 'net'\n"
            "  the shape (1, 3, 4, 8) of 'images' gives 1, the shape (2,) of 'scale' gives 2",
        ),
        (
            {"dims": {"bath": 1}},
            "The model has no dimension 'bath'\n  at the model 'net'\n"
            "  hint: Did you mean 'batch'? Its dimensions: batch, images_dim2",
        ),
        (
            {"dims": {"batch": -1}},
            "The dimension 'batch' must be of whole numbers from 0 up, not -1\n  at the model 'net'",
        ),
    ],
)
def test_binding(arguments: dict, expected: str) -> None:
    made = model([node("Relu", "images", "y"), node("Neg", "scale", "z")], DYNAMIC, ["y", "z"])
    assert message(made, **arguments) == expected


def test_damaged_bytes_never_escape_as_other_errors() -> None:
    """Single bytes changed, removed and inserted anywhere in files with nodes, attributes, functions and branches."""
    branch = helper.make_graph([node("Relu", "x", "t")], "branch", [], [value("t", None)])
    choice = helper.make_node("If", ["c"], ["i"], then_branch=branch, else_branch=branch)
    nodes = [
        node("Conv", "x w", "h", "conv", pads=[1, 1, 1, 1], strides=[1, 1]),
        node("Shape", "h", "s"),
        node("Reshape", "h s", "r"),
        node("Concat", "r r", "k", axis=1),
        node("Slice", "k a b", "y"),
        choice,
    ]
    weights = {"w": np.ones((2, 3, 3, 3), np.float32), "a": np.array([0]), "b": np.array([1]), "c": np.array(True)}
    whole = model(nodes, [value("x", ["n", 3, 4, 4])], ["y", "i"], weights).SerializeToString()
    random = np.random.default_rng(0)
    kinds = set()
    for _ in range(1500):
        data = bytearray(whole)
        place = int(random.integers(len(data)))
        edit = random.integers(3)
        data[place : place + (edit != 2)] = bytes([int(random.integers(256))]) if edit else b""
        try:
            load_model(bytes(data))
            kinds.add("loaded")
        except OptcError as error:
            assert str(error)
            kinds.add("refused")
    assert kinds == {"loaded", "refused"}


def test_function_that_calls_itself() -> None:
    made = model([node("F", "x", "y", domain="own")], X, ["y"], own=1)
    body = helper.make_function(
        "own", "F", ["a"], ["b"], [node("F", "a", "b", domain="own")], [helper.make_opsetid("own", 1)]
    )
    made.functions.append(body)
    assert message(made).splitlines()[0] == "The function 'F' calls itself"


def test_errors_are_of_the_two_kinds() -> None:
    assert issubclass(ModelError, OptcError) and issubclass(UsageError, OptcError)
