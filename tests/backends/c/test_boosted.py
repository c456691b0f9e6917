"""Boosted trees of XGBoost and LightGBM, exported to ONNX, against the libraries' own predictions."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from c_kit import Built, model_of

from optc import driver

FEATURES, SAMPLES = 6, 64


@functools.cache
def data(seed: int, samples: int = 300) -> np.ndarray:
    """Numbers, of which some are missing and some are 0."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, FEATURES)).astype(np.float32)
    x[random.random(x.shape) < 0.15] = np.nan
    x[random.random(x.shape) < 0.05] = 0
    return x


def wanted(classes: int) -> np.ndarray:
    x = np.nan_to_num(data(1))
    if classes:
        return np.digitize(x[:, 0] + x[:, 2], np.linspace(-1, 1, classes + 1)[1:-1])
    return np.round(np.abs(3 * x[:, 0] - x[:, 1] * x[:, 3]) + 2)


def exported(library: str, classes: int, **options: Any) -> tuple[Any, onnx.ModelProto]:
    """A fitted estimator, and its ONNX model for SAMPLES samples at once."""
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    convert = pytest.importorskip("onnxmltools.convert", reason="onnxmltools is not installed")
    kind = ("Classifier" if classes else "Regressor").join(("XGB" if library == "xgboost" else "LGBM", ""))
    quiet = {} if library == "xgboost" else {"verbose": -1}
    estimator = getattr(module, kind)(n_estimators=9, max_depth=4, n_jobs=1, **quiet, **options)
    estimator.fit(data(1), wanted(classes))
    types = [("x", convert.common.data_types.FloatTensorType([SAMPLES, FEATURES]))]
    if library == "xgboost":
        return estimator, convert.convert_xgboost(estimator, initial_types=types)
    return estimator, convert.convert_lightgbm(estimator, initial_types=types, **({"zipmap": False} if classes else {}))


REGRESSORS = {
    "squares": ("xgboost", {}),
    "base score": ("xgboost", {"base_score": 17.5}),
    "counts": ("xgboost", {"objective": "count:poisson"}),
    "positive": ("xgboost", {"objective": "reg:gamma", "base_score": 3.0}),
    "forest": ("xgboost", {"num_parallel_tree": 3, "subsample": 0.7}),
    "light": ("lightgbm", {}),
    "light counts": ("lightgbm", {"objective": "poisson"}),
    "light whole": ("lightgbm", {"use_missing": False}),
    "light dart": ("lightgbm", {"boosting_type": "dart"}),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_values_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    library, options = REGRESSORS[name]
    estimator, proto = exported(library, 0, **options)
    x = data(2, SAMPLES)
    (found,) = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_allclose(found.reshape(-1), estimator.predict(x), rtol=2e-6, atol=2e-5)


CLASSIFIERS = {
    "two": ("xgboost", 2, {}),
    "two with a base score": ("xgboost", 2, {"base_score": 0.2}),
    "several": ("xgboost", 4, {}),
    "light two": ("lightgbm", 2, {}),
    "light several": ("lightgbm", 3, {}),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_and_probabilities_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    library, classes, options = CLASSIFIERS[name]
    estimator, proto = exported(library, classes, **options)
    x = data(2, SAMPLES)
    label, probabilities = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_array_equal(label, estimator.predict(x))
    np.testing.assert_allclose(probabilities, estimator.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("target", ("cortex-m7", "cpu"))
def test_an_artifact_for_a_board_and_for_this_machine(target: str, tmp_path: Path) -> None:
    estimator, proto = exported("xgboost", 3)
    made = driver.compile(proto, target=target, output=tmp_path / "out", tune=0)
    assert made.manifest.verification is not None and made.manifest.verification["passed"]
    x = data(2, SAMPLES)
    label, probabilities = made.run({"x": x}).values()
    np.testing.assert_array_equal(label, estimator.predict(x))
    np.testing.assert_allclose(probabilities, estimator.predict_proba(x), atol=1e-6)


def test_a_pipeline_of_scikit_learn_that_ends_in_boosted_trees(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    lightgbm_converter = pytest.importorskip(
        "onnxmltools.convert.lightgbm.operator_converters.LightGbm", reason="onnxmltools is not installed"
    )
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    skl2onnx.update_registered_converter(
        lightgbm.LGBMRegressor,
        "LightGbmRegressor",
        calculate_linear_regressor_output_shapes,
        lightgbm_converter.convert_lightgbm,
        options={"split": None},
    )
    estimator = make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(n_estimators=9, n_jobs=1, verbose=-1))
    estimator.fit(data(1), wanted(0))
    proto = skl2onnx.to_onnx(estimator, data(1)[:1], target_opset={"": 18, "ai.onnx.ml": 3})
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = SAMPLES
    x = data(2, SAMPLES)
    (found,) = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_allclose(found.reshape(-1), estimator.predict(x), rtol=1e-5, atol=1e-4)
