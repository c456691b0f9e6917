"""The pass manager: what it reports, and how failures of passes look."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from optc.errors import InternalError, LimitError
from optc.ir.core import Module, Operation
from optc.ir.equality import equal
from optc.ir.parser import parse_module
from optc.ir.resources import load_module
from optc.passes.base import Pass, PassContext
from optc.passes.manager import run_pipeline

TEXT = """graph @main(%x: tensor<4xf32>) -> ("y") {
  %a = onnx.Relu(%x) : tensor<4xf32> loc("relu")
  %y = onnx.Neg(%a) : tensor<4xf32> loc("neg")
  return %y
}"""


@dataclass(frozen=True)
class DropRelu(Pass):
    """Removes every Relu."""

    name: ClassVar[str] = "drop-relu"

    def run(self, module: Module, context: PassContext) -> bool:
        found = [operation for operation in module.walk() if operation.name == "onnx.Relu"]
        for operation in found:
            operand = operation.operand(0)
            assert operand is not None and operation.graph is not None
            operation.result.replace_by(operand)
            operation.graph.erase(operation)
        return bool(found)


@dataclass(frozen=True)
class Break(Pass):
    """Fails in one of several ways."""

    name: ClassVar[str] = "break"
    how: str = "raise"

    def run(self, module: Module, context: PassContext) -> bool:
        for operation in module.walk():
            self.handle(operation)
        return True

    def handle(self, operation: Operation) -> None:
        if self.how == "raise" and operation.name == "onnx.Neg":
            raise IndexError("list index out of range")
        if self.how == "limit":
            raise LimitError("the model needs 3 MB", hint="allow more")
        if self.how == "invalid" and operation.name == "onnx.Neg":
            operation.result.type = operation.result.tensor_type.with_shape((5,))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Module:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return parse_module(TEXT)


def test_runs_are_counted(module: Module) -> None:
    seen = []
    runs = run_pipeline(
        module,
        [DropRelu(), DropRelu()],
        PassContext(),
        verify_each=True,
        on_pass=lambda position, item, after, run: seen.append((position, item.name, run.changed)),
    )
    assert [(run.name, run.changed, run.operations_before, run.operations_after) for run in runs] == [
        ("drop-relu", True, 2, 1),
        ("drop-relu", False, 1, 1),
    ]
    assert all(run.seconds >= 0 for run in runs)
    assert seen == [(0, "drop-relu", True), (1, "drop-relu", False)]


def test_dump_holds_the_module_after_every_pass(module: Module, tmp_path: Path) -> None:
    run_pipeline(module, [DropRelu()], PassContext(), dump=tmp_path / "ir")
    assert sorted(path.name for path in (tmp_path / "ir").iterdir()) == ["00-input.mlir", "01-drop-relu.mlir"]
    assert equal(load_module(tmp_path / "ir/00-input.mlir"), parse_module(TEXT)) is None
    assert equal(load_module(tmp_path / "ir/01-drop-relu.mlir"), module) is None


def _failure(module: Module, how: str, *, verify_each: bool = False) -> tuple[str, Path]:
    with pytest.raises(InternalError) as caught:
        run_pipeline(module, [DropRelu(), Break(how)], PassContext(), verify_each=verify_each)
    match = re.search(r"optc opt (\S+)", str(caught.value))
    assert match is not None
    return str(caught.value).replace(match[1], "PLACE"), Path(match[1])


def test_a_failing_pass_is_named_with_its_operation_and_a_reproducer(module: Module) -> None:
    message, place = _failure(module, "raise")
    assert message == (
        "the pass break failed\n"
        "  IndexError: list index out of range\n"
        '  while it handled %y = onnx.Neg(%x) : tensor<4xf32> loc("neg")\n'
        "  passes before it: drop-relu\n"
        "  hint: replay it with: optc opt PLACE --passes drop-relu,break --verify-each"
    )
    assert equal(load_module(place), parse_module(TEXT)) is None


def test_an_invalid_module_is_blamed_on_the_pass(module: Module) -> None:
    message, place = _failure(module, "invalid", verify_each=True)
    assert message == (
        "the pass break{how=invalid} left an invalid module\n"
        "  the type of %y is wrong\n"
        "    at 'neg', in graph @main\n"
        '    %y = onnx.Neg(%x) : tensor<5xf32> loc("neg")\n'
        "                        ^~~~~~~~~~~~~\n"
        "    its dimension 0 should be 4, not 5: tensor<4xf32>\n"
        "  passes before it: drop-relu\n"
        "  hint: replay it with: optc opt PLACE --passes 'drop-relu,break{how=invalid}' --verify-each"
    )
    assert equal(load_module(place), parse_module(TEXT)) is None


def test_the_error_of_a_user_passes_through(module: Module) -> None:
    with pytest.raises(LimitError) as caught:
        run_pipeline(module, [Break("limit")], PassContext())
    assert str(caught.value) == "the model needs 3 MB\n  hint: allow more"
