"""A cross-section of the ONNX project's backend tests, end to end; benchmarks/onnx_backend.py runs all of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import optc
from optc.errors import ModelError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.onnx_suite import Loaded, cases, judge, load_case, with_constants

NATIVE = """
    add_bcast and4d argmax_keepdims_example averagepool_2d_ceil batchnorm_example cast_DOUBLE_to_FLOAT16
    cast_FLOAT_to_BFLOAT16 celu_bfloat16_expanded clip_splitbounds concat_3d_axis_1 basic_conv_with_padding
    convtranspose_pads depthtospace_crd_mode_example div_int16 einsum_batch_matmul elu_example equal_bcast
    flatten_axis2 gather_elements_1 gather_negative_indices gathernd_example_int32_batch_dim1 gelu_tanh_1
    gemm_default_matrix_bias globalaveragepool greater_equal_expanded group_normalization_example hardswish
    instancenorm_example isinf layer_normalization_4d_axis1 leakyrelu logsoftmax_axis_1 lppool_2d_pads lrn
    matmul_4d matmulinteger maxpool_2d_dilations mean_two_inputs mod_mixed_sign_int64 mvn
    pow_types_float32_int64 prelu_broadcast qlinearconv qlinearmatmul_2D_int8_float32 quantizelinear_axis
    relu rms_normalization_4d_axis1 round sce_NCd1d2d3d4d5_mean_weight_expanded selu softmax_axis_0 softplus
    split_equal_parts_2d_opset13 sub_uint8 tan transpose_all_permutations_3 where_example xor_bcast4v3d
""".split()
"""Run without onnxruntime."""

NATIVE_ONCE_CONSTANT = """
    edge_pad expand_dim_changed onehot_with_axis reduce_log_sum_exp_do_not_keepdims_random
    reduce_max_negative_axes_keepdims_example reshape_reordered_last_dims resize_upsample_scales_linear
    slice_negative_axes split_variable_parts_2d_opset13 tile triu_neg unsqueeze_two_axes
""".split()
"""Run without onnxruntime where their axes, sizes or pads are constants."""

ANYWHERE = """
    bernoulli bitcast_float32_to_int32 cast_FLOAT_to_FLOAT8E4M3FN cast_FLOAT_to_INT4 compress_1 dft
    dynamicquantizelinear edge_pad gru_defaults identity_opt identity_sequence if_opt loop13_seq lstm_with_peepholes
    nonmaxsuppression_two_classes nonzero_example optional_get_element_sequence range_int32_type_negative_delta
    reduce_max_empty_set resize_upsample_sizes_nearest scan9_sum scatternd_max sequence_insert_at_back string_concat
    tfidfvectorizer_tf_batch_uniandbigrams_skip5 tile top_k_smallest training_dropout_mask unique_sorted_with_axis
""".split()
"""Run, whether or not onnxruntime takes a part."""

REFUSED = "adam cast_FLOAT_to_FLOAT4E2M1 image_decoder_decode_png_rgb maxunpool_export_with_output_shape".split()


@pytest.fixture(scope="session")
def suite() -> dict[str, Any]:
    """All node tests by name."""
    return {case.name.removeprefix("test_"): case for case in cases(kinds=["node"])}


def check(case: Any, loaded: Loaded, *, native: bool) -> None:
    """Compile a test and compare its outputs with the suite's."""
    with optc.compile(loaded.model, shapes=loaded.shapes, tune=0, verify=False) as artifact:
        assert not (native and artifact.manifest.fallbacks)
        for given, expected in loaded.data:
            names = [info.name for info in loaded.inputs]
            outputs = artifact.run(dict(zip(names, given, strict=False)))
            actual = [outputs[info.name] for info in loaded.model.graph.output]
            assert judge(case, given, actual, expected).difference is None


@pytest.mark.parametrize("name", NATIVE)
def test_native(name: str, suite: dict[str, Any]) -> None:
    check(suite[name], load_case(suite[name]), native=True)


@pytest.mark.parametrize("name", NATIVE_ONCE_CONSTANT)
def test_native_once_what_decides_shapes_is_constant(name: str, suite: dict[str, Any]) -> None:
    loaded = load_case(suite[name])
    fixed = with_constants(loaded)
    assert fixed is not loaded
    check(suite[name], fixed, native=True)


@pytest.mark.parametrize("name", ANYWHERE)
def test_wherever_it_runs(name: str, suite: dict[str, Any]) -> None:
    check(suite[name], load_case(suite[name]), native=False)


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_when_compiling(name: str, suite: dict[str, Any], tmp_path: Path) -> None:
    loaded = load_case(suite[name])
    with pytest.raises(ModelError) as error:
        optc.compile(loaded.model, shapes=loaded.shapes, tune=0, verify=False, output=tmp_path / "out")
    assert error.value.why or error.value.hint
    assert list(tmp_path.iterdir()) == []
