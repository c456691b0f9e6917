"""Classical models of scikit-learn as C, against scikit-learn and onnxruntime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from c_kit import Built, model_of
from onnx import TensorProto, helper
from tree_kit import FEATURES, SAMPLES, ensemble, samples_at_thresholds

from optc import driver
from optc.backends.c.source import Call, Model
from optc.errors import ModelError

LABELS = ((3, 7), (0, 1, 2), (5, -1, 40, 2))


def data(seed: int, samples: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, FEATURES)).astype(np.float32)


def classes(x: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    score = 2 * x[:, 0] + x[:, 1] * x[:, 2]
    return np.asarray(labels)[np.digitize(score, np.linspace(-1, 1, len(labels) + 1)[1:-1])]


def values(x: np.ndarray) -> np.ndarray:
    return 3 * x[:, 0] - x[:, 1] * x[:, 3]


@functools.cache
def converter() -> Callable[..., onnx.ModelProto]:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    return pytest.importorskip("skl2onnx", reason="skl2onnx is not installed").to_onnx


def exported(estimator: Any, classifies: bool) -> onnx.ModelProto:
    """A fitted estimator for SAMPLES samples at once."""
    options = {"options": {"zipmap": False}} if classifies else {}
    proto = converter()(estimator, data(0, 1), **options)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = SAMPLES
    return proto


def expected(proto: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def kinds(model: Model) -> list[str]:
    return [step.kernel.kind for step in model.steps if isinstance(step, Call)]


def classifiers() -> dict[str, Any]:
    from sklearn.ensemble import (
        BaggingClassifier,
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        Binarizer,
        MaxAbsScaler,
        MinMaxScaler,
        Normalizer,
        StandardScaler,
    )
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    return {
        "tree": DecisionTreeClassifier(max_depth=6, random_state=0),
        "forest": RandomForestClassifier(11, max_depth=5, random_state=0),
        "extra": ExtraTreesClassifier(7, random_state=0),
        "boosted": GradientBoostingClassifier(n_estimators=9, random_state=0),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "scaled-forest": make_pipeline(StandardScaler(), RandomForestClassifier(5, max_depth=4, random_state=0)),
        "normalized": make_pipeline(MinMaxScaler(), Normalizer(), LogisticRegression()),
        "ridge": RidgeClassifier(),
        "one-against-all": SGDClassifier(loss="log_loss", random_state=0),
        "largest": make_pipeline(MaxAbsScaler(), LogisticRegression()),
        "binary": make_pipeline(Binarizer(threshold=0.2), LogisticRegression()),
        "bayes": GaussianNB(),
        "vectors": SVC(),
        "linear-vectors": SVC(kernel="linear"),
        "bagged": BaggingClassifier(n_estimators=4, random_state=0),
    }


CLASSIFIERS = (
    "tree", "forest", "extra", "boosted", "logistic", "scaled-forest", "normalized", "ridge", "one-against-all",
    "largest", "binary", "bayes", "vectors", "linear-vectors", "bagged",
)  # fmt: skip


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_and_probabilities(name: str, labels: Sequence[int], tmp_path: Path) -> None:
    converter()
    estimator = classifiers()[name].fit(data(1), classes(data(1), labels))
    proto = exported(estimator, classifies=True)
    x = data(2, SAMPLES)
    found = Built(model_of(proto), tmp_path).run(x)
    wanted = expected(proto, x)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[0], estimator.predict(x))
    np.testing.assert_allclose(found[1], wanted[1], rtol=2e-6, atol=5e-6)
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(found[1], estimator.predict_proba(x), atol=1e-5)


def regressors() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    return {
        "forest": RandomForestRegressor(11, max_depth=5, random_state=0),
        "boosted": GradientBoostingRegressor(n_estimators=9, random_state=0),
        "linear": make_pipeline(StandardScaler(), LinearRegression()),
        "rbf": SVR(),
        "poly": SVR(kernel="poly", coef0=0.5),
        "sigmoid": SVR(kernel="sigmoid", gamma=0.1),
    }


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("forest", 1),
        ("forest", 2),
        ("linear", 1),
        ("linear", 2),
        ("boosted", 1),
        ("rbf", 1),
        ("poly", 1),
        ("sigmoid", 1),
    ],
)
def test_values(name: str, outputs: int, tmp_path: Path) -> None:
    converter()
    y = np.stack([values(data(1)), -(values(data(1)) ** 2)], axis=1)
    estimator = regressors()[name].fit(data(1), y if outputs == 2 else y[:, 0])
    proto = exported(estimator, classifies=False)
    x = data(2, SAMPLES)
    (found,) = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_allclose(found, expected(proto, x)[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.reshape(SAMPLES, -1), estimator.predict(x).reshape(SAMPLES, -1), atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_every_comparison_is_exact(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    targets = int(generator.integers(1, 4))
    attributes: dict[str, Any] = {"aggregate_function": "AVERAGE"} if seed % 4 == 0 else {}
    if seed % 3 == 0:
        attributes["base_values"] = [float(each) for each in range(1, targets + 1)]
    proto = ensemble(generator, targets, **attributes)
    made = model_of(proto)
    assert kinds(made) == ["trees"]
    x = samples_at_thresholds(generator)
    (found,) = Built(made, tmp_path, ("-O2", "-fsanitize=undefined", "-fno-sanitize-recover=all")).run(x)
    np.testing.assert_allclose(found, expected(proto, x)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("how", ("LOGISTIC", "SOFTMAX"))
def test_a_regressor_may_transform_its_sums(how: str, tmp_path: Path) -> None:
    proto = ensemble(np.random.default_rng(5), 3, post_transform=how)
    x = data(3, SAMPLES)
    (found,) = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_allclose(found, expected(proto, x)[0], rtol=1e-6, atol=1e-6)


def ml_model(kind: str, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(kind, ["x"], ["y"], domain="ai.onnx.ml", **attributes)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SAMPLES, FEATURES])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SAMPLES, FEATURES])]
    graph = helper.make_graph([node], "features", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("norm", ("L1", "L2", "MAX"))
def test_norms(norm: str, tmp_path: Path) -> None:
    proto = ml_model("Normalizer", norm=norm)
    x = data(6, SAMPLES)
    x[3] = 0
    x[4] = -np.abs(x[4])
    (found,) = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_allclose(found, expected(proto, x)[0], rtol=1e-6)


@pytest.mark.parametrize("replaced", (float("nan"), 2.0))
@pytest.mark.parametrize("count", (1, FEATURES))
def test_missing_features(replaced: float, count: int, tmp_path: Path) -> None:
    wanted = [float(each) for each in range(3, 3 + count)]
    proto = ml_model("Imputer", imputed_value_floats=wanted, replaced_value_float=replaced)
    x = data(7, SAMPLES)
    x[::3, ::2] = replaced
    (found,) = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_array_equal(found, expected(proto, x)[0])


def test_integer_features(tmp_path: Path) -> None:
    converter()
    x = np.random.default_rng(4).integers(-5, 6, (SAMPLES, FEATURES))
    y = classes(x.astype(np.float32), (0, 1, 2))
    estimator = classifiers()["forest"].fit(x, y)
    proto = converter()(estimator, x[:1], options={"zipmap": False})
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = SAMPLES
    found = Built(model_of(proto), tmp_path).run(x)
    np.testing.assert_array_equal(found[0], estimator.predict(x))
    np.testing.assert_allclose(found[1], expected(proto, x)[1], atol=1e-6)


def test_an_artifact_of_a_forest(tmp_path: Path) -> None:
    converter()
    estimator = classifiers()["forest"].fit(data(1), classes(data(1), (0, 1, 2)))
    made = driver.compile(exported(estimator, classifies=True), target="cortex-m7", output=tmp_path / "out")
    assert made.manifest.verification is not None and made.manifest.verification["passed"]
    x = data(2, SAMPLES)
    label, probabilities = made.run({"X": x}).values()
    np.testing.assert_array_equal(label, estimator.predict(x))
    np.testing.assert_allclose(probabilities, estimator.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("nodes_modes", lambda old: [b"BRANCH_EQ", *old[1:]], "it has nodes of mode BRANCH_EQ"),
        ("nodes_values", lambda old: old[1:], "the lists that describe them differ in length"),
        ("target_weights", lambda old: old[1:], "the lists that describe its weights differ in length"),
        ("nodes_truenodeids", lambda old: [0] * len(old), "a node is reached in two ways"),
        ("nodes_featureids", lambda old: [FEATURES] * len(old), "it reads a feature that there is not"),
        ("target_ids", lambda old: [9] * len(old), "its base values or targets do not fit its results"),
    ],
)
def test_ensembles_that_make_no_sense(
    name: str, change: Callable[[list[Any]], list[Any]], reason: str, tmp_path: Path
) -> None:
    proto = ensemble(np.random.default_rng(0), 2)
    node = proto.graph.node[0]
    for position, attribute in enumerate(node.attribute):
        if attribute.name == name:
            changed = helper.make_attribute(name, change(list(helper.get_attribute_value(attribute))))
            node.attribute[position].CopyFrom(changed)
    with pytest.raises(ModelError) as caught:
        driver.compile(proto, target="cortex-m7", output=tmp_path / "out")
    assert reason in str(caught.value.why)
    assert not (tmp_path / "out").exists()


def test_a_cpu_runs_a_forest_in_onnxruntime(tmp_path: Path) -> None:
    proto = ensemble(np.random.default_rng(8), 2)
    made = driver.compile(proto, target="cpu", output=tmp_path / "out")
    x = data(2, SAMPLES)
    np.testing.assert_array_equal(made.run({"x": x})["y"], expected(proto, x)[0])


def test_labels_that_are_strings_are_refused(tmp_path: Path) -> None:
    converter()
    names = np.asarray(["low", "middle", "high"])[classes(data(1), (0, 1, 2))]
    proto = exported(classifiers()["forest"].fit(data(1), names), classifies=True)
    with pytest.raises(ModelError) as caught:
        driver.compile(proto, target="cortex-m7", output=tmp_path / "out")
    assert "TreeEnsembleClassifier: 'label' holds strings; label the classes with integers" in str(caught.value)
