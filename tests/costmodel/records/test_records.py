"""Training on made-up tables, prediction of rows of new classes, and ONNX models that say the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from optc.cli.app import run as run_command
from optc.costmodel import predictors
from optc.costmodel.datasets import dataset, deepbench, qualcomm_aihub, timm_bench, tinynas_v100_conv, vidur_llm_ops
from optc.costmodel.datasets.table import DataError, Table, read_table
from optc.costmodel.records import kind
from optc.costmodel.records.description import Description
from optc.costmodel.records.encoding import learn
from optc.costmodel.training.config import Config
from optc.costmodel.training.run import Run
from optc.errors import UsageError

SPEED = {"fast": 1e6, "slow": 2e5}


def write_gemm(folder: Path) -> Path:
    """DeepBench's products on two made-up devices, at a tenth of the speed where `ta` is T; and no convolutions."""
    generator = np.random.default_rng(0)
    lines = ["device,mode,sheet,precision_note,app,M,N,K,ta,tb,time_ms"]
    for _ in range(150):
        m, n, k = (int(2 ** generator.integers(5, 12)) for _ in range(3))
        flip = "NT"[int(generator.integers(2))]
        for device, speed in SPEED.items():
            time = (m * n * k + 1e7) / speed / 1e3 * (10 if flip == "T" else 1)
            lines.append(f"{device},train,s,Float,,{m},{n},{k},{flip},N,{time:.6g}")
    path = folder / "deepbench" / "gemm.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    header = "device,mode,precision_note,fwd_ms,W,H,C,N,K,S,R,pad_w,pad_h,stride_w,stride_h"
    (path.parent / "conv.csv").write_text(header + "\nfast,train,Float,1,8,8,3,1,8,,3,0,0,1,1\n")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("lightgbm")
    data, out = write_gemm(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        options = {"folds": 3, "rounds": 150, "leaves": 7, "rate": 0.15, "least_rows": 3}
        kind.train(Run(Config("made_up", "deepbench", 0, {"trees": options}), out), data)
    return data, out


@pytest.fixture
def shipped(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> predictors.Card:
    monkeypatch.setattr(predictors, "shipped_folder", lambda: trained[1])
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    return predictors.read_card(trained[1] / "made_up")


def test_figures_are_of_classes_that_did_not_train(shipped: predictors.Card):
    assert shipped.targets == ("fast", "slow")
    assert shipped.figures["fast"]["rows"] == 150
    assert shipped.figures["slow"]["spearman"] > 0.95
    assert shipped.figures["fast"]["median_ape"] < 30
    assert 0.8 < shipped.figures["fast"]["coverage"] <= 1.0


def test_measured_rows_of_one_target(shipped: predictors.Card, trained: tuple[Path, Path]):
    table = read_table(trained[0] / "deepbench" / "gemm.csv.gz")
    found = kind.evaluate(shipped, "slow", table)
    assert len(found.ids) == 150
    assert np.median(np.abs(found.prediction.value / found.measured - 1)) < 0.15
    with pytest.raises(UsageError, match="there is no measurement of 'other'"):
        kind.evaluate(shipped, "other", table)


def test_strange_words_are_flagged(shipped: predictors.Card, tmp_path: Path):
    columns = {"mode": ["train", "dream"], "precision_note": ["Float"] * 2, "M": ["64"] * 2, "N": ["64"] * 2}
    table = Table(tmp_path / "q.csv", {**columns, "K": ["64"] * 2, "ta": ["N"] * 2, "tb": ["N"] * 2})
    assert kind.predict(shipped, "fast", table).known.tolist() == [True, False]


def test_the_onnx_model_says_the_same(shipped: predictors.Card, trained: tuple[Path, Path], tmp_path: Path):
    import onnxruntime

    path = tmp_path / "gemm.onnx"
    assert run_command(["costmodel", "export", "made_up", "--target", "slow", "-o", str(path)]) == 0
    table = read_table(trained[0] / "deepbench" / "gemm.csv.gz")
    _, described = deepbench.describe(table)
    predictor = kind.load(shipped, "gemm", "slow")
    from optc.costmodel.records.predictor import with_target

    rows = predictor.encoding.matrix(with_target(described, "slow"))
    session = onnxruntime.InferenceSession(str(path))
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    assert columns[-1] == "target"
    assert len(columns) == rows.shape[1]
    (found,) = session.run(None, {"features": rows.astype(np.float64), "scale": described.scale})
    np.testing.assert_allclose(found, kind.predict(shipped, "slow", table).value, rtol=1e-6)


def test_export_names_what_there_is(shipped: predictors.Card, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(["costmodel", "export", "made_up", "-o", str(tmp_path / "x.onnx")]) == 2
    assert "'made_up' predicts for 2 targets" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()


def test_a_word_does_not_tell_the_factor_of_its_own_class():
    generator = np.random.default_rng(0)
    factor = generator.normal(size=400)
    classes = [str(row) for row in range(400)]
    described = Description({"x": np.zeros(400)}, {"same": ["a"] * 400, "own": classes}, np.ones(400))
    encoding, matrix = learn(described, factor, classes)
    assert len(np.unique(matrix[:, 1])) == 5  # one mean for each fold
    np.testing.assert_allclose(matrix[:, 2], factor.mean(), rtol=1e-6)  # nobody else has the word
    assert encoding.words["same"]["a"] == pytest.approx(factor.mean())


def test_a_strided_convolution(tmp_path: Path):
    header = "conv_type,batch,in_c,in_h,in_w,out_c,kernel,stride,elmt_fused,fp16_ms,fp32_ms,int8_ms"
    path = tmp_path / "conv.csv"
    path.write_text(header + "\nRegular,2,8,7,7,16,3,2,0,,0.5,\nDepthwise,1,8,4,4,8,3,1,1,0.1,0.2,0.3\n")
    table = read_table(path)
    name, found = tinynas_v100_conv.describe(table)
    assert name == "conv"
    assert 2 ** found.numbers["multiplies"] == pytest.approx([2 * 4 * 4 * 16 * 8 * 9, 4 * 4 * 8 * 9])
    np.testing.assert_array_equal(tinynas_v100_conv.measured(table, "fp16"), [np.nan, 0.1])


def test_the_product_that_a_convolution_is(tmp_path: Path):
    columns = "device,mode,precision_note,fwd_ms,W,H,C,N,K,S,R,pad_w,pad_h,stride_w,stride_h"
    path = tmp_path / "conv.csv"
    path.write_text(columns + "\nd,train,Float,1,10,6,3,4,8,3,5,1,2,2,1\n")
    name, found = deepbench.describe(read_table(path))
    width, height = (10 + 2 - 3) // 2 + 1, 6 + 4 - 5 + 1
    assert name == "conv"
    assert 2 ** found.numbers["rows"][0] == pytest.approx(4 * width * height)
    assert 2 ** found.numbers["depth"][0] == pytest.approx(3 * 3 * 5)


def test_families_of_models():
    assert timm_bench.family_of("resnet50d.a1") == "resnet"
    assert timm_bench.family_of("2x") == "2x"


def test_models_and_their_sizes(tmp_path: Path):
    models = Table(
        tmp_path / "m.csv", {"model": ["a"], "Number of parameters": ["11.8M"], "Input resolution": ["64x64"]}
    )
    rows = {"model": ["a", "b"], "layers_total": ["3", ""], "peak_mem_max_mb": ["1", "2"], "precision": ["float"] * 2}
    rows |= {name: ["0", "0"] for name in ("layers_npu", "layers_gpu", "layers_cpu")}
    rows |= {"runtime": ["onnx"] * 2, "primary_unit": ["NPU"] * 2}
    _, found = qualcomm_aihub.describe(qualcomm_aihub.with_sizes(Table(tmp_path / "p.csv", rows), models))
    assert found.numbers["parameters"][0] == pytest.approx(np.log2(11.8e6 + 1))
    assert np.isnan(found.numbers["parameters"][1])
    assert found.numbers["pixels"][0] == pytest.approx(2 * np.log2(64 / 224))


def test_an_operator_of_one_gpu(tmp_path: Path):
    table = Table(tmp_path / "v.csv", {"gpu": ["a100", "h100"], "add_ms": ["0.5", "0.2"]})
    np.testing.assert_array_equal(vidur_llm_ops.measured(table, "h100/add"), [np.nan, 0.2])


def test_a_damaged_cell_is_named(tmp_path: Path):
    path = tmp_path / "gemm.csv"
    path.write_text("mode,precision_note,M,N,K,ta,tb\ntrain,Float,64,x,64,N,N\n")
    with pytest.raises(DataError) as caught:
        deepbench.describe(read_table(path))
    assert (caught.value.what, caught.value.where) == ("'x' is not a positive number", f"{path}: row 2, column 'N'")


@pytest.mark.parametrize("name", ["tinynas_v100_conv", "deepbench", "timm_bench", "qualcomm_aihub", "vidur_llm_ops"])
def test_missing_files_are_named(name: str, tmp_path: Path):
    with pytest.raises(DataError, match=f"there is no {name}/"):
        dataset.load(name).read(tmp_path)
