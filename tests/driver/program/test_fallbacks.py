"""What falls back to onnxruntime, and what neither side may run."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

import optc
from optc.driver.verification.verify import describe_difference
from optc.errors import ModelError
from optc.runtime.ort_session import first_line
from optc.runtime.verify import OutputError

I4, INT64, UINT8 = onnx.TensorProto.INT4, onnx.TensorProto.INT64, onnx.TensorProto.UINT8
X = value("x", [2, 3])


def compiled(made: onnx.ModelProto, **options: object) -> optc.Artifact:
    return optc.compile(made, tune=0, verify=False, **options)  # type: ignore[arg-type]


def refusal_of(made: onnx.ModelProto) -> str:
    with pytest.raises(ModelError) as error:
        compiled(made)
    return str(error.value)


def test_what_nobody_runs_is_refused_when_compiling() -> None:
    made = model(
        [node("ImageDecoder", "x", "y", "png")], [value("x", [80], UINT8)], [value("y", None, UINT8)], opset=20
    )
    lines = refusal_of(made).splitlines()
    assert lines[:2] == [
        "neither native code nor onnxruntime can run a part of the model",
        "  at onnx.ImageDecoder 'png'",
    ]
    assert lines[2].startswith("  native code: it has no native lowering; onnxruntime: ")
    assert "ImageDecoder" in lines[2] and "ONNXRuntimeError" not in lines[2]
    assert lines[3] == (
        "  hint: export the model with operations and element types that onnxruntime's CPU provider knows"
    )


def test_four_bit_integers_enter_and_leave_a_region() -> None:
    made = model(
        [node("Cast", "x", "y", "up", to=1), node("Cast", "y", "z", "down", to=I4)],
        [value("x", [5], I4)],
        [value("y", [5]), value("z", [5], I4)],
        opset=21,
    )
    x = np.array([-8, -1, 0, 3, 7]).astype(ml_dtypes.int4)
    outputs = compiled(made).run({"x": x})
    np.testing.assert_array_equal(outputs["y"], x.astype(np.float32))
    assert outputs["z"].dtype == x.dtype
    np.testing.assert_array_equal(outputs["z"].astype(int), x.astype(int))


def test_an_input_of_unknown_extent_may_be_returned_twice() -> None:
    """The host passes such values by name: each output needs one of its own."""
    made = model(
        [node("NonZero", "x", "i"), node("Identity", "i", "j")], [X], [value("i", None, INT64), value("j", None, INT64)]
    )
    x = np.array([[0, 1, 0], [2, 0, 3]], np.float32)
    results = compiled(made).run({"x": x})
    for name in ("i", "j"):
        np.testing.assert_array_equal(results[name], np.stack(np.nonzero(x)))


def test_sequences_and_optionals_pass_through() -> None:
    kind = onnx.helper.make_tensor_sequence_value_info
    made = model([node("Identity", "s", "t")], [kind("s", 1, [2])], [kind("t", 1, [2])])
    items = [np.ones(2, np.float32), np.zeros(2, np.float32)]
    (returned,) = compiled(made).run({"s": items}).values()
    assert [item.tolist() for item in returned] == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("scales", "fixed"),
    [([1, 1, 0.6, 0.6], True), ([1, 1, 2, 2], False)],
)
def test_aligned_corners_of_a_fractional_length(scales: list[float], fixed: bool) -> None:
    nodes = [node("Resize", "x - s", "y", "up", mode="linear", coordinate_transformation_mode="align_corners")]
    array = np.array(scales, np.float32)
    image = value("x", [1, 1, 2, 4])
    made = model(nodes, [image], ["y"], {"s": array}) if fixed else model(nodes, [image, value("s", [4])], ["y"])
    known = (
        "its scales give a length that is no whole number"
        if fixed
        else "scales that only the run knows may give a length that is no whole number"
    )
    assert refusal_of(made) == (
        "ONNX and onnxruntime disagree about what an operation computes\n"
        "  at onnx.Resize 'up'\n"
        f"  its corners are aligned, and {known}\n"
        "  hint: export the model with constant sizes instead"
    )


def test_aligned_corners_of_a_whole_length_are_native() -> None:
    nodes = [node("Resize", "x - s", "y", "up", mode="linear", coordinate_transformation_mode="align_corners")]
    made = model(nodes, [value("x", [1, 1, 2, 4])], ["y"], {"s": np.array([1, 1, 2, 1.5], np.float32)})
    assert compiled(made).manifest.fallbacks == ()


def test_unpooling_to_a_given_shape() -> None:
    nodes = [node("MaxUnpool", "x i s", "y", "unpool", kernel_shape=[2, 2], strides=[2, 2])]
    inputs = [value("x", [1, 1, 2, 2]), value("i", [1, 1, 2, 2], INT64)]
    made = model(nodes, inputs, ["y"], {"s": np.array([1, 1, 5, 5], np.int64)})
    assert refusal_of(made).splitlines()[:3] == [
        "ONNX and onnxruntime disagree about what an operation computes",
        "  at onnx.MaxUnpool 'unpool'",
        "  its indices count in the shape that the attributes imply, or in the given output_shape",
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : /build/core/graph/model.cc:256 "
            "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&) "
            "Unsupported model IR version: 14\nmore",
            "Unsupported model IR version: 14",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Status Message: static onnxruntime::TensorShapeVector "
            "onnxruntime::SqueezeBase::ComputeOutputShape(const onnxruntime::TensorShape&) "
            "Dimension of input 1 must be 1",
            "Status Message: Dimension of input 1 must be 1",
        ),
        (
            "Type Error: Type (optional(tensor(float))) of node (Loop_0)",
            "Type Error: Type (optional(tensor(float))) of node (Loop_0)",
        ),
        ("", "ValueError"),
    ],
)
def test_messages_of_onnxruntime_lose_their_noise(message: str, expected: str) -> None:
    assert first_line(ValueError(message)) == expected


def test_verification_is_skipped_where_no_random_inputs_fit() -> None:
    """A random scale is negative: onnxruntime refuses the source model, and nothing is learnt of the artifact."""
    made = model([node("Resize", "x - s", "y", "up")], [value("x", [1, 1, 2, 2]), value("s", [4])], ["y"], opset=19)
    skipped = optc.compile(made, tune=0).manifest.verification["skipped"]  # type: ignore[index]
    assert skipped.startswith("onnxruntime cannot run the reference model on these inputs: ")


def test_verification_is_skipped_for_strings() -> None:
    made = model(
        [node("Equal", "x x", "y")],
        [value("x", [2], onnx.TensorProto.STRING)],
        [value("y", [2], onnx.TensorProto.BOOL)],
        opset=19,
    )
    artifact = optc.compile(made, tune=0)
    assert artifact.manifest.verification == {"skipped": "random values cannot be made for input 'x'"}
    assert artifact.run({"x": np.array(["a", "b"], object)})["y"].all()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OutputError("y", False, np.inf, np.inf, -np.inf, False), "its shape or element type is another"),
        (OutputError("y", True, 1e-7, 1e-8, 90.0, False), "its infinities and NaNs are not in the same places"),
        (
            OutputError("y", True, 0.5, 0.25, 3.0, True),
            "largest error 0.5, 2.50e-01 of the output's range; allowed are 1e-03",
        ),
    ],
)
def test_a_failed_verification_says_what_differs(error: OutputError, why: str) -> None:
    assert describe_difference(error, 1e-3) == why
