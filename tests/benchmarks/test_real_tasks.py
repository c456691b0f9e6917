"""The scores and pages of the benchmarks on real tasks, drops and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.max_drop import Row, line
from benchmarks.model_size import as_bfloat16, lossless, text_of, weights_of
from benchmarks.real_tasks import Files, edit_distance
from benchmarks.real_tasks import text_of as page_of
from optc.driver.quantization.acceptance import Drop

MODEL = Path(__file__).parents[2] / "samples" / "models" / "cifar10_resnet8.onnx"


@pytest.mark.parametrize(("first", "second", "edits"), [("kitten", "sitting", 3), ("", "ab", 2), ("same", "same", 0)])
def test_edit_distance(first: str, second: str, edits: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == edits


def test_features_of_a_file_are_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(b"  \n" + b"a" * 3000 + b"z" * 500 + b"\n\n")
    row = Files.features(path)
    assert set(row[:1024].tolist()) == {ord("a")} and set(row[-500:].tolist()) == {ord("z")}
    path.write_bytes(b"abc")
    assert Files.features(path).tolist() == [97, 98, 99] + [256] * 2042 + [97, 98, 99]


def test_a_drop_that_is_not_honoured_shows() -> None:
    row = Row(0.001, Drop(5000, 1, 2, 0.9), Drop(5000, 9, 1, 0.9), 0.5, {"int8": 3})
    assert "| +0.16 | NO | 50%: 3 int8 |" in line("m", "size", 0, row)
    assert "exit code 3" in line("m", "size", 0, Row(0.001, None, None, 1.0, {}))


def test_sizes_of_real_weights() -> None:
    weights = weights_of(MODEL)
    found = {"float32": lossless(weights), "bfloat16": lossless(as_bfloat16(weights))}
    assert found["float32"]["coded"] < 0.87 * found["float32"]["raw"]
    assert found["bfloat16"]["coded"] < 0.72 * found["bfloat16"]["raw"]
    page = text_of({"lossless": {"resnet8": found}})
    assert page.count("| resnet8 |") == 1 and "| all | **" in page


def test_what_stays_in_float_is_listed() -> None:
    scores = {"check": 90.0, "held out": 91.0}
    record = {
        "score": "s",
        "layers": 2,
        "float": scores,
        "int8": {"check": 80.0, "held out": 81.5},
        "mixed": {"held out": 90.75, "bound": 30.0, "kept": {"conv": "for 30 dB"}},
    }
    page = page_of({"m": record})
    assert "| m | s | 2 | 91.00 | 81.50 | +9.50 | 90.75 | +0.25 | 1 |" in page and "* `conv`: for 30 dB" in page
