"""ONNX models of predictors say what NumPy says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from optc.cli.app import run
from optc.costmodel import predictors
from optc.costmodel.architectures import kind as architectures
from optc.costmodel.gpu_operators import features
from optc.costmodel.gpu_operators.families import FAMILIES
from optc.costmodel.gpu_operators.predictor import Predictor

onnxruntime = pytest.importorskip("onnxruntime")


def export(folder: Path, *words: str) -> onnxruntime.InferenceSession:
    path = folder / "predictor.onnx"
    assert run(["costmodel", "export", *words, "-o", str(path)]) == 0
    return onnxruntime.InferenceSession(str(path))


@pytest.mark.parametrize(
    ("name", "target"), [("help_nb201", "raspi4"), ("help_nb201", "pixel3"), ("accel_nasbench", "throughput_a100_mean")]
)
def test_architectures(name: str, target: str, tmp_path: Path):
    card = next(card for card in predictors.cards() if card.name == name)
    predictor = architectures.load(card, target)
    codes = predictor.space.candidates()
    codes = codes[predictor.space.regular(codes)][:300]
    rows = predictor.space.features(codes, card.details["styles"][target])
    (found,) = export(tmp_path, name, "--target", target).run(None, {"features": rows})
    np.testing.assert_allclose(found, architectures.predict_codes(card, target, codes).value, rtol=1e-9)


@pytest.mark.parametrize("target", ["Tesla T4", "NVIDIA H100 80GB HBM3"])
def test_gpu_operators(target: str, tmp_path: Path):
    card = next(card for card in predictors.cards() if card.name == "neusight_gpu_ops")
    family = FAMILIES["vector"]
    generator = np.random.default_rng(0)
    columns = {name: 2.0 ** generator.integers(4, 13, 100) for name in family.columns}
    columns["op"] = generator.integers(0, len(family.operators), 100).astype(np.float64)
    predictor = Predictor.of(card.details, card.arrays())
    described, guess = features.describe(family, columns, [predictor.devices[target]] * 100)
    session = export(tmp_path, "neusight_gpu_ops", "--target", target, "--part", "vector")
    names = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    rows = features.matrix(described, names).astype(np.float64)
    (found,) = session.run(None, {"features": rows, "scale": guess})
    np.testing.assert_allclose(found, predictor.predict(family, columns, target).value, rtol=1e-6)


def test_unknown_parts_and_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "x.onnx"
    words = ["costmodel", "export", "neusight_gpu_ops", "--target", "Tesla T4", "-o", str(path)]
    assert run(words) == 2
    assert capsys.readouterr().err == (
        "error: '' is no part of 'neusight_gpu_ops'\n  at --part\n  hint: one of gemm, conv, vector\n"
    )
    assert run(["costmodel", "export", "mlperf_tiny", "-o", str(path)]) == 2
    assert "predictors of the kind 'energy' do not become ONNX models" in capsys.readouterr().err
    assert not path.exists()
