"""Textual tests of passes: every `*.mlir` file under tests/passes is collected by pytest.

A file holds one or more cases; each starts with a RUN line and has the input and what must come out:

    // RUN: optc opt --passes 'fold,cse'
    graph @main(%x: tensor<4xf32>) -> ("y") {
      %y = onnx.Identity(%x) : tensor<4xf32>
      return %y
    }
    // -----
    graph @main(%x: tensor<4xf32>) -> ("y") {
      return %x
    }

The part below `// -----` is compared with the result by structure: names of inner values, the order of attributes and
locations do not count (`// LOCATIONS` in the case makes them count). In place of it, or with it, a case may hold

    // CHECK: text            the printed result holds this text, after the text of the CHECK before it
    // CHECK-NOT: text        the printed result holds this text nowhere
    // REMARK: missed rule: reason   a remark of this status, rule and reason was made (a prefix is enough)
    // ERROR: text            the run fails, and the message holds this text (no expected part then)

Runs of white space count as one space. The RUN line takes --passes and --target. The module is verified before the
first pass and after every pass.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from optc.errors import OptcError
from optc.ir.core import Module, Operation
from optc.ir.equality import equal
from optc.ir.parser import parse_module
from optc.ir.printer import canonical_text, print_module
from optc.ir.verifier import verify
from optc.ops.declaration import Kind, declaration_of
from optc.passes.base import PassContext, Remark
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline

_RUN = re.compile(r"^// RUN:\s*(?:optc opt\s+)?(.*)$")
_DIRECTIVE = re.compile(r"^\s*// (CHECK|CHECK-NOT|REMARK|ERROR|LOCATIONS)(?::\s*(.*))?$")
_SEPARATOR = "// -----"


class Mismatch(AssertionError):
    """What came out is not what the file says."""


@dataclass
class Case:
    """One case of a file; line numbers of the file hold for `input` and `expected`, which are padded with blanks."""

    line: int
    arguments: dict[str, str]
    input: str
    expected: str | None = None
    directives: list[tuple[str, str]] = field(default_factory=list)


def read_cases(path: Path) -> list[Case]:
    """The cases of a file. Raises ValueError where the file does not keep to the form above."""
    cases: list[Case] = []
    sections: list[list[str]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if match := _RUN.match(line):
            words = shlex.split(match[1])
            if len(words) % 2 or not set(words[::2]) <= {"--passes", "--target"}:
                raise ValueError(f"{path}:{number + 1}: RUN takes --passes '…' and --target NAME")
            cases.append(Case(number + 1, dict(zip(words[::2], words[1::2], strict=True)), ""))
            sections = [[""] * (number + 1)]
        elif not cases:
            if line.strip() and not line.startswith("//"):
                raise ValueError(f"{path}:{number + 1}: text before the first RUN line")
            continue
        elif line.strip() == _SEPARATOR:
            sections.append([""] * (number + 1))
        else:
            sections[-1].append(line)
            if match := _DIRECTIVE.match(line):
                cases[-1].directives.append((match[1], match[2] or ""))
        cases[-1].input = "\n".join(sections[0])
        cases[-1].expected = "\n".join(sections[1]) if len(sections) > 1 else None
    if not cases:
        raise ValueError(f"{path} has no RUN line")
    return cases


def _context(target: str | None) -> PassContext:
    if target is None:
        return PassContext()
    from optc import targets
    from optc.costmodel.analytical import AnalyticalCostModel

    return PassContext(target=targets.load(target), cost_model=AnalyticalCostModel(), supports=_unless_opaque)


def _unless_opaque(operation: Operation) -> str | None:
    """A backend for tests: whatever a kernel could be made of, so that no test changes with what backends learn."""
    kind = declaration_of(operation.name).kind
    return f"{operation.name} is {kind.value}" if kind in (Kind.OPAQUE, Kind.CONTROL) else None


def _matches(remark: Remark, wanted: str) -> bool:
    return _squeezed(f"{remark.status} {remark.what}: {remark.reason}").startswith(_squeezed(wanted))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def run_case(case: Case, file: str) -> None:
    """Run one case. Raises Mismatch."""
    wanted = [(kind, text) for kind, text in case.directives if kind != "LOCATIONS"]
    if case.expected is None and not wanted:
        raise Mismatch(f"{file}:{case.line}: the case expects nothing")
    errors = [text for kind, text in wanted if kind == "ERROR"]
    context = _context(case.arguments.get("--target"))
    try:
        module = parse_module(case.input, file=file)
        verify(module)
        run_pipeline(module, parse_pipeline(case.arguments.get("--passes", "")), context, verify_each=True)
    except OptcError as error:
        if not errors:
            raise
        for text in errors:
            if _squeezed(text) not in _squeezed(str(error)):
                raise Mismatch(f"{file}:{case.line}: the error lacks '{text}':\n{error}") from error
        return
    if errors:
        raise Mismatch(f"{file}:{case.line}: the run should fail with '{errors[0]}'")
    _check_text(case, file, wanted, print_module(module))
    for kind, text in wanted:
        if kind == "REMARK" and not any(_matches(remark, text) for remark in context.remarks):
            made = "\n".join(f"  {item.status} {item.what}: {item.reason}" for item in context.remarks)
            raise Mismatch(f"{file}:{case.line}: no remark '{text}' among\n{made or '  none'}")
    if case.expected is not None:
        _check_equal(case, file, module)


def _check_text(case: Case, file: str, wanted: list[tuple[str, str]], printed: str) -> None:
    text, position = _squeezed(printed), 0
    for kind, raw in wanted:
        needle = _squeezed(raw)
        if kind == "CHECK":
            found = text.find(needle, position)
            if found < 0:
                raise Mismatch(f"{file}:{case.line}: the result lacks, from here on, '{raw}':\n{printed}")
            position = found + len(needle)
        elif kind == "CHECK-NOT" and needle in text:
            raise Mismatch(f"{file}:{case.line}: the result holds '{raw}':\n{printed}")


def _check_equal(case: Case, file: str, module: Module) -> None:
    expected = parse_module(case.expected or "", file=file)
    verify(expected)
    locations = any(kind == "LOCATIONS" for kind, _ in case.directives)
    difference = equal(expected, module, locations=locations)
    if difference is None:
        return
    texts = [canonical_text(item.main).splitlines() for item in (expected, module)]
    diff = "\n".join(difflib.unified_diff(*texts, "expected", "result", lineterm=""))
    raise Mismatch(f"{file}:{case.line}: {difference}\n{diff}\n\nthe result:\n{print_module(module)}")


class CaseItem(pytest.Item):
    """One case as a test."""

    def __init__(self, *, case: Case, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.case = case

    def runtest(self) -> None:
        run_case(self.case, self.path.name)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, Mismatch) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.line - 1, self.name


class CaseFile(pytest.File):
    """A `*.mlir` file as a collection of tests."""

    def collect(self) -> Iterator[CaseItem]:
        for case in read_cases(self.path):
            yield CaseItem.from_parent(self, name=f"line{case.line}", case=case)
