"""The table of passes agrees with the classes that the folders define."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from optc.errors import UsageError
from optc.passes import registry
from optc.passes.base import Pass

ROOT = Path(__file__).parents[2]


def _defined() -> dict[str, str]:
    """Every class under passes/ with `name: ClassVar[str] = "…"`, as name → "module:Class"."""
    found: dict[str, str] = {}
    for path in (ROOT / "passes").rglob("*.py"):
        module = ".".join(("optc", *path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef) or "Pass" not in [getattr(base, "id", "") for base in node.bases]:
                continue
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and getattr(item.target, "id", "") == "name" and item.value:
                    found[ast.literal_eval(item.value)] = f"{module}:{node.name}"
    return found


def test_the_table_names_every_pass() -> None:
    assert _defined() == registry.PASSES


@pytest.mark.parametrize("name", sorted(registry.PASSES))
def test_every_pass_loads_and_is_documented(name: str) -> None:
    kind = registry.get(name)
    assert issubclass(kind, Pass) and kind.name == name
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")


def test_listing_imports_no_pass() -> None:
    code = (
        "import sys; from optc.passes import registry; registry.available();"
        "print([m for m in sys.modules if m.startswith(('optc.passes.simplify', 'optc.passes.fusion', 'onnx', 'tvm'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_pass_suggests_near_names() -> None:
    with pytest.raises(UsageError) as caught:
        registry.get("fold-shape")
    assert str(caught.value) == "no pass is called 'fold-shape'\n  hint: did you mean 'fold-shapes'?"


def test_two_owners_of_one_name_are_both_named(tmp_path: Path) -> None:
    """A second distribution that defines `fold`, installed the way packages are: a dist-info folder on the path."""
    info = tmp_path / "rival-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[optc.passes]\nfold = rival.passes:Fold\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from optc.passes import registry; registry.available()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = (
        "optc.errors.UsageError: two packages define the pass 'fold'\n"
        "  'optc' (optc.passes.simplify.fold:Fold) and 'rival' (rival.passes:Fold)\n"
        "  hint: uninstall one of them, for instance: pip uninstall rival\n"
    )
    assert done.stderr.endswith(expected)


def test_a_pass_of_another_package_is_found(tmp_path: Path) -> None:
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[optc.passes]\nmine = extra_passes:Mine\n")
    (tmp_path / "extra_passes.py").write_text("class Mine: pass\n")
    setup = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    code = f"{setup}; from optc.passes import registry; print(registry.get('mine'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "<class 'extra_passes.Mine'>"
