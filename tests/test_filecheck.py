"""The textual test helper fails when it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from filecheck import Mismatch, read_cases, run_case

GRAPH = """graph @main(%x: tensor<4xf32>) -> ("y") {
  %c = optc.constant {value = dense<1.0> : tensor<4xf32>} : tensor<4xf32>
  %d = onnx.Add(%c, %c) : tensor<4xf32>
  %y = onnx.Mul(%x, %d) : tensor<4xf32> loc("mul")
  return %y
}
"""
FOLDED = """graph @main(%x: tensor<4xf32>) -> ("y") {
  %other_name = optc.constant {value = dense<2.0> : tensor<4xf32>} : tensor<4xf32>
  %y = onnx.Mul(%x, %other_name) : tensor<4xf32>
  return %y
}
"""
RUN = "// RUN: optc opt --passes 'fold,dce'\n"


def _run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "case.mlir"
    path.write_text(text)
    for case in read_cases(path):
        run_case(case, "case.mlir")


@pytest.mark.parametrize(
    "text",
    [
        f"{RUN}{GRAPH}// -----\n{FOLDED}",
        f"// a comment\n\n{RUN}{GRAPH}// -----\n{FOLDED}\n{RUN}{FOLDED}// -----\n{FOLDED}",
        f"{RUN}{GRAPH}// CHECK: dense<2.0>\n// CHECK: onnx.Mul\n// CHECK-NOT: onnx.Add\n",
        f"{RUN}{GRAPH}// REMARK: applied fold\n",
        f"{RUN}{GRAPH.replace('Mul', 'Mull')}// ERROR: no operation is called 'onnx.Mull'\n",
    ],
)
def test_what_holds_passes(tmp_path: Path, text: str) -> None:
    _run(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{RUN}{GRAPH}// -----\n{GRAPH}", "case.mlir:1: @main: 3 and 2 operations"),
        (f"{RUN}{GRAPH}// -----\n{FOLDED.replace('2.0', '3.0')}", "attribute 'value' differs"),
        (f"{RUN}{GRAPH}// LOCATIONS\n// -----\n{FOLDED}", "locations (created by optc) and 'mul'"),
        (f"{RUN}{GRAPH}// CHECK: onnx.Mul\n// CHECK: dense<2.0>\n", "the result lacks, from here on, 'dense<2.0>'"),
        (f"{RUN}{GRAPH}// CHECK-NOT: onnx.Mul\n", "the result holds 'onnx.Mul'"),
        (f"{RUN}{GRAPH}// REMARK: missed fold\n", "no remark 'missed fold' among"),
        (f"{RUN}{GRAPH}// ERROR: anything\n", "the run should fail with 'anything'"),
        (f"{RUN}{GRAPH.replace('Mul', 'Mull')}// ERROR: other\n", "the error lacks 'other'"),
        (f"{RUN}{GRAPH}", "the case expects nothing"),
    ],
)
def test_what_does_not_hold_fails(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Mismatch) as caught:
        _run(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRAPH, "text before the first RUN line"),
        ("// nothing\n", "has no RUN line"),
        ("// RUN: --passes 'fold' --loud\n", "RUN takes --passes"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _run(tmp_path, text)


def test_errors_show_the_line_of_the_file(tmp_path: Path) -> None:
    text = f"{RUN}{GRAPH}// CHECK: return\n// -----\n{FOLDED.replace('return %y', 'return %z')}"
    with pytest.raises(Exception, match=r"at case\.mlir:13:10"):
        _run(tmp_path, text)
